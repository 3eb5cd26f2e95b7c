//! Short lives: connect, exchange one message, close, again and again or all at once.

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use portcullis::base::Chunk;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, json};

use super::outage::{GIVE_UP, Outage};
use crate::engine::{self, End, Event, Net, Phase, Script, Tally, Tick, Until, words};
use crate::flags;
use crate::load::common::{Buffers, Common, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use crate::pattern::{self, HELLO_BYTES, Pattern};

/// Four-tuples that a churn is given where the plan can choose: those that closed first stay in
/// TIME-WAIT.
const TUPLES: u64 = 250_000;

/// Connect, one message, close, again and again.
#[derive(Args)]
#[command(after_help = "Examples: 64 at a time, as fast as they go; and 2,000 a second:
  portcullis-bench churn --target 127.0.0.1:7000 --connections 64 --seconds 10
  portcullis-bench churn --target 127.0.0.1:7000 --connections 1000 --seconds 10 --rate 2000
And handshakes of TLS, with nothing after them:
  portcullis-bench churn --target 127.0.0.1:7443 --tls --silent")]
pub(crate) struct Churn {
    #[command(flatten)]
    common: Common,
    /// Connections at one time
    #[arg(long, default_value_t = 64, value_parser = flags::connections)]
    connections: u64,
    #[arg(long, default_value = "10s", value_parser = flags::duration)]
    seconds: Duration,
    /// Lives begun per second, whatever the others do; 0: as soon as one has ended
    #[arg(long, default_value_t = 0, value_parser = flags::count)]
    rate: u64,
    /// The size of the message
    #[arg(long, default_value_t = 64)]
    #[arg(value_parser = flags::size_u32::<{ 1 << 20 }>)]
    bytes: u32,
    /// No message: a connection ends when it is established, with --tls after its handshake
    #[arg(long, conflicts_with_all = ["bytes", "hello_first"])]
    silent: bool,
    /// End by RST instead of FIN
    #[arg(long)]
    reset: bool,
    /// The server speaks first (`serve --mode hello-first`): its greeting is waited for
    #[arg(long)]
    hello_first: bool,
}

/// All connect at once; then all drop and return.
#[derive(Args)]
#[command(after_help = "Example: 8,000 at once, then all drop and return:
  portcullis-bench storm --target 127.0.0.1:7000 --connections 8000")]
pub(crate) struct Storm {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 8_000, value_parser = flags::connections)]
    connections: u64,
    /// The size of the message
    #[arg(long, default_value_t = 64)]
    #[arg(value_parser = flags::size_u32::<{ 1 << 20 }>)]
    bytes: u32,
}

impl Churn {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let phases = vec![
            (Phase::Run, Until::Elapsed(self.seconds)),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let threads = self.common.threads(self.connections);
        let size = Size { tuples: TUPLES, ..Size::at_once(self.connections) };
        let plan = self.common.plan(size)?;
        let job = self.common.job(&plan, phases, threads, self.connections);
        let outcome = engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let setup = self.common.setup(&plan, connections, Buffers::for_messages(self.bytes));
            let interval = (threads as u64 * 1_000_000_000).checked_div(self.rate);
            let kind = Kind::Churn { interval_nanos: interval, reset: self.reset };
            let bytes = if self.silent { 0 } else { self.bytes };
            let living = Living::new(kind, bytes, index, threads, connections);
            let pairs = plan.servers().len() as u64;
            Ok((setup, Living { pairs, hello_first: self.hello_first, ..living }))
        })?;
        let lives = outcome.tally.get("lives_in_time") as f64;
        let verdict = Verdict {
            scenario: "churn",
            answers: &["lives"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections,
                "seconds": flags::seconds(self.seconds), "rate": self.rate,
                "bytes": if self.silent { 0 } else { self.bytes },
                "end": if self.reset { "reset" } else { "fin" },
                "hello_first": self.hello_first,
                "loop": if self.rate > 0 { "open" } else { "closed" },
            }),
            units: vec![("connection", lives)],
            figures: Map::new(),
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}

impl Storm {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let phases = vec![
            (Phase::Open, Until::Done),
            (Phase::Run, Until::Done),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let threads = self.common.threads(self.connections);
        let tuples = self.connections * 2;
        let plan = self.common.plan(Size { tuples, ..Size::at_once(self.connections) })?;
        let job = self.common.job(&plan, phases, threads, self.connections);
        let outcome = engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let setup = self.common.setup(&plan, connections, Buffers::for_messages(self.bytes));
            let living = Living::new(Kind::Storm, self.bytes, index, threads, connections);
            Ok((setup, Living { pairs: plan.servers().len() as u64, ..living }))
        })?;
        let mut figures = Map::new();
        if let Some((before, after)) = outcome.around(Phase::Open) {
            let seconds = (after.at - before.at).as_secs_f64();
            figures.insert("seconds_until_all_answered".into(), json!(seconds));
            figures.insert("accept_queue_at_first".into(), after.queue_since(before));
        }
        let verdict = Verdict {
            scenario: "storm",
            answers: &["arrived"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({"connections": self.connections, "bytes": self.bytes}),
            units: vec![("connection", outcome.tally.get("returned") as f64)],
            figures,
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}

/// Which of the two scenarios it is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Churn { interval_nanos: Option<u64>, reset: bool },
    Storm,
}

/// What a life is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The slot is free.
    Free,
    Opening,
    /// It is open, and the server is to speak first.
    Listening,
    Asking,
    /// Answered; it stays.
    Staying,
    /// FIN is sent; the target's is waited for.
    Leaving,
    /// Closed, and the slot is not free yet.
    Closing,
}

struct Life {
    next: Pattern,
    step: Step,
    missing_bytes: u32,
    due_nanos: u64,
    /// It has come back after the drop.
    returned: bool,
}

/// One thread's lives.
struct Living {
    kind: Kind,
    tally: Tally,
    phase: Phase,
    bytes: u32,
    hello_first: bool,
    lives: Vec<Life>,
    free: Vec<ConnIndex>,
    /// When lives were due for which no slot was free.
    late: VecDeque<u64>,
    number: u64,
    threads: u64,
    pairs: u64,
    began_nanos: u64,
    due: u64,
    /// Lives that have begun and not ended or, in a storm, been answered.
    under_way: u64,
    outage: Outage,
}

impl Living {
    fn new(kind: Kind, bytes: u32, index: usize, threads: usize, connections: u32) -> Living {
        let life = |_| Life {
            next: Pattern::new(0),
            step: Step::Free,
            missing_bytes: 0,
            due_nanos: 0,
            returned: false,
        };
        Living {
            kind,
            tally: Tally::default(),
            phase: Phase::Check,
            bytes,
            hello_first: false,
            lives: (0..connections).map(life).collect(),
            free: (0..connections).rev().map(ConnIndex).collect(),
            late: VecDeque::new(),
            number: index as u64,
            threads: threads as u64,
            pairs: 1,
            began_nanos: 0,
            due: 0,
            under_way: 0,
            outage: Outage::default(),
        }
    }

    /// Begins a life in a free slot.
    fn live(&mut self, conn: ConnIndex, due_nanos: u64, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        life.step = Step::Opening;
        life.next = Pattern::new(self.number);
        life.due_nanos = due_nanos;
        let server = ServerId((self.number / self.threads % self.pairs) as u16);
        self.number += self.threads;
        self.under_way += 1;
        net.open(conn, server);
    }

    fn ask(&mut self, conn: ConnIndex, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        (life.step, life.missing_bytes) = (Step::Asking, self.bytes);
        net.expect(conn);
        net.send(conn, self.bytes, |bytes| life.next.clone().fill(bytes));
        net.receive(conn);
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        if life.step == Step::Listening {
            return match pattern::greeted(&mut life.missing_bytes, net.bytes(chunk)) {
                Ok(true) => self.ask(conn, net),
                Ok(false) => net.receive(conn),
                Err(what) => self.lose(conn, &what, net),
            };
        }
        let asked = if life.step == Step::Asking { life.missing_bytes } else { 0 };
        if let Err(what) = pattern::take(&mut life.next, asked.into(), net.bytes(chunk)) {
            return self.lose(conn, &what, net);
        }
        life.missing_bytes -= chunk.length_bytes;
        if life.missing_bytes > 0 {
            return net.receive(conn);
        }
        let nanos = net.nanos() - life.due_nanos;
        match (self.kind, self.phase) {
            (Kind::Churn { reset, .. }, _) => {
                self.tally.latency("open_and_answer", nanos);
                return self.leave(conn, reset, net);
            }
            (Kind::Storm, phase) => {
                let back = phase == Phase::Run;
                life.step = Step::Staying;
                self.under_way -= 1;
                self.tally.latency(if back { "return" } else { "arrive" }, nanos);
                self.tally.count(if back { "returned" } else { "arrived" }, 1);
                net.relax(conn);
            }
        }
        net.receive(conn);
    }

    /// A life of a churn has nothing more to say.
    fn leave(&mut self, conn: ConnIndex, reset: bool, net: &mut Net) {
        if reset {
            self.end(conn);
            return net.reset(conn);
        }
        self.lives[conn.0 as usize].step = Step::Leaving;
        net.expect(conn);
        net.finish(conn);
        net.receive(conn);
    }

    /// A life of a churn that went as it should.
    fn end(&mut self, conn: ConnIndex) {
        self.lives[conn.0 as usize].step = Step::Closing;
        self.under_way -= 1;
        self.tally.count("lives", 1);
        if self.phase == Phase::Run {
            self.tally.count("lives_in_time", 1);
        }
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        let step = match life.step {
            Step::Free | Step::Closing => return net.close(conn),
            Step::Opening => "open",
            Step::Listening => "greeting",
            Step::Asking => "message",
            Step::Staying => "after the answer",
            Step::Leaving => "close",
        };
        self.under_way -= u64::from(life.step != Step::Staying);
        life.step = Step::Closing;
        self.tally.fail(step, what);
        net.close(conn);
    }

    /// A slot is free again.
    fn freed(&mut self, conn: ConnIndex, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        life.step = Step::Free;
        let now = net.nanos();
        match self.kind {
            Kind::Storm if self.phase == Phase::Run && !life.returned => {
                life.returned = true;
                self.under_way -= 1;
                self.live(conn, self.began_nanos, net);
            }
            Kind::Churn { interval_nanos: None, .. } if self.phase == Phase::Run => {
                self.live(conn, now, net);
            }
            Kind::Churn { interval_nanos: Some(_), .. } if self.phase == Phase::Run => {
                match self.late.pop_front() {
                    Some(due_nanos) => self.live(conn, due_nanos, net),
                    None => self.free.push(conn),
                }
            }
            _ => self.free.push(conn),
        }
    }

    /// Begins what is due in an open loop; when the next is.
    fn begin_due(&mut self, interval: u64, net: &mut Net) -> u64 {
        let now = net.nanos();
        let mut due_nanos = self.began_nanos + self.due * interval;
        while due_nanos <= now {
            self.due += 1;
            match self.free.pop() {
                Some(conn) => {
                    self.tally.latency("generator_lag", now - due_nanos);
                    self.live(conn, due_nanos, net);
                }
                None => self.late.push_back(due_nanos),
            }
            due_nanos += interval;
        }
        due_nanos - now
    }
}

impl Script for Living {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        self.began_nanos = net.nanos();
        self.outage.begin();
        if phase == Phase::Check && !self.late.is_empty() {
            self.tally.count("due_but_never_begun", self.late.len() as u64);
        }
        if phase == Phase::Close {
            self.under_way = 0; // After an interrupt, what is not answered is given up.
        }
        for index in 0..self.lives.len() {
            let conn = ConnIndex(index as u32);
            match (phase, self.kind) {
                (Phase::Open, _) | (Phase::Run, Kind::Churn { interval_nanos: None, .. }) => {
                    self.live(conn, self.began_nanos, net);
                }
                (Phase::Run, Kind::Storm) => {
                    self.under_way += 1; // until it has come back
                    if self.lives[index].step == Step::Free {
                        self.freed(conn, net);
                    } else {
                        self.lives[index].step = Step::Closing;
                        net.reset(conn);
                    }
                }
                (Phase::Close, _) => {
                    self.lives[index].step = Step::Closing;
                    net.close(conn);
                }
                _ => {}
            }
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        match event {
            Event::Opened if life.step == Step::Opening => {
                self.tally.latency("connect", net.nanos() - life.due_nanos);
                match self.kind {
                    Kind::Churn { reset, .. } if self.bytes == 0 => {
                        return self.leave(conn, reset, net);
                    }
                    _ if !self.hello_first => return self.ask(conn, net),
                    _ => {}
                }
                (life.step, life.missing_bytes) = (Step::Listening, HELLO_BYTES);
                net.expect(conn);
                net.receive(conn);
            }
            Event::MaySend if life.step == Step::Asking => {
                net.send(conn, self.bytes, |bytes| life.next.clone().fill(bytes));
            }
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(End::Fin | End::CutOff) if life.step == Step::Leaving => {
                self.end(conn);
                net.close(conn);
            }
            Event::Ended(end) => self.lose(conn, &words(end), net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", net),
            Event::Closed => self.freed(conn, net),
            Event::Opened | Event::Sent | Event::MaySend | Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let mut wait = u64::MAX;
        if let (Phase::Run, Kind::Churn { interval_nanos: Some(interval), .. }) =
            (self.phase, self.kind)
        {
            wait = self.begin_due(interval, net);
        }
        let done = self.under_way == 0 && (self.phase != Phase::Close || net.open == 0);
        let ended = ["lives", "arrived", "returned"].iter().map(|what| self.tally.get(what));
        let progress = ended.sum();
        let dead = self.phase == Phase::Run
            && matches!(self.kind, Kind::Churn { .. })
            && self.outage.lasts(net.nanos(), progress, &self.tally, GIVE_UP);
        Tick { done, dead, progress, wait: Duration::from_nanos(wait) }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
