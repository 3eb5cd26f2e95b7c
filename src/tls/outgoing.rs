//! Sends to secured sides, and the ends of their directions.

use super::fault::Alert;
use super::keyring::Whose;
use super::record::{ALERT_BYTES, HEAD_BYTES, PLAIN_MAX, TAIL_BYTES, tail_bytes};
use super::secured::{Secured, done, whose};
use super::sessions::{AWAY, BROKEN, END_CANCELLED, HUNGRY};
use super::work::{Output, Then};
use crate::base::{BAD_RECORD, Chunk, Errno, OpKind, Operation};
use crate::ring::{Done, Ring, Token};

/// How long a slot that is to be closed waits for close_notify to have room, in seconds.
const CLOSE_SECONDS: u64 = 5;

/// Bytes of data that are sealed for one send, at most: the kernel makes a segment of so many, and
/// of fewer where it gets them one record at a time.
const SEALED_MAX: u32 = 4 * PLAIN_MAX as u32;
/// Bytes of data in a record where memory is short.
const FEW_BYTES: u32 = 1024;
/// And where it is shorter.
const FEWEST_BYTES: u32 = 64;

/// Whether a send that failed so may be tried again.
fn may_pass(error: Errno) -> bool {
    matches!(error, Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM)
}

impl<R: Ring> Secured<R> {
    pub(super) fn send(&mut self, token: Token, chunk: Chunk) {
        let live = self.sessions.at(whose(token));
        if let Some(output) = live.output().filter(|output| output.then == Then::Tell) {
            return self.below.start(token, Operation::Send(output.sealed));
        }
        if live.has(BROKEN) || live.session.is_closed() {
            let error = live.fault().map_or(Errno::EPIPE, |_| BAD_RECORD);
            return self.make(token, Err(error));
        }
        let stretched = self.stretch(whose(token), chunk);
        let is_given = stretched.is_some();
        let Some((wide, length_bytes)) = stretched.or_else(|| self.widen(chunk)) else {
            self.sessions.at(whose(token)).set(HUNGRY, true);
            return self.make(token, Err(Errno::ENOBUFS));
        };
        self.sessions.at(whose(token)).set(HUNGRY, false);
        let (mut live, awake) = self.sessions.awake(whose(token));
        let memory = self.below.bytes_mut(wide);
        let place = HEAD_BYTES..HEAD_BYTES + length_bytes as usize;
        let (range, plain_bytes) = live.session.seal_all(awake, memory, place);
        let start_bytes = wide.start_bytes + range.start as i32; // within the head's bytes
        let sealed = Chunk { start_bytes, length_bytes: range.len() as u32, ..wide };
        let (from, then, plain_bytes) = (chunk.buffer, Then::Tell, plain_bytes as u32);
        let output = Output { sealed, plain_bytes, from, is_given, then };
        live.work().output = Some(output);
        self.below.start(token, Operation::Send(sealed));
    }

    /// A chunk with room for being sealed where it lies, and how many bytes it has. `None`: there
    /// is no such room, or a part of it must wait for the next key.
    fn stretch(&self, whose: Whose, chunk: Chunk) -> Option<(Chunk, u32)> {
        let session = &self.sessions.get(whose)?.session;
        let length_bytes = chunk.length_bytes;
        let is_whole = length_bytes <= SEALED_MAX && session.seals_all(length_bytes as usize);
        let tail = tail_bytes(length_bytes as usize) as u32;
        let wide = self.below.stretch(chunk, HEAD_BYTES as u32, tail).filter(|_| is_whole)?;
        Some((wide, length_bytes))
    }

    /// Memory in which the first bytes of a chunk are sealed, and how many: fewer where there is
    /// little of it.
    fn widen(&mut self, chunk: Chunk) -> Option<(Chunk, u32)> {
        let (head, most) = (HEAD_BYTES as u32, chunk.length_bytes.min(SEALED_MAX));
        let widened = [most, FEW_BYTES, FEWEST_BYTES].into_iter().find_map(|most| {
            let length_bytes = chunk.length_bytes.min(most);
            let tail = tail_bytes(length_bytes as usize) as u32;
            let wide = self.below.widen(Chunk { length_bytes, ..chunk }, head, tail)?;
            Some((wide, length_bytes))
        });
        if widened.is_some() {
            return widened;
        }
        let tail = TAIL_BYTES as u32;
        let most = self.below.buffer_bytes().checked_sub(head + tail).filter(|most| *most > 0)?;
        let length_bytes = chunk.length_bytes.min(PLAIN_MAX as u32).min(most);
        let plain = self.below.bytes(Chunk { length_bytes, ..chunk }).to_vec();
        let wide = self.below.fill(head + length_bytes + tail, |memory| {
            memory[HEAD_BYTES..HEAD_BYTES + plain.len()].copy_from_slice(&plain);
        })?;
        Some((wide, length_bytes))
    }

    pub(super) fn sent(&mut self, sent: Done) -> Option<Done> {
        let whose = whose(sent.token);
        let Some(output) = self.sessions.at(whose).output() else { return Some(sent) };
        match output.then {
            Then::Tell => Some(self.sent_data(sent, output)),
            Then::End => {
                self.sent_end(sent, output);
                None
            }
            Then::Fail(token) => {
                self.drop_output(whose, output);
                Some(done(token, Err(BAD_RECORD), None))
            }
            Then::Close => {
                self.sent_last(sent, output);
                None
            }
        }
    }

    fn sent_data(&mut self, sent: Done, output: Output) -> Done {
        let whose = whose(sent.token);
        let sent_bytes = match sent.result {
            Ok(sent_bytes) => sent_bytes,
            Err(error) if may_pass(error) => 0,
            Err(_) => {
                self.drop_output(whose, output);
                return sent;
            }
        };
        let Some(sealed) = output.sealed.after(sent_bytes) else {
            self.drop_output(whose, output);
            return Done { result: Ok(output.plain_bytes), ..sent };
        };
        // The last byte of data counts when all of the record is sent.
        let plain_sent = sent_bytes.min(output.plain_bytes - 1);
        let plain_bytes = output.plain_bytes - plain_sent;
        let work = self.sessions.work(whose);
        work.output = Some(Output { sealed, plain_bytes, ..output });
        self.stalled.insert(output.from, whose);
        match sent.result {
            Ok(_) if plain_sent > 0 => Done { result: Ok(plain_sent), ..sent },
            Ok(_) => Done { result: Err(Errno::EAGAIN), ..sent },
            Err(_) => sent,
        }
    }

    /// Nothing is being sent any more.
    fn drop_output(&mut self, whose: Whose, output: Output) {
        self.stalled.remove(&output.from);
        if !output.is_given {
            self.below.release(output.sealed.buffer);
        }
        self.sessions.at(whose).take_output();
    }

    /// Moves what waits out of the pool. Where all of it is sealed, the worker gets the sealed
    /// bytes for what it has; where only its beginning is, all of it is kept beside them.
    pub(super) fn park_sealed(&mut self, whose: Whose, chunk: Chunk) -> Option<Chunk> {
        let mut output = self.sessions.at(whose).output().expect("it waits");
        let parked = if output.is_given {
            output.sealed = self.below.park(output.sealed)?;
            Chunk { buffer: output.sealed.buffer, start_bytes: 0, ..chunk }
        } else if chunk.length_bytes == output.plain_bytes {
            self.below.release(chunk.buffer);
            let buffer = output.sealed.buffer;
            Chunk { buffer, start_bytes: 0, length_bytes: output.plain_bytes }
        } else {
            self.below.park(chunk)?
        };
        let from = parked.buffer;
        self.stalled.remove(&chunk.buffer);
        self.stalled.insert(from, whose);
        let is_given = from == output.sealed.buffer;
        self.sessions.work(whose).output = Some(Output { from, is_given, ..output });
        Some(parked)
    }

    /// The worker has given up what waited, in the middle of a record perhaps.
    pub(super) fn give_up(&mut self, whose: Whose) {
        let mut live = self.sessions.at(whose);
        live.set(BROKEN, true);
        if let Some(output) = live.take_output()
            && !output.is_given
        {
            self.below.release(output.sealed.buffer);
        }
    }

    /// Ends our direction: close_notify, then the FIN.
    pub(super) fn end(&mut self, token: Token) {
        self.sessions.at(whose(token)).set(END_CANCELLED, false);
        if self.say_close(token, Then::End) {
            return;
        }
        match self.can_say_close(token) {
            true => self.hungry.push((token, Operation::Shutdown)),
            false => self.below.start(token, Operation::Shutdown),
        }
    }

    /// Empties the slot, after close_notify where that is true. For room it waits only so long.
    pub(super) fn end_slot(&mut self, token: Token) {
        let live = self.sessions.at(whose(token));
        let output = live.output().filter(|output| output.then == Then::Close);
        if let Some(output) = output.filter(|_| !live.has(BROKEN)) {
            let send = Token { kind: OpKind::Send, ..token };
            return self.below.start(send, Operation::Send(output.sealed));
        }
        if self.say_close(token, Then::Close) {
            return;
        }
        match self.can_say_close(token) && self.may_wait(token) {
            true => self.hungry.push((token, Operation::Close)),
            false => self.close(token),
        }
    }

    /// Whether a slot that is to be closed may wait for close_notify.
    fn may_wait(&mut self, token: Token) -> bool {
        let now = self.sessions.seconds;
        let work = self.sessions.work(whose(token));
        now <= *work.closes_by.get_or_insert(now + CLOSE_SECONDS)
    }

    /// The close_notify with which a slot is closed was sent, all or some or none of it. What has
    /// no room in the socket is tried again once a second: a peer that reads gets all, and one that
    /// does not costs little.
    fn sent_last(&mut self, sent: Done, output: Output) {
        let token = Token { kind: OpKind::Close, ..sent.token };
        let rest = match sent.result {
            Ok(sent_bytes) => output.sealed.after(sent_bytes),
            Err(error) if may_pass(error) => Some(output.sealed),
            Err(_) => None,
        };
        let Some(sealed) = rest.filter(|_| self.may_wait(token)) else { return self.close(token) };
        self.sessions.work(whose(token)).output = Some(Output { sealed, ..output });
        match sent.result {
            Ok(_) | Err(Errno::EAGAIN) => self.full.push(token),
            Err(_) => self.hungry.push((token, Operation::Close)),
        }
    }

    /// Whether close_notify would be true, and can be said.
    fn can_say_close(&mut self, token: Token) -> bool {
        let live = self.sessions.at(whose(token));
        let is_whole = !live.has(BROKEN) && live.fault().is_none() && live.output().is_none();
        is_whole && !live.has(AWAY) && !live.session.is_closed()
    }

    /// Says close_notify where that is true. `false`: it is not, or there is no memory for it.
    pub(super) fn say_close(&mut self, token: Token, then: Then) -> bool {
        if !self.can_say_close(token) {
            return false;
        }
        self.alert(token, Alert::CLOSE_NOTIFY, then)
    }

    /// Says an alert. `false`: there is no memory for it.
    pub(super) fn alert(&mut self, token: Token, alert: Alert, then: Then) -> bool {
        let filled = self.below.fill(ALERT_BYTES as u32, |_| {});
        let Some(chunk) = filled.or_else(|| self.below.place(&[0; ALERT_BYTES])) else {
            return false;
        };
        let (mut live, awake) = self.sessions.awake(whose(token));
        let bytes = live.session.alert(awake, self.below.bytes_mut(chunk), alert);
        let sealed = Chunk { length_bytes: bytes as u32, ..chunk };
        let output = Output { sealed, plain_bytes: 0, from: chunk.buffer, is_given: false, then };
        live.work().output = Some(output);
        self.below.start(Token { kind: OpKind::Send, ..token }, Operation::Send(sealed));
        true
    }

    fn sent_end(&mut self, sent: Done, output: Output) {
        let (token, whose) = (sent.token, whose(sent.token));
        let end = Token { kind: OpKind::Shutdown, ..token };
        let rest = match sent.result {
            Ok(sent_bytes) => output.sealed.after(sent_bytes),
            Err(error) if may_pass(error) => Some(output.sealed),
            // The end fails as this did.
            Err(_) => None,
        };
        let Some(sealed) = rest else {
            self.drop_output(whose, output);
            return self.below.start(end, Operation::Shutdown);
        };
        if self.sessions.at(whose).has(END_CANCELLED) {
            return self.end_cancelled(end, Output { sealed, ..output });
        }
        self.sessions.work(whose).output = Some(Output { sealed, ..output });
        let wait = Token { kind: OpKind::WaitWritable, ..token };
        self.below.start(wait, Operation::WaitWritable);
    }

    /// The connection ends before close_notify is sent, which its slot waits for then.
    fn end_cancelled(&mut self, end: Token, output: Output) {
        let work = self.sessions.work(whose(end));
        work.output = Some(Output { then: Then::Close, ..output });
        self.make(end, Err(Errno::ECANCELED));
    }

    /// There is room for the rest of close_notify, if that waits.
    pub(super) fn writable(&mut self, writable: Done) -> Option<Done> {
        let whose = whose(writable.token);
        let output = self.sessions.at(whose).output();
        let Some(output) = output.filter(|output| output.then == Then::End) else {
            return Some(writable);
        };
        let token = writable.token;
        if self.sessions.at(whose).has(END_CANCELLED) {
            self.end_cancelled(Token { kind: OpKind::Shutdown, ..token }, output);
        } else {
            let send = Token { kind: OpKind::Send, ..token };
            self.below.start(send, Operation::Send(output.sealed));
        }
        None
    }
}
