//! A connection on its way from this process to another, and at its arrival there.
//!
//! Asked to depart, it does what it does when it goes quiet, on both sides: what waits is
//! cancelled, a send under way completes by itself, and what was received is sent as far as it
//! goes. A lane that has nothing in hand becomes Unarmed, one whose sink takes no more stays
//! Stalled without a wait; out of a pipe its chunk is moved into memory. When nothing is in flight
//! on either side it is Departed: its sockets can be lent.
//!
//! A side on which nothing but a wait for bytes is in flight can keep that: it takes nothing, a
//! departed connection hears of it without a consequence, and one that stays has it still. Most
//! connections of a gateway are quiet, and a cancel costs more than all else of a departure: the
//! kernel walks over every poll of its ring that falls into the same of 256 buckets.
//!
//! An end that no operation has taken stays with its socket: another process finds it there. One
//! that was taken is carried out here first; a reset makes the connection stay, and is passed on
//! here.

use super::{
    Action, Actions, Connection, Input, Lane, Mark, Marks, Passage, Phase, Reason, Wiring,
};
use crate::base::{BySide, Chunk, InFlight, OpKind, Operation, Side};

/// What waits for a peer. An end completes by itself.
const WAITS: InFlight = InFlight::WAITING.without(OpKind::Shutdown).without(OpKind::Connect);

/// What another process has to know of a joined connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passport {
    /// The other end of its client's bytes.
    pub wiring: Wiring,
    /// By source: its stream has ended, and its end was passed on.
    pub finished: BySide<bool>,
    /// By source: bytes delivered; less than 0 while so many of ours go before the first.
    pub moved_bytes: BySide<i64>,
    /// The client sent more than a preface already, before the join.
    pub spoke: bool,
    /// The server is probed while it is silent.
    pub probed: bool,
    /// The server ended its direction while the client's went on.
    pub server_first: bool,
}

impl Connection {
    /// Bytes flow, though perhaps no more are asked for.
    pub(super) fn is_joined(&self) -> bool {
        matches!(self.phase, Phase::Joined | Phase::Departing)
    }

    /// Begins to depart, where it stands so that it can.
    pub(super) fn depart(&mut self, keeps_waits: bool, actions: &mut Actions) {
        if !self.can_depart() {
            return;
        }
        self.marks.set(Mark::KEEPS_WAITS, keeps_waits);
        self.phase = Phase::Departing;
        for source in Side::BOTH {
            if self.lanes[source] == Lane::Starved {
                self.lanes[source] = Lane::Unarmed;
            }
        }
        self.give_waits_up(actions);
    }

    /// Whether it is joined, nobody of it was reset, and nothing of a preface is still to come.
    pub fn can_depart(&self) -> bool {
        let is_open = |&side: &Side| {
            self.input[side] != Input::Reset
                && self.passages[side].is_plain()
                && !matches!(self.lanes[side], Lane::Dropping | Lane::Dead)
        };
        self.phase == Phase::Joined && Side::BOTH.iter().all(is_open)
    }

    /// Cancels what waits, for a first or a further time.
    pub(super) fn give_waits_up(&mut self, actions: &mut Actions) {
        for side in Side::BOTH {
            let waits = self.in_flight[side].and(WAITS);
            let is_left = waits.is_empty() || self.keeps_wait(side);
            if !is_left && !self.in_flight[side].has(OpKind::Cancel) {
                self.start(side, Operation::Cancel(waits), actions);
            }
        }
    }

    /// Nothing is in flight on a side but a wait for bytes, which it keeps.
    pub(super) fn keeps_wait(&self, side: Side) -> bool {
        self.marks.has(Mark::KEEPS_WAITS)
            && self.in_flight[side] == InFlight::only(OpKind::WaitReadable)
    }

    /// The lane of a connection that departs waits for nothing.
    pub(super) fn rests(&mut self, source: Side) -> bool {
        let departs = self.phase == Phase::Departing;
        if departs {
            self.lanes[source] = Lane::Unarmed;
        }
        departs
    }

    /// It is departed as soon as nothing is in flight but what it keeps and nothing is in a pipe.
    pub(super) fn advance_departure(&mut self, actions: &mut Actions) {
        let is_over = |side| {
            let is_piped =
                matches!(self.lanes[side], Lane::Stalled(chunk) if chunk.buffer.is_pipe());
            !is_piped && (self.in_flight[side].is_empty() || self.keeps_wait(side))
        };
        if !Side::BOTH.into_iter().all(is_over) {
            return;
        }
        let has_spliced = Side::BOTH.iter().any(|&side| !self.passages[side].is_copied());
        self.passages = BySide([Passage::COPIED; 2]);
        if has_spliced {
            actions.list.push(Action::EndSplices);
        }
        self.phase = Phase::Departed;
        actions.list.push(Action::Departed);
    }

    /// Goes on here, as if nothing had been.
    pub(super) fn stay(&mut self, actions: &mut Actions) {
        if !matches!(self.phase, Phase::Departing | Phase::Departed) {
            return;
        }
        if self.phase == Phase::Departed {
            self.marks.set(Mark::WAS_ELSEWHERE, true);
        }
        self.phase = Phase::Joined;
        self.go_on(actions);
    }

    /// Has each lane wait for, or send, what comes next.
    fn go_on(&mut self, actions: &mut Actions) {
        if self.wiring == Wiring::Hold {
            return self.watch(Side::Client, actions);
        }
        let sources = if self.wiring == Wiring::Pair { &Side::BOTH[..] } else { &[Side::Client] };
        for &source in sources {
            let sink = self.sink_of(source);
            match self.lanes[source] {
                Lane::Unarmed if self.input[source] == Input::Open => {
                    self.wait_readable(source, actions);
                }
                // A wait that is being cancelled comes back to this.
                Lane::Stalled(_) if self.in_flight[sink].has(OpKind::WaitWritable) => {}
                Lane::Stalled(chunk) => self.send(source, chunk, actions),
                _ => {}
            }
        }
    }

    /// What another process had in hand is lost: both streams are cut, and what is still in hand
    /// here goes to nobody, who may have had it already.
    pub(super) fn lost(&mut self, actions: &mut Actions) {
        if self.phase == Phase::Departed {
            let resets = BySide([true, self.marks.has(Mark::UpstreamOpen)]);
            self.end(Reason::LostWithSuccessor, resets, actions);
        }
    }

    /// Another process has ended it.
    pub(super) fn gone(&mut self, actions: &mut Actions) {
        if self.phase == Phase::Departed {
            self.marks.set(Mark::AsksAddresses, false);
            self.end(Reason::EndedWithSuccessor, BySide([false; 2]), actions);
        }
    }

    /// What the process that it goes to has to know of it.
    ///
    /// # Panics
    /// When it is not departed.
    pub fn passport(&self) -> Passport {
        assert_eq!(self.phase, Phase::Departed, "it is still at work");
        let finished = |side| self.lanes[side] == Lane::Finished;
        Passport {
            wiring: self.wiring,
            finished: BySide([finished(Side::Client), finished(Side::Upstream)]),
            moved_bytes: self.moved_bytes,
            spoke: self.marks.has(Mark::Spoke),
            probed: self.marks.has(Mark::Probed),
            server_first: self.marks.has(Mark::ServerFirst),
        }
    }

    /// The bytes of `source` that were received and not sent, while it is departed.
    pub fn in_hand(&self, source: Side) -> Option<Chunk> {
        match self.lanes[source] {
            Lane::Stalled(chunk) if self.phase == Phase::Departed => Some(chunk),
            _ => None,
        }
    }

    /// A connection that comes from another process, with what it has in hand of each side.
    pub fn arrived(
        passport: Passport,
        in_hand: BySide<Option<Chunk>>,
        asks_addresses: bool,
    ) -> (Connection, Actions) {
        let Passport { wiring, finished, moved_bytes, spoke, probed, server_first } = passport;
        let marks = Marks::NONE
            .with(Mark::AsksAddresses, asks_addresses)
            .with(Mark::UpstreamOpen, wiring == Wiring::Pair)
            .with(Mark::WAS_ELSEWHERE, true)
            .with(Mark::Spoke, spoke)
            .with(Mark::Probed, probed)
            .with(Mark::ServerFirst, server_first);
        let mut actions = Actions::default();
        let mut conn =
            Connection { phase: Phase::Joined, wiring, marks, moved_bytes, ..Connection::VACANT };
        if wiring == Wiring::Pair {
            conn.passages = BySide([Passage::QUIET; 2]);
        }
        for source in Side::BOTH {
            if finished[source] {
                conn.input[source] = Input::Ended;
                conn.lanes[source] = Lane::Finished;
            } else if let Some(chunk) = in_hand[source] {
                match wiring {
                    // Nobody is to have them.
                    Wiring::Discard => {
                        conn.delivered(source, chunk.length_bytes, &mut actions);
                        actions.list.push(Action::Release(chunk.buffer));
                    }
                    _ => conn.lanes[source] = Lane::Stalled(chunk),
                }
            }
        }
        conn.go_on(&mut actions);
        (conn, actions)
    }

    /// Whether neither side has anything in hand, or armed that would bring it: both wait.
    pub fn holds_nothing(&self) -> bool {
        let waits = |&side: &Side| {
            let in_flight = self.in_flight[side];
            matches!(self.lanes[side], Lane::Waiting | Lane::Unarmed | Lane::Finished)
                && in_flight.and(InFlight::only(OpKind::WaitReadable)) == in_flight
        };
        self.phase == Phase::Joined && Side::BOTH.iter().all(waits)
    }
}
