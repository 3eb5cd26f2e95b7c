//! Connections that come at a rate, each with one message, and go.

use portcullis::ring::ConnIndex;

use super::exchange::Exchange;
use super::ground::Ground;
use crate::engine::{Event, Net, Phase, words};
use crate::pattern::Pattern;

const MESSAGE_BYTES: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Gone,
    Opening,
    Asking,
}

struct Newcomer {
    exchange: Exchange,
    step: Step,
    due: u64,
}

/// One thread's, from a slot on.
pub(super) struct Newcomers {
    first: u32,
    all: Vec<Newcomer>,
    free: Vec<ConnIndex>,
    interval: Option<u64>,
    due: u64,
    under_way: u64,
}

impl Newcomers {
    pub(super) fn new(first: u32, most: u32, interval: Option<u64>) -> Newcomers {
        let exchange = || Exchange::new(Pattern::new(0));
        let gone = |_| Newcomer { exchange: exchange(), step: Step::Gone, due: 0 };
        let all = (0..most).map(gone).collect();
        let free = (first..first + most).rev().map(ConnIndex).collect();
        Newcomers { first, all, free, interval, due: 0, under_way: 0 }
    }

    fn at(&mut self, conn: ConnIndex) -> &mut Newcomer {
        &mut self.all[(conn.0 - self.first) as usize]
    }

    pub(super) fn is_still(&self) -> bool {
        self.under_way == 0
    }

    pub(super) fn begin(&mut self, phase: Phase, net: &mut Net) {
        if phase == Phase::Close {
            for (index, one) in (self.first..).zip(&mut self.all) {
                one.step = Step::Gone;
                net.close(ConnIndex(index));
            }
        }
    }

    /// Opens what is due; when the next is.
    pub(super) fn tick(&mut self, ground: &mut Ground, net: &mut Net) -> u64 {
        let Some(interval) = self.interval.filter(|_| ground.phase == Phase::Run) else {
            return u64::MAX;
        };
        let mut due = ground.began + self.due * interval;
        while due <= ground.now {
            match self.free.pop() {
                Some(conn) => self.open(conn, due, ground, net),
                // All that may wait do: the target serves nobody.
                None => ground.tally.count("new_never_begun", 1),
            }
            self.due += 1;
            due += interval;
        }
        due
    }

    fn open(&mut self, conn: ConnIndex, due: u64, ground: &mut Ground, net: &mut Net) {
        let (next, server) = ground.next_life();
        *self.at(conn) = Newcomer { exchange: Exchange::new(next), step: Step::Opening, due };
        self.under_way += 1;
        net.open(conn, server);
    }

    pub(super) fn on(&mut self, conn: ConnIndex, event: Event, ground: &mut Ground, net: &mut Net) {
        match event {
            Event::Opened => {
                let one = self.at(conn);
                one.step = Step::Asking;
                one.exchange.ask(MESSAGE_BYTES, conn, net);
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
            Event::Closed => self.free.push(conn),
            Event::Sent | Event::MaySend | Event::Accepted(_) => {}
        }
    }

    fn answered(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        let one = self.at(conn);
        one.step = Step::Gone;
        let due = one.due;
        self.under_way -= 1;
        ground.served(due);
        net.close(conn);
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, ground: &mut Ground, net: &mut Net) {
        let one = self.at(conn);
        let step = match one.step {
            Step::Gone => return net.close(conn),
            Step::Opening => "churn, connecting",
            Step::Asking => "churn, after its handshake",
        };
        one.exchange.give_up();
        one.step = Step::Gone;
        self.under_way -= 1;
        ground.tally.count("new_lost", 1);
        ground.lost(step, what);
        net.close(conn);
    }
}
