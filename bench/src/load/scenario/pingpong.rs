//! Small messages back and forth on every connection, each answer checked.

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use portcullis::base::Chunk;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, json};

use crate::engine::{self, Event, Net, Phase, Script, Tally, Tick, Until, words};
use crate::flags;
use crate::load::common::{Buffers, Common, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use crate::pattern::{self, HELLO_BYTES, Pattern};

/// Small messages back and forth on every connection, each checked.
#[derive(Args)]
#[command(after_help = "Examples: as fast as answers come; and 20,000 messages a second, whose \
latency counts from when each was due:
  portcullis-bench pingpong --target 127.0.0.1:7000 --connections 1000 --seconds 30
  portcullis-bench pingpong --target 127.0.0.1:7000 --connections 1000 --seconds 30 --rate 20000")]
pub(crate) struct PingPong {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 1_000, value_parser = flags::connections)]
    connections: u64,
    /// The size of a message
    #[arg(long, default_value_t = 64, value_parser = flags::size_u32::<{ 1 << 20 }>)]
    bytes: u32,
    #[arg(long, default_value = "30s", value_parser = flags::duration)]
    seconds: Duration,
    /// Messages per second over all connections, whatever the answers do; 0: each waits for its
    /// connection's last answer, and for nothing else
    #[arg(long, default_value_t = 0, value_parser = flags::count)]
    rate: u64,
    /// The server speaks first (`serve --mode hello-first`): its greeting is waited for
    #[arg(long)]
    hello_first: bool,
}

impl PingPong {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let plan = self.common.plan(Size::at_once(self.connections))?;
        let threads = self.common.threads(self.connections);
        let phases = vec![
            (Phase::Open, Until::Done),
            (Phase::Run, Until::Elapsed(self.seconds)),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let job = self.common.job(&plan, phases, threads, self.connections);
        let outcome = engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let setup = self.common.setup(&plan, connections, Buffers::for_messages(self.bytes));
            let pairs = setup.servers.len() as u64;
            let numbers = (0..u64::from(connections)).map(|i| index as u64 + i * threads as u64);
            let players = numbers.map(|number| Player::new(number, number % pairs)).collect();
            let interval = (threads as u64 * 1_000_000_000).checked_div(self.rate);
            let playing = Playing::new(self.bytes, interval, players);
            Ok((setup, Playing { hello_first: self.hello_first, ..playing }))
        })?;
        let answered = outcome.tally.get("answered_in_time") as f64;
        let mut doubts = Vec::new();
        let lag = outcome.tally.quantile_nanos("generator_lag", 0.99).unwrap_or(0);
        let answer = outcome.tally.quantile_nanos("message", 0.99).unwrap_or(0);
        if lag > 1_000_000 && lag * 2 > answer {
            doubts.push(format!(
                "at the 99th percentile the generator itself sent {} µs late, more than half \
                 of the latency of {} µs",
                lag / 1_000,
                answer / 1_000
            ));
        }
        let verdict = Verdict {
            scenario: "pingpong",
            answers: &["answered"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections,
                "seconds": flags::seconds(self.seconds), "bytes": self.bytes,
                "rate": self.rate, "loop": if self.rate > 0 { "open" } else { "closed" },
                "hello_first": self.hello_first,
            }),
            units: vec![("message", answered)],
            figures: Map::new(),
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts,
        };
        Ok(verdict.tell())
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opening,
    /// It is open, and the server is to speak first.
    Listening,
    Idle,
    Asking,
    Gone,
}

/// One connection.
struct Player {
    server: ServerId,
    next: Pattern,
    step: Step,
    missing_bytes: u32,
    /// When the message in flight was due.
    due_nanos: u64,
    /// Messages that became due while another was in flight.
    late: VecDeque<u64>,
}

impl Player {
    fn new(seed: u64, server: u64) -> Player {
        Player {
            server: ServerId(server as u16),
            next: Pattern::new(seed),
            step: Step::Opening,
            missing_bytes: 0,
            due_nanos: 0,
            late: VecDeque::new(),
        }
    }
}

/// One thread's connections.
struct Playing {
    tally: Tally,
    phase: Phase,
    bytes: u32,
    /// Between two messages; absent in a closed loop.
    interval_nanos: Option<u64>,
    hello_first: bool,
    players: Vec<Player>,
    began_nanos: u64,
    /// Messages that were due so far in an open loop.
    due: u64,
    asking: u64,
    opening: u64,
}

impl Playing {
    fn new(bytes: u32, interval_nanos: Option<u64>, players: Vec<Player>) -> Playing {
        Playing {
            tally: Tally::default(),
            phase: Phase::Open,
            bytes,
            interval_nanos,
            hello_first: false,
            opening: players.len() as u64,
            players,
            began_nanos: 0,
            due: 0,
            asking: 0,
        }
    }

    fn ask(&mut self, conn: ConnIndex, due_nanos: u64, net: &mut Net) {
        let player = &mut self.players[conn.0 as usize];
        match player.step {
            Step::Idle => {}
            Step::Asking => return player.late.push_back(due_nanos),
            Step::Opening | Step::Listening | Step::Gone => return,
        }
        player.step = Step::Asking;
        player.due_nanos = due_nanos;
        player.missing_bytes = self.bytes;
        self.asking += 1;
        net.expect(conn);
        self.send(conn, net);
        net.receive(conn);
    }

    fn send(&mut self, conn: ConnIndex, net: &mut Net) {
        let player = &self.players[conn.0 as usize];
        net.send(conn, self.bytes, |bytes| player.next.clone().fill(bytes));
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        let player = &mut self.players[conn.0 as usize];
        if player.step == Step::Listening {
            return match pattern::greeted(&mut player.missing_bytes, net.bytes(chunk)) {
                Ok(true) => self.opened(conn, net),
                Ok(false) => net.receive(conn),
                Err(what) => self.lose(conn, &what, net),
            };
        }
        let asked = if player.step == Step::Asking { player.missing_bytes } else { 0 };
        if let Err(what) = pattern::take(&mut player.next, asked.into(), net.bytes(chunk)) {
            return self.lose(conn, &what, net);
        }
        player.missing_bytes -= chunk.length_bytes;
        if player.missing_bytes > 0 {
            return net.receive(conn);
        }
        player.step = Step::Idle;
        self.asking -= 1;
        let now = net.nanos();
        self.tally.latency("message", now - player.due_nanos);
        self.tally.count("answered", 1);
        if self.phase == Phase::Run {
            self.tally.count("answered_in_time", 1);
        }
        let next = match self.interval_nanos {
            None if self.phase == Phase::Run => Some(now),
            None => None,
            Some(_) => player.late.pop_front(),
        };
        match next {
            Some(due_nanos) => self.ask(conn, due_nanos, net),
            None => {
                net.relax(conn);
                net.receive(conn);
            }
        }
    }

    /// It is ready to speak.
    fn opened(&mut self, conn: ConnIndex, net: &mut Net) {
        self.players[conn.0 as usize].step = Step::Idle;
        self.opening -= 1;
        net.relax(conn);
        net.receive(conn);
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        let player = &mut self.players[conn.0 as usize];
        let step = match player.step {
            Step::Opening => {
                self.opening -= 1;
                "open"
            }
            Step::Listening => {
                self.opening -= 1;
                "greeting"
            }
            Step::Asking => {
                self.asking -= 1;
                "message"
            }
            Step::Idle => "between messages",
            Step::Gone => return net.close(conn),
        };
        player.step = Step::Gone;
        let never_sent = player.late.len() as u64;
        player.late.clear();
        self.tally.fail(step, what);
        if never_sent > 0 {
            self.tally.count("due_but_never_sent", never_sent);
        }
        net.close(conn);
    }
}

impl Script for Playing {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        self.began_nanos = net.nanos();
        for index in 0..self.players.len() {
            let conn = ConnIndex(index as u32);
            match phase {
                Phase::Open => net.open(conn, self.players[index].server),
                Phase::Run if self.interval_nanos.is_none() => {
                    let now = net.nanos();
                    self.ask(conn, now, net);
                }
                Phase::Close => {
                    self.players[index].step = Step::Gone;
                    net.close(conn);
                }
                _ => {}
            }
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Opened if self.hello_first => {
                let player = &mut self.players[conn.0 as usize];
                (player.step, player.missing_bytes) = (Step::Listening, HELLO_BYTES);
                net.expect(conn);
                net.receive(conn);
            }
            Event::Opened => self.opened(conn, net),
            Event::MaySend if self.players[conn.0 as usize].step == Step::Asking => {
                self.send(conn, net);
            }
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(end) => self.lose(conn, &words(end), net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", net),
            Event::Sent | Event::MaySend | Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let mut wait = u64::MAX;
        if let (Phase::Run, Some(interval)) = (self.phase, self.interval_nanos) {
            let now = net.nanos();
            let mut due_nanos = self.began_nanos + self.due * interval;
            while due_nanos <= now {
                let conn = ConnIndex((self.due % self.players.len() as u64) as u32);
                self.tally.latency("generator_lag", now - due_nanos);
                self.ask(conn, due_nanos, net);
                self.due += 1;
                due_nanos += interval;
            }
            wait = due_nanos - now;
        }
        let done = match self.phase {
            Phase::Open => self.opening == 0,
            Phase::Run => false,
            Phase::Close => net.open == 0,
            _ => self.asking == 0,
        };
        let progress = self.tally.get("answered");
        let dead = self.phase == Phase::Run && net.open == 0;
        Tick { done, dead, progress, wait: Duration::from_nanos(wait) }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
