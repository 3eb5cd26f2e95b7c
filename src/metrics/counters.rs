//! One worker's counters: written by it alone, read by anybody, without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::histogram::{CONNECT_BOUNDS, Histogram, LIFETIME_BOUNDS};
use super::kinds::{CONNECT_FAILURES, ConnectFailure, REFUSALS};
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

/// How many reasons a connection can end for.
pub const REASONS: usize = 13;

/// How many of each there are, where their ids are the first ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Listeners.
    pub listeners: usize,
    /// Upstreams.
    pub upstreams: usize,
    /// Servers of all upstreams.
    pub servers: usize,
}

/// Counters on cache lines of their worker's own. They go with their id from one topology to the
/// next, and stay for as long as somebody counts there.
pub type Counted<T> = Arc<CachePadded<T>>;

/// One worker's counters. What belongs to a connection is counted once, at its listener and its
/// server; totals are sums.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    worker: Counted<OfWorker>,
    /// By listener.
    pub listeners: IdMap<ListenerId, Counted<OfListener>>,
    /// By upstream.
    pub upstreams: IdMap<UpstreamId, Counted<OfUpstream>>,
    /// By server.
    pub servers: IdMap<ServerId, Counted<OfServer>>,
}

impl WorkerCounters {
    /// Counters that stand at 0.
    pub fn new(extent: Extent) -> WorkerCounters {
        let Extent { listeners, upstreams, servers } = extent;
        WorkerCounters::default().next(
            (0..listeners).map(Id::at),
            (0..upstreams).map(Id::at),
            (0..servers).map(Id::at),
        )
    }

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
    before: &IdMap<I, Counted<T>>,
    ids: impl Iterator<Item = I>,
) -> IdMap<I, Counted<T>> {
    ids.map(|id| (id, before.get(id).cloned().unwrap_or_default())).collect()
}

impl std::ops::Deref for WorkerCounters {
    type Target = OfWorker;

    fn deref(&self) -> &OfWorker {
        &self.worker
    }
}

/// What is counted of a listener's connections.
#[derive(Debug)]
pub struct OfListener {
    /// Clients accepted, those that a limit then resets among them.
    pub accepted: Counter,
    /// Clients refused, by the number of [`super::Refusal`].
    pub refused: [Counter; REFUSALS],
    /// Connections ended, by the number of the reason.
    pub ended: [Counter; REASONS],
    /// Bytes delivered to servers (or taken by a builtin), as they are delivered.
    pub to_upstream_bytes: Counter,
    /// Bytes delivered to clients.
    pub to_client_bytes: Counter,
    /// From the accept to the join with a server.
    pub join: Histogram,
    /// From the accept to the end.
    pub lifetime: Histogram,
}

impl Default for OfListener {
    fn default() -> OfListener {
        OfListener {
            accepted: Counter::default(),
            refused: Default::default(),
            ended: Default::default(),
            to_upstream_bytes: Counter::default(),
            to_client_bytes: Counter::default(),
            join: Histogram::new(&CONNECT_BOUNDS),
            lifetime: Histogram::new(&LIFETIME_BOUNDS),
        }
    }
}

/// What is counted of an upstream.
#[derive(Debug)]
pub struct OfUpstream {
    /// From the begin of a connect to the server's answer, where that was yes.
    pub connect: Histogram,
}

impl Default for OfUpstream {
    fn default() -> OfUpstream {
        OfUpstream { connect: Histogram::new(&CONNECT_BOUNDS) }
    }
}

/// What is counted of a server. Once an attempt is over it is one of the joined or the failed.
#[derive(Debug, Default)]
pub struct OfServer {
    /// Attempts to connect to it.
    pub attempts: Counter,
    /// Those that succeeded: clients joined to it.
    pub joined: Counter,
    /// Those that did not, by the number of [`super::ConnectFailure`].
    pub failed: [Counter; CONNECT_FAILURES],
    /// Attempts and connections that no longer count as one of its own.
    pub left: Counter,
    /// Bytes delivered to it.
    pub to_upstream_bytes: Counter,
    /// Bytes of it delivered to clients.
    pub to_client_bytes: Counter,
}

/// What is counted of the worker itself. What stands "now", and what the ring counted, is set once
/// a turn.
#[derive(Debug, Default)]
pub struct OfWorker {
    /// Connections open now.
    pub open: Counter,
    /// Connections that it has slots for.
    pub slots: Counter,
    /// Completions of an earlier life of their slot: never expected, ignored.
    pub stale_completions: Counter,
    /// Accepts that stayed silent while their queue was not empty, armed anew.
    pub accepts_rearmed: Counter,
    /// Accepts and sockets that the kernel refused for want of files, memory or ports.
    pub accepts_pressed: Counter,
    /// Clients accepted without a permit: never expected, served all the same.
    pub overshoot: Counter,
    /// Receives that found no buffer and waited for one.
    pub buffers_starved: Counter,
    /// Places in the queue for a buffer now; some may be of connections that ended meanwhile.
    pub starved_lanes: Counter,
    /// Chunks moved out of the pool because their peer does not read.
    pub chunks_parked: Counter,
    /// Bytes that were spliced out of their source, uncopied.
    pub spliced_bytes: Counter,
    /// Lanes of bulk that found no pipe or descriptor and went on copying.
    pub splices_refused: Counter,
    /// Connections that have descriptors for splices now.
    pub splicing: Counter,
    /// Bytes of memory that parked chunks take now.
    pub parked_bytes: Counter,
    /// Pool buffers.
    pub buffers: Counter,
    /// Those that no connection holds now.
    pub free_buffers: Counter,
    /// Connections with a deadline now.
    pub timers: Counter,
    /// Deadlines that came.
    pub timers_expired: Counter,
    /// Cancels asked for again because an operation had not ended.
    pub cancels_repeated: Counter,
    /// Connections whose receives gave way to waits without a buffer, because nothing moved.
    pub quieted: Counter,
    /// Turns of the worker's loop.
    pub turns: Counter,
    /// When the last turn began, in milliseconds of the gateway's clock: the heartbeat.
    pub beat_millis: Counter,
    /// How far its leave has come: 0 not begun, 1 it drains, 2 it ends what is left.
    pub leaving: Counter,
    /// When its drain must be over, in milliseconds of the gateway's clock; 0 before it drains.
    pub drain_deadline_millis: Counter,
    /// Kernel rings that it drives.
    pub rings: Counter,
    /// Calls into the kernel.
    pub ring_enters: Counter,
    /// Operations handed to the kernel.
    pub submissions: Counter,
    /// Completions read.
    pub completions: Counter,
    /// Turns in which a kernel ring kept completions back because its queue was full.
    pub queue_overflows: Counter,
    /// Completions that the kernel lost for want of memory: operations that will never end.
    pub lost_completions: Counter,
    /// Completions of operations that the ring never started.
    pub unknown_completions: Counter,
    /// Receives that found their ring's buffer group empty while the pool was not.
    pub receive_retries: Counter,
}
