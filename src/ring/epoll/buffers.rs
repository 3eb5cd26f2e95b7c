//! Bytes, which lie where those of every ring lie.

use super::EpollRing;
use crate::base::{Buffer, Chunk};
use crate::ring::contract::Buffers;

impl Buffers for EpollRing {
    fn bytes(&self, chunk: Chunk) -> &[u8] {
        self.memory.bytes(chunk)
    }

    fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8] {
        self.memory.bytes_mut(chunk)
    }

    fn fill(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Option<Chunk> {
        self.memory.fill(length_bytes, write)
    }

    fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        let parked = match chunk.buffer.is_pipe() {
            true => self.descriptors.park_piped(chunk, &mut self.memory)?,
            false => self.memory.park(chunk)?,
        };
        self.counters.chunks_parked += u64::from(parked.buffer != chunk.buffer);
        Some(parked)
    }

    fn widen(&mut self, chunk: Chunk, before_bytes: u32, after_bytes: u32) -> Option<Chunk> {
        self.memory.widen(chunk, before_bytes, after_bytes)
    }

    fn stretch(&self, chunk: Chunk, before_bytes: u32, behind_bytes: u32) -> Option<Chunk> {
        self.memory.stretch(chunk, before_bytes, behind_bytes)
    }

    fn place(&mut self, bytes: &[u8]) -> Option<Chunk> {
        self.memory.place(bytes)
    }

    fn release(&mut self, buffer: Buffer) {
        if buffer.is_pipe() {
            return self.descriptors.release_pipe(buffer);
        }
        self.memory.release(buffer);
        // A send has copied its bytes when it is started.
        self.memory.forget();
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
        self.memory.pool.trim();
        self.self_connects.age();
    }
}
