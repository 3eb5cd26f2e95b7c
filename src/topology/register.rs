//! Ids by name: what keeps its name keeps its id, and what is new gets one that nobody uses.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use super::{
    Gate, Keeper, Listener, NamedRoute, Route, Server, Shared, Topology, Upstream, UpstreamKind,
};
use crate::base::{GateId, Id, IdMap, ListenerId, RouteId, ServerId, UpstreamId, WorkerId};
use crate::budget::Budget;
use crate::config::{self, Builtin, Timeouts};
use crate::conn::Wiring;
use crate::source::Tables;
use crate::tls::Loaded;
use crate::upstream::{Fleet, Pool, Standing};

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
    /// The worker whose gate has this accept queue.
    pub queue_of: WorkerId,
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
    /// What their files have; `None`: each has what it had.
    pub tls: Option<&'a Loaded>,
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
    sources: Shared<Tables>,
}

/// There is no number left for one more of a kind: each has 65,536, and what was taken away keeps
/// its own for as long as it has connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted(pub &'static str);

impl fmt::Display for Exhausted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exhausted(kind) = self;
        write!(
            out,
            "there are 65,536 {kind} at most, those with connections that were taken away among \
             them: try again when these have ended"
        )
    }
}

/// The upstreams of a config: their ids and their lines; and what files have of TLS.
#[derive(Clone, Copy)]
struct Ways<'a> {
    ids: &'a [UpstreamId],
    lines: &'a [config::Upstream],
    tls: Option<&'a Loaded>,
}

impl Register {
    /// A register whose topologies count the sources of so many connections.
    pub fn for_connections(connections: u32) -> Register {
        let sources = Shared::new(Tables::for_connections(connections));
        Register { sources, ..Register::default() }
    }

    /// The topology that is asked for. What `before` has of the same name keeps its id and its
    /// numbers, and so does what was taken away and has connections: who comes back is who it was.
    ///
    /// # Errors
    /// When ids are exhausted.
    ///
    /// # Panics
    /// When a gate's listener is not among those asked for, or files of one with TLS were not
    /// loaded.
    pub fn next(&mut self, before: &Topology, asked: Asked<'_>) -> Result<Topology, Exhausted> {
        self.look_again();
        let known = Known {
            listeners: self.listeners.known(&before.listeners, |listener| listener.name.clone()),
            routes: self.routes.known(&before.routes, |route| (route.listener, route.upstream)),
            upstreams: self.upstreams.known(&before.upstreams, |upstream| upstream.name.clone()),
            servers: self.servers.known(&before.servers, Server::identity),
        };
        let mut next = Topology { sources: self.sources.clone(), ..Topology::default() };
        let mut upstreams = Vec::new();
        for upstream in asked.upstreams {
            upstreams.push(self.upstream(&known, &mut next, upstream, asked.tls)?);
        }
        for listener in asked.listeners {
            let ways = Ways { ids: &upstreams, lines: asked.upstreams, tls: asked.tls };
            self.listener(&known, &mut next, listener, ways)?;
        }
        for gate in asked.gates {
            self.gate(before, &mut next, gate)?;
        }
        Ok(next)
    }

    /// Ids may have become free meanwhile.
    fn look_again(&mut self) {
        self.listeners.free_from = 0;
        self.gates.free_from = 0;
        self.routes.free_from = 0;
        self.upstreams.free_from = 0;
        self.servers.free_from = 0;
    }

    fn upstream(
        &mut self,
        known: &Known,
        next: &mut Topology,
        upstream: &config::Upstream,
        loaded: Option<&Loaded>,
    ) -> Result<UpstreamId, Exhausted> {
        let old = known.upstreams.get(&upstream.name);
        let id = self.upstreams.id(old, &next.upstreams).ok_or(Exhausted("upstreams"))?;
        let fleet = old.map_or_else(Shared::default, |(_, old)| old.fleet.clone());
        let kind = match &upstream.kind {
            config::UpstreamKind::Builtin(builtin) => UpstreamKind::Builtin(wiring(*builtin)),
            config::UpstreamKind::Servers { set, balance, origin: _ } => {
                let mut servers = Vec::new();
                for server in &set.servers {
                    let sources = upstream.sources_for(server.address).collect();
                    servers.push(self.server(known, next, (id, sources, &fleet), server)?);
                }
                let its = servers.iter().map(|id| &next.servers[*id]);
                let standings = its.map(|one| (&*one.name, one.standing.arc()));
                let pool = Arc::new(Pool::new(standings, fleet.arc()));
                UpstreamKind::Servers { balance: *balance, servers, pool }
            }
        };
        let (name, guards) = (upstream.name.clone(), upstream.guards.clone());
        let forwarding = Arc::new(upstream.forwarding.clone());
        let tls = upstream.tls.as_ref().map(|_| {
            let loaded = loaded.map(|loaded| loaded.upstreams.get(&name).cloned());
            let found = loaded.unwrap_or_else(|| old.and_then(|(_, old)| old.tls.clone()));
            found.expect("the files of an upstream with TLS were loaded")
        });
        let new = Upstream { name, kind, guards, forwarding, tls, fleet };
        self.upstreams.put(&mut next.upstreams, id, new, old);
        Ok(id)
    }

    fn server(
        &mut self,
        known: &Known,
        next: &mut Topology,
        (upstream, sources, fleet): (UpstreamId, Vec<IpAddr>, &Shared<Fleet>),
        server: &config::Server,
    ) -> Result<ServerId, Exhausted> {
        let mut new = Server {
            upstream,
            name: server.name.clone(),
            address: server.address,
            sources,
            terms: server.terms,
            standing: Shared::new(Standing::new(server.terms, fleet.arc())),
        };
        let old = known.servers.get(&new.identity());
        let id = self.servers.id(old, &next.servers).ok_or(Exhausted("servers"))?;
        if let Some((_, old)) = old {
            new.standing = old.standing.clone();
        }
        self.servers.put(&mut next.servers, id, new, old);
        Ok(id)
    }

    fn listener(
        &mut self,
        known: &Known,
        next: &mut Topology,
        listener: &config::Listener,
        ways: Ways<'_>,
    ) -> Result<(), Exhausted> {
        let old = known.listeners.get(&listener.name);
        let id = self.listeners.id(old, &next.listeners).ok_or(Exhausted("listeners"))?;
        let mut route = |upstream| self.route(known, next, (id, listener), (upstream, ways));
        let main = route(listener.upstream)?;
        let mut named = Vec::new();
        for one in &listener.sniffing.routes {
            let protocols = one.alpn.iter().map(|name| name.clone().into_bytes()).collect();
            let (names, route) = (one.server_names.clone(), route(one.upstream)?);
            named.push(NamedRoute { names, protocols, route });
        }
        let max_connections = listener.max_connections;
        // A bound that becomes another one keeps its count; the change sets its limit.
        let quota = max_connections.map(|limit| {
            let kept = old.and_then(|(_, old)| old.quota.clone());
            kept.unwrap_or_else(|| Shared::new(Budget::new(limit, 0)))
        });
        let is_as_it_was = |old: &Listener| {
            (&old.access, &old.per_source) == (&listener.access, &listener.per_source)
        };
        let keeper = match old.filter(|(_, old)| is_as_it_was(old)) {
            Some((_, old)) => old.keeper.clone(),
            None => {
                let before = old.and_then(|(_, old)| old.keeper.as_deref());
                Keeper::of(listener, before).map(Shared::new)
            }
        };
        let tls = listener.tls.as_ref().map(|_| {
            let loaded = ways.tls.map(|loaded| loaded.listeners.get(&listener.name).cloned());
            let found = loaded.unwrap_or_else(|| old.and_then(|(_, old)| old.tls.clone()));
            found.expect("the files of a listener with TLS were loaded")
        });
        let old_tls = old.and_then(|(_, old)| old.tls.as_ref().zip(old.tickets.clone()));
        let tickets = tls.as_ref().map(|tls| match old_tls {
            Some((old, tickets)) if old.ticket_keys == tls.ticket_keys => tickets,
            _ => tls.tickets.clone(),
        });
        let new = Listener {
            name: listener.name.clone(),
            route: main,
            named,
            sniffing: listener.sniffing.clone(),
            at_limit: listener.at_limit,
            evict_idle_after: listener.evict_idle_after,
            max_connections,
            quota,
            preamble: listener.preamble.clone(),
            tls,
            tickets,
            access: listener.access.clone(),
            per_source: listener.per_source.clone(),
            keeper,
            sockets: listener.sockets.clone(),
            still: old.map_or_else(Shared::default, |(_, old)| old.still.clone()),
        };
        self.listeners.put(&mut next.listeners, id, new, old);
        Ok(())
    }

    /// A listener's route to one of the upstreams: the same one for all names that lead there.
    fn route(
        &mut self,
        known: &Known,
        next: &mut Topology,
        (id, listener): (ListenerId, &config::Listener),
        (place, ways): (usize, Ways<'_>),
    ) -> Result<RouteId, Exhausted> {
        let (upstream, line) = (ways.ids[place], &ways.lines[place]);
        let is_it = |route: &Route| (route.listener, route.upstream) == (id, upstream);
        let made = next.routes.iter().find(|(_, route)| is_it(route)).map(|(made, _)| made);
        if let Some(made) = made {
            return Ok(made);
        }
        // Another upstream is another route: connections stay where they are.
        let old = known.routes.get(&(id, upstream));
        let route = self.routes.id(old, &next.routes).ok_or(Exhausted("routes"))?;
        let (connect, queue) = (line.connect_timeout, line.queue_timeout);
        let timeouts = Timeouts { connect, queue, ..listener.timeouts.clone() };
        let new = Route { listener: id, upstream, timeouts };
        self.routes.put(&mut next.routes, route, new, old);
        Ok(route)
    }

    fn gate(
        &mut self,
        before: &Topology,
        next: &mut Topology,
        gate: &GateSpec,
    ) -> Result<(), Exhausted> {
        let named = next.listeners.iter().find(|(_, listener)| listener.name == gate.listener);
        let (listener, _) = named.expect("a gate is one of a listener's");
        let GateSpec { owner, address, inherited, queue_of, .. } = *gate;
        // Gates with one queue are asked for one after the other.
        let has_queue = |one: &&Arc<Gate>| {
            (one.listener, one.address, one.owner) == (listener, address, queue_of)
        };
        let shares = next.gates.values().rfind(has_queue).filter(|_| queue_of != owner);
        let waiting = shares.map_or_else(Shared::default, |first| first.waiting.clone());
        let new = Gate { listener, owner, address, inherited, queue_of, waiting };
        // Sockets of one address and worker are alike; each is one of its own all the same.
        let is_free = |id: GateId| next.gates.get(id).is_none();
        let old = before.gates.iter().find(|(id, old)| ***old == new && is_free(*id));
        let old = old.map(|(id, old)| (id, old.clone()));
        let id = self.gates.id(old.as_ref(), &next.gates).ok_or(Exhausted("gates"))?;
        self.gates.put(&mut next.gates, id, new, old.as_ref());
        Ok(())
    }
}

fn wiring(builtin: Builtin) -> Wiring {
    match builtin {
        Builtin::Echo => Wiring::Echo,
        Builtin::Discard => Wiring::Discard,
        Builtin::Hold => Wiring::Hold,
    }
}

/// What makes a server the same one. At another address it is another: connections to the one are
/// none to the other.
type Identity = (UpstreamId, String, SocketAddr);

impl Server {
    fn identity(&self) -> Identity {
        (self.upstream, self.name.clone(), self.address)
    }
}

/// Things by what makes each the same one.
type By<K, I, T> = HashMap<K, (I, Arc<T>)>;

/// What there is, and what was taken away and is still held.
struct Known {
    listeners: By<String, ListenerId, Listener>,
    routes: By<(ListenerId, UpstreamId), RouteId, Route>,
    upstreams: By<String, UpstreamId, Upstream>,
    servers: By<Identity, ServerId, Server>,
}

/// The ids of one kind that were given, and to whom: somebody may still hold an older form.
#[derive(Debug)]
struct Given<I: Id, T> {
    forms: IdMap<I, Vec<Weak<T>>>,
    /// Every place below is in use.
    free_from: usize,
}

impl<I: Id, T> Default for Given<I, T> {
    fn default() -> Given<I, T> {
        Given { forms: IdMap::new(), free_from: 0 }
    }
}

impl<I: Id + PartialEq, T: PartialEq> Given<I, T> {
    /// Those of the topology, and those that somebody still holds, in the form that came last.
    fn known<K: Eq + Hash>(
        &self,
        before: &IdMap<I, Arc<T>>,
        identity: impl Fn(&T) -> K,
    ) -> By<K, I, T> {
        let last = |(id, forms): (I, &Vec<Weak<T>>)| {
            Some((id, forms.iter().rev().find_map(Weak::upgrade)?))
        };
        let held = self.forms.iter().filter_map(last);
        let now = before.iter().map(|(id, thing)| (id, thing.clone()));
        held.chain(now).map(|(id, thing)| (identity(&thing), (id, thing))).collect()
    }

    /// The id of what had `old`, or the lowest that nobody uses and `next` has not given away;
    /// `None`: there is none.
    fn id(&mut self, old: Option<&(I, Arc<T>)>, next: &IdMap<I, Arc<T>>) -> Option<I> {
        let is_used = |id: I| {
            let given = self.forms.get(id);
            let is_held = |forms: &Vec<Weak<T>>| forms.iter().any(|one| one.strong_count() > 0);
            next.get(id).is_some() || given.is_some_and(is_held)
        };
        if let Some((id, _)) = old {
            return Some(*id);
        }
        let mut places = self.free_from..=usize::from(u16::MAX);
        let free = places.find(|place| !is_used(I::at(*place)))?;
        self.free_from = free;
        Some(I::at(free))
    }

    /// Puts a thing into `next`; one that is as it was stays the same.
    fn put(&mut self, next: &mut IdMap<I, Arc<T>>, id: I, new: T, old: Option<&(I, Arc<T>)>) {
        let thing = match old.filter(|(_, old)| **old == new) {
            Some((_, old)) => old.clone(),
            None => Arc::new(new),
        };
        let mut forms = self.forms.remove(id).unwrap_or_default();
        forms.retain(|form| form.strong_count() > 0);
        if !forms.iter().any(|form| form.as_ptr() == Arc::as_ptr(&thing)) {
            forms.push(Arc::downgrade(&thing));
        }
        self.forms.insert(id, forms);
        next.insert(id, thing);
    }
}
