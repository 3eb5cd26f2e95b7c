//! Counts connections by what they have in common, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::base::{ListenerId, ServerId, UpstreamId};
use crate::query::{By, Facts, server_title};
use crate::ring::FourTuple;
use crate::topology::Parties;

/// Groups of one worker at most; connections of others are counted together. At 100 bytes a group:
/// 6 MiB while somebody asks.
const MOST_GROUPS: usize = 65_536;

/// How many connections there are of each group.
#[derive(Debug, Default)]
pub struct Tally {
    /// By group.
    pub groups: HashMap<Group, Counted>,
    /// Connections beyond 65,536 groups, and those whose address is not known.
    pub ungrouped: u64,
}

/// What the connections of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The address of their client.
    Source(IpAddr),
    /// The address that their client's socket has, which is a balancer's behind one, and where it
    /// connected.
    Pair(IpAddr, SocketAddr),
    /// Where they go.
    Server(UpstreamId, Option<ServerId>),
    /// Where their client connected.
    Listener(ListenerId),
}

/// The connections of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many there are.
    pub connections: u64,
    /// What people call the group; of addresses it is these.
    pub title: Option<String>,
}

impl Tally {
    /// Counts a connection; `found` are the addresses of its client's socket where groups go by
    /// them, and `parties` are asked for once for each group.
    pub(super) fn count(
        &mut self,
        by: By,
        facts: &Facts,
        found: Option<FourTuple>,
        parties: impl FnOnce() -> Option<Parties>,
    ) {
        let group = match by {
            By::Source => found.and_then(|it| it.peer).map(|peer| Group::Source(peer.ip())),
            By::Pair => found.and_then(|it| {
                let holder = it.via.or(it.peer)?;
                Some(Group::Pair(holder.ip(), it.local))
            }),
            By::Server => Some(Group::Server(facts.upstream, facts.server)),
            By::Listener => Some(Group::Listener(facts.listener)),
        };
        let Some(group) = group else {
            self.ungrouped += 1;
            return;
        };
        if let Some(counted) = self.groups.get_mut(&group) {
            counted.connections += 1;
        } else if self.groups.len() < MOST_GROUPS {
            let title = match group {
                Group::Source(_) | Group::Pair(..) => None,
                Group::Server(..) => parties().map(|it| {
                    server_title(&it.upstream.name, it.server.as_ref().map(|one| &*one.name))
                }),
                Group::Listener(_) => parties().map(|it| it.listener.name.clone()),
            };
            self.groups.insert(group, Counted { connections: 1, title });
        } else {
            self.ungrouped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Millis;
    use crate::query::State;

    #[test]
    fn memory_is_bounded_and_no_connection_is_lost() {
        let facts = Facts {
            worker: 0,
            listener: ListenerId(0),
            upstream: UpstreamId(0),
            server: None,
            state: State::Joined,
            seen: Millis(0),
            opened: Millis(0),
            active: Millis(0),
            to_upstream_bytes: 0,
            to_client_bytes: 0,
            unique_id: None,
        };
        let mut tally = Tally::default();
        let many = MOST_GROUPS as u32 + 10;
        for address in (0..many).chain(0..many) {
            let peer = Some((IpAddr::from(address.to_be_bytes()), 1).into());
            let local = ([127, 0, 0, 1], 80).into();
            tally.count(By::Source, &facts, Some(FourTuple { local, peer, via: None }), || None);
        }
        tally.count(By::Source, &facts, None, || None);
        assert_eq!((tally.groups.len(), tally.ungrouped), (MOST_GROUPS, 21));
        assert!(tally.groups.values().all(|counted| counted.connections == 2));
    }
}
