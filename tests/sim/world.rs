//! What the gateway of a run is made of, as its config would say it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use portcullis::base::{GateId, Id, ListenerId, RouteId, WorkerId};
use portcullis::budget::Budget;
use portcullis::config::{
    self, AllDown, Balance, Builtin, Forwarding, NamedRoute, SocketOptions, Terms,
};
use portcullis::conn::Wiring;
use portcullis::metrics::WorkerCounters;
use portcullis::tls::Loaded;
use portcullis::topology::{Asked, Gate, GateSpec, Gone, Register, Route, Topology, UpstreamKind};
use portcullis::upstream::{Rules, Servers};

use crate::evictions;
use crate::forwarding::Tellings;
use crate::hellos::{self, Speech};
use crate::keepers::Keeping;
use crate::mutation::Mutation;
use crate::scenario::Scenario;
use crate::secure;

/// The upstream of all listeners that have servers, and the one that they may be sent to instead.
const POOL: &str = "pool";
const OTHER_POOL: &str = "other-pool";
pub const POOLS: [&str; 2] = [POOL, OTHER_POOL];

/// What may become of the config while the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A listener goes.
    Close(usize),
    /// It comes again.
    Open(usize),
    /// A listener's clients go to the other upstream, or back.
    Redirect(usize),
    /// A server goes.
    DropServer(usize),
    /// It comes again.
    AddServer(usize),
    /// A server is called otherwise, and so is another one, at the same address.
    Rename(usize),
    /// The servers of an upstream are told of clients in another way.
    Retell(usize, usize),
    /// The clients of a listener are read in another way.
    Reread(usize, usize),
    /// An upstream gets TLS, or loses it.
    Resecure(usize),
    /// Others may come to a listener, or more of one source.
    Rekeep(usize, usize),
}

/// Everything that a topology is made from, and the one that was.
#[derive(Debug)]
pub struct World {
    register: Register,
    /// Of the scenario, and whether the config names it now.
    listeners: Vec<(config::Listener, bool)>,
    upstreams: Vec<config::Upstream>,
    /// Those of all workers, of the listeners that ever were.
    gates: Vec<GateSpec>,
    topology: Topology,
    /// What the last change took away.
    gone: Gone,
    /// Every choice of servers that there ever was.
    pools: Vec<Servers>,
    renamed: u32,
    /// How many servers a connection may try in vain; 0: each.
    attempts: u32,
    all_down: AllDown,
    /// By server.
    terms: Vec<Terms>,
    /// How servers may be told of clients.
    later: Vec<Forwarding>,
    /// What listeners may ask of clients' addresses.
    keepings: Vec<Keeping>,
    /// What clients begin with.
    speech: Option<Speech>,
    /// The files of those that speak TLS.
    loaded: Option<Loaded>,
    /// By listener: where clients go that ask for it by name.
    pub names: Vec<Arc<OtherRoute>>,
}

/// The other route of a listener as its clients' decoders know it, which may have left the
/// topology. Held, as the worker's own decoders do, so that its id is given to no other.
#[derive(Debug, Default)]
pub struct OtherRoute(Mutex<Option<(RouteId, Arc<Route>)>>);

impl OtherRoute {
    pub fn id(&self) -> Option<RouteId> {
        self.0.lock().unwrap().as_ref().map(|(id, _)| *id)
    }
}

impl World {
    pub fn new(scenario: &Scenario, balance: Balance, mutation: Mutation) -> World {
        let mut upstreams: Vec<config::Upstream> = Vec::new();
        let mut listeners = Vec::new();
        for (nth, wiring) in scenario.wirings.iter().enumerate() {
            let asked = upstream(*wiring, scenario, balance);
            let known = upstreams.iter().position(|one| one.name == asked.name);
            let upstream = known.unwrap_or(upstreams.len());
            if known.is_none() {
                upstreams.push(asked);
            }
            let listener = listener(nth, upstream, scenario, mutation);
            listeners.push((listener, true));
        }
        let broken = |way: &Forwarding| Tellings::broken(mutation, way.clone());
        if let Some(pool) = upstreams.iter_mut().find(|one| one.name == POOL) {
            let [way, other] = scenario.tellings.pools.each_ref().map(broken);
            pool.forwarding = way;
            let name = OTHER_POOL.to_owned();
            let other = config::Upstream { name, forwarding: other, ..pool.clone() };
            for nth in (0..listeners.len()).filter(|nth| scenario.is_named(*nth)) {
                let to = upstreams.len();
                let server_names = scenario.speech.map(|_| hellos::routed()).into_iter().collect();
                let named = NamedRoute { server_names, alpn: vec![], upstream: to };
                listeners[nth].0.sniffing.routes = vec![named];
                if let Some(speech) = scenario.speech {
                    speech.obey(&mut listeners[nth].0, nth);
                }
            }
            upstreams.push(other);
        }
        if let Some(tls) = &scenario.tls {
            tls.write(&mut listeners, &mut upstreams, mutation);
        }
        let workers = 0..scenario.workers;
        let gates = workers.flat_map(|owner| {
            let own = move |listener| gate(listener, owner);
            (0..scenario.wirings.len()).map(own)
        });
        let mut world = World {
            register: Register::default(),
            gates: gates.collect(),
            listeners,
            upstreams,
            topology: Topology::default(),
            gone: Gone::default(),
            pools: Vec::new(),
            renamed: 0,
            attempts: scenario.attempts,
            all_down: scenario.all_down,
            terms: scenario.terms.clone(),
            speech: scenario.speech,
            loaded: scenario.tls.as_ref().map(|tls| tls.loaded()),
            later: scenario.tellings.later.iter().map(broken).collect(),
            keepings: scenario.keepings.iter().flat_map(|all| all.later.clone()).collect(),
            names: scenario.wirings.iter().map(|_| Arc::default()).collect(),
        };
        let broken = |keeping: &mut Keeping| *keeping = keeping.clone().broken(mutation);
        world.keepings.iter_mut().for_each(broken);
        world.renew();
        world
    }

    /// Makes the topology that is asked for now: of the listeners that are there and the upstreams
    /// that they go to.
    fn renew(&mut self) {
        let there = self.listeners.iter().filter(|(_, is_there)| *is_there);
        let mut listeners: Vec<_> = there.map(|(listener, _)| listener.clone()).collect();
        let mut upstreams: Vec<config::Upstream> = Vec::new();
        let mut place_of = |place: &mut usize| {
            let asked = &self.upstreams[*place];
            let known = upstreams.iter().position(|one| one.name == asked.name);
            *place = known.unwrap_or(upstreams.len());
            if known.is_none() {
                upstreams.push(asked.clone());
            }
        };
        for listener in &mut listeners {
            place_of(&mut listener.upstream);
            listener.sniffing.routes.iter_mut().for_each(|named| place_of(&mut named.upstream));
        }
        let is_there = |gate: &&GateSpec| listeners.iter().any(|one| one.name == gate.listener);
        let gates: Vec<_> = self.gates.iter().filter(is_there).cloned().collect();
        let asked = Asked {
            listeners: &listeners,
            upstreams: &upstreams,
            gates: &gates,
            tls: self.loaded.as_ref(),
        };
        let next = self.register.next(&self.topology, asked).expect("few of each kind");
        self.gone = self.topology.gone(&next);
        self.topology = next;
        assert_eq!(self.topology.check(), Ok(()), "a topology that does not hold together");
        for listener in self.topology.listeners.values() {
            if let Some(named) = listener.named.first() {
                let route = (named.route, self.topology.routes[named.route].clone());
                *self.names[number_of(&listener.name)].0.lock().unwrap() = Some(route);
            }
        }
        for upstream in self.topology.upstreams.values() {
            if let UpstreamKind::Servers { balance, pool, .. } = &upstream.kind {
                let World { attempts, all_down, .. } = *self;
                upstream.fleet.set_rules(Rules { attempts, all_down, ..Rules::default() });
                self.pools.push(Servers::over(*balance, pool.clone()));
            }
        }
    }

    /// Another topology, if this changes anything.
    pub fn change(&mut self, change: Change) -> bool {
        let is_new = match change {
            Change::Close(nth) | Change::Open(nth) => {
                let (listener, is_there) = &mut self.listeners[nth];
                let opens = change == Change::Open(nth);
                // Who is on an old life of it would count for another bound.
                listener.max_connections.is_none() && std::mem::replace(is_there, opens) != opens
            }
            Change::Redirect(nth) => {
                let upstream = &mut self.listeners[nth].0.upstream;
                let to = match &*self.upstreams[*upstream].name {
                    POOL => OTHER_POOL,
                    OTHER_POOL => POOL,
                    _ => return false,
                };
                let found = self.upstreams.iter().position(|one| one.name == to);
                *upstream = found.expect("both are there, or none is");
                true
            }
            Change::Retell(pool, nth) => self.retell(pool, nth),
            Change::Resecure(pool) => self.pool(pool).map(secure::resecure).is_some(),
            Change::Reread(nth, way) => {
                let (listener, is_there) = &mut self.listeners[nth];
                let speech = self.speech.filter(|_| !listener.sniffing.routes.is_empty());
                let Some(speech) = speech else { return false };
                speech.obey(listener, way);
                *is_there
            }
            Change::Rekeep(nth, later) => {
                let (listener, is_there) = &mut self.listeners[nth];
                let Keeping { access, per_source } = self.keepings[later].clone();
                let is_same = listener.access == access && listener.per_source == per_source;
                if !*is_there || is_same {
                    return false;
                }
                (listener.access, listener.per_source) = (access, per_source);
                true
            }
            Change::DropServer(nth) => self.with_servers(|servers, _| {
                let name = name_of_server(nth);
                let found = servers.iter().position(|server| server.name == name);
                found.filter(|_| servers.len() > 1).map(|at| servers.remove(at)).is_some()
            }),
            Change::AddServer(nth) => {
                let terms = self.terms[nth];
                self.with_servers(|servers, _| {
                    let is_there = servers.iter().any(|one| one.name == name_of_server(nth));
                    if !is_there {
                        servers.push(server(nth, terms));
                    }
                    !is_there
                })
            }
            Change::Rename(nth) => self.with_servers(|servers, renamed| {
                let place = nth % servers.len();
                *renamed += 1;
                servers[place].name = format!("renamed-{renamed}");
                true
            }),
        };
        if is_new {
            self.renew();
        }
        is_new
    }

    fn pool(&mut self, pool: usize) -> Option<&mut config::Upstream> {
        self.upstreams.iter_mut().find(|one| one.name == POOLS[pool])
    }

    fn retell(&mut self, pool: usize, nth: usize) -> bool {
        let later = self.later[nth].clone();
        let Some(upstream) = self.pool(pool) else { return false };
        let before = std::mem::replace(&mut upstream.forwarding, later);
        upstream.forwarding != before
    }

    fn with_servers(
        &mut self,
        change: impl FnOnce(&mut Vec<config::Server>, &mut u32) -> bool,
    ) -> bool {
        let pool = self.upstreams.iter_mut().find(|one| one.name == POOL);
        match pool.map(|pool| &mut pool.kind) {
            Some(config::UpstreamKind::Servers { set, .. }) => {
                change(&mut set.servers, &mut self.renamed)
            }
            _ => false,
        }
    }

    /// What there is now.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What the last change took away.
    pub fn gone(&self) -> Gone {
        self.gone.clone()
    }

    /// No server has more connections than it may.
    pub fn check_bounds(&self) {
        for server in self.topology.servers.values() {
            let (open, most) = (server.standing.open(), server.terms.max_connections);
            assert!(most.is_none_or(|most| open <= most), "{open} connections, {most:?} may be");
        }
    }

    /// A server has a connection.
    pub fn any_open(&self) -> bool {
        self.pools.iter().any(Servers::any_open)
    }

    /// The listener of the scenario that has this id now.
    pub fn listener_of(&self, id: ListenerId) -> usize {
        let name = &self.topology.listeners[id].name;
        let found = self.listeners.iter().position(|(one, _)| one.name == *name);
        found.expect("it is one of the scenario's")
    }

    /// What a worker is told: no ring has the gates of another.
    pub fn of_worker(&self, worker: usize) -> Topology {
        let own = |id: &GateId| self.topology.gates[*id].owner == WorkerId::at(worker);
        let gates = self.topology.gates.ids().filter(own);
        let gates = gates.map(|id| (id, self.topology.gates[id].clone())).collect();
        Topology { gates, ..self.topology.clone() }
    }

    /// A worker's counters, those of `before` among them.
    pub fn counters(&self, before: &WorkerCounters) -> WorkerCounters {
        self.topology.counters(before)
    }

    /// The gate of a worker's listener.
    pub fn gate_of(&self, worker: usize, listener: usize) -> Option<GateId> {
        let listener = self.id_of(listener)?;
        let is_its = |gate: &Gate| (gate.listener, gate.owner) == (listener, WorkerId::at(worker));
        self.topology.gates.iter().find(|(_, gate)| is_its(gate)).map(|(id, _)| id)
    }

    /// What a listener is called now.
    pub fn id_of(&self, listener: usize) -> Option<ListenerId> {
        let name = name_of(listener);
        let found = self.topology.listeners.iter().find(|(_, one)| one.name == name);
        found.map(|(id, _)| id)
    }

    /// The bound of a listener.
    pub fn quota(&self, listener: usize) -> Option<Arc<Budget>> {
        Some(self.topology.listeners[self.id_of(listener)?].quota.as_ref()?.arc())
    }

    /// How many workers a pause of a listener keeps still.
    pub fn still(&self, listener: usize) -> u32 {
        let still =
            |id| self.topology.listeners[id].still.load(std::sync::atomic::Ordering::SeqCst);
        self.id_of(listener).map_or(0, still)
    }

    /// The servers that clients are joined to, if any are.
    pub fn servers(&self) -> Option<Servers> {
        let upstream = self.topology.upstreams.values().find(|one| one.name == POOL)?;
        match &upstream.kind {
            UpstreamKind::Servers { balance, pool, .. } => {
                Some(Servers::over(*balance, pool.clone()))
            }
            UpstreamKind::Builtin(_) => None,
        }
    }
}

/// What the config calls a listener of the scenario.
pub fn name_of(listener: usize) -> String {
    format!("listener-{listener}")
}

/// The listener of the scenario that the config calls so.
pub fn number_of(name: &str) -> usize {
    let number = name.rsplit('-').next().and_then(|number| number.parse().ok());
    number.expect("a name of ours")
}

fn gate(listener: usize, owner: usize) -> GateSpec {
    GateSpec {
        listener: name_of(listener),
        owner: WorkerId::at(owner),
        address: SocketAddr::from(([127, 0, 0, 1], 7000 + listener as u16)),
        inherited: false,
        queue_of: WorkerId::at(owner),
    }
}

/// A listener of the scenario, which goes to this upstream.
fn listener(
    nth: usize,
    upstream: usize,
    scenario: &Scenario,
    mutation: Mutation,
) -> config::Listener {
    let keeping = scenario.keepings.as_ref().map(|all| all.first[nth].clone());
    let keeping = keeping.map(|keeping| keeping.broken(mutation));
    let (access, per_source) = keeping.map(|it| (it.access, it.per_source)).unwrap_or_default();
    config::Listener {
        name: name_of(nth),
        bind: Vec::new(),
        upstream,
        preamble: config::Preamble::default(),
        sniffing: config::Sniffing::default(),
        access,
        tls: None,
        per_source,
        sockets: SocketOptions::default(),
        max_connections: scenario.quotas[nth],
        at_limit: scenario.at_limit,
        evict_idle_after: evictions::idle_after(scenario, mutation),
        timeouts: scenario.timeouts.clone(),
    }
}

fn upstream(wiring: Wiring, scenario: &Scenario, balance: Balance) -> config::Upstream {
    let builtin = |name: &str, builtin| (name.to_owned(), config::UpstreamKind::Builtin(builtin));
    let (name, kind) = match wiring {
        Wiring::Echo => builtin("echo", Builtin::Echo),
        Wiring::Discard => builtin("discard", Builtin::Discard),
        Wiring::Hold => builtin("hold", Builtin::Hold),
        Wiring::Pair => {
            let server = |nth| server(nth, scenario.terms[nth]);
            let servers = (0..scenario.servers).map(server).collect();
            (POOL.to_owned(), config::UpstreamKind::listed(servers, balance))
        }
    };
    let (connect_timeout, queue_timeout) = (scenario.timeouts.connect, scenario.timeouts.queue);
    let guards = scenario.guards.clone();
    config::Upstream {
        name,
        kind,
        connect_timeout,
        queue_timeout,
        guards,
        ..config::Upstream::default()
    }
}

fn name_of_server(nth: usize) -> String {
    format!("server-{nth}")
}

fn server(nth: usize, terms: Terms) -> config::Server {
    config::Server {
        name: name_of_server(nth),
        // Not of loopback: it is probed.
        address: SocketAddr::from(([10, 1, 0, 2], 9000 + nth as u16)),
        terms,
    }
}
