//! What the gateway says itself before the join: answers to a client that asks something in its
//! preface, and what a server is asked before it gets such a client's bytes.
//!
//! The words are the worker's, and travel in the lane towards who gets them. None of them counts as
//! a byte of the other side's.

use super::{Action, Actions, Connection, Input, Lane, Lapse, Passage, Phase, Wiring};
use crate::base::{Buffer, Chunk, Errno, OpKind, Operation, Side};

/// What is left of words of which a send brought so many on their way, if that may be tried again.
fn unsent(chunk: Chunk, result: Result<u32, Errno>) -> Option<Chunk> {
    match result {
        Ok(sent_bytes) => chunk.after(sent_bytes),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM) => Some(chunk),
        Err(_) => None,
    }
}

impl Connection {
    /// Whether its server is to be asked before it is joined.
    pub fn is_asked(&self) -> bool {
        self.passages[Side::Upstream] == Passage::ASKED
    }

    /// The server is connected.
    pub(super) fn begin_asking(&mut self, actions: &mut Actions) {
        self.phase = Phase::Asking;
        actions.list.push(Action::Say(Side::Upstream));
    }

    /// The next words to `sink`. `None`: no buffer is free for them.
    pub(super) fn say(&mut self, sink: Side, chunk: Option<Chunk>, actions: &mut Actions) {
        if self.phase == (Phase::Held { is_read: true }) {
            self.phase = Phase::Preface { is_read: true };
        }
        let is_due = match sink {
            Side::Client => self.phase == Phase::Preface { is_read: true },
            Side::Upstream => self.phase == Phase::Asking,
        };
        assert!(is_due, "words to {sink:?} in {:?}", self.phase);
        // What its bytes come to is not known yet: until then somebody stands across.
        self.wiring = Wiring::Pair;
        let source = sink.other();
        let Some(chunk) = chunk else {
            self.lanes[source] = Lane::Starved;
            return actions.list.push(Action::AwaitBuffer(source));
        };
        self.moved_bytes[source] = -i64::from(chunk.length_bytes);
        self.send(source, chunk, actions);
    }

    /// They were sent, all or some or none of them.
    pub(super) fn words_sent(
        &mut self,
        sink: Side,
        result: Result<u32, Errno>,
        actions: &mut Actions,
    ) {
        let source = sink.other();
        let lane = self.lane_without_words(source);
        let Lane::Sending(chunk) = std::mem::replace(&mut self.lanes[source], lane) else {
            panic!("sent {result:?} to {sink:?} in {:?}", self.phase)
        };
        if let Ok(sent_bytes) = result {
            self.delivered(source, sent_bytes, actions);
        }
        if let (Phase::Preface { .. }, Some(rest)) = (self.phase, unsent(chunk, result)) {
            return self.words_wait(sink, rest, actions);
        }
        actions.list.push(Action::Release(chunk.buffer));
        match (self.phase, result) {
            (Phase::Retrying, _) => self.retry(actions),
            (_, Ok(sent_bytes)) if sent_bytes == chunk.length_bytes => {
                actions.list.push(Action::Say(sink));
            }
            (Phase::Asking, _) => {
                self.unanswered(Lapse::Gone(result.err().unwrap_or(Errno::EAGAIN)), actions);
            }
            (_, _) => self.client_left(Input::Reset, actions),
        }
    }

    /// A client's socket has no room now, or the kernel no memory: a handshake is more than a few
    /// bytes. The preface has its time.
    fn words_wait(&mut self, sink: Side, rest: Chunk, actions: &mut Actions) {
        self.lanes[sink.other()] = Lane::Stalled(rest);
        actions.list.push(Action::Stalled(sink, rest));
        self.start(sink, Operation::WaitWritable, actions);
    }

    /// All was said to `sink`.
    pub(super) fn said(&mut self, sink: Side, actions: &mut Actions) {
        match sink {
            Side::Client => self.preface_goes_on(actions),
            Side::Upstream => self.wait_readable(Side::Upstream, actions),
        }
    }

    /// A buffer is free for what a server is asked, or for its answer.
    pub(super) fn ask_again(&mut self, source: Side, actions: &mut Actions) {
        match source {
            Side::Client => actions.list.push(Action::Say(Side::Upstream)),
            Side::Upstream => self.receive(Side::Upstream, actions),
        }
    }

    /// The server says something.
    pub(super) fn answer_received(
        &mut self,
        result: Result<u32, Errno>,
        buffer: Option<Buffer>,
        actions: &mut Actions,
    ) {
        let side = Side::Upstream;
        self.lanes[side] = Lane::Unarmed;
        match (result, buffer) {
            (Ok(length_bytes), Some(buffer)) => {
                actions.list.push(Action::Heed(Chunk { buffer, start_bytes: 0, length_bytes }));
            }
            (Err(Errno::ENOBUFS), None) => {
                self.lanes[side] = Lane::Starved;
                actions.list.push(Action::AwaitBuffer(side));
            }
            (Err(Errno::EINTR), None) => self.receive(side, actions),
            (Err(Errno::EAGAIN | Errno::ECANCELED), None) => self.wait_readable(side, actions),
            (Ok(0), None) => self.unanswered(Lapse::Gone(Errno::ECONNRESET), actions),
            (Err(error), None) => self.unanswered(Lapse::Gone(error), actions),
            (result, buffer) => panic!("received {result:?} with {buffer:?}"),
        }
    }

    /// The server has answered.
    pub(super) fn answered(&mut self, agrees: bool, actions: &mut Actions) {
        assert_eq!(self.phase, Phase::Asking, "a server answers what it is asked");
        match agrees {
            true => {
                // A header of ours has gone before what was asked.
                let client = &mut self.passages[Side::Client];
                *client = client.behind_header();
                self.passages[Side::Upstream] = Passage::COPIED;
                self.join(actions);
            }
            false => self.leave_asked(actions),
        }
    }

    /// It will not.
    pub(super) fn unanswered(&mut self, lapse: Lapse, actions: &mut Actions) {
        actions.list.push(Action::Unanswered(lapse));
        self.leave_asked(actions);
    }

    /// The lane of a side in which no words of ours are on their way: its own first byte may be
    /// awaited meanwhile.
    fn lane_without_words(&self, source: Side) -> Lane {
        let is_awaited = source == Side::Client && self.in_flight[source].has(OpKind::WaitReadable);
        if is_awaited { Lane::Waiting } else { Lane::Unarmed }
    }

    /// Another server is tried, which gets the same: nobody has the client's bytes yet.
    fn leave_asked(&mut self, actions: &mut Actions) {
        self.phase = Phase::Retrying;
        for side in Side::BOTH {
            // What is being sent is released by its completion.
            if !matches!(self.lanes[side], Lane::Sending(_)) {
                self.lanes[side] = self.lane_without_words(side);
            }
        }
        self.cancel(Side::Upstream, actions);
        self.retry(actions);
    }
}
