//! Many connections opened, checked, held, probed, checked again and closed.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, Value, json};

use super::{Buffers, Common, Report, share};
use crate::engine::{self, Outcome, Phase, Script, Tick, Until};
use crate::net::{End, Event, Net};
use crate::pattern::Pattern;
use crate::tally::{Tally, words};

/// What each connection says whenever it is checked.
const MESSAGE_BYTES: u32 = 32;

#[derive(Args)]
#[command(after_help = "Example: a million connections, held for a minute:
  portcullis-bench hold --target 127.0.0.1:7000 --connections 1000000 --hold 60s \\
      --target-pid $(pgrep -x portcullis)")]
pub(crate) struct Hold {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 100_000)]
    connections: u64,
    /// How long to hold them all
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Connections opened per second, over all threads; 0 is as fast as they go
    #[arg(long, default_value_t = 0)]
    ramp: u64,
    /// Connections that are being opened, checked or closed at one time
    #[arg(long, default_value_t = 1_024)]
    window: u64,
    /// Connections asked per second while all are held, chosen one after the other over the table
    #[arg(long, default_value_t = 1_000)]
    probes: u64,
}

impl Hold {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let plan = self.common.plan(self.connections)?;
        let threads = self.common.threads(self.connections);
        let phases = vec![
            (Phase::Open, Until::Done),
            (Phase::Run, Until::Elapsed(self.hold)),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let job = self.common.job(phases, threads, self.connections);
        let outcome = engine::run(&job, |index| {
            let connections = share(self.connections, index, threads) as u32;
            let setup = self.common.setup(&plan, connections, Buffers::for_messages(MESSAGE_BYTES));
            let pairs = setup.servers.len();
            Ok((setup, Holding::new(self, index, threads, connections, pairs)))
        })?;
        Ok(self.report(&outcome).tell())
    }

    fn report<'a>(&self, outcome: &'a Outcome) -> Report<'a> {
        let opened = outcome.tally.get("opened") as f64;
        let mut figures = Map::new();
        if let Some((before, after)) = outcome.around(Phase::Open) {
            let each = |bytes: Option<i64>| bytes.map(|bytes| bytes as f64 / opened.max(1.0));
            let slab = after.slab_since(before);
            let total: i64 = slab.values().sum();
            let by_cache: Map<String, Value> = slab
                .iter()
                .map(|(cache, bytes)| ((*cache).into(), json!(each(Some(*bytes)))))
                .collect();
            figures.insert(
                "memory_bytes_per_connection".into(),
                json!({
                    "target_user_pss": each(after.pss_since(before)),
                    "target_cgroup": each(after.cgroup_since(before)),
                    "machine_slab": each(Some(total)), "machine_slab_by_cache": by_cache,
                }),
            );
            let seconds = (after.at - before.at).as_secs_f64();
            figures.insert("opened_per_second".into(), json!(opened / seconds));
            let cpu = after.target_cpu_since(before).map(|n| n as f64 / 1e3 / opened.max(1.0));
            figures.insert("target_cpu_us_per_opened".into(), json!(cpu));
            figures.insert("accept_queue_while_opening".into(), after.queue_since(before));
        }
        Report {
            scenario: "hold",
            outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections, "hold_seconds": self.hold.as_secs_f64(),
                "ramp": self.ramp, "window": self.window, "probes": self.probes,
            }),
            units: vec![("probe", outcome.tally.get("probed") as f64)],
            figures,
            max_lag: self.common.max_lag,
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
    missing: u8,
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
    ramp_nanos: u64,
    probe_nanos: u64,
    phase_nanos: u64,
}

impl Holding {
    fn new(hold: &Hold, index: usize, threads: usize, connections: u32, pairs: usize) -> Holding {
        let one = |local: u64| Held {
            next: Pattern::new(index as u64 + local * threads as u64),
            step: Step::Gone,
            missing: 0,
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
            (Phase::Run | Phase::Check, Step::Idle) => self.ask(conn, net),
            (Phase::Close, Step::Idle) => {
                self.held[local].step = Step::Leaving;
                net.expect(conn);
                net.finish(conn);
            }
            (Phase::Close, Step::Asking | Step::Opening) => {
                // Only an interrupt leaves such: it is nobody's failure.
                self.held[local].step = Step::Gone;
                self.through += 1;
                return net.close(conn);
            }
            _ => return self.through += 1,
        }
        self.under_way += 1;
    }

    fn ask(&mut self, conn: ConnIndex, net: &mut Net) {
        let held = &mut self.held[conn.0 as usize];
        held.step = Step::Asking;
        held.asked_nanos = net.nanos();
        held.missing = MESSAGE_BYTES as u8;
        net.expect(conn);
        net.send(conn, MESSAGE_BYTES, |bytes| held.next.clone().fill(bytes));
    }

    fn received(&mut self, conn: ConnIndex, result: Result<usize, String>, net: &mut Net) {
        let held = &mut self.held[conn.0 as usize];
        let count = match result {
            Ok(count) => count,
            Err(error) => return self.lose(conn, &error, net),
        };
        held.missing -= count as u8;
        if held.missing > 0 {
            return net.receive(conn);
        }
        held.step = Step::Idle;
        let nanos = net.nanos() - held.asked_nanos;
        net.relax(conn);
        net.idle(conn);
        let (of, count) = match self.phase {
            Phase::Open => ("open_and_first_answer", "opened"),
            Phase::Run => ("probe", "probed"),
            Phase::Count | Phase::Check | Phase::Close => ("check", "checked"),
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
            (Step::Asking, Phase::Open) => "first message",
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
                let begun = held.asked_nanos;
                self.ask(conn, net);
                self.held[conn.0 as usize].asked_nanos = begun;
                net.receive(conn);
            }
            Event::MaySend if held.step == Step::Asking => {
                net.send(conn, MESSAGE_BYTES, |bytes| held.next.clone().fill(bytes));
            }
            Event::Received(chunk) => {
                let bytes = net.bytes(chunk);
                if held.step != Step::Asking || bytes.len() > usize::from(held.missing) {
                    return self.lose(conn, "bytes that nobody asked for", net);
                }
                let checked = held.next.check(bytes).map(|()| bytes.len());
                let result =
                    checked.map_err(|_| "wrong bytes (corrupted, or another's)".to_owned());
                self.received(conn, result, net);
            }
            Event::Ended(End::Fin) if held.step == Step::Leaving => {
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
            Phase::Count | Phase::Check | Phase::Close => 0,
        };
        let total = self.held.len() as u64;
        let passed = net.nanos() - self.phase_nanos;
        let allowed = match self.phase {
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
        Tick { done, progress: self.through, wait: Duration::from_nanos(wait) }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
