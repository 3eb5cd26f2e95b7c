//! A worker's connections: which are there, when each is due, and who comes next into a slot.

use std::collections::HashMap;
use std::time::Duration;

use super::Verdict;
use super::table::{Entry, Table};
use super::timers::Timers;
use crate::base::{ConnIndex, Millis, RouteId, Tick};
use crate::ring::Token;

/// The connections of a worker. Each that is open has one deadline at most, and one that is over
/// has none.
#[derive(Debug)]
pub(super) struct Lives {
    table: Table,
    timers: Timers,
    open: u32,
    /// For how many ticks a receive may wait.
    quiet_ticks: u32,
    /// Clients accepted into slots whose close has not been heard of, and their routes: rare.
    successors: HashMap<ConnIndex, (RouteId, Verdict)>,
}

impl Lives {
    /// None, in so many slots. A receive is to wait no longer than `quiet_after`.
    pub(super) fn new(slots: u32, quiet_after: Duration, now: Millis) -> Lives {
        Lives {
            table: Table::new(slots),
            timers: Timers::new(Tick::at(now)),
            open: 0,
            quiet_ticks: ticks_of(quiet_after),
            successors: HashMap::new(),
        }
    }

    /// From now on a receive is to wait no longer than this.
    pub(super) fn set_quiet_after(&mut self, quiet_after: Duration) {
        self.quiet_ticks = ticks_of(quiet_after);
    }

    /// The entry of a slot.
    pub(super) fn entry(&mut self, index: ConnIndex) -> &mut Entry {
        self.table.entry(index)
    }

    /// The first slot at or after `from` that may hold a connection.
    pub(super) fn used_from(&self, from: u32) -> Option<ConnIndex> {
        self.table.used_from(from)
    }

    /// The last slot at or before `from` that may hold a connection.
    pub(super) fn used_to(&self, from: u32) -> Option<ConnIndex> {
        self.table.used_to(from)
    }

    /// How many are open.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    /// How many have a deadline.
    pub(super) fn deadlines(&self) -> u32 {
        self.timers.count()
    }

    /// One more is open.
    pub(super) fn begin(&mut self) {
        self.open += 1;
    }

    /// A client was accepted into a slot whose connection has not ended.
    ///
    /// # Panics
    /// When another one was: the kernel fills a slot once.
    pub(super) fn succeed(&mut self, index: ConnIndex, route: RouteId, verdict: Verdict) {
        let other = self.successors.insert(index, (route, verdict));
        assert!(other.is_none(), "two clients in slot {}", index.0);
    }

    /// Whether every client that was accepted has begun.
    pub(super) fn all_have_begun(&self) -> bool {
        self.successors.is_empty()
    }

    /// A connection's slots are empty: the slot's next life begins. Says who came for it already.
    pub(super) fn end(&mut self, index: ConnIndex) -> Option<(RouteId, Verdict)> {
        self.open -= 1;
        self.timers.clear(&mut self.table, index);
        let entry = self.table.entry(index);
        entry.generation = (entry.generation + 1) % Token::GENERATIONS;
        if self.successors.is_empty() { None } else { self.successors.remove(&index) }
    }

    /// Sets a connection's deadline, in place of the one that it had.
    pub(super) fn set_due(&mut self, index: ConnIndex, due: Option<Tick>) {
        match due {
            Some(due) => self.timers.set(&mut self.table, index, due),
            None => self.timers.clear(&mut self.table, index),
        }
    }

    /// When a receive that waits will have waited for too long; `None` when none does.
    pub(super) fn quiet_due(&mut self, index: ConnIndex) -> Option<Tick> {
        let entry = self.table.entry(index);
        let Tick(since) = entry.active.max(entry.waits_since);
        entry.conn.can_go_quiet().then(|| Tick(since.saturating_add(self.quiet_ticks)))
    }

    /// Takes out one connection whose deadline has come.
    pub(super) fn take_due(&mut self) -> Option<ConnIndex> {
        self.timers.due(&mut self.table)
    }

    /// Whether somebody's deadline has come.
    pub(super) fn any_due(&self) -> bool {
        self.timers.any_due()
    }

    /// Moves one tick on, unless deadlines stand at `until` already.
    pub(super) fn step(&mut self, until: Tick) -> bool {
        self.timers.step(&mut self.table, until)
    }

    /// The moment up to which a worker may sleep.
    pub(super) fn next_stop(&self) -> Millis {
        self.timers.next_stop().begins()
    }
}

fn ticks_of(quiet_after: Duration) -> u32 {
    Tick::not_before(Millis(0).after(quiet_after)).0
}
