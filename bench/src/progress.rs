//! The line on stderr that says how far a run is.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::{Phase, Shown, Until};

const INTERVAL: Duration = Duration::from_secs(1);
/// What is to last longer has no end that anybody waits for.
const A_DAY: Duration = Duration::from_secs(86_400);

/// What the last line said.
pub(crate) struct Progress {
    phase: Phase,
    until: Until,
    goal: u64,
    begun: Instant,
    shown_at: Instant,
    shown_count: u64,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let now = Instant::now();
        let (phase, until) = (Phase::Open, Until::Done);
        Progress { phase, until, goal: 0, begun: now, shown_at: now, shown_count: 0 }
    }

    pub(crate) fn begin(&mut self, phase: Phase, until: Until, goal: u64) {
        (self.phase, self.until, self.goal) = (phase, until, goal);
        (self.begun, self.shown_at, self.shown_count) = (Instant::now(), Instant::now(), 0);
    }

    /// Writes a line `now`, or if it `talks` when a second has passed.
    pub(crate) fn show(&mut self, threads: &[Shown], now: bool, talks: bool) {
        let passed = self.shown_at.elapsed();
        if !now && (!talks || passed < INTERVAL) {
            return;
        }
        let count = sum(threads, |one| one.progress.load(Ordering::Relaxed));
        let rate = count.saturating_sub(self.shown_count) as f64 / passed.as_secs_f64();
        (self.shown_at, self.shown_count) = (Instant::now(), count);
        self.write(threads, count, rate);
    }

    pub(crate) fn end(&mut self, threads: &[Shown]) {
        let failed = sum(threads, |one| one.failed.load(Ordering::Relaxed));
        eprintln!("done, {failed} failures");
    }

    fn write(&self, threads: &[Shown], count: u64, rate: f64) {
        let open = sum(threads, |one| one.open.load(Ordering::Relaxed));
        let failed = sum(threads, |one| one.failed.load(Ordering::Relaxed));
        let passed = self.begun.elapsed();
        let left = match self.until {
            Until::Elapsed(span) if span < A_DAY => Some(span.saturating_sub(passed)),
            _ if rate > 0.0 && self.goal > count => {
                Some(Duration::from_secs_f64((self.goal - count) as f64 / rate))
            }
            _ => None,
        };
        let eta = left.map_or(String::new(), |left| format!(", ETA {:.0} s", left.as_secs_f64()));
        eprintln!(
            "{:?} {:.0} s: {open} open, {count} done, {rate:.0}/s, {failed} failures{eta}",
            self.phase,
            passed.as_secs_f64()
        );
    }
}

fn sum(threads: &[Shown], of: impl Fn(&Shown) -> u64) -> u64 {
    threads.iter().map(of).sum()
}
