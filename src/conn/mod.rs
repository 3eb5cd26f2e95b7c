//! One connection as a pure state machine: no clock, no ring, no allocation.
//!
//! ```text
//!             accepted ──► Preface: its route reads the client's first bytes before a server
//!                │            │       is chosen; then on as if accepted now. Where that depends on
//!                │            │       the client's address, Meeting comes before it
//!                ├────────────┘
//!                │         Silent is next where the client's first byte comes before a server
//!                │            no server is left
//!   builtin ┌────┴─────┐   ┌─────────────────────────────────────────────┐
//!       ┌───┤          ▼   │   opened               failed, timed out    │
//!       │   │       Opening ───────────► Connecting ───────► Retrying ───┤
//!       │   │          ▲                      │                  │       │
//!       │   │          └──────────────────────┼──────────────────┘       │
//!       │   │              next server        │ connected                │
//!       │   └────────────────────────────►  Joined                       │
//!       │                                     │ │                        │
//!       │        one side was reset, its last │ │ both FINs passed,      │
//!       │        bytes are with the other     │ │ a timeout, an order    │
//!       │                    Delivering ◄─────┘ │                        │
//!       │                         │             ▼                        ▼
//!       │                         └──────────► Ending ◄──────────────────┘
//!       └─ (straight to Joined)                  │ asked, reset, retired, closed
//!                                                ▼
//!                                              Vacant
//! ```
//!
//! From Opening it steps aside to Pressed, and back, while the kernel has no file for a socket, no
//! server has room for one more connection, or the client's address is asked for. Where the server
//! is to be asked first, Asking stands before Joined; a server that does not agree has failed.
//!
//! On its way to another process a connection leaves Joined for Departing, and then Departed, from
//! where it comes back or is Gone (`departure`). A client that has no server yet does so by
//! Withdrawing from where it waits, and enters again (`unserved`).
//!
//! `preface`, `opening` and `saying` lead up to Joined, `relay` moves bytes within it, `delivery`
//! and `ending` lead out of it. An error of a socket is delivered once, to whichever operation runs
//! first, so any failed operation marks its side as reset, and a receive of 0 on such a side is no
//! FIN.

mod action;
mod delivery;
mod departure;
mod dropping;
mod ending;
mod header;
mod lane;
mod marks;
mod opening;
mod passage;
mod preface;
mod quiet;
mod relay;
mod saying;
mod silent;
mod unserved;

pub use crate::base::Reason;
pub use action::{Action, Actions, Entrance, Event, Lapse, Patience};
pub use delivery::LeftBytes;
pub use departure::Passport;
pub use lane::{Input, Lane};
pub use opening::is_pressure;

use marks::{Mark, Marks};
use passage::Passage;

use crate::base::{BySide, Guard, InFlight, OpKind, Operation, Side};

/// The other end of a client's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// A server across an upstream socket.
    Pair,
    /// Its own bytes, sent back.
    Echo,
    /// Nothing: its bytes are read and dropped.
    Discard,
    /// Nothing: its bytes are never read.
    Hold,
}

/// Where a client's bytes go, as its route has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onward {
    /// The other end.
    pub wiring: Wiring,
    /// A server there gets a header of the worker's before anything else: [`Action::Head`].
    pub is_headed: bool,
    /// A server there is chosen at the client's first byte.
    pub is_lazy: bool,
    /// A server there gets what is kept of the client once it has agreed to a request of the
    /// worker's: [`Action::Say`].
    pub is_asked: bool,
}

impl From<Wiring> for Onward {
    fn from(wiring: Wiring) -> Onward {
        Onward { wiring, is_headed: false, is_lazy: false, is_asked: false }
    }
}

/// Where a connection stands. The drawing is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No client.
    Vacant,
    /// The client's address is asked for, on which it depends whether its first bytes are read.
    Meeting,
    /// The client's first bytes are awaited, on which the choice of a server may depend.
    Preface {
        /// Some of them were read.
        is_read: bool,
    },
    /// Its turn is awaited: for a place among those that are read, or to shake hands. How long that
    /// takes is not its own doing.
    Standby {
        /// Some of its first bytes were read.
        is_read: bool,
    },
    /// Its source is at a limit, and it waits for that or is kept for a while.
    Held {
        /// Some of its first bytes were read.
        is_read: bool,
    },
    /// The client's first byte is awaited, before which no server is chosen.
    Silent {
        /// It has ended its direction, and is read to see whether it said anything before.
        ended: bool,
    },
    /// The upstream socket is being made.
    Opening,
    /// The connect is in flight.
    Connecting,
    /// The server is asked, and its consent awaited, before it gets the client's bytes.
    Asking,
    /// It could not go to a server for want of something that may come; it asks again.
    Pressed(Shortage),
    /// A server failed and its socket is on its way out.
    Retrying,
    /// Bytes flow.
    Joined,
    /// It is to go to another process: what waits is given up, and nothing new begins to wait.
    Departing,
    /// The same for a client that has no server yet.
    Withdrawing {
        /// Bytes of it were read that nobody was sent.
        is_read: bool,
    },
    /// Nothing of it is in flight but waits for bytes, which are nobody's any more, and its sockets
    /// may be read by another process.
    Departed,
    /// The side across was reset. This side gets the reset once it has acknowledged everything.
    Delivering {
        /// The side that gets the reset.
        to: Side,
        /// Bytes that it had not acknowledged when last asked.
        left: LeftBytes,
    },
    /// On the way out.
    Ending(Stage),
}

/// What a connection is short of on its way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A file or memory of the kernel for the upstream socket. It asks again soon by itself.
    Kernel,
    /// Room at a server, as a source port towards it. It asks again by [`Event::RoomPerhaps`].
    Room,
    /// The client's address, on which the choice depends. It asks again once that is found.
    Address,
}

/// The steps of an ending, each taken when the one before has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Addresses are asked for while the sockets still know them.
    Addresses,
    /// RST goes to the sides that must see one.
    Resetting,
    /// Waiting operations are cancelled; nothing is freed before their last completions.
    Retiring,
    /// Slots are emptied: upstream first, so that a new client never finds its upstream slot taken.
    Closing,
}

/// One connection. Plain data; everything it wants comes out as [`Actions`].
#[derive(Clone, Debug)]
pub struct Connection {
    phase: Phase,
    wiring: Wiring,
    reason: Reason,
    marks: Marks,
    /// The end of each side's stream, as far as it is known.
    input: BySide<Input>,
    in_flight: BySide<InFlight>,
    /// By the side that the bytes come from.
    lanes: BySide<Lane>,
    passages: BySide<Passage>,
    /// Delivered; less than 0 while so many bytes of ours go before the first.
    moved_bytes: BySide<i64>,
}

impl Connection {
    /// The state of a slot without a client.
    pub const VACANT: Connection = Connection {
        phase: Phase::Vacant,
        wiring: Wiring::Hold,
        reason: ending::UNKNOWN,
        marks: Marks::NONE,
        input: BySide([Input::Open; 2]),
        in_flight: BySide([InFlight::NONE; 2]),
        lanes: BySide([Lane::Unarmed; 2]),
        passages: BySide([Passage::COPIED; 2]),
        moved_bytes: BySide([0; 2]),
    };

    /// Takes one event in and says what is to be done about it.
    ///
    /// # Panics
    /// When the event cannot come in this state, naming both: our own accounting is wrong then.
    pub fn on(&mut self, event: Event) -> Actions {
        let mut actions = Actions::default();
        match event {
            Event::Completed { side, kind, more, .. } => {
                if !more {
                    self.in_flight[side].retire(kind);
                }
                self.completed(event, &mut actions);
            }
            Event::ServersExhausted => self.servers_exhausted(&mut actions),
            Event::NoRoom => self.no_room(&mut actions),
            Event::AddressFirst => self.address_first(&mut actions),
            Event::RoomPerhaps => self.room_perhaps(&mut actions),
            Event::PrefaceAwaited => self.preface_awaited(&mut actions),
            Event::PrefaceBrought => self.preface_brought(),
            Event::Hold => self.hold(&mut actions),
            Event::StandBy => self.stand_by(&mut actions),
            Event::PrefaceMore => self.preface_goes_on(&mut actions),
            Event::PrefaceRests => self.preface_rests(&mut actions),
            Event::PrefaceDone { keeps, onward } => {
                self.preface_done(keeps, onward, &mut actions);
            }
            Event::PrefaceRefused(reason) => self.preface_refused(reason, &mut actions),
            Event::PrefaceDeclined(reason) => {
                self.end(reason, BySide([false; 2]), &mut actions);
            }
            Event::Kept { chunk, more, own_bytes } => {
                self.moved_bytes[Side::Client] -= i64::from(own_bytes);
                self.kept(chunk, more, &mut actions);
            }
            Event::Say { sink, chunk } => self.say(sink, chunk, &mut actions),
            Event::Said(sink) => self.said(sink, &mut actions),
            Event::Answered { agrees } => self.answered(agrees, &mut actions),
            Event::ChunkMoved(sink, chunk) => self.chunk_moved(sink, chunk, &mut actions),
            Event::BufferFreed(source) => self.buffer_freed(source, &mut actions),
            Event::Expired(patience) => self.expired(patience, &mut actions),
            Event::Ended { reason, at_rest } => {
                self.end_from_outside(reason, at_rest, &mut actions);
            }
            Event::AddressesWanted(side) => self.ask_addresses(side, &mut actions),
            Event::GuardDue(guard) => self.guard(guard, &mut actions),
            Event::Depart { keeps_waits } => self.depart(keeps_waits, &mut actions),
            Event::Stay => self.stay(&mut actions),
            Event::Withdraw { keeps_waits } => self.withdraw(keeps_waits, &mut actions),
            Event::Enter(entrance) => self.enter(entrance, &mut actions),
            Event::Lost => self.lost(&mut actions),
            Event::Gone => self.gone(&mut actions),
        }
        match self.phase {
            Phase::Departing => self.advance_departure(&mut actions),
            Phase::Withdrawing { .. } => self.advance_withdrawal(&mut actions),
            _ => {}
        }
        if let Phase::Ending(_) = self.phase {
            self.advance_ending(&mut actions);
        }
        actions
    }

    fn completed(&mut self, event: Event, actions: &mut Actions) {
        let Event::Completed { side, kind, result, buffer, full, .. } = event else { return };
        match (self.phase, kind) {
            (Phase::Vacant, _) => panic!("{event:?} in Vacant"),
            (Phase::Preface { .. } | Phase::Silent { .. }, OpKind::Receive) => {
                self.preface_received(result, buffer, actions);
            }
            (Phase::Withdrawing { .. }, OpKind::Receive) => {
                self.withdrawn(result, buffer, actions);
            }
            (Phase::Withdrawing { .. }, OpKind::WaitReadable | OpKind::WatchHangup) => {
                self.stirred(result, actions);
            }
            (Phase::Withdrawing { .. }, OpKind::Cancel) => {}
            (Phase::Asking, OpKind::WaitReadable) if side == Side::Upstream => {
                self.receive(Side::Upstream, actions);
            }
            (Phase::Asking, OpKind::Receive) => self.answer_received(result, buffer, actions),
            (Phase::Retrying, OpKind::WaitReadable | OpKind::Receive) if side == Side::Upstream => {
                actions.list.extend(buffer.map(Action::Release));
                self.retry(actions);
            }
            (Phase::Preface { .. } | Phase::Asking | Phase::Retrying, OpKind::Send) => {
                self.words_sent(side, result, actions);
            }
            // Buffers come home in every phase.
            (_, OpKind::Receive | OpKind::Splice) => {
                self.received(side, result, buffer, full, actions);
            }
            (_, OpKind::Send) => self.sent(side, result, actions),
            // A slot is filled or emptied in every phase.
            (_, OpKind::Open) => self.opened(result, actions),
            (_, OpKind::Close) => self.closed(side, actions),
            // An ending only waits until nothing is in flight.
            (Phase::Ending(_), _) => {}
            (Phase::Pressed(Shortage::Address), OpKind::Addresses) => self.open_again(actions),
            (Phase::Meeting, OpKind::Addresses) => actions.list.push(Action::Meet),
            // The worker asked for them.
            (_, OpKind::Addresses) => {}
            // A server whose socket refused is found by what else fails there.
            (_, OpKind::Guard) => {}
            (_, OpKind::Connect) => self.connected(result, actions),
            (_, OpKind::WaitReadable) => self.readable(side, result, actions),
            (Phase::Retrying, OpKind::Cancel) => self.retry(actions),
            (phase, OpKind::WatchHangup) if phase.is_early() => {
                self.hung_up_early(result, actions);
            }
            (phase, OpKind::WatchHangup) if phase.is_before_choice() => {
                self.hung_up_before(result, actions);
            }
            (Phase::Joined | Phase::Departing | Phase::Preface { .. }, OpKind::WaitWritable) => {
                self.writable(side, actions);
            }
            (Phase::Joined | Phase::Departing, OpKind::Shutdown) => {
                self.shut_down(side, result, actions);
            }
            // It cancelled receives, which complete by themselves.
            (Phase::Joined | Phase::Departing | Phase::Delivering { .. }, OpKind::Cancel) => {}
            (Phase::Joined | Phase::Departing | Phase::Delivering { .. }, OpKind::WatchHangup) => {
                self.hung_up(side, result, actions);
            }
            (Phase::Delivering { .. }, OpKind::WaitWritable | OpKind::Shutdown) => {}
            (Phase::Delivering { .. }, OpKind::Unacknowledged) => {
                self.unacknowledged(result, actions);
            }
            (phase, _) => panic!("{event:?} in {phase:?}"),
        }
    }

    /// The event that it waits for now, which decides its timeout.
    pub fn patience(&self) -> Patience {
        match self.phase {
            Phase::Vacant
            | Phase::Meeting
            | Phase::Standby { .. }
            | Phase::Opening
            | Phase::Pressed(Shortage::Address)
            | Phase::Departed => Patience::Unbounded,
            Phase::Preface { .. } => Patience::Preface,
            Phase::Silent { .. } => Patience::Silence,
            Phase::Held { .. } => Patience::Hold,
            Phase::Pressed(Shortage::Kernel) => Patience::Pressure,
            Phase::Pressed(Shortage::Room) => Patience::Room,
            Phase::Connecting | Phase::Asking => Patience::Connect,
            Phase::Retrying | Phase::Departing | Phase::Withdrawing { .. } | Phase::Ending(_) => {
                Patience::Retirement
            }
            Phase::Delivering { to, .. } if self.in_flight[to].has(OpKind::Unacknowledged) => {
                Patience::Unbounded
            }
            Phase::Delivering { .. } => Patience::Delivery,
            Phase::Joined if self.is_reset() => Patience::LastBytes,
            Phase::Joined if self.is_unwatched() => Patience::OtherEnd,
            Phase::Joined if self.input != BySide([Input::Open; 2]) => Patience::LastDirection,
            Phase::Joined if self.is_silent() => Patience::FirstByte,
            Phase::Joined => Patience::Byte,
        }
    }

    /// Whether `side` has addresses to ask for. Its socket stays while the operation is in flight,
    /// because every ending waits for its completion. An upstream socket has both addresses, and is
    /// no longer given up for another, once it is joined.
    pub fn has_addresses(&self, side: Side) -> bool {
        match (self.phase, side) {
            // The kernel is to have nothing of a departed one in flight.
            (Phase::Vacant | Phase::Departed | Phase::Ending(_), _) => false,
            (_, Side::Client) => true,
            (Phase::Joined | Phase::Departing | Phase::Delivering { .. }, Side::Upstream) => {
                self.wiring == Wiring::Pair
            }
            (_, Side::Upstream) => false,
        }
    }

    /// Has the addresses of both sides asked for at its end, or not.
    pub fn want_addresses(&mut self, wanted: bool) {
        self.marks.set(Mark::AsksAddresses, wanted);
    }

    /// Whether the addresses of `side` can be asked for now: no such operation is in flight.
    pub fn can_ask_addresses(&self, side: Side) -> bool {
        self.has_addresses(side) && !self.in_flight[side].has(OpKind::Addresses)
    }

    fn ask_addresses(&mut self, side: Side, actions: &mut Actions) {
        assert!(
            self.can_ask_addresses(side),
            "{side:?} was to be asked for addresses in {:?}",
            self.phase
        );
        self.start(side, Operation::Addresses, actions);
    }

    /// Whether a lane holds a receive, a watch or a splice that [`Patience::Quiet`] gives back.
    pub fn can_go_quiet(&self) -> bool {
        self.phase == Phase::Joined && Side::BOTH.iter().any(|&side| self.lane_can_go_quiet(side))
    }

    /// Whether [`Patience::Keepalive`] has a bound: its server is not probed yet, and no guard is
    /// being set.
    pub fn wants_probes(&self) -> bool {
        self.is_joined_to_server()
            && !self.marks.has(Mark::Probed)
            && !self.in_flight[Side::Upstream].has(OpKind::Guard)
    }

    fn guard(&mut self, guard: Guard, actions: &mut Actions) {
        if !self.is_joined_to_server() || self.in_flight[Side::Upstream].has(OpKind::Guard) {
            return;
        }
        if let Guard::Silence { .. } = guard {
            self.marks.set(Mark::Probed, true);
        }
        self.start(Side::Upstream, Operation::Guard(guard), actions);
    }

    /// Whether the silence that `patience` is about may be our own: a send has not been answered.
    pub fn holds_up(&self, patience: Patience) -> bool {
        use Patience::{Byte, FirstByte, LastBytes, LastDirection};
        let is_about_bytes = matches!(patience, Byte | FirstByte | LastBytes | LastDirection);
        is_about_bytes && self.lanes.0.iter().any(|lane| matches!(lane, Lane::Sending(_)))
    }

    /// The client has sent nothing yet that its server could get.
    fn is_silent(&self) -> bool {
        self.moved_bytes[Side::Client] <= 0 && !self.marks.has(Mark::Spoke)
    }

    /// A side was reset, and what it sent before is still on its way.
    fn is_reset(&self) -> bool {
        self.input.0.contains(&Input::Reset)
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Bytes delivered, by the side they came from. An echo's come from both.
    pub fn moved_bytes(&self) -> BySide<u64> {
        let bytes = |side: Side| self.moved_bytes[side].max(0) as u64;
        match self.wiring {
            Wiring::Echo => BySide([bytes(Side::Client); 2]),
            _ => BySide([bytes(Side::Client), bytes(Side::Upstream)]),
        }
    }

    /// The side that the bytes of `source` go to.
    fn sink_of(&self, source: Side) -> Side {
        if self.wiring == Wiring::Pair { source.other() } else { source }
    }

    /// The side that the bytes for `sink` come from.
    fn source_of(&self, sink: Side) -> Side {
        self.sink_of(sink)
    }

    fn start(&mut self, side: Side, operation: Operation, actions: &mut Actions) {
        self.in_flight[side].start(operation.kind());
        actions.list.push(Action::Start(side, operation));
    }
}

/// A connection and its share of every table stays within the 128 bytes that DESIGN promises; the
/// worker asserts the sum, this is the larger part of it.
const _: () = assert!(size_of::<Phase>() <= 5 && size_of::<Connection>() <= 64);
