//! What came out of a worker's ring a moment ago: kept for whoever looks for a fault.

use crate::base::{ConnIndex, Micros};
use crate::conn::Reason;
use crate::ring::Completion;

/// How many happenings are kept. At most 40 bytes each they take 80 KiB of a worker's memory.
const KEPT: usize = 2048;

/// Something that happened at a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When its turn of the loop began.
    pub at: Micros,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An operation completed.
    Completed(Completion),
    /// A connection ended.
    Ended {
        /// Its slot.
        conn: ConnIndex,
        /// Which life of the slot.
        generation: u32,
        /// Why.
        reason: Reason,
    },
}

/// The last happenings, the newest in the place of the oldest.
#[derive(Debug)]
pub(super) struct Recent {
    kept: Vec<Happening>,
    /// Where the next one goes.
    next: usize,
}

impl Recent {
    pub(super) fn new() -> Recent {
        Recent { kept: Vec::with_capacity(KEPT), next: 0 }
    }

    /// Keeps one. This is on the way of every completion: it writes one place, allocates nothing.
    pub(super) fn keep(&mut self, at: Micros, what: What) {
        let happening = Happening { at, what };
        match self.kept.get_mut(self.next) {
            Some(place) => *place = happening,
            None => self.kept.push(happening),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// All that are kept, oldest first.
    pub(super) fn list(&self) -> Vec<Happening> {
        let (newer, older) = self.kept.split_at(self.next.min(self.kept.len()));
        [older, newer].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_in_their_order() {
        let what = What::Ended { conn: ConnIndex(1), generation: 2, reason: Reason::Closed };
        for count in [0, 1, KEPT - 1, KEPT, KEPT + 1, 3 * KEPT + 7] {
            let mut recent = Recent::new();
            (0..count).for_each(|at| recent.keep(Micros(at as u64), what));
            let kept: Vec<u64> = recent.list().iter().map(|happening| happening.at.0).collect();
            let expected: Vec<u64> =
                (count.saturating_sub(KEPT)..count).map(|at| at as u64).collect();
            assert_eq!(kept, expected);
            assert!(recent.kept.capacity() * size_of::<Happening>() <= 80 << 10);
        }
    }
}
