//! A turn: what happened to sockets and gates, and what completed of it.

use std::time::Duration;

use super::EpollRing;
use super::poller::For;
use crate::base::Errno;
use crate::metrics::RingCounters;
use crate::ring::contract::{Completion, Ring};

impl Ring for EpollRing {
    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        let wait = if self.is_busy() { Some(Duration::ZERO) } else { wait };
        self.poller.wait(wait)?;
        self.counters.ring_enters += 1;
        for index in 0..self.poller.came() {
            match self.poller.event(index) {
                (For::Waker, _) => {}
                (For::Gate(gate), _) => self.visited(gate),
                (For::Socket(conn, side), bits) => self.edge(conn, side, bits),
            }
        }
        self.accept_clients();
        // What the worker starts from here on completes in the next turn, so that none goes on for
        // ever.
        self.now.append(&mut self.later);
        self.counters.completions += self.now.len() as u64;
        self.descriptors.open_turn();
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        if let Some(completion) = self.now.pop_front() {
            self.told(&completion);
            return Some(completion);
        }
        if let Some(removed) = self.doors.gates.next_gone() {
            return Some(removed);
        }
        self.descriptors.next_splice().map(Completion::Done)
    }

    fn is_behind(&mut self) -> bool {
        self.poller.is_full()
    }

    fn counters(&self) -> RingCounters {
        let counters = self.memory.counted(self.counters);
        self.descriptors.splices().counted(counters)
    }
}

impl EpollRing {
    /// The next turn must not sleep.
    fn is_busy(&self) -> bool {
        !self.later.is_empty()
            || !self.now.is_empty()
            || self.doors.gates.has_gone()
            || self.doors.are_due()
            || self.descriptors.splices().is_busy()
    }
}
