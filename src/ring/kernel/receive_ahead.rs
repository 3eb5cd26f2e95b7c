//! Multishot receives, and the data that they bring before the worker asks for it.
//!
//! A worker asks for each receive. The kernel's goes on once it is armed (multishot), so most
//! receives take no request: their data is queued already, or comes as the next completion of the
//! armed one. A message took 6 to 11 % less CPU than with a request for each receive
//! (`portcullis-bench pingpong --connections 100`, and 1000, Linux 6.18, 2 cores). One that follows
//! a wait is for one piece: what is armed and brings nothing has to be cancelled.
//!
//! `receives` decides by slot; here its decisions are carried out, with entries, buffers and the
//! worker's completions.
//!
//! A kernel before Linux 6.17 cannot bound what such a receive takes in one go, and some later ones
//! miss an end: `probe` tries both. There each receive is a request of its own, and nothing comes
//! ahead.

use io_uring::cqueue;

use super::KernelRing;
use super::cqe::{done_of, result_of};
use super::layout::Place;
use super::receives::{After, Asked, Came, Piece};
use super::sqe::{self, Tag};
use crate::base::{Chunk, Errno, OpKind};
use crate::ring::contract::{Buffers, Completion, Done};
use crate::ring::token::Token;

impl KernelRing {
    /// The worker asks for the next data.
    pub(super) fn start_receive(&mut self, at: Place, token: Token) {
        match self.tables[at.table].receives.ask(at.slot) {
            Asked::Ready(piece) => {
                let done = self.done_with(token, piece);
                self.ready.push_back(done);
            }
            Asked::Arm => self.push_receive(at, token),
            Asked::Waits => {}
        }
    }

    /// The worker starts a splice, a wait or a close: not before the queued data is taken, nor
    /// while a receive is armed.
    pub(super) fn start_after_receives(&mut self, at: Place, token: Token) {
        if token.kind == OpKind::Close {
            while let Some(piece) = self.tables[at.table].receives.take_ahead(at.slot) {
                self.discard(at, piece);
            }
        }
        match self.tables[at.table].receives.ask_after(at.slot, token.kind) {
            After::Ready(piece) => {
                let done = self.done_with(token, piece);
                self.ready.push_back(done);
            }
            After::Readable(bits) => self.ready.push_back(done_of(token, Ok(bits))),
            After::Begin => self.begin_after_receives(at, token),
            After::Stop => self.push_stop(at.table, token),
            After::Waits => {}
        }
    }

    /// No receive is armed and no data is queued.
    fn begin_after_receives(&mut self, at: Place, token: Token) {
        let Place { table, slot } = at;
        let entry = match token.kind {
            OpKind::Splice => return self.start_splice(token),
            OpKind::WaitReadable => sqe::wait_readable(slot),
            kind => {
                debug_assert_eq!(kind, OpKind::Close);
                if self.tables[table].receives.close(slot) {
                    // As the kernel does at a close for bytes that it still has.
                    self.push(table, sqe::reset(slot), Tag::Swallowed.with(0));
                }
                sqe::close(slot)
            }
        };
        self.push(table, entry, token.pack());
    }

    /// The worker waits until one side of a connection takes bytes again. Until then it asks for no
    /// bytes that go there, so they stay in their socket: the other side's, or the same in an echo.
    pub(super) fn hold_receives(&mut self, token: Token) {
        for side in [token.side.other(), token.side] {
            let Place { table, slot } = self.tables.place(token.conn, side);
            let receives = &mut self.tables[table].receives;
            if receives.is_unasked(slot) {
                if receives.stop(slot) {
                    self.push_stop(table, Token { side, ..token });
                }
                return;
            }
        }
    }

    fn push_receive(&mut self, at: Place, token: Token) {
        let most_bytes = self.tables[at.table].receives.most_bytes(at.slot);
        self.push(at.table, sqe::receive(at.slot, most_bytes), token.pack());
    }

    pub(super) fn push_stop(&mut self, table: usize, token: Token) {
        let target = Token { kind: OpKind::Receive, ..token }.pack();
        self.push(table, sqe::cancel_request(target), Tag::StopReceive.with(target));
    }

    /// A cancel of the ring's own is answered. One that met its receive between two states is sent
    /// again, once a turn, until the receive has ended.
    pub(super) fn receive_stopped(&mut self, payload: u64, result: Result<u32, Errno>) {
        let Some(token) = Token::unpack(payload) else { return };
        let Place { table, slot } = self.tables.place(token.conn, token.side);
        if result.is_err() && self.tables[table].receives.is_stopping(slot) {
            self.push_stop(table, token);
        }
    }

    /// A receive brought something or is over: what that tells the worker.
    pub(super) fn received(
        &mut self,
        table: usize,
        token: Token,
        completion: &cqueue::Entry,
    ) -> Option<Completion> {
        let buffer = self.take_buffer(table, completion);
        let piece = Piece { result: result_of(completion), buffer };
        let is_over = !cqueue::more(completion.flags());
        let at = self.tables.place(token.conn, token.side);
        let came = self.tables[table].receives.came(at.slot, piece, is_over);
        if is_over {
            self.lend_after_receives(token.conn, token.side);
        }
        let done = match came {
            Came::Ahead => {
                self.keep_ahead(at, token, piece);
                return None;
            }
            Came::Complete(kind) => self.done_with(Token { kind, ..token }, piece),
            Came::Readable => {
                self.keep_ahead(at, token, piece);
                done_of(Token { kind: OpKind::WaitReadable, ..token }, Ok(piece.bits()))
            }
            Came::Cancelled => {
                done_of(Token { kind: OpKind::WaitReadable, ..token }, Err(Errno::ECANCELED))
            }
            Came::Arm => {
                self.push_receive(at, token);
                return None;
            }
            Came::Starved => {
                let receives = &mut self.tables[table].receives;
                if self.memory.stock_for_one_more(table, receives.armed()) {
                    receives.arm(at.slot);
                    self.counters.receive_retries += 1;
                    self.push_receive(at, token);
                    return None;
                }
                receives.give_up(at.slot);
                self.done_with(token, piece)
            }
            Came::Discard(next) => {
                self.discard(at, piece);
                if let Some(kind) = next {
                    self.begin_after_receives(at, Token { kind, ..token });
                }
                return None;
            }
        };
        Some(Completion::Done(done))
    }

    fn keep_ahead(&mut self, at: Place, token: Token, mut piece: Piece) {
        if piece.result == Err(Errno::ENOBUFS) {
            self.memory.groups[at.table].widen();
        }
        if piece.is_of_the_request() {
            return;
        }
        if let (Ok(length_bytes), Some(buffer)) = (piece.result, piece.buffer)
            && self.is_scarce()
            && let Some(parked) = self.park(Chunk { buffer, start_bytes: 0, length_bytes })
        {
            piece.buffer = Some(parked.buffer);
        }
        if self.tables[at.table].receives.keep_ahead(at.slot, piece) {
            self.push_stop(at.table, token);
        }
    }

    fn done_with(&self, token: Token, Piece { result, buffer }: Piece) -> Done {
        let full = buffer.is_some() && result == Ok(self.memory.pool.buffer_bytes());
        Done { token, result, buffer, full, more: false }
    }

    fn discard(&mut self, at: Place, piece: Piece) {
        if let Some(buffer) = piece.buffer {
            self.tables[at.table].receives.cut(at.slot);
            self.release(buffer);
        }
    }
}
