//! Connections that are held: each is asked when it opens, when all are checked, and in its turn.

use std::sync::atomic::Ordering::SeqCst;

use portcullis::ring::ConnIndex;

use super::exchange::Exchange;
use super::ground::Ground;
use super::marks::Time;
use crate::engine::{End, Event, Net, Phase, words};
use crate::pattern::Pattern;

/// What each says when it is asked.
const MESSAGE_BYTES: u32 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Gone,
    Opening,
    Asking,
    Idle,
    /// FIN is sent; the target's is waited for.
    Leaving,
}

/// Why one was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    First,
    Probe,
    Check,
}

struct One {
    exchange: Exchange,
    step: Step,
    why: Why,
    asked: u64,
}

/// One thread's, in its first slots.
pub(super) struct Held {
    all: Vec<One>,
    window: u64,
    /// Of the walk over all that is under way: those begun, and those of them that are not through.
    /// Probes are none of it.
    begun: u64,
    under_way: u64,
    /// A walk that was asked for meanwhile is under way.
    checks: u64,
    is_checking: bool,
    probe_nanos: Option<u64>,
    probes: u64,
}

impl Held {
    pub(super) fn new(count: u32, window: u64, probe_nanos: Option<u64>) -> Held {
        let one = |_| One {
            exchange: Exchange::new(Pattern::new(0)),
            step: Step::Gone,
            why: Why::First,
            asked: 0,
        };
        let all = (0..count).map(one).collect();
        let (begun, under_way, checks, is_checking, probes) = (0, 0, 0, false, 0);
        Held { all, window, begun, under_way, checks, is_checking, probe_nanos, probes }
    }

    pub(super) fn count(&self) -> u32 {
        self.all.len() as u32
    }

    pub(super) fn begin(&mut self, phase: Phase, net: &mut Net) {
        (self.begun, self.probes, self.is_checking) = (0, 0, false);
        if phase == Phase::Close {
            // Only an interrupt leaves some under way.
            self.under_way = 0;
            for (index, one) in (0..).zip(&mut self.all) {
                if matches!(one.step, Step::Asking | Step::Opening) {
                    one.step = Step::Gone;
                    net.close(ConnIndex(index));
                }
            }
        }
    }

    /// The walk of this phase, as far as it may go now; when something is due next.
    pub(super) fn tick(&mut self, ground: &mut Ground, net: &mut Net) -> u64 {
        match ground.phase {
            Phase::Open | Phase::Check | Phase::Close => self.walk(ground, net),
            Phase::Run => return self.run(ground, net),
            _ => {}
        }
        u64::MAX
    }

    fn run(&mut self, ground: &mut Ground, net: &mut Net) -> u64 {
        if !self.is_checking && self.checks < ground.marks.checks_asked() {
            (self.is_checking, self.begun) = (true, 0);
        }
        if self.is_checking {
            self.walk(ground, net);
            if self.is_through() {
                self.is_checking = false;
                self.checks += 1;
                ground.marks.checked.fetch_add(1, SeqCst);
            }
        }
        let Some(interval) = self.probe_nanos.filter(|_| !self.all.is_empty()) else {
            return u64::MAX;
        };
        while ground.began + self.probes * interval <= ground.now {
            let conn = ConnIndex((self.probes % self.all.len() as u64) as u32);
            self.probes += 1;
            if self.all[conn.0 as usize].step == Step::Idle {
                self.ask(conn, Why::Probe, ground, net);
            }
        }
        ground.began + self.probes * interval
    }

    fn walk(&mut self, ground: &mut Ground, net: &mut Net) {
        while self.begun < self.all.len() as u64 && self.under_way < self.window {
            let conn = ConnIndex(self.begun as u32);
            self.begun += 1;
            self.begin_one(conn, ground, net);
        }
    }

    /// Nothing of the walk is left.
    pub(super) fn is_through(&self) -> bool {
        self.begun >= self.all.len() as u64 && self.under_way == 0
    }

    fn begin_one(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        let one = &mut self.all[conn.0 as usize];
        match (ground.phase, one.step) {
            (Phase::Open, Step::Gone) => {
                let (next, server) = ground.next_life();
                let (step, why) = (Step::Opening, Why::First);
                *one = One { exchange: Exchange::new(next), step, why, asked: ground.now };
                self.under_way += 1;
                net.open(conn, server);
            }
            (Phase::Run | Phase::Check, Step::Idle) => self.ask(conn, Why::Check, ground, net),
            // The answer to a probe will do.
            (Phase::Run | Phase::Check, Step::Asking) if one.why == Why::Probe => {
                one.why = Why::Check;
                self.under_way += 1;
            }
            (Phase::Close, Step::Idle) => {
                one.step = Step::Leaving;
                self.under_way += 1;
                net.expect(conn);
                net.finish(conn);
            }
            _ => {}
        }
    }

    fn ask(&mut self, conn: ConnIndex, why: Why, ground: &mut Ground, net: &mut Net) {
        let one = &mut self.all[conn.0 as usize];
        (one.step, one.why, one.asked) = (Step::Asking, why, ground.now);
        one.exchange.ask(MESSAGE_BYTES, conn, net);
        self.under_way += u64::from(why != Why::Probe);
    }

    pub(super) fn on(&mut self, conn: ConnIndex, event: Event, ground: &mut Ground, net: &mut Net) {
        let one = &mut self.all[conn.0 as usize];
        match event {
            Event::Opened => {
                let begun = one.asked;
                self.under_way -= 1;
                self.ask(conn, Why::First, ground, net);
                self.all[conn.0 as usize].asked = begun;
                net.receive(conn);
            }
            Event::MaySend if one.step == Step::Asking => one.exchange.send(conn, net),
            Event::Received(chunk) => match one.exchange.take(net.bytes(chunk)) {
                Ok(true) => self.answered(conn, ground, net),
                Ok(false) => net.receive(conn),
                Err(what) => self.lose(conn, &what, ground, net),
            },
            Event::Ended(End::Fin | End::CutOff) if one.step == Step::Leaving => {
                one.step = Step::Gone;
                self.under_way -= 1;
                ground.tally.count("held_closed_clean", 1);
                net.close(conn);
            }
            Event::Ended(end) => self.lose(conn, &words(end), ground, net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", ground, net),
            Event::Sent | Event::MaySend | Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn answered(&mut self, conn: ConnIndex, ground: &mut Ground, net: &mut Net) {
        let one = &mut self.all[conn.0 as usize];
        one.step = Step::Idle;
        self.under_way -= u64::from(one.why != Why::Probe);
        net.relax(conn);
        net.idle(conn);
        let within = ground.marks.time_of(one.asked) == Time::Window;
        let (of, count) = match one.why {
            Why::First => ("open_and_first_answer", "held_opened"),
            Why::Probe if within => ("probe_in_window", "held_probed"),
            Why::Probe => ("probe", "held_probed"),
            Why::Check if ground.phase == Phase::Run => ("check", "held_checked_meanwhile"),
            Why::Check => ("check", "held_checked"),
        };
        if one.why == Why::First {
            ground.marks.held.fetch_add(1, SeqCst);
        }
        ground.tally.latency(of, ground.marks.now().saturating_sub(one.asked));
        ground.tally.count(count, 1);
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, ground: &mut Ground, net: &mut Net) {
        let one = &mut self.all[conn.0 as usize];
        let step = match one.step {
            Step::Gone => return net.close(conn),
            Step::Opening => "held, open",
            Step::Asking => "held, asked",
            Step::Idle => "held, idle",
            Step::Leaving => "held, close",
        };
        one.exchange.give_up();
        let counted = !matches!(one.step, Step::Opening) && ground.phase != Phase::Open;
        let asked = one.asked;
        let is_probed = one.step == Step::Asking && one.why == Why::Probe;
        self.under_way -= u64::from(one.step != Step::Idle && !is_probed);
        one.step = Step::Gone;
        if counted {
            ground.marks.held.fetch_sub(1, SeqCst);
        }
        ground.held_lost(step, what, asked);
        net.close(conn);
    }
}
