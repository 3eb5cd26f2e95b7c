//! One worker's counters: written by it alone, read by anybody, without a lock.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::catalogue::listener::OfListener;
use super::catalogue::server::OfServer;
use super::catalogue::upstream::OfUpstream;
use super::catalogue::worker::OfWorker;
use super::histogram::Histogram;
use super::kinds::{Cause, ConnectFailure};
use super::reading::{Counts, Durations};
use crate::base::{Id, IdMap, ListenerId, ServerId, UpstreamId};

/// A number that one thread changes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owner may: it is a load and a store, not an atomic addition.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Sets the number. Only the owner may.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of `N` causes, found by the cause's number.
#[derive(Debug)]
pub struct By<C, const N: usize> {
    counters: [Counter; N],
    cause: PhantomData<C>,
}

impl<C, const N: usize> Default for By<C, N> {
    fn default() -> By<C, N> {
        By { counters: std::array::from_fn(|_| Counter::default()), cause: PhantomData }
    }
}

impl<C, const N: usize> Deref for By<C, N> {
    type Target = [Counter];

    fn deref(&self) -> &[Counter] {
        &self.counters
    }
}

/// What workers count, each for itself, and what a reading says of all of it.
pub trait Counted {
    /// What the reading says.
    type Read;

    /// The sum of what `all` have counted.
    fn sum<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self::Read
    where
        Self: 'a;
}

impl Counted for Counter {
    type Read = u64;

    fn sum<'a>(all: impl Iterator<Item = &'a Counter> + Clone) -> u64 {
        all.map(Counter::get).sum()
    }
}

impl<C: Cause, const N: usize> Counted for By<C, N> {
    type Read = Counts;

    fn sum<'a>(all: impl Iterator<Item = &'a By<C, N>> + Clone) -> Counts
    where
        C: 'a,
    {
        let sum = |number: usize| all.clone().map(|by| by.counters[number].get()).sum();
        C::words().enumerate().map(|(number, word)| (word.into(), sum(number))).collect()
    }
}

impl Counted for Histogram {
    type Read = Durations;

    fn sum<'a>(all: impl Iterator<Item = &'a Histogram> + Clone) -> Durations {
        Durations::of(all)
    }
}

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
