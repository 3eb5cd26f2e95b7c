//! The worker's connections by slot, in blocks that are made when first used.

use std::num::NonZeroU16;
use std::time::Duration;

use super::link::Link;
use crate::base::limits::CONN_BYTES_MAX;
use crate::base::{ConnIndex, Micros, RouteId, ServerId, Source, Tick};
use crate::conn::Connection;
use crate::upstream::Tried;

/// A connection and what the worker keeps beside it.
#[derive(Debug)]
pub struct Entry {
    /// Its state.
    pub conn: Connection,
    /// When it was accepted.
    pub opened: Micros,
    /// When a byte last moved.
    pub active: Tick,
    /// When it began to wait for what it waits for.
    pub waits_since: Tick,
    /// Which life of the slot this is, modulo the token's bits.
    pub generation: u32,
    /// Its place in the timer wheel.
    pub timer: Link,
    /// The route of the client.
    pub route: RouteId,
    /// Its connect, while that is under way and afterwards.
    pub connect: ConnectTime,
    /// The server it counts for.
    pub server: Option<CountedServer>,
    /// Which servers were tried.
    pub tried: Tried,
    /// The end of the time for its connects.
    pub connect_until: Tick,
    /// No source port towards the last of them was free.
    pub had_no_port: bool,
    /// The header that its server gets has a unique id.
    pub has_unique_id: bool,
    /// Sources of the last one that had no port towards it, or are not this host's.
    pub sources_tried: u16,
    /// The source address that the last one was tried from.
    pub source: Source,
    /// It is to be tried from its next source.
    pub again: Option<CountedServer>,
}

/// A server that a connection counts for, in two bytes with `None` among them: the ring knows at
/// most 65,535, so one more than the index fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedServer(NonZeroU16);

impl CountedServer {
    /// Of the ring's list.
    pub fn new(server: ServerId) -> CountedServer {
        CountedServer(NonZeroU16::MIN.saturating_add(server.0))
    }

    /// Its place in the ring's list.
    pub fn id(self) -> ServerId {
        ServerId(self.0.get() - 1)
    }
}

/// When a connect began or how long it took, in two bytes. Only who began it knows which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectTime(u16);

impl ConnectTime {
    /// There was no connect, or none that succeeded.
    pub const NONE: ConnectTime = ConnectTime(0);

    /// Bits of a duration's leading digits; those above count how many follow.
    const DIGITS: u32 = 11;

    /// It begins in the tick that the entry waits since, with these last bits of its moment.
    pub fn began(moment: Micros) -> ConnectTime {
        ConnectTime(moment.0 as u16)
    }

    /// The last bits of the moment at which it began.
    pub fn last_bits(self) -> u16 {
        self.0
    }

    /// It took so long, to the microsecond or one part in a thousand.
    pub fn done(took: Duration) -> ConnectTime {
        let micros = (took.as_micros() as u64).max(1);
        let follow = (u64::BITS - micros.leading_zeros()).saturating_sub(ConnectTime::DIGITS);
        ConnectTime(((follow.min(31)) as u16) << ConnectTime::DIGITS | (micros >> follow) as u16)
    }

    /// How long it took; `None`: it did not succeed.
    pub fn took(self) -> Option<Duration> {
        let digits = u64::from(self.0) & ((1 << ConnectTime::DIGITS) - 1);
        let micros = digits << (self.0 >> ConnectTime::DIGITS);
        (micros > 0).then(|| Duration::from_micros(micros))
    }
}

/// Entries in a block.
const BLOCK: usize = 1024;

/// DESIGN promises 128 bytes per connection, its share of every table included: an entry, and an
/// eighth of a byte per entry for the directory of blocks (8 bytes for 1,024). Eight more are left
/// for features to come.
const _: () = assert!(size_of::<Entry>() <= 120 && CONN_BYTES_MAX == 128);

/// All connections that the ring has slots for.
#[derive(Debug)]
pub struct Table {
    blocks: Vec<Option<Box<[Entry]>>>,
    slots: u32,
}

impl Table {
    /// A table for `slots` connections that takes 8 bytes for each 1,024 of them until they come.
    pub fn new(slots: u32) -> Table {
        let blocks = (slots as usize).div_ceil(BLOCK);
        Table { blocks: std::iter::repeat_with(|| None).take(blocks).collect(), slots }
    }

    /// The entry of `index`, made vacant when it was never used.
    ///
    /// # Panics
    /// When the ring names a slot that it does not have.
    pub fn entry(&mut self, index: ConnIndex) -> &mut Entry {
        assert!(index.0 < self.slots, "slot {} of {}", index.0, self.slots);
        let block = &mut self.blocks[index.0 as usize / BLOCK];
        let entries = block.get_or_insert_with(|| (0..BLOCK).map(|_| Entry::vacant()).collect());
        &mut entries[index.0 as usize % BLOCK]
    }

    /// The first slot at or after `from` whose block was ever used, for visits of all connections.
    pub fn used_from(&self, from: u32) -> Option<ConnIndex> {
        let mut at = from;
        while at < self.slots {
            if self.blocks[at as usize / BLOCK].is_some() {
                return Some(ConnIndex(at));
            }
            at = (at / BLOCK as u32 + 1) * BLOCK as u32;
        }
        None
    }

    /// The last slot at or before `from` that may hold a connection.
    pub fn used_to(&self, from: u32) -> Option<ConnIndex> {
        let mut at = from.min(self.slots.checked_sub(1)?);
        while self.blocks[at as usize / BLOCK].is_none() {
            at = (at / BLOCK as u32 * BLOCK as u32).checked_sub(1)?;
        }
        Some(ConnIndex(at))
    }
}

impl Entry {
    fn vacant() -> Entry {
        Entry {
            conn: Connection::VACANT,
            opened: Micros(0),
            active: Tick(0),
            waits_since: Tick(0),
            generation: 0,
            timer: Link::UNLINKED,
            route: RouteId(0),
            connect: ConnectTime::NONE,
            server: None,
            tried: Tried::NONE,
            connect_until: Tick(0),
            had_no_port: false,
            has_unique_id: false,
            sources_tried: 0,
            source: Source(0),
            again: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_for_a_million_holds_nothing_until_used() {
        let mut table = Table::new(1_000_000);
        assert_eq!(table.used_from(0), None);
        table.entry(ConnIndex(999_999)).generation = 7;
        assert_eq!(table.blocks.iter().flatten().count(), 1);
        assert_eq!(table.used_from(5), Some(ConnIndex(999_999 / 1024 * 1024)));
        assert_eq!(table.used_to(999_999 / 1024 * 1024 - 1), None);
        table.entry(ConnIndex(2_000)).generation = 3;
        assert_eq!(table.used_to(500_000), Some(ConnIndex(2_047)));
        assert_eq!(table.used_to(2_001), Some(ConnIndex(2_001)));
        assert_eq!(table.used_to(u32::MAX).map(|last| last.0 / 1024), Some(999_999 / 1024));
        assert_eq!(table.entry(ConnIndex(999_999)).generation, 7);
    }

    #[test]
    fn a_connects_duration_is_kept_to_a_thousandth() {
        assert_eq!(ConnectTime::NONE.took(), None);
        for micros in (1..5000).chain([65_535, 1_000_000, 5_000_000, 600_000_000, 1 << 40]) {
            let took = ConnectTime::done(Duration::from_micros(micros)).took();
            let took = took.expect("it took a while").as_micros() as u64;
            assert!(took <= micros && micros - took <= micros / 1000, "{micros} became {took}");
        }
        assert!(ConnectTime::done(Duration::ZERO).took().is_some(), "it was done at once");
    }

    #[test]
    fn a_full_table_costs_at_most_128_bytes_a_connection() {
        let mut table = Table::new(10 * BLOCK as u32);
        for index in 0..table.slots {
            table.entry(ConnIndex(index));
        }
        let entries: usize = table.blocks.iter().flatten().map(|b| size_of_val(&**b)).sum();
        let directory = table.blocks.capacity() * size_of::<Option<Box<[Entry]>>>();
        assert!((entries + directory).div_ceil(table.slots as usize) <= CONN_BYTES_MAX);
    }
}
