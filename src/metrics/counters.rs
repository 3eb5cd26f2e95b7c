//! One worker's counters: written by that worker alone, read by any thread without a lock.

use std::ops::Deref;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::catalogue::listener::ListenerCounters;
use super::catalogue::server::ServerCounters;
use super::catalogue::upstream::UpstreamCounters;
use super::catalogue::worker::WorkerOwnCounters;
use super::kinds::ConnectFailure;
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
    listeners: Vec<Kept<ListenerCounters>>,
    servers: Vec<Kept<ServerCounters>>,
    /// The sums of counters that no worker writes any more.
    settled: Settled,
    /// A listener was removed at some time.
    any: bool,
}

#[derive(Debug, Default)]
struct Settled {
    listeners: ListenerCounters,
    servers: ServerCounters,
}

impl Removed {
    /// Keeps what a worker has counted of whatever is in `before` and not in `after`.
    pub fn keep(&mut self, before: &WorkerCounters, after: &WorkerCounters) {
        let is_gone = |(id, _): &(ListenerId, _)| after.listeners.get(*id).is_none();
        let gone = before.listeners.iter().filter(is_gone);
        self.listeners.extend(gone.map(|(_, counters)| counters.clone()));
        let is_gone = |(id, _): &(ServerId, _)| after.servers.get(*id).is_none();
        let gone = before.servers.iter().filter(is_gone);
        self.servers.extend(gone.map(|(_, counters)| counters.clone()));
        self.any |= !self.listeners.is_empty();
    }

    /// The counters of removed listeners; empty when none was ever removed.
    pub fn listeners(&mut self) -> impl Iterator<Item = &ListenerCounters> {
        settle(&mut self.listeners, |over| self.settled.listeners.absorb(over));
        let settled = self.any.then_some(&self.settled.listeners);
        self.listeners.iter().map(|kept| &***kept).chain(settled)
    }

    /// The counters of removed servers.
    pub fn servers(&mut self) -> impl Iterator<Item = &ServerCounters> {
        settle(&mut self.servers, |over| self.settled.servers.absorb(over));
        self.servers.iter().map(|kept| &***kept).chain([&self.settled.servers])
    }
}

/// Sums up counters without another holder, so that the list is bounded by those still in use.
fn settle<T>(kept: &mut Vec<Kept<T>>, sum_up: impl Fn(&T)) {
    kept.retain_mut(|counters| match Arc::get_mut(counters) {
        Some(over) => {
            sum_up(over);
            false
        }
        None => true,
    });
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
