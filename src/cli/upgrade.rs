//! `upgrade`: its flags, and what it prints.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;

use super::instance::one_line;
use super::outcome::Outcome;
use crate::api::upgrade::{MOST_MILLIS, Upgrade, Upgraded};
use crate::client::{Client, ClientError};
use crate::summary::upgrade_words;

/// What `upgrade` can be told.
#[derive(Debug, Args)]
pub struct UpgradeArguments {
    /// The program of the successor [default: what lies where the running one was started from]
    #[arg(long, value_name = "PROGRAM")]
    pub binary: Option<PathBuf>,
    /// Its config file [default: the path of the running one's]
    #[arg(long, value_name = "FILE")]
    pub successor_config: Option<PathBuf>,
    /// How long it serves before the running one ends [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub probation: Option<Duration>,
    /// How long none may move, and those that cannot at once are tried again [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Take the upgrade that is under way back
    #[arg(long, conflicts_with_all = ["binary", "successor_config", "probation", "timeout"])]
    pub abort: bool,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A duration as in the config file.
fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).ok();
    let time = time.filter(|time| time.as_millis() <= u128::from(MOST_MILLIS));
    time.ok_or_else(|| "must be a duration up to 10 minutes; write 2s or 500ms".to_owned())
}

/// Asks for an upgrade, and waits for its outcome. One that is taken back is a denial.
pub(super) fn upgrade(
    gateway: &Client,
    arguments: UpgradeArguments,
) -> Result<Outcome, ClientError> {
    let UpgradeArguments { binary, successor_config, probation, timeout, abort, json } = arguments;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // The gateway may have another working directory.
    let path = |path: PathBuf| absolute(&path).to_string_lossy().into_owned();
    let request = Upgrade {
        abort,
        binary: binary.map(path),
        config: successor_config.map(path),
        probation_millis: probation.map(millis),
        timeout_millis: timeout.map(millis),
    };
    let is_watched = !json && !abort;
    let answer =
        if is_watched { watched(gateway, &request) } else { gateway.patient().ask(&request) }?;
    if answer.wrong_config && !json {
        return Ok(Outcome::Wrong(answer.words));
    }
    if answer.committed {
        await_end(gateway, answer.pid);
    }
    let text = if json { one_line(gateway, &answer) } else { words(&answer, abort) };
    Ok(Outcome::of(text, json, answer.committed || abort))
}

/// Asks, and says on a terminal how far it is until the answer comes.
fn watched(gateway: &Client, request: &Upgrade) -> Result<Upgraded, ClientError> {
    const EVERY: Duration = Duration::from_millis(250);
    if !std::io::stderr().is_terminal() {
        return gateway.patient().ask(request);
    }
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| gateway.patient().ask(request));
        let mut said = String::new();
        while !asks.is_finished() {
            std::thread::sleep(EVERY);
            let upgrade = gateway.reading().ok().and_then(|reading| reading.upgrade);
            let words = upgrade.map(|upgrade| upgrade_words(&upgrade)).unwrap_or_default();
            if words != said && !words.is_empty() {
                eprintln!("{words}");
                said = words;
            }
        }
        asks.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The gateway that has answered ends; a command that follows is to find its successor alone. It
/// has nothing left to do, and is not waited for longer than this.
fn await_end(gateway: &Client, pid: u32) {
    const LOOKS: u32 = 100;
    const EVERY: Duration = Duration::from_millis(20);
    for _ in 0..LOOKS {
        let answers = gateway.status().ok().and_then(|said| said["gateway"]["pid"].as_u64());
        if answers != Some(pid.into()) {
            return;
        }
        std::thread::sleep(EVERY);
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `upgraded: 8,120 connections moved to pid 4711; it took 3.1 s`.
fn words(answer: &Upgraded, abort: bool) -> String {
    match (answer.committed, abort) {
        (true, _) => format!("upgraded: {}", answer.words),
        (false, true) => answer.words.clone(),
        (false, false) => format!("taken back: {}", answer.words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_reads_as_a_sentence() {
        let words_of = |committed, abort| {
            let words_ = "they moved".to_owned();
            words(&Upgraded { committed, words: words_, ..Upgraded::default() }, abort)
        };
        assert_eq!(words_of(true, false), "upgraded: they moved");
        assert_eq!(words_of(false, false), "taken back: they moved");
        assert_eq!(words_of(false, true), "they moved");
    }

    #[test]
    fn times_are_taken_as_people_write_them() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "10", "-5s", "11m"] {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
    }
}
