//! One connection alone: whatever completes in whatever order, it never panics, it becomes vacant,
//! and every buffer comes home.

mod departure;
mod preface;
mod quiet;
mod saying;
mod silent;
mod unserved;

use std::collections::HashSet;

use portcullis::base::{
    Buffer, BySide, Chunk, Errno, Guard, InFlight, OpKind, Operation, ServerId, Side, Source,
};
use portcullis::conn::{
    Action, Actions, Connection, Event, Onward, Patience, Phase, Reason, Wiring,
};
use proptest::prelude::*;

/// What tells memory beside the pool.
const PARKED: u32 = 1 << 29;

/// Servers that an upstream has to offer.
const SERVERS: u32 = 2;

/// A kernel that completes what is in flight by chance.
struct Bench {
    conn: Connection,
    in_flight: Vec<(Side, Operation)>,
    /// Sides whose peer sent RST: nothing waits there any more.
    reset: BySide<bool>,
    /// Sides whose receive said 0.
    ended: BySide<bool>,
    /// By side: what a cancel was asked for.
    cancelled: BySide<InFlight>,
    starved: Vec<Side>,
    /// It waits for a place to be read.
    awaits_place: bool,
    /// Pieces of a preface that are kept for the server.
    kept: usize,
    /// Where its bytes go once its preface is done.
    onward: Onward,
    /// It has the header, if it is to have one.
    headed: bool,
    /// By side: pieces of the worker's own words that are still to be said, once it says any.
    words: BySide<Option<usize>>,
    /// Its client has withdrawn, and not entered again.
    is_withdrawn: bool,
    /// The server may get what is kept only once it has agreed.
    needs_consent: bool,
    held: HashSet<Buffer>,
    next_buffer: u32,
    opened: u32,
    vacated: bool,
    choices: std::vec::IntoIter<u8>,
}

impl Bench {
    fn new((conn, actions): (Connection, Actions), onward: Onward, choices: Vec<u8>) -> Bench {
        let mut bench = Bench {
            conn,
            in_flight: Vec::new(),
            reset: BySide([false; 2]),
            ended: BySide([false; 2]),
            cancelled: BySide([InFlight::NONE; 2]),
            starved: Vec::new(),
            awaits_place: false,
            kept: 0,
            onward,
            headed: false,
            words: BySide([None; 2]),
            is_withdrawn: false,
            needs_consent: false,
            held: HashSet::new(),
            next_buffer: 0,
            opened: 0,
            vacated: false,
            choices: choices.into_iter(),
        };
        bench.perform(actions);
        bench
    }

    /// A choice below `bound`; 0 when all were used.
    fn choose(&mut self, bound: usize) -> usize {
        usize::from(self.choices.next().unwrap_or(0)) % bound
    }

    fn apply(&mut self, event: Event) {
        let actions = self.conn.on(event);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Actions) {
        for action in actions.list {
            assert!(!self.vacated, "{action:?} after the end");
            match action {
                Action::AwaitPlace if self.choose(3) == 0 => self.awaits_place = true,
                Action::Meet => {
                    let refused = Event::PrefaceRefused(Reason::BadPreamble);
                    let done = Event::PrefaceDone { keeps: false, onward: self.onward };
                    let event = [Event::PrefaceAwaited, done, refused, Event::Hold][self.choose(4)];
                    self.apply(event);
                }
                Action::AwaitPlace => self.apply(Event::PrefaceMore),
                Action::Judge(chunk) => self.judge(chunk),
                Action::Say(sink) => self.say(sink),
                Action::Heed(chunk) => self.heed(chunk),
                Action::Unanswered(_) => self.words[Side::Upstream] = None,
                Action::Recall => {
                    self.put_header();
                    self.recall();
                }
                Action::Head(first) => {
                    assert!(self.onward.is_headed && !self.headed, "a header too many");
                    if let Some(chunk) = first {
                        assert!(self.held.remove(&chunk.buffer), "{chunk:?} is not held");
                        self.kept += 1;
                    }
                    self.put_header();
                    self.recall();
                }
                Action::Open if self.opened == SERVERS => {
                    let event = [Event::ServersExhausted, Event::NoRoom, Event::AddressFirst]
                        [self.choose(3)];
                    self.apply(event);
                }
                Action::Open => {
                    self.opened += 1;
                    self.start(Side::Upstream, Operation::Open(ServerId(0), Source::default()));
                }
                Action::Connect => self.start(Side::Upstream, Operation::Connect(ServerId(0))),
                Action::Stalled(sink, chunk) => self.park(sink, chunk),
                Action::Start(side, op) => self.start(side, op),
                Action::Release(buffer) => {
                    assert!(self.held.remove(&buffer), "{buffer:?} released but not held");
                    let sends = |(_, op): &(Side, Operation)| match op {
                        Operation::Send(chunk) => chunk.buffer == buffer,
                        _ => false,
                    };
                    assert!(!self.in_flight.iter().any(sends), "under a send");
                }
                Action::AwaitBuffer(source) => self.starved.push(source),
                Action::EndSplices => {
                    let splices = self.in_flight.iter().any(|(_, op)| *op == Operation::Splice);
                    let piped = self.held.iter().any(|buffer| buffer.is_pipe());
                    assert!(!splices && !piped, "ended with {:?}, {:?}", self.in_flight, self.held);
                }
                Action::Departed => self.check_departed(),
                Action::Vacate(_) => self.vacated = true,
            }
        }
    }

    fn start(&mut self, side: Side, op: Operation) {
        let mut here = self.in_flight.iter().filter(|(on, _)| *on == side);
        if op == Operation::Close {
            assert!(here.next().is_none(), "{side:?} is closed with {:?}", self.in_flight);
        } else {
            assert!(!here.any(|(_, other)| other.kind() == op.kind()), "two of {op:?}");
        }
        if (op, self.conn.phase()) == (Operation::WaitWritable, Phase::Departing) {
            let piped = self.held.iter().any(|buffer| buffer.is_pipe());
            assert!(piped, "what is in no pipe is waited for: {:?}", self.conn);
        }
        self.in_flight.push((side, op));
    }

    /// Moves a chunk that waits elsewhere, perhaps. Of one in a pipe it says so, and moves it only
    /// where the connection departs.
    fn park(&mut self, sink: Side, chunk: Chunk) {
        let departs = self.conn.phase() == Phase::Departing;
        if self.choose(2) == 0 || !departs && chunk.buffer.is_pipe() {
            if departs {
                self.apply(Event::ChunkMoved(sink, chunk));
            }
            return;
        }
        let parked = Buffer(self.next_buffer | PARKED);
        self.next_buffer += 1;
        assert!(self.held.remove(&chunk.buffer), "{chunk:?} waits but is not held");
        self.held.insert(parked);
        self.apply(Event::ChunkMoved(sink, Chunk { buffer: parked, start_bytes: 0, ..chunk }));
    }

    fn judge(&mut self, chunk: Chunk) {
        assert!(self.held.remove(&chunk.buffer), "{chunk:?} is judged but not held");
        let event = match self.choose(9) {
            _ if self.is_withdrawn => return,
            // All of what a silent client says first is its server's.
            _ if matches!(self.conn.phase(), Phase::Silent { .. }) => {
                self.kept = 1;
                Event::PrefaceDone { keeps: true, onward: self.onward }
            }
            0..=2 => Event::PrefaceMore,
            3 => {
                let (refused, declined) = (Event::PrefaceRefused, Event::PrefaceDeclined);
                let ends = [refused(Reason::BadPreamble), declined(Reason::BadTls), Event::Hold];
                ends[self.choose(3)]
            }
            4 => Event::PrefaceDone { keeps: false, onward: self.onward },
            5 => return self.say(Side::Client),
            _ => {
                self.kept = 1 + self.choose(3);
                self.needs_consent = self.onward.is_asked;
                Event::PrefaceDone { keeps: true, onward: self.onward }
            }
        };
        self.apply(event);
    }

    /// The header goes before what is kept.
    fn put_header(&mut self) {
        if self.onward.is_headed && !std::mem::replace(&mut self.headed, true) {
            self.kept += 1;
        }
    }

    fn recall(&mut self) {
        assert!(self.kept > 0, "more is recalled than is kept");
        assert!(!self.needs_consent, "a server gets what it has not agreed to");
        let chunk = (self.choose(3) > 0).then(|| {
            let buffer = Buffer(self.next_buffer);
            self.next_buffer += 1;
            self.held.insert(buffer);
            self.kept -= 1;
            Chunk { buffer, start_bytes: 0, length_bytes: 1 + self.choose(9) as u32 }
        });
        self.apply(Event::Kept { chunk, more: self.kept > 0, own_bytes: 0 });
    }

    fn receive(&mut self, side: Side) -> (Result<u32, Errno>, Option<Buffer>) {
        match self.choose(6) {
            0..=2 if !self.reset[side] => {
                let buffer = Buffer(self.next_buffer);
                self.next_buffer += 1;
                self.held.insert(buffer);
                (Ok(1 + self.choose(9) as u32), Some(buffer))
            }
            3 => (Err(Errno::ENOBUFS), None),
            4 => {
                self.reset[side] = true;
                (Err(Errno::ECONNRESET), None)
            }
            _ => {
                self.ended[side] = true;
                (Ok(0), None)
            }
        }
    }

    fn splice(&mut self, side: Side) -> (Result<u32, Errno>, Option<Buffer>) {
        match self.choose(6) {
            0 => (Err(Errno::EAGAIN), None),
            1 => (Err(Errno::EMFILE), None),
            2 => (Err(Errno::EINTR), None),
            _ => {
                let (result, buffer) = self.receive(side);
                let pipe = buffer.map(|Buffer(id)| Buffer(id | Buffer::PIPE_BIT));
                if let (Some(buffer), Some(pipe)) = (buffer, pipe) {
                    self.held.remove(&buffer);
                    self.held.insert(pipe);
                }
                match result {
                    Err(Errno::ENOBUFS) => (Err(Errno::EMFILE), None),
                    result => (result, pipe),
                }
            }
        }
    }

    fn send(&mut self, side: Side, chunk: Chunk) -> Result<u32, Errno> {
        match self.choose(6) {
            _ if self.reset[side] => Err(Errno::EPIPE),
            0 => Err(Errno::EAGAIN),
            1 => Err(Errno::ENOBUFS),
            2 => {
                self.reset[side] = true;
                Err(Errno::ECONNRESET)
            }
            3 => Ok(self.choose(chunk.length_bytes as usize) as u32),
            _ => Ok(chunk.length_bytes),
        }
    }

    /// Completes one operation, or lets what waits go on waiting.
    fn complete(&mut self, at: usize) {
        let (side, op) = self.in_flight[at];
        let cancelled = self.cancelled[side].has(op.kind()) && self.choose(2) == 0;
        let (mut buffer, mut more) = (None, false);
        let result = match op {
            Operation::Cancel(kinds) => {
                self.cancelled[side] = kinds;
                [Ok(1), Err(Errno::ENOENT), Err(Errno::EALREADY)][self.choose(3)]
            }
            Operation::Reset | Operation::Close | Operation::Addresses => Ok(0),
            _ if cancelled => Err(Errno::ECANCELED),
            Operation::Open(..) => [Ok(0), Err(Errno::ENFILE)][self.choose(2)],
            Operation::Connect(_) => [Ok(0), Err(Errno::ECONNREFUSED)][self.choose(2)],
            Operation::Receive => {
                let (result, filled) = self.receive(side);
                buffer = filled;
                result
            }
            Operation::Splice => {
                let (result, filled) = self.splice(side);
                buffer = filled;
                result
            }
            Operation::Send(chunk) => self.send(side, chunk),
            Operation::WaitReadable => Ok([0x1, 0x2001, 0x2019][self.choose(3)]),
            Operation::WaitWritable => Ok(0x4),
            Operation::Shutdown => [Ok(0), Ok(0), Err(Errno::ENOTCONN)][self.choose(3)],
            Operation::WatchHangup => {
                more = self.choose(2) == 0;
                Ok([0x2000, 0x2010, 0x2018][self.choose(3)])
            }
            Operation::Unacknowledged => Ok(self.choose(3) as u32),
            Operation::Guard(_) => [Ok(0), Err(Errno::EPERM)][self.choose(2)],
        };
        if !more {
            self.in_flight.remove(at);
        }
        let full = buffer.is_some() && self.choose(4) > 0;
        self.apply(Event::Completed { side, kind: op.kind(), result, buffer, full, more });
        let goes_on = matches!(self.conn.phase(), Phase::Joined | Phase::Delivering { .. });
        if let (Operation::Send(_), Err(Errno::EPIPE | Errno::ECONNRESET)) = (op, result)
            && goes_on
        {
            self.check_is_read(side.other());
        }
    }

    /// A side is read to its end although nobody can be sent its bytes: its peer may not read
    /// before its own are taken.
    fn check_is_read(&self, side: Side) {
        let reads = |op: &Operation| {
            matches!(op, Operation::WaitReadable | Operation::Receive | Operation::Splice)
        };
        let is_read = self.in_flight.iter().any(|(on, op)| *on == side && reads(op))
            || self.starved.contains(&side);
        let over = self.ended[side] || self.reset[side];
        assert!(is_read || over, "{side:?} is not read: {:?}", self.conn);
    }

    fn expire(&mut self, patience: Patience) {
        match patience.timeout() {
            Some(reason) => {
                let at_rest = self.choose(2) == 0;
                self.apply(Event::Ended { reason, at_rest });
            }
            None => self.apply(Event::Expired(patience)),
        }
    }

    /// Somebody who is held goes on.
    fn let_go(&mut self) {
        let Phase::Held { is_read } = self.conn.phase() else { return };
        let done = Event::PrefaceDone { keeps: false, onward: self.onward };
        let on = if is_read { Event::PrefaceMore } else { Event::PrefaceAwaited };
        let event = [done, on, Event::PrefaceRefused(Reason::SourceLimit)][self.choose(3)];
        self.apply(event);
    }

    fn step(&mut self) {
        match self.choose(14) {
            13 => self.withdraw(),
            4 => self.apply(Event::Expired(Patience::Quiet)),
            7 => self.apply(Event::RoomPerhaps),
            9 if self.conn.phase() == Phase::Departed => self.part(),
            9 => {
                let depart = |keeps_waits| Event::Depart { keeps_waits };
                let event = [depart(false), depart(true), Event::Stay][self.choose(3)];
                self.apply(event);
            }
            8 => self.let_go(),
            0 => {
                let patience = self.conn.patience();
                if patience != Patience::Unbounded {
                    self.expire(patience);
                }
            }
            2 | 3 => {
                let side = Side::BOTH[self.choose(2)];
                if self.conn.can_ask_addresses(side) {
                    self.apply(Event::AddressesWanted(side));
                }
            }
            6 if self.conn.wants_probes() => {
                let silence = Guard::Silence { idle_seconds: 1, interval_seconds: 1, probes: 1 };
                let guard = [silence, Guard::Unacknowledged { millis: 1 }][self.choose(2)];
                self.apply(Event::GuardDue(guard));
            }
            5 if std::mem::take(&mut self.awaits_place) => self.apply(Event::PrefaceMore),
            1 if !self.starved.is_empty() => {
                let source = self.starved.remove(0);
                self.apply(Event::BufferFreed(source));
            }
            _ if self.in_flight.is_empty() => {}
            _ => {
                let at = self.choose(self.in_flight.len());
                self.complete(at);
            }
        }
    }

    /// Ends it from outside and completes all that is left.
    fn finish(&mut self) {
        if !self.vacated {
            self.come_back();
            self.apply(Event::Stay);
            let at_rest = self.choose(2) == 0;
            self.apply(Event::Ended { reason: Reason::Stopped, at_rest });
        }
        for _ in 0..200 {
            if self.vacated {
                break;
            }
            // What is cancelled or completes by itself; the rest waits for a second cancel.
            let waits = |op: OpKind| {
                use OpKind::{Connect, Receive, WaitReadable, WaitWritable, WatchHangup};
                matches!(op, Connect | Receive | WaitReadable | WaitWritable | WatchHangup)
            };
            let cancelled = self.cancelled;
            let ready = |(side, op): &(Side, Operation)| {
                cancelled[*side].has(op.kind()) || !waits(op.kind())
            };
            match self.in_flight.iter().position(ready) {
                Some(at) => self.complete(at),
                None => self.apply(Event::Expired(Patience::Retirement)),
            }
        }
        assert!(self.vacated && self.conn.phase() == Phase::Vacant, "stuck: {:?}", self.conn);
        assert!(self.in_flight.is_empty() && self.held.is_empty(), "held: {:?}", self.held);
    }
}

fn run(begun: (Connection, Actions), onward: Onward, choices: Vec<u8>) {
    let steps = choices.len() / 3;
    let mut bench = Bench::new(begun, onward, choices);
    for _ in 0..steps {
        if bench.vacated {
            break;
        }
        bench.step();
    }
    bench.finish();
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(4000)
    })]

    #[test]
    fn a_pair_ends_whatever_completes(
        choices in prop::collection::vec(any::<u8>(), 0..400),
        named in any::<bool>(),
    ) {
        run(Connection::accepted(Wiring::Pair, named), Wiring::Pair.into(), choices);
    }

    #[test]
    fn a_builtin_ends_whatever_completes(
        choices in prop::collection::vec(any::<u8>(), 0..200),
        which in 0..3usize,
    ) {
        let wiring = [Wiring::Echo, Wiring::Discard, Wiring::Hold][which];
        run(Connection::accepted(wiring, false), wiring.into(), choices);
    }

    #[test]
    fn a_client_that_is_read_first_ends_whatever_completes(
        choices in prop::collection::vec(any::<u8>(), 0..400),
        named in any::<bool>(),
        which in 0..6usize,
    ) {
        let wiring = [Wiring::Echo, Wiring::Discard, Wiring::Hold].get(which);
        let wiring = *wiring.unwrap_or(&Wiring::Pair);
        run(Connection::prefaced(wiring, named), wiring.into(), choices.clone());
        run(Connection::met(wiring, named), wiring.into(), choices);
    }

    #[test]
    fn a_lazy_client_or_one_with_a_header_ends_whatever_completes(
        choices in prop::collection::vec(any::<u8>(), 0..400),
        named in any::<bool>(),
        is_headed in any::<bool>(),
        is_lazy in any::<bool>(),
        is_asked in any::<bool>(),
    ) {
        let onward = Onward { wiring: Wiring::Pair, is_headed, is_lazy, is_asked };
        run(Connection::accepted(onward, named), onward, choices.clone());
        run(Connection::prefaced(Wiring::Pair, named), onward, choices.clone());
        run(Connection::met(Wiring::Pair, named), onward, choices);
    }
}
