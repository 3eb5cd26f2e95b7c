//! The parts of a run, when each is over, and what its threads show of their work meanwhile.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A part of a run; all threads are in the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// Everything that is open is used once.
    Warm,
    /// Nothing moves until the kernel has given back what it gives back.
    Settle,
    Run,
    /// What came of it is counted, and nothing moves.
    Count,
    /// What was begun is waited for, and what stayed is checked.
    Check,
    /// The same once more, at once.
    Again,
    /// Where an interrupt leads, and the last that it leaves.
    Close,
    /// Nothing is open any more; the target is given time to notice.
    Linger,
}

impl Phase {
    /// As results and progress lines name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Warm => "warm",
            Phase::Settle => "settle",
            Phase::Run => "run",
            Phase::Count => "count",
            Phase::Check => "check",
            Phase::Again => "again",
            Phase::Close => "close",
            Phase::Linger => "linger",
        }
    }
}

/// When a phase is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// When every thread has done its work.
    Done,
    /// After so long.
    Elapsed(Duration),
}

/// What a thread shows to the others.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) thread_id: AtomicUsize,
    pub(crate) open: AtomicU64,
    /// Index of the phase that the progress is of.
    pub(crate) phase: AtomicUsize,
    pub(crate) progress: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// The longest that the present phase kept it from looking at its connections.
    pub(crate) lag_nanos: AtomicU64,
    /// Phases that it has done.
    pub(crate) done: AtomicUsize,
    /// One more than the index of the phase in which nothing is open for it.
    pub(crate) dead: AtomicUsize,
    /// Connections that it established.
    pub(crate) established: AtomicU64,
}

/// What all threads show together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) open: u64,
    /// Progress of the present phase.
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

impl Totals {
    /// Of threads that are in the phase of this index, or come to it.
    pub(crate) fn of(threads: &[Shown], phase: usize) -> Totals {
        let sum = |of: fn(&Shown) -> &AtomicU64| {
            threads.iter().map(|one| of(one).load(Ordering::Relaxed)).sum()
        };
        let there = threads.iter().filter(|one| one.phase.load(Ordering::Acquire) == phase);
        Totals {
            open: sum(|one| &one.open),
            done: there.map(|one| one.progress.load(Ordering::Relaxed)).sum(),
            failed: sum(|one| &one.failed),
        }
    }
}
