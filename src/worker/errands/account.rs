//! What all workers share of one drain: its rate, and how far each of them is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::pace::Turns;
use crate::base::Millis;

/// A drain as it is seen from outside: a line for each worker, over once every line is closed.
#[derive(Debug)]
pub struct Account {
    /// The most connections that all workers together end per second.
    rate: Option<Turns>,
    /// Connections that workers have listed, for a share that comes out even over all of them.
    listed: AtomicU64,
    progress: Box<[Progress]>,
}

/// How far one worker is.
#[derive(Debug, Default)]
struct Progress {
    left: AtomicU64,
    ended: AtomicU64,
    /// Between two ends, by its own pace.
    interval_nanos: AtomicU64,
    /// It has listed every connection that is meant.
    has_listed: AtomicBool,
    is_closed: AtomicBool,
}

/// How far a drain is, over all workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Connections that it has still to end.
    pub left: u64,
    /// Connections that it has ended.
    pub ended: u64,
    /// At its present pace.
    pub per_second: f64,
    /// Until all of them are ended at that pace; `None`: some worker has not listed its own yet.
    pub time_left: Option<Duration>,
}

impl Account {
    /// An account of a drain by so many workers that begins at `now`, with a line for each of them.
    /// It ends at most `rate` connections per second.
    pub fn open(workers: usize, rate: Option<u32>, now: Millis) -> (Arc<Account>, Vec<Line>) {
        let account = Arc::new(Account {
            rate: rate.map(|rate| Turns::per_second(rate, now)),
            listed: AtomicU64::new(0),
            progress: (0..workers).map(|_| Progress::default()).collect(),
        });
        let lines = (0..workers).map(|worker| Line { account: account.clone(), worker }).collect();
        (account, lines)
    }

    /// No worker has anything to do for it any more.
    pub fn is_over(&self) -> bool {
        self.progress.iter().all(|one| one.is_closed.load(Ordering::Acquire))
    }

    /// How far it is.
    pub fn standing(&self) -> Standing {
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (mut left, mut ended, mut per_second) = (0, 0, 0.0);
        let (mut longest, mut all_listed) = (Duration::ZERO, true);
        for one in &self.progress {
            let is_closed = one.is_closed.load(Ordering::Acquire);
            all_listed &= is_closed || one.has_listed.load(Ordering::Relaxed);
            ended += load(&one.ended);
            let (own, interval) = (load(&one.left), load(&one.interval_nanos));
            if !is_closed && own > 0 {
                left += own;
                per_second += 1e9 / interval.max(1) as f64;
                longest = longest.max(Duration::from_nanos(interval.saturating_mul(own)));
            }
        }
        if let Some(turns) = &self.rate {
            let most = turns.rate();
            per_second = f64::min(per_second, most);
            longest = longest.max(Duration::from_secs_f64(left as f64 / most));
        }
        Standing { left, ended, per_second, time_left: all_listed.then_some(longest) }
    }
}

/// One worker's line in the account of a drain. Dropped, it is closed: the worker has nothing to do
/// for the drain, or the drain was cancelled.
#[derive(Debug)]
pub struct Line {
    account: Arc<Account>,
    worker: usize,
}

impl Line {
    /// Whether it is a line of this account.
    pub(super) fn is_of(&self, account: &Arc<Account>) -> bool {
        Arc::ptr_eq(&self.account, account)
    }

    fn progress(&self) -> &Progress {
        &self.account.progress[self.worker]
    }

    /// The worker has so many connections to end, and ends one each `interval`.
    pub(super) fn tell(&self, left: usize, interval: Duration, has_listed: bool) {
        let progress = self.progress();
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        progress.interval_nanos.store(nanos, Ordering::Relaxed);
        progress.left.store(left as u64, Ordering::Relaxed);
        progress.has_listed.store(has_listed, Ordering::Relaxed);
    }

    /// It has ended one.
    pub(super) fn count_end(&self) {
        // Nobody else writes there.
        let ended = &self.progress().ended;
        ended.store(ended.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes a turn of the rate, if there is one and it is time.
    ///
    /// # Errors
    /// When it is not: says when the next one comes.
    pub(super) fn take_turn(&self, now: Millis) -> Result<(), Millis> {
        self.account.rate.as_ref().map_or(Ok(()), |turns| turns.take(now))
    }

    /// How many of the `listed` connections belong to a share of so many in a hundred: exact over
    /// all workers.
    pub(super) fn share_of(&self, listed: usize, percent: u8) -> usize {
        let listed = listed as u64;
        let before = self.account.listed.fetch_add(listed, Ordering::Relaxed);
        let share = |many: u64| many * u64::from(percent) / 100;
        (share(before + listed) - share(before)) as usize
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.progress().is_closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_over_once_every_worker_has_closed_its_line() {
        let (account, mut lines) = Account::open(2, None, Millis(0));
        assert_eq!(account.standing().time_left, None, "nobody has listed");
        lines[0].tell(10, Duration::from_millis(100), true);
        lines[1].tell(40, Duration::from_millis(50), true);
        lines[0].count_end();
        let standing = account.standing();
        assert_eq!((standing.left, standing.ended), (50, 1));
        assert!((standing.per_second - 30.0).abs() < 1e-6, "{standing:?}");
        assert_eq!(standing.time_left, Some(Duration::from_secs(2)));
        lines.pop();
        assert!(!account.is_over());
        assert_eq!(account.standing().left, 10);
        lines.pop();
        assert!(account.is_over());
        assert_eq!((account.standing().left, account.standing().ended), (0, 1));
    }

    #[test]
    fn a_rate_bounds_the_pace_of_all_workers_together() {
        let (account, lines) = Account::open(3, Some(20), Millis(0));
        lines.iter().for_each(|line| line.tell(100, Duration::ZERO, true));
        let standing = account.standing();
        assert_eq!(
            (standing.per_second, standing.time_left),
            (20.0, Some(Duration::from_secs(15)))
        );
    }

    #[test]
    fn a_share_is_exact_over_all_workers() {
        for (counts, percent, sum) in
            [([5, 5, 0], 30, 3), ([1, 1, 1], 34, 1), ([7, 11, 13], 100, 31), ([33, 33, 34], 1, 1)]
        {
            let (_account, lines) = Account::open(3, None, Millis(0));
            let shares = lines.iter().zip(counts).map(|(line, own)| line.share_of(own, percent));
            assert_eq!(shares.sum::<usize>(), sum, "{percent} % of {counts:?}");
        }
    }
}
