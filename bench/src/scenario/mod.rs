//! What all scenarios share: their flags, how they divide connections, and how results are told.

pub(crate) mod abort;
pub(crate) mod bulk;
pub(crate) mod churn;
pub(crate) mod ends;
pub(crate) mod halfclose;
pub(crate) mod hold;
pub(crate) mod limit;
mod outage;
pub(crate) mod pingpong;
pub(crate) mod restart;
pub(crate) mod slow;
mod table;

use std::fs::read_to_string;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::amount;
use crate::engine::{Job, Outcome, Phase, Until, hold_signals};
use crate::net::NetSetup;
use crate::plan::{Plan, Reach, Size};
use crate::result::SCHEMA;

/// A thread of ours that ran for more than this share of the time was the bottleneck.
const BUSY_SHARE: f64 = 0.95;

/// Counts of which an echo alone makes any.
const ANSWERED: [&str; 9] = [
    "opened",
    "answered",
    "lives",
    "arrived",
    "new_served",
    "established",
    "half_closed",
    "down",
    "served",
];
/// Failures that something else than an echo makes.
const UNLIKE_AN_ECHO: [&str; 6] =
    ["wrong bytes", "nobody asked for", "(hung)", "ended early", "FIN before", "bytes were lost"];

#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Threads of the generator, each with its own rings; one for each core by default
    #[arg(long, value_parser = amount::threads)]
    threads: Option<usize>,
    /// How long anything may take before it counts as hung
    #[arg(long, default_value = "20s", value_parser = amount::duration)]
    pub(crate) patience: Duration,
    /// How long a thread of the generator may be kept from its connections while it measures,
    /// before the run counts as invalid
    #[arg(long, default_value = "250ms", value_parser = amount::duration)]
    pub(crate) max_lag: Duration,
    /// Processes of the target (their children count, too), to report CPU and memory
    #[arg(long, value_delimiter = ',')]
    pub(crate) target_pid: Vec<u32>,
    /// Sets the sysctls that so many connections need, which are told in any case, and puts the
    /// old values back at the end. Not for two runs at one time
    #[arg(long)]
    apply_sysctls: bool,
    /// The result as one line of JSON also on a terminal, where it is a table else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a thread's pool is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers {
    pub(crate) bytes: u32,
    pub(crate) count: u32,
}

impl Buffers {
    /// For messages of so many bytes.
    pub(crate) fn for_messages(bytes: u32) -> Buffers {
        let bytes = bytes.next_power_of_two().max(512);
        Buffers { bytes, count: ((64 << 20) / bytes).clamp(512, 16_384) }
    }
}

impl Common {
    /// Threads for so many connections.
    pub(crate) fn threads(&self, connections: u64) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or(cores).clamp(1, connections.clamp(1, 256) as usize)
    }

    /// The plan for a run, printed.
    pub(crate) fn plan(&self, size: Size) -> io::Result<Plan> {
        if self.apply_sysctls {
            // From here on a signal waits until the run hears it, so that nothing stays set.
            hold_signals()?;
        }
        Plan::make(&self.reach, size, self.apply_sysctls)
    }

    /// A run through these phases.
    pub(crate) fn job(
        &self,
        plan: &Plan,
        phases: Vec<(Phase, Until)>,
        threads: usize,
        goal: u64,
    ) -> Job {
        Job {
            phases,
            threads,
            target_pids: self.target_pid.clone(),
            goal,
            talks: true,
            applied: plan.applied.clone(),
        }
    }

    /// One thread's setup.
    pub(crate) fn setup(&self, plan: &Plan, connections: u32, buffers: Buffers) -> NetSetup {
        NetSetup {
            connections,
            buffer_bytes: buffers.bytes,
            buffer_count: buffers.count,
            listeners: Vec::new(),
            servers: plan.servers(),
            patience: self.patience,
        }
    }
}

/// The share of `total` that thread `index` of `threads` has.
pub(crate) fn share(total: u64, index: usize, threads: usize) -> u64 {
    let (index, threads) = (index as u64, threads as u64);
    total / threads + u64::from(index < total % threads)
}

/// A result on its way to stdout.
pub(crate) struct Report<'a> {
    pub(crate) scenario: &'static str,
    pub(crate) outcome: &'a Outcome,
    /// The phase that is measured.
    pub(crate) measured: Phase,
    /// What the scenario was asked, in its own words.
    pub(crate) asked: Value,
    /// Units of work: the result's name for one, and how many were done in the measured phase.
    pub(crate) units: Vec<(&'static str, f64)>,
    pub(crate) figures: Map<String, Value>,
    pub(crate) max_lag: Duration,
    /// JSON, wherever it goes.
    pub(crate) json: bool,
    /// Why the figures are worth nothing, beyond what is found here.
    pub(crate) doubts: Vec<String>,
}

impl Report<'_> {
    /// Prints the result, a table on a terminal and else one line of JSON; says how the program
    /// ends.
    pub(crate) fn tell(mut self) -> ExitCode {
        let mut doubts = std::mem::take(&mut self.doubts);
        let mut own = Value::Null;
        if let Some((before, after)) = self.outcome.around(self.measured) {
            let (ran, waited) = after.own_since(before);
            own = json!({
                "busiest_thread_ran": ran, "busiest_thread_waited_for_a_core": waited,
                "longest_lag_ms": after.lag.as_secs_f64() * 1e3,
            });
            if after.lag > self.max_lag {
                doubts.push(format!(
                    "a thread of the generator did not look at its connections for {:?}, more than \
                     --max-lag {:?}: the machine is too busy",
                    after.lag, self.max_lag
                ));
            }
            if ran > BUSY_SHARE {
                doubts.push(format!(
                    "a thread of the generator ran {:.0} % of the time: give it more --threads or \
                     cores, or less to do",
                    ran * 100.0
                ));
            }
        }
        doubts.extend(self.no_longer_open());
        let tally = &self.outcome.tally;
        let good = tally.failures.is_empty();
        let measured = self.measured();
        let mut result = json!({
            "schema": SCHEMA, "scenario": self.scenario, "good": good, "valid": doubts.is_empty(),
            "interrupted": self.outcome.interrupted, "asked": self.asked, "host": host(),
            "command": command(),
            "counts": tally.counts, "failures": tally.failures, "own": own,
        });
        if doubts.is_empty() {
            result["measured"] = measured;
        } else {
            result["invalid_because"] = json!(doubts);
            result["discarded"] = measured;
        }
        let hint = self.no_echo();
        if let Some(hint) = &hint {
            result["hint"] = json!(hint);
            eprintln!("failed: {hint}");
        }
        if self.json || !std::io::stdout().is_terminal() {
            println!("{result}");
        } else {
            print!("{}", table::of(&result));
        }
        for doubt in &doubts {
            eprintln!("invalid: {doubt}");
        }
        match (good, doubts.is_empty()) {
            (false, _) => ExitCode::from(1),
            (true, false) => ExitCode::from(3),
            (true, true) => ExitCode::SUCCESS,
        }
    }

    /// Why a run in which nothing was open says nothing.
    fn no_longer_open(&self) -> Option<String> {
        let Outcome { tally, dead, established, interrupted, .. } = self.outcome;
        if tally.failed == 0 || *interrupted {
            return None;
        }
        match dead {
            _ if *established == 0 => Some("not one connection was established".to_owned()),
            Some((phase, after)) => Some(format!(
                "after {:.1} s of the phase {} nothing was open any more: the run ended there",
                after.as_secs_f64(),
                phase.word()
            )),
            None => None,
        }
    }

    /// What is wrong with a target that was reached and gave not one right answer.
    fn no_echo(&self) -> Option<String> {
        let tally = &self.outcome.tally;
        let answered = ANSWERED.iter().any(|count| tally.get(count) > 0);
        let kinds = |kind: &str| tally.failures.keys().any(|one| one.contains(kind));
        let echoes = !UNLIKE_AN_ECHO.iter().any(|kind| kinds(kind)) || kinds("greeting");
        // What another server than an echo is asked for is none of this.
        let other = ["up", "down"].contains(&self.asked["direction"].as_str().unwrap_or("both"))
            || self.asked.get("first").is_some();
        if answered || echoes || other {
            return None;
        }
        Some(
            "the target does not echo: not one answer was what had been sent; lead it to an echo, \
             such as `portcullis-bench serve`"
                .to_owned(),
        )
    }

    fn measured(&mut self) -> Value {
        let mut figures = std::mem::take(&mut self.figures);
        figures.insert("latency_us".to_owned(), self.outcome.tally.latencies());
        let phases = self.outcome.snapshots.windows(2).filter_map(|pair| {
            let seconds = (pair[1].1.at - pair[0].1.at).as_secs_f64();
            Some((pair[1].0?.word().to_owned(), json!(seconds)))
        });
        figures.insert("phase_seconds".to_owned(), Value::Object(phases.collect()));
        if let Some((before, after)) = self.outcome.around(self.measured) {
            let seconds = (after.at - before.at).as_secs_f64();
            let cpu = after.target_cpu_since(before);
            for (unit, count) in &self.units {
                figures.insert(format!("{unit}s"), json!(count));
                figures.insert(format!("{unit}s_per_second"), json!(count / seconds));
                let each = cpu.filter(|_| *count > 0.0).map(|nanos| nanos as f64 / 1e3 / count);
                figures.insert(format!("target_cpu_us_per_{unit}"), json!(each));
            }
            figures.insert("target_cpu_seconds".to_owned(), json!(cpu.map(|n| n as f64 / 1e9)));
            figures.insert("accept_queue".to_owned(), after.queue_since(before));
        }
        let states = self.outcome.snapshots.iter().map(|(phase, snapshot)| {
            let mut state = snapshot.state();
            state["after"] = json!(phase.map(Phase::word));
            state
        });
        figures.insert("states".to_owned(), states.collect());
        figures.insert("timeline".to_owned(), self.outcome.timeline.to_json());
        Value::Object(figures)
    }
}

/// The command line of this run. Files go by their names alone: a result is given to others, whose
/// folders are not ours.
pub(crate) fn command() -> String {
    let name = |word: String| match Path::new(&word).file_name() {
        Some(name) if word.starts_with('/') => name.to_string_lossy().into_owned(),
        _ => word,
    };
    std::env::args().map(name).collect::<Vec<_>>().join(" ")
}

/// The kernel, and how many cores we may use.
pub(crate) fn host() -> Value {
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({"kernel": kernel.trim(), "cores": cores})
}
