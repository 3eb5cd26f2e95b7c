//! What becomes of clients beyond the target's limit.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use portcullis::base::Errno;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, json};

use crate::engine::{self, End, Event, Net, Phase, Script, Tally, Tick, Until};
use crate::flags;
use crate::load::common::{Buffers, Common, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use crate::pattern::{self, Pattern};

const MESSAGE_BYTES: u32 = 32;

/// More clients than the target may hold: who is served, waits, or is turned away how.
#[derive(Args)]
#[command(after_help = "Example: 300 clients for a target that may hold 100:
  portcullis-bench limit --target 127.0.0.1:7000 --connections 300")]
pub(crate) struct Limit {
    #[command(flatten)]
    common: Common,
    /// Clients, all at once; more than the target's limit
    #[arg(long, default_value_t = 1_000, value_parser = flags::connections)]
    connections: u64,
    /// How long they wait before it is counted who was served; and again when those have left
    #[arg(long, default_value = "3s", value_parser = flags::duration)]
    settle: Duration,
}

impl Limit {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let plan = self.common.plan(Size::at_once(self.connections))?;
        let threads = self.common.threads(self.connections);
        let phases = vec![
            (Phase::Run, Until::Elapsed(self.settle)),
            // Nobody leaves before everybody is counted, on every thread.
            (Phase::Count, Until::Done),
            (Phase::Check, Until::Elapsed(self.settle)),
            (Phase::Close, Until::Done),
        ];
        let job = self.common.job(&plan, phases, threads, self.connections);
        let outcome = engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let setup = self.common.setup(&plan, connections, Buffers::for_messages(MESSAGE_BYTES));
            let pairs = setup.servers.len() as u64;
            let numbers = (0..u64::from(connections)).map(|i| index as u64 + i * threads as u64);
            let script = Crowd {
                tally: Tally::default(),
                phase: Phase::Open,
                clients: numbers.map(|number| Client::new(number, number % pairs)).collect(),
            };
            Ok((setup, script))
        })?;
        let mut figures = Map::new();
        for class in CLASSES {
            figures.insert(class.into(), json!(outcome.tally.get(class)));
        }
        let verdict = Verdict {
            scenario: "limit",
            answers: &["served"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections, "settle_seconds": self.settle.as_secs_f64(),
            }),
            units: Vec::new(),
            figures,
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}

/// What each client comes to, in the result's words.
const CLASSES: [&str; 7] = [
    "served",
    "waiting",
    "closed_by_fin",
    "closed_by_reset",
    "refused",
    "handshake_unanswered",
    "failed_otherwise",
];

/// What a client has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    HandshakeUnanswered,
    /// Its handshake is complete and its message sent, and there is no answer.
    Waiting,
    Served,
    ClosedByFin,
    ClosedByReset,
    Refused,
    FailedOtherwise,
}

struct Client {
    server: ServerId,
    next: Pattern,
    missing_bytes: u32,
    class: Class,
    began_nanos: u64,
}

impl Client {
    fn new(number: u64, server: u64) -> Client {
        Client {
            server: ServerId(server as u16),
            next: Pattern::new(number),
            missing_bytes: MESSAGE_BYTES,
            class: Class::HandshakeUnanswered,
            began_nanos: 0,
        }
    }
}

/// One thread's clients.
struct Crowd {
    tally: Tally,
    phase: Phase,
    clients: Vec<Client>,
}

impl Crowd {
    /// Counts everybody as what they are.
    fn count(&mut self) {
        for client in &self.clients {
            let class = match client.class {
                Class::HandshakeUnanswered => "handshake_unanswered",
                Class::Waiting => "waiting",
                Class::Served => "served",
                Class::ClosedByFin => "closed_by_fin",
                Class::ClosedByReset => "closed_by_reset",
                Class::Refused => "refused",
                Class::FailedOtherwise => "failed_otherwise",
            };
            self.tally.count(class, 1);
        }
    }

    fn received(&mut self, conn: ConnIndex, chunk: portcullis::base::Chunk, net: &mut Net) {
        let client = &mut self.clients[conn.0 as usize];
        let bytes = net.bytes(chunk);
        if let Err(what) = pattern::take(&mut client.next, client.missing_bytes.into(), bytes) {
            client.class = Class::FailedOtherwise;
            self.tally.fail("answer", &what);
            return net.close(conn);
        }
        client.missing_bytes -= chunk.length_bytes;
        net.receive(conn);
        if client.missing_bytes > 0 {
            return;
        }
        client.class = Class::Served;
        let nanos = net.nanos() - client.began_nanos;
        if self.phase == Phase::Run {
            self.tally.latency("served", nanos);
        } else if self.phase != Phase::Close {
            // Other threads may have come to `Check` before this one.
            self.tally.latency("served_later", nanos);
            self.tally.count("served_when_others_had_left", 1);
            net.close(conn);
        }
    }
}

impl Script for Crowd {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        match phase {
            Phase::Run => {
                for (index, client) in self.clients.iter_mut().enumerate() {
                    client.began_nanos = net.nanos();
                    net.open(ConnIndex(index as u32), client.server);
                }
            }
            Phase::Count => self.count(),
            Phase::Check => {
                for (index, client) in self.clients.iter().enumerate() {
                    if client.class == Class::Served {
                        net.close(ConnIndex(index as u32));
                    }
                }
            }
            Phase::Close => {
                (0..self.clients.len()).for_each(|index| net.close(ConnIndex(index as u32)));
            }
            _ => {}
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        let client = &mut self.clients[conn.0 as usize];
        match event {
            Event::Opened | Event::MaySend => {
                client.class = Class::Waiting;
                let next = client.next.clone();
                net.send(conn, MESSAGE_BYTES, |bytes| { next }.fill(bytes));
                net.receive(conn);
            }
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(end) => {
                client.class = match end {
                    End::Fin | End::CutOff => Class::ClosedByFin,
                    End::Reset | End::NotConnected(Errno::ECONNRESET) => Class::ClosedByReset,
                    End::NotConnected(Errno::ECONNREFUSED) => Class::Refused,
                    End::NotConnected(Errno::ETIMEDOUT) => Class::HandshakeUnanswered,
                    End::NotOpened(_)
                    | End::NotConnected(_)
                    | End::NotSecured(_)
                    | End::Error(_) => Class::FailedOtherwise,
                };
                net.close(conn);
            }
            Event::Sent | Event::Overdue | Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let done = self.phase == Phase::Count || self.phase == Phase::Close && net.open == 0;
        let waits = |client: &Client| {
            matches!(client.class, Class::HandshakeUnanswered | Class::Waiting | Class::Served)
        };
        let lasts = matches!(self.phase, Phase::Run | Phase::Check);
        let dead = lasts && net.open == 0 && !self.clients.iter().any(waits);
        Tick { done, dead, progress: u64::from(net.open), wait: Duration::MAX }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
