//! Received bytes on their way out, named by index and never by address.

/// A place of the ring's that holds bytes: a pool buffer, a parked remainder or a pipe. Only the
/// ring that gave it out accepts it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer(pub u32);

impl Buffer {
    /// The bit that tells a pipe from everything else.
    pub const PIPE_BIT: u32 = 1 << 30;

    /// Whether it is a pipe: its bytes go out in their order, and nowhere but to a socket.
    pub fn is_pipe(self) -> bool {
        self.0 & Buffer::PIPE_BIT != 0
    }
}

/// What a pipe for bulk is to hold. The larger it is, the more of a source is read at once, and the
/// seldomer that is woken for a piece of its window.
pub const PIPE_BYTES: usize = 1 << 20;

/// The bytes of a [`Buffer`] that still wait to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where the bytes are.
    pub buffer: Buffer,
    /// Offset of the first byte not yet sent, in bytes from the buffer's beginning. A chunk that
    /// was stretched may begin in the room before that: there it is negative.
    pub start_bytes: i32,
    /// How many bytes are still to be sent; never 0.
    pub length_bytes: u32,
}

impl Chunk {
    /// What is left after `sent_bytes` went out; `None` when all of it did.
    ///
    /// # Panics
    /// When more was sent than there was: the kernel never does that, so our count is wrong.
    pub fn after(self, sent_bytes: u32) -> Option<Chunk> {
        assert!(sent_bytes <= self.length_bytes, "sent {sent_bytes} bytes of {self:?}");
        let rest = Chunk {
            buffer: self.buffer,
            start_bytes: self.start_bytes + sent_bytes as i32, // at most 1 MiB and some
            length_bytes: self.length_bytes - sent_bytes,
        };
        (rest.length_bytes > 0).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_send_leaves_the_rest_and_a_whole_one_nothing() {
        let chunk = Chunk { buffer: Buffer(7), start_bytes: 0, length_bytes: 10 };
        let rest = chunk.after(4).expect("six bytes are left");
        assert_eq!((rest.start_bytes, rest.length_bytes), (4, 6));
        assert_eq!(rest.after(6), None);
    }
}
