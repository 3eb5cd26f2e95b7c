//! Ordinary descriptors of sockets in slots, for what the ring has no operation for, or a dear one.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket;

use super::completions::done;
use super::entries::{self, Tag};
use super::{KernelRing, address};
use crate::base::{Errno, OpKind, Side};
use crate::ring::contract::Completion;
use crate::ring::token::Token;

/// How many there may be, and who waits for one.
///
/// Whoever finds none left goes another way: a FIN by an io-wq thread, bulk by copies; addresses
/// wait.
pub(super) struct Installs {
    /// Descriptors at most, those of splices and their pipes among them.
    most: u32,
    /// Those that live for a moment: made to ask for addresses, to verify a connect, or to send a
    /// FIN.
    brief: u32,
    /// Questions for addresses that wait for a descriptor.
    waiting: VecDeque<Token>,
}

impl Installs {
    /// At least one, so that questions for addresses are answered.
    pub(super) fn new(most: u32) -> Installs {
        Installs { most: most.max(1), brief: 0, waiting: VecDeque::new() }
    }
}

impl KernelRing {
    /// Descriptors that may still be made for splices and pipes. One is always kept: what lives
    /// for a moment must not wait for what lives as long as bulk.
    pub(super) fn descriptors_for_splices(&self) -> u32 {
        self.descriptors_left().saturating_sub(1)
    }

    fn descriptors_left(&self) -> u32 {
        self.installs.most.saturating_sub(self.installs.brief + self.splices.descriptors())
    }

    /// Asks a socket for its addresses, when a descriptor is free for it and nobody waits for one:
    /// for the worker, or to verify a connect.
    pub(super) fn start_name(&mut self, token: Token) {
        self.installs.waiting.push_back(token);
        self.ask_waiting();
    }

    /// Asks the questions that waited, as far as descriptors have come free.
    pub(super) fn ask_waiting(&mut self) {
        while self.descriptors_left() > 0
            && let Some(token) = self.installs.waiting.pop_front()
        {
            self.installs.brief += 1;
            self.install(token);
        }
    }

    /// Ends a socket's direction. The kernel hands its own SHUTDOWN to an io-wq thread every time;
    /// to make a descriptor, use it and close it spares that thread and the switches to it:
    /// connect, echo and close took 51 µs of CPU instead of 80 (`portcullis-bench churn
    /// --connections 64`, Linux 6.18, 2 cores).
    pub(super) fn start_shutdown(&mut self, token: Token) {
        if self.descriptors_left() == 0 {
            return self.shut_by_thread(token);
        }
        self.installs.brief += 1;
        self.install(token);
    }

    fn shut_by_thread(&mut self, token: Token) {
        let (table, local) = self.locate(token.conn);
        let slot = self.slot(table, local, token.side);
        self.push(table, entries::shutdown(slot), token.pack());
    }

    /// Starts a splice, and has descriptors made for both sockets if they have none.
    pub(super) fn start_splice(&mut self, token: Token) {
        if self.splices.start(token, self.descriptors_for_splices()) {
            for side in Side::BOTH {
                self.install(Token { side, ..token });
            }
        }
    }

    fn install(&mut self, token: Token) {
        let (table, local) = self.locate(token.conn);
        let slot = self.slot(table, local, token.side);
        self.push(table, entries::install(slot), Tag::Install.with(token.pack()));
    }

    /// A descriptor was made, or could not be (Linux before 6.8, EMFILE): its token says what for.
    pub(super) fn installed(
        &mut self,
        payload: u64,
        result: Result<u32, Errno>,
    ) -> Option<Completion> {
        let token = Token::unpack(payload)?;
        // SAFETY: only completions of `Tag::Install` come here, each once.
        let socket = result.map(|fd| unsafe { own(fd) });
        match token.kind {
            OpKind::Splice => {
                self.splices.made(token.conn, token.side, socket);
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
                    self.addresses.push_back((token, found));
                }
                Some(done(payload, found.map(|_| 0)))
            }
        }
    }

    /// A descriptor that lived for a moment is closed: the next question may have its place.
    fn brief_is_over(&mut self) {
        self.installs.brief -= 1;
        self.ask_waiting();
    }
}

/// The descriptor that a FIXED_FD_INSTALL made.
///
/// # Safety
/// `fd` must be what such an operation completed with, and no one else may have asked for it.
pub(super) unsafe fn own(fd: u32) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for us, and the caller alone has heard of it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
