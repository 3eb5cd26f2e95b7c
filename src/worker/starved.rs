//! Lanes that found no buffer, and whose turn it is when one comes back.

use std::collections::VecDeque;

use super::Worker;
use crate::base::{ConnIndex, Side};
use crate::conn::Event;
use crate::ring::{Buffers as _, Ring};

/// A lane by its connection, the connection's life and the side that its bytes come from.
type Lane = (ConnIndex, u32, Side);

/// Lanes without a buffer. Each is woken once for each time that it found none.
#[derive(Debug, Default)]
pub(super) struct Starved {
    /// Oldest first.
    queue: VecDeque<Lane>,
    /// How many may try again, beside one for each buffer that comes back.
    tries: u32,
}

impl Starved {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.queue.len()
    }

    /// A lane found no buffer.
    pub(super) fn put(&mut self, index: ConnIndex, generation: u32, source: Side) {
        self.queue.push_back((index, generation, source));
    }

    /// One of them may try again: a wake was used up for nothing, or the count may be wrong.
    pub(super) fn try_again(&mut self) {
        self.tries += 1;
    }

    /// How many may try now, where so many buffers came back.
    fn take_tries(&mut self, returned: u32) -> u32 {
        returned + std::mem::take(&mut self.tries)
    }
}

impl<R: Ring> Worker<R> {
    /// Wakes starved lanes, one for each buffer that came back.
    pub(super) fn feed_starved(&mut self) {
        let mut left = self.starved.take_tries(self.ring.returned_buffers());
        while left > 0 {
            let Some((index, generation, source)) = self.starved.queue.pop_front() else { return };
            if self.lives.entry(index).generation == generation {
                self.apply(index, Event::BufferFreed(source));
                left -= 1;
            }
        }
    }
}
