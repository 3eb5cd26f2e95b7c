//! Connections with small messages at a rate, whatever the answers do; each counts from when it
//! was due.

use std::collections::VecDeque;

use portcullis::ring::ConnIndex;

use super::exchange::Exchange;
use super::ground::Ground;
use crate::engine::{Event, Net, Phase, words};
use crate::pattern::Pattern;

const MESSAGE_BYTES: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opening,
    Idle,
    Asking,
    Gone,
    /// Lost where that is no failure: it is opened again.
    Returning,
}

struct Talker {
    exchange: Exchange,
    step: Step,
    due: u64,
    /// Messages that became due while another was in flight.
    late: VecDeque<u64>,
}

/// One thread's, from a slot on.
pub(super) struct Talk {
    first: u32,
    all: Vec<Talker>,
    interval: Option<u64>,
    /// Messages that were due so far.
    due: u64,
    under_way: u64,
}

impl Talk {
    pub(super) fn new(first: u32, count: u32, interval: Option<u64>) -> Talk {
        let one = |_| Talker {
            exchange: Exchange::new(Pattern::new(0)),
            step: Step::Gone,
            due: 0,
            late: VecDeque::new(),
        };
        Talk { first, all: (0..count).map(one).collect(), interval, due: 0, under_way: 0 }
    }

    pub(super) fn count(&self) -> u32 {
        self.all.len() as u32
    }

    fn at(&mut self, conn: ConnIndex) -> &mut Talker {
        &mut self.all[(conn.0 - self.first) as usize]
    }

    /// Nobody opens or waits for an answer.
    pub(super) fn is_still(&self) -> bool {
        self.under_way == 0
    }

    pub(super) fn begin(&mut self, ground: &mut Ground, net: &mut Net) {
        for index in 0..self.all.len() as u32 {
            let conn = ConnIndex(self.first + index);
            match ground.phase {
                Phase::Open => self.open(conn, ground, net),
                Phase::Check => {
                    // What the target was too slow for is not asked any more.
                    let late = std::mem::take(&mut self.at(conn).late);
                    if !late.is_empty() {
                        ground.tally.count("messages_never_sent", late.len() as u64);
                    }
                }
                Phase::Close => {
                    self.at(conn).step = Step::Gone;
                    net.close(conn);
                }
                _ => {}
            }
        }
    }

    fn open(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        let (next, server) = ground.next_life();
        let one = self.at(conn);
        (one.exchange, one.step) = (Exchange::new(next), Step::Opening);
        one.late.clear();
        self.under_way += 1;
        net.open(conn, server);
    }

    /// Asks what is due; when the next is.
    pub(super) fn tick(&mut self, ground: &mut Ground, net: &mut Net) -> u64 {
        let Some(interval) = self.interval.filter(|_| ground.phase == Phase::Run) else {
            return u64::MAX;
        };
        if self.all.is_empty() {
            return u64::MAX;
        }
        let mut due = ground.began + self.due * interval;
        while due <= ground.now {
            let conn = ConnIndex(self.first + (self.due % self.all.len() as u64) as u32);
            ground.tally.latency("generator_lag", ground.now - due);
            self.ask(conn, due, net);
            self.due += 1;
            due += interval;
        }
        due
    }

    fn ask(&mut self, conn: ConnIndex, due: u64, net: &mut Net) {
        let one = self.at(conn);
        match one.step {
            Step::Idle => {}
            Step::Asking => return one.late.push_back(due),
            Step::Opening | Step::Gone | Step::Returning => return,
        }
        (one.step, one.due) = (Step::Asking, due);
        one.exchange.ask(MESSAGE_BYTES, conn, net);
        self.under_way += 1;
        net.receive(conn);
    }

    pub(super) fn on(&mut self, conn: ConnIndex, event: Event, ground: &mut Ground, net: &mut Net) {
        match event {
            Event::Opened => {
                self.at(conn).step = Step::Idle;
                self.under_way -= 1;
                net.relax(conn);
                net.receive(conn);
            }
            Event::MaySend if self.at(conn).step == Step::Asking => {
                self.at(conn).exchange.send(conn, net);
            }
            Event::Received(chunk) => match self.at(conn).exchange.take(net.bytes(chunk)) {
                Ok(true) => self.answered(conn, ground, net),
                Ok(false) => net.receive(conn),
                Err(what) => self.lose(conn, &what, ground, net),
            },
            Event::Ended(end) => self.lose(conn, &words(end), ground, net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", ground, net),
            Event::Closed if self.at(conn).step == Step::Returning => self.open(conn, ground, net),
            Event::Sent | Event::MaySend | Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn answered(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        let one = self.at(conn);
        one.step = Step::Idle;
        let (due, next) = (one.due, one.late.pop_front());
        self.under_way -= 1;
        ground.answered(due);
        match next {
            Some(due) => self.ask(conn, due, net),
            None => {
                net.relax(conn);
                net.receive(conn);
            }
        }
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, ground: &mut Ground, net: &mut Net) {
        let one = self.at(conn);
        let step = match one.step {
            Step::Opening => "pingpong, open",
            Step::Asking => "pingpong, message",
            Step::Idle => "pingpong, between messages",
            Step::Gone | Step::Returning => return net.close(conn),
        };
        one.exchange.give_up();
        let was_still = one.step == Step::Idle;
        self.under_way -= u64::from(!was_still);
        let returns = ground.lost(step, what);
        self.at(conn).step = if returns { Step::Returning } else { Step::Gone };
        net.close(conn);
    }
}
