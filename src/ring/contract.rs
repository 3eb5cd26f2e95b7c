//! What a worker may ask of its ring, and what it hears back.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Buffer, Chunk, Errno, InFlight, OpKind};
use crate::metrics::RingCounters;
use crate::ring::token::Token;

/// Index of a connection: its client's slot, counted over all kernel rings of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnIndex(pub u32);

/// Index of a passive socket in the ring that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// Index of a server address in the ring's list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId(pub u16);

/// How to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptMode {
    /// Until cancelled, everything that is queued: for open water only.
    Multishot,
    /// Exactly one client: a credit.
    Single,
}

/// What may be asked for one side of a connection. See [`crate::ring::OpKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a socket for `ServerId`'s family in the side's slot, with the server's options. A
    /// client slot can be opened only on a ring without listeners.
    Open(ServerId),
    /// Connects an opened slot to the server. 0 when connected; `SELF_CONNECT` when the
    /// socket reached itself.
    Connect(ServerId),
    /// Completes with poll(2) bits when there is something to read, an end or an error.
    WaitReadable,
    /// Receives once into a buffer that the ring picks when data is there. `Ok(0)` is a FIN (or
    /// a reset whose error another operation got). `ENOBUFS`: no buffer was free.
    ///
    /// After the first of them the ring may receive ahead, until a wait for the other side to be
    /// writable: a few pieces, an end, or an error, which is gone from the socket then. The next
    /// receive or splice has them in their order, and waits see them. A close discards them, and
    /// their sender gets RST.
    Receive,
    /// As [`Operation::Receive`], but what is there goes into a pipe, unless it was received ahead,
    /// and it never waits: `EAGAIN` when nothing is there, and once after a splice that took all
    /// there was, so that a wait comes before the next. `EMFILE`: no pipe or descriptor is left for
    /// this, or the kernel cannot do it; to be copied instead. What the ring sets aside for a
    /// connection that splices, it keeps until [`Ring::end_splices`].
    Splice,
    /// Sends what fits into the socket now and never waits: `EAGAIN` when nothing fits. The bytes
    /// of a pipe go out in their order, each once.
    Send(Chunk),
    /// Completes with poll(2) bits when a send can make progress or the socket failed. Not because
    /// the peer has ended its direction.
    WaitWritable,
    /// Ends our direction (FIN). The peer's direction goes on.
    Shutdown,
    /// Multishot, edge-triggered: completes with poll(2) bits once for what holds already and
    /// again at each change among RDHUP, HUP and ERR.
    WatchHangup,
    /// Sends RST at once, discarding what was not sent. Every other operation of the side ends.
    Reset,
    /// Completes with the number of bytes that the peer has not acknowledged, or fails as its
    /// socket did.
    Unacknowledged,
    /// Completes when [`Ring::addresses`] can be taken.
    Addresses,
    /// Cancels those of these kinds that are in flight on the side. Each still completes by itself,
    /// before or after this one, whose result says nothing about them: one may have completed
    /// already, and one between two states may escape, so that it has to be cancelled again.
    Cancel(InFlight),
    /// Empties the slot. Nothing else may be in flight on the side. The slot can be taken by a new
    /// client from the moment the kernel runs this, which may be before its completion is seen.
    Close,
}

impl Operation {
    /// Its kind, which its token names too.
    pub fn kind(self) -> OpKind {
        match self {
            Operation::Open(_) => OpKind::Open,
            Operation::Connect(_) => OpKind::Connect,
            Operation::WaitReadable => OpKind::WaitReadable,
            Operation::Receive => OpKind::Receive,
            Operation::Splice => OpKind::Splice,
            Operation::Send(_) => OpKind::Send,
            Operation::WaitWritable => OpKind::WaitWritable,
            Operation::Shutdown => OpKind::Shutdown,
            Operation::WatchHangup => OpKind::WatchHangup,
            Operation::Reset => OpKind::Reset,
            Operation::Unacknowledged => OpKind::Unacknowledged,
            Operation::Addresses => OpKind::Addresses,
            Operation::Cancel(_) => OpKind::Cancel,
            Operation::Close => OpKind::Close,
        }
    }
}

/// An operation's completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What completed.
    pub token: Token,
    /// Bytes, poll bits or 0, as the operation says.
    pub result: Result<u32, Errno>,
    /// The buffer that a [`Operation::Receive`] or [`Operation::Splice`] filled. Whoever takes the
    /// completion owns it, even when the operation was cancelled, and gives it back by
    /// [`Ring::release`].
    pub buffer: Option<Buffer>,
    /// It brought at least as many bytes as a pool buffer holds.
    pub full: bool,
    /// The operation goes on and will complete again (F_MORE).
    pub more: bool,
}

/// What comes out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A client was accepted into `conn`'s client slot.
    Accepted {
        /// Where it knocked.
        listener: ListenerId,
        /// Its slot.
        conn: ConnIndex,
        /// The accept goes on; false: it is retired.
        more: bool,
    },
    /// An accept is retired without a client: cancelled (`ECANCELED`) or refused by the kernel.
    AcceptEnded {
        /// Which listener's.
        listener: ListenerId,
        /// Why.
        error: Errno,
    },
    /// A client waits in the listener's queue, or did: what [`Ring::watch_queue`] asked for.
    QueueReady {
        /// Whose queue.
        listener: ListenerId,
    },
    /// A connection's operation.
    Done(Done),
}

/// The addresses at both ends of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourTuple {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's; `None` when the kernel no longer knows it.
    pub peer: Option<SocketAddr>,
}

/// A worker's ring. One kernel ring, several, or a simulation: the worker cannot tell.
///
/// Starting an operation cannot fail: what the kernel refuses comes back as a completion. At most
/// one operation of a kind is in flight per side, and an operation is retired only by a completion
/// without `more`.
pub trait Ring {
    /// Slots for connections, over the whole table.
    fn slots(&self) -> u32;

    /// Free client slots where accepts land at present, all of it usable by accepts armed now.
    fn accept_room(&self) -> u32;

    /// Free client slots where they are most: what [`Ring::accept_room`] would be after a
    /// [`Ring::retarget_accepts`].
    fn best_accept_room(&self) -> u32;

    /// The most clients that multishot accepts can bring in one turn: more than any cancel can
    /// stop, so room and permits must cover it while one is armed.
    fn accept_burst(&self) -> u32;

    /// Points accepts to the part of the table with the most room.
    ///
    /// # Panics
    /// When an accept is still armed.
    fn retarget_accepts(&mut self);

    /// Arms an accept. Single accepts of a listener may be armed many times over.
    fn accept(&mut self, listener: ListenerId, mode: AcceptMode);

    /// Cancels every accept armed on `listener`. Each still retires by a completion of its own,
    /// and clients may be accepted until it has.
    fn cancel_accepts(&mut self, listener: ListenerId);

    /// Completed handshakes that wait in the listener's queue.
    fn accept_queue(&self, listener: ListenerId) -> Result<u32, Errno>;

    /// Tells, once, that a client waits in the listener's queue: at once, or when one comes. One
    /// watch of a listener at a time.
    fn watch_queue(&mut self, listener: ListenerId);

    /// Starts `operation`; `token.kind` is its kind.
    fn start(&mut self, token: Token, operation: Operation);

    /// Gives back what is set aside for the splices of `conn`, if anything is. None may be in
    /// flight, and no pipe of its may be held.
    fn end_splices(&mut self, conn: ConnIndex);

    /// Gives a buffer back, with whatever is left in it.
    fn release(&mut self, buffer: Buffer);

    /// Pool buffers that no connection holds.
    fn free_buffers(&self) -> u32;

    /// Pool buffers that came back since this was last asked.
    fn returned_buffers(&mut self) -> u32;

    /// Pool buffers in all.
    fn pool_buffers(&self) -> u32;

    /// Pool buffers are so few that nobody may keep one who only waits.
    fn is_scarce(&self) -> bool {
        2 * self.free_buffers() < self.pool_buffers()
    }

    /// Gives memory back that nobody has needed since this was last called: for whoever calls it
    /// about once a second.
    fn trim(&mut self);

    /// What happened so far.
    fn counters(&self) -> RingCounters;

    /// Moves a chunk out of the pool into memory of exactly its size, so that a peer who does not
    /// read holds no pool buffer. A chunk that lies there or in a pipe stays as it is. `None` when
    /// that memory is at its bound; the chunk stays valid. No operation on it may be in flight.
    fn park(&mut self, chunk: Chunk) -> Option<Chunk>;

    /// The addresses that a completed [`Operation::Addresses`] found; each can be taken once.
    fn addresses(&mut self, token: Token) -> Option<FourTuple>;

    /// Submits what was started and waits until something completed, the waker was used, or `wait`
    /// is over. `None` waits for ever.
    ///
    /// # Errors
    /// When the kernel refuses the ring itself; the worker cannot go on.
    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno>;

    /// Whether more had arrived than this turn brings.
    fn is_behind(&mut self) -> bool {
        false
    }

    /// The next completion of this turn.
    fn next(&mut self) -> Option<Completion>;
}
