//! A ring over a ring that opens what secured sides send and seals what they get.
//!
//! A side is secured from [`Secured::secure`] until its slot is closed. Bytes of it are data to who
//! asks for them: a receive brings what whole records held, the end of the stream is close_notify,
//! and a FIN without it is an error. Sides that are not secured pass through untouched.
//!
//! `incoming` has receives, `outgoing` sends and ends, `moving` sides on their way to another
//! process.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::fault::Fault;
use super::gathered::Gathered;
use super::keyring::Whose;
use super::session::Session;
use super::sessions::{AWAITED, BROKEN, CANCELLED, END_CANCELLED, HUNGRY, Sessions};
use super::work::{Then, Work};
use crate::base::{Buffer, Chunk, ConnIndex, Errno, InFlight, OpKind, Operation, Side};
use crate::ring::{Completion, Done, Layer, Ring, Token};

/// How soon it is tried again to have memory for what is to be sent.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// poll(2): there is room.
const POLL_OUT: u32 = 4;

/// A ring with sessions of TLS over it.
#[derive(Debug)]
pub struct Secured<R> {
    pub(super) below: R,
    pub(super) sessions: Sessions,
    /// Completions of ours.
    made: VecDeque<Done>,
    /// Ends for which there was no memory, and waits for some.
    pub(super) hungry: Vec<(Token, Operation)>,
    /// Slots that are to be closed, whose close_notify had no room in the socket.
    pub(super) full: Vec<Token>,
    /// By what the worker has for them: sides of which sealed bytes wait.
    pub(super) stalled: HashMap<Buffer, Whose>,
}

pub(super) fn whose(token: Token) -> Whose {
    (token.conn, token.side)
}

impl<R: Ring> Secured<R> {
    /// No side is secured yet.
    pub fn new(below: R) -> Secured<R> {
        Secured {
            below,
            sessions: Sessions::default(),
            made: VecDeque::new(),
            hungry: Vec::new(),
            full: Vec::new(),
            stalled: HashMap::new(),
        }
    }

    /// Secures a side of a connection, in this generation of its slot, of which this was received
    /// already. Nothing of it is in flight but watches.
    ///
    /// # Panics
    /// When it is secured.
    pub fn secure(
        &mut self,
        (conn, generation): (ConnIndex, u32),
        side: Side,
        session: Session,
        received: &[u8],
    ) {
        let input = Gathered::of(&[], received);
        let work = Work { input, ..Work::default() };
        self.sessions.put((conn, side), generation, session, work);
    }

    /// The ring below.
    pub fn below_ring(&mut self) -> &mut R {
        &mut self.below
    }

    /// The session of a side, if it is secured.
    pub fn session(&self, conn: ConnIndex, side: Side) -> Option<&Session<[u8]>> {
        self.sessions.get((conn, side)).map(|kept| &kept.session)
    }

    /// What was wrong with a side's records.
    pub fn fault(&self, conn: ConnIndex, side: Side) -> Option<Fault> {
        self.sessions.working((conn, side))?.fault
    }

    /// Sides that are secured, and how many of them have expanded keys.
    pub fn counts(&self) -> (usize, usize) {
        (self.sessions.count(), self.sessions.keys.awake())
    }

    /// Whether a side has sent something that nobody has taken yet, as a part of a record.
    pub fn owes(&self, conn: ConnIndex) -> bool {
        let owes = |side: &Side| self.sessions.gathered_by((conn, *side)) > 0;
        !self.sessions.is_empty() && Side::BOTH.iter().any(owes)
    }

    /// Bytes of records that are not whole, or that nobody has taken yet.
    pub fn gathered_bytes(&self) -> usize {
        self.sessions.gathered_bytes
    }

    /// A connection that waits for the rest of a record for too long, or longest where what all of
    /// them have sent of such takes too much memory. To be asked until there is none, once a
    /// second; each is named once.
    pub fn overdue(&mut self) -> Option<ConnIndex> {
        self.sessions.overdue()
    }

    /// Completes an operation here.
    pub(super) fn make(&mut self, token: Token, result: Result<u32, Errno>) {
        self.made.push_back(done(token, result, None));
    }

    /// The same with the buffer that it filled.
    pub(super) fn make_received(&mut self, token: Token, bytes: u32, buffer: Buffer) {
        self.made.push_back(done(token, Ok(bytes), Some(buffer)));
    }

    /// What was not done for want of memory is tried again.
    fn feed(&mut self) {
        for (token, operation) in std::mem::take(&mut self.hungry) {
            match operation {
                Operation::WaitWritable => self.make(token, Ok(POLL_OUT)),
                _ => Layer::start(self, token, operation),
            }
        }
    }

    fn cancel(&mut self, token: Token, kinds: InFlight) {
        let whose = whose(token);
        let mut live = self.sessions.at(whose);
        if kinds.has(OpKind::Receive) {
            live.set(CANCELLED, true);
        }
        let is_ending = live.output().is_some_and(|output| output.then == Then::End);
        let mut below = kinds;
        if kinds.has(OpKind::Shutdown) && is_ending {
            live.set(END_CANCELLED, true);
            below = below.or(InFlight::only(OpKind::WaitWritable));
        }
        let is_its = |waits: &Token| waits.conn == token.conn && waits.side == token.side;
        for place in (0..self.hungry.len()).rev() {
            let (waits, _) = self.hungry[place];
            if is_its(&waits) && kinds.has(waits.kind) {
                self.hungry.remove(place);
                self.make(waits, Err(Errno::ECANCELED));
            }
        }
        self.below.start(token, without_ends(Operation::Cancel(below)));
    }

    /// The slot is closed, and its session is over.
    pub(super) fn close(&mut self, token: Token) {
        self.drop_session(whose(token));
        self.below.start(token, Operation::Close);
    }

    /// A session is over, and nothing more is said in it.
    pub(super) fn drop_session(&mut self, whose: Whose) {
        if let Some(output) = self.sessions.take(whose) {
            self.stalled.remove(&output.from);
            if !output.is_given {
                self.below.release(output.sealed.buffer);
            }
        }
    }
}

/// Cancels no end: one that is below has begun, and completes by itself.
fn without_ends(operation: Operation) -> Operation {
    match operation {
        Operation::Cancel(kinds) => Operation::Cancel(kinds.without(OpKind::Shutdown)),
        operation => operation,
    }
}

/// A completion of ours.
pub(super) fn done(token: Token, result: Result<u32, Errno>, buffer: Option<Buffer>) -> Done {
    Done { token, result, buffer, full: false, more: false }
}

impl<R: Ring> Layer for Secured<R> {
    type Below = R;

    fn below(&self) -> &R {
        &self.below
    }

    fn below_mut(&mut self) -> &mut R {
        &mut self.below
    }

    fn start(&mut self, token: Token, operation: Operation) {
        if self.sessions.is_empty() || !self.sessions.has_any(token.conn) {
            return self.below.start(token, without_ends(operation));
        }
        match operation {
            // Bytes in a pipe cannot be sealed, nor opened.
            Operation::Splice => self.make(token, Err(Errno::EMFILE)),
            _ if !self.sessions.has(whose(token)) => {
                self.below.start(token, without_ends(operation));
            }
            Operation::Receive => self.receive(token),
            Operation::WaitReadable => self.wait_readable(token),
            Operation::Send(chunk) => self.send(token, chunk),
            Operation::Shutdown => self.end(token),
            Operation::Cancel(kinds) => self.cancel(token, kinds),
            Operation::Reset => {
                self.sessions.at(whose(token)).set(BROKEN, true);
                self.below.start(token, operation);
            }
            Operation::WaitWritable if self.sessions.at(whose(token)).has(HUNGRY) => {
                self.hungry.push((token, operation));
            }
            Operation::Close => self.end_slot(token),
            _ => self.below.start(token, operation),
        }
    }

    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        let wait = match wait {
            _ if !self.made.is_empty() => Some(Duration::ZERO),
            Some(wait) if !self.hungry.is_empty() => Some(wait.min(TRY_AGAIN)),
            None if !self.hungry.is_empty() => Some(TRY_AGAIN),
            wait => wait,
        };
        self.below.turn(wait)?;
        self.feed();
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(done) = self.made.pop_front() {
                return Some(Completion::Done(done));
            }
            let completion = self.below.next()?;
            let Completion::Done(done) = completion else { return Some(completion) };
            if self.sessions.is_empty() || !self.sessions.is_of(done.token) {
                return Some(completion);
            }
            let done = match done.token.kind {
                OpKind::Receive => self.received(done),
                OpKind::Send => self.sent(done),
                OpKind::WaitWritable => self.writable(done),
                OpKind::WaitReadable => {
                    self.sessions.at(whose(done.token)).set(AWAITED, false);
                    Some(done)
                }
                _ => Some(done),
            };
            if let Some(done) = done {
                return Some(Completion::Done(done));
            }
        }
    }

    fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        match self.stalled.get(&chunk.buffer) {
            Some(&whose) => self.park_sealed(whose, chunk),
            None => self.below.park(chunk),
        }
    }

    fn release(&mut self, buffer: Buffer) {
        if let Some(whose) = self.stalled.remove(&buffer) {
            self.give_up(whose);
        }
        self.below.release(buffer);
    }

    fn ahead(&self, conn: ConnIndex, side: Side, into: &mut Vec<u8>) -> Result<(), Errno> {
        // Of a secured side that is no data yet, and goes with its session.
        if self.sessions.has((conn, side)) { Ok(()) } else { self.below.ahead(conn, side, into) }
    }

    fn forget(&mut self, conn: ConnIndex, side: Side) {
        self.drop_session((conn, side));
        self.below.forget(conn, side);
    }

    fn trim(&mut self) {
        self.sessions.trim();
        for token in std::mem::take(&mut self.full) {
            self.end_slot(token);
        }
        self.below.trim();
    }
}
