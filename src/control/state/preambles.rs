//! Clients that were refused for what they said first or where they came from: said at once, and
//! then once a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use super::view::View;
use crate::base::{Bar, ListenerId, Millis, PreambleFault, Reason};
use crate::control::events::Events;
use crate::doctor::count;
use crate::metrics::ListenerCounters;
use crate::metrics::reading::Severity;

/// Between two lines about one listener.
const SAY_EVERY: Duration = Duration::from_secs(60);
const FAULTS: usize = PreambleFault::ALL.len();
const BARS: usize = Bar::ALL.len();

/// What was said of each listener.
#[derive(Debug, Default)]
pub(in crate::control) struct Preambles(BTreeMap<ListenerId, Said>);

#[derive(Debug, Default)]
struct Said {
    counts: Counts,
    at: Option<Millis>,
}

/// Clients of one listener that were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    faults: [u64; FAULTS],
    late: u64,
    barred: [u64; BARS],
}

impl Preambles {
    /// Looks at all listeners once.
    pub(in crate::control) fn look(&mut self, view: &View, events: &Events, now: Millis) {
        self.0.retain(|id, _| view.topology.listeners.get(*id).is_some());
        for (id, listener) in view.topology.listeners.iter() {
            let counters = view.counters.iter().filter_map(|one| one.listeners.get(id));
            let counts = counters.fold(Counts::default(), |sum, one| sum.and(one));
            if let Some(words) = self.0.entry(id).or_default().look(counts, now) {
                events.tell(Severity::Warning, &format!("listener/{}", listener.name), &words);
            }
        }
    }
}

impl Said {
    /// What is to be said, if something is.
    fn look(&mut self, counts: Counts, now: Millis) -> Option<String> {
        let is_silent = self.at.is_some_and(|at| now.since(at) < SAY_EVERY);
        if is_silent || counts == self.counts {
            return None;
        }
        let before = std::mem::replace(&mut self.counts, counts);
        self.at = Some(now);
        let faults = PreambleFault::ALL.into_iter().zip(counts.faults.iter().zip(before.faults));
        let faults = faults.map(|(fault, (now, before))| (now - before, fault.said()));
        let late = (counts.late - before.late, "sent no whole preamble within preamble_timeout");
        let bars = Bar::ALL.into_iter().zip(counts.barred.iter().zip(before.barred));
        let bars = bars.map(|(bar, (now, before))| (now - before, bar.said()));
        let first = list("reset for what came first", faults.chain([late]));
        let barred = list("kept out by address", bars);
        Some([first, barred].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

/// Clients by cause, if there are any.
fn list<'a>(what: &str, causes: impl Iterator<Item = (u64, &'a str)>) -> Option<String> {
    let all: Vec<(u64, &str)> = causes.filter(|(many, _)| *many > 0).collect();
    let sum = all.iter().map(|(many, _)| many).sum();
    let said: Vec<String> = all.iter().map(|(many, said)| format!("{many} {said}")).collect();
    (sum > 0).then(|| format!("{} {what}: {}", count(sum, "client"), said.join(", ")))
}

impl Counts {
    fn and(mut self, counters: &ListenerCounters) -> Counts {
        for (sum, one) in self.faults.iter_mut().zip(counters.bad_preambles.iter()) {
            *sum += one.get();
        }
        for (sum, one) in self.barred.iter_mut().zip(counters.barred.iter()) {
            *sum += one.get();
        }
        self.late += counters.closed[Reason::PreambleTimeout as usize].get();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_others_once_a_minute_with_what_was_wrong() {
        let mut said = Said::default();
        let mut counts = Counts::default();
        assert_eq!(said.look(counts, Millis(0)), None);
        counts.faults[PreambleFault::NoHeader as usize] = 1;
        let first = "1 client reset for what came first: 1 sent something else than a PROXY \
                     header first";
        assert_eq!(said.look(counts, Millis(1000)).as_deref(), Some(first));
        counts.faults[PreambleFault::NoHeader as usize] = 3;
        counts.late = 1200;
        assert_eq!(said.look(counts, Millis(60_900)), None, "not yet");
        let next = "1,202 clients reset for what came first: 2 sent something else than a \
                    PROXY header first, 1200 sent no whole preamble within preamble_timeout";
        assert_eq!(said.look(counts, Millis(61_000)).as_deref(), Some(next));
        assert_eq!(said.look(counts, Millis(200_000)), None, "all was said");
    }
}
