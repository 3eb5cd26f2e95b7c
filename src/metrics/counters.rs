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

    /// Attempts to connect that failed, but for those whose client left meanwhile.
    pub fn connects_failed(&self) -> u64 {
        let failures = ConnectFailure::ALL.into_iter();
        let failures = failures.filter(|failure| *failure != ConnectFailure::Abandoned);
        let failed = |server: &OfServer| -> u64 {
            failures.clone().map(|failure| server.failed[failure as usize].get()).sum()
        };
        self.servers.values().map(|server| failed(server)).sum()
    }

    /// Sums a counter over all listeners.
    pub fn over_listeners(&self, counter: impl Fn(&OfListener) -> u64) -> u64 {
        self.listeners.values().map(|listener| counter(listener)).sum()
    }
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
