//! The operations on one side of a connection, and which of them are in flight.

use super::{Chunk, ServerId};

/// An operation on one side of a connection. Its kind is an [`OpKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a socket for `ServerId`'s family in the side's slot, with the server's options, to
    /// connect from this one of its source addresses: `EADDRNOTAVAIL` when that is not one of this
    /// host. A client slot can be opened only on a ring without gates.
    Open(ServerId, Source),
    /// Connects an opened slot to the server. 0 when connected; `EADDRNOTAVAIL` when every port of
    /// the source towards it is taken; `SELF_CONNECT` when the
    /// socket reached itself.
    Connect(ServerId),
    /// Completes with poll(2) bits when there is something to read, an end or an error.
    WaitReadable,
    /// Receives once into a buffer that the ring picks when data is there. `Ok(0)` is a FIN (or
    /// a reset whose error another operation got). `ENOBUFS`: no buffer was free.
    ///
    /// After one that did not follow a wait for bytes, the ring may read ahead until a wait for the
    /// other side to be writable: a few buffers, a FIN or an error, which is no longer on the
    /// socket then. The next receives or splices get them in order, and waits see them. A close
    /// discards them, and their sender gets RST.
    Receive,
    /// As [`Operation::Receive`], but what is there goes into a pipe, unless it was received ahead,
    /// and it never waits: `EAGAIN` when nothing is there, and once after a splice that took all
    /// there was, so that a wait comes before the next. `EMFILE`: no pipe or descriptor is left for
    /// this, or the kernel cannot do it; to be copied instead. What the ring sets aside for a
    /// connection that splices, it keeps until `Ring::end_splices`.
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
    /// Completes when `Ring::addresses` can be taken.
    Addresses,
    /// Has the kernel fail the socket when this shows that its peer is gone. A refusal leaves the
    /// socket as it is.
    Guard(Guard),
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
            Operation::Open(..) => OpKind::Open,
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
            Operation::Guard(_) => OpKind::Guard,
            Operation::Cancel(_) => OpKind::Cancel,
            Operation::Close => OpKind::Close,
        }
    }
}

/// Which of a server's source addresses, modulo their number. Without any the kernel chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source(pub u16);

impl Source {
    /// The one after it.
    pub fn next(self) -> Source {
        Source(self.0.wrapping_add(1))
    }
}

/// What shows that a peer is gone: its host, the link or the state in a router on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It answers none of some probes (SO_KEEPALIVE).
    Silence {
        /// How long it has been silent when it is probed, the time before this included.
        idle_seconds: u16,
        /// Between two probes.
        interval_seconds: u16,
        /// How many.
        probes: u8,
    },
    /// Bytes stay unacknowledged for so long (TCP_USER_TIMEOUT).
    Unacknowledged {
        /// How long.
        millis: u32,
    },
}

/// The kinds of operations, one bit each in a side's in-flight set: a side never has two of a kind
/// in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpKind {
    /// Make the upstream socket in its slot.
    Open,
    /// Connect it.
    Connect,
    /// Wait until there is something to read, without a buffer.
    WaitReadable,
    /// Receive into a buffer that the ring picks.
    Receive,
    /// Move what is there into a pipe that the ring picks.
    Splice,
    /// Send a chunk, as much as fits now.
    Send,
    /// Wait until a send can make progress.
    WaitWritable,
    /// End our direction: FIN.
    Shutdown,
    /// Watch for a hang-up or reset, edge-triggered, until cancelled.
    WatchHangup,
    /// Reset the connection at once: RST.
    Reset,
    /// Ask how many bytes the peer has not acknowledged.
    Unacknowledged,
    /// Ask for the addresses at both ends.
    Addresses,
    /// Have a peer found that is gone.
    Guard,
    /// Cancel what waits on the socket.
    Cancel,
    /// Close the slot.
    Close,
}

impl OpKind {
    /// Every kind, in the order of its number.
    pub const ALL: [OpKind; 15] = [
        OpKind::Open,
        OpKind::Connect,
        OpKind::WaitReadable,
        OpKind::Receive,
        OpKind::Splice,
        OpKind::Send,
        OpKind::WaitWritable,
        OpKind::Shutdown,
        OpKind::WatchHangup,
        OpKind::Reset,
        OpKind::Unacknowledged,
        OpKind::Addresses,
        OpKind::Guard,
        OpKind::Cancel,
        OpKind::Close,
    ];
}

/// The kinds in flight on one side of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight(u16);

impl InFlight {
    /// Nothing.
    pub const NONE: InFlight = InFlight(0);

    /// What waits for the peer and so ends only when the peer moves or somebody cancels it: an end
    /// too, where a ring has something to say before it. All other kinds complete by themselves.
    pub const WAITING: InFlight = InFlight(
        1 << OpKind::Connect as u16
            | 1 << OpKind::WaitReadable as u16
            | 1 << OpKind::Receive as u16
            | 1 << OpKind::WaitWritable as u16
            | 1 << OpKind::Shutdown as u16
            | 1 << OpKind::WatchHangup as u16,
    );

    /// `kind` and nothing else.
    pub const fn only(kind: OpKind) -> InFlight {
        InFlight(1 << kind as u16)
    }

    /// The kinds in either set.
    pub const fn or(self, kinds: InFlight) -> InFlight {
        InFlight(self.0 | kinds.0)
    }

    /// Nothing is in flight.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `kind` is in flight.
    pub fn has(self, kind: OpKind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }

    /// The kinds in both sets.
    pub fn and(self, kinds: InFlight) -> InFlight {
        InFlight(self.0 & kinds.0)
    }

    /// The same but for `kind`.
    pub const fn without(self, kind: OpKind) -> InFlight {
        InFlight(self.0 & !InFlight::only(kind).0)
    }

    /// Each kind in it.
    pub fn kinds(self) -> impl Iterator<Item = OpKind> {
        OpKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Counts `kind` as started.
    ///
    /// # Panics
    /// When one of the kind is in flight already.
    pub fn start(&mut self, kind: OpKind) {
        assert!(!self.has(kind), "{kind:?} started twice");
        self.0 |= 1 << kind as u16;
    }

    /// Counts `kind` as retired.
    ///
    /// # Panics
    /// When none of the kind is in flight.
    pub fn retire(&mut self, kind: OpKind) {
        assert!(self.has(kind), "{kind:?} retired but never started");
        self.0 &= !(1 << kind as u16);
    }
}
