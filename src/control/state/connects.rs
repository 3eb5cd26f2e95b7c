//! The connects of the last minute, by server: what readings estimate latencies from.

use std::collections::VecDeque;
use std::time::Duration;

use super::view::View;
use crate::base::{IdMap, Millis, ServerId};
use crate::metrics::Counted;
use crate::metrics::reading::Durations;

/// What is looked back upon.
const MINUTE: Duration = Duration::from_secs(60);
/// Between two marks: eight are kept, which are 3 KB a server.
const STEP: Duration = Duration::from_secs(10);

/// What histograms said at moments of the last minute, the oldest first.
#[derive(Debug, Default)]
pub struct Connects(VecDeque<(Millis, IdMap<ServerId, Durations>)>);

impl Connects {
    /// Notes what histograms say, where the last mark is old enough.
    pub(in crate::control) fn mark(&mut self, now: Millis, view: &View) {
        if self.is_due(now) {
            let servers = view.names.upstreams.iter().flat_map(|names| &names.servers);
            let marks = servers.map(|(id, _)| {
                (*id, Counted::sum(view.counters.iter().map(|of| &of.servers[*id].connect)))
            });
            self.keep(now, marks.collect());
        }
    }

    fn is_due(&self, now: Millis) -> bool {
        self.0.back().is_none_or(|(last, _)| now.since(*last) >= STEP)
    }

    fn keep(&mut self, now: Millis, marks: IdMap<ServerId, Durations>) {
        // Connects may have come before the first mark, and none before the start.
        let marks = if self.0.is_empty() { IdMap::new() } else { marks };
        self.0.push_back((now, marks));
        // The last one that is a minute old is what the others are compared with.
        while self.0.get(1).is_some_and(|(at, _)| now.since(*at) >= MINUTE) {
            self.0.pop_front();
        }
    }

    /// Those of this server, whose histogram says this `now`. A server that the oldest mark does
    /// not know, or that has the id of a former one, has counted from nothing since then.
    pub(super) fn lately(&self, server: ServerId, now: &Durations) -> Durations {
        let oldest = self.0.front().and_then(|(_, marks)| marks.get(server));
        let then = oldest.filter(|then| then.count() <= now.count());
        then.map_or_else(|| now.clone(), |then| now.since(then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(count: u64) -> Durations {
        Durations { bounds_seconds: vec![1.0], counts: vec![count, 0], sum_seconds: 0.0 }
    }

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        const SERVER: ServerId = ServerId(3);
        let mut connects = Connects::default();
        let lately =
            |connects: &Connects, server, count| connects.lately(server, &durations(count)).count();
        assert_eq!(lately(&connects, SERVER, 7), 7);
        for second in 0..200 {
            let (now, count) = (Millis(second * 1000), second + 7);
            assert_eq!(connects.is_due(now), second % 10 == 0);
            if connects.is_due(now) {
                connects.keep(now, [(SERVER, durations(count))].into_iter().collect());
                // Those of before the first mark, too.
                let expected = if second < 70 { count } else { 60 };
                assert_eq!(lately(&connects, SERVER, count), expected);
            }
        }
        // After a time in which nobody looked.
        connects.keep(Millis(500_000), [(SERVER, durations(300))].into_iter().collect());
        assert_eq!(lately(&connects, SERVER, 300), 300 - 197);
        assert_eq!(lately(&connects, ServerId(4), 7), 7);
        assert_eq!(lately(&connects, SERVER, 7), 7, "another one has its id");
    }
}
