//! A run's result on its way to stdout: whether it is good, whether it is valid, and its figures.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::table;
use crate::engine::{Outcome, Phase};
use crate::result::{SCHEMA, command, host};

/// A thread of ours that ran for more than this share of the time was the bottleneck.
const BUSY_SHARE: f64 = 0.95;

/// Failures that something else than an echo makes.
const UNLIKE_AN_ECHO: [&str; 6] =
    ["wrong bytes", "nobody asked for", "(hung)", "ended early", "FIN before", "bytes were lost"];

/// A result on its way to stdout.
pub(crate) struct Verdict<'a> {
    pub(crate) scenario: &'static str,
    /// Counts of which an echo alone makes any; none if the scenario asks for another server.
    pub(crate) answers: &'static [&'static str],
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

impl Verdict<'_> {
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
        if self.outcome.secured {
            self.asked["tls"] = json!(true);
        }
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
        let answered = self.answers.iter().any(|count| tally.get(count) > 0);
        let kinds = |kind: &str| tally.failures.keys().any(|one| one.contains(kind));
        let echoes = !UNLIKE_AN_ECHO.iter().any(|kind| kinds(kind)) || kinds("greeting");
        if self.answers.is_empty() || answered || echoes {
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
