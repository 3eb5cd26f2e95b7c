//! What the gateway of a run is made of, as its config would say it.

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis::base::{GateId, Id, ListenerId, WorkerId};
use portcullis::budget::Budget;
use portcullis::config::{self, Auto, Balance, Builtin};
use portcullis::conn::Wiring;
use portcullis::metrics::WorkerCounters;
use portcullis::topology::{Asked, GateSpec, Register, Topology, UpstreamKind};
use portcullis::upstream::Servers;

use crate::scenario::Scenario;

/// The upstream of all listeners that have servers.
const POOL: &str = "pool";

/// Everything that a topology is made from, and the one that was.
#[derive(Debug)]
pub struct World {
    register: Register,
    listeners: Vec<config::Listener>,
    upstreams: Vec<config::Upstream>,
    gates: Vec<GateSpec>,
    topology: Topology,
}

impl World {
    pub fn new(scenario: &Scenario, balance: Balance) -> World {
        let mut upstreams: Vec<config::Upstream> = Vec::new();
        let mut listeners = Vec::new();
        for (nth, wiring) in scenario.wirings.iter().enumerate() {
            let asked = upstream(*wiring, scenario, balance);
            let known = upstreams.iter().position(|one| one.name == asked.name);
            let upstream = known.unwrap_or(upstreams.len());
            if known.is_none() {
                upstreams.push(asked);
            }
            listeners.push(config::Listener {
                name: name_of(nth),
                bind: Vec::new(),
                upstream,
                backlog: Auto::Auto,
                max_connections: scenario.quotas[nth],
                at_limit: scenario.at_limit,
                timeouts: scenario.timeouts.clone(),
            });
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
        };
        world.renew();
        world
    }

    /// Makes the topology that is asked for now.
    fn renew(&mut self) {
        let World { listeners, upstreams, gates, .. } = self;
        let asked = Asked { listeners, upstreams, gates };
        self.topology = self.register.next(&self.topology, asked);
        assert_eq!(self.topology.check(), Ok(()), "a topology that does not hold together");
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
        let Topology { listeners, upstreams, servers, .. } = &self.topology;
        before.next(listeners.ids(), upstreams.ids(), servers.ids())
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
                Some(Servers::over(*balance, pool.arc()))
            }
            UpstreamKind::Builtin(_) => None,
        }
    }
}

fn name_of(listener: usize) -> String {
    format!("listener-{listener}")
}

fn gate(listener: usize, owner: usize) -> GateSpec {
    GateSpec {
        listener: name_of(listener),
        owner: WorkerId::at(owner),
        address: SocketAddr::from(([127, 0, 0, 1], 7000 + listener as u16)),
        inherited: false,
    }
}

fn upstream(wiring: Wiring, scenario: &Scenario, balance: Balance) -> config::Upstream {
    let builtin = |name: &str, builtin| (name.to_owned(), config::UpstreamKind::Builtin(builtin));
    let (name, kind) = match wiring {
        Wiring::Echo => builtin("echo", Builtin::Echo),
        Wiring::Discard => builtin("discard", Builtin::Discard),
        Wiring::Hold => builtin("hold", Builtin::Hold),
        Wiring::Pair => {
            let servers = (0..scenario.servers).map(server).collect();
            (POOL.to_owned(), config::UpstreamKind::Servers { servers, balance })
        }
    };
    config::Upstream { name, kind, connect_timeout: scenario.timeouts.connect }
}

fn server(nth: usize) -> config::Server {
    config::Server {
        name: format!("server-{nth}"),
        address: SocketAddr::from(([127, 0, 0, 2], 9000 + nth as u16)),
        source: None,
        weight: 1,
    }
}
