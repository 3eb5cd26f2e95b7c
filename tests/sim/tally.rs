//! Everything that a worker ever counted, over all topologies that it went by.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use portcullis::metrics::{
    ConnectFailure, Kept, ListenerCounters, ServerCounters, UpstreamCounters, WorkerCounters,
    WorkerOwnCounters,
};

use portcullis::upstream::Standing;

use crate::world::World;

/// A worker's counters, those of what is gone among them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    latest: Arc<WorkerCounters>,
    /// Each with the listener of the scenario that it belongs to.
    pub listeners: Vec<(usize, Kept<ListenerCounters>)>,
    pub upstreams: Vec<Kept<UpstreamCounters>>,
    pub servers: Vec<Kept<ServerCounters>>,
    /// By what a listener or a server keeps when it goes and comes back.
    of_still: Vec<(Arc<AtomicU32>, Kept<ListenerCounters>)>,
    of_standing: Vec<(Arc<Standing>, Kept<ServerCounters>)>,
}

impl Tally {
    /// Counters for what the world is now; says which.
    pub fn adopt(&mut self, world: &World) -> Arc<WorkerCounters> {
        let topology = world.topology();
        let listeners = topology.listeners.iter().filter_map(|(id, listener)| {
            let still = listener.still.arc();
            let known = self.of_still.iter().find(|(one, _)| Arc::ptr_eq(one, &still))?;
            Some((id, known.1.clone()))
        });
        let servers = topology.servers.iter().filter_map(|(id, server)| {
            let standing = server.standing.arc();
            let known = self.of_standing.iter().find(|(one, _)| Arc::ptr_eq(one, &standing))?;
            Some((id, known.1.clone()))
        });
        let counters = Arc::new(world.counters(&self.latest.with(listeners, servers)));
        for (id, listener) in topology.listeners.iter() {
            self.of_still.push((listener.still.arc(), counters.listeners[id].clone()));
        }
        for (id, server) in topology.servers.iter() {
            self.of_standing.push((server.standing.arc(), counters.servers[id].clone()));
        }
        for (id, listener) in counters.listeners.iter() {
            if !self.listeners.iter().any(|(_, known)| Arc::ptr_eq(known, listener)) {
                self.listeners.push((world.listener_of(id), listener.clone()));
            }
        }
        add(&mut self.upstreams, counters.upstreams.values());
        add(&mut self.servers, counters.servers.values());
        self.latest = counters.clone();
        counters
    }

    pub fn over_listeners(&self, counter: impl Fn(&ListenerCounters) -> u64) -> u64 {
        self.listeners.iter().map(|(_, listener)| counter(listener)).sum()
    }

    /// The same of one listener of the scenario.
    pub fn of_listener(&self, listener: usize, counter: impl Fn(&ListenerCounters) -> u64) -> u64 {
        let own = self.listeners.iter().filter(|(of, _)| *of == listener);
        own.map(|(_, listener)| counter(listener)).sum()
    }

    pub fn over_servers(&self, counter: impl Fn(&ServerCounters) -> u64) -> u64 {
        self.servers.iter().map(|server| counter(server)).sum()
    }

    /// Attempts to connect that failed, but for those whose client left meanwhile.
    pub fn connects_failed(&self) -> u64 {
        let failures = ConnectFailure::ALL.into_iter();
        let failures = failures.filter(|failure| *failure != ConnectFailure::Abandoned);
        failures
            .map(|failure| self.over_servers(|server| server.failed[failure as usize].get()))
            .sum()
    }
}

fn add<'a, T: 'a>(all: &mut Vec<Kept<T>>, counters: impl Iterator<Item = &'a Kept<T>>) {
    for one in counters {
        if !all.iter().any(|known| Arc::ptr_eq(known, one)) {
            all.push(one.clone());
        }
    }
}

impl Deref for Tally {
    type Target = WorkerOwnCounters;

    fn deref(&self) -> &WorkerOwnCounters {
        &self.latest
    }
}
