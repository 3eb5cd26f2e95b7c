//! The moments that a worker goes by: its turns, and up to when it has heard of everything.

use std::time::Duration;

use crate::base::{Clock, Micros, Millis};

/// How long deadlines wait for a ring that is behind: a worker that has too much to do for longer
/// must keep them all the same.
const BEHIND_MAX: Duration = Duration::from_secs(2);

/// A worker's time. It moves on once a turn, and never back.
#[derive(Debug)]
pub(super) struct Time {
    clock: Clock,
    /// When this turn began, to the microsecond and to the millisecond.
    moment: Micros,
    now: Millis,
    heard: Millis,
    /// When the last turn began to wait.
    turned: Millis,
    behind_since: Option<Millis>,
    checked: Millis,
}

impl Time {
    /// Of a worker before its first turn.
    pub(super) fn new(clock: Clock) -> Time {
        let moment = clock.micros();
        let now = moment.millis();
        Time { clock, moment, now, heard: now, turned: now, behind_since: None, checked: now }
    }

    /// When this turn began, to the microsecond.
    pub(super) fn moment(&self) -> Micros {
        self.moment
    }

    /// The same, to the millisecond.
    pub(super) fn now(&self) -> Millis {
        self.now
    }

    /// What arrived by then has been read, wherever a lane reads: when the turn before the last one
    /// began to wait. One turn brings the wake of a wait for bytes, the next one the bytes. Whether
    /// a connection was idle is judged by this, so that a process that was stopped for a while
    /// holds its own silence against nobody.
    pub(super) fn heard(&self) -> Millis {
        self.heard
    }

    /// A turn begins. What was heard moves on, but not while the ring brings less in a turn than
    /// there is, and for that a bounded time.
    pub(super) fn turn(&mut self, is_behind: bool) {
        let turned = std::mem::replace(&mut self.moment, self.clock.micros()).millis();
        self.now = self.moment.millis();
        if is_behind {
            let since = *self.behind_since.get_or_insert(self.now);
            if self.now.since(since) < BEHIND_MAX {
                return;
            }
        } else {
            self.behind_since = None;
        }
        self.heard = std::mem::replace(&mut self.turned, turned);
    }

    /// Whether it is time for what is checked once a second.
    pub(super) fn is_second_over(&mut self) -> bool {
        let is_over = self.now.since(self.checked) >= Duration::from_secs(1);
        if is_over {
            self.checked = self.now;
        }
        is_over
    }
}
