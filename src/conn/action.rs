//! Events go into a connection, actions come out.

use arrayvec::ArrayVec;

use crate::base::{Buffer, BySide, Chunk, Errno, Guard, OpKind, Operation, Side};
use crate::conn::{Onward, Reason, Wiring};

/// An event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation that the connection asked for completed.
    Completed {
        /// The socket of it.
        side: Side,
        /// The operation.
        kind: OpKind,
        /// Bytes, poll(2) bits or 0, by kind.
        result: Result<u32, Errno>,
        /// The buffer that a receive filled, or the pipe of a splice.
        buffer: Option<Buffer>,
        /// It brought as many bytes as a buffer holds.
        full: bool,
        /// The operation goes on and will complete again.
        more: bool,
    },
    /// No server is left to try.
    ServersExhausted,
    /// No server that is left has room for one more connection now.
    NoRoom,
    /// The [`Action::Open`] just asked for depends on the client's address, which is to be asked
    /// for first.
    AddressFirst,
    /// A server may have room by now, for one that was told [`Event::NoRoom`].
    RoomPerhaps,
    /// The client has a preface, for [`Action::Meet`].
    PrefaceAwaited,
    /// The same, and some of its first bytes are here: they are judged next.
    PrefaceBrought,
    /// Its source is at a limit: it is kept for a while, before or while it is read.
    Hold,
    /// It has no place, or does not shake hands yet: others come first.
    StandBy,
    /// What was read of the client is not all of its preface, or there is a place for reading it.
    PrefaceMore,
    /// What was read is not all, and what follows is waited for before a receive may take it.
    PrefaceRests,
    /// What was read is all of it, or there is none.
    PrefaceDone {
        /// Some of it is the server's, who gets it before anything else: [`Action::Recall`].
        keeps: bool,
        /// Where its bytes go.
        onward: Onward,
    },
    /// It cannot be one.
    PrefaceRefused(Reason),
    /// It cannot be one, and the client was told so: it sees a clean end.
    PrefaceDeclined(Reason),
    /// The next of what was kept of the client's first bytes.
    Kept {
        /// Where it lies; `None` when no buffer is free for it.
        chunk: Option<Chunk>,
        /// It is not the last.
        more: bool,
        /// So many of all that is kept are the worker's own, before the client's first.
        own_bytes: u32,
    },
    /// The next of the worker's own words to this side: an answer to the client's preface, or what
    /// the server is asked.
    Say {
        /// Who gets it.
        sink: Side,
        /// Where it lies; `None` when no buffer is free for it.
        chunk: Option<Chunk>,
    },
    /// All of them were said to this side.
    Said(Side),
    /// The server has answered what it was asked.
    Answered {
        /// As it must; if not, another one is tried.
        agrees: bool,
    },
    /// The chunk that waits for this side lies elsewhere now, or has to stay where it is.
    ChunkMoved(Side, Chunk),
    /// A buffer is free again for the starved lane that this side is the source of.
    BufferFreed(Side),
    /// The deadline of what the connection waits for has passed.
    Expired(Patience),
    /// It is ended from outside: by an order, or by a timeout of the configuration.
    Ended {
        /// Why.
        reason: Reason,
        /// No byte has moved for so long that an orderly end is honest.
        at_rest: bool,
    },
    /// The worker wants the addresses of this side, which [`Connection::can_ask_addresses`].
    ///
    /// [`Connection::can_ask_addresses`]: crate::conn::Connection::can_ask_addresses
    AddressesWanted(Side),
    /// This is to show from now on whether the server is gone.
    GuardDue(Guard),
    /// It is to go to another process, as far as it can: [`Action::Departed`] then.
    Depart {
        /// Waits for bytes may stay armed: they take nothing from a socket.
        keeps_waits: bool,
    },
    /// It stays after all.
    Stay,
    /// A client without a server is to go to another process, if it
    /// [`Connection::can_withdraw`]: [`Action::Departed`] then. What a receive still brings comes
    /// as [`Action::Judge`].
    ///
    /// [`Connection::can_withdraw`]: crate::conn::Connection::can_withdraw
    Withdraw {
        /// As in [`Event::Depart`], for one that has said nothing.
        keeps_waits: bool,
    },
    /// It has come from another process so, or comes back.
    Enter(Entrance),
    /// Bytes of it were in the hands of another process, which failed.
    Lost,
    /// It lived on in another process and is over there: what is left of it here is let go.
    Gone,
}

/// How a client that comes from another process, or back, enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// As `Connection::met`.
    Meeting(Wiring),
    /// As `Connection::prefaced`.
    Preface(Wiring),
    /// The same, and some of its first bytes are here: they are judged next.
    Brought(Wiring),
    /// It has its preface behind it, and a server may be chosen. `keeps`: some of what it said is
    /// the server's.
    Onward {
        /// Where its bytes go.
        onward: Onward,
        /// As in [`Event::PrefaceDone`].
        keeps: bool,
    },
}

/// The event that a connection waits for, which decides its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Nothing that has a bound: it is vacant, or an operation is about to complete by itself.
    Unbounded,
    /// Files or memory of the kernel: ask again soon.
    Pressure,
    /// Room at a server: [`Event::RoomPerhaps`].
    Room,
    /// The whole of the client's preface.
    Preface,
    /// The first byte of a client, before which no server is chosen. [`Event::Expired`]: one is all
    /// the same.
    Silence,
    /// Its source's limits, or the end of its time in a tarpit.
    Hold,
    /// The server's answer to a connect.
    Connect,
    /// The client's first byte.
    FirstByte,
    /// A byte in any direction.
    Byte,
    /// The end of the other direction, which mostly follows at once.
    OtherEnd,
    /// A byte in the direction that is still open.
    LastDirection,
    /// The acknowledgement of what was sent before a reset is passed on: ask again soon.
    Delivery,
    /// A byte of those that a side sent before its reset: without one for this long, the reset is
    /// passed on all the same.
    LastBytes,
    /// The completions of what was cancelled: cancel again if they do not come.
    Retirement,
    /// The end of its allotted time.
    Lifetime,
    /// The next byte, for so long that what a waiting receive takes of the kernel's memory is worth
    /// more than the time that it saves.
    Quiet,
    /// The next byte, for so long that the server is to be probed: [`Event::GuardDue`].
    Keepalive,
}

impl Patience {
    /// Why a connection ends whose patience of this kind is over, where the configuration bounds
    /// it. All others are the connection's own: [`Event::Expired`].
    pub fn timeout(self) -> Option<Reason> {
        match self {
            Patience::Preface => Some(Reason::PreambleTimeout),
            Patience::Hold => Some(Reason::SourceLimit),
            Patience::FirstByte => Some(Reason::FirstByteTimeout),
            Patience::Byte => Some(Reason::IdleTimeout),
            Patience::LastDirection => Some(Reason::HalfCloseTimeout),
            Patience::Lifetime => Some(Reason::MaxLifetime),
            Patience::Unbounded
            | Patience::Pressure
            | Patience::Room
            | Patience::Silence
            | Patience::Connect
            | Patience::OtherEnd
            | Patience::Delivery
            | Patience::LastBytes
            | Patience::Retirement
            | Patience::Quiet
            | Patience::Keepalive => None,
        }
    }
}

/// Why a server has not answered what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Its time was over.
    Late,
    /// It ended the connection, or was not there any more.
    Gone(Errno),
    /// The connection ended meanwhile: not the server's fault.
    Abandoned,
}

/// A step that a connection asks its worker to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start an operation on one side.
    Start(Side, Operation),
    /// The client's address was found, or could not be. An event says what it is to do:
    /// [`Event::PrefaceAwaited`], [`Event::PrefaceDone`] or [`Event::PrefaceRefused`].
    Meet,
    /// The client's preface can be read: [`Event::PrefaceMore`] once there is a place for that.
    AwaitPlace,
    /// Bytes of the client's preface, which are the worker's from here on, their buffer included.
    /// An event says what they come to: [`Event::PrefaceMore`], [`Event::PrefaceDone`] or
    /// [`Event::PrefaceRefused`].
    Judge(Chunk),
    /// Hand the next of the kept bytes over: [`Event::Kept`].
    Recall,
    /// Put the server's header in front of these first bytes of the client's, which are the
    /// worker's from here on, and hand over what comes of it: [`Event::Kept`].
    Head(Option<Chunk>),
    /// Say the next of the worker's own words to this side: [`Event::Say`] or [`Event::Said`].
    Say(Side),
    /// The server's answer to what it was asked, which is the worker's from here on, its buffer
    /// included: [`Event::Answered`].
    Heed(Chunk),
    /// There will be no answer.
    Unanswered(Lapse),
    /// Make an upstream socket for the next server not yet tried: [`Operation::Open`]. Where there
    /// is none, that is an event.
    Open,
    /// Connect it to that server: [`Operation::Connect`].
    Connect,
    /// This chunk waits until this side can be written to. It may be moved meanwhile:
    /// [`Event::ChunkMoved`]. One that lies in a pipe while the connection departs is to be moved
    /// out of it, and waits here if it cannot be, which is the same event.
    Stalled(Side, Chunk),
    /// Give a buffer back.
    Release(Buffer),
    /// Put the lane of this source into the queue for a free buffer.
    AwaitBuffer(Side),
    /// No lane splices any more, for now.
    EndSplices,
    /// Nothing of it is in flight: another process may have it.
    Departed,
    /// The slots are empty, nothing is in flight: the connection is over.
    Vacate(Reason),
}

/// The most actions that one event can bring: at an end, splices are over, a buffer of each lane is
/// released and one operation per side started, twice over where a stage ends at once.
const MAX_ACTIONS: usize = 10;

/// The outcome of one event.
#[derive(Debug, Default)]
pub struct Actions {
    /// To be done in this order.
    pub list: ArrayVec<Action, MAX_ACTIONS>,
    /// A byte, a FIN or a reset came or went, so idle timers start over.
    pub moved: bool,
    /// Bytes delivered, by the side they came from; [`Actions::moved`] then.
    pub delivered_bytes: BySide<u32>,
}
