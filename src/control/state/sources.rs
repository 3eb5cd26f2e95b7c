//! What the control plane knows and readings are taken from: what stays from the start on, and the
//! view of the present topology.

use std::sync::{Arc, Mutex, MutexGuard};

use super::view::View;
use crate::access_log::AccessLog;
use crate::base::{Clock, GateId, IdMap, ServerId};
use crate::budget::Budget;
use crate::config::{Class, Config};
use crate::control::handle::WorkerHandle;
use crate::host::facts::Given;
use crate::host::usage::ProcessStart;
use crate::metrics::{ListenerCounters, Removed, ServerCounters};
use crate::ring::{PassiveSocket, ServerSocket};
use crate::topology::{self, Asked, GateSpec, Register, Topology};
use crate::worker::{Adoption, Order};

/// Everything that a reading is taken from. Taking one makes no worker wait.
#[derive(Debug)]
pub struct Sources {
    /// The gateway's time.
    pub clock: Clock,
    /// The workers.
    pub workers: Arc<[WorkerHandle]>,
    /// The budget of connections.
    pub budget: Arc<Budget>,
    /// The limit that the budget comes from, as the doctor calls it.
    pub bound_by: String,
    /// Facts about the kernel and our own limits, as found at the start.
    pub given: Given,
    /// The workers' rings have slots for connections to servers.
    pub with_upstream: bool,
    /// Lines for each connection.
    pub access_log: Option<AccessLog>,
    /// The start of the process, which does not change.
    pub process_start: ProcessStart,
    /// The present view.
    pub present: Present,
}

/// The present view and register. Only the control thread takes the lock while the gateway runs.
#[derive(Debug)]
pub struct Present(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    view: Arc<View>,
    register: Register,
    removed: Removed,
}

impl Present {
    /// The view at the start; `register` has given the ids in it.
    pub fn new(view: View, register: Register) -> Present {
        let removed = Removed::default();
        Present(Mutex::new(Inside { view: Arc::new(view), register, removed }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// The view of what there is.
    pub fn view(&self) -> Arc<View> {
        self.inside().view.clone()
    }

    /// The view of what there is, and what was counted of what there was.
    pub(super) fn with_removed<T>(&self, use_it: impl FnOnce(&Arc<View>, &mut Removed) -> T) -> T {
        let Inside { view, removed, .. } = &mut *self.inside();
        use_it(view, removed)
    }

    /// The topology that this config and these gates ask for; what stays in it keeps its ids.
    pub fn topology_for(&self, config: &Config, gates: &[GateSpec]) -> Topology {
        let Inside { view, register, .. } = &mut *self.inside();
        let asked = Asked { listeners: &config.listeners, upstreams: &config.upstreams, gates };
        register.next(&view.topology, asked)
    }

    /// Goes over to a topology that was made by [`Present::topology_for`]; says what it is now.
    fn go_over(
        &self,
        topology: Arc<Topology>,
        config: Config,
        sockets: IdMap<GateId, PassiveSocket>,
    ) -> Arc<View> {
        let mut inside = self.inside();
        let view = Arc::new(inside.view.next(topology, config, sockets));
        let before = std::mem::replace(&mut inside.view, view.clone());
        for (before, after) in before.counters.iter().zip(&view.counters) {
            inside.removed.keep(before, after);
        }
        view
    }
}

impl Sources {
    /// The view of what there is.
    pub fn view(&self) -> Arc<View> {
        self.present.view()
    }

    /// Sums a counter over all listeners that there are or were.
    pub fn over_listeners(&self, counter: &dyn Fn(&ListenerCounters) -> u64) -> u64 {
        self.present.with_removed(|view, removed| {
            let gone: u64 = removed.listeners().map(counter).sum();
            let all = view.counters.iter().flat_map(|counters| counters.listeners.values());
            gone + all.map(|listener| counter(listener)).sum::<u64>()
        })
    }

    /// Sums a counter over all servers that there are or were.
    pub fn over_servers(&self, counter: &dyn Fn(&ServerCounters) -> u64) -> u64 {
        self.present.with_removed(|view, removed| {
            let gone: u64 = removed.servers().map(counter).sum();
            let all = view.counters.iter().flat_map(|counters| counters.servers.values());
            gone + all.map(|server| counter(server)).sum::<u64>()
        })
    }

    /// When the change to another topology takes effect; `None`: it is none.
    pub fn class_of(&self, next: &Topology) -> Option<Class> {
        let class = topology::class_of(&self.view().topology, next);
        // A ring's table has the size that its start gave it.
        let has_slots = self.with_upstream || !next.joins_servers();
        class.map(|class| if has_slots { class } else { Class::Restart })
    }

    /// Goes over to a topology that was made by [`Present::topology_for`]: hands what is new in it
    /// to the workers' rings and has the workers adopt it. `sockets` has those of its new gates.
    /// Gives the generation that the workers have once they have done so.
    ///
    /// # Panics
    /// When the change takes a start.
    pub fn adopt(
        &self,
        topology: Arc<Topology>,
        config: Config,
        sockets: IdMap<GateId, PassiveSocket>,
    ) -> u64 {
        let class = self.class_of(&topology);
        assert_ne!(class, Some(Class::Restart), "the rings have no slots for servers");
        let before = self.view();
        self.supply(&before.topology, &topology, &sockets);
        for listener in topology.listeners.values() {
            if let (Some(quota), Some(limit)) = (&listener.quota, listener.max_connections) {
                quota.set_limit(limit);
            }
        }
        let view = self.present.go_over(topology.clone(), config, sockets);
        for (worker, counters) in self.workers.iter().zip(&view.counters) {
            worker.order(Order::Adopt(Adoption {
                topology: topology.clone(),
                counters: counters.clone(),
                generation: view.generation,
                within: view.config.gateway.drain_timeout,
            }));
            // A gate that is new to a paused listener is to be still, too.
            view.paused().for_each(|listener| worker.order(Order::Pause(listener)));
        }
        view.generation
    }

    /// Hands over to every ring what is new.
    fn supply(&self, old: &Topology, new: &Topology, sockets: &IdMap<GateId, PassiveSocket>) {
        for WorkerHandle { supplier, .. } in self.workers.iter() {
            for (id, socket) in sockets.iter() {
                supplier.gate(id, socket.clone());
            }
            let is_new =
                |(id, _): &(ServerId, &Arc<topology::Server>)| old.servers.get(*id).is_none();
            for (id, server) in new.servers.iter().filter(is_new) {
                let (address, source) = (server.address, server.source);
                supplier.server(id, ServerSocket { address, source });
            }
        }
    }
}
