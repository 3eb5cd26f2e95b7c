//! A message and its answer, over a connection that goes on with one run of bytes.

use portcullis::ring::ConnIndex;

use crate::engine::Net;
use crate::pattern::{self, Pattern};

/// The next bytes of a connection, and how many of them an answer has still to bring.
pub(super) struct Exchange {
    next: Pattern,
    missing_bytes: u32,
}

impl Exchange {
    /// Nothing is asked yet.
    pub(super) fn new(next: Pattern) -> Exchange {
        Exchange { next, missing_bytes: 0 }
    }

    /// Asks for so many bytes.
    pub(super) fn ask(&mut self, bytes: u32, conn: ConnIndex, net: &mut Net) {
        self.missing_bytes = bytes;
        net.expect(conn);
        self.send(conn, net);
    }

    /// Sends what is asked, of which nothing was answered, as soon as there is room for it.
    pub(super) fn send(&self, conn: ConnIndex, net: &mut Net) {
        net.send(conn, self.missing_bytes, |bytes| self.next.clone().fill(bytes));
    }

    /// Takes bytes that came. Says whether the answer is whole, or what is wrong with them.
    pub(super) fn take(&mut self, arrived: &[u8]) -> Result<bool, String> {
        pattern::take(&mut self.next, self.missing_bytes.into(), arrived)?;
        self.missing_bytes -= arrived.len() as u32;
        Ok(self.missing_bytes == 0)
    }

    /// No answer is waited for any more: whatever comes is one that nobody asked for.
    pub(super) fn give_up(&mut self) {
        self.missing_bytes = 0;
    }
}
