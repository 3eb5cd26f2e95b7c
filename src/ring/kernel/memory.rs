//! All memory that the kernel reads or writes for requests of a set of rings.

use std::cell::UnsafeCell;

use super::group::Group;
use super::guards::Values;
use super::numbers::Numbers;
use super::parked::Parked;
use super::pool::Pool;
use super::servers::Servers;
use super::setup::{RingError, RingSetup};
use crate::base::{Buffer, Chunk};
use crate::metrics::RingCounters;

/// The bit of a `Buffer` that tells a parked remainder from a pool buffer.
const PARKED_BIT: u32 = 1 << 31;

/// Memory that requests name. It outlives them: `Drop` of the set gives it back, or leaks it, when
/// the rings are closed.
pub(in crate::ring) struct Memory {
    pub(in crate::ring) pool: Pool,
    /// By table: what the kernel may pick from there.
    pub(super) groups: Vec<Group>,
    pub(in crate::ring) parked: Parked,
    pub(in crate::ring) servers: Servers,
    /// Of options that guards set.
    pub(super) values: Values,
    /// Of descriptors that go into slots.
    pub(super) numbers: Numbers,
    /// Where the read on the waker's eventfd puts a count that nobody needs.
    pub(super) wake_count: Box<UnsafeCell<u64>>,
}

impl Memory {
    /// The memory of a setup. No kernel ring can pick from it yet.
    pub(in crate::ring) fn new(setup: &RingSetup) -> Result<Memory, RingError> {
        let (count, bytes) = (setup.buffer_count, setup.buffer_bytes);
        let pool = Pool::new(count, bytes).map_err(|errno| {
            RingError::refused(format!("a pool of {count} × {bytes} bytes"), errno)
        })?;
        Ok(Memory {
            pool,
            groups: Vec::new(),
            parked: Parked::new(setup.parked_bytes_max),
            servers: Servers::new(&setup.servers),
            values: Values::new(),
            numbers: Numbers::new(),
            wake_count: Box::default(),
        })
    }
    /// Lends the group of a table buffers for so many receives.
    pub(super) fn restock(&mut self, table: usize, receives: u32) {
        self.groups[table].restock(&mut self.pool, receives);
    }

    /// Lends a group a buffer for one receive more than wait there; says whether it has any.
    pub(super) fn stock_for_one_more(&mut self, table: usize, receives: u32) -> bool {
        self.groups[table].widen();
        self.restock(table, receives + 1);
        self.groups[table].stock() > 0
    }

    /// Frees what was released or removed since this was last called, once every entry that named
    /// any of it was submitted.
    pub(in crate::ring) fn forget(&mut self) {
        self.parked.forget();
        self.servers.forget();
    }

    /// Counters of a ring with what is parked here.
    pub(in crate::ring) fn counted(&self, counters: RingCounters) -> RingCounters {
        RingCounters { parked_bytes: self.parked.held_bytes() as u64, ..counters }
    }

    /// The bytes of a chunk, in the pool or parked.
    ///
    /// # Panics
    /// When nobody holds its buffer, the buffer is shorter than the chunk says, or it is a pipe.
    pub(in crate::ring) fn bytes(&self, chunk: Chunk) -> &[u8] {
        assert!(!chunk.buffer.is_pipe(), "{chunk:?} lies in a pipe");
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        if id & PARKED_BIT == 0 {
            self.pool.bytes(id, start_bytes, length_bytes)
        } else {
            self.parked.bytes(id & !PARKED_BIT, start_bytes, length_bytes)
        }
    }

    /// The bytes of a chunk, to be changed in place.
    ///
    /// # Panics
    /// As [`Memory::bytes`].
    pub(in crate::ring) fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8] {
        assert!(!chunk.buffer.is_pipe(), "{chunk:?} lies in a pipe");
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        if id & PARKED_BIT == 0 {
            self.pool.bytes_mut(id, start_bytes, length_bytes)
        } else {
            self.parked.bytes_mut(id & !PARKED_BIT, start_bytes, length_bytes)
        }
    }

    /// As [`Buffers::fill`](crate::ring::Buffers::fill).
    pub(in crate::ring) fn fill(
        &mut self,
        length_bytes: u32,
        write: impl FnOnce(&mut [u8]),
    ) -> Option<Chunk> {
        assert!(length_bytes > 0, "a chunk has bytes");
        let most = self.pool.buffer_bytes();
        assert!(length_bytes <= most, "byte {length_bytes} of buffers of {most}");
        let id = u32::from(self.pool.take()?);
        write(self.pool.bytes_mut(id, 0, length_bytes));
        Some(Chunk { buffer: Buffer(id), start_bytes: 0, length_bytes })
    }

    /// Puts `length_bytes`, which `read` brings, into memory of their own; `None`, without a call,
    /// when that is at its bound.
    pub(in crate::ring) fn take_in(
        &mut self,
        length_bytes: u32,
        read: impl FnOnce(&mut [u8]),
    ) -> Option<Chunk> {
        let mut copy = self.parked.reserve(length_bytes as usize)?;
        copy.resize(length_bytes as usize, 0);
        read(&mut copy);
        Some(self.keep(copy))
    }

    /// As [`Buffers::park`](crate::ring::Buffers::park), of a chunk that lies in no pipe.
    pub(in crate::ring) fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        if id & PARKED_BIT != 0 {
            return Some(chunk);
        }
        let mut copy = self.parked.reserve(length_bytes as usize)?;
        copy.extend_from_slice(self.pool.bytes(id, start_bytes, length_bytes));
        self.pool.release(id);
        Some(self.keep(copy))
    }

    /// As [`Buffers::widen`](crate::ring::Buffers::widen).
    pub(in crate::ring) fn widen(
        &mut self,
        chunk: Chunk,
        before_bytes: u32,
        after_bytes: u32,
    ) -> Option<Chunk> {
        let length_bytes = before_bytes + chunk.length_bytes + after_bytes;
        let mut wide = self.parked.reserve(length_bytes as usize)?;
        wide.resize(before_bytes as usize, 0);
        wide.extend_from_slice(self.bytes(chunk));
        wide.resize(length_bytes as usize, 0);
        Some(self.keep(wide))
    }

    /// As [`Buffers::stretch`](crate::ring::Buffers::stretch).
    pub(in crate::ring) fn stretch(
        &self,
        chunk: Chunk,
        before_bytes: u32,
        behind_bytes: u32,
    ) -> Option<Chunk> {
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        let start_bytes = start_bytes - before_bytes as i32; // some hundred bytes
        let length_bytes = before_bytes + length_bytes + behind_bytes;
        let has = id & PARKED_BIT == 0 && self.pool.has(id, start_bytes, length_bytes);
        has.then_some(Chunk { start_bytes, length_bytes, ..chunk })
    }

    /// As [`Buffers::place`](crate::ring::Buffers::place).
    pub(in crate::ring) fn place(&mut self, bytes: &[u8]) -> Option<Chunk> {
        let mut placed = self.parked.reserve(bytes.len())?;
        placed.extend_from_slice(bytes);
        Some(self.keep(placed))
    }

    /// Takes a buffer back that is no pipe. A parked one's memory lives until [`Memory::forget`].
    pub(in crate::ring) fn release(&mut self, Buffer(id): Buffer) {
        if id & PARKED_BIT == 0 {
            self.pool.release(id);
        } else {
            self.parked.release(id & !PARKED_BIT);
        }
    }

    fn keep(&mut self, copy: Vec<u8>) -> Chunk {
        let length_bytes = copy.len() as u32;
        let buffer = Buffer(self.parked.keep(copy) | PARKED_BIT);
        Chunk { buffer, start_bytes: 0, length_bytes }
    }
}
