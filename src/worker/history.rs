//! The history of a worker: its ring's last completions and the last ends of connections, for the
//! dump.

use crate::base::{ConnIndex, Micros};
use crate::conn::Reason;
use crate::ring::Completion;

/// Entries that are kept. At most 40 bytes each, they take 80 KiB of a worker's memory.
const KEPT: usize = 2048;

/// An entry of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The begin of its turn.
    pub at: Micros,
    /// The completion or the end.
    pub kind: HistoryKind,
}

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryKind {
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

/// The last entries; a new one takes the place of the oldest.
#[derive(Debug)]
pub(super) struct History {
    kept: Vec<HistoryEntry>,
    /// Where the next one goes.
    next: usize,
}

impl History {
    pub(super) fn new() -> History {
        History { kept: Vec::with_capacity(KEPT), next: 0 }
    }

    /// Keeps an entry. Every completion passes here: it writes one place and allocates nothing.
    pub(super) fn keep(&mut self, at: Micros, kind: HistoryKind) {
        let entry = HistoryEntry { at, kind };
        match self.kept.get_mut(self.next) {
            Some(place) => *place = entry,
            None => self.kept.push(entry),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// All that are kept, oldest first.
    pub(super) fn list(&self) -> Vec<HistoryEntry> {
        let (newer, older) = self.kept.split_at(self.next.min(self.kept.len()));
        [older, newer].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_in_their_order() {
        let kind = HistoryKind::Ended {
            conn: ConnIndex(1),
            generation: 2,
            reason: Reason::ClosedByClient,
        };
        for count in [0, 1, KEPT - 1, KEPT, KEPT + 1, 3 * KEPT + 7] {
            let mut history = History::new();
            (0..count).for_each(|at| history.keep(Micros(at as u64), kind));
            let kept: Vec<u64> = history.list().iter().map(|entry| entry.at.0).collect();
            let expected: Vec<u64> =
                (count.saturating_sub(KEPT)..count).map(|at| at as u64).collect();
            assert_eq!(kept, expected);
            assert!(history.kept.capacity() * size_of::<HistoryEntry>() <= 80 << 10);
        }
    }
}
