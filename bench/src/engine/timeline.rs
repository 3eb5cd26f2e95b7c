//! How a run went on: what was open, done and failed at even intervals.

use std::time::Duration;

use serde_json::{Value, json};

use super::phase::{Phase, Totals};

/// Between two points of a run that is not long.
const EVERY: Duration = Duration::from_millis(250);

/// The most points that are kept. A longer run has them further apart.
const POINTS_MAX: usize = 1_000;

/// One moment.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Which multiple of the interval it is.
    number: u64,
    at: Duration,
    phase: Phase,
    totals: Totals,
}

/// The moments of a run, counted from its first phase.
#[derive(Debug)]
pub(crate) struct Timeline {
    every: Duration,
    points: Vec<Point>,
}

impl Timeline {
    pub(crate) fn new() -> Timeline {
        Timeline { every: EVERY, points: Vec::new() }
    }

    /// Keeps what is now, `at` so long after the beginning, if a point is due.
    pub(crate) fn look(&mut self, at: Duration, phase: Phase, totals: impl FnOnce() -> Totals) {
        let number = (at.as_nanos() / self.every.as_nanos()) as u64;
        let last = self.points.last().map_or(0, |point| point.number);
        if number <= last {
            return;
        }
        self.points.push(Point { number, at, phase, totals: totals() });
        if self.points.len() > POINTS_MAX {
            self.thin_out();
        }
    }

    /// Keeps every second point.
    fn thin_out(&mut self) {
        self.every *= 2;
        self.points.retain_mut(|point| {
            let kept = point.number.is_multiple_of(2);
            point.number /= 2;
            kept
        });
    }

    /// As the result has it.
    pub(crate) fn to_json(&self) -> Value {
        let points = self.points.iter().map(|Point { at, phase, totals, .. }| {
            json!({
                "at_seconds": (at.as_secs_f64() * 1e3).round() / 1e3, "phase": phase.word(),
                "open": totals.open, "done": totals.done, "failed": totals.failed,
            })
        });
        json!({"every_ms": self.every.as_millis() as u64, "points": points.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_until(seconds: u64) -> Value {
        let mut timeline = Timeline::new();
        for millis in (0..seconds * 1_000).step_by(5) {
            let totals = Totals { open: millis, done: 2, failed: 3 };
            timeline.look(Duration::from_millis(millis), Phase::Run, || totals);
        }
        timeline.to_json()
    }

    #[test]
    fn points_lie_evenly() {
        let short = look_until(2);
        let second =
            json!({"at_seconds": 0.5, "phase": "run", "open": 500, "done": 2, "failed": 3});
        assert_eq!((&short["every_ms"], &short["points"][1]), (&json!(250), &second));
        assert_eq!(short["points"].as_array().map(Vec::len), Some(7));
    }

    #[test]
    fn a_long_run_has_no_more_points_and_they_still_lie_evenly() {
        for seconds in [251, 1_000, 5_000] {
            let long = look_until(seconds);
            let every = long["every_ms"].as_u64().expect("a number") as f64 / 1e3;
            let points = long["points"].as_array().expect("points");
            assert!((POINTS_MAX / 2..=POINTS_MAX).contains(&points.len()), "{seconds}");
            for (index, point) in points.iter().enumerate() {
                assert_eq!(point["at_seconds"], (index + 1) as f64 * every);
            }
        }
    }
}
