//! Clients that abort while both directions are full, against servers that block in their send.

mod clients;
mod held;
mod servers;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use nix::sys::socket::{setsockopt, sockopt};
use portcullis::config::SocketOptions;
use portcullis::listener::listen_on;
use portcullis::ring::{ConnIndex, PassiveSocket};
use serde_json::{Map, Value, json};

use crate::engine::{self, Event, Net, NetSetup, Outcome, Phase, Script, Tally, Tick, Until};
use crate::flags::{self, Targets, parse_address, parse_targets};
use crate::load::common::{Buffers, Common, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use clients::Clients;
use held::Held;
use servers::Servers;

/// A pool buffer: what one send of a client or of an echo takes at most.
const BUFFERS: Buffers = Buffers { bytes: 32 << 10, count: 8_192 };
/// SO_SNDBUF and SO_RCVBUF of the servers: both directions are full with few bytes.
const SERVER_BUFFER_BYTES: usize = 64 << 10;
/// The accept queue of each server socket.
const BACKLOG: u32 = 65_535;
/// Slots of each server thread beyond the clients: one that is just closed takes its own.
const SPARE_SLOTS: u32 = 512;
/// A round in which fewer than one server of so many was blocked says nothing. Not all can be: the
/// kernel stops everybody at the limit of net.ipv4.tcp_mem.
const FULL_SHARE: u64 = 10;
/// Rounds at most: each takes several phases of the result.
const ROUNDS_MAX: u64 = 10_000;
/// The most that a client may send.
const BYTES_MAX: u64 = 1 << 40;

/// Clients that abort while both directions are full: servers must see it, and nothing stays.
#[derive(Args)]
#[command(
    after_help = "The scenario brings its own servers: the target must lead to --listen. They \
echo, and one that blocks in its send reads nothing more.

Examples: 20 rounds of 2,000 aborts through a gateway whose upstream is 127.0.0.1:9100, and the \
same without a gateway:
  portcullis-bench abort --target 127.0.0.1:7000 --listen 127.0.0.1:9100 --count 2000 \\
      --rounds 20 --status 127.0.0.1:7001
  portcullis-bench abort --target 127.0.0.1:9100 --listen 127.0.0.1:9100 --count 200"
)]
pub(crate) struct Abort {
    #[command(flatten)]
    common: Common,
    /// Where the servers listen: HOST:PORT or HOST:FIRST-LAST, several times over
    #[arg(long, value_delimiter = ',', required = true, value_parser = parse_targets)]
    listen: Vec<Targets>,
    /// Clients of a round; all of them abort
    #[arg(long, default_value = "200", value_parser = flags::count_to::<1_000_000>)]
    count: u64,
    #[arg(long, default_value = "1", value_parser = flags::count_to::<ROUNDS_MAX>)]
    rounds: u64,
    /// The most that a client sends before it aborts; it reads nothing
    #[arg(long, default_value = "16MiB", value_parser = flags::size_to::<BYTES_MAX>)]
    bytes: u64,
    /// How long clients send at most, until every server blocks in its send
    #[arg(long, default_value = "20s", value_parser = flags::span)]
    fill: Duration,
    /// The time over which the aborts of a round are spread, at random
    #[arg(long, default_value = "1s", value_parser = flags::duration)]
    spread: Duration,
    /// How long servers, target and kernel have after the last abort until everything must be over
    #[arg(long, default_value = "8s", value_parser = flags::span)]
    within: Duration,
    /// The target's status.bind: what the target still holds is asked there after each round
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    status: Option<SocketAddr>,
    /// Another seed makes other moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What one round came to.
#[derive(Clone, Debug, Default)]
struct Round {
    /// Clients that were served, and those among them that aborted.
    opened: u64,
    aborted: u64,
    /// Servers that had a client, and those of them that blocked in their send before the aborts.
    accepted: u64,
    blocked: u64,
    /// How the servers saw their clients end.
    reset: u64,
    clean: u64,
    error: u64,
    nothing: u64,
    held: Option<Held>,
}

impl Round {
    fn to_json(&self) -> Value {
        let held = self.held.as_ref();
        json!({
            "opened": self.opened, "aborted": self.aborted,
            "servers": self.accepted, "servers_blocked": self.blocked,
            "servers_saw_reset": self.reset, "servers_saw_clean_end": self.clean,
            "servers_saw_error": self.error, "servers_saw_nothing": self.nothing,
            "target_still_holds": held.and_then(|held| held.connections),
            "socket_memory_bytes": held.map(|held| json!({
                "before": held.before_bytes, "full": held.full_bytes, "after": held.after_bytes,
            })),
        })
    }
}

/// All rounds; every thread writes into the present one.
#[derive(Clone, Default)]
struct Rounds(Arc<Mutex<Vec<Round>>>);

impl Rounds {
    /// The round of this index begins, if no other thread has begun it.
    fn begin(&self, index: usize) {
        let mut all = self.0.lock().expect("no thread panics with it");
        if all.len() == index {
            all.push(Round::default());
        }
    }

    /// Changes the present round.
    fn count(&self, change: impl FnOnce(&mut Round)) {
        if let Some(round) = self.0.lock().expect("no thread panics with it").last_mut() {
            change(round);
        }
    }
}

impl Abort {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let plan = self
            .common
            .plan(Size { tuples: self.count * self.rounds.min(20), ..Size::at_once(self.count) })?;
        let threads = self.common.threads(self.count);
        let mut phases = Vec::new();
        for _ in 0..self.rounds {
            let parts =
                [Phase::Open, Phase::Warm, Phase::Count, Phase::Run, Phase::Check, Phase::Linger];
            phases.extend(parts.map(|phase| (phase, Until::Done)));
        }
        phases.push((Phase::Close, Until::Done));
        let sockets = Mutex::new(self.sockets(threads)?);
        let rounds = Rounds::default();
        // Clients first, then servers: neither's slots are the other's.
        let job = self.common.job(&plan, phases, threads * 2, self.count);
        let outcome = engine::run(&job, |index| {
            if let Some(index) = index.checked_sub(threads) {
                let slots = self.count as u32 + SPARE_SLOTS;
                let mut setup = self.common.setup(&plan, slots, BUFFERS);
                let all = &mut *sockets.lock().expect("no thread panics with it");
                (setup.listeners, setup.servers) = (std::mem::take(&mut all[index]), Vec::new());
                return Ok((setup, Side::Servers(Servers::new(self, slots, &rounds))));
            }
            let mine = share(self.count, index, threads);
            let setup: NetSetup = self.common.setup(&plan, mine as u32, BUFFERS);
            let pairs = setup.servers.len() as u64;
            let clients = Clients::new(self, (index, threads), mine, pairs, &rounds);
            Ok((setup, Side::Clients(clients)))
        })?;
        let rounds = rounds.0.lock().expect("the threads have ended");
        Ok(self.report(outcome, &rounds))
    }

    /// The servers' sockets, by thread.
    fn sockets(&self, threads: usize) -> io::Result<Vec<Vec<PassiveSocket>>> {
        let mut sockets: Vec<Vec<PassiveSocket>> = vec![Vec::new(); threads];
        let options = SocketOptions::with_backlog(BACKLOG);
        for address in self.listen.iter().flat_map(Targets::iter) {
            let bound = listen_on(address, threads, &options).map_err(io::Error::other)?;
            eprintln!("servers on {}", bound.address);
            for (mine, socket) in sockets.iter_mut().zip(bound.sockets) {
                setsockopt(&socket, sockopt::SndBuf, &SERVER_BUFFER_BYTES)?;
                setsockopt(&socket, sockopt::RcvBuf, &SERVER_BUFFER_BYTES)?;
                mine.push(Arc::new(socket));
            }
        }
        Ok(sockets)
    }

    fn report(&self, mut outcome: Outcome, rounds: &[Round]) -> ExitCode {
        let mut doubts = Vec::new();
        for (number, round) in rounds.iter().enumerate() {
            if !outcome.interrupted {
                judge(round, &mut outcome.tally, self.within);
            }
            let blocked = format!(
                "round {}: {} of {} servers were blocked in their send when the aborts began",
                number + 1,
                round.blocked,
                round.accepted
            );
            if round.blocked < round.accepted {
                eprintln!("{blocked}");
            }
            if round.aborted > 0 && round.blocked < round.accepted.div_ceil(FULL_SHARE) {
                doubts.push(format!("{blocked}: give more --bytes or a longer --fill"));
            }
        }
        let mut figures = Map::new();
        let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
        for (name, count) in [
            ("servers_saw_reset", sum(|one| one.reset)),
            ("servers_saw_clean_end", sum(|one| one.clean)),
            ("servers_saw_error", sum(|one| one.error)),
            ("servers_saw_nothing", sum(|one| one.nothing)),
        ] {
            outcome.tally.count(name, count);
        }
        let told: Vec<Value> = rounds.iter().map(Round::to_json).collect();
        figures.insert("rounds".into(), json!(told));
        let verdict = Verdict {
            scenario: "abort",
            answers: &["opened"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "count": self.count, "rounds": self.rounds, "bytes": self.bytes,
                "fill_seconds": self.fill.as_secs_f64(),
                "spread_seconds": self.spread.as_secs_f64(),
                "within_seconds": self.within.as_secs_f64(), "seed": self.seed,
                "status": self.status.map(|address| address.to_string()),
            }),
            units: Vec::new(),
            figures,
            // Counts are no times: a thread that was late does not make them wrong.
            max_lag: Duration::MAX,
            json: self.common.json,
            doubts,
        };
        verdict.tell()
    }
}

/// Counts what is wrong with a round.
fn judge(round: &Round, tally: &mut Tally, within: Duration) {
    let bound = humantime::format_duration(within);
    let mut fail = |step: &str, what: String, count: u64| tally.fail_many(step, &what, count);
    fail("server", "the abort was seen as a clean end (FIN)".into(), round.clean);
    fail("server", "the abort was seen as another error".into(), round.error);
    fail("server", format!("nothing was seen within {bound} of the aborts"), round.nothing);
    let elsewhere = round.opened.saturating_sub(round.accepted);
    fail("server", "the target leads elsewhere, not to --listen".into(), elsewhere);
    let Some(held) = &round.held else { return };
    let connections = held.connections.unwrap_or(0);
    fail("target", format!("connections are still held after {bound}"), connections);
    if let Some(why) = &held.unanswered {
        fail("target", format!("--status: {why}"), 1);
    }
    if !held.is_memory_back() {
        fail("kernel", format!("socket memory is not back after {bound}"), 1);
    }
}

/// One thread's part.
enum Side {
    Clients(Clients),
    Servers(Servers),
}

impl Script for Side {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        match self {
            Side::Clients(clients) => clients.begin(phase, net),
            Side::Servers(servers) => servers.begin(phase, net),
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match self {
            Side::Clients(clients) => clients.on(conn, event, net),
            Side::Servers(servers) => servers.on(conn, event, net),
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        match self {
            Side::Clients(clients) => clients.tick(net),
            Side::Servers(servers) => servers.tick(net),
        }
    }

    fn tally(&mut self) -> &mut Tally {
        match self {
            Side::Clients(clients) => clients.tally(),
            Side::Servers(servers) => servers.tally(),
        }
    }
}
