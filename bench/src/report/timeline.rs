//! A result's timeline: what was open and done at each moment, and what each phase came to.

use serde::Deserialize;

use crate::result::Outcome;

/// More moments than this are not told apart in a chart.
const MAX_MOMENTS: usize = 240;

#[derive(Deserialize)]
struct Told {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    at_seconds: f64,
    phase: String,
    open: f64,
    done: f64,
    #[serde(default)]
    failed: f64,
}

#[derive(Default)]
pub(crate) struct Timeline {
    pub(crate) moments: Vec<Moment>,
    pub(crate) phases: Vec<PhaseOf>,
}

pub(crate) struct Moment {
    pub(crate) at_seconds: f64,
    pub(crate) open: f64,
    /// Done per second since the moment before.
    pub(crate) rate: f64,
    /// Failed since the moment before.
    pub(crate) newly_failed: f64,
}

/// A phase, as far as the moments show it.
pub(crate) struct PhaseOf {
    pub(crate) name: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) open_at_end: f64,
    pub(crate) most_open: f64,
    pub(crate) done: f64,
    pub(crate) failed: f64,
}

impl Timeline {
    /// `None` if the result has none.
    pub(crate) fn of(outcome: &Outcome) -> Option<Timeline> {
        let told = Told::deserialize(outcome.measured("timeline")?).ok()?;
        let first = told.points.first()?;
        let mut timeline = Timeline::default();
        timeline.moments.push(Moment { at_seconds: 0.0, open: 0.0, rate: 0.0, newly_failed: 0.0 });
        let stride = told.points.len().div_ceil(MAX_MOMENTS);
        let mut before = Point {
            at_seconds: 0.0,
            phase: first.phase.clone(),
            open: 0.0,
            done: 0.0,
            failed: 0.0,
        };
        for (index, point) in told.points.iter().enumerate() {
            timeline.note(point, if index == 0 { None } else { told.points.get(index - 1) });
            let is_last = index + 1 == told.points.len();
            let ends = is_last || told.points[index + 1].phase != point.phase;
            if index % stride != 0 && !ends {
                continue;
            }
            let seconds = point.at_seconds - before.at_seconds;
            timeline.moments.push(Moment {
                at_seconds: point.at_seconds,
                open: point.open,
                rate: if seconds > 0.0 { done(&before, point) / seconds } else { 0.0 },
                newly_failed: (point.failed - before.failed).max(0.0),
            });
            before = Point { phase: point.phase.clone(), ..*point };
        }
        Some(timeline)
    }

    /// Adds a point to its phase.
    fn note(&mut self, point: &Point, before: Option<&Point>) {
        let from = before.map_or(0.0, |before| before.at_seconds);
        let begins = before.is_none_or(|before| before.phase != point.phase);
        if begins {
            self.phases.push(PhaseOf {
                name: point.phase.clone(),
                from,
                to: from,
                open_at_end: 0.0,
                most_open: before.map_or(0.0, |before| before.open),
                done: 0.0,
                failed: 0.0,
            });
        }
        let Some(phase) = self.phases.last_mut() else { return };
        phase.to = point.at_seconds;
        phase.open_at_end = point.open;
        phase.most_open = phase.most_open.max(point.open);
        phase.done += before.map_or(point.done, |before| done(before, point));
        phase.failed += (point.failed - before.map_or(0.0, |before| before.failed)).max(0.0);
    }
}

/// What was done between two points. Some scenarios count each phase from zero.
fn done(before: &Point, point: &Point) -> f64 {
    if point.done >= before.done { point.done - before.done } else { point.done }
}
