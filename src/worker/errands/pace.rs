//! How fast an errand goes: so many connections a second, or evenly over a window.

use std::time::Duration;

use crate::base::Millis;

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
