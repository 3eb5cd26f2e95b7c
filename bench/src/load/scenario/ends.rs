//! Connections that end in the ways that are easily lost on the way: half-closes and aborts.

use std::io;
use std::process::ExitCode;

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
use crate::pattern::{self, Pattern};

/// What one send takes at most.
const SEND_BYTES: u32 = 4_096;

#[derive(Args)]
pub(crate) struct Lives {
    #[command(flatten)]
    pub(super) common: Common,
    /// Connections in all
    #[arg(long, default_value_t = 1_000, value_parser = flags::count)]
    pub(super) count: u64,
    /// Connections at one time
    #[arg(long, default_value_t = 64, value_parser = flags::connections)]
    pub(super) connections: u64,
    /// A connection sends between 1 and so many bytes
    #[arg(long, default_value_t = 65_536)]
    #[arg(value_parser = flags::size_to::<{ 1 << 40 }>)]
    pub(super) bytes: u64,
    /// Another seed makes other sizes and other points
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

/// Connections that abort at random points; afterwards the target must still serve.
#[derive(Args)]
#[command(after_help = "Example: 10,000 aborts, after which the target must still serve; `serve`
counts what it saw as ended_by_reset and ended_by_fin:
  portcullis-bench reset --target 127.0.0.1:7000 --count 10000")]
pub(crate) struct Reset {
    #[command(flatten)]
    lives: Lives,
}

impl Reset {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        self.lives.run("reset", true)
    }
}

impl Lives {
    pub(super) fn run(&self, scenario: &'static str, abort: bool) -> io::Result<ExitCode> {
        let plan = self.common.plan(Size::at_once(self.connections))?;
        let threads = self.common.threads(self.connections);
        let phases = vec![
            (Phase::Run, Until::Done),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let job = self.common.job(&plan, phases, threads, self.count);
        let outcome = engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let setup = self.common.setup(&plan, connections, Buffers::for_messages(SEND_BYTES));
            let pairs = setup.servers.len() as u64;
            Ok((setup, Ending::new(self, abort, pairs, index, threads)))
        })?;
        let verdict = Verdict {
            scenario,
            answers: &["half_closed"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "count": self.count, "connections": self.connections, "bytes": self.bytes,
                "seed": self.seed,
            }),
            units: vec![("connection", outcome.tally.get("ended") as f64)],
            figures: Map::new(),
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}

/// Where a life is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Not at all: it says FIN and hears everything out.
    Never,
    /// When so many bytes were sent.
    Sent(u64),
    /// When so many bytes came back.
    Received(u64),
}

struct Life {
    out: Pattern,
    back: Pattern,
    total_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
    cut: Cut,
    opened: bool,
    over: bool,
}

/// One thread's lives.
struct Ending {
    tally: Tally,
    phase: Phase,
    abort: bool,
    /// Lives still to begin in this phase.
    left: u64,
    lives: Vec<Life>,
    number: u64,
    threads: u64,
    pairs: u64,
    bytes: u64,
    seed: u64,
    under_way: u64,
    outage: Outage,
}

/// A number that the seed and the place determine.
pub(super) fn chance(seed: u64, place: u64) -> u64 {
    let mut word = [0; 8];
    Pattern::new(seed ^ place.rotate_left(32)).fill(&mut word);
    u64::from_le_bytes(word)
}

impl Ending {
    fn new(lives: &Lives, abort: bool, pairs: u64, index: usize, threads: usize) -> Ending {
        let connections = share(lives.connections, index, threads);
        let blank = |_| Life {
            out: Pattern::new(0),
            back: Pattern::new(0),
            total_bytes: 0,
            sent_bytes: 0,
            received_bytes: 0,
            cut: Cut::Never,
            opened: false,
            over: true,
        };
        Ending {
            tally: Tally::default(),
            phase: Phase::Open,
            abort,
            left: share(lives.count, index, threads),
            lives: (0..connections).map(blank).collect(),
            number: index as u64,
            threads: threads as u64,
            pairs,
            bytes: lives.bytes,
            seed: lives.seed,
            under_way: 0,
            outage: Outage::default(),
        }
    }

    fn live(&mut self, conn: ConnIndex, net: &mut Net) {
        let number = self.number;
        self.number += self.threads;
        self.left -= 1;
        self.under_way += 1;
        let total_bytes = 1 + chance(self.seed, 2 * number) % self.bytes;
        let place = chance(self.seed, 2 * number + 1) % (total_bytes + 1);
        let cut = match number / self.threads % 2 {
            _ if !self.abort || self.phase != Phase::Run => Cut::Never,
            0 => Cut::Sent(place),
            _ => Cut::Received(place),
        };
        self.lives[conn.0 as usize] = Life {
            out: Pattern::new(number),
            back: Pattern::new(number),
            total_bytes,
            sent_bytes: 0,
            received_bytes: 0,
            cut,
            opened: false,
            over: false,
        };
        net.open(conn, ServerId((number % self.pairs) as u16));
    }

    /// Whether the life was cut here.
    fn cut(&mut self, conn: ConnIndex, net: &mut Net) -> bool {
        let life = &self.lives[conn.0 as usize];
        let reached = match life.cut {
            Cut::Never => false,
            Cut::Sent(place) => life.sent_bytes >= place,
            Cut::Received(place) => life.received_bytes >= place,
        };
        if reached {
            self.end(conn, "aborted");
            net.reset(conn);
        }
        reached
    }

    fn pour(&mut self, conn: ConnIndex, net: &mut Net) {
        if self.lives[conn.0 as usize].over || self.cut(conn, net) {
            return;
        }
        let life = &mut self.lives[conn.0 as usize];
        let stop = if let Cut::Sent(place) = life.cut { place } else { life.total_bytes };
        let count = (stop - life.sent_bytes).min(u64::from(SEND_BYTES)) as u32;
        if count == 0 {
            // What is cut when it comes back is no half-close.
            return if life.cut == Cut::Never {
                net.finish(conn)
            };
        }
        if net.send(conn, count, |bytes| life.out.fill(bytes)) {
            life.sent_bytes += u64::from(count);
        }
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        let asked = life.sent_bytes - life.received_bytes;
        life.received_bytes += u64::from(chunk.length_bytes);
        if let Err(what) = pattern::take(&mut life.back, asked, net.bytes(chunk)) {
            return self.lose(conn, &what, net);
        }
        net.expect(conn);
        if !self.cut(conn, net) {
            net.receive(conn);
        }
    }

    fn ended(&mut self, conn: ConnIndex, end: End, net: &mut Net) {
        let life = &self.lives[conn.0 as usize];
        let all = life.received_bytes == life.total_bytes && life.sent_bytes == life.total_bytes;
        if end == End::Fin && all && life.cut == Cut::Never {
            self.end(conn, "half_closed");
            return net.close(conn);
        }
        let missing = life.sent_bytes == life.total_bytes && life.cut == Cut::Never;
        match end {
            End::Fin if missing => self.lose(conn, "FIN before all bytes had come back", net),
            end => self.lose(conn, &words(end), net),
        }
    }

    fn end(&mut self, conn: ConnIndex, how: &'static str) {
        self.lives[conn.0 as usize].over = true;
        self.under_way -= 1;
        self.tally.count(how, 1);
        if self.phase == Phase::Run {
            self.tally.count("ended", 1);
        }
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        if !std::mem::replace(&mut life.over, true) {
            self.under_way -= 1;
            let step = match (life.opened, self.phase) {
                (false, _) => "open",
                (true, Phase::Run) => "exchange",
                (true, _) => "after the aborts",
            };
            self.tally.fail(step, what);
        }
        net.close(conn);
    }
}

impl Script for Ending {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        // After aborts the target must still serve: as many clean lives as there are slots.
        match phase {
            Phase::Check if self.abort => self.left = self.lives.len() as u64,
            Phase::Run => {}
            _ => self.left = 0,
        }
        for index in 0..self.lives.len() {
            let conn = ConnIndex(index as u32);
            if phase == Phase::Close {
                self.lives[index].over = true;
                net.close(conn);
            } else if self.left > 0 && net.is_vacant(conn) {
                self.live(conn, net);
            }
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Opened => {
                self.lives[conn.0 as usize].opened = true;
                net.expect(conn);
                net.receive(conn);
                self.pour(conn, net);
            }
            Event::Sent | Event::MaySend => self.pour(conn, net),
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(end) => self.ended(conn, end, net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", net),
            Event::Closed if self.left > 0 => self.live(conn, net),
            Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let through = self.left == 0 && self.under_way == 0;
        let done = if self.phase == Phase::Close { net.open == 0 } else { through };
        let progress = self.tally.get("ended");
        let dead = self.phase == Phase::Run
            && self.outage.lasts(net.nanos(), progress, &self.tally, GIVE_UP);
        Tick { done, dead, progress, wait: std::time::Duration::MAX }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
