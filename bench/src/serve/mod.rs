//! The harness's own server: echoes, swallows, or makes bytes, on many ports and addresses.

mod receipts;
mod serving;
mod stats;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, ValueEnum};
use portcullis::config::SocketOptions;
use portcullis::listener::listen_on;
use portcullis::ring::PassiveSocket;
use serde_json::json;

use crate::engine::{self, Job, NetSetup, Phase, Until};
use crate::flags::{self, Targets, parse_address, parse_targets};
use crate::result::SCHEMA;
use receipts::Receipts;
use serving::Serving;
use stats::Counters;

/// A pool buffer: what one send of a source holds.
const BUFFER_BYTES: u32 = 16 << 10;

/// Serves until it is interrupted.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What is done with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Sends back what comes
    Echo,
    /// Swallows what comes, checks it if a scenario sent it, and says at the end how much came
    Sink,
    /// Sends as many bytes as a scenario asks for, then FIN
    Source,
    /// Speaks first, then echoes
    HelloFirst,
    /// Sends as many bytes as a scenario asks for, then FIN; keeps a receipt of what still comes,
    /// for whoever asks on another connection
    HalfClose,
}

#[derive(Args)]
#[command(after_help = "Examples: echo on eight ports, a line of progress on stderr at SIGUSR1;
and with counters for whoever asks (nc -d 127.0.0.1 9100):
  portcullis-bench serve --listen 127.0.0.1:9000-9007 --connections 500000
  portcullis-bench serve --listen 127.0.0.1:9000 --stats 127.0.0.1:9100")]
pub(crate) struct Serve {
    /// Where to listen: HOST:PORT or HOST:FIRST-LAST, several times over
    #[arg(long, value_delimiter = ',', required = true, value_parser = parse_targets)]
    listen: Vec<Targets>,
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    mode: Mode,
    /// Clients that are held at once; more wait in the accept queues
    #[arg(long, default_value_t = 100_000, value_parser = flags::count_u32::<100_000_000>)]
    connections: u32,
    /// Threads, each with its own rings; one for each core by default
    #[arg(long, value_parser = flags::threads)]
    threads: Option<usize>,
    /// How many completed handshakes may wait on each socket
    #[arg(long, default_value_t = 65_535, value_parser = flags::count_u32::<0x7fff_ffff>)]
    backlog: u32,
    /// Where each connection is answered with one line of JSON: the counters, and who is there now
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    stats: Option<SocketAddr>,
}

impl Serve {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        // Before there is a thread, or somebody who reads that we serve and sends a signal.
        engine::hold_signals()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores).clamp(1, 256);
        let mut sockets: Vec<Vec<PassiveSocket>> = vec![Vec::new(); threads];
        let mut addresses = Vec::new();
        let options = SocketOptions::with_backlog(self.backlog);
        for address in self.listen.iter().flat_map(Targets::iter) {
            let bound = listen_on(address, threads, &options).map_err(io::Error::other)?;
            addresses.push(bound.address);
            for (mine, socket) in sockets.iter_mut().zip(bound.sockets) {
                mine.push(Arc::new(socket));
            }
        }
        let (count, first) = (addresses.len(), addresses[0]);
        eprintln!(
            "serving {:?} on {count} addresses from {first} on, {threads} threads",
            self.mode
        );
        let job = Job {
            phases: vec![(Phase::Run, Until::Elapsed(FOREVER))],
            threads,
            target_pids: Vec::new(),
            goal: 0,
            talks: false,
            secured: false,
            applied: None,
        };
        let sockets = Mutex::new(sockets);
        let receipts = Receipts::shared();
        let counters: Vec<Arc<Counters>> = (0..threads).map(|_| Arc::default()).collect();
        if let Some(address) = self.stats {
            stats::answer(address, counters.clone())?;
        }
        let outcome = engine::run(&job, |index| {
            let connections = self.connections.div_ceil(threads as u32).max(1);
            let all = &mut *sockets.lock().map_err(|_| io::Error::other("a thread panicked"))?;
            let setup = NetSetup {
                connections,
                buffer_bytes: BUFFER_BYTES,
                buffer_count: 2_048,
                listeners: std::mem::take(&mut all[index]),
                servers: Vec::new(),
                patience: FOREVER,
                towards: None,
            };
            Ok((
                setup,
                Serving::new(
                    self.mode,
                    connections as usize,
                    receipts.clone(),
                    counters[index].clone(),
                ),
            ))
        })?;
        let tally = &outcome.tally;
        println!(
            "{}",
            json!({
                "schema": SCHEMA, "scenario": "serve", "mode": format!("{:?}", self.mode),
                "counts": tally.counts, "failures": tally.failures,
            })
        );
        Ok(ExitCode::SUCCESS)
    }
}
