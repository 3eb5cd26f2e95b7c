//! The pace of a drain: who is closed when, idle connections first, done in time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::Millis;
use crate::ring::ConnIndex;

/// The share of the drain's time over which connections are closed; the rest is for their endings.
const WINDOW_TENTHS: u32 = 9;

/// Closes per second below which a pace need not go: so few who come back at once hurt nobody.
const SLOWEST_PER_SECOND: u32 = 50;

/// How long the accept queues must stay empty before they count as served.
const QUIET_QUEUE: Duration = Duration::from_millis(200);

/// A connection that waits for its turn to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
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
    /// A drain of `candidates`, in this order, from `now` to `deadline`.
    pub fn new(candidates: Vec<Candidate>, now: Millis, deadline: Millis) -> Drain {
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
        if now.since(self.paced) < self.turn() {
            return None;
        }
        let candidate = self.candidates.pop_front()?;
        self.turns += 1;
        Some(candidate)
    }

    /// When the next turn comes, or the deadline if nobody waits for one.
    pub fn next_turn(&self) -> Millis {
        if self.candidates.is_empty() {
            return self.deadline;
        }
        self.paced.after(self.turn()).min(self.deadline)
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
        let candidates =
            (0..many).map(|n| Candidate { index: ConnIndex(n), generation: 0 }).collect();
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
        let candidate = |n| Candidate { index: ConnIndex(n), generation: 0 };
        let mut drain = Drain::new(vec![candidate(0)], Millis(0), Millis(10_000));
        let mut closed = Vec::new();
        for now in 0..10_000 {
            if now % 2 == 0 && now < 8_000 {
                drain.add(candidate(now as u32 + 1), Millis(now));
            }
            closed.extend(std::iter::from_fn(|| drain.due(Millis(now))).map(|_| now));
        }
        assert_eq!(closed.len(), 4_001);
        assert!(closed.is_sorted() && closed[4_000] <= 9_001, "{}", closed[4_000]);
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
