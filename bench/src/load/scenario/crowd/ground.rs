//! What all connections of a thread stand on, of whatever kind they are.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use portcullis::ring::ServerId;

use super::marks::{Asked, Marks, Time};
use crate::engine::{Phase, Tally};
use crate::pattern::Pattern;

/// One thread's.
pub(super) struct Ground {
    pub(super) tally: Tally,
    pub(super) marks: Arc<Marks>,
    pub(super) phase: Phase,
    /// When the phase began, and now.
    pub(super) began: u64,
    pub(super) now: u64,
    pub(super) threads: u64,
    number: u64,
    pairs: u64,
    asked: Vec<Asked>,
    served: Vec<u64>,
}

impl Ground {
    pub(super) fn new(marks: Arc<Marks>, index: usize, threads: usize, pairs: usize) -> Ground {
        Ground {
            tally: Tally::default(),
            marks,
            phase: Phase::Open,
            began: 0,
            now: 0,
            threads: threads as u64,
            number: index as u64,
            pairs: pairs as u64,
            asked: Vec::new(),
            served: Vec::new(),
        }
    }

    /// The pattern of one more connection, and where it goes.
    pub(super) fn next_life(&mut self) -> (Pattern, ServerId) {
        let number = self.number;
        self.number += self.threads;
        (Pattern::new(number), ServerId((number % self.pairs) as u16))
    }

    /// Nanoseconds between two events of this thread, of so many per second over all.
    pub(super) fn interval(&self, rate: u64) -> Option<u64> {
        self.threads.saturating_mul(1_000_000_000).checked_div(rate)
    }

    /// A message was answered.
    pub(super) fn answered(&mut self, due: u64) {
        let took = self.marks.now().saturating_sub(due);
        self.tally.count("messages", 1);
        match self.marks.time_of(due) {
            Time::Window => self.asked.push((due, took)),
            Time::Check => self.tally.latency("message_in_check", took),
            Time::Usual => self.tally.latency("message", took),
        }
    }

    /// A newcomer was served.
    pub(super) fn served(&mut self, due: u64) {
        let now = self.marks.now();
        let of = match self.marks.time_of(due) {
            Time::Window => "new_in_window",
            Time::Check => "new_in_check",
            Time::Usual => "new",
        };
        self.tally.latency(of, now.saturating_sub(due));
        self.tally.count("new_served", 1);
        if self.phase == Phase::Run {
            self.served.push(now);
        }
    }

    /// One that is not held was lost; whether it may be opened again.
    pub(super) fn lost(&mut self, kind: &str, what: &str) -> bool {
        if self.phase == Phase::Run && self.marks.forgives_since().is_some() {
            self.tally.count("lost_with_a_successor", 1);
            return true;
        }
        self.marks.failed.fetch_add(1, SeqCst);
        self.tally.fail(kind, what);
        false
    }

    /// A held one was lost, which was asked last at that moment.
    pub(super) fn held_lost(&mut self, step: &str, what: &str, asked: u64) {
        if self.marks.forgives_since().is_some_and(|since| asked >= since) {
            self.tally.count("held_lost_with_a_successor", 1);
            return;
        }
        self.marks.failed.fetch_add(1, SeqCst);
        self.marks.held_lost.fetch_add(1, SeqCst);
        self.tally.count("held_lost", 1);
        self.tally.fail(step, what);
    }

    /// Leaves what was seen with the others'.
    pub(super) fn leave(&mut self) {
        self.marks.take(std::mem::take(&mut self.asked), std::mem::take(&mut self.served));
    }
}
