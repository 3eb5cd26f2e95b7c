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
            _ if self.splices.is_busy() || !self.told.is_empty() => Wait::No,
            _ if self.gates.has_gone() => Wait::No,
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::No,
            Some(limit) => Wait::AtMost(limit),
        };
        self.enter_all(wait)?;
        self.open_turn();
        self.splices.open_turn();
        rest::require_all(self.counters.lost_completions)
    }

    fn next(&mut self) -> Option<Completion> {
        while self.reading < self.tables.len() {
            let Some(completion) = self.tables[self.reading].queue.next() else {
                self.reading += 1;
                continue;
            };
            if let Some(completion) = self.translate(self.reading, &completion) {
                return Some(completion);
            }
        }
        if let Some(done) = self.told.pop_front() {
            return Some(Completion::Done(done));
        }
        if let Some(removed) = self.gates.next_gone() {
            return Some(removed);
        }
        let room = self.descriptors_for_splices();
        self.splices.next(room).map(Completion::Done)
    }

    fn is_behind(&mut self) -> bool {
        self.tables.iter_mut().any(|table| table.queue.is_behind())
    }

    fn counters(&self) -> RingCounters {
        RingCounters {
            parked_bytes: self.memory.parked.held_bytes() as u64,
            splicing: self.splices.connections().into(),
            spliced_bytes: self.splices.moved_bytes(),
            ..self.counters
        }
    }
}

impl KernelRing {
    /// Enters the rings that have something to do; the lead waits as `wait` says, if no other has
    /// completions.
    fn enter_all(&mut self, wait: Wait) -> Result<(), Errno> {
        for index in 1..self.tables.len() {
            if self.tables[index].queue.needs_turn() {
                self.restock(index);
                self.tables[index].queue.turn(Wait::No)?;
            }
        }
        // A ring that gets work sets its flag and then writes to the eventfd, whose count the
        // lead's read cannot miss: waiting below loses nothing that comes from here on. What came
        // before may have had its count read already, so there the flags decide.
        let busy = self.is_busy();
        if busy && !self.tables[0].queue.needs_turn() {
            return Ok(());
        }
        self.restock(0);
        self.tables[0].queue.turn(if busy { Wait::No } else { wait })?;
        if busy {
            return Ok(());
        }
        for index in 1..self.tables.len() {
            if self.tables[index].queue.needs_turn() {
                self.restock(index);
                self.tables[index].queue.turn(Wait::No)?;
            }
        }
        Ok(())
    }

    /// Whether the lead ring must not sleep.
    pub(super) fn is_busy(&mut self) -> bool {
        let mut busy = self.tables[0].queue.has_completions();
        for table in &mut self.tables[1..] {
            busy |= table.queue.has_completions() || table.queue.needs_turn();
        }
        busy
    }

    pub(super) fn open_turn(&mut self) {
        self.reading = 0;
        let mut lost = 0;
        for table in self.tables.iter_mut() {
            self.counters.completions += u64::from(table.queue.open_turn());
            if table.queue.has_overflowed() {
                self.counters.queue_overflows += 1;
            }
            lost += u64::from(table.queue.dropped());
            let (enters, submissions) = table.queue.take_enters();
            self.counters.ring_enters += enters;
            self.counters.submissions += submissions;
        }
        self.counters.lost_completions = lost;
        if self.tables.iter_mut().all(|table| table.queue.is_submitted()) {
            self.memory.forget();
        }
    }
}
