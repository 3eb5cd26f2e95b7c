//! Clients without a server on their way to another process, and at their arrival there.
//!
//! Such a client withdraws: what waits for it is cancelled, but for a wait for its first byte, and
//! it is Departed then as one that was joined would be. What it has said, and where it stood, its
//! worker keeps. In the other process, or here if it comes back, it enters again.

use super::relay::is_gone;
use super::{Action, Actions, Connection, Entrance, Input, Lane, Mark, Marks, Phase, Shortage};
use crate::base::{Buffer, Chunk, Errno, OpKind, Side};

impl Connection {
    /// A client that has come from another process, before it enters.
    pub fn unserved(asks_addresses: bool) -> Connection {
        let marks = Marks::NONE.with(Mark::AsksAddresses, asks_addresses);
        Connection { phase: Phase::Departed, marks, ..Connection::VACANT }
    }

    /// Whether it waits for its first bytes, for leave to come in or for a server, so that another
    /// process could take it in as if it had just come.
    pub fn can_withdraw(&self) -> bool {
        use Phase::{Held, Preface, Pressed, Silent, Standby};
        let stands = match self.phase {
            Preface { .. } | Standby { .. } | Held { .. } | Silent { ended: false } => true,
            Pressed(shortage) => shortage != Shortage::Address,
            _ => false,
        };
        // No words of ours are on their way to it.
        stands
            && self.lanes[Side::Upstream] == Lane::Unarmed
            && self.in_flight[Side::Upstream].is_empty()
            && self.input[Side::Client] != Input::Reset
    }

    /// Begins to withdraw, where it stands so that it can.
    pub(super) fn withdraw(&mut self, keeps_waits: bool, actions: &mut Actions) {
        if !self.can_withdraw() {
            return;
        }
        let is_read = self.has_preface();
        self.marks.set(Mark::KEEPS_WAITS, keeps_waits && !is_read);
        self.phase = Phase::Withdrawing { is_read };
        if self.lanes[Side::Client] == Lane::Starved {
            self.lanes[Side::Client] = Lane::Unarmed;
        }
        self.give_waits_up(actions);
    }

    /// It is departed as soon as nothing is in flight but what it keeps.
    pub(super) fn advance_withdrawal(&mut self, actions: &mut Actions) {
        let is_over = |side| self.in_flight[side].is_empty() || self.keeps_wait(side);
        if Side::BOTH.into_iter().all(is_over) {
            self.phase = Phase::Departed;
            actions.list.push(Action::Departed);
        }
    }

    /// A wait of one that withdraws is over. An end is found on the socket again.
    pub(super) fn stirred(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        if self.lanes[Side::Client] == Lane::Waiting
            && !self.in_flight[Side::Client].has(OpKind::WaitReadable)
        {
            self.lanes[Side::Client] = Lane::Unarmed;
        }
        if result != Err(Errno::ECANCELED) && is_gone(result) {
            self.client_left(Input::Reset, actions);
        }
    }

    /// A receive of one that withdraws is over: what it brought goes with the client.
    pub(super) fn withdrawn(
        &mut self,
        result: Result<u32, Errno>,
        buffer: Option<Buffer>,
        actions: &mut Actions,
    ) {
        self.lanes[Side::Client] = Lane::Unarmed;
        match (result, buffer) {
            (Ok(length_bytes), Some(buffer)) => {
                actions.moved = true;
                self.phase = Phase::Withdrawing { is_read: true };
                actions.list.push(Action::Judge(Chunk { buffer, start_bytes: 0, length_bytes }));
            }
            (Ok(_), None) => {}
            (Err(Errno::EAGAIN | Errno::ECANCELED | Errno::EINTR | Errno::ENOBUFS), None) => {}
            (Err(_), None) => self.client_left(Input::Reset, actions),
            (result, buffer) => panic!("received {result:?} with {buffer:?}"),
        }
    }

    /// One that was withdrawn, or has come from another process, enters.
    ///
    /// # Panics
    /// When it is not departed.
    pub(super) fn enter(&mut self, entrance: Entrance, actions: &mut Actions) {
        assert_eq!(self.phase, Phase::Departed, "it enters once");
        let asks_addresses = self.marks.has(Mark::AsksAddresses);
        *self = Connection {
            in_flight: self.in_flight,
            marks: Marks::NONE.with(Mark::AsksAddresses, asks_addresses),
            ..Connection::VACANT
        };
        match entrance {
            Entrance::Meeting(wiring) => {
                (self.phase, self.wiring) = (Phase::Meeting, wiring);
                self.ask_addresses(Side::Client, actions);
            }
            Entrance::Preface(wiring) => {
                (self.phase, self.wiring) = (Phase::Preface { is_read: false }, wiring);
                self.wait_readable(Side::Client, actions);
            }
            Entrance::Brought(wiring) => {
                (self.phase, self.wiring) = (Phase::Preface { is_read: true }, wiring);
            }
            Entrance::Onward { onward, keeps } => {
                self.marks.set(Mark::Spoke, keeps);
                self.goes(onward);
                if keeps {
                    let passage = &mut self.passages[Side::Client];
                    *passage = passage.keeping();
                }
                self.set_out(onward.is_lazy, actions);
            }
        }
    }

    /// It is a client that is read, and some of its first bytes are here: they came with it, or it
    /// stood by behind them.
    pub(super) fn preface_brought(&mut self) {
        use Phase::{Held, Meeting, Standby};
        let is_met =
            matches!(self.phase, Meeting | Held { is_read: false } | Standby { is_read: true });
        assert!(is_met, "what a client brings is read once, not in {:?}", self.phase);
        self.phase = Phase::Preface { is_read: true };
    }

    /// What was brought is not all of it, and nothing is to be taken from the socket so far.
    pub(super) fn preface_rests(&mut self, actions: &mut Actions) {
        if self.phase == (Phase::Held { is_read: true }) {
            self.phase = Phase::Preface { is_read: true };
        }
        if let Phase::Preface { .. } = self.phase {
            self.wait_readable(Side::Client, actions);
        }
    }

    /// Whether it neither takes anything from a socket nor puts anything in.
    pub fn leaves_sockets_alone(&self) -> bool {
        let touches = [OpKind::Receive, OpKind::Splice, OpKind::Send, OpKind::Shutdown];
        let is_left = |side: &Side| !touches.iter().any(|op| self.in_flight[*side].has(*op));
        !matches!(self.phase, Phase::Ending(_)) && Side::BOTH.iter().all(is_left)
    }
}
