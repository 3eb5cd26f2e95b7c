//! What ended in a successor: counted there, or here if that fails.

use std::time::Duration;

use crate::conn::Reason;
use crate::metrics::{Kept, ListenerCounters};

/// A connection that has ended in the successor, whose count of that goes with it.
#[derive(Debug)]
pub(super) struct EndedThere {
    pub(super) counters: Kept<ListenerCounters>,
    pub(super) lifetime: Duration,
}

impl EndedThere {
    pub(super) fn count(self) {
        self.counters.closed[Reason::EndedWithSuccessor as usize].add(1);
        self.counters.lifetime.observe(self.lifetime);
    }
}
