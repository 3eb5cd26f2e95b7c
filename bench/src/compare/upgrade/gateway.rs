//! The gateway that is upgraded: one that we have started, or one that runs.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::super::rig::Running;
use super::KillAt;
use crate::host::{family, group, runs};

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(2);
/// How long a successor may take to the point at which it is killed.
const KILL_PATIENCE: Duration = Duration::from_secs(120);
/// How long a process that has nothing left to do may take to its end.
const END: Duration = Duration::from_secs(10);
/// What the gateway says of a successor that has everything.
const ON_PROBATION: &str = "the successor is on probation";

/// One gateway, whichever process it is now.
pub(super) struct Gateway {
    /// The program whose commands it takes.
    program: PathBuf,
    admin: PathBuf,
    /// `None`: somebody else's.
    started: Option<Running>,
    /// The process that answers, and all that ever did.
    pub(super) pid: u32,
    seen: Vec<u32>,
}

/// How a request for an upgrade came out.
pub(super) struct Asked {
    /// What it printed, if that is an answer.
    pub(super) answer: Option<Value>,
    /// In a line, where there is no answer.
    pub(super) words: String,
    /// From the start of the command to its end.
    pub(super) seconds: f64,
    /// The successor that was killed.
    pub(super) killed: Option<u32>,
}

impl Gateway {
    /// The one that answers at this admin socket.
    pub(super) fn new(
        program: PathBuf,
        admin: PathBuf,
        started: Option<Running>,
    ) -> Result<Gateway, String> {
        let mut gateway = Gateway { program, admin, started, pid: 0, seen: Vec::new() };
        gateway.pid = gateway.answers()?;
        gateway.seen.push(gateway.pid);
        Ok(gateway)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--admin").arg(&self.admin).stdin(Stdio::null());
        command
    }

    /// Its status; the error is what the command says.
    fn status(&self) -> Result<Value, String> {
        let output = self.command(&["status", "--json"]).output();
        let output = output.map_err(|error| format!("{}: {error}", self.program.display()))?;
        serde_json::from_slice(&output.stdout).map_err(|_| words(&output))
    }

    /// The process that answers now.
    fn answers(&self) -> Result<u32, String> {
        let pid = self.status()?["gateway"]["pid"].as_u64();
        pid.map(|pid| pid as u32).ok_or_else(|| "its status names no process".to_owned())
    }

    /// Looks again who answers.
    pub(super) fn look(&mut self) {
        if let Ok(pid) = self.answers() {
            self.pid = pid;
            self.seen.push(pid);
        }
    }

    /// All of its processes: those of the group of the first, or what descends from those that
    /// ever answered.
    pub(super) fn processes(&self) -> Vec<u32> {
        let mut all = match &self.started {
            Some(running) => group(running.process.id()),
            None => self.seen.iter().flat_map(|pid| family(*pid)).collect(),
        };
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether the process that answers runs.
    pub(super) fn lives(&self) -> bool {
        runs(self.pid)
    }

    /// Waits until one process is left; how many are.
    pub(super) fn settled(&self) -> usize {
        let begun = Instant::now();
        loop {
            let count = self.processes().len();
            if count <= 1 || begun.elapsed() > END {
                return count;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks for an upgrade and waits for its outcome; the successor may be killed on the way.
    pub(super) fn upgrade(
        &self,
        arguments: &[&str],
        kill_at: Option<KillAt>,
        interrupted: &AtomicBool,
    ) -> std::io::Result<Asked> {
        let begun = Instant::now();
        let said_before = self.times_on_probation();
        let mut command = self.command(&[&["upgrade", "--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut killed = None;
        if let Some(kill_at) = kill_at {
            let over = || matches!(child.try_wait(), Ok(Some(_)) | Err(_));
            let is_reached = || self.is_reached(kill_at, said_before);
            killed = self.kill_successor(is_reached, over, interrupted);
        }
        let output = child.wait_with_output()?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Asked { answer: answer(&output), words: words(&output), seconds, killed })
    }

    /// How often the log says that a successor has everything.
    fn times_on_probation(&self) -> usize {
        let log = self.started.as_ref().map(|running| running.process.log());
        log.map_or(0, |log| log.matches(ON_PROBATION).count())
    }

    /// Whether the upgrade under way is as far as this. The log says at once when a successor is on
    /// probation; how many connections have moved is in the status, of which there is a new one
    /// each 100 ms.
    fn is_reached(&self, kill_at: KillAt, said_before: usize) -> bool {
        let KillAt::Percent(percent) = kill_at else {
            return self.times_on_probation() > said_before;
        };
        let status = self.status().unwrap_or_default();
        let count = |what: &str| status["upgrade"][what].as_u64();
        let (Some(moved), Some(left)) = (count("moved"), count("left")) else { return false };
        moved > 0 && moved * 100 >= percent * (moved + left)
    }

    /// Kills the successor once it is at the point to be killed at.
    fn kill_successor(
        &self,
        is_reached: impl Fn() -> bool,
        mut over: impl FnMut() -> bool,
        interrupted: &AtomicBool,
    ) -> Option<u32> {
        let begun = Instant::now();
        while !is_reached() {
            let waited = begun.elapsed() > KILL_PATIENCE || interrupted.load(Ordering::Relaxed);
            if waited || over() {
                return None;
            }
            std::thread::sleep(GLANCE);
        }
        // A third process stands between the two.
        let status = self.status().unwrap_or_default();
        let successor = u32::try_from(status["upgrade"]["successor"].as_u64()?).ok()?;
        kill(Pid::from_raw(successor as i32), Signal::SIGKILL).ok()?;
        Some(successor)
    }

    /// Why nothing of it runs any more, if so.
    pub(super) fn complaint(&mut self) -> Option<String> {
        if !self.processes().is_empty() {
            return None;
        }
        let said = self.started.as_mut().map(|running| {
            let status = running.process.ended().ok().flatten();
            let status = status.map_or(String::new(), |status| format!(" ({status})"));
            format!("{status}: {}", running.process.complained())
        });
        Some(format!("the gateway has ended{}", said.unwrap_or_default()))
    }
}

fn answer(output: &Output) -> Option<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    serde_json::from_str(line).ok().filter(|value: &Value| value["steps"].is_array())
}

fn words(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ")
}
