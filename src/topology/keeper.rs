//! Who may come to a listener, and how many of one source: its rules, made for looking up.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::{self, SourceAction};
use crate::source::{Limits, Networks, Prefixes, Rate};

/// What decides about a client of a listener by its address.
#[derive(Debug)]
pub struct Keeper {
    /// By network: who is denied and who is allowed.
    rules: Networks,
    /// The rules to deny that are counted, in their order.
    counted: Vec<(IpNet, Arc<AtomicU64>)>,
    /// Whether it takes those that no rule is about.
    takes_others: bool,
    /// What a source may have, if that is limited.
    pub limits: Option<Limits>,
    /// What happens to a client beyond the limits of its source.
    pub action: SourceAction,
    /// For how long that happens.
    pub wait_at_most: Duration,
}

/// Why a client may not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It is in a network that is denied.
    Denied,
    /// It is in none that is allowed.
    NotAllowed,
}

const DENY: u32 = 0;
const ALLOW: u32 = 1;
/// The first rule that is counted.
const COUNTED: u32 = 2;
/// Networks of `deny` that are counted, for a listener. Each is a metric of its own; those of files
/// are too many.
const COUNTED_MAX: usize = 64;

impl Keeper {
    /// The keeper of a listener; `None`: it takes everybody. What the one `before` has counted of a
    /// network, this one counts on.
    pub(super) fn of(listener: &config::Listener, before: Option<&Keeper>) -> Option<Keeper> {
        let config::Access { allow, deny } = &listener.access;
        let limits = listener.per_source.as_ref();
        if limits.is_none() && listener.access.takes_others() && deny.networks().is_empty() {
            return None;
        }
        let rule = |rule| move |network: &IpNet| (*network, rule);
        let rules = allow.networks().iter().map(rule(ALLOW));
        let rules = rules.chain(deny.networks().iter().map(rule(DENY)));
        let counted: Vec<_> = (deny.written_out().take(COUNTED_MAX))
            .map(|network| (network, before.and_then(|it| it.counter(network)).unwrap_or_default()))
            .collect();
        let own = counted.iter().zip(COUNTED..).map(|((network, _), rule)| (*network, rule));
        let default = config::PerSource::default();
        let acts = limits.unwrap_or(&default);
        Some(Keeper {
            rules: Networks::new(rules.chain(own)),
            counted,
            takes_others: listener.access.takes_others(),
            limits: limits.map(|limits| Limits {
                prefixes: Prefixes { v4: limits.prefix_v4, v6: limits.prefix_v6 },
                exempt: Networks::new(limits.exempt.iter().map(rule(ALLOW))),
                connections: limits.max_connections,
                rate: limits
                    .rate
                    .map(|rate| Rate::new(rate.connections, rate.per, limits.asked_burst())),
            }),
            action: acts.action,
            wait_at_most: acts.wait_at_most,
        })
    }

    /// Whether a client at this address may come. Of the networks that it is in, the smallest
    /// decides.
    ///
    /// # Errors
    /// Says why it may not.
    pub fn judge(&self, client: IpAddr) -> Result<(), Denial> {
        match self.rules.find(client) {
            Some(ALLOW) => Ok(()),
            Some(rule) => {
                if let Some(place) = rule.checked_sub(COUNTED) {
                    self.counted[place as usize].1.fetch_add(1, Ordering::Relaxed);
                }
                Err(Denial::Denied)
            }
            None if self.takes_others => Ok(()),
            None => Err(Denial::NotAllowed),
        }
    }

    /// The networks of `deny` that are counted, and how many clients each has kept out.
    pub fn denied(&self) -> impl Iterator<Item = (IpNet, u64)> {
        self.counted.iter().map(|(network, count)| (*network, count.load(Ordering::Relaxed)))
    }

    fn counter(&self, network: IpNet) -> Option<Arc<AtomicU64>> {
        let found = self.counted.iter().find(|(its, _)| *its == network);
        found.map(|(_, count)| count.clone())
    }
}
