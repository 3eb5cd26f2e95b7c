//! The connections that the process may still hold: one count, leased to workers in batches.

use std::fmt;
use std::sync::OnceLock;

use crate::base::sync::{AtomicBool, AtomicU32, Ordering::SeqCst, fence};

/// The connections that the process may hold at once. Permits are leased before a client is
/// accepted and come back when its slots are empty, so the sum over all workers never exceeds the
/// limit.
///
/// Near the limit a worker that has clients waiting and finds no permit says that it is hungry.
/// The others return idle permits, and each return wakes the hungry workers: no client waits while
/// a permit is unused.
pub struct Budget {
    limit: AtomicU32,
    leased: AtomicU32,
    /// Permits that connections hold: those leased less the idle ones.
    used: AtomicU32,
    /// By worker: it has no slot left, so others serve its queues.
    full: Box<[AtomicBool]>,
    /// By worker: it has clients waiting and no permit for them.
    hungry: Box<[AtomicBool]>,
    wakers: OnceLock<Vec<WakeWorker>>,
}

/// A call that wakes a worker from another thread.
pub type WakeWorker = Box<dyn Fn() + Send + Sync>;

// A worker that says it is hungry and then finds no permit must be seen by the worker that returns
// one later: each writes one variable and then reads the other's, which takes one order over both.
// The SeqCst accesses give it. The fences say it again in the only form that loom models (it takes
// SeqCst accesses for acquire and release), so that `tests/budget` can check the rest.
impl Budget {
    /// A budget of `limit` connections for `workers`, none leased.
    pub fn new(limit: u32, workers: usize) -> Budget {
        let flags = || std::iter::repeat_with(|| AtomicBool::new(false)).take(workers).collect();
        Budget {
            limit: AtomicU32::new(limit),
            leased: AtomicU32::new(0),
            used: AtomicU32::new(0),
            full: flags(),
            hungry: flags(),
            wakers: OnceLock::new(),
        }
    }

    /// Sets the calls that wake the workers, in the order of workers. Until then no worker is
    /// woken, so it is done before the first client comes; a second set is ignored.
    pub fn set_wakers(&self, wakers: Vec<WakeWorker>) {
        let _ = self.wakers.set(wakers);
    }

    /// The most connections at once.
    pub fn limit(&self) -> u32 {
        self.limit.load(SeqCst)
    }

    /// Another limit from here on. Below what is leased, nothing is leased until enough came back,
    /// and workers return what lies ready with them: all are woken.
    pub fn set_limit(&self, limit: u32) {
        if self.limit.swap(limit, SeqCst) != limit {
            fence(SeqCst);
            self.wake(|_| true);
        }
    }

    /// More is leased than may be held: the limit was lowered.
    pub fn is_exceeded(&self) -> bool {
        self.leased.load(SeqCst) > self.limit()
    }

    /// Counts connections that began before the budget did, whatever the limit: each of them leaves
    /// and gives its permit back like any other.
    pub fn take_over(&self, connections: u32) {
        self.leased.fetch_add(connections, SeqCst);
        self.used.fetch_add(connections, SeqCst);
    }

    /// Permits that workers have.
    pub fn leased(&self) -> u32 {
        self.leased.load(SeqCst)
    }

    /// Permits that connections hold.
    pub fn used(&self) -> u32 {
        self.used.load(SeqCst)
    }

    /// How many workers share it.
    pub fn workers(&self) -> u32 {
        self.hungry.len() as u32
    }

    /// Permits that no worker has leased. Another thread may take them before the caller does.
    pub fn free(&self) -> u32 {
        self.limit().saturating_sub(self.leased.load(SeqCst))
    }

    /// Leases up to `wanted` permits and says how many it got.
    pub fn lease(&self, wanted: u32) -> u32 {
        let mut granted = 0;
        let _ = self.leased.fetch_update(SeqCst, SeqCst, |leased| {
            granted = wanted.min(self.limit().saturating_sub(leased));
            (granted > 0).then_some(leased + granted)
        });
        granted
    }

    /// Counts a leased permit as used by a connection.
    pub fn enter(&self) {
        self.used.fetch_add(1, SeqCst);
    }

    /// Counts it as lying ready again.
    pub fn leave(&self) {
        let before = self.used.fetch_sub(1, SeqCst);
        assert!(before > 0, "a connection left that had not entered");
    }

    /// Whether connections use every permit: none lies ready anywhere.
    pub fn is_used_up(&self) -> bool {
        self.used.load(SeqCst) >= self.limit()
    }

    /// Counts one connection above the limit: a client that came without a permit, which admission
    /// excludes. It is served and counted, so that the counts stay right.
    pub fn overdraw(&self) {
        self.leased.fetch_add(1, SeqCst);
    }

    /// Takes `permits` back and wakes the hungry.
    ///
    /// # Panics
    /// When more come back than were leased.
    pub fn give_back(&self, permits: u32) {
        if permits == 0 {
            return;
        }
        let before = self.leased.fetch_sub(permits, SeqCst);
        assert!(before >= permits, "{permits} permits came back, {before} were leased");
        fence(SeqCst);
        self.wake(|worker| self.hungry[worker].load(SeqCst));
    }

    /// `worker` has clients waiting and no permit for them, or no longer. The first word wakes
    /// the others, who may have idle permits; the worker tries to lease once more after it.
    pub fn set_hungry(&self, worker: usize, hungry: bool) {
        let before = self.hungry[worker].swap(hungry, SeqCst);
        fence(SeqCst);
        if hungry && !before {
            self.wake(|other| other != worker);
        }
    }

    /// Wakes all workers but this one: they may hold an idle resource outside of the budget.
    pub fn wake_others(&self, worker: usize) {
        self.wake(|other| other != worker);
    }

    /// Whether any worker is hungry.
    pub fn anyone_hungry(&self) -> bool {
        self.hungry.iter().any(|hungry| hungry.load(SeqCst))
    }

    /// `worker` has no slot left, or has one again. The first word wakes the others.
    pub fn set_full(&self, worker: usize, full: bool) {
        let before = self.full[worker].swap(full, SeqCst);
        if full && !before {
            self.wake(|other| other != worker);
        }
    }

    /// Whether `worker` has no slot left.
    pub fn is_full(&self, worker: usize) -> bool {
        self.full[worker].load(SeqCst)
    }

    /// Whether any worker has no slot left.
    pub fn anyone_full(&self) -> bool {
        self.full.iter().any(|full| full.load(SeqCst))
    }

    fn wake(&self, whom: impl Fn(usize) -> bool) {
        let wakers = self.wakers.get().into_iter().flatten().enumerate();
        wakers.filter(|(worker, _)| whom(*worker)).for_each(|(_, wake)| wake());
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Budget({} of {} leased)", self.leased.load(SeqCst), self.limit())
    }
}
