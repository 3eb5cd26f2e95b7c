//! A connection's place in a list that runs through the table's entries.

use crate::base::Tick;

/// In place of a slot: the list goes no further in this direction.
pub const NOBODY: u32 = u32::MAX;

/// A connection's place in the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The slot before it.
    pub previous: u32,
    /// The slot after it.
    pub next: u32,
    /// When it is looked at; `Tick(u32::MAX)` while it is in no list, see [`Link::due`].
    pub due: Tick,
}

impl Link {
    /// In no list.
    pub const UNLINKED: Link = Link { previous: NOBODY, next: NOBODY, due: Tick(u32::MAX) };

    /// When the wheel comes to it, if it is in it.
    pub fn due(&self) -> Option<Tick> {
        (self.due.0 != u32::MAX).then_some(self.due)
    }
}
