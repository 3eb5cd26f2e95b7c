//! All memory that the kernel reads or writes for requests of a set of rings.

use std::cell::UnsafeCell;

use super::PARKED_BIT;
use super::guards::Values;
use super::numbers::Numbers;
use super::parked::Parked;
use super::pool::{Group, Pool};
use super::servers::Servers;
use crate::base::{Buffer, Chunk};

/// Memory that requests name. It outlives them: `Drop` of the set gives it back, or leaks it, when
/// the rings are closed.
pub(super) struct Memory {
    pub(super) pool: Pool,
    /// By table: what the kernel may pick from there.
    pub(super) groups: Vec<Group>,
    pub(super) parked: Parked,
    pub(super) servers: Servers,
    /// Of options that guards set.
    pub(super) values: Values,
    /// Of descriptors that go into slots.
    pub(super) numbers: Numbers,
    /// Where the read on the waker's eventfd puts a count that nobody needs.
    pub(super) wake_count: Box<UnsafeCell<u64>>,
}

impl Memory {
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
    pub(super) fn forget(&mut self) {
        self.parked.forget();
        self.servers.forget();
    }

    /// The bytes of a chunk, in the pool or parked.
    ///
    /// # Panics
    /// When nobody holds its buffer, or the buffer is shorter than the chunk says.
    pub(super) fn bytes(&self, chunk: Chunk) -> &[u8] {
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
    pub(super) fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8] {
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        if id & PARKED_BIT == 0 {
            self.pool.bytes_mut(id, start_bytes, length_bytes)
        } else {
            self.parked.bytes_mut(id & !PARKED_BIT, start_bytes, length_bytes)
        }
    }
}
