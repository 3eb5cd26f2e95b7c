//! The atomics that threads share. `tests/budget` puts a model checker's in their place.

pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use zerocopy::FromZeros;

/// Words of a cache line.
pub const LINE_WORDS: usize = 8;

/// So many cache lines of words that are zero, and the index of the word that begins the first
/// line. The allocator asks the kernel for zeros instead of writing them (calloc(3)), which it does
/// not for a type that is aligned to a cache line itself.
pub fn zeroed_lines(lines: usize) -> (Box<[AtomicU64]>, usize) {
    let words = AtomicU64::new_vec_zeroed((lines + 1) * LINE_WORDS - 1).expect("memory");
    let first = words.as_ptr().align_offset(LINE_WORDS * size_of::<AtomicU64>());
    (words.into_boxed_slice(), first)
}
