//! The pace of a drain: who is closed when, idle connections first, done in time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::{ConnIndex, Millis};

/// The share of the drain's time over which connections are closed; the rest is for their endings.
const WINDOW_TENTHS: u32 = 9;

/// Closes per second below which a pace need not go: so few who come back at once hurt nobody.
const SLOWEST_PER_SECOND: u32 = 50;

/// How long a connection is left alone after its last byte or its accept, so that a client is
/// served and not only accepted.
const SERVICE: Duration = Duration::from_secs(1);
/// The least of it, for clients who come near the end.
const LEAST_SERVICE: Duration = Duration::from_millis(500);

/// How long the accept queues must stay empty before they count as served.
const QUIET_QUEUE: Duration = Duration::from_millis(200);

/// A connection that waits for its turn to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// When a byte of it last moved, or it was accepted.
    pub active: Millis,
    /// Its slot.
    pub index: ConnIndex,
    /// The life of the slot that is meant.
    pub generation: u32,
}

/// A drain under way.
#[derive(Debug)]
pub struct Drain {
    window_end: Millis,
    deadline: Millis,
    /// In the order of closing.
    candidates: VecDeque<Candidate>,
    /// From here on, turns are counted: when the pace was last set.
    paced: Millis,
    turns: u32,
    /// Time between two closes.
    interval: Duration,
    quiet_since: Option<Millis>,
}

impl Drain {
    /// A drain of `candidates`, the longest idle first, from `now` to `deadline`.
    pub fn new(mut candidates: Vec<Candidate>, now: Millis, deadline: Millis) -> Drain {
        candidates.sort_unstable_by_key(|candidate| (candidate.active, candidate.index));
        let mut drain = Drain {
            window_end: now.after(deadline.since(now) * WINDOW_TENTHS / 10),
            deadline,
            candidates: candidates.into(),
            paced: now,
            turns: 0,
            interval: Duration::from_secs(1) / SLOWEST_PER_SECOND,
            quiet_since: None,
        };
        drain.set_pace(now);
        drain
    }

    /// When it must be over.
    pub fn deadline(&self) -> Millis {
        self.deadline
    }

    /// A client came late, out of an accept queue: it is the last to be closed.
    pub fn add(&mut self, candidate: Candidate, now: Millis) {
        self.candidates.push_back(candidate);
        let many = u32::try_from(self.candidates.len()).unwrap_or(u32::MAX);
        if now.after(self.interval * many) > self.window_end {
            self.set_pace(now);
        }
    }

    /// The next connection whose turn has come.
    pub fn due(&mut self, now: Millis) -> Option<Candidate> {
        let moment = self.served(self.candidates.front()?);
        if moment > self.paced.after(self.turn()) {
            // The pace has waited for this one: what is left is spread anew.
            self.set_pace(moment);
        }
        if now < self.paced.after(self.turn()) {
            return None;
        }
        self.turns += 1;
        self.candidates.pop_front()
    }

    /// When the next turn comes, or the deadline if nobody waits for one.
    pub fn next_turn(&self) -> Millis {
        match self.candidates.front() {
            Some(next) => self.paced.after(self.turn()).max(self.served(next)).min(self.deadline),
            None => self.deadline,
        }
    }

    /// When the candidate has been served for long enough.
    fn served(&self, candidate: &Candidate) -> Millis {
        candidate.active.after(SERVICE).min(self.window_end)
    }

    /// Whether a client that is accepted now can still be served.
    pub fn can_serve(&self, now: Millis) -> bool {
        now.after(LEAST_SERVICE) < self.window_end
    }

    /// Spreads who is left over what is left of the window.
    fn set_pace(&mut self, now: Millis) {
        let many = u32::try_from(self.candidates.len().max(1)).unwrap_or(u32::MAX);
        self.interval = self.interval.min(self.window_end.since(now) / many);
        self.paced = now;
        self.turns = 0;
    }

    /// The next turn, counted from the last setting of the pace: as many intervals as there were
    /// turns, and up to one more by chance, so that clients who come back do not come in step.
    fn turn(&self) -> Duration {
        // Knuth's multiplicative hash: 2³² divided by the golden ratio.
        let chance = self.turns.wrapping_mul(2_654_435_769);
        let chance = self.interval.mul_f64(f64::from(chance) / f64::from(u32::MAX));
        self.interval * self.turns + chance
    }

    /// Told how many clients wait in the accept queues; says whether they have stayed empty.
    pub fn queues_are_served(&mut self, waiting: u32, now: Millis) -> bool {
        if waiting > 0 {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert(now);
        now.since(since) >= QUIET_QUEUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(many: u32, seconds: u64) -> Vec<u64> {
        let candidates = (0..many)
            .map(|n| Candidate { active: Millis(0), index: ConnIndex(n), generation: 0 })
            .collect();
        let mut drain = Drain::new(candidates, Millis(1000), Millis(1000 + seconds * 1000));
        let mut closed = Vec::new();
        while drain.next_turn() < drain.deadline() {
            let now = drain.next_turn();
            while drain.due(now).is_some() {
                closed.push(now.0 - 1000);
            }
        }
        closed
    }

    #[test]
    fn a_large_drain_is_even_over_its_window() {
        let closed = drained(200_000, 20);
        assert_eq!(closed.len(), 200_000);
        for second in 0..18 {
            let many = closed.iter().filter(|&&at| at / 1000 == second).count();
            assert!((11_000..11_250).contains(&many), "{many} in second {second}");
        }
    }

    #[test]
    fn a_small_drain_does_not_dawdle() {
        let closed = drained(100, 3600);
        assert_eq!(closed.len(), 100);
        assert!(closed[99] <= 2_020, "{} ms", closed[99]);
    }

    #[test]
    fn who_comes_late_is_closed_in_time_too() {
        let candidate =
            |n, active| Candidate { active: Millis(active), index: ConnIndex(n), generation: 0 };
        let mut drain = Drain::new(vec![candidate(0, 0)], Millis(0), Millis(10_000));
        let mut closed = Vec::new();
        for now in 0..10_000 {
            if now % 2 == 0 && now < 8_000 {
                drain.add(candidate(now as u32 + 1, now), Millis(now));
            }
            closed.extend(std::iter::from_fn(|| drain.due(Millis(now))).map(|_| now));
        }
        assert_eq!(closed.len(), 4_001);
        assert!(closed.is_sorted() && closed[4_000] <= 9_001, "{}", closed[4_000]);
    }

    #[test]
    fn the_longest_idle_is_closed_first() {
        // Neither the order of slots nor the order in which they were found.
        let actives = [700, 300, 900, 0, 500, 300, 800, 100];
        let candidates = (0..).zip(actives).map(|(slot, active)| Candidate {
            active: Millis(active),
            index: ConnIndex(slot),
            generation: 0,
        });
        let mut drain = Drain::new(candidates.collect(), Millis(60_000), Millis(90_000));
        let closed: Vec<Millis> = (60_000..90_000)
            .filter_map(|now| drain.due(Millis(now)))
            .map(|candidate| candidate.active)
            .collect();
        assert_eq!(closed.len(), actives.len());
        assert!(closed.is_sorted(), "{closed:?}");
    }

    #[test]
    fn queues_count_as_served_when_they_stay_empty() {
        let mut drain = Drain::new(Vec::new(), Millis(0), Millis(10_000));
        assert!(!drain.queues_are_served(0, Millis(0)));
        assert!(!drain.queues_are_served(1, Millis(199)));
        assert!(!drain.queues_are_served(0, Millis(200)));
        assert!(drain.queues_are_served(0, Millis(400)));
    }
}
