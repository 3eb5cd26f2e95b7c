//! One worker's counters: written by it alone, read by anybody, without a lock.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::catalogue::listener::OfListener;
use super::catalogue::server::OfServer;
use super::catalogue::upstream::OfUpstream;
use super::catalogue::worker::OfWorker;
use super::histogram::Histogram;
use super::kinds::{Cause, ConnectFailure};
use super::reading::{Counts, Durations};

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

/// How many of each the config has; the counters of one are found by its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Listeners.
    pub listeners: usize,
    /// Upstreams.
    pub upstreams: usize,
    /// Servers of all upstreams.
    pub servers: usize,
}

/// One worker's counters. What belongs to a connection is counted once, at its listener and its
/// server; totals are sums. All of it lies on cache lines of the worker's own.
#[derive(Debug)]
pub struct WorkerCounters {
    worker: CachePadded<OfWorker>,
    /// By listener of the config.
    pub listeners: Box<[CachePadded<OfListener>]>,
    /// By upstream of the config.
    pub upstreams: Box<[CachePadded<OfUpstream>]>,
    /// By server, in the order of the ring's list.
    pub servers: Box<[CachePadded<OfServer>]>,
}

impl WorkerCounters {
    /// Counters that stand at 0.
    pub fn new(extent: Extent) -> WorkerCounters {
        WorkerCounters {
            worker: CachePadded::default(),
            listeners: (0..extent.listeners).map(|_| CachePadded::default()).collect(),
            upstreams: (0..extent.upstreams).map(|_| CachePadded::default()).collect(),
            servers: (0..extent.servers).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Attempts to connect that failed, but for those whose client left meanwhile.
    pub fn connects_failed(&self) -> u64 {
        let failures = ConnectFailure::ALL.into_iter();
        let failures = failures.filter(|failure| *failure != ConnectFailure::Abandoned);
        let failed = |server: &OfServer| -> u64 {
            failures.clone().map(|failure| server.failed[failure as usize].get()).sum()
        };
        self.servers.iter().map(|server| failed(server)).sum()
    }

    /// Sums a counter over all listeners.
    pub fn over_listeners(&self, counter: impl Fn(&OfListener) -> u64) -> u64 {
        self.listeners.iter().map(|listener| counter(listener)).sum()
    }
}

impl Deref for WorkerCounters {
    type Target = OfWorker;

    fn deref(&self) -> &OfWorker {
        &self.worker
    }
}
