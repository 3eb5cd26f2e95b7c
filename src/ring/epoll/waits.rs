//! What waits on a socket, and what ends that.

use super::EpollRing;
use super::slots::{HANGUP, READABLE, WRITABLE};
use super::sockets;
use crate::base::{Buffer, ConnIndex, Errno, InFlight, OpKind, SELF_CONNECT, Side};
use crate::ring::contract::{Completion, Done};
use crate::ring::kernel::address;
use crate::ring::kernel::self_connect::is_its_own;
use crate::ring::token::Token;

impl EpollRing {
    /// An edge came, with all that holds now.
    pub(super) fn edge(&mut self, conn: ConnIndex, side: Side, bits: u32) {
        let Some(slot) = self.slots.get_mut(conn, side) else { return };
        slot.edge(bits);
        let waiting = slot.waiting;
        if waiting.is_empty() {
            return;
        }
        if waiting.has(OpKind::Connect) && bits & WRITABLE != 0 {
            self.connect_ended(conn, side);
        }
        if waiting.has(OpKind::Receive) && slot_is_readable(self, conn, side) {
            self.receive_waiting(conn, side);
        }
        if waiting.has(OpKind::WaitReadable)
            && let Some(socket) = self.slots.socket(conn, side)
        {
            let readable = sockets::with_end(socket, bits & READABLE, READABLE);
            self.wait_over(conn, side, OpKind::WaitReadable, readable);
        }
        if waiting.has(OpKind::WaitWritable) {
            self.wait_over(conn, side, OpKind::WaitWritable, bits & WRITABLE);
        }
        if waiting.has(OpKind::WatchHangup) && bits & HANGUP != 0 {
            self.tell_hangup(conn, side);
        }
    }

    /// A wait is over if any of its bits holds.
    fn wait_over(&mut self, conn: ConnIndex, side: Side, kind: OpKind, bits: u32) {
        if bits != 0 {
            let token = self.end_wait(conn, side, kind);
            self.complete(token, Ok(bits));
        }
    }

    /// What waited is over.
    fn end_wait(&mut self, conn: ConnIndex, side: Side, kind: OpKind) -> Token {
        let slot = self.slots.at(conn, side);
        slot.waiting.retire(kind);
        slot.token((conn, side), kind)
    }

    fn connect_ended(&mut self, conn: ConnIndex, side: Side) {
        let token = self.end_wait(conn, side, OpKind::Connect);
        let result = self.slots.socket(conn, side).map_or(Err(Errno::EBADF), sockets::connected);
        self.finish_connect(token, result);
    }

    /// A connect is over. A socket that reached itself is reset at once, so that no TIME_WAIT keeps
    /// the server from its port.
    pub(super) fn finish_connect(&mut self, token: Token, mut result: Result<u32, Errno>) {
        if self.self_connects.over(token, result)
            && let Some(socket) = self.slots.socket(token.conn, token.side)
            && address::four_tuple(std::os::fd::AsFd::as_fd(socket))
                .is_ok_and(|ends| is_its_own(&ends))
        {
            let _ = sockets::reset(socket);
            result = Err(SELF_CONNECT);
        }
        self.complete(token, result);
    }

    fn receive_waiting(&mut self, conn: ConnIndex, side: Side) {
        let token = self.slots.at(conn, side).token((conn, side), OpKind::Receive);
        if self.try_receive(token) {
            self.slots.at(conn, side).waiting.retire(OpKind::Receive);
        }
    }

    /// Receives what is there. False: nothing is.
    pub(super) fn try_receive(&mut self, token: Token) -> bool {
        let slot = self.slots.at(token.conn, token.side);
        let Some(socket) = &slot.socket else {
            self.complete(token, Err(Errno::EBADF));
            return true;
        };
        let pool = &mut self.memory.pool;
        let Some(id) = pool.take().map(u32::from) else {
            // An edge may tell more than there is.
            if sockets::bits_now(socket, READABLE) == 0 {
                slot.is_empty_now();
                return false;
            }
            self.complete(token, Err(Errno::ENOBUFS));
            return true;
        };
        let length_bytes = pool.buffer_bytes();
        let result = sockets::receive(socket, pool.bytes_mut(id, 0, length_bytes));
        let full = result == Ok(length_bytes);
        let buffer = match result {
            Ok(1..) => {
                if !full {
                    slot.was_short();
                }
                Some(Buffer(id))
            }
            _ => {
                pool.put_back(id);
                None
            }
        };
        if result == Err(Errno::EAGAIN) {
            slot.is_empty_now();
            return false;
        }
        let done = Done { token, result, buffer, full, more: false };
        self.later.push_back(Completion::Done(done));
        true
    }

    /// Tells of a hang-up, if there is one that was not told.
    pub(super) fn tell_hangup(&mut self, conn: ConnIndex, side: Side) {
        let slot = self.slots.at(conn, side);
        let token = slot.token((conn, side), OpKind::WatchHangup);
        if let Some(bits) = slot.news() {
            let done = Done { token, result: Ok(bits), buffer: None, full: false, more: true };
            self.later.push_back(Completion::Done(done));
        }
    }

    /// Ends those of these kinds that wait.
    pub(super) fn cancel(&mut self, conn: ConnIndex, side: Side, kinds: InFlight) {
        let Some(slot) = self.slots.get_mut(conn, side) else { return };
        for kind in slot.waiting.and(kinds).kinds() {
            let token = self.end_wait(conn, side, kind);
            if kind == OpKind::Connect {
                self.finish_connect(token, Err(Errno::ECANCELED));
            } else {
                self.complete(token, Err(Errno::ECANCELED));
            }
        }
    }
}

fn slot_is_readable(ring: &mut EpollRing, conn: ConnIndex, side: Side) -> bool {
    ring.slots.at(conn, side).is_readable()
}
