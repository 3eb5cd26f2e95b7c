//! What the servers of an upstream have in common, over all workers and over changes of the set.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Room;
use crate::config::AllDown;

/// Rules for servers that fail, and how many of them rest.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Changes so far, modulo 2³².
    changes: AtomicU32,
    /// Failures one after the other at which a server is ejected; 0: never.
    failures: AtomicU32,
    /// An end before this many milliseconds is early; 0: none is.
    early_millis: AtomicU32,
    /// Servers that may rest at one time, and that do.
    most: AtomicU32,
    resting: AtomicU32,
    all_down: AtomicU32,
    /// Servers that a connection may try; 0: each.
    attempts: AtomicU32,
    room: Room,
}

/// What servers that fail and their clients come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Failures of a server, one after the other, until it is ejected; `None`: it never is.
    pub failures: Option<u32>,
    /// The time in which the end of a connection is early; zero: none is.
    pub early_end: Duration,
    /// How many servers may rest at a time.
    pub most: u32,
    /// What is done with clients when no server serves.
    pub all_down: AllDown,
    /// How many servers a connection may try in vain; 0: each of them.
    pub attempts: u32,
}

impl Fleet {
    /// Goes by other rules. Only one thread may.
    pub fn set_rules(&self, rules: Rules) {
        let Rules { failures, early_end, most, all_down, attempts } = rules;
        self.failures.store(failures.unwrap_or(0), Ordering::Relaxed);
        self.early_millis.store(early_end.as_millis() as u32, Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
        self.all_down.store(all_down as u32, Ordering::Relaxed);
        self.attempts.store(attempts, Ordering::Relaxed);
        self.note_change();
    }

    /// Room at its servers, and the clients that wait for it.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// How often something was changed by which a server is chosen.
    pub(super) fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub(super) fn failures(&self) -> Option<u32> {
        Some(self.failures.load(Ordering::Relaxed)).filter(|failures| *failures > 0)
    }

    /// The time in which the end of a connection is early; zero: none is.
    pub fn early_end(&self) -> Duration {
        Duration::from_millis(self.early_millis.load(Ordering::Relaxed).into())
    }

    /// What is done with clients when no server serves.
    pub(super) fn all_down(&self) -> AllDown {
        match self.all_down.load(Ordering::Relaxed) {
            0 => AllDown::TryAll,
            1 => AllDown::Refuse,
            _ => AllDown::Wait,
        }
    }

    /// How many servers a connection may try in vain: one at least.
    pub(super) fn attempts(&self) -> u32 {
        match self.attempts.load(Ordering::Relaxed) {
            0 => u8::MAX.into(),
            attempts => attempts,
        }
    }

    /// A server goes to rest, if another one may.
    pub(super) fn go(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |resting| (resting < most).then_some(resting + 1);
        self.resting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// A server is back from its rest.
    pub(super) fn back(&self) {
        self.resting.fetch_sub(1, Ordering::Relaxed);
    }
}
