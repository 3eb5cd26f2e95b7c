//! How fast an errand goes: so many connections a second, or evenly over a window.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::Millis;

/// How closes follow each other over the time of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Evenly over the time, and fifty a second at least: a small drain does not dawdle.
    Brisk,
    /// Evenly over the time, however slow that is.
    Even,
    /// As fast as the drain's rate allows.
    Rate,
}

/// How much time a rate makes up for when its worker was late.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A number of turns per second at most.
#[derive(Debug)]
pub struct Rate {
    interval: Duration,
    turn: Millis,
}

impl Rate {
    /// So many turns per second at most, the first of them now.
    pub fn per_second(turns: u32, now: Millis) -> Rate {
        Rate { interval: Duration::from_secs(1) / turns, turn: now }
    }

    /// Takes a turn, if it is time for one.
    pub fn take(&mut self, now: Millis) -> bool {
        let earliest = now.0.saturating_sub(CATCH_UP.as_millis() as u64);
        self.turn = Millis(self.turn.0.max(earliest));
        let is_due = self.turn <= now;
        if is_due {
            self.turn = self.turn.after(self.interval);
        }
        is_due
    }

    /// When the next turn comes.
    pub fn turn(&self) -> Millis {
        self.turn
    }
}

/// A number of turns per second at most, over all workers that share them.
#[derive(Debug)]
pub struct Turns {
    interval_nanos: u64,
    /// When the next turn comes, in nanoseconds of the gateway's clock.
    next_nanos: AtomicU64,
}

const NANOS_PER_MILLI: u64 = 1_000_000;

impl Turns {
    /// So many turns per second at most, the first of them now.
    pub fn per_second(turns: u32, now: Millis) -> Turns {
        let interval_nanos = 1_000_000_000 / u64::from(turns.max(1));
        Turns { interval_nanos, next_nanos: AtomicU64::new(now.0 * NANOS_PER_MILLI) }
    }

    /// How many per second.
    pub fn rate(&self) -> f64 {
        1e9 / self.interval_nanos as f64
    }

    /// Takes a turn, if it is time for one.
    ///
    /// # Errors
    /// When it is not: says when the next one comes.
    pub fn take(&self, now: Millis) -> Result<(), Millis> {
        let now_nanos = now.0 * NANOS_PER_MILLI;
        let earliest = now_nanos.saturating_sub(CATCH_UP.as_nanos() as u64);
        let after = |next: u64| {
            let turn = next.max(earliest);
            (turn <= now_nanos).then_some(turn + self.interval_nanos)
        };
        let taken = self.next_nanos.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        taken.map(drop).map_err(|next| Millis(next.div_ceil(NANOS_PER_MILLI)))
    }
}

/// Turns spread evenly over a window.
#[derive(Debug)]
pub struct Spread {
    end: Millis,
    /// From here on, turns are counted: when the pace was last set.
    paced: Millis,
    turns: u32,
    /// Time between two turns.
    interval: Duration,
}

impl Spread {
    /// Turns from `now` to `end`, never further apart than `longest`.
    pub fn new(now: Millis, end: Millis, longest: Duration) -> Spread {
        Spread { end, paced: now, turns: 0, interval: longest }
    }

    /// Time between two turns.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// When the window ends.
    pub fn end(&self) -> Millis {
        self.end
    }

    /// Spreads `many` turns over what is left of the window from `from` on. The pace never slows.
    pub fn over(&mut self, many: usize, from: Millis) {
        let many = u32::try_from(many.max(1)).unwrap_or(u32::MAX);
        self.interval = self.interval.min(self.end.since(from) / many);
        self.paced = from;
        self.turns = 0;
    }

    /// Speeds up if `many` turns would not fit into what is left of the window.
    pub fn fit(&mut self, many: usize, now: Millis) {
        let turns = u32::try_from(many).unwrap_or(u32::MAX);
        if now.after(self.interval.saturating_mul(turns)) > self.end {
            self.over(many, now);
        }
    }

    /// When the next turn comes: as many intervals after the pace was set as there were turns, and
    /// up to one more by chance, so that clients who come back do not come in step.
    pub fn turn(&self) -> Millis {
        // Knuth's multiplicative hash: 2³² divided by the golden ratio.
        let chance = self.turns.wrapping_mul(2_654_435_769);
        let chance = self.interval.mul_f64(f64::from(chance) / f64::from(u32::MAX));
        self.paced.after(self.interval * self.turns + chance)
    }

    /// The turn is taken.
    pub fn take(&mut self) {
        self.turns += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_never_more_than_their_rate_even_after_a_delay() {
        for rate in [1, 7, 500, 3_000] {
            let turns = Turns::per_second(rate, Millis(0));
            let mut taken = 0;
            for now in 0..5_000 {
                // A worker that was late for half a second makes up for a part of it.
                while !(2_000..2_500).contains(&now) && turns.take(Millis(now)).is_ok() {
                    taken += 1;
                }
                let most = u64::from(rate) * now / 1000 + 1;
                assert!(taken <= most, "{taken} by {now} ms at {rate} a second");
            }
            let least = u64::from(rate) * 4_500 / 1000;
            assert!(taken >= least, "{taken} of {least} at {rate} a second");
        }
    }

    #[test]
    fn a_turn_that_is_not_due_says_when_it_is() {
        let turns = Turns::per_second(3, Millis(10));
        assert_eq!(turns.take(Millis(10)), Ok(()));
        assert_eq!(turns.take(Millis(11)), Err(Millis(344)));
        assert_eq!(turns.take(Millis(344)), Ok(()));
    }
}
