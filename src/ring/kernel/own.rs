//! Bytes that a program makes or reads itself, where the gateway only passes them on.
#![allow(unsafe_code)]

use super::KernelRing;
use crate::base::{Buffer, Chunk};

impl KernelRing {
    /// Takes a pool buffer and has `write` put `length_bytes` into it; what it held before is
    /// unspecified. `None` when no buffer is free. Whoever takes the chunk owns its buffer and
    /// gives it back by [`Ring::release`](crate::ring::Ring::release).
    ///
    /// # Panics
    /// When `length_bytes` is 0 or exceeds a buffer.
    pub fn fill(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Option<Chunk> {
        assert!(length_bytes > 0, "a chunk has bytes");
        let pool = &mut self.memory.pool;
        let id = pool.take()?;
        let bytes = pool.bytes(u32::from(id), 0, length_bytes).cast_mut();
        // SAFETY: `bytes` asserts that the range lies within one buffer that a connection holds,
        // and `take` has just made that so: it is in no group, so the kernel does not write it, and
        // `&mut self` leaves no other reference. The mapping began as zeroes: initialised.
        write(unsafe { std::slice::from_raw_parts_mut(bytes, length_bytes as usize) });
        Some(Chunk { buffer: Buffer(u32::from(id)), start_bytes: 0, length_bytes })
    }

    /// The bytes of a chunk, of a received one for example.
    ///
    /// # Panics
    /// When nobody holds its buffer, or the buffer is shorter than the chunk says.
    pub fn bytes(&self, chunk: Chunk) -> &[u8] {
        let bytes = self.chunk_bytes(chunk);
        // SAFETY: `chunk_bytes` asserts that the range lies within one buffer that a connection
        // holds, or one parked remainder. The kernel writes only buffers of a group, and to write
        // or release either takes `&mut self`, which this borrow excludes.
        unsafe { std::slice::from_raw_parts(bytes, chunk.length_bytes as usize) }
    }
}
