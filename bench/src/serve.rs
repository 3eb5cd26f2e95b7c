//! The harness's own server: echoes, swallows, or makes bytes, on many ports and addresses.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, ValueEnum};
use portcullis::listener::listen_on;
use portcullis::ring::{ConnIndex, PassiveSocket};
use serde_json::json;

use crate::engine::{self, Job, Phase, Script, Tick, Until};
use crate::net::{End, Event, Net, NetSetup};
use crate::pattern::Pattern;
use crate::plan::{Targets, parse_targets};
use crate::protocol::{HELLO_BYTES, HELLO_SEED, Header, Receipt};
use crate::tally::Tally;

/// With more connections than this a thread waits for bytes without a buffer: an armed receive
/// costs the kernel some 600 bytes more than a poll, a poll one completion more for each message.
const FEW: u32 = 20_000;

/// A pool buffer: what one send of a source holds.
const BUFFER_BYTES: u32 = 16 << 10;

/// Serves until it is interrupted.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What is done with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Sends back what comes
    Echo,
    /// Swallows what comes, checks it if a scenario sent it, and says at the end how much came
    Sink,
    /// Sends as many bytes as a scenario asks for, then FIN
    Source,
    /// Speaks first, then echoes
    HelloFirst,
}

#[derive(Args)]
#[command(after_help = "Example: echo on eight ports, counters on stderr at SIGUSR1:
  portcullis-bench serve --listen 127.0.0.1:9000-9007 --connections 500000")]
pub(crate) struct Serve {
    /// Where to listen: ADDRESS:PORT or ADDRESS:FIRST-LAST, several times over
    #[arg(long, value_delimiter = ',', required = true, value_parser = parse_targets)]
    listen: Vec<Targets>,
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    mode: Mode,
    /// Clients that are held at once; more wait in the accept queues
    #[arg(long, default_value_t = 100_000)]
    connections: u32,
    /// Threads, each with its own rings; one for each core by default
    #[arg(long)]
    threads: Option<usize>,
    /// How many completed handshakes may wait on each socket
    #[arg(long, default_value_t = 65_535)]
    backlog: u32,
}

impl Serve {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores).clamp(1, 256);
        let mut sockets: Vec<Vec<PassiveSocket>> = vec![Vec::new(); threads];
        let mut addresses = Vec::new();
        for address in self.listen.iter().flat_map(Targets::iter) {
            let bound = listen_on(address, threads, self.backlog).map_err(io::Error::other)?;
            addresses.push(bound.address);
            for (mine, socket) in sockets.iter_mut().zip(bound.sockets) {
                mine.push(Arc::new(socket));
            }
        }
        let (count, first) = (addresses.len(), addresses[0]);
        eprintln!(
            "serving {:?} on {count} addresses from {first} on, {threads} threads",
            self.mode
        );
        let job = Job {
            phases: vec![(Phase::Run, Until::Elapsed(FOREVER))],
            threads,
            target_pids: Vec::new(),
            goal: 0,
            talks: false,
            applied: None,
        };
        let sockets = Mutex::new(sockets);
        let outcome = engine::run(&job, |index| {
            let connections = self.connections.div_ceil(threads as u32).max(1);
            let all = &mut *sockets.lock().map_err(|_| io::Error::other("a thread panicked"))?;
            let setup = NetSetup {
                connections,
                buffer_bytes: BUFFER_BYTES,
                buffer_count: 2_048,
                listeners: std::mem::take(&mut all[index]),
                servers: Vec::new(),
                patience: FOREVER,
            };
            let talks = matches!(self.mode, Mode::Sink | Mode::Source);
            let served = if talks { connections as usize } else { 0 };
            Ok((setup, Serving::new(self.mode, served)))
        })?;
        let tally = &outcome.tally;
        println!(
            "{}",
            json!({
                "schema": 2, "scenario": "serve", "mode": format!("{:?}", self.mode),
                "counts": tally.counts, "failures": tally.failures,
            })
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// What a sink or a source knows of one client.
#[derive(Clone, Debug)]
struct Served {
    header: Header,
    pattern: Pattern,
    received_bytes: u64,
    /// The place of the first wrong byte.
    wrong: Option<u64>,
    to_send_bytes: u64,
}

impl Served {
    fn new() -> Served {
        Served {
            header: Header::default(),
            pattern: Pattern::new(0),
            received_bytes: 0,
            wrong: None,
            to_send_bytes: 0,
        }
    }

    /// Takes what arrived; whether the header has just become whole.
    fn take(&mut self, arrived: &[u8]) -> bool {
        let (rest, asked) = self.header.take(arrived);
        if let Some(asked) = asked {
            self.pattern = Pattern::new(asked.seed);
            self.to_send_bytes = asked.length_bytes;
        }
        self.received_bytes += rest.len() as u64;
        if self.header.is_ours() && self.wrong.is_none() {
            self.wrong = self.pattern.check(rest).err();
        }
        asked.is_some()
    }
}

/// One thread's clients.
struct Serving {
    mode: Mode,
    tally: Tally,
    served: Vec<Served>,
}

impl Serving {
    fn new(mode: Mode, served: usize) -> Serving {
        Serving { mode, tally: Tally::default(), served: vec![Served::new(); served] }
    }

    fn await_bytes(net: &mut Net, conn: ConnIndex) {
        if net.open > FEW { net.idle(conn) } else { net.receive(conn) }
    }

    fn accepted(&mut self, conn: ConnIndex, net: &mut Net) {
        self.tally.count("accepted", 1);
        if let Some(served) = self.served.get_mut(conn.0 as usize) {
            *served = Served::new();
        }
        if self.mode == Mode::HelloFirst {
            self.greet(conn, net);
        } else {
            Self::await_bytes(net, conn);
        }
    }

    fn greet(&mut self, conn: ConnIndex, net: &mut Net) {
        net.send(conn, HELLO_BYTES, |bytes| Pattern::new(HELLO_SEED).fill(bytes));
    }

    fn received(&mut self, conn: ConnIndex, chunk: portcullis::base::Chunk, net: &mut Net) {
        self.tally.count("received_bytes", u64::from(chunk.length_bytes));
        match self.mode {
            Mode::Echo | Mode::HelloFirst => net.send_back(conn, chunk),
            Mode::Sink => {
                self.served[conn.0 as usize].take(net.bytes(chunk));
                net.receive(conn);
            }
            Mode::Source => {
                let asked = self.served[conn.0 as usize].take(net.bytes(chunk));
                if asked {
                    self.pour(conn, net);
                }
                net.receive(conn);
            }
        }
    }

    /// A source's next bytes, or its end.
    fn pour(&mut self, conn: ConnIndex, net: &mut Net) {
        let served = &mut self.served[conn.0 as usize];
        if !served.header.is_ours() {
            return;
        }
        let count = served.to_send_bytes.min(u64::from(BUFFER_BYTES)) as u32;
        if count == 0 {
            return net.finish(conn);
        }
        if net.send(conn, count, |bytes| served.pattern.fill(bytes)) {
            served.to_send_bytes -= u64::from(count);
            self.tally.count("sent_bytes", u64::from(count));
        }
    }

    fn ended(&mut self, conn: ConnIndex, end: End, net: &mut Net) {
        match (end, self.mode) {
            (End::Fin, Mode::Sink) if self.served[conn.0 as usize].header.is_ours() => {
                let served = &self.served[conn.0 as usize];
                if served.wrong.is_some() {
                    self.tally.fail("sink", "wrong bytes");
                }
                let receipt = Receipt { bytes: served.received_bytes, wrong: served.wrong };
                net.send(conn, Receipt::BYTES, |bytes| bytes.copy_from_slice(&receipt.to_bytes()));
            }
            // What it asked for still goes out.
            (End::Fin, Mode::Source) if self.served[conn.0 as usize].to_send_bytes > 0 => {}
            (End::Fin, _) => {
                self.tally.count("ended_by_fin", 1);
                net.close(conn);
            }
            _ => {
                self.tally.count("ended_by_reset", 1);
                net.close(conn);
            }
        }
    }
}

impl Script for Serving {
    fn begin(&mut self, _: Phase, _: &mut Net) {}

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Accepted(_) => self.accepted(conn, net),
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Sent => match self.mode {
                Mode::Echo | Mode::HelloFirst => Self::await_bytes(net, conn),
                Mode::Sink => net.close(conn),
                Mode::Source => self.pour(conn, net),
            },
            // A send found no buffer.
            Event::MaySend => match self.mode {
                Mode::Echo | Mode::HelloFirst => self.greet(conn, net),
                Mode::Sink => self.ended(conn, End::Fin, net),
                Mode::Source => self.pour(conn, net),
            },
            Event::Ended(end) => self.ended(conn, end, net),
            Event::Closed => self.tally.count("closed", 1),
            Event::Opened | Event::Overdue => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let progress = self.tally.get("accepted");
        debug_assert!(net.open <= net.slots());
        Tick { done: false, progress, wait: Duration::MAX }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
