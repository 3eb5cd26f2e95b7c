//! Many connections opened, checked, held, probed, checked again and closed.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, json};

use crate::engine::{self, End, Event, Net, Outcome, Phase, Script, Tally, Tick, Until, words};
use crate::flags;
use crate::load::common::{Buffers, Common, share};
use crate::load::memory;
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use crate::pattern::{self, HELLO_BYTES, Pattern};

/// What each connection says whenever it is checked.
const MESSAGE_BYTES: u32 = 32;

/// The most that a connection which is being warmed has under way.
const WARM_PART_BYTES: u32 = 16 << 10;
/// The most that each is warmed with.
const WARM_BYTES_MAX: u64 = 1 << 30;

/// Opens connections to something that echoes, holds them, checks each, closes them.
#[derive(Args)]
#[command(
    after_help = "Examples: a million connections, held for a minute; and what 100,000 cost \
once each has exchanged 32 KiB:
  portcullis-bench hold --target 127.0.0.1:7000 --connections 1000000 --hold 60s \\
      --target-pid $(pgrep -x portcullis)
  portcullis-bench hold --target 127.0.0.1:7000 --connections 100000 --warm 32KiB \\
      --target-pid $(pgrep -x portcullis)
And how much more the first message of a quiet connection costs than the next, in TLS:
  portcullis-bench hold --target 127.0.0.1:7443 --tls --connections 2000 --hold 60s --probes 0 \\
      --again --target-pid $(pgrep -x portcullis)"
)]
pub(crate) struct Hold {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 100_000, value_parser = flags::connections)]
    connections: u64,
    /// How long to hold them all
    #[arg(long, default_value = "60s", value_parser = flags::duration)]
    hold: Duration,
    /// Connections opened per second, over all threads; 0 is as fast as they go
    #[arg(long, default_value_t = 0, value_parser = flags::count)]
    ramp: u64,
    /// Connections that are being opened, checked or closed at one time
    #[arg(long, default_value_t = 1_024, value_parser = flags::count)]
    window: u64,
    /// Connections asked per second while all are held, chosen one after the other over the table
    #[arg(long, default_value_t = 1_000, value_parser = flags::count)]
    probes: u64,
    /// Bytes that each sends and gets back when all are open, before they are held; memory is
    /// measured before and after
    #[arg(long, value_parser = flags::size_u32::<WARM_BYTES_MAX>)]
    warm: Option<u32>,
    /// How long nothing moves between that and measuring
    #[arg(long, default_value = "2s", value_parser = flags::duration)]
    settle: Duration,
    /// How long to wait after closing before it is measured what the target kept
    #[arg(long, default_value = "2s", value_parser = flags::duration)]
    linger: Duration,
    /// When all were checked, which each is in its turn, they are checked once more at once: a
    /// connection that was quiet before has just moved then
    #[arg(long)]
    again: bool,
    /// The server speaks first (`serve --mode hello-first`): its greeting is waited for
    #[arg(long)]
    hello_first: bool,
}

impl Hold {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let plan =
            self.common.plan(Size { at_once: self.window, ..Size::at_once(self.connections) })?;
        let threads = self.common.threads(self.connections);
        let warm = [(Phase::Warm, Until::Done), (Phase::Settle, Until::Elapsed(self.settle))];
        let mut phases = vec![(Phase::Open, Until::Done)];
        phases.extend(warm.into_iter().filter(|_| self.warm.is_some()));
        phases.extend([(Phase::Run, Until::Elapsed(self.hold)), (Phase::Check, Until::Done)]);
        phases.extend(self.again.then_some((Phase::Again, Until::Done)));
        phases.extend([(Phase::Close, Until::Done), (Phase::Linger, Until::Elapsed(self.linger))]);
        let job = self.common.job(&plan, phases, threads, self.connections);
        let outcome = engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let largest = self.warm.unwrap_or(0).clamp(MESSAGE_BYTES, WARM_PART_BYTES);
            let setup = self.common.setup(&plan, connections, Buffers::for_messages(largest));
            let pairs = setup.servers.len();
            Ok((setup, Holding::new(self, index, threads, connections, pairs)))
        })?;
        Ok(self.verdict(&outcome).tell())
    }

    fn verdict<'a>(&self, outcome: &'a Outcome) -> Verdict<'a> {
        let opened = outcome.tally.get("opened") as f64;
        let mut figures = Map::new();
        if let Some((before, after)) = outcome.around(Phase::Open) {
            let memory = memory::per_connection(before, after, opened);
            figures.insert("memory_bytes_per_connection".into(), memory);
            let sockets = memory::sockets(before, after, opened);
            figures.insert("sockets_per_connection".into(), sockets);
            let seconds = (after.at - before.at).as_secs_f64();
            figures.insert("opened_per_second".into(), json!(opened / seconds));
            let cpu = after.target_cpu_since(before).map(|n| n as f64 / 1e3 / opened.max(1.0));
            figures.insert("target_cpu_us_per_opened".into(), json!(cpu));
            figures.insert("accept_queue_while_opening".into(), after.queue_since(before));
        }
        if let Some((idle, warm)) = outcome.until(Phase::Settle) {
            let memory = memory::per_connection(idle, warm, opened);
            figures.insert("memory_bytes_per_connection_warm".into(), memory);
        }
        for (phase, count, figure) in [
            (Phase::Check, "checked", "target_cpu_us_per_check"),
            (Phase::Again, "checked_again", "target_cpu_us_per_check_again"),
        ] {
            let checked = outcome.tally.get(count) as f64;
            let cpu = outcome.around(phase).and_then(|(was, is)| is.target_cpu_since(was));
            if let Some(nanos) = cpu.filter(|_| checked > 0.0) {
                figures.insert(figure.into(), json!(nanos as f64 / 1e3 / checked));
            }
        }
        if let Some((idle, closed)) = outcome.until(Phase::Linger) {
            figures.insert("kept_after_close".into(), memory::kept(idle, closed));
        }
        Verdict {
            scenario: "hold",
            answers: &["opened"],
            outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections, "hold_seconds": self.hold.as_secs_f64(),
                "ramp": self.ramp, "window": self.window, "probes": self.probes,
                "warm_bytes": self.warm, "settle_seconds": self.settle.as_secs_f64(),
                "linger_seconds": self.linger.as_secs_f64(), "hello_first": self.hello_first,
                "again": self.again,
            }),
            units: vec![("probe", outcome.tally.get("probed") as f64)],
            figures,
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        }
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Gone,
    Opening,
    /// It is open, and the server is to speak first.
    Listening,
    Asking,
    Idle,
    /// FIN is sent; the target's is waited for.
    Leaving,
}

/// One connection.
#[derive(Clone, Debug)]
struct Held {
    next: Pattern,
    step: Step,
    missing_bytes: u32,
    /// What is to follow what is under way.
    later_bytes: u32,
    asked_nanos: u64,
}

/// One thread's connections.
struct Holding {
    tally: Tally,
    phase: Phase,
    held: Vec<Held>,
    first: u64,
    threads: u64,
    pairs: u64,
    /// Connections that were begun in this phase, that are under way, and that are through.
    begun: u64,
    under_way: u64,
    through: u64,
    window: u64,
    warm_bytes: u32,
    hello_first: bool,
    ramp_nanos: u64,
    probe_nanos: u64,
    phase_nanos: u64,
}

impl Holding {
    fn new(hold: &Hold, index: usize, threads: usize, connections: u32, pairs: usize) -> Holding {
        let one = |local: u64| Held {
            next: Pattern::new(index as u64 + local * threads as u64),
            step: Step::Gone,
            missing_bytes: 0,
            later_bytes: 0,
            asked_nanos: 0,
        };
        // A rate over all threads; each keeps its share of it.
        let interval = |rate: u64| (threads as u64 * 1_000_000_000).checked_div(rate).unwrap_or(0);
        Holding {
            tally: Tally::default(),
            phase: Phase::Open,
            held: (0..u64::from(connections)).map(one).collect(),
            first: index as u64,
            threads: threads as u64,
            pairs: pairs as u64,
            begun: 0,
            under_way: 0,
            through: 0,
            window: hold.window.div_ceil(threads as u64).max(1),
            warm_bytes: hold.warm.unwrap_or(0),
            hello_first: hold.hello_first,
            ramp_nanos: interval(hold.ramp),
            probe_nanos: interval(hold.probes),
            phase_nanos: 0,
        }
    }

    /// What this phase does with one connection.
    fn begin_one(&mut self, conn: ConnIndex, net: &mut Net) {
        let local = conn.0 as usize;
        match (self.phase, self.held[local].step) {
            (Phase::Open, Step::Gone) => {
                let number = self.first + u64::from(conn.0) * self.threads;
                self.held[local].step = Step::Opening;
                self.held[local].asked_nanos = net.nanos();
                net.open(conn, ServerId((number % self.pairs) as u16));
            }
            (Phase::Warm, Step::Idle) => self.ask(conn, self.warm_bytes, net),
            (Phase::Run | Phase::Check | Phase::Again, Step::Idle) => {
                self.ask(conn, MESSAGE_BYTES, net)
            }
            (Phase::Close, Step::Idle) => {
                self.held[local].step = Step::Leaving;
                net.expect(conn);
                net.finish(conn);
            }
            (Phase::Close, Step::Asking | Step::Opening | Step::Listening) => {
                // Only an interrupt leaves such: it is nobody's failure.
                self.held[local].step = Step::Gone;
                self.through += 1;
                return net.close(conn);
            }
            _ => return self.through += 1,
        }
        self.under_way += 1;
    }

    /// Sends so many bytes, one part after the other, each when the last has come back.
    fn ask(&mut self, conn: ConnIndex, total_bytes: u32, net: &mut Net) {
        let held = &mut self.held[conn.0 as usize];
        held.step = Step::Asking;
        held.asked_nanos = net.nanos();
        held.later_bytes = total_bytes;
        self.ask_on(conn, net);
    }

    /// Sends the first message, whose latency counts from when the connection was begun.
    fn ask_first(&mut self, conn: ConnIndex, net: &mut Net) {
        let begun = self.held[conn.0 as usize].asked_nanos;
        self.ask(conn, MESSAGE_BYTES, net);
        self.held[conn.0 as usize].asked_nanos = begun;
    }

    fn ask_on(&mut self, conn: ConnIndex, net: &mut Net) {
        let held = &mut self.held[conn.0 as usize];
        held.missing_bytes = held.later_bytes.min(WARM_PART_BYTES);
        held.later_bytes -= held.missing_bytes;
        net.expect(conn);
        net.send(conn, held.missing_bytes, |bytes| held.next.clone().fill(bytes));
    }

    fn received(&mut self, conn: ConnIndex, count_bytes: u32, net: &mut Net) {
        let held = &mut self.held[conn.0 as usize];
        held.missing_bytes -= count_bytes;
        if held.missing_bytes > 0 {
            return net.receive(conn);
        }
        if held.later_bytes > 0 {
            net.receive(conn);
            return self.ask_on(conn, net);
        }
        held.step = Step::Idle;
        let nanos = net.nanos() - held.asked_nanos;
        net.relax(conn);
        net.idle(conn);
        let (of, count) = match self.phase {
            Phase::Open => ("open_and_first_answer", "opened"),
            Phase::Warm => ("warm", "warmed"),
            Phase::Run => ("probe", "probed"),
            Phase::Again => ("check_again", "checked_again"),
            _ => ("check", "checked"),
        };
        self.tally.latency(of, nanos);
        self.tally.count(count, 1);
        self.one_through();
    }

    /// Counts a connection as failed, and closes it.
    fn lose(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        let held = &mut self.held[conn.0 as usize];
        let was_idle = held.step == Step::Idle;
        let step = match (held.step, self.phase) {
            (Step::Gone, _) => return net.close(conn),
            (Step::Opening, _) => "open",
            (Step::Listening, _) => "greeting",
            (Step::Asking, Phase::Open) => "first message",
            (Step::Asking, Phase::Warm) => "warm",
            (Step::Asking, Phase::Run) => "probe",
            (Step::Asking, _) => "check",
            (Step::Idle, _) => "while held",
            (Step::Leaving, _) => "close",
        };
        held.step = Step::Gone;
        self.tally.fail(step, what);
        net.close(conn);
        if !was_idle {
            self.one_through();
        }
    }

    fn one_through(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.through += 1;
    }
}

impl Script for Holding {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        // A probe that is still under way when all are checked is that check.
        let asking = self.held.iter().filter(|held| held.step == Step::Asking).count();
        self.phase = phase;
        (self.begun, self.through, self.under_way) = (0, 0, 0);
        if phase == Phase::Check {
            self.under_way = asking as u64;
        }
        self.phase_nanos = net.nanos();
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        let held = &mut self.held[conn.0 as usize];
        match event {
            Event::Opened => {
                self.tally.latency("connect", net.nanos() - held.asked_nanos);
                if self.hello_first {
                    (held.step, held.missing_bytes) = (Step::Listening, HELLO_BYTES);
                    net.expect(conn);
                } else {
                    self.ask_first(conn, net);
                }
                net.receive(conn);
            }
            Event::MaySend if held.step == Step::Asking => {
                net.send(conn, held.missing_bytes, |bytes| held.next.clone().fill(bytes));
            }
            Event::Received(chunk) if held.step == Step::Listening => {
                match pattern::greeted(&mut held.missing_bytes, net.bytes(chunk)) {
                    Ok(whole) => {
                        if whole {
                            self.ask_first(conn, net);
                        }
                        net.receive(conn);
                    }
                    Err(what) => self.lose(conn, &what, net),
                }
            }
            Event::Received(chunk) => {
                let asked = if held.step == Step::Asking { held.missing_bytes } else { 0 };
                match pattern::take(&mut held.next, asked.into(), net.bytes(chunk)) {
                    Ok(()) => self.received(conn, chunk.length_bytes, net),
                    Err(what) => self.lose(conn, &what, net),
                }
            }
            Event::Ended(End::Fin | End::CutOff) if held.step == Step::Leaving => {
                self.tally.count("closed_clean", 1);
                held.step = Step::Gone;
                net.close(conn);
                self.one_through();
            }
            Event::Ended(end) => self.lose(conn, &words(end), net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", net),
            Event::Sent | Event::MaySend | Event::Closed | Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let interval = match self.phase {
            Phase::Open => self.ramp_nanos,
            Phase::Run => self.probe_nanos,
            _ => 0,
        };
        let total = self.held.len() as u64;
        let passed = net.nanos() - self.phase_nanos;
        let allowed = match self.phase {
            Phase::Settle | Phase::Count | Phase::Linger => 0,
            Phase::Run if interval == 0 => 0,
            Phase::Run => passed / interval,
            _ => passed.checked_div(interval).unwrap_or(total).min(total),
        };
        while self.begun < allowed && self.under_way < self.window {
            let conn = ConnIndex((self.begun % total) as u32);
            self.begun += 1;
            self.begin_one(conn, net);
        }
        let next = (self.begun + 1).saturating_mul(interval).saturating_sub(passed);
        let wait = if interval > 0 { next } else { u64::MAX };
        let vacant = |net: &Net| self.phase != Phase::Close || net.open == 0;
        let done = self.begun >= total && self.under_way == 0 && vacant(net);
        let holds = matches!(self.phase, Phase::Settle | Phase::Run);
        let dead = holds && net.open == 0 && self.under_way == 0;
        Tick { done, dead, progress: self.through, wait: Duration::from_nanos(wait) }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
