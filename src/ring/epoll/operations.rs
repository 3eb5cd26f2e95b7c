//! Operations: each is tried at once, and waits in its slot where that is what it is for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{Shutdown, shutdown};

use super::EpollRing;
use super::slots::{HANGUP, READABLE, Slot, WRITABLE};
use super::sockets;
use crate::base::{ConnIndex, Errno, OpKind, Operation, ServerId, Side, Source, errno_of};
use crate::ring::contract::{Completion, FourTuple, Operations};
use crate::ring::kernel::address;
use crate::ring::token::Token;

impl Operations for EpollRing {
    fn add_server(&mut self, server: ServerId) {
        let socket = self.supplies.server(server);
        self.memory.servers.add(server, &socket);
        self.memory.forget();
        self.self_connects.add(server, &socket);
    }

    fn remove_server(&mut self, server: ServerId) {
        self.memory.servers.remove(server);
        self.memory.forget();
        self.self_connects.remove(server);
    }

    fn start(&mut self, token: Token, operation: Operation) {
        debug_assert_eq!(token.kind, operation.kind());
        self.counters.submissions += 1;
        let Token { conn, side, .. } = token;
        match operation {
            Operation::Open(server, from) => self.start_open(token, server, from),
            Operation::Connect(server) => self.start_connect(token, server),
            Operation::WaitReadable => self.start_wait(token, READABLE),
            Operation::WaitWritable => self.start_wait(token, WRITABLE),
            Operation::WatchHangup => self.start_watch(token),
            Operation::Receive => self.start_receive(token),
            Operation::Splice => self.start_splice(token),
            Operation::Send(chunk) if chunk.buffer.is_pipe() => {
                self.descriptors.send_pipe(token, chunk);
            }
            Operation::Send(chunk) => {
                let bytes = self.memory.bytes(chunk);
                let sent =
                    with(self.slots.socket(conn, side), |socket| sockets::send_some(socket, bytes));
                self.complete(token, sent);
            }
            Operation::Shutdown => {
                self.ask(token, |socket| shutdown(socket.as_raw_fd(), Shutdown::Write).map(|()| 0))
            }
            Operation::Reset => self.start_reset(token),
            Operation::Unacknowledged => self.ask(token, sockets::unacknowledged),
            Operation::Guard(guard) => self.ask(token, |socket| sockets::guard(socket, guard)),
            Operation::Addresses => {
                let socket = self.slots.socket(conn, side);
                let found = with(socket, |socket| address::four_tuple(socket.as_fd()));
                if let Ok(found) = found {
                    self.addresses.keep(token, found);
                }
                self.complete(token, found.map(|_| 0));
            }
            Operation::Cancel(kinds) => {
                self.cancel(conn, side, kinds);
                self.complete(token, Ok(0));
            }
            Operation::Close => self.start_close(token),
        }
    }

    fn addresses(&mut self, token: Token) -> Option<FourTuple> {
        self.addresses.take(token)
    }

    fn end_splices(&mut self, conn: ConnIndex) {
        self.descriptors.end_splices(conn);
    }
}

/// What `ask` says of a socket: `EBADF` without one.
fn with<T>(
    socket: Option<&OwnedFd>,
    ask: impl FnOnce(&OwnedFd) -> Result<T, Errno>,
) -> Result<T, Errno> {
    socket.map_or(Err(Errno::EBADF), ask)
}

impl EpollRing {
    /// Completes with what one system call says.
    fn ask(&mut self, token: Token, ask: impl FnOnce(&OwnedFd) -> Result<u32, Errno>) {
        let said = with(self.slots.socket(token.conn, token.side), ask);
        self.complete(token, said);
    }

    fn start_open(&mut self, token: Token, server: ServerId, from: Source) {
        let Token { conn, side, .. } = token;
        let is_client = side == Side::Client;
        assert!(!is_client || self.doors.gates.len() == 0, "client slots belong to accepts");
        let server = self.memory.servers.get(server);
        let opened = sockets::opened(&server.address, server.source(from));
        let opened = opened.and_then(|socket| {
            let slot = self.slots.get_mut(conn, side).ok_or(Errno::EBADF)?;
            // Not at the connect, where a lack of watches would seem to be the server's fault.
            self.poller.watch_socket(&socket, conn, side)?;
            *slot = Slot::with(socket);
            Ok(0)
        });
        if is_client && opened.is_ok() {
            self.slots.take(conn);
        }
        self.complete(token, opened);
    }

    fn start_connect(&mut self, token: Token, server: ServerId) {
        let Token { conn, side, .. } = token;
        self.self_connects.begun(token, server);
        if let Some(slot) = self.slots.get_mut(conn, side) {
            slot.begin_connect();
        }
        let address = &self.memory.servers.get(server).address;
        let socket = self.slots.socket(conn, side);
        match with(socket, |socket| sockets::begin_connect(socket, address)) {
            Ok(false) => self.slots.at(conn, side).wait(token),
            ended => self.finish_connect(token, ended.map(|_| 0)),
        }
    }

    /// Waits until poll(2) says one of these bits.
    fn start_wait(&mut self, token: Token, wanted: u32) {
        let Some(slot) = self.slots.get_mut(token.conn, token.side) else {
            return self.complete(token, Err(Errno::EBADF));
        };
        let Some(socket) = &slot.socket else { return self.complete(token, Err(Errno::EBADF)) };
        let reads = token.kind == OpKind::WaitReadable;
        // Before the first edge too: no server is to hear of a client that has gone.
        if !reads || slot.is_readable() || slot.is_new() {
            // The bits that end a wait for room leave out the peer's FIN, which poll(2) would tell.
            let bits = sockets::bits_now(socket, wanted) & wanted;
            let bits = if reads { sockets::with_end(socket, bits, wanted) } else { bits };
            if bits != 0 {
                return self.complete(token, Ok(bits));
            }
            if reads {
                slot.is_empty_now();
            }
        }
        slot.wait(token);
    }

    fn start_watch(&mut self, token: Token) {
        let Token { conn, side, .. } = token;
        if self.slots.socket(conn, side).is_none() {
            return self.complete(token, Err(Errno::EBADF));
        }
        let slot = self.slots.at(conn, side);
        slot.wait(token);
        slot.begin_watch(|socket| sockets::bits_now(socket, HANGUP) & HANGUP);
        self.tell_hangup(conn, side);
    }

    fn start_receive(&mut self, token: Token) {
        let Token { conn, side, .. } = token;
        if self.slots.socket(conn, side).is_none() {
            return self.complete(token, Err(Errno::EBADF));
        }
        if !self.slots.at(conn, side).is_readable() || !self.try_receive(token) {
            self.slots.at(conn, side).wait(token);
        }
    }

    fn start_splice(&mut self, token: Token) {
        if !self.descriptors.splice(token) {
            return;
        }
        for side in Side::BOTH {
            let descriptor = match self.slots.get_mut(token.conn, side) {
                Some(Slot { socket: Some(socket), .. }) => {
                    socket.try_clone().map_err(|error| errno_of(&error))
                }
                _ => Err(Errno::EBADF),
            };
            self.descriptors.made(Token { side, ..token }, descriptor);
        }
    }

    /// Resets, which ends what waits as an edge would.
    fn start_reset(&mut self, token: Token) {
        let Token { conn, side, .. } = token;
        let socket = self.slots.socket(conn, side);
        let result = with(socket, sockets::reset);
        let bits = socket.map_or(0, |socket| sockets::bits_now(socket, READABLE | WRITABLE));
        self.complete(token, result);
        self.edge(conn, side, bits);
    }

    fn start_close(&mut self, token: Token) {
        let Token { conn, side, .. } = token;
        self.addresses.forget(conn, side);
        self.descriptors.close(conn, side);
        self.end_lend(conn, side);
        let slot = self.slots.get_mut(conn, side).map(std::mem::take).unwrap_or_default();
        debug_assert!(slot.waiting.is_empty(), "{:?} waits at a close", slot.waiting);
        let Some(socket) = slot.socket else { return self.complete(token, Err(Errno::EBADF)) };
        // A close alone does not end the watch where the socket has another descriptor: a splice's,
        // a lent one, or for a moment that of a child before its exec.
        self.poller.forget(&socket);
        drop(socket);
        self.complete(token, Ok(0));
    }

    /// A completion goes to the worker: a client slot whose close it hears of is free.
    pub(super) fn told(&mut self, completion: &Completion) {
        if let Completion::Done(done) = completion
            && (done.token.kind, done.token.side) == (OpKind::Close, Side::Client)
            && done.result.is_ok()
        {
            self.slots.give_back(done.token.conn);
        }
    }
}
