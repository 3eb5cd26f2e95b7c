//! A turn: into the kernel with what was started, and out of it with what completed.

use std::time::Duration;

use super::queue::Wait;
use super::{KernelRing, rest};
use crate::base::Errno;
use crate::metrics::RingCounters;
use crate::ring::contract::{Completion, Ring};

impl Ring for KernelRing {
    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        let wait = match wait {
            _ if self.descriptors.splices().is_busy() || !self.ready.is_empty() => Wait::No,
            _ if self.gates.has_gone() || self.moving.has_told() => Wait::No,
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::No,
            Some(limit) => Wait::AtMost(limit),
        };
        self.tables.enter(&mut self.memory, wait)?;
        self.open_turn();
        rest::require_all(self.counters.lost_completions)
    }

    fn next(&mut self) -> Option<Completion> {
        while let Some((table, completion)) = self.tables.next() {
            if let Some(completion) = self.translate(table, &completion) {
                return Some(completion);
            }
        }
        if let Some(done) = self.ready.pop_front() {
            return Some(Completion::Done(done));
        }
        if let Some(removed) = self.gates.next_gone() {
            return Some(removed);
        }
        if let Some(told) = self.moving.next_told() {
            return Some(told);
        }
        self.descriptors.next_splice().map(Completion::Done)
    }

    fn is_behind(&mut self) -> bool {
        self.tables.are_behind()
    }

    fn set_batch_wait(&mut self, wait: Duration) {
        // The lead ring alone waits.
        self.tables[0].queue.set_batch_wait(wait);
    }

    fn counters(&self) -> RingCounters {
        let counters = self.memory.counted(self.counters);
        self.descriptors.splices().counted(counters)
    }
}

impl KernelRing {
    pub(super) fn open_turn(&mut self) {
        self.tables.open_turn(&mut self.counters);
        if self.tables.are_submitted() {
            self.memory.forget();
        }
        self.descriptors.open_turn();
    }
}
