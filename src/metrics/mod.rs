//! What is counted: one set of counters per worker, written by it alone.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

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

/// How many reasons a connection can end for.
pub const REASONS: usize = 12;

/// One worker's counters, on cache lines of their own.
#[derive(Debug, Default)]
pub struct WorkerCounters(CachePadded<Counters>);

impl std::ops::Deref for WorkerCounters {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

/// The catalogue.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients accepted.
    pub accepted: Counter,
    /// Connections open now.
    pub open: Counter,
    /// Connections ended, by the number of the reason.
    pub ended: [Counter; REASONS],
    /// Bytes delivered to servers (or taken by a builtin).
    pub to_upstream_bytes: Counter,
    /// Bytes delivered to clients.
    pub to_client_bytes: Counter,
    /// Connects that failed or timed out, each followed by the next server or `no-server`.
    pub connects_failed: Counter,
    /// Completions of an earlier life of their slot: never expected, ignored.
    pub stale_completions: Counter,
    /// Accepts that stayed silent while their queue was not empty, armed anew.
    pub accepts_rearmed: Counter,
    /// Accepts that the kernel refused for want of files or memory.
    pub accepts_pressed: Counter,
    /// Clients accepted without a permit: never expected, served all the same.
    pub overshoot: Counter,
    /// Clients that were still in an accept queue when a drain's time was over: the close of the
    /// passive socket reset them.
    pub queue_reset: Counter,
    /// Receives that found no buffer and waited for one.
    pub buffers_starved: Counter,
    /// Chunks moved out of the pool because their peer does not read.
    pub chunks_parked: Counter,
    /// Cancels asked for again because an operation had not ended.
    pub cancels_repeated: Counter,
    /// Turns of the worker's loop.
    pub turns: Counter,
    /// When the last turn began, in milliseconds of the gateway's clock: the heartbeat.
    pub beat_millis: Counter,
}
