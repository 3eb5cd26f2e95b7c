//! A proxy that is upgraded in its own way: what outlives its old process is counted.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::super::rig::{Measured, Rig, Running, Stop, failed};
use super::super::target::Proxy;
use super::super::work::Work;
use super::crowd::{Crowd, Silence};
use crate::host::{family, group, runs};
use crate::result::{SCHEMA, command, host};
use crate::rivals::Way;

/// Between two looks at processes.
const GLANCE: Duration = Duration::from_millis(20);
/// Nothing is done before and after it for so long.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);
/// How much longer than its config says an old process may stay.
const LATE: Duration = Duration::from_secs(20);
/// How long a new one may take to run.
const START: Duration = Duration::from_secs(20);

/// Measures one upgrade of a proxy.
pub(crate) fn measure(rig: &mut Rig, proxy: &Proxy, work: &Work) -> Result<Measured, Stop> {
    let (servers, _) = rig.backend(work)?;
    let running = match rig.start(proxy, work.connections, work.backend, &servers)? {
        Ok(running) => running,
        Err(why) => return Ok(failed(work, "start", &why)),
    };
    let mut arguments = vec!["crowd".to_owned()];
    arguments.extend(work.arguments.iter().cloned());
    arguments.extend([format!("--target={}", running.listen), "--json".to_owned()]);
    let lag = humantime::format_duration(rig.manner.max_lag).to_string();
    arguments.push(format!("--max-lag={}", lag.replace(' ', "")));
    arguments.extend(rig.manner.threads.map(|threads| format!("--threads={threads}")));
    let interrupted = rig.interrupted.clone();
    let mut crowd = Crowd::start(&arguments, false)?;
    let changing = Changing { rig, proxy, running: &running, interrupted: &interrupted };
    let took = match changing.carry_out(&mut crowd) {
        Ok(took) => took,
        Err(why) => {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            return Ok(failed(
                work,
                "upgrade",
                &format!("{why}: {}", running.process.complained()),
            ));
        }
    };
    let (result, status) = crowd.end()?;
    Ok(match result {
        Some(result) => Measured { line: line(&result, took), backend: None },
        None => failed(work, "crowd", &format!("no result ({status})")),
    })
}

/// The result: what is lost is what is measured, and no failure of the measurement.
fn line(crowd: &Value, seconds: f64) -> Value {
    let count = |what: &str| crowd["counts"][what].as_u64().unwrap_or(0);
    let (opened, survived) = (count("held_opened"), count("held_checked"));
    let percent = survived as f64 * 100.0 / opened.max(1) as f64;
    let part = if crowd["valid"] == true { "measured" } else { "discarded" };
    let mut line = json!({
        "schema": SCHEMA, "scenario": "upgrade", "good": opened > 0, "valid": crowd["valid"],
        "interrupted": crowd["interrupted"], "asked": crowd["asked"], "host": host(),
        "command": command(), "counts": crowd["counts"], "lost_as": crowd["failures"],
        "failures": {}, "own": crowd["own"],
    });
    line[part] = json!({
        "survived": survived, "survived_percent": percent, "lost": opened - survived.min(opened),
        "refused": count("new_lost"), "seconds_to_old_end": seconds,
        "longest_accept_gap_ms": crowd[part]["longest_accept_gap_ms"],
        "latency_us": crowd[part]["latency_us"],
    });
    if part == "discarded" {
        line["invalid_because"] = crowd["invalid_because"].clone();
    }
    line
}

/// One that is being upgraded.
struct Changing<'a> {
    rig: &'a Rig,
    proxy: &'a Proxy,
    running: &'a Running,
    interrupted: &'a AtomicBool,
}

impl Changing<'_> {
    /// From the crowd's first word to the end of all old processes and a check of those held; the
    /// seconds that the old ones took to their end.
    fn carry_out(&self, crowd: &mut Crowd) -> Result<f64, String> {
        let silent = |silence: Silence| format!("the crowd is silent ({silence:?})");
        let lives = || !self.processes().is_empty();
        crowd.hear(self.interrupted, lives).map_err(silent)?;
        std::thread::sleep(PAUSE);
        let master = self.master()?;
        let old = family(master);
        crowd.tell("begin", self.interrupted, lives).map_err(silent)?;
        let begun = Instant::now();
        self.begin(master)?;
        let bound = Duration::from_secs(self.rig.grace_seconds) + LATE;
        // A master that starts new workers stays.
        let stays = matches!(self.proxy.found.rival.way, Some(Way::Reload));
        let ends = |pid: &u32| !(stays && *pid == master);
        let old: Vec<u32> = old.into_iter().filter(ends).collect();
        self.wait(bound, "its old process does not end", || !old.iter().any(|pid| runs(*pid)))?;
        let seconds = begun.elapsed().as_secs_f64();
        std::thread::sleep(PAUSE);
        crowd.tell("end 0", self.interrupted, lives).map_err(silent)?;
        Ok(seconds)
    }

    fn processes(&self) -> Vec<u32> {
        group(self.running.process.id())
    }

    fn wait(&self, bound: Duration, what: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() > bound || self.interrupted.load(Ordering::Relaxed) {
                return Err(format!("{what} within {bound:?}"));
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// The first of its processes, or the newest of them.
    fn master(&self) -> Result<u32, String> {
        let Some(Way::Replace { pid_file }) = self.proxy.found.rival.way else {
            return Ok(self.running.process.id());
        };
        let text = std::fs::read_to_string(self.running.folder.join(pid_file));
        let pid = text.ok().and_then(|text| text.trim().parse().ok());
        pid.ok_or_else(|| format!("{pid_file} names no process"))
    }

    /// Has the new process take over, in the proxy's way.
    fn begin(&self, master: u32) -> Result<(), String> {
        let folder = &self.running.folder;
        let program = &self.proxy.found.program;
        match self.proxy.found.rival.way {
            Some(Way::Command) => {
                let admin = folder.join("admin.sock").display().to_string();
                run(program, &["upgrade", "--json", "--admin", &admin])
            }
            Some(Way::Reload) => signal(master, Signal::SIGUSR2),
            Some(Way::Replace { .. }) => {
                signal(master, Signal::SIGUSR2)?;
                // It runs when it has workers.
                let has_workers = |new: u32| new != master && family(new).len() > 1;
                self.wait(START, "no new master runs", || self.master().is_ok_and(has_workers))?;
                signal(master, Signal::SIGWINCH)?;
                signal(master, Signal::SIGQUIT)
            }
            Some(Way::Second { arguments }) => self.start_second(program, arguments),
            None => Err("it cannot be upgraded".to_owned()),
        }
    }

    /// Starts a second process in the group of the first, so that it ends with it.
    fn start_second(&self, program: &Path, arguments: &[&str]) -> Result<(), String> {
        use std::os::unix::process::CommandExt;
        let place = self.rig.place(self.running.listen, &[], &self.running.folder);
        let arguments = self.proxy.arguments(arguments, 1, &place)?;
        let log = self.running.folder.join("second.err");
        let log = std::fs::File::create(log).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.process_group(self.running.process.id() as i32);
        command.spawn().map(drop).map_err(|error| format!("{}: {error}", program.display()))
    }
}

fn run(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).trim().to_owned())
}

fn signal(pid: u32, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(pid as i32), signal).map_err(|error| format!("{signal} to {pid}: {error}"))
}
