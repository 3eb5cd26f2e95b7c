//! What a worker has of the topology: each route from its first client to its last, each server for
//! as long as a connection may go there.
//!
//! A change of the topology touches no connection. What it takes away is kept here, as it was, for
//! those that are on it, and gives its id back with the last of them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::table::CountedServer;
use super::tls_in::Termination;
use super::tls_out::Towards;
use super::{Plan, Preface, PrefacePlan, proxy, sniff};
use crate::base::{GateId, IdMap, Millis, RouteId, ServerId, Source, UpstreamId, WorkerId};
use crate::config::{ConnectWhen, Forwarding, Guards, SendProxy, Timeouts};
use crate::conn::{Onward, Wiring};
use crate::metrics::{Kept, ListenerCounters, ServerCounters, UpstreamCounters, WorkerCounters};
use crate::ring::Operations;
use crate::source::Tables;
use crate::topology::{Gone, Listener, Parties, Route, Server, Topology, Upstream, UpstreamKind};
use crate::upstream::{ClientKey, Failure, Room, Servers, Standing, Tried};

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
    pub(super) counters: Kept<ListenerCounters>,
    pub(super) route: Arc<Route>,
    /// Dropped after its counters.
    pub(super) listener: Arc<Listener>,
    /// When its connections end by themselves.
    pub(super) timeouts: Timeouts,
    /// What shows that their servers are gone.
    pub(super) guards: Guards,
    pub(super) wiring: Wiring,
    /// When servers hear of those that come, and what they learn of them.
    pub(super) forwarding: Arc<Forwarding>,
    /// The same for those of which servers get a header: they may have come before a change.
    pub(super) telling: Option<Arc<Forwarding>>,
    /// How clients are read before a server is chosen: those that come if `reads`, and those that
    /// are being read all the same.
    pub(super) preface: Option<Arc<Preface>>,
    pub(super) reads: bool,
    /// How TLS of clients ends here, and how servers are spoken to in it.
    pub(super) tls: Option<Rc<Termination>>,
    pub(super) towards: Option<Rc<Towards>>,
    /// Connections that are on it.
    open: u32,
    /// Its listener is gone, and its connections are to end.
    ends: bool,
}

impl Line {
    /// Where the bytes of a client go that comes now.
    pub(super) fn onward(&self) -> Onward {
        Onward {
            wiring: self.wiring,
            is_headed: self.forwarding.send_proxy != SendProxy::Off,
            is_lazy: self.forwarding.connect == ConnectWhen::Lazy,
            is_asked: self.towards.is_some(),
        }
    }

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
    pub(super) counters: Kept<ServerCounters>,
    /// Held, so that its id is not given to another server; dropped after its counters.
    pub(super) server: Arc<Server>,
    standing: Arc<Standing>,
    /// Connections that count for it.
    open: u32,
    /// The source that the next one is opened from.
    source: Source,
    /// It is gone, and its connections are to end.
    ends: bool,
}

/// How the clients of a listener are read before a server is chosen, if they are.
fn preface_of(listener: &Arc<Listener>, topology: &Topology) -> Option<Arc<Preface>> {
    let preamble = &listener.preamble;
    let header = proxy::decoder(preamble);
    let trust = header.is_some().then(|| preamble.clone());
    let decoders: Vec<_> = header.into_iter().chain(sniff::decoder(listener, topology)).collect();
    let within = preamble.timeout;
    let is_kept = listener.keeper.is_some() || listener.tls.is_some();
    (is_kept || !decoders.is_empty()).then(|| Arc::new(Preface { decoders, within, trust }))
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

    /// Goes by another topology from here on. Its ring takes the servers in that are new. Says
    /// whether a timeout of somebody's is shorter than it was.
    pub(super) fn adopt<R: Operations>(
        &mut self,
        ring: &mut R,
        topology: Arc<Topology>,
        counters: &WorkerCounters,
    ) -> bool {
        for (id, server) in topology.servers.iter() {
            let before = self.servers.get(id);
            if before.is_none_or(|before| before.server.sources != server.sources) {
                ring.add_server(id);
            }
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
        before.iter().any(is_shorter)
    }

    /// The most handshakes of clients at once that a listener allows.
    pub(super) fn most_handshakes(&self) -> usize {
        let tls = self.lines.iter().filter_map(|(_, line)| line.tls.as_ref());
        tls.map(|tls| tls.most()).max().unwrap_or_default()
    }

    /// Connections of these listeners and servers are to end, unless they have come back. Says
    /// whether there are any.
    pub(super) fn end_left(&mut self, what: &Gone) -> bool {
        let mut any = false;
        let is_gone = |id| self.topology.listeners.get(id).is_none();
        let gone: Vec<_> = what.listeners.iter().filter(|(id, _)| is_gone(*id)).collect();
        for (_, line) in self.lines.iter_mut() {
            if gone.iter().any(|(id, _)| *id == line.route.listener) {
                line.ends = true;
                any |= line.open > 0;
            }
        }
        for (id, _) in &what.servers {
            if let Some(place) = self.servers.get_mut(*id)
                && self.topology.servers.get(*id).is_none()
            {
                place.ends = true;
                any |= place.open > 0;
            }
        }
        any
    }

    fn take_over(&mut self, topology: Arc<Topology>, counters: &WorkerCounters) {
        for (id, server) in topology.servers.iter() {
            let before = self.servers.remove(id);
            let source = before.as_ref().map_or(Source(0), |place| place.source);
            let place = Place {
                source,
                server: server.clone(),
                standing: server.standing.arc(),
                counters: counters.servers[id].clone(),
                open: before.map_or(0, |place| place.open),
                ends: false,
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
                line.ends = false;
            }
        }
        for (id, route) in topology.routes.iter() {
            let before = self.lines.remove(id);
            let listener = &topology.listeners[route.listener];
            let preface = self.prefaces.listeners.get(&*listener.name).cloned();
            // Who is on another of its routes was read before.
            let is_main = listener.route == id;
            let preface =
                preface.or_else(|| is_main.then(|| preface_of(listener, &topology)).flatten());
            let last = before.as_ref().and_then(|line| line.preface.clone());
            let forwarding = topology.upstreams[route.upstream].forwarding.clone();
            let tells = Some(&forwarding).filter(|now| now.send_proxy != SendProxy::Off).cloned();
            let told = before.as_ref().and_then(|line| line.telling.clone());
            let had = before.as_ref().map(|line| (line.tls.clone(), line.towards.clone()));
            let (tls, towards) = had.unwrap_or_default();
            let line = Line {
                tls: Termination::of(tls, listener, &topology).filter(|_| is_main),
                towards: Towards::of(towards, topology.upstreams[route.upstream].tls.as_ref()),
                route: route.clone(),
                listener: listener.clone(),
                timeouts: route.timeouts.clone(),
                guards: topology.upstreams[route.upstream].guards.clone(),
                telling: tells.or(told),
                forwarding,
                reads: preface.is_some(),
                preface: preface.or(last),
                wiring: topology.wiring_of(route.upstream),
                counters: counters.listeners[route.listener].clone(),
                open: before.map_or(0, |line| line.open),
                ends: false,
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
                let servers = Servers::over(*balance, pool.clone());
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

    /// What sources have.
    pub(super) fn sources(&self) -> &Tables {
        &self.topology.sources
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

    /// Whether a route and a server are here.
    pub(super) fn has(&self, route: RouteId, server: Option<ServerId>) -> bool {
        let has_server = server.is_none_or(|server| self.servers.get(server).is_some());
        self.lines.get(route).is_some() && has_server
    }

    /// A connection comes from another process, on a route and to a server that are here.
    pub(super) fn arrive(&mut self, route: RouteId, server: Option<ServerId>) {
        self.lines[route].open += 1;
        if let Some(place) = server.map(|server| &mut self.servers[server]) {
            place.standing.connections().take_over();
            place.open += 1;
        }
    }

    /// A client that came by one route goes on by another. Says whether there is one: what a
    /// client asks for may be looked up in names that a change has taken away since.
    pub(super) fn change(&mut self, from: RouteId, to: RouteId) -> bool {
        let Some(line) = self.lines.get_mut(to) else { return false };
        line.open += 1;
        self.leave(from);
        true
    }

    /// A client has left.
    pub(super) fn leave(&mut self, route: RouteId) {
        self.lines[route].open -= 1;
        self.leaving |= self.lines[route].open == 0 && self.topology.routes.get(route).is_none();
    }

    /// Whether a connection is on a listener or a server that is gone and whose connections are to
    /// end. Another upstream of the same listener leaves it where it is.
    pub(super) fn is_left(&self, route: RouteId, server: Option<ServerId>) -> bool {
        let ends = |server| self.servers.get(server).is_some_and(|place| place.ends);
        self.lines[route].ends || server.is_some_and(ends)
    }

    /// Whether the choice of a server depends on the client's address.
    pub(super) fn is_by_source(&self, route: RouteId) -> bool {
        self.groups[self.lines[route].route.upstream].upstream.is_by_source()
    }

    /// The next server that a connection has not tried. It counts for it from here on.
    pub(super) fn next_server(
        &mut self,
        route: RouteId,
        tried: &mut Tried,
        turn: usize,
        client: ClientKey,
    ) -> Option<ServerId> {
        let group = &mut self.groups[self.lines[route].route.upstream];
        let (Some(choice), UpstreamKind::Servers { servers, .. }) =
            (&mut group.servers, &group.upstream.kind)
        else {
            panic!("a builtin upstream was asked for a server");
        };
        let server = servers[choice.next(tried, turn, client)?];
        self.count_in(server);
        Some(server)
    }

    /// A connection counts for a server again from here on, if that may have one more.
    pub(super) fn enter_server(&mut self, server: ServerId) -> bool {
        let has_entered = self.servers[server].standing.connections().enter();
        if has_entered {
            self.count_in(server);
        }
        has_entered
    }

    fn count_in(&mut self, server: ServerId) {
        let place = &mut self.servers[server];
        place.open += 1;
        place.counters.attempts.add(1);
    }

    /// The source address whose turn it is at a server.
    pub(super) fn next_source(&mut self, server: ServerId) -> Source {
        let place = &mut self.servers[server];
        place.source = place.source.next();
        place.source
    }

    /// Whether a server is probed once it is silent for as long as its upstream says.
    pub(super) fn is_probed(&self, server: Option<CountedServer>) -> bool {
        let place = server.and_then(|server| self.servers.get(server.id()));
        place.is_some_and(|place| !place.server.address.ip().to_canonical().is_loopback())
    }

    /// A client was joined to a server.
    pub(super) fn joined(&self, server: ServerId) {
        self.servers[server].standing.joined();
    }

    /// A client found a server wanting.
    pub(super) fn failed(&self, server: ServerId, failure: Failure, now: Millis) {
        self.servers[server].standing.failed(failure, now);
    }

    /// A connection to a server that began then has ended, `by_server` so and without a byte of it,
    /// or otherwise.
    pub(super) fn ended(
        &self,
        server: ServerId,
        began: Millis,
        by_server: Option<(Failure, Duration)>,
        now: Millis,
    ) {
        let standing = &self.servers[server].standing;
        let early_end = standing.fleet().early_end();
        match by_server {
            _ if early_end.is_zero() => {}
            Some((failure, lived)) if lived < early_end => standing.failed(failure, now),
            _ => standing.outlived(began),
        }
    }

    /// A connection no longer counts for a server.
    pub(super) fn leave_server(&mut self, server: ServerId) {
        let place = &mut self.servers[server];
        place.open -= 1;
        place.standing.connections().leave();
        place.counters.left.add(1);
        self.leaving |= place.open == 0 && self.topology.servers.get(server).is_none();
    }

    /// Room at the servers of an upstream that somebody's route leads to.
    pub(super) fn room(&self, upstream: UpstreamId) -> &Room {
        self.groups[upstream].upstream.fleet.room()
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
