//! The simulated pipes, and the ordinary descriptors of sockets that splice.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::base::{Buffer, Chunk, OpKind};
use portcullis::ring::ConnIndex;

use crate::fault::Fault;
use crate::ring::SimRing;

/// A pipe with something in it.
#[derive(Debug)]
struct Pipe {
    conn: ConnIndex,
    bytes: Vec<u8>,
    /// How many of them have gone out.
    sent_bytes: usize,
    /// The worker has seen the completion that carries it.
    seen: bool,
}

/// Pipes in use and descriptors made.
#[derive(Debug, Default)]
pub struct Pipes {
    held: BTreeMap<u32, Pipe>,
    next: u32,
    /// Connections whose sockets have descriptors.
    pub installed: BTreeSet<u32>,
}

impl Pipes {
    /// Fills a pipe.
    pub fn fill(&mut self, conn: ConnIndex, bytes: Vec<u8>) -> Buffer {
        let id = Buffer::PIPE_BIT + self.next;
        self.next += 1;
        self.held.insert(id, Pipe { conn, bytes, sent_bytes: 0, seen: false });
        Buffer(id)
    }

    /// The worker sees the completion that carries it.
    pub fn hand_over(&mut self, buffer: Buffer) {
        let pipe = self.held.get_mut(&buffer.0).expect("a pipe in a completion is filled");
        assert!(!pipe.seen, "{buffer:?} was not in a completion");
        pipe.seen = true;
    }

    pub fn release(&mut self, buffer: Buffer) {
        let pipe = self.held.remove(&buffer.0);
        assert!(pipe.is_some_and(|pipe| pipe.seen), "{buffer:?} was released but not held");
    }

    /// What is left in the pipe of a chunk: it goes out in order, each byte once.
    pub fn bytes(&self, chunk: Chunk) -> &[u8] {
        let Some(pipe) = self.held.get(&chunk.buffer.0).filter(|pipe| pipe.seen) else {
            panic!("{chunk:?} lies in a pipe that was released");
        };
        let rest = &pipe.bytes[pipe.sent_bytes..];
        let expected = (pipe.sent_bytes, rest.len());
        let named = (chunk.start_bytes as usize, chunk.length_bytes as usize);
        assert!(named == expected, "{chunk:?}, but the pipe holds {expected:?}");
        rest
    }

    /// Notes that bytes of a pipe have gone out.
    pub fn sent(&mut self, buffer: Buffer, bytes: u64) {
        self.held.get_mut(&buffer.0).expect("it was looked at").sent_bytes += bytes as usize;
    }

    /// Whether something of the connection's lies in a pipe.
    pub fn holds_for(&self, conn: ConnIndex) -> bool {
        self.held.values().any(|pipe| pipe.conn == conn)
    }

    /// Pipes in use.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Nothing is left.
    pub fn check_home(&self) {
        assert!(self.held.is_empty(), "pipes did not come home: {:?}", self.held);
        let installed = &self.installed;
        assert!(installed.is_empty(), "descriptors did not come home: {installed:?}");
    }
}

impl SimRing {
    /// The bytes of a chunk that the worker holds.
    pub fn bytes_of(&self, chunk: Chunk) -> &[u8] {
        if chunk.buffer.is_pipe() { self.pipes.bytes(chunk) } else { self.buffers.bytes(chunk) }
    }

    /// Moves a chunk out of its pipe. `None` when there is no room.
    pub fn park_piped(&mut self, chunk: Chunk) -> Option<Chunk> {
        let bytes = self.pipes.bytes(chunk).to_vec();
        let parked = self.buffers.place(&bytes)?;
        self.pipes.release(chunk.buffer);
        Some(parked)
    }

    /// Whether a splice of the connection is in flight.
    pub fn is_splicing(&self, conn: ConnIndex) -> bool {
        self.ops.iter().any(|op| op.token.conn == conn && op.token.kind == OpKind::Splice)
    }

    /// What was set aside for a connection's splices is given back.
    pub fn end_splices_of(&mut self, conn: ConnIndex) {
        assert!(!self.pipes.holds_for(conn), "splices of {conn:?} end with something in a pipe");
        let splicing = self.is_splicing(conn);
        assert!(!splicing, "splices of {conn:?} end while one is in flight");
        if self.pipes.installed.remove(&conn.0) {
            self.faults.note(Fault::BackToCopies);
        }
    }
}
