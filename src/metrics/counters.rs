//! One worker's counters: written by it alone, read by anybody, without a lock.

use std::ops::Deref;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::catalogue::listener::OfListener;
use super::catalogue::server::OfServer;
use super::catalogue::upstream::OfUpstream;
use super::catalogue::worker::OfWorker;
use super::kinds::ConnectFailure;
use crate::base::{Id, IdMap, ListenerId, ServerId, UpstreamId};

/// Counters on cache lines of their worker's own. They go with their id from one topology to the
/// next, and stay for as long as somebody counts there.
pub type Kept<T> = Arc<CachePadded<T>>;

/// One worker's counters. What belongs to a connection is counted once, at its listener and its
/// server; totals are sums. By default there is nothing that a connection could be counted at.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    worker: Kept<OfWorker>,
    /// By listener.
    pub listeners: IdMap<ListenerId, Kept<OfListener>>,
    /// By upstream.
    pub upstreams: IdMap<UpstreamId, Kept<OfUpstream>>,
    /// By server.
    pub servers: IdMap<ServerId, Kept<OfServer>>,
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

impl OfServer {
    /// Attempts to connect that failed, but for those whose client left meanwhile.
    pub fn connects_failed(&self) -> u64 {
        let failures = ConnectFailure::ALL.into_iter();
        let failures = failures.filter(|failure| *failure != ConnectFailure::Abandoned);
        failures.map(|failure| self.failed[failure as usize].get()).sum()
    }
}

/// What was counted of listeners and servers that are gone: without it, what is summed over all of
/// them would fall.
#[derive(Debug, Default)]
pub struct Removed {
    /// A worker may still count there.
    listeners: Vec<Kept<OfListener>>,
    servers: Vec<Kept<OfServer>>,
    /// The sums of those where nobody counts any more.
    settled: Settled,
    /// Any was ever removed.
    any: bool,
}

#[derive(Debug, Default)]
struct Settled {
    listeners: OfListener,
    servers: OfServer,
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

    /// What was counted of listeners; nothing at all when none was ever removed.
    pub fn listeners(&mut self) -> impl Iterator<Item = &OfListener> {
        settle(&mut self.listeners, |over| self.settled.listeners.absorb(over));
        let settled = self.any.then_some(&self.settled.listeners);
        self.listeners.iter().map(|kept| &***kept).chain(settled)
    }

    /// What was counted of servers.
    pub fn servers(&mut self) -> impl Iterator<Item = &OfServer> {
        settle(&mut self.servers, |over| self.settled.servers.absorb(over));
        self.servers.iter().map(|kept| &***kept).chain([&self.settled.servers])
    }
}

/// Sums up those that nobody else holds, so that their number is bounded by what is still in use.
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
    type Target = OfWorker;

    fn deref(&self) -> &OfWorker {
        &self.worker
    }
}
