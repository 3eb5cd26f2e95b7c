//! Connections on which bytes flow both ways through an echo: at a rate, to readers in no hurry,
//! and after the client has said FIN.

use std::collections::VecDeque;

use portcullis::base::Chunk;
use portcullis::ring::ConnIndex;

use super::ground::Ground;
use crate::engine::{End, Event, Net, Phase, words};
use crate::pattern::{self, Pattern};

/// What one send takes, which is a buffer.
pub(super) const PART_BYTES: u32 = 16 << 10;
/// The most that a connection has sent and not got back.
const OWED_BYTES_MAX: u64 = 1 << 20;
/// What a client sends before its FIN.
const HALF_BYTES: u64 = 512 << 10;

/// How a kind of them behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How failures name it, and the counts of bytes that came back, and of connections that ended.
    pub(super) kind: &'static str,
    pub(super) bytes: &'static str,
    /// Nanoseconds between two parts of the thread; `None`: whatever goes.
    pub(super) interval: Option<u64>,
    /// Nanoseconds from what was read to the next read.
    pub(super) rest: u64,
    /// FIN is said after so much, and the connection opened again at its end.
    pub(super) half_closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Gone,
    Opening,
    Flowing,
    /// FIN is sent, or on its way.
    Finished,
    /// It is opened again when its slot is free.
    Returning,
}

struct Flow {
    outgoing: Pattern,
    incoming: Pattern,
    step: Step,
    /// What was sent and has not come back.
    owed: u64,
    /// Tells a life from the one before.
    life: u32,
}

/// One thread's of one kind, from a slot on.
pub(super) struct Flows {
    first: u32,
    all: Vec<Flow>,
    manner: Manner,
    parts: u64,
    opening: u64,
    /// Who reads on when, with its life.
    resting: VecDeque<(u64, ConnIndex, u32)>,
}

impl Flows {
    pub(super) fn new(first: u32, count: u32, manner: Manner) -> Flows {
        let one = |_| Flow {
            outgoing: Pattern::new(0),
            incoming: Pattern::new(0),
            step: Step::Gone,
            owed: 0,
            life: 0,
        };
        let all = (0..count).map(one).collect();
        Flows { first, all, manner, parts: 0, opening: 0, resting: VecDeque::new() }
    }

    pub(super) fn count(&self) -> u32 {
        self.all.len() as u32
    }

    pub(super) fn has(&self, conn: ConnIndex) -> bool {
        (self.first..self.first + self.count()).contains(&conn.0)
    }

    fn at(&mut self, conn: ConnIndex) -> &mut Flow {
        &mut self.all[(conn.0 - self.first) as usize]
    }

    /// The phase has nothing more to do here.
    pub(super) fn is_still(&self, phase: Phase) -> bool {
        let rests = |one: &Flow| match one.step {
            Step::Gone => true,
            Step::Flowing => one.owed == 0,
            _ => false,
        };
        self.opening == 0 && (phase != Phase::Check || self.all.iter().all(rests))
    }

    pub(super) fn begin(&mut self, ground: &mut Ground, net: &mut Net) {
        for index in 0..self.count() {
            let conn = ConnIndex(self.first + index);
            match ground.phase {
                Phase::Open => self.open(conn, ground, net),
                Phase::Run if self.manner.interval.is_none() => self.send(conn, ground, net),
                // Everything that is owed is taken now.
                Phase::Check => self.await_bytes(conn, net),
                Phase::Close => {
                    self.at(conn).step = Step::Gone;
                    net.close(conn);
                }
                _ => {}
            }
        }
        if ground.phase == Phase::Check {
            self.resting.clear();
        }
    }

    fn open(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        let (pattern, server) = ground.next_life();
        let one = self.at(conn);
        (one.outgoing, one.incoming) = (pattern.clone(), pattern);
        (one.step, one.owed) = (Step::Opening, 0);
        one.life += 1;
        self.opening += 1;
        net.open(conn, server);
    }

    /// Sends and reads what is due; when something is next.
    pub(super) fn tick(&mut self, ground: &mut Ground, net: &mut Net) -> u64 {
        while let Some((at, conn, life)) = self.resting.front().copied() {
            if at > ground.now {
                break;
            }
            self.resting.pop_front();
            if self.at(conn).life == life {
                self.await_bytes(conn, net);
            }
        }
        let next = self.resting.front().map_or(u64::MAX, |(at, ..)| *at);
        let Some(interval) = self.manner.interval.filter(|_| ground.phase == Phase::Run) else {
            return next;
        };
        if self.all.is_empty() {
            return next;
        }
        let mut due = ground.began + self.parts * interval;
        while due <= ground.now {
            let conn = ConnIndex(self.first + (self.parts % u64::from(self.count())) as u32);
            self.send(conn, ground, net);
            self.parts += 1;
            due += interval;
        }
        next.min(due)
    }

    /// Sends one part, if it may.
    fn send(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        let manner = self.manner;
        let one = self.at(conn);
        let sends = ground.phase == Phase::Run && one.step == Step::Flowing;
        if !sends || one.owed + u64::from(PART_BYTES) > OWED_BYTES_MAX {
            return;
        }
        let mut outgoing = one.outgoing.clone();
        if !net.send(conn, PART_BYTES, |bytes| outgoing.fill(bytes)) {
            return;
        }
        let one = self.at(conn);
        one.outgoing = outgoing;
        one.owed += u64::from(PART_BYTES);
        if manner.half_closes && one.outgoing.position >= HALF_BYTES {
            one.step = Step::Finished;
            net.finish(conn);
        }
        if one.owed == u64::from(PART_BYTES) {
            self.await_bytes(conn, net);
        }
    }

    /// Reads, and gives up on the target if nothing comes though something is owed.
    fn await_bytes(&mut self, conn: ConnIndex, net: &mut Net) {
        let one = self.at(conn);
        if matches!(one.step, Step::Flowing | Step::Finished) {
            if one.owed > 0 || one.step == Step::Finished {
                net.expect(conn);
            }
            net.receive(conn);
        }
    }

    pub(super) fn on(&mut self, conn: ConnIndex, event: Event, ground: &mut Ground, net: &mut Net) {
        let step = self.at(conn).step;
        match event {
            Event::Opened => {
                self.at(conn).step = Step::Flowing;
                self.opening -= 1;
                net.relax(conn);
                net.receive(conn);
                self.go_on(conn, ground, net);
            }
            Event::Sent | Event::MaySend => self.go_on(conn, ground, net),
            Event::Received(chunk) => self.received(conn, chunk, ground, net),
            Event::Ended(End::Fin) if step == Step::Finished && self.at(conn).owed == 0 => {
                ground.tally.count("half_closed_whole", 1);
                let goes_on = ground.phase == Phase::Run;
                self.at(conn).step = if goes_on { Step::Returning } else { Step::Gone };
                net.close(conn);
            }
            Event::Ended(end) => self.lose(conn, &words(end), ground, net),
            Event::Overdue => self.lose(conn, "nothing came in time (hung)", ground, net),
            Event::Closed if step == Step::Returning => self.open(conn, ground, net),
            Event::Closed | Event::Accepted(_) => {}
        }
    }

    /// The next part of those who send whatever goes.
    fn go_on(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        if self.manner.interval.is_none() {
            self.send(conn, ground, net);
        }
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, ground: &mut Ground, net: &mut Net) {
        let manner = self.manner;
        let one = self.at(conn);
        if let Err(what) = pattern::take(&mut one.incoming, one.owed, net.bytes(chunk)) {
            return self.lose(conn, &what, ground, net);
        }
        one.owed -= u64::from(chunk.length_bytes);
        ground.tally.count(manner.bytes, u64::from(chunk.length_bytes));
        net.relax(conn);
        if manner.rest > 0 && ground.phase == Phase::Run {
            let due = (ground.now + manner.rest, conn, self.at(conn).life);
            self.resting.push_back(due);
        } else {
            self.await_bytes(conn, net);
        }
        self.go_on(conn, ground, net);
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, ground: &mut Ground, net: &mut Net) {
        let kind = self.manner.kind;
        let one = self.at(conn);
        let step = match one.step {
            Step::Gone | Step::Returning => return net.close(conn),
            Step::Opening => "open",
            Step::Flowing => "with bytes under way",
            Step::Finished => "after the client's FIN",
        };
        self.opening -= u64::from(self.at(conn).step == Step::Opening);
        let returns = ground.lost(&format!("{kind}, {step}"), what);
        self.at(conn).step = if returns { Step::Returning } else { Step::Gone };
        net.close(conn);
    }
}
