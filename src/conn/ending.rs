//! From the end of the bytes to the empty slot.

use super::{
    Action, Actions, Connection, Input, Lane, Lapse, Mark, Patience, Phase, Reason, Shortage,
    Stage, Wiring,
};
use crate::base::{BAD_RECORD, BySide, CUT_OFF, Errno, InFlight, OpKind, Operation, Side};

/// The reason of a connection that has no other yet.
pub(super) const UNKNOWN: Reason = Reason::ClosedByClient;

impl Connection {
    /// The first cause counts: a later one is its consequence.
    pub(super) fn note_reason(&mut self, reason: Reason) {
        if self.reason == UNKNOWN {
            self.reason = reason;
        }
    }

    /// Where a side's records are wrong, that is the cause, whichever direction hears of it first.
    pub(super) fn note_error(&mut self, error: Errno) {
        if matches!(error, BAD_RECORD | CUT_OFF) {
            self.note_reason(Reason::BadTls);
        }
    }

    /// Whether the server ended it: by a reset, or by the first FIN of the two.
    pub fn is_ended_by_server(&self) -> bool {
        matches!(self.reason, Reason::UpstreamReset | Reason::ClosedByServer)
    }

    /// Whether wrong records of a side ended it, or a stream that was cut.
    pub fn is_ended_by_bad_tls(&self) -> bool {
        self.reason == Reason::BadTls
    }

    /// Both directions ended with FIN.
    pub(super) fn close(&mut self, actions: &mut Actions) {
        let reason = match self.marks.has(Mark::ServerFirst) {
            true => Reason::ClosedByServer,
            false => Reason::ClosedByClient,
        };
        self.end(reason, BySide([false; 2]), actions);
    }

    /// Begins the ending. `resets`: the sides that get RST instead of a FIN.
    pub(super) fn end(&mut self, reason: Reason, resets: BySide<bool>, actions: &mut Actions) {
        if matches!(self.phase, Phase::Ending(_)) {
            return;
        }
        self.note_reason(reason);
        if self.phase == Phase::Asking {
            actions.list.push(Action::Unanswered(Lapse::Abandoned));
        }
        self.marks.set_resets(resets);
        self.phase = Phase::Ending(Stage::Addresses);
        for source in Side::BOTH {
            match self.lanes[source] {
                Lane::Stalled(chunk) => actions.list.push(Action::Release(chunk.buffer)),
                // Its completion releases the chunk.
                Lane::Sending(_) => continue,
                _ => {}
            }
            self.lanes[source] = Lane::Dead;
        }
        if self.marks.has(Mark::AsksAddresses) {
            self.ask_addresses_at_end(Side::Client, actions);
            let is_open = self.marks.has(Mark::UpstreamOpen);
            if is_open && !self.in_flight[Side::Upstream].has(OpKind::Close) {
                self.ask_addresses_at_end(Side::Upstream, actions);
            }
        }
    }

    /// Asks for the addresses of `side`, unless that operation is in flight already.
    fn ask_addresses_at_end(&mut self, side: Side, actions: &mut Actions) {
        if !self.in_flight[side].has(OpKind::Addresses) {
            self.start(side, Operation::Addresses, actions);
        }
    }

    /// A timeout, a drain or a kill ends it. A stream that has not ended is cut by this, so its
    /// sink gets RST: a cut stream never looks like a whole one. A FIN is honest only for a
    /// connection at rest that owes no bytes.
    pub(super) fn end_from_outside(
        &mut self,
        reason: Reason,
        at_rest: bool,
        actions: &mut Actions,
    ) {
        match self.phase {
            // Another process has it, and it ends there.
            Phase::Vacant | Phase::Departed | Phase::Ending(_) => return,
            Phase::Delivering { .. } => return self.end_delivery(actions),
            _ => {}
        }
        let mut resets = BySide([false; 2]);
        let has_server = self.is_joined_to_server();
        for sink in Side::BOTH {
            let has_peer = sink == Side::Client || has_server;
            let is_cut = match self.lanes[self.source_of(sink)] {
                // A reset would overtake the last bytes of a stream that has ended. What the sink
                // still sends, its closed socket answers with RST.
                Lane::Finishing | Lane::Finished => false,
                // A starved lane knows of bytes that it has no buffer for.
                Lane::Sending(_) | Lane::Stalled(_) | Lane::Starved => true,
                // Nobody gets what was read of a preface.
                _ if sink == Side::Client && !has_server && self.has_preface() => true,
                // A reset is passed on, however long ago it came.
                _ => !at_rest || self.input[self.source_of(sink)] == Input::Reset,
            };
            resets[sink] = has_peer && is_cut && self.input[sink] != Input::Reset;
        }
        self.end(reason, resets, actions);
    }

    pub(super) fn is_joined_to_server(&self) -> bool {
        self.is_joined() && self.wiring == Wiring::Pair
    }

    /// Bytes of `source` are known to be there although it is ending: their receive beat its cancel
    /// or found no buffer. They cannot be delivered, so their sink gets RST after all.
    pub(super) fn cut_off(&mut self, source: Side, actions: &mut Actions) {
        let Phase::Ending(stage) = self.phase else { return };
        // Of a preface, nobody but its client can see that it is cut off.
        let has_server = self.wiring == Wiring::Pair && self.marks.has(Mark::UpstreamOpen);
        let sink = if has_server { self.sink_of(source) } else { Side::Client };
        let is_over = self.marks.resets(sink) || self.input[sink] == Input::Reset;
        if is_over || self.wiring == Wiring::Discard {
            return;
        }
        self.marks.set_reset(sink);
        if stage != Stage::Addresses {
            self.start(sink, Operation::Reset, actions);
            self.phase = Phase::Ending(Stage::Resetting);
        }
    }

    /// A deadline passed. The configuration's timeouts end a connection from outside.
    pub(super) fn expired(&mut self, patience: Patience, actions: &mut Actions) {
        match (self.phase, patience) {
            (Phase::Pressed(Shortage::Kernel), Patience::Pressure) => self.open_again(actions),
            (Phase::Pressed(Shortage::Room), Patience::Room) => self.room_missed(actions),
            (Phase::Connecting, Patience::Connect) => self.give_server_up(actions),
            (Phase::Asking, Patience::Connect) => self.unanswered(Lapse::Late, actions),
            (Phase::Retrying, Patience::Retirement) => self.cancel(Side::Upstream, actions),
            (Phase::Departing | Phase::Withdrawing { .. }, Patience::Retirement) => {
                self.give_waits_up(actions);
            }
            (Phase::Ending(Stage::Retiring), Patience::Retirement) => {
                self.cancel(Side::Client, actions);
                self.cancel(Side::Upstream, actions);
            }
            (Phase::Delivering { to, .. }, Patience::Delivery) => self.ask(to, actions),
            (Phase::Joined, Patience::OtherEnd) => self.watch_who_ended(actions),
            (Phase::Delivering { .. } | Phase::Joined, Patience::LastBytes) => {
                self.end_from_outside(self.reason, false, actions);
            }
            (Phase::Joined, Patience::Quiet) => self.go_quiet(actions),
            (Phase::Silent { .. }, Patience::Silence) => self.silence_over(actions),
            // The state moved on between the deadline and its expiry.
            (
                _,
                Patience::Pressure
                | Patience::Room
                | Patience::Silence
                | Patience::Connect
                | Patience::OtherEnd
                | Patience::Delivery
                | Patience::LastBytes
                | Patience::Retirement
                | Patience::Quiet,
            ) => {}
            (
                phase,
                Patience::Unbounded
                | Patience::Preface
                | Patience::Hold
                | Patience::FirstByte
                | Patience::Byte
                | Patience::LastDirection
                | Patience::Lifetime
                | Patience::Keepalive,
            ) => panic!("{patience:?} expired in {phase:?}"),
        }
    }

    /// Cancels the waiting operations of `side`, unless a cancel is under way. It is repeated after
    /// a while: an operation that was between two states may have escaped the first cancel.
    pub(super) fn cancel(&mut self, side: Side, actions: &mut Actions) {
        let waiting = self.in_flight[side].and(InFlight::WAITING);
        if !waiting.is_empty() && !self.in_flight[side].has(OpKind::Cancel) {
            self.start(side, Operation::Cancel(waiting), actions);
        }
    }

    /// Takes every step of the ending that can be taken now.
    pub(super) fn advance_ending(&mut self, actions: &mut Actions) {
        loop {
            let Phase::Ending(stage) = self.phase else { return };
            let next = match stage {
                Stage::Addresses if self.anywhere(OpKind::Addresses) => return,
                Stage::Addresses => {
                    for side in Side::BOTH {
                        if self.marks.resets(side) {
                            self.start(side, Operation::Reset, actions);
                        }
                    }
                    Stage::Resetting
                }
                // A cancel of everything could take the reset with it, and one of a quiet receive
                // would stand in its way: a side has one cancel at a time.
                Stage::Resetting if self.anywhere(OpKind::Reset) => return,
                Stage::Resetting if self.anywhere(OpKind::Cancel) => return,
                Stage::Resetting => {
                    self.cancel(Side::Client, actions);
                    self.cancel(Side::Upstream, actions);
                    Stage::Retiring
                }
                Stage::Retiring if Side::BOTH.iter().any(|&s| !self.in_flight[s].is_empty()) => {
                    return;
                }
                Stage::Retiring => {
                    let is_open = self.marks.has(Mark::UpstreamOpen);
                    let first = if is_open { Side::Upstream } else { Side::Client };
                    self.start(first, Operation::Close, actions);
                    Stage::Closing
                }
                Stage::Closing => return,
            };
            self.phase = Phase::Ending(next);
        }
    }

    /// A slot is empty.
    pub(super) fn closed(&mut self, side: Side, actions: &mut Actions) {
        match (self.phase, side) {
            (Phase::Retrying, Side::Upstream) => {
                self.marks.set(Mark::UpstreamOpen, false);
                self.retry(actions);
            }
            (Phase::Ending(stage), Side::Upstream) => {
                self.marks.set(Mark::UpstreamOpen, false);
                if stage == Stage::Closing {
                    self.start(Side::Client, Operation::Close, actions);
                }
            }
            (Phase::Ending(Stage::Closing), Side::Client) => {
                assert!(self.wiring == Wiring::Pair || !self.marks.has(Mark::UpstreamOpen));
                actions.list.push(Action::Vacate(self.reason));
                self.phase = Phase::Vacant;
            }
            (phase, side) => panic!("{side:?} closed in {phase:?}"),
        }
    }

    fn anywhere(&self, kind: OpKind) -> bool {
        Side::BOTH.iter().any(|&side| self.in_flight[side].has(kind))
    }
}
