//! Upgrades of one gateway, one after the other, while a crowd goes on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Upgrade;
use super::crowd::{Crowd, Silence};
use super::gateway::{Asked, Gateway};
use super::watch::watched;
use crate::host::Footprint;
use crate::result::command;

/// Between two looks while nothing is done.
const GLANCE: Duration = Duration::from_millis(50);
/// Steps of an upgrade until all connections have moved.
const MOVING: [&str; 4] = ["ready", "move", "switch", "rest"];
/// What is due shortly after the last step still waits for what the step took.
const SLACK_SECONDS: f64 = 0.1;

/// What is under way.
pub(super) struct Handing<'a> {
    asked: &'a Upgrade,
    gateway: Gateway,
    crowd: Crowd,
    interrupted: &'a AtomicBool,
    upgrades: Vec<Value>,
    /// What went wrong, beside what the crowd sees.
    failures: Vec<String>,
}

impl<'a> Handing<'a> {
    pub(super) fn new(
        asked: &'a Upgrade,
        gateway: Gateway,
        crowd: Crowd,
        interrupted: &'a AtomicBool,
    ) -> Handing<'a> {
        let (upgrades, failures) = (Vec::new(), Vec::new());
        Handing { asked, gateway, crowd, interrupted, upgrades, failures }
    }

    /// Does all of it; the result.
    pub(super) fn carry_out(mut self) -> io::Result<Value> {
        let before = self.go_through()?;
        let after = Footprint::of(&self.gateway.processes());
        self.failures.extend(self.gateway.complaint());
        let (result, status) = self.crowd.end()?;
        let Some(mut result) = result else {
            let words = format!("the crowd ended without a result ({status})");
            let kind = match status.code() {
                Some(2) => io::ErrorKind::InvalidInput,
                _ => io::ErrorKind::Other,
            };
            return Err(io::Error::new(kind, words));
        };
        let asked = self.asked;
        result["scenario"] = json!("upgrade");
        result["command"] = json!(command());
        result["asked"] = json!({
            "connections": asked.connections, "upgrades": asked.upgrades,
            "beside": asked.beside.unwrap_or_default().to_string(),
            "probation_seconds": asked.probation.as_secs_f64(),
            "pause_seconds": asked.pause.as_secs_f64(),
            "kill_at": asked.kill_at.map(|at| at.to_string()),
        });
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        result["interrupted"] = json!(interrupted || result["interrupted"] == true);
        for failure in self.failures {
            result["good"] = json!(false);
            result["failures"][failure] = json!(1);
        }
        let part = if result["valid"] == true { "measured" } else { "discarded" };
        let windows = result[part]["windows"].take();
        for (upgrade, window) in
            self.upgrades.iter_mut().zip(windows.as_array().into_iter().flatten())
        {
            upgrade["window"] = window.clone();
        }
        result[part]["upgrades"] = json!(self.upgrades);
        result[part]["gateway_before"] = before.json();
        result[part]["gateway_after"] = after.json();
        Ok(result)
    }

    /// All upgrades, or as many as go; what the gateway took before the first.
    fn go_through(&mut self) -> io::Result<Footprint> {
        let mut before = Footprint::default();
        let heard = self.crowd.hear(self.interrupted, || self.gateway.lives());
        if heard.is_err() || self.rest().is_err() {
            return Ok(before);
        }
        before = Footprint::of(&self.gateway.processes());
        let kills = self.asked.kill_at.is_some();
        for number in 1..=self.asked.upgrades {
            let rounds: &[bool] = if kills { &[true, false] } else { &[false] };
            for kill in rounds {
                if self.once(number, *kill)?.is_err() || self.rest().is_err() {
                    return Ok(before);
                }
            }
        }
        Ok(before)
    }

    /// Nothing is done for a while.
    fn rest(&self) -> Result<(), Silence> {
        let begun = Instant::now();
        while begun.elapsed() < self.asked.pause {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Silence::Interrupted);
            }
            if !self.gateway.lives() {
                return Err(Silence::Ended);
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn tell(&mut self, word: &str) -> Result<Value, Silence> {
        let gateway = &self.gateway;
        self.crowd.tell(word, self.interrupted, || !gateway.processes().is_empty())
    }

    /// One upgrade, and a check of all that are held.
    fn once(&mut self, number: u32, kill: bool) -> io::Result<Result<(), Silence>> {
        let name = if kill { "killed upgrade" } else { "upgrade" };
        let old = self.gateway.pid;
        let before = Footprint::of(&self.gateway.processes());
        eprintln!("{name} {number} of {}: asked of pid {old}", self.asked.upgrades);
        if let Err(silence) = self.tell(if kill { "forgive" } else { "begin" }) {
            return Ok(Err(silence));
        }
        let (asked, peak) = watched(|| self.gateway.processes(), || self.ask(kill));
        let asked = asked?;
        self.gateway.look();
        let processes = self.gateway.settled();
        if let Err(silence) = self.tell(&format!("end {}", moving_seconds(&asked))) {
            self.judge(&format!("{name} {number}"), &asked, kill, processes);
            return Ok(Err(silence));
        }
        self.judge(&format!("{name} {number}"), &asked, kill, processes);
        let checked = self.tell("check");
        let said = |what: &str| checked.as_ref().map_or(Value::Null, |said| said[what].clone());
        let after = Footprint::of(&self.gateway.processes());
        let one = json!({
            "number": number, "killed": asked.killed, "answer": asked.answer,
            "command_seconds": asked.seconds, "from_pid": old, "to_pid": self.gateway.pid,
            "request_to_commit_seconds": sum(&asked, &|_| true),
            "moving_seconds": sum(&asked, &|step| MOVING.contains(&step)),
            "before": before.json(), "peak": peak.json(), "after": after.json(),
            "held_lost": said("held_lost"), "failed": said("failed"),
        });
        eprintln!("{}", super::summary::line(name, &one));
        self.upgrades.push(one);
        Ok(checked.map(drop))
    }

    fn ask(&self, kill: bool) -> io::Result<Asked> {
        let probation = humantime::format_duration(self.asked.probation).to_string();
        let probation = probation.replace(' ', "");
        let mut arguments = vec!["--probation", &probation];
        let successor = self.asked.successor.as_ref().map(|path| path.display().to_string());
        if let Some(successor) = &successor {
            arguments.extend(["--binary", successor]);
        }
        let kill_at = self.asked.kill_at.filter(|_| kill);
        self.gateway.upgrade(&arguments, kill_at, self.interrupted)
    }

    /// What is wrong with how it came out.
    fn judge(&mut self, name: &str, asked: &Asked, kill: bool, processes: usize) {
        let committed = asked.answer.as_ref().is_some_and(|answer| answer["committed"] == true);
        let said = asked.answer.as_ref().and_then(|answer| answer["words"].as_str());
        let said = said.unwrap_or(&asked.words);
        let failure = match (kill, committed) {
            (false, false) => Some(format!("{name}: it did not succeed: {said}")),
            (true, true) => Some(format!("{name}: it succeeded: the successor was not killed")),
            (true, false) if asked.killed.is_none() => {
                Some(format!("{name}: it failed before its successor was killed: {said}"))
            }
            _ => None,
        };
        self.failures.extend(failure);
        if processes != 1 {
            self.failures.push(format!("{name}: {processes} processes are left, not 1"));
        }
    }
}

/// Seconds of an answer's steps.
fn sum(asked: &Asked, counts: &dyn Fn(&str) -> bool) -> Option<f64> {
    let steps = asked.answer.as_ref()?["steps"].as_array()?;
    let counted = steps.iter().filter(|step| counts(step["step"].as_str().unwrap_or_default()));
    Some(counted.filter_map(|step| step["seconds"].as_f64()).sum())
}

/// From the request until all had moved, and a little beyond; all of it where they moved back.
fn moving_seconds(asked: &Asked) -> f64 {
    let is_committed = asked.answer.as_ref().is_some_and(|answer| answer["committed"] == true);
    let moving = sum(asked, &|step| MOVING.contains(&step)).filter(|_| is_committed);
    moving.map_or(asked.seconds, |seconds| seconds + SLACK_SECONDS)
}
