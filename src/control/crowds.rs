//! Clients behind one address, as of a NAT or a balancer, that are about to be short of ports.
//!
//! A connection is named by the addresses and ports at both of its ends, so one client address has
//! 65,535 connections to one address and port of ours at most. Beyond it clients fail to connect,
//! and nothing here sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::state::ControlState;
use super::verbs::pairs;
use crate::base::ListenerId;
use crate::doctor::{CLIENT_PORTS, thousands};
use crate::metrics::reading::Severity;
use crate::metrics::{Counter, Kept, ListenerCounters};

/// From here on a pair of addresses is near its end: three quarters of all ports.
const MANY: u64 = CLIENT_PORTS / 4 * 3;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Crowds {
    said: BTreeSet<Pair>,
}

/// A client address, and the address and port of a listener.
type Pair = (ListenerId, IpAddr, SocketAddr);

impl Crowds {
    /// Looks at all listeners that hold so many that one pair may be near its end. To count the
    /// connections of one takes a microsecond of its workers for each.
    pub(super) async fn look(&mut self, state: &ControlState) {
        let view = state.view();
        let mut most = BTreeMap::new();
        let mut many = BTreeMap::new();
        for (id, listener) in view.topology.listeners.iter() {
            let counters = view.counters.iter().filter_map(|one| one.listeners.get(id));
            let open = |one: &Kept<ListenerCounters>| {
                one.accepted.get().saturating_sub(one.closed.iter().map(Counter::get).sum())
            };
            if counters.map(open).sum::<u64>() < MANY {
                continue;
            }
            let Some(counted) = pairs(state, &listener.name).await else { continue };
            let top = counted.iter().map(|(.., connections)| *connections).max();
            most.insert(id, top.unwrap_or_default());
            let near = counted.into_iter().filter(|(.., connections)| *connections >= MANY);
            many.extend(near.map(|(holder, local, it)| ((id, holder, local), it)));
        }
        state.sources().present.note_crowds(most);
        for (pair, connections) in self.fresh(&many) {
            let (id, holder, local) = pair;
            let Some(listener) = view.topology.listeners.get(id) else { continue };
            let words = format!(
                "{holder} has {} connections to {local}, and cannot have more than {}: a port of \
                 its own for each; beyond that its clients fail to connect. Give the listener \
                 another address or port in bind, or what is in front more addresses",
                thousands(connections),
                thousands(CLIENT_PORTS),
            );
            state.tell(Severity::Warning, &format!("listener/{}", listener.name), &words);
        }
    }

    /// Those that are near their end and were not at the last look.
    fn fresh(&mut self, many: &BTreeMap<Pair, u64>) -> Vec<(Pair, u64)> {
        let fresh = many.iter().filter(|(pair, _)| !self.said.contains(*pair));
        let fresh = fresh.map(|(pair, connections)| (*pair, *connections)).collect();
        self.said = many.keys().copied().collect();
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_said_once_until_it_was_away() {
        let pair = (ListenerId(0), IpAddr::from([192, 0, 2, 1]), ([10, 0, 0, 1], 443).into());
        let many = BTreeMap::from([(pair, 60_000)]);
        let mut crowds = Crowds::default();
        assert_eq!(crowds.fresh(&many), [(pair, 60_000)]);
        assert!(crowds.fresh(&many).is_empty());
        assert!(crowds.fresh(&BTreeMap::new()).is_empty());
        assert_eq!(crowds.fresh(&many).len(), 1);
    }
}
