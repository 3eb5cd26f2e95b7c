//! What the program says of this kernel before it serves, and what it serves over.

use std::time::Duration;

use crate::gateway::{Gateway, ask, configure, log, status, terminate};
use crate::pairs::{Ends, talk};
use crate::{Outcome, ensure};

pub(crate) fn check() -> Outcome {
    configure("auto", "")?;
    let (code, said) = ask(&["check", "--config", crate::gateway::CONFIG])?;
    ensure(code == Some(0), || format!("{code:?}: {}", said.trim()))?;
    Ok(said.trim().to_owned())
}

/// `doctor` names the kernel and what connections go over; where that is epoll, also why. From
/// Linux 7.0 on its trial finds that a worker makes no other ring that opens files.
pub(crate) fn doctor(io: &str) -> Outcome {
    let (code, said) = ask(&["doctor", "--config", crate::gateway::CONFIG])?;
    ensure(code == Some(0), || format!("{code:?}: {}", said.trim()))?;
    let line = |words: &str| said.lines().find(|line| line.contains(words)).map(str::trim);
    match io {
        "epoll" => {
            let says = line("io_uring cannot be used, so connections go over epoll");
            let remedy = line("Linux 6.13 or newer");
            let (says, remedy) = says.zip(remedy).ok_or_else(|| format!("not said in {said}"))?;
            Ok(format!("{}; {remedy}", words(says)))
        }
        _ => {
            ensure(!said.contains("io_uring cannot"), || said.clone())?;
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
            let release = release.map_err(|error| error.to_string())?;
            let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
            let how = if major >= Some(7) { "restricted by thread" } else { "restricted by ring" };
            let restricted = line(how).ok_or_else(|| format!("not {how}: {said}"))?;
            let has = line("io_uring has what the gateway needs").ok_or("not said")?;
            Ok(format!("{}; {}", words(has), words(restricted)))
        }
    }
}

/// `io = "io_uring"` on a kernel that has too little is refused with the reason.
pub(crate) fn asked_for_rings(io: &str, ends: &mut Ends) -> Outcome {
    configure("io_uring", "")?;
    if io == "epoll" {
        let code = Gateway::launch()?.ended()?;
        let said = log()?;
        ensure(code == Some(1), || format!("exit code {code:?}: {said}"))?;
        let mut why = said.lines().filter(|line| line.starts_with("portcullis: "));
        let why = why.next().ok_or_else(|| format!("no error in {said}"))?;
        ensure(why.contains("run Linux 6.13 or newer"), || why.to_owned())?;
        return Ok(format!("exit code 1: {}", why));
    }
    let gateway = Gateway::start()?;
    talk(&mut ends.open(20)?, 5_000)?;
    gateway.wait_for_open(0)?;
    terminate(gateway.pid())?;
    let code = gateway.ended()?;
    ensure(code == Some(0), || format!("exit code {code:?}"))?;
    Ok("served, exit code 0".to_owned())
}

/// `io = "auto"` finds what this kernel has, and warns once where that is the second choice.
pub(crate) fn start(io: &str, started: &mut Option<Gateway>) -> Outcome {
    configure("auto", "")?;
    let gateway = started.insert(Gateway::start()?);
    gateway.wait_for_open(0)?;
    let by = status()?["io"]["by"].as_str().unwrap_or_default().to_owned();
    ensure(by == io, || format!("over {by}"))?;
    // The log's thread may be behind the answer.
    std::thread::sleep(Duration::from_millis(100));
    let said = log()?;
    let warnings = said.lines().filter(|line| line.contains(" WARN "));
    let warnings: Vec<_> = warnings.filter(|line| line.contains("io_uring")).collect();
    ensure(warnings.len() == usize::from(io == "epoll"), || format!("warnings: {warnings:?}"))?;
    Ok(warnings.first().map_or_else(|| format!("over {by}"), |line| unstamped(line).to_owned()))
}

/// A line of the log without its time.
fn unstamped(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(_, rest)| rest.trim())
}

/// A line of a table without its columns.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
