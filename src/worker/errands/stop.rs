//! Ends every connection at once, in steps that keep turns short.

use super::reach::Reach;
use super::step::{ENDED_PER_STEP, Step};
use crate::conn::Reason;

/// A stop under way. It is never over: clients that come late are ended as they come.
#[derive(Debug)]
pub struct Stop {
    /// The next slot to visit; `None`: all were visited.
    from: Option<u32>,
}

impl Stop {
    /// A stop that has ended no connection yet. The worker accepts no more already.
    pub fn new() -> Stop {
        Stop { from: Some(0) }
    }

    /// Ends a bounded number of connections, and all that came late.
    pub fn step<R: Reach>(&mut self, reach: &mut R) -> Step {
        for index in reach.take_arrivals() {
            reach.end(index, Reason::Stopped);
        }
        for _ in 0..ENDED_PER_STEP {
            let Some(from) = self.from else { break };
            let slot = reach.next_slot(from);
            self.from = slot.map(|index| index.0 + 1);
            if let Some(index) = slot {
                reach.end(index, Reason::Stopped);
            }
        }
        if self.from.is_some() { Step::At(reach.now()) } else { Step::Waits }
    }
}
