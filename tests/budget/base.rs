//! Stands in for the crate's `base` in the modelled budget and the modelled tables of sources.

pub(crate) use portcullis::base::{ListenerId, Millis};

pub(crate) mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

    /// Fewer than in the crate: every look at a word is a step that the checker varies.
    pub(crate) const LINE_WORDS: usize = 2;

    pub(crate) fn zeroed_lines(lines: usize) -> (Box<[AtomicU64]>, usize) {
        ((0..lines * LINE_WORDS).map(|_| AtomicU64::new(0)).collect(), 0)
    }
}
