//! Sends to secured sides, and the ends of their directions.

use super::fault::Alert;
use super::keyring::Whose;
use super::record::{ALERT_BYTES, HEAD_BYTES, PLAIN_MAX, TAIL_BYTES};
use super::secured::{Secured, done, whose};
use super::sessions::{BROKEN, END_CANCELLED, Output, Then};
use crate::base::{BAD_RECORD, Chunk, Errno, OpKind, Operation};
use crate::ring::{Done, Ring, Token};

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
            return self.make(token, Err(Errno::EPIPE));
        }
        let length_bytes = chunk.length_bytes.min(PLAIN_MAX as u32);
        let plain = Chunk { length_bytes, ..chunk };
        let (head, tail) = (HEAD_BYTES as u32, TAIL_BYTES as u32);
        let Some(wide) = self.below.widen(plain, head, tail) else {
            return self.hungry.push((token, Operation::Send(chunk)));
        };
        let (live, awake) = self.sessions.awake(whose(token));
        let memory = self.below.bytes_mut(wide);
        let place = HEAD_BYTES..HEAD_BYTES + length_bytes as usize;
        let range = live.session.seal(awake, memory, place);
        let (start_bytes, sealed_bytes) = (range.start as u32, range.len() as u32);
        let sealed = Chunk { start_bytes, length_bytes: sealed_bytes, ..wide };
        let (from, then) = (chunk.buffer, Then::Tell);
        let output = Output { sealed, plain_bytes: length_bytes, from, is_given: false, then };
        live.work().output = Some(output);
        self.below.start(token, Operation::Send(sealed));
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
                self.close(Token { kind: OpKind::Close, ..sent.token });
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
        let work = self.sessions.at(whose).work();
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
        self.sessions.at(whose).work().output = None;
    }

    /// The worker is to keep nothing in the pool for sealed bytes that wait: it gets these for what
    /// it has. What is more than the one record is nowhere else, and is parked. `None`: there is no
    /// memory for that.
    pub(super) fn give_sealed(&mut self, whose: Whose, chunk: Chunk) -> Option<Chunk> {
        let work = self.sessions.at(whose).work();
        let output = work.output.as_mut().expect("it waits");
        if output.is_given {
            return Some(chunk);
        }
        if chunk.length_bytes > output.plain_bytes {
            let parked = self.below.park(chunk)?;
            output.from = parked.buffer;
            self.stalled.remove(&chunk.buffer);
            self.stalled.insert(parked.buffer, whose);
            return Some(parked);
        }
        let buffer = output.sealed.buffer;
        (output.from, output.is_given) = (buffer, true);
        let length_bytes = output.plain_bytes;
        self.stalled.remove(&chunk.buffer);
        self.stalled.insert(buffer, whose);
        self.below.release(chunk.buffer);
        Some(Chunk { buffer, start_bytes: 0, length_bytes })
    }

    /// The worker has given up what waited, in the middle of a record perhaps.
    pub(super) fn give_up(&mut self, whose: Whose) {
        let live = self.sessions.at(whose);
        live.set(BROKEN, true);
        if let Some(output) = live.work().output.take()
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

    /// Whether close_notify would be true, and can be said.
    fn can_say_close(&mut self, token: Token) -> bool {
        let live = self.sessions.at(whose(token));
        let is_whole = !live.has(BROKEN) && live.fault.is_none() && live.output().is_none();
        is_whole && !live.session.is_closed()
    }

    /// Says close_notify where that is true. `false`: it is not, or there is no memory for it.
    pub(super) fn say_close(&mut self, token: Token, then: Then) -> bool {
        if !self.can_say_close(token) {
            return false;
        }
        let (live, awake) = self.sessions.awake(whose(token));
        let mut bytes = 0;
        let chunk = self.below.fill(ALERT_BYTES as u32, |memory| {
            bytes = live.session.alert(awake, memory, Alert::CLOSE_NOTIFY);
        });
        let Some(chunk) = chunk else { return false };
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
            return self.end_cancelled(end, output);
        }
        self.sessions.at(whose).work().output = Some(Output { sealed, ..output });
        let wait = Token { kind: OpKind::WaitWritable, ..token };
        self.below.start(wait, Operation::WaitWritable);
    }

    fn end_cancelled(&mut self, end: Token, output: Output) {
        self.drop_output(whose(end), output);
        self.sessions.at(whose(end)).set(BROKEN, true);
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
