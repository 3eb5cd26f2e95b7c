//! One process's share of the held connections.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::exchange::{exchange, kind};
use crate::{parts, sources};

/// How long one connection may take to open or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What each connection says, and says again.
const MESSAGE_BYTES: usize = 32;

#[derive(Args)]
pub(crate) struct Part {
    #[arg(long)]
    target: SocketAddr,
    /// The number of this share's first connection
    #[arg(long)]
    first: u64,
    #[arg(long)]
    connections: u64,
    #[arg(long)]
    open_within_seconds: u64,
    #[arg(long, value_delimiter = ',')]
    sources: Vec<String>,
}

#[derive(Default)]
struct Tally {
    done: u64,
    failures: BTreeMap<String, u64>,
}

impl Tally {
    fn count(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.done += 1,
            Err(kind) => *self.failures.entry(kind).or_default() += 1,
        }
    }

    fn tell(self) {
        println!("{}", json!({"done": self.done, "failures": self.failures}));
    }
}

impl Part {
    pub(crate) fn run(&self) -> io::Result<bool> {
        let sources: Vec<IpAddr> =
            self.sources.iter().filter_map(|source| source.parse().ok()).collect();
        let mut held = Vec::new();
        for command in parts::commands() {
            match command.as_str() {
                "open" => self.open(&sources, &mut held).tell(),
                "check" => check(&held).tell(),
                _ => {
                    held.clear();
                    Tally::default().tell();
                }
            }
        }
        Ok(true)
    }

    fn open(&self, sources: &[IpAddr], held: &mut Vec<(u64, TcpStream)>) -> Tally {
        let deadline = Instant::now() + Duration::from_secs(self.open_within_seconds);
        let mut tally = Tally::default();
        for number in self.first..self.first + self.connections {
            if Instant::now() > deadline {
                tally.count(Err("open: out of time".to_owned()));
                continue;
            }
            let source = sources.get(number as usize % sources.len().max(1)).copied();
            let opened = self.open_one(source, number);
            let is_open = opened.is_ok();
            tally.count(opened.map(|stream| held.push((number, stream))));
            if is_open && tally.done.is_multiple_of(2_500) {
                eprintln!("{} open from number {}", tally.done, self.first);
            }
        }
        tally
    }

    fn open_one(&self, source: Option<IpAddr>, number: u64) -> Result<TcpStream, String> {
        let stream = sources::open(source, self.target, PATIENCE)
            .map_err(|error| kind("connect", &error))?;
        exchange(&stream, number, MESSAGE_BYTES).map_err(|error| kind("first message", &error))?;
        Ok(stream)
    }
}

/// Says something else on each connection.
fn check(held: &[(u64, TcpStream)]) -> Tally {
    let mut tally = Tally::default();
    for (number, stream) in held {
        let answered = exchange(stream, !number, MESSAGE_BYTES);
        tally.count(answered.map_err(|error| kind("second message", &error)));
    }
    tally
}
