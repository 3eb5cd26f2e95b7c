//! From the accept to the join.

use super::relay::is_gone;
use super::{
    Action, Actions, Connection, Input, Lane, Mark, Marks, Onward, Passage, Phase, Reason,
    Shortage, Wiring,
};
use crate::base::{BySide, Errno, OpKind, Operation, Side};

/// Whether the kernel refuses for want of files, memory or watches of epoll, of which it may have
/// some later.
pub fn is_pressure(error: Errno) -> bool {
    use Errno::{EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    matches!(error, ENFILE | EMFILE | ENOMEM | ENOBUFS | ENOSPC)
}

impl Phase {
    /// Before the choice of a first server, and after the client was met.
    pub(super) fn is_before_choice(self) -> bool {
        use Phase::{Held, Preface, Silent, Standby};
        matches!(self, Preface { .. } | Standby { .. } | Held { .. } | Silent { .. })
    }

    /// Between the choice of a first server and the join.
    pub(super) fn is_early(self) -> bool {
        use Phase::{Asking, Connecting, Opening, Pressed, Retrying};
        matches!(self, Opening | Pressed(_) | Connecting | Asking | Retrying)
    }
}

impl Connection {
    /// A client's first moment: joined at once to a builtin, or waiting for a server.
    /// `asks_addresses` asks for addresses at the end.
    pub fn accepted(onward: impl Into<Onward>, asks_addresses: bool) -> (Connection, Actions) {
        let onward = onward.into();
        let marks = Marks::NONE.with(Mark::AsksAddresses, asks_addresses);
        let mut conn = Connection { marks, ..Connection::VACANT };
        conn.goes(onward);
        let mut actions = Actions::default();
        conn.set_out(onward.is_lazy, &mut actions);
        (conn, actions)
    }

    /// It is known where its bytes go.
    pub(super) fn goes(&mut self, onward: Onward) {
        self.wiring = onward.wiring;
        self.passages[Side::Client] =
            if onward.is_headed { Passage::HEADED } else { Passage::COPIED };
        if onward.is_asked && onward.wiring == Wiring::Pair {
            self.passages[Side::Upstream] = Passage::ASKED;
        }
    }

    /// A server is chosen.
    pub(super) fn begin(&mut self, actions: &mut Actions) {
        let keeps = self.passages[Side::Client].is_kept();
        let is_awaited = matches!(self.phase, Phase::Silent { .. });
        self.phase = if self.wiring == Wiring::Pair { Phase::Opening } else { Phase::Joined };
        // Where bytes are read, the end is found behind them.
        let has_ended = std::mem::replace(&mut self.input[Side::Client], Input::Open);
        match self.wiring {
            Wiring::Hold if has_ended == Input::Ended => self.close(actions),
            Wiring::Hold => self.watch(Side::Client, actions),
            Wiring::Echo | Wiring::Discard if keeps => self.receive(Side::Client, actions),
            Wiring::Echo | Wiring::Discard => self.wait_readable(Side::Client, actions),
            Wiring::Pair => {
                // The wait comes before the socket: a client that is gone already is known to be
                // so when the socket is there, and no server ever hears of it. A client of which
                // bytes are kept is not read, as where a lane is stalled.
                match self.lanes[Side::Client] {
                    _ if keeps => self.watch(Side::Client, actions),
                    // It was silent, and still is or has just spoken.
                    _ if is_awaited => {}
                    _ => self.wait_readable(Side::Client, actions),
                }
                self.open(actions);
            }
        }
    }

    /// A client beyond a limit: it gets a reset, and no server hears of it.
    pub fn refused(asks_addresses: bool) -> (Connection, Actions) {
        let marks = Marks::NONE.with(Mark::AsksAddresses, asks_addresses);
        let mut conn = Connection { phase: Phase::Joined, marks, ..Connection::VACANT };
        let mut actions = Actions::default();
        conn.end(Reason::Refused, BySide([true, false]), &mut actions);
        conn.advance_ending(&mut actions);
        (conn, actions)
    }

    /// The upstream slot was filled, or the kernel would not.
    pub(super) fn opened(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        self.marks.set(Mark::UpstreamOpen, result.is_ok());
        if self.phase != Phase::Opening {
            return; // The client left meanwhile; the ending empties the slot.
        }
        match result {
            Ok(_) => {
                self.phase = Phase::Connecting;
                self.marks.set(Mark::ConnectBegun, true);
                self.in_flight[Side::Upstream].start(OpKind::Connect);
                actions.list.push(Action::Connect);
            }
            // Not the server's fault: the next one would fare no better.
            Err(error) if is_pressure(error) => self.phase = Phase::Pressed(Shortage::Kernel),
            Err(_) => {
                self.phase = Phase::Retrying;
                self.retry(actions);
            }
        }
    }

    fn open(&mut self, actions: &mut Actions) {
        self.in_flight[Side::Upstream].start(OpKind::Open);
        actions.list.push(Action::Open);
    }

    /// The kernel may have files and memory again.
    pub(super) fn open_again(&mut self, actions: &mut Actions) {
        self.phase = Phase::Opening;
        self.open(actions);
    }

    /// A connect completed: by an answer, an error or its cancel.
    pub(super) fn connected(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        if self.phase == Phase::Connecting && result.is_ok() {
            match self.is_asked() {
                true => self.begin_asking(actions),
                false => self.join(actions),
            }
        } else {
            // In Retrying even a success is too late: its time was over.
            self.phase = Phase::Retrying;
            self.retry(actions);
        }
    }

    pub(super) fn join(&mut self, actions: &mut Actions) {
        self.phase = Phase::Joined;
        self.marks.set(Mark::ConnectBegun, false);
        if self.lanes[Side::Client] == Lane::Unarmed {
            self.receive(Side::Client, actions);
        } else if self.wants_header() {
            self.head(None, actions);
        }
        self.wait_readable(Side::Upstream, actions);
    }

    /// The connect took too long.
    pub(super) fn give_server_up(&mut self, actions: &mut Actions) {
        self.phase = Phase::Retrying;
        self.cancel(Side::Upstream, actions);
    }

    /// One step of a retry: once nothing is in flight, empty the slot; once empty, open another
    /// socket.
    pub(super) fn retry(&mut self, actions: &mut Actions) {
        if !self.in_flight[Side::Upstream].is_empty() {
            return;
        }
        if self.marks.has(Mark::UpstreamOpen) {
            self.start(Side::Upstream, Operation::Close, actions);
        } else {
            self.open_again(actions);
        }
    }

    /// The [`Action::Open`] just asked for found no server left, so nothing was started.
    pub(super) fn servers_exhausted(&mut self, actions: &mut Actions) {
        self.not_opened();
        self.end(Reason::NoServer, BySide([true, false]), actions);
    }

    /// It found no room at any. Of a client that has sent bytes nothing else would show that it was
    /// reset meanwhile.
    pub(super) fn no_room(&mut self, actions: &mut Actions) {
        self.not_opened();
        self.phase = Phase::Pressed(Shortage::Room);
        if self.lanes[Side::Client] == Lane::Unarmed {
            self.watch(Side::Client, actions);
        }
    }

    /// It depends on the client's address. Somebody may be asking for that already.
    pub(super) fn address_first(&mut self, actions: &mut Actions) {
        self.not_opened();
        self.phase = Phase::Pressed(Shortage::Address);
        if self.can_ask_addresses(Side::Client) {
            self.ask_addresses(Side::Client, actions);
        }
    }

    /// There may be room by now. What came meanwhile, as an end, stands.
    pub(super) fn room_perhaps(&mut self, actions: &mut Actions) {
        if self.phase == Phase::Pressed(Shortage::Room) {
            self.open_again(actions);
        }
    }

    /// There was no room for as long as it may wait.
    pub(super) fn room_missed(&mut self, actions: &mut Actions) {
        self.end(Reason::QueueTimeout, BySide([true, false]), actions);
    }

    fn not_opened(&mut self) {
        assert_eq!(self.phase, Phase::Opening, "servers are looked for only while opening");
        self.in_flight[Side::Upstream].retire(OpKind::Open);
    }

    /// The client's readiness before the join: data can wait, a reset ends it.
    pub(super) fn readable_early(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        if self.lanes[Side::Client] == Lane::Waiting {
            self.lanes[Side::Client] = Lane::Unarmed;
        }
        if is_gone(result) {
            self.gone_early(actions);
        } else if self.phase == Phase::Pressed(Shortage::Room) {
            self.watch(Side::Client, actions);
        }
    }

    /// The client was reset before the join.
    pub(super) fn gone_early(&mut self, actions: &mut Actions) {
        self.input[Side::Client] = Input::Reset;
        let is_heard_of = self.marks.has(Mark::ConnectBegun);
        let reason = if is_heard_of { Reason::ClientReset } else { Reason::ClientGone };
        self.end(reason, BySide([false; 2]), actions);
    }
}
