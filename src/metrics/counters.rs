//! One worker's counters: written by that worker alone, read by any thread without a lock.

use std::ops::Deref;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::catalogue::listener::ListenerCounters;
use super::catalogue::server::ServerCounters;
use super::catalogue::upstream::UpstreamCounters;
use super::catalogue::worker::WorkerOwnCounters;
use super::kinds::ConnectFailure;
use super::reading;
use crate::base::{Id, IdMap, ListenerId, ServerId, UpstreamId};

/// Counters on cache lines of their worker's own. They go with their id from one topology to the
/// next, and live as long as a holder of the `Arc`.
pub type Kept<T> = Arc<CachePadded<T>>;

/// One worker's counters: its own, and those of each listener, upstream and server. A connection is
/// counted once, at its listener and its server; totals are sums. The default has no listener, no
/// upstream and no server.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    worker: Kept<WorkerOwnCounters>,
    /// By listener.
    pub listeners: IdMap<ListenerId, Kept<ListenerCounters>>,
    /// By upstream.
    pub upstreams: IdMap<UpstreamId, Kept<UpstreamCounters>>,
    /// By server.
    pub servers: IdMap<ServerId, Kept<ServerCounters>>,
}

impl WorkerCounters {
    /// Counters for these; those that are here already are the same.
    pub fn next(
        &self,
        listeners: impl Iterator<Item = ListenerId>,
        upstreams: impl Iterator<Item = UpstreamId>,
        servers: impl Iterator<Item = ServerId>,
    ) -> WorkerCounters {
        WorkerCounters {
            worker: self.worker.clone(),
            listeners: kept(&self.listeners, listeners),
            upstreams: kept(&self.upstreams, upstreams),
            servers: kept(&self.servers, servers),
        }
    }
}

impl WorkerCounters {
    /// The same, and these, which were counted earlier.
    pub fn with(
        &self,
        listeners: impl IntoIterator<Item = (ListenerId, Kept<ListenerCounters>)>,
        servers: impl IntoIterator<Item = (ServerId, Kept<ServerCounters>)>,
    ) -> WorkerCounters {
        let own = |(id, counters): (ListenerId, &Kept<ListenerCounters>)| (id, counters.clone());
        let listeners = self.listeners.iter().map(own).chain(listeners).collect();
        let own = |(id, counters): (ServerId, &Kept<ServerCounters>)| (id, counters.clone());
        let servers = self.servers.iter().map(own).chain(servers).collect();
        let (worker, upstreams) = (self.worker.clone(), self.upstreams.clone());
        WorkerCounters { worker, listeners, upstreams, servers }
    }
}

/// What a predecessor has counted, for one worker to go on from.
#[derive(Debug, Default)]
pub struct Former {
    /// Of the worker itself.
    pub worker: reading::Worker,
    /// Of listeners.
    pub listeners: Vec<(ListenerId, reading::Listener)>,
    /// Of upstreams.
    pub upstreams: Vec<(UpstreamId, reading::Upstream)>,
    /// Of servers.
    pub servers: Vec<(ServerId, reading::Server)>,
}

impl WorkerCounters {
    /// Goes on from there. Only the owner may.
    pub fn resume(&self, former: &Former) {
        self.worker.resume(&former.worker);
        for (id, reading) in &former.listeners {
            self.listeners.get(*id).into_iter().for_each(|own| own.resume(reading));
        }
        for (id, reading) in &former.upstreams {
            self.upstreams.get(*id).into_iter().for_each(|own| own.resume(reading));
        }
        for (id, reading) in &former.servers {
            let Some(own) = self.servers.get(*id) else { continue };
            own.resume(reading);
            own.left.add(reading.attempts.saturating_sub(reading.open));
        }
    }
}

impl ServerCounters {
    /// Attempts to connect that failed, but for those whose client left meanwhile.
    pub fn connects_failed(&self) -> u64 {
        let failures = ConnectFailure::ALL.into_iter();
        let failures = failures.filter(|failure| *failure != ConnectFailure::Abandoned);
        failures.map(|failure| self.failed[failure as usize].get()).sum()
    }
}

/// Counters of removed listeners and servers: without them, totals would fall after a removal.
#[derive(Debug, Default)]
pub struct Removed {
    /// A worker may still count there.
    listeners: Vec<Of<ListenerId, ListenerCounters>>,
    servers: Vec<Of<ServerId, ServerCounters>>,
    /// The sums of counters that no worker writes any more.
    settled: Settled,
    /// A listener was removed at some time.
    any: bool,
}

/// What a worker has counted of a thing.
#[derive(Debug)]
struct Of<I, T> {
    worker: usize,
    id: I,
    counters: Kept<T>,
}

#[derive(Debug, Default)]
struct Settled {
    listeners: ListenerCounters,
    servers: ServerCounters,
}

impl Removed {
    /// Keeps what a worker has counted of whatever is in `before` and not in `after`.
    pub fn keep(&mut self, worker: usize, before: &WorkerCounters, after: &WorkerCounters) {
        keep(&mut self.listeners, worker, &before.listeners, &after.listeners);
        keep(&mut self.servers, worker, &before.servers, &after.servers);
        self.any |= !self.listeners.is_empty();
    }

    /// What a worker has counted until now: of what is in `now`, and of what comes back while the
    /// worker still counts there. Ids are not reused meanwhile.
    pub fn give_back(
        &mut self,
        worker: usize,
        now: &WorkerCounters,
        listeners: impl Iterator<Item = ListenerId>,
        servers: impl Iterator<Item = ServerId>,
    ) -> WorkerCounters {
        self.settle();
        let listeners = give_back(&mut self.listeners, worker, &now.listeners, listeners);
        let servers = give_back(&mut self.servers, worker, &now.servers, servers);
        now.with(listeners, servers)
    }

    /// Goes on from what a predecessor has counted of listeners that it had no more.
    pub fn resume(&mut self, listeners: &reading::Listener) {
        self.settled.listeners.resume(listeners);
        self.any = true;
    }

    fn settle(&mut self) {
        settle(&mut self.listeners, |over| self.settled.listeners.absorb(over));
        settle(&mut self.servers, |over| self.settled.servers.absorb(over));
    }

    /// The counters of removed listeners; empty when none was ever removed.
    pub fn listeners(&mut self) -> impl Iterator<Item = &ListenerCounters> {
        self.settle();
        let settled = self.any.then_some(&self.settled.listeners);
        self.listeners.iter().map(|kept| &**kept.counters).chain(settled)
    }

    /// The counters of removed servers.
    pub fn servers(&mut self) -> impl Iterator<Item = &ServerCounters> {
        self.settle();
        self.servers.iter().map(|kept| &**kept.counters).chain([&self.settled.servers])
    }
}

/// Sums up counters without another holder, so that the list is bounded by those still in use.
fn settle<I, T>(kept: &mut Vec<Of<I, T>>, sum_up: impl Fn(&T)) {
    kept.retain_mut(|one| match Arc::get_mut(&mut one.counters) {
        Some(over) => {
            sum_up(over);
            false
        }
        None => true,
    });
}

fn keep<I: Id, T>(
    removed: &mut Vec<Of<I, T>>,
    worker: usize,
    before: &IdMap<I, Kept<T>>,
    after: &IdMap<I, Kept<T>>,
) {
    let gone = before.iter().filter(|(id, _)| after.get(*id).is_none());
    removed.extend(gone.map(|(id, counters)| Of { worker, id, counters: counters.clone() }));
}

fn give_back<I: Id + PartialEq, T>(
    removed: &mut Vec<Of<I, T>>,
    worker: usize,
    now: &IdMap<I, Kept<T>>,
    asked: impl Iterator<Item = I>,
) -> Vec<(I, Kept<T>)> {
    let mut found = |id: I| {
        let is_it = |one: &Of<I, T>| one.worker == worker && one.id == id;
        let place = removed.iter().position(is_it)?;
        Some((id, removed.swap_remove(place).counters))
    };
    asked.filter(|id| now.get(*id).is_none()).filter_map(&mut found).collect()
}

fn kept<I: Id, T: Default>(
    before: &IdMap<I, Kept<T>>,
    ids: impl Iterator<Item = I>,
) -> IdMap<I, Kept<T>> {
    ids.map(|id| (id, before.get(id).cloned().unwrap_or_default())).collect()
}

impl Deref for WorkerCounters {
    type Target = WorkerOwnCounters;

    fn deref(&self) -> &WorkerOwnCounters {
        &self.worker
    }
}
