//! Many connections opened, checked, held, checked again and closed.

pub(crate) mod part;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::parts::{self, MAX_SOCKETS, Running};
use crate::{figures, sources};

#[derive(Args)]
pub(crate) struct Hold {
    /// What to connect to; it must echo
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 100_000)]
    connections: usize,
    /// How long to hold them all
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Source addresses: a range or a list; without it the kernel chooses
    #[arg(long)]
    sources: Option<String>,
    /// How long opening may take
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    open_within: Duration,
    /// The target's process, to report its memory
    #[arg(long)]
    target_pid: Option<u32>,
}

impl Hold {
    pub(crate) fn run(&self) -> io::Result<bool> {
        let before = figures::all(self.target_pid);
        let mut parts = self.start()?;
        let since = Instant::now();
        let opened = tell_all(&mut parts, "open")?;
        let seconds = since.elapsed().as_secs_f64();
        eprintln!("{} of {} open in {seconds:.1} s", opened.done, self.connections);
        let full = figures::all(self.target_pid);
        std::thread::sleep(self.hold);
        let held = figures::all(self.target_pid);
        let checked = tell_all(&mut parts, "check")?;
        eprintln!("{} of {} answered again", checked.done, opened.done);
        tell_all(&mut parts, "close")?;
        // The target closes its ends in its own time: this is what is left a moment later.
        std::thread::sleep(Duration::from_secs(2));
        let after = figures::all(self.target_pid);
        let good = opened.done == self.connections as u64 && checked.done == opened.done;
        let result = json!({
            "schema": 1, "scenario": "hold", "good": good, "connections": self.connections,
            "opened": opened.done, "open_seconds": seconds, "open_failures": opened.failures,
            "held_seconds": self.hold.as_secs_f64(),
            "answered_again": checked.done, "second_failures": checked.failures,
            "before": before, "full": full, "held": held, "after": after,
        });
        println!("{result}");
        Ok(good)
    }

    /// Starts as many processes as the connections need, and at least one for each core.
    fn start(&self) -> io::Result<Vec<Teller>> {
        let cores = std::thread::available_parallelism()?.get();
        let count = self.connections.div_ceil(MAX_SOCKETS).max(cores);
        let share = self.connections.div_ceil(count);
        let sources = match &self.sources {
            Some(text) => sources::parse(text, self.connections)?,
            None => Vec::new(),
        };
        let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
        let start = |first: usize| {
            let mine = share.min(self.connections - first);
            let seconds = self.open_within.as_secs();
            let mut arguments = vec!["hold-part".to_owned()];
            arguments.push(format!("--target={}", self.target));
            arguments.push(format!("--first={first}"));
            arguments.push(format!("--connections={mine}"));
            arguments.push(format!("--open-within-seconds={seconds}"));
            arguments.push(format!("--sources={}", sources.join(",")));
            Teller::new(parts::start(&arguments)?)
        };
        (0..self.connections).step_by(share.max(1)).map(start).collect()
    }
}

/// What all the processes did at one command.
#[derive(Default)]
struct Done {
    done: u64,
    failures: BTreeMap<String, u64>,
}

/// A process that is told what to do and tells what it did.
struct Teller {
    // Field order: its pipes close first, then it is killed if it is still there.
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Running,
}

impl Teller {
    fn new(mut process: Running) -> io::Result<Self> {
        let gone = || io::Error::other("a part has no pipe");
        let commands = process.child.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(process.child.stdout.take().ok_or_else(gone)?);
        Ok(Self { commands, answers, _process: process })
    }
}

/// Gives every process the command, and adds up what they did.
fn tell_all(parts: &mut [Teller], command: &str) -> io::Result<Done> {
    for part in parts.iter_mut() {
        writeln!(part.commands, "{command}")?;
    }
    let mut all = Done::default();
    for part in parts {
        let mut line = String::new();
        part.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        all.done += answer["done"].as_u64().unwrap_or(0);
        for (kind, count) in answer["failures"].as_object().into_iter().flatten() {
            *all.failures.entry(kind.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    Ok(all)
}
