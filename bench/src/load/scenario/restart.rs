//! What established and new connections notice while the target restarts, reloads or upgrades.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use portcullis::base::Chunk;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, json};

use super::outage::Outage;
use crate::engine::{self, Event, Net, Phase, Script, Tally, Tick, Until, words};
use crate::flags;
use crate::load::common::{Buffers, Common, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use crate::pattern::{self, Pattern};

const MESSAGE_BYTES: u32 = 32;

/// Established and new connections while the target reloads or upgrades: lost, reset, stalled.
#[derive(Args)]
#[command(
    after_help = "Example: start it, then reload the target within the 30 s; `failures` says \
what was lost and how, `latency_us` how long the others were stalled:
  portcullis-bench restart --target 127.0.0.1:7000 --connections 1000 --rate 500 --seconds 30"
)]
pub(crate) struct Restart {
    #[command(flatten)]
    common: Common,
    /// Established connections, each with a message every `--interval`
    #[arg(long, default_value_t = 1_000, value_parser = flags::count)]
    connections: u64,
    #[arg(long, default_value = "1s", value_parser = flags::duration)]
    interval: Duration,
    /// New connections per second, each with one message
    #[arg(long, default_value_t = 200, value_parser = flags::count)]
    rate: u64,
    /// New connections that may be under way at one time
    #[arg(long, default_value_t = 4_096, value_parser = flags::count)]
    newcomers: u64,
    #[arg(long, default_value = "30s", value_parser = flags::duration)]
    seconds: Duration,
}

impl Restart {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let all = self.connections + self.newcomers;
        let plan = self.common.plan(Size::at_once(all))?;
        let threads = self.common.threads(self.connections);
        let phases = vec![
            (Phase::Open, Until::Done),
            (Phase::Run, Until::Elapsed(self.seconds)),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let job = self.common.job(&plan, phases, threads, self.connections);
        let outcome = engine::run(&job, |index| {
            let established = share(self.connections, index, threads) as u32;
            let newcomers = (share(self.newcomers, index, threads) as u32).max(1);
            let buffers = Buffers::for_messages(MESSAGE_BYTES);
            let setup = self.common.setup(&plan, established + newcomers, buffers);
            let pairs = setup.servers.len() as u64;
            Ok((setup, Witness::new(self, established, newcomers, pairs, index, threads)))
        })?;
        let verdict = Verdict {
            scenario: "restart",
            answers: &["established", "new_served"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections, "rate": self.rate,
                "seconds": flags::seconds(self.seconds),
                "interval_seconds": self.interval.as_secs_f64(), "newcomers": self.newcomers,
            }),
            units: Vec::new(),
            figures: Map::new(),
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Gone,
    Opening,
    Asking,
    Idle,
}

struct Seen {
    next: Pattern,
    step: Step,
    missing_bytes: u32,
    /// When what it does now was due.
    due_nanos: u64,
}

/// One thread's connections: the established first, newcomers behind them.
struct Witness {
    tally: Tally,
    phase: Phase,
    established: u32,
    seen: Vec<Seen>,
    free: Vec<ConnIndex>,
    number: u64,
    threads: u64,
    pairs: u64,
    /// Between two messages, and between two newcomers, of this thread.
    message_nanos: u64,
    newcomer_nanos: u64,
    began_nanos: u64,
    messages_due: u64,
    newcomers_due: u64,
    under_way: u64,
    outage: Outage,
    patience: Duration,
}

impl Witness {
    fn new(
        restart: &Restart,
        established: u32,
        newcomers: u32,
        pairs: u64,
        index: usize,
        threads: usize,
    ) -> Witness {
        let gone =
            |_| Seen { next: Pattern::new(0), step: Step::Gone, missing_bytes: 0, due_nanos: 0 };
        let interval = restart.interval.as_nanos() as u64;
        let newcomer_nanos = (threads as u64 * 1_000_000_000).checked_div(restart.rate);
        Witness {
            tally: Tally::default(),
            phase: Phase::Open,
            established,
            seen: (0..established + newcomers).map(gone).collect(),
            free: (established..established + newcomers).rev().map(ConnIndex).collect(),
            number: index as u64,
            threads: threads as u64,
            pairs,
            message_nanos: (interval / u64::from(established.max(1))).max(1),
            newcomer_nanos: newcomer_nanos.unwrap_or(u64::MAX),
            began_nanos: 0,
            messages_due: 0,
            newcomers_due: 0,
            under_way: 0,
            outage: Outage::default(),
            patience: restart.common.patience,
        }
    }

    fn is_new(&self, conn: ConnIndex) -> bool {
        conn.0 >= self.established
    }

    fn open(&mut self, conn: ConnIndex, due_nanos: u64, net: &mut Net) {
        let next = Pattern::new(self.number);
        let server = ServerId((self.number / self.threads % self.pairs) as u16);
        self.number += self.threads;
        self.under_way += 1;
        self.seen[conn.0 as usize] =
            Seen { next, step: Step::Opening, missing_bytes: 0, due_nanos };
        net.open(conn, server);
    }

    fn ask(&mut self, conn: ConnIndex, net: &mut Net) {
        let seen = &mut self.seen[conn.0 as usize];
        seen.step = Step::Asking;
        seen.missing_bytes = MESSAGE_BYTES;
        net.expect(conn);
        net.send(conn, MESSAGE_BYTES, |bytes| seen.next.clone().fill(bytes));
        net.receive(conn);
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        let is_new = self.is_new(conn);
        let seen = &mut self.seen[conn.0 as usize];
        let asked = if seen.step == Step::Asking { seen.missing_bytes } else { 0 };
        if let Err(what) = pattern::take(&mut seen.next, asked.into(), net.bytes(chunk)) {
            return self.lose(conn, &what, net);
        }
        seen.missing_bytes -= chunk.length_bytes;
        net.receive(conn);
        if seen.missing_bytes > 0 {
            return;
        }
        let nanos = net.nanos() - seen.due_nanos;
        seen.step = if is_new { Step::Gone } else { Step::Idle };
        self.under_way -= 1;
        let of = match (is_new, self.phase) {
            (true, _) => "new",
            (false, Phase::Open) => "established",
            (false, _) => "message",
        };
        self.tally.latency(of, nanos);
        self.tally.count(if is_new { "new_served" } else { of }, 1);
        net.relax(conn);
        if is_new {
            net.close(conn);
        }
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        let is_new = self.is_new(conn);
        let seen = &mut self.seen[conn.0 as usize];
        let step = match (is_new, seen.step) {
            (_, Step::Gone) => return net.close(conn),
            (true, Step::Opening) => "new, connecting",
            (true, _) => "new, after its handshake",
            (false, Step::Opening) => "open",
            (false, Step::Asking) => "established, with a message under way",
            (false, Step::Idle) => "established, idle",
        };
        self.under_way -= u64::from(seen.step != Step::Idle);
        seen.step = Step::Gone;
        self.tally.fail(step, what);
        net.close(conn);
    }

    /// Begins what is due; in how many nanoseconds more is.
    fn begin_due(&mut self, net: &mut Net) -> u64 {
        let passed = net.nanos() - self.began_nanos;
        while self.established > 0 && self.messages_due * self.message_nanos <= passed {
            let conn = ConnIndex((self.messages_due % u64::from(self.established)) as u32);
            let due_nanos = self.began_nanos + self.messages_due * self.message_nanos;
            self.messages_due += 1;
            // One that still waits for its last answer is stalled: that answer's latency says so.
            if self.seen[conn.0 as usize].step == Step::Idle {
                self.seen[conn.0 as usize].due_nanos = due_nanos;
                self.under_way += 1;
                self.ask(conn, net);
            }
        }
        while self.newcomers_due.saturating_mul(self.newcomer_nanos) <= passed {
            let due_nanos = self.began_nanos + self.newcomers_due * self.newcomer_nanos;
            self.newcomers_due += 1;
            match self.free.pop() {
                Some(conn) => self.open(conn, due_nanos, net),
                None => self.tally.count("new_never_begun", 1),
            }
        }
        let message = (self.messages_due * self.message_nanos).saturating_sub(passed);
        let newcomer = self.newcomers_due.saturating_mul(self.newcomer_nanos);
        message.min(newcomer.saturating_sub(passed))
    }
}

impl Script for Witness {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        self.began_nanos = net.nanos();
        match phase {
            Phase::Open => {
                (0..self.established).for_each(|index| {
                    let now = net.nanos();
                    self.open(ConnIndex(index), now, net);
                });
            }
            Phase::Close => {
                let kept = |seen: &&Seen| matches!(seen.step, Step::Idle | Step::Asking);
                self.tally.count("kept", self.seen.iter().filter(kept).count() as u64);
                for index in 0..self.seen.len() {
                    self.seen[index].step = Step::Gone;
                    net.close(ConnIndex(index as u32));
                }
            }
            _ => {}
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        let seen = &mut self.seen[conn.0 as usize];
        match event {
            Event::Opened => self.ask(conn, net),
            Event::MaySend if seen.step == Step::Asking => self.ask(conn, net),
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(end) => self.lose(conn, &words(end), net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", net),
            Event::Closed if self.is_new(conn) => self.free.push(conn),
            Event::Sent | Event::MaySend | Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let wait = if self.phase == Phase::Run { self.begin_due(net) } else { u64::MAX };
        let done = if self.phase == Phase::Close { net.open == 0 } else { self.under_way == 0 };
        let progress = self.tally.get("message") + self.tally.get("new_served");
        // It is there to see an outage: one that lasts longer than anybody's patience is the end.
        let dead = self.phase == Phase::Run
            && net.open == 0
            && self.outage.lasts(net.nanos(), progress, &self.tally, self.patience);
        Tick { done, dead, progress, wait: Duration::from_nanos(wait) }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
