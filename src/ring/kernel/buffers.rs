//! Bytes: in a buffer of the pool, parked beside it, or in a pipe, as a bit of the buffer tells.

use super::memory::Memory;
use super::splices::PIPE_BIT;
use super::{KernelRing, PARKED_BIT};
use crate::base::{Buffer, Chunk};
use crate::ring::contract::Buffers;

impl Buffers for KernelRing {
    fn bytes(&self, chunk: Chunk) -> &[u8] {
        assert!(chunk.buffer.0 & PIPE_BIT == 0, "{chunk:?} lies in a pipe");
        self.memory.bytes(chunk)
    }

    fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8] {
        assert!(chunk.buffer.0 & PIPE_BIT == 0, "{chunk:?} lies in a pipe");
        self.memory.bytes_mut(chunk)
    }

    fn fill(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Option<Chunk> {
        assert!(length_bytes > 0, "a chunk has bytes");
        let pool = &mut self.memory.pool;
        let id = u32::from(pool.take()?);
        write(pool.bytes_mut(id, 0, length_bytes));
        Some(Chunk { buffer: Buffer(id), start_bytes: 0, length_bytes })
    }

    fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        if id & (PARKED_BIT | PIPE_BIT) != 0 {
            return Some(chunk);
        }
        let Memory { pool, parked, .. } = &mut *self.memory;
        let mut copy = parked.reserve(length_bytes as usize)?;
        copy.extend_from_slice(pool.bytes(id, start_bytes, length_bytes));
        pool.release(id);
        self.counters.chunks_parked += 1;
        let buffer = Buffer(parked.keep(copy) | PARKED_BIT);
        Some(Chunk { buffer, start_bytes: 0, length_bytes })
    }

    fn widen(&mut self, chunk: Chunk, before_bytes: u32, after_bytes: u32) -> Option<Chunk> {
        let length_bytes = before_bytes + chunk.length_bytes + after_bytes;
        let mut wide = self.memory.parked.reserve(length_bytes as usize)?;
        wide.resize(before_bytes as usize, 0);
        wide.extend_from_slice(self.bytes(chunk));
        wide.resize(length_bytes as usize, 0);
        let buffer = Buffer(self.memory.parked.keep(wide) | PARKED_BIT);
        Some(Chunk { buffer, start_bytes: 0, length_bytes })
    }

    fn place(&mut self, bytes: &[u8]) -> Option<Chunk> {
        let mut placed = self.memory.parked.reserve(bytes.len())?;
        placed.extend_from_slice(bytes);
        let buffer = Buffer(self.memory.parked.keep(placed) | PARKED_BIT);
        Some(Chunk { buffer, start_bytes: 0, length_bytes: bytes.len() as u32 })
    }

    fn release(&mut self, buffer: Buffer) {
        if buffer.0 & PIPE_BIT != 0 {
            self.descriptors.release_pipe(buffer);
        } else if buffer.0 & PARKED_BIT == 0 {
            self.memory.pool.release(buffer.0);
        } else {
            self.memory.parked.release(buffer.0 & !PARKED_BIT);
        }
    }

    fn buffer_bytes(&self) -> u32 {
        self.memory.pool.buffer_bytes()
    }

    fn pool_buffers(&self) -> u32 {
        self.memory.pool.count()
    }

    fn free_buffers(&self) -> u32 {
        self.memory.pool.free()
    }

    fn returned_buffers(&mut self) -> u32 {
        self.memory.pool.take_returned()
    }

    fn trim(&mut self) {
        self.rest_groups();
        self.memory.pool.trim();
        self.self_connects.age();
    }
}
