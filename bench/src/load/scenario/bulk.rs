//! As many bytes as go on few connections, up, down or both; each is checked.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portcullis::base::Chunk;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, json};

use crate::engine::{self, End, Event, Net, Outcome, Phase, Script, Tally, Tick, Until, words};
use crate::flags;
use crate::load::common::{Buffers, Common, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use crate::pattern::{self, Asked, HEADER_BYTES, Pattern, Receipt, Request};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Direction {
    /// To a target that leads to `serve --mode sink`
    Up,
    /// From a target that leads to `serve --mode source`
    Down,
    /// To a target that echoes
    Both,
}

/// As many bytes as go on few connections, each checked.
#[derive(Args)]
#[command(after_help = "Example: 16 connections through a proxy to an echo:
  portcullis-bench bulk --target 127.0.0.1:7000 --connections 16 --seconds 10 --direction both")]
pub(crate) struct Bulk {
    #[command(flatten)]
    pub(super) common: Common,
    #[arg(long, default_value_t = 16, value_parser = flags::connections)]
    pub(super) connections: u64,
    #[arg(long, default_value = "10s", value_parser = flags::duration)]
    pub(super) seconds: Duration,
    #[arg(long, value_enum, default_value_t = Direction::Both)]
    pub(super) direction: Direction,
    /// Bytes of one send
    #[arg(long, default_value_t = 65_536)]
    #[arg(value_parser = flags::size_u32::<{ 1 << 20 }>)]
    pub(super) bytes: u32,
}

/// How a transfer's clients behave while it is measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// They read nothing.
    pub(super) stalled: bool,
    /// They send so many bytes, and no more for so long; else as many as go.
    pub(super) dribble: Option<(u32, Duration)>,
}

impl Bulk {
    pub(super) fn stream(&self, manner: Manner) -> io::Result<Outcome> {
        let plan = self.common.plan(Size::at_once(self.connections))?;
        let threads = self.common.threads(self.connections);
        let phases = vec![
            (Phase::Open, Until::Done),
            (Phase::Run, Until::Elapsed(self.seconds)),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let job = self.common.job(&plan, phases, threads, self.connections);
        engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let count = (connections * 4 + 16).min(16_384);
            let setup = self.common.setup(&plan, connections, Buffers { bytes: self.bytes, count });
            let pairs = setup.servers.len() as u64;
            let numbers = (0..u64::from(connections)).map(|i| index as u64 + i * threads as u64);
            let streams = numbers.map(|number| Stream::new(number, number % pairs)).collect();
            Ok((setup, Streaming::new(self, manner, streams)))
        })
    }

    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let outcome = self.stream(Manner::default())?;
        let gigabytes = |what| outcome.tally.get(what) as f64 / 1e9;
        let bytes = [("gigabyte_up", gigabytes("up")), ("gigabyte_down", gigabytes("down"))];
        let mut figures = Map::new();
        if let Some((before, after)) = outcome.around(Phase::Run) {
            let (total, seconds) = (bytes[0].1 + bytes[1].1, (after.at - before.at).as_secs_f64());
            let cpu = after.target_cpu_since(before).filter(|_| total > 0.0);
            let each = cpu.map(|nanos| nanos as f64 / 1e9 / total);
            figures.insert("gigabytes_per_second".into(), json!(total / seconds));
            figures.insert("target_cpu_seconds_per_gigabyte".into(), json!(each));
        }
        let verdict = Verdict {
            scenario: "bulk",
            answers: if self.direction == Direction::Both { &["down"] } else { &[] },
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections,
                "seconds": flags::seconds(self.seconds), "bytes": self.bytes,
                "direction": format!("{:?}", self.direction).to_lowercase(),
            }),
            units: bytes.into_iter().filter(|(_, count)| *count > 0.0).collect(),
            figures,
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}

/// One connection.
struct Stream {
    seed: u64,
    server: ServerId,
    out: Pattern,
    back: Pattern,
    sent_bytes: u64,
    received_bytes: u64,
    header_sent: bool,
    /// A dribble is due.
    due: bool,
    receipt: Vec<u8>,
    over: bool,
}

impl Stream {
    fn new(seed: u64, server: u64) -> Stream {
        Stream {
            seed,
            server: ServerId(server as u16),
            out: Pattern::new(seed),
            back: Pattern::new(seed),
            sent_bytes: 0,
            received_bytes: 0,
            header_sent: false,
            due: false,
            receipt: Vec::new(),
            over: false,
        }
    }
}

/// One thread's connections.
struct Streaming {
    tally: Tally,
    phase: Phase,
    direction: Direction,
    send_bytes: u32,
    manner: Manner,
    streams: Vec<Stream>,
    /// Dribbles of all streams that were due so far, one stream after the other.
    dribbles: u64,
    began_nanos: u64,
    opened: u64,
    over: u64,
}

impl Streaming {
    fn new(bulk: &Bulk, manner: Manner, streams: Vec<Stream>) -> Streaming {
        Streaming {
            tally: Tally::default(),
            phase: Phase::Open,
            direction: bulk.direction,
            send_bytes: bulk.bytes,
            manner,
            streams,
            dribbles: 0,
            began_nanos: 0,
            opened: 0,
            over: 0,
        }
    }

    /// Sends what comes next, or FIN when it is time.
    fn pour(&mut self, conn: ConnIndex, net: &mut Net) {
        let stream = &mut self.streams[conn.0 as usize];
        if !stream.header_sent && self.direction != Direction::Both {
            let (what, seed, length_bytes) = (Request::Transfer, stream.seed, u64::MAX);
            let asked = Asked { what, run: 0, seed, length_bytes }.to_bytes();
            stream.header_sent =
                net.send(conn, HEADER_BYTES as u32, |bytes| bytes.copy_from_slice(&asked));
            return;
        }
        if self.direction == Direction::Down {
            return;
        }
        if self.phase != Phase::Run {
            return net.finish(conn);
        }
        if self.manner.dribble.is_some() && !stream.due {
            return;
        }
        if net.send(conn, self.send_bytes, |bytes| stream.out.fill(bytes)) {
            stream.sent_bytes += u64::from(self.send_bytes);
            stream.due = false;
            self.tally.count("up", u64::from(self.send_bytes));
        }
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        let stream = &mut self.streams[conn.0 as usize];
        let bytes = net.bytes(chunk);
        if self.direction == Direction::Up {
            stream.receipt.extend(bytes);
            return net.receive(conn);
        }
        let asked = match self.direction {
            Direction::Down => u64::MAX,
            _ => stream.sent_bytes - stream.received_bytes,
        };
        if let Err(what) = pattern::take(&mut stream.back, asked, bytes) {
            return self.fail(conn, &what, net);
        }
        stream.received_bytes += bytes.len() as u64;
        if self.phase == Phase::Run {
            self.tally.count("down", bytes.len() as u64);
        }
        if self.manner.dribble.is_some() && stream.received_bytes == stream.sent_bytes {
            net.relax(conn);
        } else {
            net.expect(conn);
        }
        net.receive(conn);
    }

    /// Sends the dribbles that are due; in how many nanoseconds the next one is.
    fn dribble(&mut self, interval: Duration, net: &mut Net) -> u64 {
        let streams = self.streams.len() as u64;
        let step = (interval.as_nanos() as u64 / streams.max(1)).max(1);
        let passed = net.nanos() - self.began_nanos;
        // One that is late sends once, not once for each time it was due.
        self.dribbles = self.dribbles.max((passed / step + 1).saturating_sub(streams));
        while streams > 0 && self.dribbles * step <= passed {
            let conn = ConnIndex((self.dribbles % streams) as u32);
            self.dribbles += 1;
            let stream = &mut self.streams[conn.0 as usize];
            if !stream.over {
                stream.due = true;
                if !self.manner.stalled {
                    net.expect(conn);
                }
                self.pour(conn, net);
            }
        }
        self.dribbles * step - passed
    }

    fn ended(&mut self, conn: ConnIndex, end: End, net: &mut Net) {
        let stream = &self.streams[conn.0 as usize];
        // Receipts and counts say what is whole.
        let is_over = matches!(end, End::Fin | End::CutOff);
        if !is_over || self.phase == Phase::Run || self.phase == Phase::Open {
            return self.fail(conn, &words(end), net);
        }
        let loss = match (self.direction, stream.receipt[..].try_into().map(Receipt::of)) {
            (Direction::Up, Err(_)) => Some("the sink gave no receipt".to_owned()),
            (Direction::Up, Ok(receipt)) => receipt.complaint("sink", stream.sent_bytes),
            (Direction::Both, _) if stream.received_bytes != stream.sent_bytes => {
                Some("bytes were lost: FIN came before all of them".to_owned())
            }
            (Direction::Both | Direction::Down, _) => None,
        };
        match loss {
            Some(words) => self.fail(conn, &words, net),
            None => self.end(conn, net),
        }
    }

    fn fail(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        if self.streams[conn.0 as usize].over {
            return net.close(conn);
        }
        self.tally.fail("transfer", what);
        self.end(conn, net);
    }

    fn end(&mut self, conn: ConnIndex, net: &mut Net) {
        if !std::mem::replace(&mut self.streams[conn.0 as usize].over, true) {
            self.over += 1;
        }
        net.close(conn);
    }
}

impl Script for Streaming {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        self.began_nanos = net.nanos();
        for index in 0..self.streams.len() {
            let conn = ConnIndex(index as u32);
            match phase {
                Phase::Open => net.open(conn, self.streams[index].server),
                _ if self.streams[index].over => {}
                Phase::Run => {
                    if !self.manner.stalled {
                        net.receive(conn);
                        if self.manner.dribble.is_none() {
                            net.expect(conn);
                        }
                    }
                    self.pour(conn, net);
                }
                // A source never ends by itself.
                Phase::Check if self.direction == Direction::Down => self.end(conn, net),
                Phase::Check => {
                    net.expect(conn);
                    net.receive(conn);
                    self.pour(conn, net);
                }
                Phase::Close => self.end(conn, net),
                _ => {}
            }
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Opened => self.opened += 1,
            Event::Sent | Event::MaySend => {
                // A dribble is waited for from when it was due.
                if !self.manner.stalled && self.manner.dribble.is_none() {
                    net.expect(conn);
                }
                if self.phase != Phase::Open {
                    self.pour(conn, net);
                }
            }
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(end) => self.ended(conn, end, net),
            Event::Overdue => self.fail(conn, "not a byte moved in time (hung)", net),
            Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let mut wait = u64::MAX;
        if let (Phase::Run, Some((_, interval))) = (self.phase, self.manner.dribble) {
            wait = self.dribble(interval, net);
        }
        let all = self.streams.len() as u64;
        let (done, progress) = match self.phase {
            Phase::Open => (self.opened + self.over >= all, self.opened),
            Phase::Run => (false, self.tally.get("up") + self.tally.get("down")),
            Phase::Close => (self.over >= all && net.open == 0, self.over),
            _ => (self.over >= all, self.over),
        };
        let dead = self.phase == Phase::Run && net.open == 0;
        Tick { done, dead, progress, wait: Duration::from_nanos(wait) }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
