//! One topology as the control plane shows and steers it.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::stat::fstat;

use crate::api::steer::Accepting;
use crate::base::{GateId, Id, IdMap, ListenerId, ServerId, UpstreamId};
use crate::config::Config;
use crate::metrics::WorkerCounters;
use crate::query::{Names, UpstreamNames};
use crate::ring::PassiveSocket;
use crate::topology::{Topology, UpstreamKind};

/// One topology with everything that depends on it. It never changes: another topology makes
/// another view, which shares what stays.
#[derive(Debug)]
pub struct View {
    /// The topology.
    pub topology: Arc<Topology>,
    /// The config that asked for it.
    pub config: Config,
    /// Which one it is: 1 at the start, one more at each change.
    pub generation: u64,
    /// Its names, in the order of the config.
    pub names: Names,
    /// By worker: its counters of what there is.
    pub counters: Vec<Arc<WorkerCounters>>,
    sockets: IdMap<GateId, PassiveSocket>,
    listeners: IdMap<ListenerId, Seen>,
}

/// A listener as it is seen from outside.
#[derive(Debug)]
struct Seen {
    addresses: Vec<String>,
    /// Each queue once: workers that share an inherited socket have a descriptor each for it.
    queues: Vec<PassiveSocket>,
    /// Its gates over all workers: every worker has one for each of its sockets.
    gates: u32,
    /// An operator lets its clients wait. A restart forgets that.
    paused: Arc<AtomicBool>,
}

impl View {
    /// The first view: of the topology that a config asks for and the sockets of its gates, with
    /// the counters of each worker.
    pub fn new(
        topology: Arc<Topology>,
        config: Config,
        sockets: IdMap<GateId, PassiveSocket>,
        counters: Vec<Arc<WorkerCounters>>,
    ) -> View {
        View::with(topology, (config, 1), sockets, counters, |_| Arc::default())
    }

    /// The view of the topology that comes after. `sockets` has those of its new gates, `counters`
    /// are each worker's of all that is in it.
    pub fn next(
        &self,
        topology: Arc<Topology>,
        config: Config,
        mut sockets: IdMap<GateId, PassiveSocket>,
        counters: Vec<Arc<WorkerCounters>>,
    ) -> View {
        let stay = self.sockets.iter().filter(|(id, _)| topology.gates.get(*id).is_some());
        for (id, socket) in stay {
            sockets.insert(id, socket.clone());
        }
        // An id that was there already means the same listener.
        let paused = |id| self.listeners.get(id).map_or_else(Arc::default, |it| it.paused.clone());
        let generation = self.generation + 1;
        View::with(topology, (config, generation), sockets, counters, paused)
    }

    fn with(
        topology: Arc<Topology>,
        (config, generation): (Config, u64),
        sockets: IdMap<GateId, PassiveSocket>,
        counters: Vec<Arc<WorkerCounters>>,
        paused: impl Fn(ListenerId) -> Arc<AtomicBool>,
    ) -> View {
        let names = names(&topology, &config, counters.len());
        let seen = |id| {
            let own = || topology.gates.iter().filter(move |(_, gate)| gate.listener == id);
            let addresses: BTreeSet<_> = own().map(|(_, gate)| gate.address).collect();
            Seen {
                addresses: addresses.iter().map(ToString::to_string).collect(),
                queues: queues(own().filter_map(|(gate, _)| sockets.get(gate).cloned())),
                gates: (own().count() * counters.len()) as u32,
                paused: paused(id),
            }
        };
        let listeners = topology.listeners.ids().map(|id| (id, seen(id))).collect();
        View { topology, config, generation, names, counters, sockets, listeners }
    }

    /// Where a listener listens.
    pub fn addresses(&self, listener: ListenerId) -> &[String] {
        &self.listeners[listener].addresses
    }

    /// Its passive sockets, each queue once.
    pub fn queues(&self, listener: ListenerId) -> &[PassiveSocket] {
        &self.listeners[listener].queues
    }

    /// Notes a pause or its end; whether that is a change. The workers are told by the caller.
    pub(in crate::control) fn set_paused(&self, listener: ListenerId, paused: bool) -> bool {
        self.listeners[listener].paused.swap(paused, Ordering::SeqCst) != paused
    }

    /// Whether the listener lets its clients wait.
    pub fn is_paused(&self, listener: ListenerId) -> bool {
        self.listeners[listener].paused.load(Ordering::SeqCst)
    }

    /// Listeners that let their clients wait.
    pub fn paused(&self) -> impl Iterator<Item = ListenerId> {
        self.listeners.ids().filter(|id| self.is_paused(*id))
    }

    /// How far a listener's pause or its end has come.
    pub fn accepting(&self, listener: ListenerId) -> Accepting {
        let still = self.topology.listeners[listener].still.load(Ordering::SeqCst);
        match self.is_paused(listener) {
            true if still == self.listeners[listener].gates => Accepting::Paused,
            true => Accepting::Pausing,
            false if still > 0 => Accepting::Resuming,
            false => Accepting::Open,
        }
    }
}

/// The topology's names, in the order of the config.
fn names(topology: &Topology, config: &Config, workers: usize) -> Names {
    let listeners = by_name(topology.listeners.iter().map(|(id, it)| (it.name.as_str(), id)));
    let upstreams = by_name(topology.upstreams.iter().map(|(id, it)| (it.name.as_str(), id)));
    let listener = |name: &String| Some((*listeners.get(name.as_str())?, name.clone()));
    let upstream = |name: &String| Some(of_upstream(topology, *upstreams.get(name.as_str())?));
    Names {
        workers,
        listeners: config.listeners.iter().filter_map(|one| listener(&one.name)).collect(),
        upstreams: config.upstreams.iter().filter_map(|one| upstream(&one.name)).collect(),
    }
}

fn by_name<'a, I: Id + Hash>(names: impl Iterator<Item = (&'a str, I)>) -> HashMap<&'a str, I> {
    names.collect()
}

fn of_upstream(topology: &Topology, id: UpstreamId) -> UpstreamNames {
    let upstream = &topology.upstreams[id];
    let servers = match &upstream.kind {
        UpstreamKind::Servers { servers, .. } => &servers[..],
        UpstreamKind::Builtin(_) => &[],
    };
    let named = |id: &ServerId| (*id, topology.servers[*id].name.clone());
    let servers = servers.iter().map(named).collect();
    UpstreamNames { id, name: upstream.name.clone(), servers }
}

fn queues(sockets: impl Iterator<Item = PassiveSocket>) -> Vec<PassiveSocket> {
    let mut known = BTreeSet::new();
    let is_new = |socket: &PassiveSocket| match fstat(socket) {
        Ok(found) => known.insert(found.st_ino),
        Err(_) => true,
    };
    sockets.filter(is_new).collect()
}
