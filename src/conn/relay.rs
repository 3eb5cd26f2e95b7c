//! Bytes, FINs and resets between two joined sides.

use super::{Action, Actions, Connection, Input, Lane, Mark, Passage, Phase, Reason, Wiring};
use crate::base::{Buffer, Chunk, Errno, OpKind, Operation, Side};

/// poll(2): the socket has an error that no call has returned yet.
const POLL_ERROR: u32 = 0x0008;
/// poll(2): the socket is reset or dead, `POLLERR` or `POLLHUP`. A FIN alone is `POLLRDHUP`.
const POLL_DEAD: u32 = POLL_ERROR | 0x0010;
/// poll(2): the peer will send no more.
pub(super) const POLL_ENDED: u32 = 0x2000;

/// Whether a wait's result says that the peer is gone.
pub(super) fn is_gone(result: Result<u32, Errno>) -> bool {
    result.map_or(true, |bits| bits & POLL_DEAD != 0)
}

/// Whether a receive or splice failed for a reason that is not its socket's.
fn says_nothing(error: Errno) -> bool {
    use Errno::{EAGAIN, ECANCELED, EINTR, EMFILE, ENOBUFS};
    matches!(error, EAGAIN | ECANCELED | EINTR | EMFILE | ENOBUFS)
}

impl Connection {
    pub(super) fn wait_readable(&mut self, source: Side, actions: &mut Actions) {
        if self.rests(source) {
            return;
        }
        self.lanes[source] = Lane::Waiting;
        // A client that was away may have kept its wait.
        if !self.in_flight[source].has(OpKind::WaitReadable) {
            self.start(source, Operation::WaitReadable, actions);
        }
    }

    /// Takes what comes next, after a wait for it where that is seldom.
    pub(super) fn receive(&mut self, source: Side, actions: &mut Actions) {
        if self.passages[source].is_seldom() {
            return self.wait_readable(source, actions);
        }
        self.receive_now(source, actions);
    }

    /// Takes what comes next: of what is kept of a preface, by a splice, or by a receive.
    fn receive_now(&mut self, source: Side, actions: &mut Actions) {
        if self.rests(source) {
            return;
        }
        if self.passages[source].is_kept() {
            self.lanes[source] = Lane::Receiving;
            return actions.list.push(Action::Recall);
        }
        if self.passages[source].is_spliced() {
            self.lanes[source] = Lane::Splicing;
            return self.start(source, Operation::Splice, actions);
        }
        if !self.passages[source].is_copied() {
            self.stop_splicing(source, Passage::COPIED, actions);
        }
        self.lanes[source] = Lane::Receiving;
        self.start(source, Operation::Receive, actions);
    }

    /// A splice brought nothing: the ring can do none now, or none was there.
    fn not_spliced(&mut self, source: Side, error: Errno, actions: &mut Actions) {
        let woken = self.passages[source].is_woken();
        match error {
            Errno::EAGAIN if !woken => return self.wait_readable(source, actions),
            // What a wait sees and a splice does not, urgent data for one, a receive takes.
            Errno::EAGAIN => self.stop_splicing(source, Passage::COPIED, actions),
            _ => self.stop_splicing(source, Passage::REFUSED, actions),
        }
        self.receive(source, actions);
    }

    pub(super) fn send(&mut self, source: Side, chunk: Chunk, actions: &mut Actions) {
        self.lanes[source] = Lane::Sending(chunk);
        self.start(self.sink_of(source), Operation::Send(chunk), actions);
    }

    fn stall(&mut self, source: Side, chunk: Chunk, actions: &mut Actions) {
        let sink = self.sink_of(source);
        self.lanes[source] = Lane::Stalled(chunk);
        let departs = self.phase == Phase::Departing;
        if !departs || chunk.buffer.is_pipe() {
            actions.list.push(Action::Stalled(sink, chunk));
        }
        if departs {
            // It can go as it is, or once it lies in no pipe.
            return;
        }
        self.start(sink, Operation::WaitWritable, actions);
        if self.wiring == Wiring::Pair {
            self.watch(source, actions);
        }
    }

    /// A stalled lane's chunk lies elsewhere now, or has to stay in its pipe.
    ///
    /// # Panics
    /// When nothing is stalled towards `sink`.
    pub(super) fn chunk_moved(&mut self, sink: Side, chunk: Chunk, actions: &mut Actions) {
        let source = self.source_of(sink);
        match &mut self.lanes[source] {
            Lane::Stalled(held) => *held = chunk,
            lane => panic!("a chunk of {lane:?} towards {sink:?} was moved"),
        }
        if self.phase == Phase::Departing && chunk.buffer.is_pipe() {
            self.start(sink, Operation::WaitWritable, actions);
        }
    }

    /// Watches for a reset of a side from which nothing is being read. The watch stays until the
    /// connection goes quiet: a lane that stalled once does so again.
    pub(super) fn watch(&mut self, side: Side, actions: &mut Actions) {
        let departs = self.phase == Phase::Departing;
        if !departs && !self.in_flight[side].has(OpKind::WatchHangup) {
            self.start(side, Operation::WatchHangup, actions);
        }
    }

    pub(super) fn readable(
        &mut self,
        source: Side,
        result: Result<u32, Errno>,
        actions: &mut Actions,
    ) {
        match self.phase {
            // Whatever woke it, the receive says what it is: data, a FIN, an error.
            _ if self.is_joined() && self.lanes[source] == Lane::Waiting => {
                self.passages[source].wake();
                self.receive_now(source, actions);
            }
            // The process that has it now sees so too.
            Phase::Departed if self.lanes[source] == Lane::Waiting => {
                self.lanes[source] = Lane::Unarmed;
            }
            Phase::Joined | Phase::Delivering { .. } if self.lanes[source] == Lane::Dropping => {
                self.start(source, Operation::Receive, actions);
            }
            Phase::Preface { .. } => self.preface_readable(result, actions),
            Phase::Silent { .. } => self.spoken(result, actions),
            phase if phase.is_early() => self.readable_early(result, actions),
            _ => {}
        }
    }

    pub(super) fn received(
        &mut self,
        source: Side,
        result: Result<u32, Errno>,
        buffer: Option<Buffer>,
        full: bool,
        actions: &mut Actions,
    ) {
        if let (Phase::Delivering { to, .. }, Err(error)) = (self.phase, result)
            && to == source
            && !says_nothing(error)
        {
            // The kernel returns the error once, so no other operation may ever report it.
            return self.end_delivery(actions);
        }
        let lane = self.lanes[source];
        if lane == Lane::Dropping {
            return self.dropped(source, result, buffer, actions);
        }
        if !self.is_joined() || !matches!(lane, Lane::Receiving | Lane::Splicing) {
            // Cancelled, or its lane died: the data beat the cancel and has nowhere to go.
            actions.list.extend(buffer.map(Action::Release));
            if buffer.is_some() || result == Err(Errno::ENOBUFS) {
                self.cut_off(source, actions);
            }
            return;
        }
        match (result, buffer) {
            (Ok(length_bytes), Some(buffer)) if length_bytes > 0 => {
                let chunk = Chunk { buffer, start_bytes: 0, length_bytes };
                if self.passages[source].is_headed() {
                    return self.head(Some(chunk), actions);
                }
                if self.wiring == Wiring::Pair {
                    self.passages[source].brought(full);
                }
                self.take(source, chunk, actions);
            }
            (Err(error @ (Errno::EMFILE | Errno::EAGAIN)), None) if lane == Lane::Splicing => {
                self.not_spliced(source, error, actions);
            }
            // The next receive says so again.
            (Ok(0), None) if self.passages[source].is_headed() => self.head(None, actions),
            (Ok(0), None) => self.input_ended(source, actions),
            (Err(Errno::ENOBUFS), None) => self.starve(source, actions),
            (Err(Errno::EINTR), None) => self.receive_now(source, actions),
            (Err(Errno::EAGAIN | Errno::ECANCELED), None) if self.passages[source].is_headed() => {
                self.wait_readable(source, actions);
                self.head(None, actions);
            }
            // Cancelled: it has gone quiet.
            (Err(Errno::EAGAIN | Errno::ECANCELED), None) => {
                self.rest(source);
                self.wait_readable(source, actions);
            }
            (Err(error), None) => {
                self.note_error(error);
                self.mark_reset(source, actions);
                if self.phase == Phase::Joined {
                    self.pass_reset_on(source, actions);
                }
            }
            (result, buffer) => panic!("received {result:?} with {buffer:?}"),
        }
    }

    /// Bytes of a joined source, on their way.
    pub(super) fn take(&mut self, source: Side, chunk: Chunk, actions: &mut Actions) {
        actions.moved = true;
        if self.wiring == Wiring::Discard {
            self.delivered(source, chunk.length_bytes, actions);
            actions.list.push(Action::Release(chunk.buffer));
            return self.receive(source, actions);
        }
        self.send(source, chunk, actions);
    }

    /// There are bytes, and no buffer for them.
    pub(super) fn starve(&mut self, source: Side, actions: &mut Actions) {
        if self.rests(source) {
            return;
        }
        self.lanes[source] = Lane::Starved;
        actions.list.push(Action::AwaitBuffer(source));
        self.watch(source, actions);
    }

    /// The lane's bytes are copied from now on; nothing of it is in a pipe.
    pub(super) fn stop_splicing(&mut self, source: Side, passage: Passage, actions: &mut Actions) {
        let before = std::mem::replace(&mut self.passages[source], passage);
        if !before.is_copied() && self.passages[source.other()].is_copied() {
            actions.list.push(Action::EndSplices);
        }
    }

    pub(super) fn buffer_freed(&mut self, source: Side, actions: &mut Actions) {
        match (self.lanes[source], self.phase) {
            (Lane::Starved, Phase::Preface { .. }) if source == Side::Upstream => {
                actions.list.push(Action::Say(Side::Client));
            }
            (Lane::Starved, Phase::Asking) => self.ask_again(source, actions),
            (Lane::Starved, Phase::Joined | Phase::Preface { .. } | Phase::Silent { .. }) => {
                self.receive_now(source, actions);
            }
            (Lane::Dropping, _) => self.go_on_dropping(source, actions),
            _ => {}
        }
    }

    pub(super) fn sent(&mut self, sink: Side, result: Result<u32, Errno>, actions: &mut Actions) {
        let source = self.source_of(sink);
        let Lane::Sending(chunk) = self.lanes[source] else {
            panic!("sent {result:?} to {sink:?} while {:?}", self.lanes[source])
        };
        match result {
            Ok(sent_bytes) => self.delivered(source, sent_bytes, actions),
            Err(error) => self.note_error(error),
        }
        let rest = match result {
            Ok(sent_bytes) => chunk.after(sent_bytes),
            Err(_) => Some(chunk),
        };
        // A kernel short of memory now may have some later; the lane tries again when writable.
        let failed = !matches!(
            result,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM)
        );
        let Some(rest) = rest.filter(|_| self.is_joined() && !failed) else {
            actions.list.push(Action::Release(chunk.buffer));
            return self.chunk_gone(source, sink, failed, actions);
        };
        self.stall(source, rest, actions);
        self.resolve_unsure(sink, actions);
    }

    /// Bytes of `source` are where they were to go. An echo's come from both sides.
    pub(super) fn delivered(&mut self, source: Side, bytes: u32, actions: &mut Actions) {
        let before = self.moved_bytes[source];
        self.moved_bytes[source] += i64::from(bytes);
        // Bytes of ours, which go before the client's first, are nobody's.
        let own_bytes = (-before).clamp(0, i64::from(bytes)) as u32;
        actions.moved |= bytes > 0;
        actions.delivered_bytes[source] = bytes - own_bytes;
        if self.wiring == Wiring::Echo {
            actions.delivered_bytes[source.other()] = bytes;
        }
    }

    /// A chunk was delivered whole, or never will be.
    fn chunk_gone(&mut self, source: Side, sink: Side, failed: bool, actions: &mut Actions) {
        self.lanes[source] = Lane::Dead;
        match self.phase {
            _ if !self.is_joined() => {
                if let Phase::Delivering { .. } = self.phase {
                    self.drop_bytes(source, actions);
                }
            }
            _ if !failed && self.is_awaited_behind_header(source) => {
                self.lanes[source] = Lane::Waiting;
                self.resolve_unsure(sink, actions);
            }
            _ if !failed => {
                self.receive(source, actions);
                self.resolve_unsure(sink, actions);
            }
            _ if self.input[sink] != Input::Reset => self.mark_reset(sink, actions),
            _ => self.drop_bytes(source, actions),
        }
    }

    pub(super) fn writable(&mut self, sink: Side, actions: &mut Actions) {
        let source = self.source_of(sink);
        if let Lane::Stalled(chunk) = self.lanes[source] {
            self.send(source, chunk, actions);
        }
    }

    /// A receive said 0.
    fn input_ended(&mut self, source: Side, actions: &mut Actions) {
        self.stop_splicing(source, Passage::COPIED, actions);
        match self.input[source] {
            Input::Reset => self.pass_reset_on(source, actions),
            Input::Open if self.in_flight[source].has(OpKind::Send) => {
                self.input[source] = Input::Unsure;
                self.lanes[source] = Lane::Unarmed;
            }
            Input::Open | Input::Unsure => {
                self.input[source] = Input::Ended;
                if source == Side::Upstream && self.input[Side::Client] == Input::Open {
                    self.marks.set(Mark::ServerFirst, true);
                }
                actions.moved = true; // What waits for the other direction begins to wait now.
                self.pass_fin_on(source, actions);
            }
            Input::Ended => panic!("{source:?} ended twice"),
        }
    }

    /// The send that an ending waited for went well, so the ending was a FIN.
    fn resolve_unsure(&mut self, side: Side, actions: &mut Actions) {
        if self.is_joined() && self.input[side] == Input::Unsure {
            self.input_ended(side, actions);
        }
    }

    fn pass_fin_on(&mut self, source: Side, actions: &mut Actions) {
        let sink = source.other();
        let other_direction_over = matches!(self.lanes[sink], Lane::Finishing | Lane::Finished);
        if self.wiring != Wiring::Pair || other_direction_over {
            // The close that follows sends the FIN.
            self.lanes[source] = Lane::Finished;
            return self.close(actions);
        }
        self.lanes[source] = Lane::Finishing;
        self.start(sink, Operation::Shutdown, actions);
    }

    /// One direction has been over for a while. A side that was read to its end shows a later
    /// reset to no receive: watch for it. Not at once, because most often the other direction ends
    /// just then, and a watch that is cancelled costs two operations.
    pub(super) fn watch_who_ended(&mut self, actions: &mut Actions) {
        for side in Side::BOTH {
            if self.input[side] == Input::Ended && !self.in_flight[side].has(OpKind::WatchHangup) {
                self.start(side, Operation::WatchHangup, actions);
            }
        }
    }

    /// Some side has ended and has no watch yet.
    pub(super) fn is_unwatched(&self) -> bool {
        Side::BOTH.iter().any(|&side| {
            self.input[side] == Input::Ended && !self.in_flight[side].has(OpKind::WatchHangup)
        })
    }

    pub(super) fn shut_down(
        &mut self,
        sink: Side,
        result: Result<u32, Errno>,
        actions: &mut Actions,
    ) {
        let source = self.source_of(sink);
        if self.lanes[source] == Lane::Finishing {
            self.lanes[source] = Lane::Finished;
        }
        // It was shut down in another process, and its peer has ended, too.
        let was_shut = self.marks.has(Mark::WAS_ELSEWHERE) && result == Err(Errno::ENOTCONN);
        if result.is_err() && !was_shut {
            self.mark_reset(sink, actions);
        }
    }

    pub(super) fn hung_up(
        &mut self,
        side: Side,
        result: Result<u32, Errno>,
        actions: &mut Actions,
    ) {
        if let Phase::Delivering { to, .. } = self.phase {
            let is_dead = result.map_or_else(
                |error| error != Errno::ECANCELED,
                |bits| bits & self.dead_bits(to) != 0,
            );
            if to == side && is_dead {
                self.end_delivery(actions);
            }
            return;
        }
        if result == Err(Errno::ECANCELED) {
            // It went quiet; one that is held was to depart, and has stayed.
            if self.wiring == Wiring::Hold {
                self.watch(side, actions);
            }
        } else if result.map_or(true, |bits| bits & self.dead_bits(side) != 0) {
            self.mark_reset(side, actions);
        } else if self.wiring == Wiring::Hold && result.is_ok_and(|bits| bits & POLL_ENDED != 0) {
            self.close(actions);
        } else {
            self.watch(side, actions);
        }
    }

    /// The poll(2) bits that tell of a reset. A socket that both ends have shut down hangs up
    /// without any: tcp_poll says POLLHUP as soon as both directions are closed. Only an error is a
    /// reset then. Another process may have shut down one that was there.
    fn dead_bits(&self, side: Side) -> u32 {
        let shut = matches!(self.lanes[self.source_of(side)], Lane::Finishing | Lane::Finished);
        if shut || self.marks.has(Mark::WAS_ELSEWHERE) { POLL_ERROR } else { POLL_DEAD }
    }

    /// Some operation of `side` failed: whatever its receives say, it was reset. What it sent
    /// before is still read and delivered; what was meant for it is not deliverable, so it is read
    /// and dropped.
    pub(super) fn mark_reset(&mut self, side: Side, actions: &mut Actions) {
        // The process that hears of it passes it on.
        self.stay(actions);
        let before = std::mem::replace(&mut self.input[side], Input::Reset);
        if before == Input::Reset {
            return;
        }
        actions.moved = true;
        self.note_reason(if side == Side::Client {
            Reason::ClientReset
        } else {
            Reason::UpstreamReset
        });
        let nobody_is_left = self.input[side.other()] == Input::Reset;
        if nobody_is_left || self.wiring != Wiring::Pair {
            return self.pass_reset_on(side, actions);
        }
        self.drop_bytes(side.other(), actions);
        if matches!(before, Input::Ended | Input::Unsure) {
            self.pass_reset_on(side, actions);
        }
    }
}
