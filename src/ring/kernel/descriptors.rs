//! Ordinary descriptors of sockets in slots, for work that a ring cannot do or does at a high cost.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket;

use super::cqe::done;
use super::layout::Place;
use super::memory::Memory;
use super::splices::Splices;
use super::sqe::{self, Tag};
use super::{KernelRing, address};
use crate::base::{Buffer, Chunk, ConnIndex, Errno, OpKind, Side};
use crate::ring::contract::{Completion, Done};
use crate::ring::token::Token;

/// The count of ordinary descriptors, their bound, and the requests for addresses that wait for
/// one.
///
/// Brief descriptors and those of splices and pipes together never exceed `most`: each is counted
/// here before it is made. One descriptor stays reserved for brief uses, so that bulk cannot starve
/// them.
///
/// When none is left, a FIN is sent by an io-wq thread, bulk is copied, and requests for addresses
/// wait.
pub(in crate::ring) struct Descriptors {
    most: u32,
    /// Brief descriptors: made to ask for addresses, to verify a connect, or to send a FIN, and
    /// closed at once.
    brief: u32,
    /// Questions for addresses that wait for a descriptor.
    waiting: VecDeque<Token>,
    splices: Splices,
}

impl Descriptors {
    /// At least one, so that questions for addresses are answered.
    pub(in crate::ring) fn new(most: u32, splices: Splices) -> Descriptors {
        Descriptors { most: most.max(1), brief: 0, waiting: VecDeque::new(), splices }
    }

    /// The splices, to be read.
    pub(in crate::ring) fn splices(&self) -> &Splices {
        &self.splices
    }

    fn left(&self) -> u32 {
        self.most.saturating_sub(self.brief + self.splices.descriptors())
    }

    fn left_for_splices(&self) -> u32 {
        self.left().saturating_sub(1)
    }

    /// Lends a descriptor for a moment, if one is left.
    fn lend(&mut self) -> bool {
        let lends = self.left() > 0;
        self.brief += u32::from(lends);
        lends
    }

    /// A descriptor that was lent is closed.
    fn give_back(&mut self) {
        self.brief -= 1;
    }

    /// The next question that waits, if a descriptor is left for it, which is lent.
    fn next_question(&mut self) -> Option<Token> {
        if self.waiting.is_empty() || !self.lend() {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Starts a splice. True when descriptors of both sockets must be made first.
    pub(in crate::ring) fn splice(&mut self, token: Token) -> bool {
        let room = self.left_for_splices();
        self.splices.start(token, room)
    }

    /// A descriptor that a splice waits for was made, or could not be.
    pub(in crate::ring) fn made(&mut self, token: Token, fd: Result<OwnedFd, Errno>) {
        self.splices.made(token.conn, token.side, fd);
    }

    /// Moves what fits out of a pipe.
    pub(in crate::ring) fn send_pipe(&mut self, token: Token, chunk: Chunk) {
        self.splices.send(token, chunk);
    }

    /// Moves what lies in a pipe into memory. `None` when that is at its bound.
    pub(in crate::ring) fn park_piped(
        &mut self,
        chunk: Chunk,
        memory: &mut Memory,
    ) -> Option<Chunk> {
        let parked = memory.take_in(chunk.length_bytes, |into| {
            self.splices.read(chunk.buffer, into);
        })?;
        self.splices.release(chunk.buffer);
        Some(parked)
    }

    /// Takes a pipe back.
    pub(in crate::ring) fn release_pipe(&mut self, buffer: Buffer) {
        self.splices.release(buffer);
    }

    /// Gives back what the splices of a connection took: questions may have their place.
    pub(in crate::ring) fn end_splices(&mut self, conn: ConnIndex) {
        self.splices.end(conn);
    }

    /// A slot is about to be closed. Its descriptor is closed: a question may have its place.
    pub(in crate::ring) fn close(&mut self, conn: ConnIndex, side: Side) {
        self.splices.close(conn, side);
    }

    /// Begins a turn.
    pub(in crate::ring) fn open_turn(&mut self) {
        self.splices.open_turn();
    }

    /// The next completion of a splice.
    pub(in crate::ring) fn next_splice(&mut self) -> Option<Done> {
        let room = self.left_for_splices();
        self.splices.next(room)
    }
}

impl KernelRing {
    /// Asks a socket for its addresses, for the worker or to verify a connect. It waits for a free
    /// descriptor behind earlier requests.
    pub(super) fn start_addresses(&mut self, token: Token) {
        self.descriptors.waiting.push_back(token);
        self.ask_waiting();
    }

    /// Asks the questions that waited, as far as descriptors have come free.
    pub(super) fn ask_waiting(&mut self) {
        while let Some(token) = self.descriptors.next_question() {
            self.install(token);
        }
    }

    /// Ends a socket's direction. The kernel hands its own SHUTDOWN to an io-wq thread every time;
    /// to make a descriptor, use it and close it spares that thread and the switches to it:
    /// connect, echo and close took 51 µs of CPU instead of 80 (`portcullis-bench churn
    /// --connections 64`, Linux 6.18, 2 cores).
    pub(super) fn start_shutdown(&mut self, token: Token) {
        if self.descriptors.lend() { self.install(token) } else { self.shut_by_thread(token) }
    }

    fn shut_by_thread(&mut self, token: Token) {
        let Place { table, slot } = self.tables.place(token.conn, token.side);
        self.push(table, sqe::shutdown(slot), token.pack());
    }

    /// Starts a splice, and has descriptors made for both sockets if they have none.
    pub(super) fn start_splice(&mut self, token: Token) {
        if self.descriptors.splice(token) {
            for side in Side::BOTH {
                self.install(Token { side, ..token });
            }
        }
    }

    fn install(&mut self, token: Token) {
        let Place { table, slot } = self.tables.place(token.conn, token.side);
        self.push(table, sqe::install(slot), Tag::Install.with(token.pack()));
    }

    /// A descriptor was made, or could not be (Linux before 6.8, EMFILE): its token says what for.
    pub(super) fn installed(
        &mut self,
        payload: u64,
        result: Result<u32, Errno>,
    ) -> Option<Completion> {
        let token = Token::unpack(payload)?;
        // SAFETY: only completions of `Tag::Install` come here, each once.
        let socket = result.map(|fd| unsafe { take(fd) });
        match token.kind {
            OpKind::Splice => {
                self.descriptors.made(token, socket);
                None
            }
            OpKind::Shutdown => {
                let shut = socket
                    .map(|socket| socket::shutdown(socket.as_raw_fd(), socket::Shutdown::Write));
                self.brief_is_over();
                let Ok(shut) = shut else {
                    self.shut_by_thread(token);
                    return None;
                };
                Some(done(payload, shut.map(|()| 0)))
            }
            OpKind::Connect => {
                let verified = self.verified(token, socket);
                self.brief_is_over();
                Some(done(payload, verified))
            }
            kind => {
                assert_eq!(kind, OpKind::Addresses, "nothing else takes a descriptor");
                let found = socket.and_then(|socket| address::four_tuple(socket.as_fd()));
                self.brief_is_over();
                if let Ok(found) = found {
                    self.addresses.keep(token, found);
                }
                Some(done(payload, found.map(|_| 0)))
            }
        }
    }

    /// A descriptor that lived for a moment is closed: the next question may have its place.
    fn brief_is_over(&mut self) {
        self.descriptors.give_back();
        self.ask_waiting();
    }
}

/// The descriptor that a FIXED_FD_INSTALL made.
///
/// # Safety
/// `fd` must be what such an operation completed with, and no one else may have asked for it.
pub(super) unsafe fn take(fd: u32) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for us, and the caller alone has heard of it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
