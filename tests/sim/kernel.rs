//! The simulated kernel: runs what was submitted, moves the world on, posts completions.

use std::sync::atomic::Ordering;

use portcullis::base::{Buffer, Errno, OpKind, Side};
use portcullis::conn::Wiring;
use portcullis::ring::{Completion, ConnIndex, Done, Operation, ServerId, Token};

use crate::fault::Fault;
use crate::hellos::Speech;
use crate::link::{ERR, HUP, IN, Link, OUT, RDHUP};
use crate::peer::{Peer, Step};
use crate::postgres;
use crate::random::{Random, mix};
use crate::ring::{Op, Posted, SimRing, Submitted};
use crate::secure::{self, Dialect};

/// The most that one turn adds to the clock of patience: while a worker does not run, or the clock
/// jumps, it is not late.
const PATIENT_TURN_MILLIS: u64 = 100;

/// What an operation came to.
pub type Outcome = (Result<u64, Errno>, Option<Buffer>);

impl SimRing {
    /// One turn: submits, waits, fills the queue of completions.
    pub fn work(&mut self, wait: u64) {
        let creep = self.random.below(3);
        self.advance(self.now() + creep);
        self.disturb();
        let wait = wait.min(self.longest_nap);
        let due = self.now().saturating_add(wait);
        let deadline = due.saturating_add(self.lateness(wait));
        for submitted in std::mem::take(&mut self.submitted) {
            match submitted {
                Submitted::Start(token) => self.submit(token),
                Submitted::Lend(conn, side) => self.run_lend(conn, side),
                Submitted::Adopt(call) => self.run_adoption(call),
                Submitted::CancelAccepts(listener) => self.run_accept_cancel(listener),
            }
        }
        loop {
            self.step_world();
            self.collect();
            if !self.out.is_empty() || self.now() >= deadline {
                if self.now() > due {
                    self.faults.note(Fault::TurnLate);
                    self.jumped += self.now() - due;
                }
                self.maybe_pause();
                self.patient += (self.now() - self.turned_at).min(PATIENT_TURN_MILLIS);
                self.turned_at = self.now();
                self.ends.turned(self.now());
                return;
            }
            self.advance(self.next_event().clamp(self.now() + 1, deadline));
        }
    }

    /// Carries on without a worker until the wires are empty.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.step_world();
            if !self.links.iter().any(Link::in_transit) {
                return;
            }
            self.advance(self.next_event().clamp(self.now() + 1, self.now() + 1000));
        }
        panic!("bytes on the wire do not arrive: {}", self.dump());
    }

    /// Nothing goes wrong from now on, and every peer brings its connection to an end.
    pub fn calm_down(&mut self) {
        self.faults.calm = true;
        let now = self.now();
        for link in &mut self.links {
            link.peer.calm_down(link.heeded);
            link.wake_by(now);
        }
        for knock in &mut self.knocks {
            knock.peer.calm_down(self.wirings[knock.listener] != Wiring::Hold);
        }
    }

    /// Nobody is here and nobody is coming.
    pub fn is_quiet(&self) -> bool {
        self.live == 0
            && self.knocks.is_empty()
            && self.ops.is_empty()
            && self.listeners.iter().all(|listener| listener.queue.is_empty())
    }

    pub fn progress(&self) -> u64 {
        self.links.iter().map(|link| link.progress).sum::<u64>() + self.origin.len() as u64
    }

    pub fn advance(&mut self, moment: u64) {
        self.clock.store(moment, Ordering::Relaxed);
    }

    /// What goes wrong by itself.
    fn disturb(&mut self) {
        if self.faults.roll(Fault::ClockJump, &mut self.random) && self.random.percent(5) {
            self.faults.note(Fault::ClockJump);
            let jump = self.random.pick(&[60, 200, 1000, 5000, 100_000]);
            self.jumped += jump;
            self.advance(self.now() + jump);
        }
        self.maybe_pause();
        if self.faults.roll(Fault::Stale, &mut self.random) {
            self.post_stale();
        }
    }

    fn post_stale(&mut self) {
        let conn = ConnIndex(self.random.below(u64::from(self.shape.slots.min(16))) as u32);
        let life = self.lives[conn.0 as usize];
        if life == 0 {
            return;
        }
        self.faults.note(Fault::Stale);
        let side = self.random.pick(&Side::BOTH);
        let kind = self.random.pick(&OpKind::ALL);
        let carries = kind == OpKind::Receive && self.buffers.any_free();
        let buffer = carries.then(|| self.buffers.fill(vec![0]));
        let token = Token { conn, generation: life - 1, side, kind };
        let done = Done { token, result: Ok(1), buffer, full: false, more: false };
        let key = self.key();
        self.post(key, Completion::Done(done), true);
    }

    /// When something happens next without the worker.
    pub fn next_event(&self) -> u64 {
        if self.hurried {
            return self.now() + 1;
        }
        let posted = self.posted.iter().map(|posted| posted.at);
        let links = self.links.iter().map(|link| link.wake);
        let connects = self.links.iter().filter(|l| !l.established && !l.closed);
        let connects = connects.filter_map(|link| link.answer.map(|(at, _)| at));
        let ops = self.ops.iter().map(|op| op.runs_at).filter(|&at| at > self.now());
        let knocks = self.knocks.front().map(|knock| knock.at);
        posted.chain(links).chain(connects).chain(ops).chain(knocks).min().unwrap_or(u64::MAX)
    }

    pub fn step_world(&mut self) {
        self.hurried = false;
        self.step_knocks();
        let now = self.now();
        for index in 0..self.links.len() {
            if self.links[index].wake > now {
                continue;
            }
            let was_reset = self.links[index].rst_in;
            self.links[index].step(now, &mut self.random, &mut self.faults);
            if self.links[index].rst_in && !was_reset {
                self.note_reset(index);
            }
        }
        self.step_ahead();
        self.step_moves();
        self.step_accepts();
        self.step_ops();
    }

    fn note_reset(&mut self, index: usize) {
        let link = &self.links[index];
        let fault = match (link.fin_in, link.joined) {
            (true, _) => Fault::FinThenReset,
            (false, true) => Fault::ResetJoined,
            (false, false) if link.server => return,
            (false, false) if self.origin.contains_key(&index) => Fault::ResetBeforeJoin,
            (false, false) => Fault::ResetQueued,
        };
        self.note(|| format!("link {index} is reset by its peer: {fault:?}"));
        self.faults.note(fault);
    }

    /// Shows the worker what is ready, in an order that the kernel permits: an operation's own
    /// completions keep theirs.
    fn collect(&mut self) {
        let now = self.now();
        while self.out.len() < self.shape.completions {
            let mut ready = Vec::new();
            for (index, posted) in self.posted.iter().enumerate() {
                let earlier = self.posted[..index].iter().any(|other| other.key == posted.key);
                if posted.at <= now && !earlier {
                    ready.push(index);
                }
            }
            if ready.is_empty() {
                return;
            }
            let chosen = if self.faults.calm { ready[0] } else { self.random.pick(&ready) };
            let posted = self.posted.remove(chosen);
            self.out.push_back(posted);
        }
        if self.posted.iter().any(|posted| posted.at <= now) {
            self.keep_all_waiting();
            self.faults.note(Fault::CompletionsFull);
        }
    }

    pub fn post(&mut self, key: u64, completion: Completion, last: bool) {
        let mut at = self.now();
        if self.faults.strikes(Fault::Delayed, &mut self.random) {
            self.keep_all_waiting();
            at += self.random.between(1, 30);
        }
        let order = self.key();
        self.posted.push(Posted { completion, key, order, at, last });
    }

    pub fn post_done(&mut self, at: usize, (result, buffer): Outcome, more: bool) {
        let op = &mut self.ops[at];
        op.over = !more;
        let (token, key) = (op.token, op.key);
        let most = u64::from(self.shape.buffer_bytes);
        let full = buffer.is_some() && result.is_ok_and(|bytes| bytes >= most);
        let result = result.map(|value| value as u32);
        let done = Done { token, result, buffer, full, more };
        self.post(key, Completion::Done(done), !more);
    }

    fn submit(&mut self, token: Token) {
        let at = self.ops.iter().position(|op| op.token == token && op.runs_at == u64::MAX);
        let at = at.expect("what is submitted was started");
        self.ops[at].runs_at = self.now();
        match token.kind {
            OpKind::Cancel => self.run_cancel(at),
            OpKind::Close => self.run_close(at),
            OpKind::Shutdown => self.ops[at].runs_at += self.random.below(10),
            OpKind::Connect => self.begin_connect(token),
            OpKind::Receive | OpKind::Splice | OpKind::WaitReadable if self.meets_ahead(token) => {
                self.run(at);
            }
            // Nobody will ask for the other side's until this one takes them.
            OpKind::WaitWritable => {
                Side::BOTH.into_iter().for_each(|side| self.stop_ahead(token.conn, side));
            }
            OpKind::Splice => self.ops[at].runs_at += self.random.below(3),
            OpKind::Receive if self.would_block(at) => {
                self.faults.note(Fault::ReceiveWouldBlock);
                self.post_done(at, (Err(Errno::EAGAIN), None), false);
            }
            _ => {}
        }
    }

    /// Whether a receive answers at once because its socket has a descriptor that does not wait.
    fn would_block(&mut self, at: usize) -> bool {
        let installed = self.pipes.installed.contains(&self.ops[at].token.conn.0);
        installed && !self.faults.calm && !self.is_ready(at) && self.random.percent(30)
    }

    fn run_close(&mut self, at: usize) {
        let Token { conn, side, .. } = self.ops[at].token;
        self.stop_ahead(conn, side);
        self.discard_ahead(conn, side);
        let slot = &mut self.slots[side as usize][conn.0 as usize];
        let link = slot.take().expect("the slot was looked at when the close was started");
        self.let_go(conn, side, link);
        if side == Side::Client {
            self.pipes.installed.remove(&conn.0);
            self.live -= 1;
            self.unheard_closes.insert(conn.0);
        }
        self.post_done(at, (Ok(0), None), false);
    }

    fn run_cancel(&mut self, at: usize) {
        let Op { token: Token { conn, side, .. }, operation, .. } = self.ops[at];
        let Operation::Cancel(kinds) = operation else { panic!("{operation:?} is no cancel") };
        let (mut found, mut late) = (0, false);
        self.note_beaten(conn, side);
        for index in 0..self.ops.len() {
            let op = &self.ops[index];
            let here = op.token.conn == conn && op.token.side == side;
            // What was started after the cancel is submitted after it.
            let later = op.runs_at == u64::MAX;
            if !here || op.over || later || !kinds.has(op.token.kind) {
                continue;
            }
            if self.is_ready(index) && self.random.percent(50) {
                self.run(index);
                if self.ops[index].over {
                    self.note_beaten(conn, side);
                    continue;
                }
            }
            if self.ops[index].escaped {
                self.faults.note(Fault::CancelEscaped);
            } else if self.faults.roll(Fault::CancelEscaped, &mut self.random) {
                self.ops[index].escaped = true;
                late = true;
                continue;
            }
            found += 1;
            let key = self.ops[index].key;
            self.ops[at].cancelled.push(key);
            self.post_done(index, (Err(Errno::ECANCELED), None), false);
        }
        if kinds.has(OpKind::Receive) {
            self.stop_ahead(conn, side);
        }
        let (fault, result) = match (late, found) {
            (true, _) => (Fault::CancelLate, Err(Errno::EALREADY)),
            (false, 0) => (Fault::CancelMissed, Err(Errno::ENOENT)),
            (false, found) => (Fault::CancelFound, Ok(found)),
        };
        self.faults.note(fault);
        self.post_done(at, (result, None), false);
    }

    /// Counts data that was received before the cancel of its receive.
    fn note_beaten(&mut self, conn: ConnIndex, side: Side) {
        let beaten = self.posted.iter().any(|posted| match posted.completion {
            Completion::Done(Done { token, buffer, .. }) => {
                token.conn == conn && token.side == side && buffer.is_some()
            }
            _ => false,
        });
        if beaten {
            self.faults.note(Fault::DataBeatsCancel);
        }
    }

    fn step_ops(&mut self) {
        let now = self.now();
        for index in 0..self.ops.len() {
            let op = &self.ops[index];
            if op.over || op.runs_at > now {
                continue;
            }
            if !self.is_ready(index) {
                self.maybe_wake_for_nothing(index);
                continue;
            }
            if !self.faults.calm && self.random.percent(15) {
                self.keep_waiting(self.ops[index].token);
                self.hurry();
                continue;
            }
            self.run(index);
        }
    }

    /// Something was left for the next millisecond.
    pub fn hurry(&mut self) {
        self.hurried = true;
    }

    fn is_ready(&self, at: usize) -> bool {
        let op = &self.ops[at];
        if matches!(op.token.kind, OpKind::Cancel | OpKind::Close) {
            return false;
        }
        let Some(link) = self.link_at(op.token.conn, op.token.side) else {
            return op.token.kind == OpKind::Open;
        };
        let link = &self.links[link];
        match op.operation {
            Operation::Connect(_) => link.answer.is_some_and(|(at, _)| at <= self.now()),
            Operation::WaitReadable => link.bits() & (IN | RDHUP | HUP | ERR) != 0,
            Operation::Receive => link.bits() & IN != 0,
            Operation::WaitWritable => link.bits() & (OUT | HUP | ERR) != 0,
            Operation::WatchHangup => link.bits() & (RDHUP | HUP | ERR) != op.bits,
            _ => true,
        }
    }

    /// Runs an operation that is ready.
    fn run(&mut self, at: usize) {
        let op = &self.ops[at];
        let (token, operation) = (op.token, op.operation);
        let now = self.now();
        if let Operation::Open(..) = operation {
            let outcome = self.open(token.conn);
            return self.post_done(at, (outcome, None), false);
        }
        let index = self.link_at(token.conn, token.side).expect("a ready operation has a socket");
        let link = &mut self.links[index];
        let result = match operation {
            Operation::Receive => {
                let outcome = self.receive(index);
                return self.post_done(at, outcome, false);
            }
            Operation::Splice => {
                let outcome = self.splice(token.conn, index);
                return self.post_done(at, outcome, false);
            }
            Operation::Send(chunk) if chunk.buffer.is_pipe() => self.splice_out(index, chunk),
            Operation::Send(chunk) => self.send(index, self.buffers.bytes(chunk).to_vec()),
            Operation::Connect(server) => self.connect(token.conn, index, server),
            Operation::WatchHangup => {
                let bits = link.bits() & (RDHUP | HUP | ERR);
                let ended = self.faults.strikes(Fault::WatchEnded, &mut self.random);
                self.ops[at].bits = bits;
                return self.post_done(at, (Ok(u64::from(bits)), None), !ended);
            }
            Operation::WaitReadable => Ok(u64::from(link.ahead.bits().unwrap_or(link.bits()))),
            Operation::WaitWritable => {
                if link.fin_in {
                    self.faults.note(Fault::WritableAfterFin);
                }
                Ok(u64::from(link.bits()))
            }
            Operation::Shutdown => link.shut_down(now),
            Operation::Reset => {
                self.stop_ahead(token.conn, token.side);
                self.links[index].disconnect();
                Ok(0)
            }
            Operation::Unacknowledged => Ok(self.links[index].ask(now)),
            Operation::Addresses if self.faults.strikes(Fault::NameRefused, &mut self.random) => {
                Err(Errno::EMFILE)
            }
            Operation::Addresses => Ok(0),
            Operation::Guard(guard) => self.guard(index, guard),
            Operation::Open(..) | Operation::Cancel(_) | Operation::Close => {
                panic!("{operation:?} is run elsewhere")
            }
        };
        self.post_done(at, (result, None), false);
    }

    fn open(&mut self, conn: ConnIndex) -> Result<u64, Errno> {
        if self.faults.strikes(Fault::OpenNoFile, &mut self.random) {
            return Err(Errno::ENFILE);
        }
        if self.faults.may(Fault::NoSourceAddress)
            && self.faults.strikes(Fault::NoSourceAddress, &mut self.random)
        {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let now = self.now();
        let mut peer = Peer::new(&mut self.random, self.shape.largest_send, now, true);
        let mut key = mix(self.key());
        if self.speech == Some(Speech::Postgres) {
            key = postgres::serve(key, &mut peer);
        }
        peer.hold(self.shape.holders, Random::new(mix(key)), now);
        if self.faults.calm {
            peer.calm_down(true);
        }
        let mut link = Link::new(key, peer, &mut self.random, now);
        link.server = true;
        link.widen(self.width());
        link.holds.fill();
        self.slots[Side::Upstream as usize][conn.0 as usize] = Some(self.links.len());
        self.links.push(link);
        Ok(0)
    }

    fn connect(&mut self, conn: ConnIndex, index: usize, server: ServerId) -> Result<u64, Errno> {
        let client = self.link_at(conn, Side::Client).expect("a client is there");
        let Link { key: expects, portless, .. } = self.links[client];
        let (now, begins_at) = (self.now(), self.taken_of(client));
        let heading = self.heading_for(client, server);
        let pool = self.telling.pool_of(server);
        let may = self.tls.as_ref().is_some_and(|tls| tls.changes);
        let speaks = self.tls.as_ref().is_some_and(|tls| !may && tls.pools[pool]);
        let key = self.links[index].key;
        let dialect = self.tls.as_ref().map_or(Dialect::PLAIN, |tls| tls.dialect(key));
        let link = &mut self.links[index];
        link.answer.and_then(|(_, answer)| answer.err()).map_or(Ok(()), Err)?;
        link.established = true;
        if portless {
            self.faults.note(Fault::PortCame);
        }
        link.expects = Some(expects);
        link.begins_at = begins_at;
        link.heading = heading;
        link.may_secure = may.then_some(dialect);
        link.secure = speaks.then(|| Box::new(secure::End::server(key, dialect)));
        link.wake_by(now);
        if matches!(link.peer.script.front(), Some(Step::Send(_))) {
            self.faults.note(Fault::ServerFirst);
        }
        Ok(0)
    }

    /// What is going on, for whoever has to find out why it does not end.
    pub fn dump(&self) -> String {
        let mut text = format!("at {} ms, {} live clients\n", self.now(), self.live);
        for (index, link) in self.links.iter().enumerate() {
            if !link.closed {
                text += &format!("  link {index}: {link:?}\n");
            }
        }
        for op in &self.ops {
            text += &format!("  in flight: {:?} over: {}\n", op.token, op.over);
        }
        text += &format!("  accepts: {:?}\n", self.accepts);
        let queues: Vec<usize> = self.listeners.iter().map(|l| l.queue.len()).collect();
        text + &format!("  queues: {queues:?}, knocks: {}", self.knocks.len())
    }
}
