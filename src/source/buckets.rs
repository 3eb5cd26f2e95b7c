//! A table of words in buckets of a cache line each, two of which may hold a given source.

use crate::base::sync::{AtomicU64, LINE_WORDS, zeroed_lines};
use crate::source::key::Key;

/// The most words: their index is a `u32`, and the most connections that a config may ask for need
/// two words each.
const WORDS_MAX: usize = 1 << 28;

/// Words that are zero at first. The kernel gives memory for a page of them when the first word in
/// it is written.
pub(super) struct Buckets {
    words: Box<[AtomicU64]>,
    /// The index of the first word, which begins a cache line.
    first: usize,
    /// The buckets less one, which are a power of two.
    mask: usize,
}

impl Buckets {
    /// Two words for each of `connections`, rounded up; two buckets at least. Sources find a word
    /// until more than 70 % of the words are taken.
    pub(super) fn for_connections(connections: u32) -> Buckets {
        let words = (2 * connections as usize).clamp(2 * LINE_WORDS, WORDS_MAX);
        let buckets = words.div_ceil(LINE_WORDS).next_power_of_two();
        let (words, first) = zeroed_lines(buckets);
        Buckets { words, first, mask: buckets - 1 }
    }

    /// The indices of the words that may hold a source with this key, those of the bucket that it
    /// prefers first. `fingerprint` is what the words have of the key; the second bucket depends on
    /// nothing else and the first, and is never the same.
    pub(super) fn of(&self, key: Key, fingerprint: u64) -> impl Iterator<Item = usize> + use<> {
        let one = key.0 as u32 as usize & self.mask;
        let mixed = (fingerprint.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize | 1;
        let other = one ^ (mixed & self.mask);
        [one, other].into_iter().flat_map(|bucket| bucket * LINE_WORDS..(bucket + 1) * LINE_WORDS)
    }

    /// The word of this index.
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        &self.words[self.first + index]
    }

    /// Every word.
    pub(super) fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        (0..self.len()).map(|index| self.word(index))
    }

    /// How many words there are.
    pub(super) fn len(&self) -> usize {
        (self.mask + 1) * LINE_WORDS
    }

    /// The memory of a table whose every word was written once.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

/// The free words of a source's two buckets, as one look at them finds them.
#[derive(Default)]
pub(super) struct Vacancies {
    first: [Option<(usize, u64)>; 2],
    free: [usize; 2],
    seen: usize,
}

impl Vacancies {
    /// The next word of [`Buckets::of`], and whether it is free.
    pub(super) fn see(&mut self, index: usize, word: u64, is_free: bool) {
        let bucket = self.seen / LINE_WORDS;
        self.seen += 1;
        if is_free {
            self.free[bucket] += 1;
            self.first[bucket] = self.first[bucket].or(Some((index, word)));
        }
    }

    /// A free word for a source that has none: in the bucket that it prefers while that is half
    /// empty, so that racers agree; beyond that in the emptier one, so that both fill evenly.
    pub(super) fn choice(&self) -> Option<(usize, u64)> {
        let [preferred, other] = self.free;
        let is_preferred = 2 * preferred >= LINE_WORDS || preferred >= other;
        self.first[usize::from(!is_preferred)]
    }
}
