//! The connections that the process may still hold: one count, leased to workers in batches.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use crate::base::Millis;
use crate::base::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst, fence};

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
    evictions: Evictions,
}

/// The evictions at a limit. Over all workers one is under way, or a permit lies ready, for each
/// client that waits, and never one more.
#[derive(Debug)]
struct Evictions {
    /// Clients in accept queues, of listeners that evict, as an i32: between two writes of
    /// [`Waiting`] it may be below zero.
    waiting: AtomicU32,
    /// The lower half: how many are under way. The upper one: how many were ever begun, modulo
    /// 2³², so that the word is never the same again after one that came and went.
    begun: AtomicU64,
    /// When the next one's turn is, in milliseconds.
    turn: AtomicU64,
}

/// What comes of asking for an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It is begun.
    Begun,
    /// As many are under way, or permits are there, as clients wait.
    Enough,
    /// Its turn has not come.
    NotBefore(Millis),
}

/// One in so many of a limit's connections may be evicted in a second, within these bounds: a crowd
/// that comes takes ten seconds at least to turn everybody out.
const EVICTED_PER_SECOND: u32 = 10;
const LEAST_PER_SECOND: u32 = 10;
const MOST_PER_SECOND: u32 = 1000;
/// How much time the pace makes up for when nobody was evicted.
const CATCH_UP: Duration = Duration::from_millis(100);

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
            evictions: Evictions {
                waiting: AtomicU32::new(0),
                begun: AtomicU64::new(0),
                turn: AtomicU64::new(0),
            },
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
            self.wake_all();
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

    /// Permits that no connection uses, wherever they are.
    pub fn unused(&self) -> u32 {
        self.limit().saturating_sub(self.used())
    }

    /// In place of `before` clients that waited in a queue `now` do; says whether they are the
    /// first.
    fn count_waiting(&self, before: u32, now: u32) -> bool {
        let all = self.evictions.waiting.fetch_add(now.wrapping_sub(before), SeqCst);
        now > before && all as i32 <= 0
    }

    /// Clients that wait for an eviction, or for a permit that there is.
    fn waiting(&self) -> u32 {
        (self.evictions.waiting.load(SeqCst) as i32).max(0) as u32
    }

    /// Whether any client waits for an eviction.
    pub fn anyone_waits(&self) -> bool {
        self.waiting() > 0
    }

    /// Begins an eviction, if a client waits for one and it is its turn.
    pub fn evict(&self, now: Millis) -> Eviction {
        let Evictions { begun, turn, .. } = &self.evictions;
        loop {
            // In this order: a permit that comes back is unused before its eviction is over, and a
            // client that comes in no longer waits before it uses one. So what changes meanwhile is
            // counted twice, or makes the exchange fail.
            let before = begun.load(SeqCst);
            let ready = u64::from(self.unused()) + (before & u64::from(u32::MAX));
            if u64::from(self.waiting()) <= ready {
                return Eviction::Enough;
            }
            let due = turn.load(SeqCst);
            if due > now.0 {
                return Eviction::NotBefore(Millis(due));
            }
            let after = before.wrapping_add(1 << 32) + 1;
            if begun.compare_exchange(before, after, SeqCst, SeqCst).is_ok() {
                break;
            }
        }
        let earliest = now.0.saturating_sub(CATCH_UP.as_millis() as u64);
        let _ = turn.fetch_update(SeqCst, SeqCst, |turn| {
            Some(turn.max(earliest) + self.eviction_interval_millis())
        });
        Eviction::Begun
    }

    /// Rounded up, so that the pace is never faster than is said.
    fn eviction_interval_millis(&self) -> u64 {
        let turns = (self.limit() / EVICTED_PER_SECOND).clamp(LEAST_PER_SECOND, MOST_PER_SECOND);
        u64::from(1000_u32.div_ceil(turns))
    }

    /// An eviction is over: the connection no longer uses its permit.
    pub fn evicted(&self) {
        let before = self.evictions.begun.fetch_sub(1, SeqCst);
        assert!(before & u64::from(u32::MAX) > 0, "an eviction ended that was not begun");
    }

    /// How many evictions were begun, modulo 2³², and how many of them are under way.
    pub fn evictions(&self) -> (u32, u32) {
        let begun = self.evictions.begun.load(SeqCst);
        ((begun >> 32) as u32, begun as u32)
    }

    /// Wakes all workers.
    pub fn wake_all(&self) {
        self.wake(|_| true);
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

/// The clients in one accept queue, of a listener that evicts, each counted at the limit that it
/// waits for. All workers that serve the queue share it.
#[derive(Debug, Default)]
pub struct Waiting {
    at_gateway: AtomicU32,
    at_quota: AtomicU32,
}

impl Waiting {
    /// So many clients wait, for a permit of the tighter of both limits. Says whether they are the
    /// first: then the workers are to be woken, each of which may hold who makes way for them.
    pub fn count(&self, gateway: &Budget, quota: Option<&Budget>, clients: u32) -> bool {
        let by_quota = quota.is_some_and(|quota| quota.unused() <= gateway.unused());
        let (at_gateway, at_quota) = if by_quota { (0, clients) } else { (clients, 0) };
        let before = self.at_gateway.swap(at_gateway, SeqCst);
        let mut first = gateway.count_waiting(before, at_gateway);
        if let Some(quota) = quota {
            let before = self.at_quota.swap(at_quota, SeqCst);
            first |= quota.count_waiting(before, at_quota);
        }
        first
    }

    /// One of them is about to use a permit.
    pub fn serve(&self, gateway: &Budget, quota: Option<&Budget>) {
        let take = |clients: &AtomicU32| {
            clients.fetch_update(SeqCst, SeqCst, |clients| clients.checked_sub(1)).is_ok()
        };
        if take(&self.at_gateway) {
            gateway.count_waiting(1, 0);
        } else if let Some(quota) = quota
            && take(&self.at_quota)
        {
            quota.count_waiting(1, 0);
        }
    }

    /// Nobody is counted here.
    pub fn is_empty(&self) -> bool {
        self.at_gateway.load(SeqCst) == 0 && self.at_quota.load(SeqCst) == 0
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Budget({} of {} leased)", self.leased.load(SeqCst), self.limit())
    }
}
