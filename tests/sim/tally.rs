//! Everything that a worker ever counted, over all topologies that it went by.

use std::ops::Deref;
use std::sync::Arc;

use portcullis::metrics::{
    ConnectFailure, Kept, ListenerCounters, ServerCounters, UpstreamCounters, WorkerCounters,
    WorkerOwnCounters,
};

use crate::world::World;

/// A worker's counters, those of what is gone among them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    latest: Arc<WorkerCounters>,
    /// Each with the listener of the scenario that it belongs to.
    pub listeners: Vec<(usize, Kept<ListenerCounters>)>,
    pub upstreams: Vec<Kept<UpstreamCounters>>,
    pub servers: Vec<Kept<ServerCounters>>,
}

impl Tally {
    /// Counters for what the world is now; says which.
    pub fn adopt(&mut self, world: &World) -> Arc<WorkerCounters> {
        let counters = Arc::new(world.counters(&self.latest));
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
