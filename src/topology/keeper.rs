//! Who may come to a listener, and how many of one source: its rules, made for looking up.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::{self, SourceAction};
use crate::source::{Limits, Networks, Prefixes, Rate};

/// What decides about a client of a listener by its address.
#[derive(Debug)]
pub struct Keeper {
    /// By network: who is denied and who is allowed.
    rules: Networks,
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

impl Keeper {
    /// The keeper of a listener; `None`: it takes everybody.
    pub(super) fn of(listener: &config::Listener) -> Option<Keeper> {
        let config::Access { allow, deny } = &listener.access;
        let limits = listener.per_source.as_ref();
        if limits.is_none() && listener.access.takes_others() && deny.networks().is_empty() {
            return None;
        }
        let rule = |rule| move |network: &ipnet::IpNet| (*network, rule);
        let rules = allow.networks().iter().map(rule(ALLOW));
        let default = config::PerSource::default();
        let acts = limits.unwrap_or(&default);
        Some(Keeper {
            rules: Networks::new(rules.chain(deny.networks().iter().map(rule(DENY)))),
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
            Some(_) => Err(Denial::Denied),
            None if self.takes_others => Ok(()),
            None => Err(Denial::NotAllowed),
        }
    }
}
