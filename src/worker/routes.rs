//! What a worker has of the topology: each route from its first client to its last, each server for
//! as long as a connection may go there.
//!
//! A change of the topology touches no connection. What it takes away is kept here, as it was, for
//! those that are on it, and gives its id back with the last of them.

use std::sync::Arc;

use super::{Plan, Preface, PrefacePlan};
use crate::base::{GateId, IdMap, RouteId, ServerId, UpstreamId, WorkerId};
use crate::config::Timeouts;
use crate::conn::Wiring;
use crate::metrics::{Kept, ListenerCounters, ServerCounters, UpstreamCounters, WorkerCounters};
use crate::ring::Operations;
use crate::topology::{Listener, Parties, Route, Server, Topology, Upstream, UpstreamKind};
use crate::upstream::{Servers, Standing, Tried};

/// A worker's routes.
#[derive(Debug)]
pub(super) struct Routes {
    worker: WorkerId,
    prefaces: PrefacePlan,
    topology: Arc<Topology>,
    /// Where a gate's next client goes; of gates that leave, too, until the last has come.
    gates: IdMap<GateId, RouteId>,
    lines: IdMap<RouteId, Line>,
    groups: IdMap<UpstreamId, Group>,
    servers: IdMap<ServerId, Place>,
    /// Something is here that the topology no longer has.
    leaving: bool,
}

/// A route and those who are on it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) route: Arc<Route>,
    pub(super) listener: Arc<Listener>,
    /// When its connections end by themselves.
    pub(super) timeouts: Timeouts,
    pub(super) wiring: Wiring,
    /// Its clients are read before a server is chosen.
    pub(super) preface: Option<Arc<Preface>>,
    pub(super) counters: Kept<ListenerCounters>,
    /// Connections that are on it.
    open: u32,
}

impl Line {
    /// Goes by what its listener has become. Connections that were let in without a bound count
    /// for the one that there is now.
    fn obey(&mut self, listener: &Arc<Listener>, timeouts: &Timeouts) {
        if let (None, Some(quota)) = (&self.listener.quota, &listener.quota) {
            quota.take_over(self.open);
        }
        self.listener = listener.clone();
        self.timeouts = Timeouts { connect: self.timeouts.connect, ..timeouts.clone() };
    }
}

/// Whom a change of the topology concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Concerned {
    /// Somebody is on a listener or a server that is gone.
    pub(super) left: bool,
    /// A timeout of somebody's is shorter than it was.
    pub(super) shortened: bool,
}

/// The choice among an upstream's servers.
#[derive(Debug)]
struct Group {
    upstream: Arc<Upstream>,
    /// `None` for a builtin.
    servers: Option<Servers>,
    counters: Kept<UpstreamCounters>,
}

/// A server and those who count for it.
#[derive(Debug)]
pub(super) struct Place {
    /// Held, so that its id is not given to another server.
    pub(super) server: Arc<Server>,
    standing: Arc<Standing>,
    pub(super) counters: Kept<ServerCounters>,
    /// Connections that count for it.
    open: u32,
}

impl Routes {
    /// The routes of a worker whose ring has every server of the plan's topology.
    pub(super) fn new(plan: &Plan, counters: &WorkerCounters) -> Routes {
        let mut routes = Routes {
            worker: plan.worker,
            prefaces: plan.prefaces.clone(),
            topology: Arc::default(),
            gates: IdMap::new(),
            lines: IdMap::new(),
            groups: IdMap::new(),
            servers: IdMap::new(),
            leaving: false,
        };
        routes.take_over(plan.topology.clone(), counters);
        routes
    }

    /// Goes by another topology from here on. Its ring takes the servers in that are new. Says what
    /// that means for the connections that are open.
    pub(super) fn adopt<R: Operations>(
        &mut self,
        ring: &mut R,
        topology: Arc<Topology>,
        counters: &WorkerCounters,
    ) -> Concerned {
        for id in topology.servers.ids().filter(|id| self.servers.get(*id).is_none()) {
            ring.add_server(id);
        }
        let before: Vec<(RouteId, Timeouts)> = self
            .lines
            .iter()
            .filter(|(_, line)| line.open > 0)
            .map(|(id, line)| (id, line.timeouts.clone()))
            .collect();
        self.take_over(topology, counters);
        self.leaving = true;
        self.sweep(ring);
        let is_shorter =
            |(id, before): &(RouteId, Timeouts)| self.lines[*id].timeouts.any_shorter_than(before);
        Concerned { left: self.anyone_left(), shortened: before.iter().any(is_shorter) }
    }

    /// Whether anybody is on a listener or a server that the topology no longer has.
    fn anyone_left(&self) -> bool {
        let listeners = &self.topology.listeners;
        let is_left = |line: &Line| listeners.get(line.route.listener).is_none();
        let servers = &self.topology.servers;
        self.lines.values().any(|line| line.open > 0 && is_left(line))
            || self.servers.iter().any(|(id, place)| place.open > 0 && servers.get(id).is_none())
    }

    fn take_over(&mut self, topology: Arc<Topology>, counters: &WorkerCounters) {
        for (id, server) in topology.servers.iter() {
            let before = self.servers.remove(id);
            let place = Place {
                server: server.clone(),
                standing: server.standing.arc(),
                counters: counters.servers[id].clone(),
                open: before.map_or(0, |place| place.open),
            };
            self.servers.insert(id, place);
        }
        for (id, upstream) in topology.upstreams.iter() {
            let known = self.groups.get(id).is_some_and(|group| *group.upstream == **upstream);
            if !known {
                let servers = self.choice(upstream);
                let counters = counters.upstreams[id].clone();
                self.groups.insert(id, Group { upstream: upstream.clone(), servers, counters });
            }
        }
        // Who is on an older route of a listener obeys the listener as it is now.
        for (_, line) in self.lines.iter_mut() {
            if let Some(listener) = topology.listeners.get(line.route.listener) {
                let timeouts = &topology.routes[listener.route].timeouts;
                line.obey(listener, timeouts);
            }
        }
        for (id, route) in topology.routes.iter() {
            let before = self.lines.remove(id);
            let listener = &topology.listeners[route.listener];
            let line = Line {
                route: route.clone(),
                listener: listener.clone(),
                timeouts: route.timeouts.clone(),
                preface: self.prefaces.listeners.get(&*listener.name).cloned(),
                wiring: topology.wiring_of(route.upstream),
                counters: counters.listeners[route.listener].clone(),
                open: before.map_or(0, |line| line.open),
            };
            self.lines.insert(id, line);
        }
        for id in topology.gates.ids() {
            self.gates.insert(id, topology.route_of(id));
        }
        self.topology = topology;
    }

    /// The choice among an upstream's servers, its turns among equals begun elsewhere than its
    /// neighbours'.
    fn choice(&self, upstream: &Upstream) -> Option<Servers> {
        match &upstream.kind {
            UpstreamKind::Builtin(_) => None,
            UpstreamKind::Servers { balance, pool, .. } => {
                let servers = Servers::over(*balance, pool.arc());
                Some(servers.beginning_at(self.worker.0.into()))
            }
        }
    }

    /// Removes routes, upstreams and servers that neither the topology nor a connection uses.
    pub(super) fn sweep<R: Operations>(&mut self, ring: &mut R) {
        if !std::mem::take(&mut self.leaving) {
            return;
        }
        let topology = &self.topology;
        let comes = |id: RouteId| self.gates.iter().any(|(_, route)| *route == id);
        let is_left = |id: RouteId| topology.routes.get(id).is_none() && !comes(id);
        let over: Vec<_> = self
            .lines
            .iter()
            .filter(|(id, line)| is_left(*id) && line.open == 0)
            .map(|(id, _)| id)
            .collect();
        for id in over {
            self.lines.remove(id);
        }
        let is_used = |id: UpstreamId| {
            topology.upstreams.get(id).is_some()
                || self.lines.values().any(|line| line.route.upstream == id)
        };
        let over: Vec<_> = self.groups.ids().filter(|id| !is_used(*id)).collect();
        for id in over {
            self.groups.remove(id);
        }
        let may_be_chosen = |id: ServerId| {
            self.groups.values().any(|group| match &group.upstream.kind {
                UpstreamKind::Servers { servers, .. } => servers.contains(&id),
                UpstreamKind::Builtin(_) => false,
            })
        };
        let is_over = |(id, place): &(ServerId, &Place)| {
            topology.servers.get(*id).is_none() && place.open == 0 && !may_be_chosen(*id)
        };
        let over: Vec<_> = self.servers.iter().filter(is_over).map(|(id, _)| id).collect();
        for id in over {
            self.servers.remove(id);
            ring.remove_server(id);
        }
    }

    /// The line of a route that a connection is on, or that the topology has.
    pub(super) fn line(&self, route: RouteId) -> &Line {
        &self.lines[route]
    }

    /// A server that a connection counts for, or that the topology has.
    pub(super) fn place(&self, server: ServerId) -> &Place {
        &self.servers[server]
    }

    /// The route of a client that comes by this gate, from here to its end.
    pub(super) fn enter(&mut self, gate: GateId) -> RouteId {
        let route = self.gates[gate];
        self.lines[route].open += 1;
        route
    }

    /// No client comes by this gate any more.
    pub(super) fn close_gate(&mut self, gate: GateId) {
        self.gates.remove(gate);
        self.leaving = true;
    }

    /// Where a gate's clients go.
    pub(super) fn of_gate(&self, gate: GateId) -> &Line {
        &self.lines[self.gates[gate]]
    }

    /// A client has left.
    pub(super) fn leave(&mut self, route: RouteId) {
        self.lines[route].open -= 1;
        self.leaving |= self.lines[route].open == 0 && self.topology.routes.get(route).is_none();
    }

    /// Whether a connection is on what the topology no longer has: its listener is gone, or its
    /// server. Another upstream of the same listener leaves it where it is.
    pub(super) fn is_left(&self, route: RouteId, server: Option<ServerId>) -> bool {
        let listener = self.lines[route].route.listener;
        let is_gone = |server| self.topology.servers.get(server).is_none();
        self.topology.listeners.get(listener).is_none() || server.is_some_and(is_gone)
    }

    /// The next server that a connection has not tried. It counts for it from here on.
    pub(super) fn next_server(
        &mut self,
        route: RouteId,
        tried: &mut Tried,
        turn: usize,
    ) -> Option<ServerId> {
        let group = &mut self.groups[self.lines[route].route.upstream];
        let (Some(choice), UpstreamKind::Servers { servers, .. }) =
            (&mut group.servers, &group.upstream.kind)
        else {
            panic!("a builtin upstream was asked for a server");
        };
        let server = servers[choice.next(tried, turn)?];
        let place = &mut self.servers[server];
        place.open += 1;
        place.standing.opened();
        place.counters.attempts.add(1);
        Some(server)
    }

    /// A connection no longer counts for a server.
    pub(super) fn leave_server(&mut self, server: ServerId) {
        let place = &mut self.servers[server];
        place.open -= 1;
        place.standing.closed();
        place.counters.left.add(1);
        self.leaving |= place.open == 0 && self.topology.servers.get(server).is_none();
    }

    /// Whether any server that a route's clients go to has a connection.
    pub(super) fn any_open(&self, route: RouteId) -> bool {
        let group = &self.groups[self.lines[route].route.upstream];
        group.servers.as_ref().is_some_and(Servers::any_open)
    }

    /// Where the connects of a route are counted.
    pub(super) fn of_upstream(&self, route: RouteId) -> &UpstreamCounters {
        &self.groups[self.lines[route].route.upstream].counters
    }

    /// Whose the connections of a route are that count for this server.
    pub(super) fn parties(&self, route: RouteId, server: Option<ServerId>) -> Parties {
        let line = &self.lines[route];
        Parties {
            listener: line.listener.clone(),
            upstream: self.groups[line.route.upstream].upstream.clone(),
            server: server.map(|server| self.servers[server].server.clone()),
        }
    }
}
