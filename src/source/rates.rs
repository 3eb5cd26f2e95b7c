//! New connections by source, held to a rate over all workers: GCRA, in bounded memory.

use std::fmt;
use std::time::Duration;

use crate::base::Millis;
use crate::base::sync::{AtomicU64, Ordering::SeqCst};
use crate::source::buckets::{Buckets, Vacancies};
use crate::source::key::Key;

/// Bits of a word that are a moment, in microseconds: they come round after 19 hours. The others
/// are the fingerprint.
const MOMENT_BITS: u32 = 36;
const MOMENT_MASK: u64 = (1 << MOMENT_BITS) - 1;
/// The longest that a source can be ahead of its rate: less than half of what comes round.
const AHEAD_MAX_MICROS: u64 = 4 * 3600 * 1_000_000;
/// How far the clocks that workers read, one for each turn of theirs, may be apart.
const APART_MICROS: u64 = 10 * 1_000_000;
/// The step of the clock.
const STEP_MICROS: u64 = 1000;

/// A rate of new connections, and how many may come at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time of one connection.
    interval_micros: u64,
    /// How far ahead of the rate a source may be and still get in.
    ahead_micros: u64,
}

impl Rate {
    /// So many `connections` in each time of `per`, and `burst` at once after a pause. The time of
    /// one connection is held to the nearest microsecond, one at least: a rate is right to 0.05 %
    /// up to 1,000 in a second, to 5 % up to 100,000. The clock goes by milliseconds, so a burst
    /// of less than what one of them brings is as much as that. What a burst takes to be whole
    /// again is 4 hours at most; a larger one is cut.
    ///
    /// # Panics
    /// When there are no connections, or no burst.
    pub fn new(connections: u32, per: Duration, burst: u32) -> Rate {
        assert!(connections > 0 && burst > 0, "a rate of none is no rate");
        let connections = u128::from(connections) * 1000;
        let interval = (per.as_nanos() + connections / 2) / connections;
        let interval_micros = (interval as u64).clamp(1, AHEAD_MAX_MICROS);
        let of_burst = interval_micros.saturating_mul(u64::from(burst) - 1);
        let of_step = STEP_MICROS.saturating_sub(interval_micros);
        let most = AHEAD_MAX_MICROS - interval_micros;
        Rate { interval_micros, ahead_micros: of_burst.max(of_step).min(most) }
    }
}

/// How far each source is ahead of its rate.
///
/// A source is a word in one of its two buckets: its fingerprint (28 bits) and the moment from
/// which it owes nothing. A word whose moment has passed is free, so nothing is swept. Among a
/// million sources two are taken for one in one of 70 fillings of a table for as many.
///
/// Moments come round: the word of a source that was away for 19 hours, and that no other source
/// took, may seem to lie ahead for as long as a burst lasts and ten seconds. It then stands for a
/// burst that was used. Of two workers that see the first connections of a source at once, while
/// another source's word is just about to be free, each may begin a word; then one connection more
/// gets in than should.
pub struct Rates {
    buckets: Buckets,
    /// The furthest ahead that a source may be by any rate so far: what seems further is past.
    furthest_micros: AtomicU64,
}

/// What comes of a new connection of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is within the rate.
    Admitted,
    /// It is not; the next one is after this time, if none comes before.
    Refused {
        /// Above zero.
        again_in: Duration,
    },
    /// No word is free for its source: it is not held to the rate.
    TableFull,
}

impl Rates {
    /// A table that holds the sources of so many connections that come within the time of a burst.
    pub fn for_connections(connections: u32) -> Rates {
        let buckets = Buckets::for_connections(connections);
        Rates { buckets, furthest_micros: AtomicU64::new(0) }
    }

    /// Admits a new connection of the source, or refuses it; one that is refused costs the source
    /// nothing. The rate may be another one each time.
    pub fn admit(&self, key: Key, now: Millis, rate: Rate) -> Admission {
        let furthest = rate.ahead_micros + rate.interval_micros + APART_MICROS;
        if self.furthest_micros.load(SeqCst) < furthest {
            self.furthest_micros.fetch_max(furthest, SeqCst);
        }
        let (now, fingerprint) = (now.0.wrapping_mul(STEP_MICROS), key.0 >> MOMENT_BITS);
        loop {
            let Some((index, before)) = self.find(key, now) else { return Admission::TableFull };
            let is_own = before >> MOMENT_BITS == fingerprint;
            let ahead = if is_own { self.ahead_micros(before, now) } else { 0 };
            if ahead > rate.ahead_micros {
                let again_in = Duration::from_micros(ahead - rate.ahead_micros);
                return Admission::Refused { again_in };
            }
            let moment = now.wrapping_add(ahead + rate.interval_micros) & MOMENT_MASK;
            let after = fingerprint << MOMENT_BITS | moment;
            let word = self.buckets.word(index);
            if word.compare_exchange(before, after, SeqCst, SeqCst).is_ok() {
                return Admission::Admitted;
            }
        }
    }

    /// The source's word and what it says, or one that is free.
    fn find(&self, key: Key, now: u64) -> Option<(usize, u64)> {
        let fingerprint = key.0 >> MOMENT_BITS;
        let mut vacancies = Vacancies::default();
        for index in self.buckets.of(key, fingerprint) {
            let word = self.buckets.word(index).load(SeqCst);
            if word >> MOMENT_BITS == fingerprint && word != 0 {
                return Some((index, word));
            }
            vacancies.see(index, word, self.ahead_micros(word, now) == 0);
        }
        vacancies.choice()
    }

    /// How far the moment of a word lies ahead of `now`; 0: it has passed.
    fn ahead_micros(&self, word: u64, now: u64) -> u64 {
        let ahead = word.wrapping_sub(now) & MOMENT_MASK;
        let is_ahead = word != 0 && ahead <= self.furthest_micros.load(SeqCst);
        if is_ahead { ahead } else { 0 }
    }

    /// Sources that owe something at this moment. It looks at every word.
    pub fn used(&self, now: Millis) -> usize {
        let now = now.0.wrapping_mul(STEP_MICROS);
        self.buckets.all().filter(|word| self.ahead_micros(word.load(SeqCst), now) > 0).count()
    }

    /// The memory that it comes to take; a page of it that no source fell on costs nothing.
    pub fn memory_bytes(&self) -> usize {
        self.buckets.memory_bytes()
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Rates({} words)", self.buckets.len())
    }
}
