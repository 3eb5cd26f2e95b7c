//! From the accept to the choice of a server, where the client's first bytes come before it.
//!
//! Nothing is received for a silent client: it waits without a buffer. Once there is something,
//! the connection asks for a place among those that are read, receives, and hands every chunk over
//! to be judged, until the preface is whole. The bytes that are the server's are kept for it by the
//! worker that judges them: the client's lane takes these first ([`Passage::KEPT`]), then the
//! socket's.

use super::relay::{POLL_ENDED, is_gone};
use super::{
    Action, Actions, Connection, Input, Lane, Mark, Marks, Onward, Passage, Phase, Reason, Wiring,
};
use crate::base::{Buffer, BySide, Chunk, Errno, Side};

impl Connection {
    /// As [`Connection::accepted`], for a client that is read before a server is chosen. `wiring`
    /// holds until the preface is done.
    pub fn prefaced(wiring: Wiring, asks_addresses: bool) -> (Connection, Actions) {
        let marks = Marks::NONE.with(Mark::AsksAddresses, asks_addresses);
        let phase = Phase::Preface { is_read: false };
        let mut conn = Connection { phase, wiring, marks, ..Connection::VACANT };
        let mut actions = Actions::default();
        conn.wait_readable(Side::Client, &mut actions);
        (conn, actions)
    }

    /// As [`Connection::prefaced`], for a client that is read or not by its address.
    pub fn met(wiring: Wiring, asks_addresses: bool) -> (Connection, Actions) {
        let marks = Marks::NONE.with(Mark::AsksAddresses, asks_addresses);
        let mut conn = Connection { phase: Phase::Meeting, wiring, marks, ..Connection::VACANT };
        let mut actions = Actions::default();
        conn.ask_addresses(Side::Client, &mut actions);
        (conn, actions)
    }

    /// It is a client that is read.
    pub(super) fn preface_awaited(&mut self, actions: &mut Actions) {
        let is_met = matches!(self.phase, Phase::Meeting | Phase::Held { is_read: false });
        assert!(is_met, "a client is met once, not in {:?}", self.phase);
        self.phase = Phase::Preface { is_read: false };
        self.wait_readable(Side::Client, actions);
    }

    /// There is something of the client's.
    pub(super) fn preface_readable(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        self.lanes[Side::Client] = Lane::Unarmed;
        if is_gone(result) {
            return self.client_left(Input::Reset, actions);
        }
        match self.phase {
            Phase::Preface { is_read: true } => self.receive(Side::Client, actions),
            _ => actions.list.push(Action::AwaitPlace),
        }
    }

    /// Its turn is awaited. One that leaves meanwhile is to cost no more than that; one that is
    /// silent already is waited for as before.
    pub(super) fn stand_by(&mut self, actions: &mut Actions) {
        let is_read = self.is_read();
        match self.phase {
            Phase::Silent { .. } => return,
            Phase::Preface { .. } | Phase::Held { is_read: true } => {}
            phase => panic!("a turn is awaited in {phase:?}"),
        }
        self.phase = Phase::Standby { is_read };
        if is_read && self.input[Side::Client] == Input::Ended {
            return self.client_left(Input::Ended, actions);
        }
        self.watch(Side::Client, actions);
    }

    /// There is a place, or what was judged is not all.
    pub(super) fn preface_goes_on(&mut self, actions: &mut Actions) {
        if let Phase::Held { is_read: is_read @ true } | Phase::Standby { is_read } = self.phase {
            self.phase = Phase::Preface { is_read };
        }
        if let Phase::Preface { .. } | Phase::Silent { ended: true } = self.phase {
            self.receive(Side::Client, actions);
        }
    }

    pub(super) fn preface_received(
        &mut self,
        result: Result<u32, Errno>,
        buffer: Option<Buffer>,
        actions: &mut Actions,
    ) {
        self.lanes[Side::Client] = Lane::Unarmed;
        match (result, buffer) {
            (Ok(length_bytes), Some(buffer)) => {
                actions.moved = true;
                if let Phase::Preface { is_read } = &mut self.phase {
                    *is_read = true;
                }
                actions.list.push(Action::Judge(Chunk { buffer, start_bytes: 0, length_bytes }));
            }
            (Err(Errno::ENOBUFS), None) => {
                self.lanes[Side::Client] = Lane::Starved;
                actions.list.push(Action::AwaitBuffer(Side::Client));
            }
            (Err(Errno::EINTR), None) => self.receive(Side::Client, actions),
            (Err(Errno::EAGAIN | Errno::ECANCELED), None) => {
                self.wait_readable(Side::Client, actions);
            }
            (Ok(0), None) => self.client_left(Input::Ended, actions),
            (Err(_), None) => self.client_left(Input::Reset, actions),
            (result, buffer) => panic!("received {result:?} with {buffer:?}"),
        }
    }

    /// What was read is all, or nothing is read: a server may be chosen. `keeps`: some of it is the
    /// server's.
    pub(super) fn preface_done(&mut self, keeps: bool, onward: Onward, actions: &mut Actions) {
        let is_read = matches!(self.phase, Phase::Preface { is_read: true });
        let is_open = is_read
            || matches!(self.phase, Phase::Meeting | Phase::Silent { .. } | Phase::Held { .. });
        assert!(is_open, "a preface is done once, not in {:?}", self.phase);
        self.marks.set(Mark::Spoke, keeps);
        // Of a client that was silent it is known since it came.
        if !matches!(self.phase, Phase::Silent { .. }) {
            self.goes(onward);
        }
        if keeps {
            let passage = &mut self.passages[Side::Client];
            *passage = passage.keeping();
        }
        self.set_out(onward.is_lazy, actions);
    }

    /// It cannot be one.
    pub(super) fn preface_refused(&mut self, reason: Reason, actions: &mut Actions) {
        self.end(reason, BySide([true, false]), actions);
    }

    /// The client left before all of its preface was there. Bytes that were read and that nobody
    /// gets make a reset of it; a client that said nothing sees a clean end.
    pub(super) fn client_left(&mut self, how: Input, actions: &mut Actions) {
        actions.moved = true;
        self.input[Side::Client] = how;
        let is_read = self.is_read();
        let resets = BySide([is_read && how == Input::Ended, false]);
        self.end(Reason::ClientGone, resets, actions);
    }

    /// Whether bytes of the client's were read that nobody was sent.
    pub(super) fn has_preface(&self) -> bool {
        self.is_read() || self.passages[Side::Client].is_kept()
    }

    fn is_read(&self) -> bool {
        matches!(
            self.phase,
            Phase::Preface { is_read: true }
                | Phase::Standby { is_read: true }
                | Phase::Held { is_read: true }
                | Phase::Withdrawing { is_read: true }
        )
    }

    /// Its source is at a limit.
    pub(super) fn hold(&mut self, actions: &mut Actions) {
        let is_read = self.is_read();
        let is_new = is_read || self.phase == Phase::Meeting;
        assert!(is_new, "a client is held once, not in {:?}", self.phase);
        self.phase = Phase::Held { is_read };
        self.watch(Side::Client, actions);
    }

    /// A watch of a client that is held or stands by, or was or did until it went on.
    pub(super) fn hung_up_before(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        if is_gone(result) {
            return self.client_left(Input::Reset, actions);
        }
        // The watch goes on, and does not say so again.
        if result.is_ok_and(|bits| bits & POLL_ENDED != 0) {
            self.input[Side::Client] = Input::Ended;
            // Its own part of the handshake cannot come any more.
            if self.phase == (Phase::Standby { is_read: true }) {
                return self.client_left(Input::Ended, actions);
            }
        }
        self.watch(Side::Client, actions);
    }

    /// The next of what was kept. `None`: no buffer is free for it. `more`: it is not the last.
    pub(super) fn kept(&mut self, chunk: Option<Chunk>, more: bool, actions: &mut Actions) {
        let source = Side::Client;
        if self.phase != Phase::Joined || self.lanes[source] != Lane::Receiving {
            // Its lane died meanwhile: it has nowhere to go.
            return actions.list.extend(chunk.map(|chunk| Action::Release(chunk.buffer)));
        }
        let Some(chunk) = chunk else { return self.starve(source, actions) };
        self.passages[source] = if more { Passage::KEPT } else { Passage::COPIED };
        self.take(source, chunk, actions);
    }

    /// A watch of a client of which bytes are kept, before the join.
    pub(super) fn hung_up_early(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        if is_gone(result) {
            return self.gone_early(actions);
        }
        self.watch(Side::Client, actions);
    }
}
