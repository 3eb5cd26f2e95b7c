//! The requests that a worker may make of its ring, and the completions that it gets.
//!
//! The contract has a trait for each concern: [`Accepts`] for clients, [`Buffers`] for bytes,
//! [`Operations`] for sockets, [`Moves`] for sockets that go to another ring, and [`Ring`] for all
//! of them and the turn. A part of a worker asks for the concern that it needs. A ring over a ring
//! is a [`Layer`](crate::ring::Layer).

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Buffer, BySide, Chunk, ConnIndex, Errno, GateId, Operation, ServerId, Side};
use crate::metrics::RingCounters;
use crate::ring::token::Token;

/// How to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptMode {
    /// Until cancelled, everything that is queued: for open water only.
    Multishot,
    /// Exactly one client: a credit.
    Single,
}

/// An operation's completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The operation that completed.
    pub token: Token,
    /// Bytes, poll bits or 0, as the operation says.
    pub result: Result<u32, Errno>,
    /// The buffer that a [`Operation::Receive`] or [`Operation::Splice`] filled. The taker of the
    /// completion owns it, even when the operation was cancelled, and gives it back by
    /// [`Buffers::release`].
    pub buffer: Option<Buffer>,
    /// It brought at least as many bytes as a pool buffer holds.
    pub full: bool,
    /// The operation goes on and will complete again (F_MORE).
    pub more: bool,
}

/// An event that comes out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A client was accepted into `conn`'s client slot.
    Accepted {
        /// Where it connected.
        gate: GateId,
        /// Its slot.
        conn: ConnIndex,
        /// The accept goes on; false: it is retired.
        more: bool,
    },
    /// An accept is retired without a client: cancelled (`ECANCELED`) or refused by the kernel.
    AcceptEnded {
        /// The gate of the accept.
        gate: GateId,
        /// Why.
        error: Errno,
    },
    /// A client waits in the gate's queue, or did: what [`Accepts::watch_queue`] asked for.
    QueueReady {
        /// The gate of the queue.
        gate: GateId,
    },
    /// A gate is gone: nothing of it is left in the ring.
    GateRemoved {
        /// Which one.
        gate: GateId,
    },
    /// A connection's operation.
    Done(Done),
    /// What [`Moves::lend`] asked for is there, or cannot be had.
    Lent {
        /// The connection.
        conn: ConnIndex,
        /// Which of its sockets.
        side: Side,
        /// `EMFILE`, `ENFILE`: there are too many descriptors; the slot is as it was.
        result: Result<(), Errno>,
    },
    /// The end of a [`Moves::adopt`].
    Adopted {
        /// Names the call.
        key: u32,
        /// The connection whose slots the sockets are in. `ENFILE`: no slot is free that armed
        /// accepts do not need.
        result: Result<ConnIndex, Errno>,
    },
}

/// The addresses at both ends of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourTuple {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's; `None` when the kernel no longer knows it.
    pub peer: Option<SocketAddr>,
    /// Who stands between: the peer of a socket whose client is another, in place of which that
    /// one is `peer`. A ring does not know.
    pub via: Option<SocketAddr>,
}

/// Slots for clients, and the accepts that fill them.
pub trait Accepts {
    /// Slots for connections, over the whole table.
    fn slots(&self) -> u32;

    /// Free client slots where accepts land at present, all of it usable by accepts armed now.
    fn accept_room(&self) -> u32;

    /// Free client slots where they are most: what [`Accepts::accept_room`] would be after an
    /// [`Accepts::retarget_accepts`].
    fn best_accept_room(&self) -> u32;

    /// The most clients that multishot accepts can bring in one turn: more than any cancel can
    /// stop, so room and permits must cover it while one is armed.
    fn accept_burst(&self) -> u32;

    /// Points accepts to the part of the table with the most room.
    ///
    /// # Panics
    /// When an accept is still armed.
    fn retarget_accepts(&mut self);

    /// Arms an accept. Single accepts of a gate may be armed many times over.
    fn accept(&mut self, gate: GateId, mode: AcceptMode);

    /// Cancels every accept armed on `gate`. Each still retires by a completion of its own,
    /// and clients may be accepted until it has.
    fn cancel_accepts(&mut self, gate: GateId);

    /// Completed handshakes that wait in the gate's queue.
    fn accept_queue(&self, gate: GateId) -> Result<u32, Errno>;

    /// Reports once that a client waits in the gate's queue: at once, or when one comes. One watch
    /// of a gate at a time.
    fn watch_queue(&mut self, gate: GateId);

    /// Takes a gate in: the passive socket that was handed over under this id (see
    /// `KernelRing::supplier`). Accepts may be armed on it at once.
    ///
    /// # Panics
    /// When the id is in use, or nothing was handed over under it.
    fn add_gate(&mut self, gate: GateId);

    /// Gives a gate up. A watch of its queue reports nothing any more.
    /// [`Completion::GateRemoved`] comes when nothing is left of it; its id may be used again then.
    ///
    /// # Panics
    /// When there is none, or an accept of it is armed.
    fn remove_gate(&mut self, gate: GateId);
}

/// Memory for bytes on their way: a pool of buffers, and parked chunks beside it.
///
/// A chunk belongs to the caller from the completion or the call that brought it until
/// [`Buffers::release`]. A chunk that [`Operation::Splice`] brought may lie in a pipe, which has
/// no bytes in memory: a caller that reads bytes takes them by [`Operation::Receive`].
pub trait Buffers {
    /// The bytes of a chunk.
    ///
    /// # Panics
    /// When the caller does not hold its buffer, the buffer is shorter than the chunk says, or the
    /// chunk lies in a pipe.
    fn bytes(&self, chunk: Chunk) -> &[u8];

    /// The bytes of a chunk, to be changed in place. No operation on it may be in flight.
    ///
    /// # Panics
    /// As [`Buffers::bytes`].
    fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8];

    /// Takes a pool buffer and has `write` put `length_bytes` into it; what it held before is
    /// unspecified. `None`, without a call of `write`, when the pool has none left: what is lent to
    /// receives in flight does not count, although [`Buffers::free_buffers`] counts it.
    ///
    /// # Panics
    /// When `length_bytes` is 0 or exceeds [`Buffers::buffer_bytes`].
    fn fill(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Option<Chunk>;

    /// Moves a chunk out of the pool, or out of a pipe, into memory of exactly its size, so that a
    /// peer who does not read holds neither. A chunk that lies there stays as it is. `None` when
    /// that memory is at its bound; the chunk stays valid. No operation on it may be in flight.
    fn park(&mut self, chunk: Chunk) -> Option<Chunk>;

    /// Copies a chunk into memory of its own, with room for so many bytes before and after it,
    /// which are zero. `None` when that memory is at its bound ([`Buffers::park`] takes of the
    /// same); the chunk stays the caller's in any case.
    fn widen(&mut self, chunk: Chunk, before_bytes: u32, after_bytes: u32) -> Option<Chunk>;

    /// A chunk with so many bytes before and behind it in its own buffer: whatever was there is the
    /// caller's to overwrite. `None` where that buffer has no such room. A pool buffer has some
    /// around what was received; a parked chunk has none.
    fn stretch(&self, chunk: Chunk, before_bytes: u32, behind_bytes: u32) -> Option<Chunk>;

    /// Puts bytes, one at least, into memory of their own. `None` when that is at its bound, as
    /// [`Buffers::widen`].
    fn place(&mut self, bytes: &[u8]) -> Option<Chunk>;

    /// Gives a buffer back, with whatever is left in it.
    fn release(&mut self, buffer: Buffer);

    /// Bytes of a pool buffer.
    fn buffer_bytes(&self) -> u32;

    /// Pool buffers in all.
    fn pool_buffers(&self) -> u32;

    /// Pool buffers that no connection holds.
    fn free_buffers(&self) -> u32;

    /// Pool buffers that came back since this was last asked.
    fn returned_buffers(&mut self) -> u32;

    /// Pool buffers are so few that a connection that only waits may not keep one.
    fn is_scarce(&self) -> bool {
        2 * self.free_buffers() < self.pool_buffers()
    }

    /// Gives memory back that was not needed since the last call. Called about once a second.
    fn trim(&mut self);
}

/// Operations on the sockets of connections.
///
/// Starting an operation cannot fail: what the kernel refuses comes back as a completion. At most
/// one operation of a kind is in flight per side, and an operation is retired only by a completion
/// without `more`.
pub trait Operations {
    /// Takes a server in: the address that was handed over last under this id, with its source
    /// addresses. A server that the ring has under this id is replaced; what is being opened goes
    /// on as it began.
    ///
    /// # Panics
    /// When nothing was handed over under the id.
    fn add_server(&mut self, server: ServerId);

    /// Gives a server up, towards which nothing is being opened or connected. Its id may be used
    /// again at once.
    ///
    /// # Panics
    /// When there is none.
    fn remove_server(&mut self, server: ServerId);

    /// Starts `operation`; `token.kind` is its kind.
    fn start(&mut self, token: Token, operation: Operation);

    /// The addresses that a completed [`Operation::Addresses`] found; each can be taken once.
    fn addresses(&mut self, token: Token) -> Option<FourTuple>;

    /// Gives back what is set aside for the splices of `conn`, if anything is. None may be in
    /// flight, and no pipe of its may be held.
    fn end_splices(&mut self, conn: ConnIndex);
}

/// Sockets that go from one ring to another, which may be another process's.
///
/// The ring that lends a socket keeps its slot: what its peer hears of an end by FIN it hears when
/// the slot is closed and all that was lent of it is gone. Only one of both rings may read it.
pub trait Moves {
    /// A reference to a socket beside its slot. A drop gives it up.
    type Socket: std::fmt::Debug + Send + 'static;

    /// Asks for a reference to the socket of a side of this life. Nothing else may be in flight on
    /// the side but [`Operation::WaitReadable`], which takes nothing from the socket, and the
    /// connection's splices must have ended. The ring receives nothing ahead from the time when
    /// [`Completion::Lent`] comes until something is started. One call of a side at a time; a close
    /// answers one that is under way with `ECANCELED`.
    fn lend(&mut self, conn: ConnIndex, generation: u32, side: Side);

    /// The reference that a [`Moves::lend`] brought; it can be taken once, until the slot is
    /// closed.
    fn lent(&mut self, conn: ConnIndex, side: Side) -> Option<Self::Socket>;

    /// The addresses at both ends of a socket; `None`: they cannot be had.
    fn four_tuple(&self, socket: &Self::Socket) -> Option<FourTuple>;

    /// Appends the bytes of a side that were received ahead of any request to `into`; they stay
    /// here as well. To be asked once the side is lent. An end of the stream that was received is
    /// nothing here, because it will be found on the socket again.
    ///
    /// # Errors
    /// An error that was received ahead: the socket does not have it any more. What came before it
    /// is in `into`.
    fn ahead(&self, conn: ConnIndex, side: Side, into: &mut Vec<u8>) -> Result<(), Errno>;

    /// Drops what was received ahead on a side: it is somebody else's now. A close that follows
    /// does not reset the peer for it.
    fn forget(&mut self, conn: ConnIndex, side: Side);

    /// Takes the sockets of a connection into slots of the ring's choice. Both are given up when
    /// that fails. Slots that armed accepts may fill are not taken: one for each single accept, and
    /// [`Accepts::accept_burst`] for one that goes on. `key` names the call in its
    /// [`Completion::Adopted`].
    ///
    /// # Panics
    /// When there is no client's socket.
    fn adopt(&mut self, key: u32, sockets: BySide<Option<Self::Socket>>);
}

/// A worker's ring. One kernel ring, several, or a simulation: the worker cannot tell.
pub trait Ring: Accepts + Buffers + Operations + Moves {
    /// Submits what was started and waits until something completed, the waker was used, or `wait`
    /// is over. `None` waits for ever.
    ///
    /// # Errors
    /// When the kernel refuses the ring itself; the worker cannot go on.
    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno>;

    /// The next completion of this turn.
    fn next(&mut self) -> Option<Completion>;

    /// Whether more had arrived than this turn brings.
    fn is_behind(&mut self) -> bool {
        false
    }

    /// From now on waits for so long for a batch of completions before the first one will do; zero:
    /// it does not. A ring without batches has nothing to do.
    fn set_batch_wait(&mut self, wait: Duration) {
        let _ = wait;
    }

    /// The ring's counters so far.
    fn counters(&self) -> RingCounters;
}
