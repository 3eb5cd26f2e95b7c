//! What all workers of a gateway share of the limits per source.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::base::{ListenerId, Millis};
use crate::source::busiest::{Busiest, Refusals};
use crate::source::counts::{Counts, Entering, Word};
use crate::source::key::{Prefixes, Secret};
use crate::source::networks::Networks;
use crate::source::rates::{Admission, Rate, Rates};

/// The limits of a listener for each of its sources.
#[derive(Debug)]
pub struct Limits {
    /// What makes one source of several addresses.
    pub prefixes: Prefixes,
    /// Whom they are not for.
    pub exempt: Networks,
    /// The most connections of a source; `None`: any number.
    pub connections: Option<u32>,
    /// How fast its connections may come; `None`: as fast as they do.
    pub rate: Option<Rate>,
}

/// Connections and rates by source, and whom their limits refuse most.
#[derive(Debug)]
pub struct Tables {
    secret: Secret,
    counts: Counts,
    rates: Rates,
    busiest: Mutex<Busiest>,
}

/// What comes of a client at the limits of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is within them. It is counted where the word says, if it is, until it leaves.
    Within(Option<Word>),
    /// A table is full: its source is not limited.
    Untracked(Option<Word>),
    /// Its source has as many connections as it may.
    TooMany,
    /// Its source's connections come too fast.
    TooFast,
}

impl Default for Tables {
    /// For few connections, as of tests.
    fn default() -> Tables {
        Tables::for_connections(1 << 8)
    }
}

impl Tables {
    /// Tables that hold the sources of so many connections. Their memory is taken as it is used.
    pub fn for_connections(connections: u32) -> Tables {
        Tables {
            secret: Secret::new(),
            counts: Counts::for_connections(connections),
            rates: Rates::for_connections(connections),
            busiest: Mutex::new(Busiest::new(Busiest::ENTRIES)),
        }
    }

    /// A client of a listener comes from this address.
    pub fn enter(
        &self,
        listener: ListenerId,
        limits: &Limits,
        from: IpAddr,
        now: Millis,
    ) -> Answer {
        if limits.exempt.find(from).is_some() {
            return Answer::Within(None);
        }
        let key = self.secret.key(listener, limits.prefixes.source(from));
        let mut is_tracked = true;
        let word = match limits.connections.map(|most| self.counts.enter(key, most)) {
            None => None,
            Some(Entering::Entered(word)) => Some(word),
            Some(Entering::AtLimit) => return Answer::TooMany,
            Some(Entering::TableFull) => {
                is_tracked = false;
                None
            }
        };
        match limits.rate.map(|rate| self.rates.admit(key, now, rate)) {
            None | Some(Admission::Admitted) => {}
            Some(Admission::Refused { .. }) => {
                // It never was a connection of its source.
                word.into_iter().for_each(|word| self.counts.leave(word));
                return Answer::TooFast;
            }
            Some(Admission::TableFull) => is_tracked = false,
        }
        if is_tracked { Answer::Within(word) } else { Answer::Untracked(word) }
    }

    /// A connection of a listener comes from a predecessor, where it was within the limits: it is
    /// counted, however many its source has.
    pub fn resume(&self, listener: ListenerId, limits: &Limits, from: IpAddr) -> Option<Word> {
        if limits.connections.is_none() || limits.exempt.find(from).is_some() {
            return None;
        }
        let key = self.secret.key(listener, limits.prefixes.source(from));
        match self.counts.enter(key, u32::MAX) {
            Entering::Entered(word) => Some(word),
            Entering::AtLimit | Entering::TableFull => None,
        }
    }

    /// A connection that was counted there has ended.
    pub fn leave(&self, word: Word) {
        self.counts.leave(word);
    }

    /// A client from this address was refused at the limits. It is not noted while another thread
    /// notes or reads one: nobody waits for a lock here, and of those who are refused most there
    /// will be others.
    pub fn refused(&self, limits: &Limits, from: IpAddr) {
        let busiest = match self.busiest.try_lock() {
            Ok(busiest) => Some(busiest),
            Err(TryLockError::Poisoned(busiest)) => Some(busiest.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut busiest) = busiest {
            busiest.add(limits.prefixes.source(from));
        }
    }

    /// Those who were refused most, the most first. For a thread that may wait for a moment.
    pub fn most_refused(&self, most: usize) -> Vec<Refusals> {
        self.busiest.lock().unwrap_or_else(PoisonError::into_inner).top(most)
    }

    /// Sources that have a connection which is counted.
    pub fn sources(&self) -> u64 {
        self.counts.used()
    }

    /// Memory that the tables take at most.
    pub fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes() + self.rates.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(connections: Option<u32>, rate: Option<Rate>) -> Limits {
        let exempt = Networks::new([("10.0.0.0/8".parse().expect("a network"), 0)]);
        Limits { prefixes: Prefixes { v4: 24, v6: 64 }, exempt, connections, rate }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_has_what_its_listener_gives_it_and_those_exempt_have_more() {
        let (tables, limits) = (Tables::default(), limits(Some(2), None));
        let enter =
            |listener, from| tables.enter(ListenerId(listener), &limits, ip(from), Millis(0));
        let first = enter(0, "192.0.2.1");
        assert!(matches!(first, Answer::Within(Some(_))), "{first:?}");
        assert!(matches!(enter(0, "::ffff:192.0.2.77"), Answer::Within(Some(_))));
        assert_eq!(enter(0, "192.0.2.2"), Answer::TooMany, "the third of its network");
        assert!(matches!(enter(1, "192.0.2.2"), Answer::Within(Some(_))), "of another listener");
        assert!((0..9).all(|_| enter(0, "10.1.2.3") == Answer::Within(None)));
        let Answer::Within(Some(word)) = first else { unreachable!() };
        tables.leave(word);
        assert!(matches!(enter(0, "192.0.2.2"), Answer::Within(Some(_))));
        assert_eq!(tables.sources(), 2);
    }

    #[test]
    fn who_comes_too_fast_is_no_connection_of_its_source() {
        let rate = Rate::new(1, Duration::from_secs(1), 1);
        let (tables, limits) = (Tables::default(), limits(Some(5), Some(rate)));
        let enter = || tables.enter(ListenerId(0), &limits, ip("192.0.2.1"), Millis(5000));
        let Answer::Within(Some(word)) = enter() else { panic!("the first may come") };
        assert!((0..9).all(|_| enter() == Answer::TooFast));
        tables.leave(word);
        assert_eq!(tables.sources(), 0);
        tables.refused(&limits, ip("192.0.2.1"));
        tables.refused(&limits, ip("192.0.2.9"));
        let most = tables.most_refused(3);
        assert_eq!(
            (most.len(), most[0].source.to_string(), most[0].count),
            (1, "192.0.2.0/24".into(), 2)
        );
    }
}
