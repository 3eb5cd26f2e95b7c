//! Limits of connections that are reached, and that are no longer: each is said once.
//!
//! A limit that is reached again and again stays reached: it is over once it was not reached for
//! [`CALM`], so that there is one pair of lines in that time at most.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::{ControlState, View};
use crate::base::{ListenerId, Millis};
use crate::budget::Budget;
use crate::config::AtLimit;
use crate::doctor::{count, thousands};
use crate::metrics::Refusal;
use crate::metrics::reading::Severity;
use crate::summary::span;

/// For how long a limit must not be reached until that is over.
const CALM: Duration = Duration::from_secs(10);

/// The limits of the gateway and of its listeners, as they were seen last.
#[derive(Debug, Default)]
pub(super) struct Limits {
    gateway: Option<Watched>,
    listeners: BTreeMap<ListenerId, Watched>,
}

/// What is seen of a limit at one moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    used: u32,
    limit: u32,
    /// Clients that were ever refused at it.
    refused: u64,
    /// Connections that ever made way at it, modulo 2³².
    evicted: u32,
}

/// A limit since it is watched.
#[derive(Debug)]
struct Watched {
    last: Seen,
    reached: Option<Reached>,
}

/// A limit that is reached, or was until a moment ago.
#[derive(Clone, Copy, Debug)]
struct Reached {
    since: Millis,
    /// What was seen before.
    before: Seen,
    /// How often it was reached again.
    again: u32,
    /// Since when it is not reached.
    until: Option<Millis>,
}

/// What is to be said of a limit.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Reached,
    Over { lasted: Duration, again: u32, refused: u64, evicted: u32 },
}

impl Seen {
    fn of(bound: &Budget, refused: u64) -> Seen {
        let (used, limit, (evicted, _)) = (bound.used(), bound.limit(), bound.evictions());
        Seen { used, limit, refused, evicted }
    }
}

impl Watched {
    fn new(first: Seen) -> Watched {
        Watched { last: first, reached: None }
    }

    /// Looks once more. A limit at which clients were refused or connections made way since the
    /// last look was reached, though it may not be at this moment.
    fn look(&mut self, now: Millis, seen: Seen) -> Option<Said> {
        let before = std::mem::replace(&mut self.last, seen);
        let is_at_it = seen.used >= seen.limit
            || seen.refused > before.refused
            || seen.evicted != before.evicted;
        let Some(reached) = &mut self.reached else {
            let fresh = Reached { since: now, before, again: 0, until: None };
            return is_at_it.then(|| {
                self.reached = Some(fresh);
                Said::Reached
            });
        };
        match (is_at_it, reached.until) {
            (true, Some(_)) => (reached.again, reached.until) = (reached.again + 1, None),
            (false, None) => reached.until = Some(now),
            (false, Some(until)) if now.since(until) >= CALM => {
                let Reached { since, before, again, .. } = *reached;
                self.reached = None;
                return Some(Said::Over {
                    lasted: until.since(since),
                    again,
                    refused: seen.refused.saturating_sub(before.refused),
                    evicted: seen.evicted.wrapping_sub(before.evicted),
                });
            }
            (true, None) | (false, Some(_)) => {}
        }
        None
    }
}

impl Limits {
    /// Looks at all limits.
    pub(super) fn look(&mut self, state: &ControlState) {
        let (view, now, sources) = (state.view(), state.now(), state.sources());
        let refused =
            sources.over_listeners(&|one| one.refused[Refusal::GatewayLimit as usize].get());
        let seen = Seen::of(&sources.budget, refused);
        let watched = self.gateway.get_or_insert_with(|| Watched::new(seen));
        if let Some(said) = watched.look(now, seen) {
            let rules = view.topology.listeners.values().map(|one| (one.at_limit, &*one.name));
            let bound_by = format!("by {}", sources.bound_by(&view.config));
            let remedy = "`portcullis doctor` says what raises it";
            tell(state, "gateway", &said, seen, &bound_by, &fate(rules.collect()), remedy);
        }
        self.listeners.retain(|id, _| view.topology.listeners.get(*id).is_some());
        for (id, listener) in view.topology.listeners.iter() {
            let Some(quota) = &listener.quota else { continue };
            let seen = Seen::of(quota, refused_at(&view, id));
            let watched = self.listeners.entry(id).or_insert_with(|| Watched::new(seen));
            if let Some(said) = watched.look(now, seen) {
                let (subject, rule) = (format!("listener/{}", listener.name), listener.at_limit);
                let fate = fate(vec![(rule, &listener.name)]);
                let remedy = remedy(rule);
                let bound_by = format!("by listener.{}.max_connections", listener.name);
                tell(state, &subject, &said, seen, &bound_by, &fate, remedy);
            }
        }
    }
}

/// Clients that were refused at a listener's own limit.
fn refused_at(view: &View, id: ListenerId) -> u64 {
    let listeners = view.counters.iter().map(|counters| &counters.listeners[id]);
    listeners.map(|one| one.refused[Refusal::ListenerLimit as usize].get()).sum()
}

fn tell(
    state: &ControlState,
    subject: &str,
    said: &Said,
    seen: Seen,
    bound_by: &str,
    fate: &str,
    remedy: &str,
) {
    let (used, limit) = (thousands(seen.used.into()), thousands(seen.limit.into()));
    match *said {
        Said::Reached => {
            let at_it = format!("{used} of {limit} connections, {bound_by}");
            let words = format!("its limit is reached: {at_it}; {fate}; {remedy}");
            state.tell(Severity::Warning, subject, &words);
        }
        Said::Over { lasted, again, refused, evicted } => {
            let again =
                if again == 0 { String::new() } else { format!(", and {again} times again") };
            let words = format!(
                "its limit is no longer reached: it was for {}{again}; meanwhile {} refused, {} \
                 evicted; {used} of {limit} connections",
                span(lasted),
                count(refused, "client"),
                count(evicted.into(), "connection"),
            );
            state.tell(Severity::Info, subject, &words);
        }
    }
}

/// What happens to clients that come, by the rule of their listener.
fn fate(listeners: Vec<(AtLimit, &str)>) -> String {
    let of = |rule| listeners.iter().filter(move |(own, _)| *own == rule).map(|(_, name)| *name);
    let mut fates = Vec::new();
    for rule in AtLimit::ALL {
        let words = rule.fate();
        let names: Vec<&str> = of(rule).collect();
        match names.len() {
            0 => {}
            all if all == listeners.len() => return words.to_owned(),
            _ => fates.push(format!("at {} {words}", names.join(", "))),
        }
    }
    fates.join(", ")
}

/// What an operator may do about a listener's limit.
fn remedy(rule: AtLimit) -> &'static str {
    match rule {
        AtLimit::Queue => {
            "raise max_connections of the listener, or have idle connections make way with \
             at_limit = \"evict\""
        }
        AtLimit::Reset => {
            "raise max_connections of the listener, or let clients wait with at_limit = \"queue\""
        }
        AtLimit::Evict => "raise max_connections of the listener if that is too many",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(used: u32, refused: u64, evicted: u32) -> Seen {
        Seen { used, limit: 5, refused, evicted }
    }

    /// What is said at each second of these looks.
    fn said(looks: &[Seen]) -> Vec<(u64, Said)> {
        let mut watched = Watched::new(seen(0, 7, u32::MAX));
        let looks = (0..).zip(looks);
        let said = |(second, seen): (u64, &Seen)| {
            watched.look(Millis(second * 1000), *seen).map(|said| (second, said))
        };
        looks.filter_map(said).collect()
    }

    #[test]
    fn a_limit_is_said_once_and_its_end_once() {
        let mut looks = vec![seen(4, 7, u32::MAX), seen(5, 7, u32::MAX), seen(5, 9, 1)];
        looks.extend([seen(4, 9, 1); 20]);
        let lasted = Duration::from_secs(2);
        let over = Said::Over { lasted, again: 0, refused: 2, evicted: 2 };
        assert_eq!(said(&looks), [(1, Said::Reached), (13, over)]);
    }

    #[test]
    fn one_that_is_reached_again_and_again_is_folded() {
        let on_and_off =
            |second: u32| seen(if second.is_multiple_of(5) { 5 } else { 3 }, 7, u32::MAX);
        let mut looks: Vec<Seen> = (0..60).map(on_and_off).collect();
        looks.extend([seen(0, 7, u32::MAX); 30]);
        let lasted = Duration::from_secs(56);
        let over = Said::Over { lasted, again: 11, refused: 0, evicted: 0 };
        assert_eq!(said(&looks), [(0, Said::Reached), (66, over)]);
    }

    #[test]
    fn clients_that_were_turned_away_between_two_looks_show_that_it_was_reached() {
        for turned in [seen(4, 8, u32::MAX), seen(4, 7, 0)] {
            assert_eq!(said(&[seen(4, 7, u32::MAX), turned]), [(1, Said::Reached)]);
        }
        // A limit that was lowered is exceeded.
        let lowered = Seen { used: 9, limit: 5, refused: 7, evicted: u32::MAX };
        assert_eq!(said(&[lowered]), [(0, Said::Reached)]);
    }

    #[test]
    fn the_fate_of_clients_is_said_by_listener_where_rules_differ() {
        let all = vec![(AtLimit::Queue, "a"), (AtLimit::Queue, "b")];
        assert_eq!(fate(all), "new clients wait in the backlog until others leave");
        let mixed = vec![(AtLimit::Reset, "a"), (AtLimit::Queue, "b"), (AtLimit::Reset, "c")];
        let words = "at b new clients wait in the backlog until others leave, at a, c new clients \
                     are reset";
        assert_eq!(fate(mixed), words);
    }
}
