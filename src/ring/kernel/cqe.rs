//! Completion queue entries: what they mean to a worker, and which steps of the ring follow.

use io_uring::cqueue;
use nix::libc;
use socket2::SockRef;

use super::KernelRing;
use super::memory::Memory;
use super::sqe::{self, Tag};
use crate::base::{Buffer, Errno, GateId, OpKind, Side};
use crate::ring::contract::{AcceptMode, Completion, Done};
use crate::ring::token::Token;

impl KernelRing {
    /// Translates `completion` for the worker; `None` when it was internal to the ring.
    pub(super) fn translate(
        &mut self,
        table: usize,
        completion: &cqueue::Entry,
    ) -> Option<Completion> {
        let Some((tag, payload)) = Tag::split(completion.user_data()) else {
            return self.unknown(table, completion);
        };
        let result = result_of(completion);
        match tag {
            Tag::Operation => self.operation_done(table, payload, completion),
            Tag::Accept => Some(self.accept_done(table, payload, completion)),
            Tag::Watch => self.gates.watch_ended(GateId(payload as u16)),
            Tag::Swallowed => None,
            Tag::CancelStep => {
                if result == Err(Errno::EALREADY) {
                    // A general cancel marks a poll that is just completing, so that it ends.
                    self.push(table, sqe::cancel_request(payload), Tag::Swallowed.with(0));
                }
                None
            }
            Tag::StopReceive => {
                self.receive_stopped(payload, result);
                None
            }
            Tag::Wake => {
                self.arm_wake();
                None
            }
            Tag::OpenSocket | Tag::OpenStep => self.open_step(table, tag, payload, result),
            Tag::OpenUndo => self.open_undone(table, payload),
            Tag::Install => self.installed(payload, result),
            Tag::Lend => Some(self.lend_made(payload, result)),
            Tag::Adopt => self.adopted(table, payload, result),
            Tag::AdoptUndo => Some(self.adoption_undone(table, payload)),
        }
    }

    fn operation_done(
        &mut self,
        table: usize,
        payload: u64,
        completion: &cqueue::Entry,
    ) -> Option<Completion> {
        let Some(token) = Token::unpack(payload) else {
            return self.unknown(table, completion);
        };
        let result = result_of(completion);
        match token.kind {
            OpKind::Receive => return self.received(table, token, completion),
            OpKind::WaitWritable => return self.writable(table, token, completion),
            OpKind::Connect if self.self_connects.over(token, result) => {
                self.start_addresses(token);
                return None;
            }
            OpKind::Close if token.side == Side::Client && result.is_ok() => {
                self.tables.client_left(table);
            }
            _ => {}
        }
        let more = cqueue::more(completion.flags());
        Some(Completion::Done(Done { token, result, buffer: None, full: false, more }))
    }

    /// A poll for writability woke. The peer's FIN alone (RDHUP) is nothing that a sender waits
    /// for: the wait then goes on at edges, each of which wakes it once, and is ended by the ring.
    fn writable(
        &mut self,
        table: usize,
        token: Token,
        completion: &cqueue::Entry,
    ) -> Option<Completion> {
        const TELLS: u32 = (libc::POLLOUT | libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) as u32;
        let result = result_of(completion);
        let goes_on = cqueue::more(completion.flags());
        match result {
            Ok(bits) if bits & TELLS == 0 => {
                if !goes_on {
                    let slot = self.tables.place(token.conn, token.side).slot;
                    self.push(table, sqe::watch_writable(slot), token.pack());
                }
                None
            }
            // The worker hears of it when the poll has ended.
            Ok(bits) if goes_on => {
                self.tables[table].woken.insert(token.pack(), bits);
                self.cancel_one(table, token);
                None
            }
            _ => {
                let woken = self.tables[table].woken.remove(&token.pack());
                Some(Completion::Done(done_of(token, woken.map_or(result, Ok))))
            }
        }
    }

    /// The buffer that came with a completion, if there is something in it; it goes back to the
    /// pool otherwise.
    pub(super) fn take_buffer(
        &mut self,
        table: usize,
        completion: &cqueue::Entry,
    ) -> Option<Buffer> {
        let id = cqueue::buffer_select(completion.flags())?;
        let Memory { pool, groups, .. } = &mut *self.memory;
        groups[table].taken(pool, id);
        if completion.result() > 0 {
            return Some(Buffer(u32::from(id)));
        }
        self.memory.pool.release(u32::from(id));
        None
    }

    fn accept_done(
        &mut self,
        table: usize,
        payload: u64,
        completion: &cqueue::Entry,
    ) -> Completion {
        let (gate, mode) = sqe::accept_of(payload);
        let more = mode == AcceptMode::Multishot && cqueue::more(completion.flags());
        if !more {
            *self.gates[gate].armed(mode) -= 1;
        }
        match result_of(completion) {
            Ok(slot) => {
                let conn = self.tables.client_came(table, slot);
                Completion::Accepted { gate, conn, more }
            }
            Err(error) => {
                // A parent, or a gateway over epoll that has the socket too, has it not wait
                // (io_uring: REQ_F_NOWAIT); the next accept does.
                if error == Errno::EAGAIN {
                    let _ = SockRef::from(&self.gates[gate].socket).set_nonblocking(false);
                }
                Completion::AcceptEnded { gate, error }
            }
        }
    }

    fn unknown(&mut self, table: usize, completion: &cqueue::Entry) -> Option<Completion> {
        self.counters.unknown_completions += 1;
        if let Some(Buffer(id)) = self.take_buffer(table, completion) {
            self.memory.pool.release(id);
        }
        None
    }
}

pub(super) fn result_of(completion: &cqueue::Entry) -> Result<u32, Errno> {
    let result = completion.result();
    if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(result as u32) }
}

/// The completion of an operation of several steps.
///
/// # Panics
/// When `payload` is no token: only tokens are put there.
pub(super) fn done(payload: u64, result: Result<u32, Errno>) -> Completion {
    let token = Token::unpack(payload).expect("the payload of a step is a token");
    Completion::Done(done_of(token, result))
}

/// The end of an operation that brings no bytes.
pub(super) fn done_of(token: Token, result: Result<u32, Errno>) -> Done {
    Done { token, result, buffer: None, full: false, more: false }
}
