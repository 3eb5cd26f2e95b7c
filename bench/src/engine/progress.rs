//! The line on stderr that says how far a run is.

use std::time::{Duration, Instant};

use super::phase::{Phase, Totals, Until};

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
    pub(crate) fn show(&mut self, totals: impl FnOnce() -> Totals, now: bool, talks: bool) {
        let passed = self.shown_at.elapsed();
        if !now && (!talks || passed < INTERVAL) {
            return;
        }
        let totals = totals();
        let rate = totals.done.saturating_sub(self.shown_count) as f64 / passed.as_secs_f64();
        (self.shown_at, self.shown_count) = (Instant::now(), totals.done);
        self.write(totals, rate);
    }

    pub(crate) fn end(&mut self, totals: Totals) {
        eprintln!("done, {} failures", totals.failed);
    }

    fn write(&self, Totals { open, done, failed }: Totals, rate: f64) {
        let passed = self.begun.elapsed();
        let left = match self.until {
            Until::Elapsed(span) if span < A_DAY => Some(span.saturating_sub(passed)),
            _ if rate > 0.0 && self.goal > done => {
                Some(Duration::from_secs_f64((self.goal - done) as f64 / rate))
            }
            _ => None,
        };
        let eta = left.map_or(String::new(), |left| format!(", ETA {:.0} s", left.as_secs_f64()));
        eprintln!(
            "{:?} {:.0} s: {open} open, {done} done, {rate:.0}/s, {failed} failures{eta}",
            self.phase,
            passed.as_secs_f64()
        );
    }
}
