//! Receives of secured sides.

use super::fault::Fault;
use super::gathered::open_all;
use super::keyring::Whose;
use super::secured::{Secured, done, whose};
use super::sessions::{AWAITED, BROKEN, CANCELLED};
use super::work::Then;
use crate::base::{BAD_RECORD, Buffer, CUT_OFF, Chunk, Errno, Operation};
use crate::ring::{Done, Ring, Token};

/// poll(2): there is something to read.
const POLL_IN: u32 = 1;

/// What is said of a receive that brought no data.
enum Nothing {
    /// It goes on.
    Wait,
    /// This.
    Says(Result<u32, Errno>),
    /// The side's records are wrong.
    Fails(Fault),
}

impl<R: Ring> Secured<R> {
    pub(super) fn receive(&mut self, token: Token) {
        let whose = whose(token);
        let mut live = self.sessions.at(whose);
        live.set(CANCELLED, false);
        if live.is_read() {
            return self.receive_below(token);
        }
        if let Some((bytes, buffer)) = self.take_gathered(whose) {
            return match buffer {
                Some(buffer) => self.make_received(token, bytes, buffer),
                None => self.make(token, Err(Errno::ENOBUFS)),
            };
        }
        self.receive_below(token);
    }

    /// Nothing that is here is data.
    fn receive_below(&mut self, token: Token) {
        match self.nothing(whose(token)) {
            Nothing::Wait => {
                self.sessions.at(whose(token)).set(AWAITED, true);
                self.below.start(token, Operation::Receive);
            }
            Nothing::Says(result) => self.make(token, result),
            Nothing::Fails(fault) => self.fail(token, fault),
        }
    }

    fn nothing(&mut self, whose: Whose) -> Nothing {
        let live = self.sessions.at(whose);
        match live.fault() {
            Some(fault) => Nothing::Fails(fault),
            None if live.session.is_closed_by_peer() => Nothing::Says(Ok(0)),
            None if live.has(CANCELLED) => Nothing::Says(Err(Errno::ECANCELED)),
            None => Nothing::Wait,
        }
    }

    /// What was gathered and is data, in a buffer; `None` for that: none is free.
    fn take_gathered(&mut self, whose: Whose) -> Option<(u32, Option<Buffer>)> {
        let before = self.sessions.gathered_by(whose);
        let (mut live, awake) = self.sessions.awake(whose);
        let plain_bytes = live.open_gathered(awake);
        let mut taken = None;
        if plain_bytes > 0 {
            let most = self.below.buffer_bytes().min(plain_bytes as u32);
            let input = &mut live.work().input;
            let chunk = self.below.fill(most, |memory| {
                input.take(memory);
            });
            taken = Some((most, chunk.map(|chunk| chunk.buffer)));
        }
        self.sessions.count_gathered(whose, before, plain_bytes > 0);
        taken
    }

    pub(super) fn received(&mut self, done: Done) -> Option<Done> {
        let whose = whose(done.token);
        self.sessions.at(whose).set(AWAITED, false);
        let (bytes, buffer) = match (done.result, done.buffer) {
            (Ok(bytes), Some(buffer)) => (bytes, buffer),
            (Ok(0), None) if !self.sessions.at(whose).session.is_closed_by_peer() => {
                self.sessions.at(whose).set(BROKEN, true);
                return Some(Done { result: Err(CUT_OFF), ..done });
            }
            _ => return Some(done),
        };
        let chunk = Chunk { buffer, start_bytes: 0, length_bytes: bytes };
        if !self.sessions.at(whose).is_read() {
            return self.received_more(done, chunk);
        }
        let (mut live, awake) = self.sessions.awake(whose);
        let memory = self.below.bytes_mut(chunk);
        let pass = open_all(live.session, awake, memory);
        live.note(pass.end);
        let plain_bytes = pass.plain.len();
        if pass.end.is_none() && pass.used_bytes < memory.len() {
            live.work().input.push(&memory[pass.used_bytes..]);
            self.sessions.count_gathered(whose, 0, plain_bytes > 0);
        }
        if plain_bytes > 0 {
            self.below.bytes_mut(chunk).copy_within(pass.plain, 0);
            return Some(Done { result: Ok(plain_bytes as u32), full: false, ..done });
        }
        self.below.release(buffer);
        self.received_nothing(done)
    }

    /// Something that may end a record was received.
    fn received_more(&mut self, done: Done, chunk: Chunk) -> Option<Done> {
        let whose = whose(done.token);
        let before = self.sessions.gathered_by(whose);
        self.sessions.work(whose).input.push(self.below.bytes(chunk));
        self.below.release(chunk.buffer);
        self.sessions.count_gathered(whose, before, false);
        match self.take_gathered(whose) {
            Some((bytes, Some(buffer))) => {
                Some(Done { result: Ok(bytes), buffer: Some(buffer), full: false, ..done })
            }
            Some((_, None)) => Some(Done { result: Err(Errno::ENOBUFS), buffer: None, ..done }),
            None => self.received_nothing(done),
        }
    }

    fn received_nothing(&mut self, received: Done) -> Option<Done> {
        let token = received.token;
        match self.nothing(whose(token)) {
            Nothing::Wait => {
                self.sessions.at(whose(token)).set(AWAITED, true);
                self.below.start(token, Operation::Receive);
                None
            }
            Nothing::Says(result) => Some(done(token, result, None)),
            Nothing::Fails(fault) => {
                self.fail(token, fault);
                None
            }
        }
    }

    pub(super) fn wait_readable(&mut self, token: Token) {
        let live = self.sessions.at(whose(token));
        let is_over = live.session.is_closed_by_peer() || live.fault().is_some();
        if is_over || !live.is_read() && self.has_whole(token) {
            return self.make(token, Ok(POLL_IN));
        }
        self.sessions.at(whose(token)).set(AWAITED, true);
        self.sessions.sleep(whose(token));
        self.below.start(token, Operation::WaitReadable);
    }

    /// Whether a receive has something to say of what was gathered.
    fn has_whole(&mut self, token: Token) -> bool {
        let whose = whose(token);
        let before = self.sessions.gathered_by(whose);
        let (mut live, awake) = self.sessions.awake(whose);
        let plain_bytes = live.open_gathered(awake);
        let is_over = live.fault().is_some() || live.session.is_closed_by_peer();
        self.sessions.count_gathered(whose, before, plain_bytes > 0);
        plain_bytes > 0 || is_over
    }

    /// A receive fails, after the peer was told why where that can be.
    fn fail(&mut self, token: Token, fault: Fault) {
        let mut live = self.sessions.at(whose(token));
        let can_tell = !live.has(BROKEN) && live.output().is_none() && !live.session.is_closed();
        live.set(BROKEN, true);
        let alert = fault.alert().filter(|_| can_tell);
        let is_said = alert.is_some_and(|alert| self.alert(token, alert, Then::Fail(token)));
        if !is_said {
            self.make(token, Err(BAD_RECORD));
        }
    }
}
