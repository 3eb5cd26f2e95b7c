//! The gateway's history: a sample of its figures each second, for ten minutes.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::sources::Sources;
use crate::api::SCHEMA;
use crate::api::history::History;
use crate::base::{Micros, Reason};
use crate::metrics::{ListenerCounters, Refusal, ServerCounters};

/// Ten minutes of seconds: 38 KB.
const KEPT: usize = 600;

/// The last samples, the oldest first.
#[derive(Debug, Default)]
pub(in crate::control) struct Samples(VecDeque<Sample>);

/// The figures of one moment; all but `open` are counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    at: Micros,
    open: u64,
    accepted: u64,
    closed: u64,
    refused: u64,
    to_upstream_bytes: u64,
    to_client_bytes: u64,
    connect_failures: u64,
}

const _: () = assert!(size_of::<Sample>() == 64);

impl Samples {
    /// Takes a sample, from counters alone: no socket and no file is looked at.
    pub(in crate::control) fn take(&mut self, sources: &Sources) {
        let listeners = |count: &dyn Fn(&ListenerCounters) -> u64| sources.over_listeners(count);
        // A worker says how many it holds at the end of a turn only, and counts ends within one.
        let closed = listeners(&closed);
        let accepted = listeners(&|one| one.accepted.get());
        self.keep(Sample {
            at: sources.clock.micros(),
            open: accepted.saturating_sub(closed),
            accepted,
            closed,
            refused: listeners(&refused),
            to_upstream_bytes: listeners(&|one| one.to_upstream_bytes.get()),
            to_client_bytes: listeners(&|one| one.to_client_bytes.get()),
            connect_failures: sources.over_servers(&ServerCounters::connects_failed),
        });
    }

    /// Goes on after those of a predecessor whose clock is this one's.
    pub(in crate::control) fn resume(&mut self, history: &History) {
        // Those that were taken before the counters went on have other zeros.
        self.0.clear();
        for (nth, at_seconds) in history.at_seconds.iter().enumerate() {
            let of = |list: &[u64]| list.get(nth).copied().unwrap_or(0);
            self.keep(Sample {
                at: Micros((at_seconds * 1e6) as u64),
                open: of(&history.open),
                accepted: of(&history.accepted),
                closed: of(&history.closed),
                refused: of(&history.refused),
                to_upstream_bytes: of(&history.to_upstream_bytes),
                to_client_bytes: of(&history.to_client_bytes),
                connect_failures: of(&history.connect_failures),
            });
        }
    }

    fn keep(&mut self, sample: Sample) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// All samples, on a clock that began at this time.
    pub(in crate::control) fn history(&self, clock_began: SystemTime) -> History {
        let began = clock_began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let each = |of: fn(&Sample) -> u64| self.0.iter().map(of).collect();
        History {
            accepted: each(|one| one.accepted),
            at_seconds: self.0.iter().map(|one| one.at.0 as f64 / 1e6).collect(),
            clock_began_seconds_since_1970: began.as_secs_f64(),
            closed: each(|one| one.closed),
            connect_failures: each(|one| one.connect_failures),
            open: each(|one| one.open),
            refused: each(|one| one.refused),
            schema: SCHEMA,
            to_client_bytes: each(|one| one.to_client_bytes),
            to_upstream_bytes: each(|one| one.to_upstream_bytes),
        }
    }
}

fn closed(listener: &ListenerCounters) -> u64 {
    Reason::ALL.into_iter().map(|reason| listener.closed[reason as usize].get()).sum()
}

fn refused(listener: &ListenerCounters) -> u64 {
    Refusal::ALL.into_iter().map(|refusal| listener.refused[refusal as usize].get()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_minutes_are_kept_and_figures_of_one_moment_stand_together() {
        let mut samples = Samples::default();
        for second in 0..KEPT as u64 + 5 {
            let at = Micros(second * 1_000_000);
            samples.keep(Sample { at, open: second, closed: 2 * second, ..Sample::default() });
        }
        let history = samples.history(SystemTime::UNIX_EPOCH);
        assert_eq!((history.at_seconds.len(), history.at_seconds[0]), (KEPT, 5.0));
        assert_eq!((history.open[0], history.closed[0]), (5, 10));
        assert_eq!((history.open[KEPT - 1], history.refused.len()), (604, KEPT));
    }
}
