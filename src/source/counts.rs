//! Connections by source, over all workers: exact, in bounded memory, without a lock.

use std::fmt;

use crate::base::sync::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use crate::source::buckets::{Buckets, Vacancies};
use crate::source::key::Key;

/// Bits of a word that count; the others are the fingerprint.
const COUNT_BITS: u32 = 24;
/// The most connections that a word counts; a higher limit is this one.
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
/// How often an enter is tried that others got in the way of, as [`Counts`] says.
const TRIES: u32 = 4;

/// How many connections each source has.
///
/// A source is a word in one of its two buckets: its fingerprint and a count. It is there while it
/// has a connection, so nothing expires and nothing is swept. Two sources count as one where the
/// fingerprint (40 bits) and a bucket agree: among a million, in one of 290,000 fillings of a table
/// for as many, and nobody can choose which.
///
/// Whatever the order of the workers' steps, never more than the limit have entered and not left.
/// Nearly always a source has one word, on which the last of two racers for the last place loses.
/// It gets a second one when another source frees a word at the moment in which two workers look
/// for its first. While it has two, racers for the last place may take each other's step back;
/// both try again, up to four times in all, so that one of them gets in unless they keep in step.
pub struct Counts {
    buckets: Buckets,
    used: AtomicU64,
}

/// Where a connection is counted: the index of a word, to leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u32);

/// What comes of a connection's request to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entering {
    /// It counts from now on, until it leaves.
    Entered(Word),
    /// Its source has as many as the limit allows.
    AtLimit,
    /// No word is free for its source: it is not counted and has nothing to leave.
    TableFull,
}

// An entering worker writes one word and then reads the source's other words; so does the racer.
// That takes one order over all words. The SeqCst accesses give it, and the fence says it again in
// the only form that loom models, as in the budget.
impl Counts {
    /// A table that holds the sources of so many connections, none counted.
    pub fn for_connections(connections: u32) -> Counts {
        Counts { buckets: Buckets::for_connections(connections), used: AtomicU64::new(0) }
    }

    /// Counts one more connection of the source, unless it has `limit` of them.
    pub fn enter(&self, key: Key, limit: u32) -> Entering {
        let limit = limit.min(COUNT_MAX);
        (0..TRIES).find_map(|_| self.try_enter(key, limit)).unwrap_or(Entering::AtLimit)
    }

    /// `None`: others entered at the same moment, and the step was taken back.
    fn try_enter(&self, key: Key, limit: u32) -> Option<Entering> {
        let fingerprint = key.0 >> COUNT_BITS;
        let (index, after) = loop {
            let (mut own, mut vacancies, mut sum) = (None, Vacancies::default(), 0);
            for index in self.buckets.of(key, fingerprint) {
                let word = self.buckets.word(index).load(SeqCst);
                vacancies.see(index, word, word == 0);
                if word >> COUNT_BITS == fingerprint && word != 0 {
                    sum += count(word);
                    own = own.or(Some((index, word)));
                }
            }
            if sum >= limit {
                return Some(Entering::AtLimit);
            }
            let Some((index, before)) = own.or(vacancies.choice()) else {
                return Some(Entering::TableFull);
            };
            let after = if before == 0 { fingerprint << COUNT_BITS | 1 } else { before + 1 };
            let word = self.buckets.word(index);
            if word.compare_exchange(before, after, SeqCst, SeqCst).is_ok() {
                break (index, after);
            }
        };
        if count(after) == 1 {
            self.used.fetch_add(1, Relaxed);
        }
        fence(SeqCst);
        // Those that entered by this word since then have counted this connection.
        let others = self.buckets.of(key, fingerprint).filter(|other| *other != index);
        let others = others.map(|other| self.buckets.word(other).load(SeqCst));
        let others = others.filter(|word| word >> COUNT_BITS == fingerprint).map(count);
        let word = Word(index as u32);
        if count(after) + others.sum::<u32>() <= limit {
            return Some(Entering::Entered(word));
        }
        self.leave(word);
        None
    }

    /// Counts one less.
    ///
    /// # Panics
    /// When the word counts none: nobody entered by it.
    pub fn leave(&self, word: Word) {
        let one_less = |word: u64| {
            let count = count(word);
            assert!(count > 0, "a connection left that had not entered");
            Some(if count == 1 { 0 } else { word - 1 })
        };
        let before = self.buckets.word(word.0 as usize).fetch_update(SeqCst, SeqCst, one_less);
        if before.is_ok_and(|before| count(before) == 1) {
            self.used.fetch_sub(1, Relaxed);
        }
    }

    /// Words that count: as many as there are sources with a connection, but for the few that have
    /// two words. Between two steps of another worker it may be off by one for each worker.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Words that there are.
    pub fn words(&self) -> usize {
        self.buckets.len()
    }

    /// The memory that it comes to take; a page of it that no source fell on costs nothing.
    pub fn memory_bytes(&self) -> usize {
        self.buckets.memory_bytes()
    }
}

fn count(word: u64) -> u32 {
    word as u32 & COUNT_MAX
}

impl fmt::Debug for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Counts({} of {} words)", self.used(), self.buckets.len())
    }
}
