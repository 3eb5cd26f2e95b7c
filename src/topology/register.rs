//! Ids by name: what keeps its name keeps its id, and what is new gets one that nobody uses.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use super::{Gate, Listener, Route, Server, Shared, Topology, Upstream, UpstreamKind};
use crate::base::{GateId, Id, IdMap, ListenerId, RouteId, ServerId, UpstreamId, WorkerId};
use crate::budget::Budget;
use crate::config::{self, Builtin};
use crate::conn::Wiring;
use crate::upstream::{Pool, Standing};

/// A passive socket as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSpec {
    /// The name of its listener.
    pub listener: String,
    /// The worker that serves it.
    pub owner: WorkerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Somebody else has it too.
    pub inherited: bool,
}

/// The request for a topology.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Each names its upstream by the index below.
    pub listeners: &'a [config::Listener],
    /// Upstreams and their servers.
    pub upstreams: &'a [config::Upstream],
    /// The passive sockets of the listeners.
    pub gates: &'a [GateSpec],
}

/// The ids in use: by the last topology, or by a holder of a part of an older one, as a worker is
/// until the last connection of a route has ended.
#[derive(Debug, Default)]
pub struct Register {
    listeners: Given<ListenerId, Listener>,
    gates: Given<GateId, Gate>,
    routes: Given<RouteId, Route>,
    upstreams: Given<UpstreamId, Upstream>,
    servers: Given<ServerId, Server>,
}

impl Register {
    /// The topology that is asked for. What `before` has of the same name keeps its id and its
    /// numbers.
    ///
    /// # Panics
    /// When there are more than 65,535 of a kind, or a gate's listener is not among those asked
    /// for: the config does not let that through.
    pub fn next(&mut self, before: &Topology, asked: Asked<'_>) -> Topology {
        let mut next = Topology::default();
        let upstreams = asked.upstreams.iter();
        let upstreams: Vec<UpstreamId> =
            upstreams.map(|upstream| self.upstream(before, &mut next, upstream)).collect();
        for listener in asked.listeners {
            let upstream = upstreams[listener.upstream];
            self.listener(before, &mut next, listener, upstream);
        }
        for gate in asked.gates {
            self.gate(before, &mut next, gate);
        }
        next
    }

    fn upstream(
        &mut self,
        before: &Topology,
        next: &mut Topology,
        upstream: &config::Upstream,
    ) -> UpstreamId {
        let old = before.upstreams.iter().find(|(_, old)| old.name == upstream.name);
        let id = self.upstreams.id(old.map(|(id, _)| id), &next.upstreams);
        let kind = match &upstream.kind {
            config::UpstreamKind::Builtin(builtin) => UpstreamKind::Builtin(wiring(*builtin)),
            config::UpstreamKind::Servers { servers, balance } => {
                let servers: Vec<ServerId> =
                    servers.iter().map(|server| self.server(before, next, id, server)).collect();
                let standings = servers.iter().map(|id| next.servers[*id].standing.arc());
                let pool = Shared::new(Pool::new(standings));
                UpstreamKind::Servers { balance: *balance, servers, pool }
            }
        };
        let new = Upstream { name: upstream.name.clone(), kind };
        self.upstreams.put(&mut next.upstreams, id, new, old.map(|(_, old)| old));
        id
    }

    fn server(
        &mut self,
        before: &Topology,
        next: &mut Topology,
        upstream: UpstreamId,
        server: &config::Server,
    ) -> ServerId {
        let is_same = |old: &Server| (old.upstream, &old.name) == (upstream, &server.name);
        // Another address is another server: connections to the one are none to the other.
        let is_there = |old: &Server| (old.address, old.source) == (server.address, server.source);
        let old = before.servers.iter().find(|(_, old)| is_same(old) && is_there(old));
        let id = self.servers.id(old.map(|(id, _)| id), &next.servers);
        let standing = match old {
            Some((_, old)) => old.standing.clone(),
            None => Shared::new(Standing::new(server.weight)),
        };
        let new = Server {
            upstream,
            name: server.name.clone(),
            address: server.address,
            source: server.source,
            weight: server.weight,
            standing,
        };
        self.servers.put(&mut next.servers, id, new, old.map(|(_, old)| old));
        id
    }

    fn listener(
        &mut self,
        before: &Topology,
        next: &mut Topology,
        listener: &config::Listener,
        upstream: UpstreamId,
    ) {
        let old = before.listeners.iter().find(|(_, old)| old.name == listener.name);
        let id = self.listeners.id(old.map(|(id, _)| id), &next.listeners);
        // Another upstream is another route: connections stay where they are.
        let old_route =
            before.routes.iter().find(|(_, old)| (old.listener, old.upstream) == (id, upstream));
        let route = self.routes.id(old_route.map(|(id, _)| id), &next.routes);
        let timeouts = listener.timeouts.clone();
        let new = Route { listener: id, upstream, timeouts };
        self.routes.put(&mut next.routes, route, new, old_route.map(|(_, old)| old));
        let max_connections = listener.max_connections;
        // A bound that becomes another one keeps its count; the change sets its limit.
        let quota = max_connections.map(|limit| {
            let kept = old.and_then(|(_, old)| old.quota.clone());
            kept.unwrap_or_else(|| Shared::new(Budget::new(limit, 0)))
        });
        let new = Listener {
            name: listener.name.clone(),
            route,
            at_limit: listener.at_limit,
            max_connections,
            quota,
            sockets: listener.sockets.clone(),
            still: old.map_or_else(Shared::default, |(_, old)| old.still.clone()),
        };
        self.listeners.put(&mut next.listeners, id, new, old.map(|(_, old)| old));
    }

    fn gate(&mut self, before: &Topology, next: &mut Topology, gate: &GateSpec) {
        let named = next.listeners.iter().find(|(_, listener)| listener.name == gate.listener);
        let (listener, _) = named.expect("a gate is one of a listener's");
        let GateSpec { owner, address, inherited, .. } = *gate;
        let new = Gate { listener, owner, address, inherited };
        // Sockets of one address and worker are alike; each is one of its own all the same.
        let is_free = |id: GateId| next.gates.get(id).is_none();
        let old = before.gates.iter().find(|(id, old)| ***old == new && is_free(*id));
        let id = self.gates.id(old.map(|(id, _)| id), &next.gates);
        self.gates.put(&mut next.gates, id, new, old.map(|(_, old)| old));
    }
}

fn wiring(builtin: Builtin) -> Wiring {
    match builtin {
        Builtin::Echo => Wiring::Echo,
        Builtin::Discard => Wiring::Discard,
        Builtin::Hold => Wiring::Hold,
    }
}

/// The ids of one kind that were given, and to whom: somebody may still hold an older form.
#[derive(Debug)]
struct Given<I: Id, T>(IdMap<I, Vec<Weak<T>>>);

impl<I: Id, T> Default for Given<I, T> {
    fn default() -> Given<I, T> {
        Given(IdMap::new())
    }
}

impl<I: Id + PartialEq, T: PartialEq> Given<I, T> {
    /// The id of what had `old`, or the lowest that nobody uses and `next` has not given away.
    fn id(&mut self, old: Option<I>, next: &IdMap<I, Arc<T>>) -> I {
        let is_used = |id: I| {
            let given = self.0.get(id);
            let is_held = |forms: &Vec<Weak<T>>| forms.iter().any(|one| one.strong_count() > 0);
            next.get(id).is_some() || given.is_some_and(is_held)
        };
        let lowest = || (0..).map(I::at).find(|id| !is_used(*id)).expect("ids end in a panic");
        old.unwrap_or_else(lowest)
    }

    /// Puts a thing into `next`; one that is as it was stays the same.
    fn put(&mut self, next: &mut IdMap<I, Arc<T>>, id: I, new: T, old: Option<&Arc<T>>) {
        let thing = match old.filter(|old| ***old == new) {
            Some(old) => old.clone(),
            None => Arc::new(new),
        };
        let mut forms = self.0.remove(id).unwrap_or_default();
        forms.retain(|form| form.strong_count() > 0);
        if !forms.iter().any(|form| form.as_ptr() == Arc::as_ptr(&thing)) {
            forms.push(Arc::downgrade(&thing));
        }
        self.0.insert(id, forms);
        next.insert(id, thing);
    }
}
