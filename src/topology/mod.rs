//! The topology by id: listeners, gates, routes, upstreams and servers.
//!
//! A [`Topology`] never changes: a change makes another one that shares what stays, `diff` says
//! what differs, and the workers adopt it. [`Register`] gives ids by name. [`Elsewhere`] has what
//! counts for limits here while another process still has it.

pub mod class;
pub mod diff;
mod elsewhere;
mod keeper;
pub mod register;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub use class::class_of;
pub use diff::{Change, Edit, apply, diff};
pub use elsewhere::{Elsewhere, Left};
pub use keeper::{Denial, Keeper};
pub use register::{Asked, Exhausted, GateSpec, Register};
pub use shared::Shared;

use crate::base::{GateId, IdMap, ListenerId, RouteId, ServerId, UpstreamId, WorkerId};
use crate::budget::{Budget, Waiting};
use crate::config::{
    self, Access, AtLimit, Balance, Forwarding, Guards, PerSource, Preamble, Sniffing,
    SocketOptions, Terms, Timeouts,
};
use crate::conn::Wiring;
use crate::metrics::WorkerCounters;
use crate::source::Tables;
use crate::tls::{ListenerMaterials, Loaded, TicketsMade, UpstreamMaterials};
use crate::upstream::{Fleet, Pool, Rules, Standing};
use crate::wire::Pattern;

/// Everything, at one time. What it names by an id is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Named sets of addresses.
    pub listeners: IdMap<ListenerId, Arc<Listener>>,
    /// Passive sockets.
    pub gates: IdMap<GateId, Arc<Gate>>,
    /// Where clients go.
    pub routes: IdMap<RouteId, Arc<Route>>,
    /// Named groups of servers.
    pub upstreams: IdMap<UpstreamId, Arc<Upstream>>,
    /// Servers of all upstreams.
    pub servers: IdMap<ServerId, Arc<Server>>,
    /// What sources have, over all listeners.
    pub sources: Shared<Tables>,
}

/// A named set of addresses with one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in the config.
    pub name: String,
    /// The route of its next client, until that has asked for a name.
    pub route: RouteId,
    /// Those of clients that ask for certain names, in the order of the config.
    pub named: Vec<NamedRoute>,
    /// How they are told apart.
    pub sniffing: Sniffing,
    /// The policy for clients beyond a limit.
    pub at_limit: AtLimit,
    /// How long a connection has been idle that may make way at a limit.
    pub evict_idle_after: Duration,
    /// The most that it may hold by the config.
    pub max_connections: Option<u32>,
    /// The same as a bound that all workers share.
    pub quota: Option<Shared<Budget>>,
    /// What its clients say before all else.
    pub preamble: Preamble,
    /// What handshakes with its clients are made of; `None`: TLS does not end here.
    pub tls: Option<Arc<ListenerMaterials>>,
    /// Seal and open the tickets of its clients' sessions: the same for as long as their keys are.
    pub tickets: Option<TicketsMade>,
    /// Whose clients it takes.
    pub access: Access,
    /// What the clients of one source may take.
    pub per_source: Option<PerSource>,
    /// The two, made for looking up; `None`: everybody may come.
    pub keeper: Option<Shared<Keeper>>,
    /// How its passive sockets are made.
    pub sockets: SocketOptions,
    /// How many of its gates, over all workers, a pause keeps still: nothing is armed on them.
    pub still: Shared<AtomicU32>,
}

/// The route of clients that ask for certain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRoute {
    /// The names; empty: any or none.
    pub names: Vec<Pattern>,
    /// Protocols of which they offer one; empty: any or none.
    pub protocols: Vec<Vec<u8>>,
    /// Their route.
    pub route: RouteId,
}

/// A passive socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The listener whose clients come here.
    pub listener: ListenerId,
    /// The worker that serves it. Others do only while that one has no slot left.
    pub owner: WorkerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Somebody else has it too, and serves its queue when we no longer do.
    pub inherited: bool,
    /// The worker whose gate has this accept queue: the owner, but where workers share an inherited
    /// socket the first of them.
    pub queue_of: WorkerId,
    /// The clients in its queue that wait for an eviction.
    pub waiting: Shared<Waiting>,
}

/// The way of clients from the accept on. A connection keeps its route to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where they are counted.
    pub listener: ListenerId,
    /// Where they go.
    pub upstream: UpstreamId,
    /// When their connections end by themselves.
    pub timeouts: Timeouts,
}

/// Where clients are joined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the config.
    pub name: String,
    /// The servers or the builtin that answer.
    pub kind: UpstreamKind,
    /// What shows that a server is gone.
    pub guards: Guards,
    /// When a server hears of a client, and what it learns of it.
    pub forwarding: Arc<Forwarding>,
    /// What handshakes with its servers are made of; `None`: they get what clients send.
    pub tls: Option<Arc<UpstreamMaterials>>,
    /// What its servers have in common.
    pub fleet: Shared<Fleet>,
}

/// The servers or the builtin that answer a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// One of these servers, in the order of the config; none as long as nobody knows them.
    Servers {
        /// How it is chosen.
        balance: Balance,
        /// Among whom.
        servers: Vec<ServerId>,
        /// How these stand, in the same order.
        pool: Arc<Pool>,
    },
    /// The gateway itself, so.
    Builtin(Wiring),
}

impl Upstream {
    /// Whether a server is chosen by the client's address.
    pub fn is_by_source(&self) -> bool {
        matches!(self.kind, UpstreamKind::Servers { balance: Balance::Source, .. })
    }
}

/// One server of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its upstream.
    pub upstream: UpstreamId,
    /// Its name, which no other of the upstream has.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The local addresses to connect from, which take turns; none: the kernel chooses. Another
    /// choice makes no other server.
    pub sources: Vec<IpAddr>,
    /// What else its line says of it.
    pub terms: Terms,
    /// Its connections and its share now, which all workers share.
    pub standing: Shared<Standing>,
}

/// An upstream that has servers, and its line of the config.
#[derive(Clone, Copy, Debug)]
pub struct WithLine<'a> {
    /// Its id.
    pub id: UpstreamId,
    /// The upstream.
    pub upstream: &'a Upstream,
    /// Its servers.
    pub servers: &'a [ServerId],
    /// Its line.
    pub line: &'a config::Upstream,
}

/// What a change took away. As long as this is held, the ids are theirs.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    /// Listeners.
    pub listeners: Vec<(ListenerId, Arc<Listener>)>,
    /// Servers.
    pub servers: Vec<(ServerId, Arc<Server>)>,
}

impl Gone {
    /// Nothing was taken away.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.servers.is_empty()
    }
}

/// The listener, upstream and server of a connection. A holder of this has their names even after
/// the topology has changed, and their ids are not reused meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Where its client came.
    pub listener: Arc<Listener>,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// The server that it counts for, or did at its end.
    pub server: Option<Arc<Server>>,
}

impl Topology {
    /// The route of a gate's next client.
    pub fn route_of(&self, gate: GateId) -> RouteId {
        self.listeners[self.gates[gate].listener].route
    }

    /// How clients of an upstream are joined.
    pub fn wiring_of(&self, upstream: UpstreamId) -> Wiring {
        match self.upstreams[upstream].kind {
            UpstreamKind::Servers { .. } => Wiring::Pair,
            UpstreamKind::Builtin(wiring) => wiring,
        }
    }

    /// Whether any client is joined to a server, so that it takes a second slot.
    pub fn joins_servers(&self) -> bool {
        let joins =
            |upstream: &Arc<Upstream>| matches!(upstream.kind, UpstreamKind::Servers { .. });
        self.upstreams.values().any(joins)
    }

    /// The upstreams that have servers, each with its line of the config.
    pub fn with_lines<'a>(
        &'a self,
        lines: &'a [config::Upstream],
    ) -> impl Iterator<Item = WithLine<'a>> {
        let lines: HashMap<&str, &config::Upstream> =
            lines.iter().map(|line| (&*line.name, line)).collect();
        self.upstreams.iter().filter_map(move |(id, upstream)| {
            let UpstreamKind::Servers { servers, .. } = &upstream.kind else { return None };
            let line = *lines.get(&*upstream.name)?;
            Some(WithLine { id, upstream, servers, line })
        })
    }

    /// Whether all that was loaded for listeners and upstreams is what they have.
    pub fn has(&self, loaded: &Loaded) -> bool {
        let of_listener = |one: &Arc<Listener>| one.tls.as_ref() == loaded.listeners.get(&one.name);
        let of_upstream = |one: &Arc<Upstream>| one.tls.as_ref() == loaded.upstreams.get(&one.name);
        self.listeners.values().all(of_listener) && self.upstreams.values().all(of_upstream)
    }

    /// Has upstreams and their servers go by these lines.
    pub fn set_rules(&self, lines: &[config::Upstream]) {
        for WithLine { upstream, servers, line, .. } in self.with_lines(lines) {
            upstream.fleet.set_rules(Rules {
                failures: line.eject_after,
                early_end: line.early_end.unwrap_or_default(),
                most: (servers.len() as u32 * line.max_ejected).div_ceil(100),
                all_down: line.all_down,
                attempts: line.connect_attempts,
            });
            let servers = servers.iter().map(|id| &self.servers[*id]);
            servers.for_each(|server| server.standing.set_bounds(server.terms));
        }
    }

    /// Listeners and servers that `after` no longer has.
    pub fn gone(&self, after: &Topology) -> Gone {
        let listeners = self.listeners.iter().filter(|(id, _)| after.listeners.get(*id).is_none());
        let servers = self.servers.iter().filter(|(id, _)| after.servers.get(*id).is_none());
        Gone {
            listeners: listeners.map(|(id, listener)| (id, listener.clone())).collect(),
            servers: servers.map(|(id, server)| (id, server.clone())).collect(),
        }
    }

    /// Its passive sockets, as they were asked for.
    pub fn gate_specs(&self) -> Vec<GateSpec> {
        let spec = |gate: &Arc<Gate>| GateSpec {
            listener: self.listeners[gate.listener].name.clone(),
            owner: gate.owner,
            address: gate.address,
            inherited: gate.inherited,
            queue_of: gate.queue_of,
        };
        self.gates.values().map(spec).collect()
    }

    /// A worker's counters for all that is in it; what `before` has is the same.
    pub fn counters(&self, before: &WorkerCounters) -> WorkerCounters {
        before.next(self.listeners.ids(), self.upstreams.ids(), self.servers.ids())
    }

    /// Whether everything that it names is in it, and what it names is what it says: a server is in
    /// its upstream's list, and a route is its listener's. What breaks this is a fault of ours.
    ///
    /// # Errors
    /// Names an id that is used and missing.
    pub fn check(&self) -> Result<(), String> {
        let lost = |what: String| Err(what);
        for (id, listener) in self.listeners.iter() {
            let named = listener.named.iter().map(|named| named.route);
            let is_its =
                |route: RouteId| self.routes.get(route).is_some_and(|route| route.listener == id);
            let mut routes = named.chain([listener.route]);
            if let Some(route) = routes.find(|route| !is_its(*route)) {
                return lost(format!("{route:?} of {id:?}"));
            }
        }
        for (id, gate) in self.gates.iter() {
            if self.listeners.get(gate.listener).is_none() {
                return lost(format!("{:?} of {id:?}", gate.listener));
            }
        }
        for (id, route) in self.routes.iter() {
            if self.upstreams.get(route.upstream).is_none() {
                return lost(format!("{:?} of {id:?}", route.upstream));
            }
        }
        for (id, upstream) in self.upstreams.iter() {
            let UpstreamKind::Servers { servers, pool, .. } = &upstream.kind else { continue };
            let is_its = |server: &ServerId| {
                self.servers.get(*server).is_some_and(|server| server.upstream == id)
            };
            if let Some(server) = servers.iter().find(|server| !is_its(server)) {
                return lost(format!("{server:?} of {id:?}"));
            }
            // Who is chosen there is counted here.
            if !pool.counts_in(servers.iter().map(|id| self.servers[*id].standing.arc())) {
                return lost(format!("the count of a server of {id:?}"));
            }
        }
        Ok(())
    }
}
