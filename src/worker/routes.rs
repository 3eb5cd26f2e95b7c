//! What a worker has of the topology: each route from its first client to its last, each server for
//! as long as a connection may go there.
//!
//! A change of the topology touches no connection. What it takes away is kept here, as it was, for
//! those that are on it, and gives its id back with the last of them.

use std::sync::Arc;

use super::{Plan, Preface, PrefacePlan};
use crate::base::{GateId, IdMap, RouteId, ServerId, UpstreamId, WorkerId};
use crate::conn::Wiring;
use crate::metrics::{Kept, OfListener, OfServer, OfUpstream, WorkerCounters};
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
    pub(super) wiring: Wiring,
    /// Its clients are read before a server is chosen.
    pub(super) preface: Option<Arc<Preface>>,
    pub(super) counters: Kept<OfListener>,
    /// Connections that are on it.
    open: u32,
}

/// The choice among an upstream's servers.
#[derive(Debug)]
struct Group {
    upstream: Arc<Upstream>,
    /// `None` for a builtin.
    servers: Option<Servers>,
    counters: Kept<OfUpstream>,
}

/// A server and those who count for it.
#[derive(Debug)]
pub(super) struct Place {
    /// Held, so that its id is given to nobody else.
    pub(super) server: Arc<Server>,
    standing: Arc<Standing>,
    pub(super) counters: Kept<OfServer>,
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

    /// Goes by another topology from here on. Its ring takes the servers in that are new.
    pub(super) fn adopt<R: Operations>(
        &mut self,
        ring: &mut R,
        topology: Arc<Topology>,
        counters: &WorkerCounters,
    ) {
        for id in topology.servers.ids().filter(|id| self.servers.get(*id).is_none()) {
            ring.add_server(id);
        }
        self.take_over(topology, counters);
        self.leaving = true;
        self.sweep(ring);
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
        for (id, route) in topology.routes.iter() {
            let before = self.lines.remove(id);
            let listener = &topology.listeners[route.listener];
            let line = Line {
                route: route.clone(),
                listener: listener.clone(),
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

    /// Lets go of what the topology no longer has and nobody is on.
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

    /// The line of a route that somebody is on, or that the topology has.
    pub(super) fn line(&self, route: RouteId) -> &Line {
        &self.lines[route]
    }

    /// A server that somebody counts for, or that the topology has.
    pub(super) fn place(&self, server: ServerId) -> &Place {
        &self.servers[server]
    }

    /// A client comes by this gate; says which route it is on from here to its end.
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
    pub(super) fn of_upstream(&self, route: RouteId) -> &OfUpstream {
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
