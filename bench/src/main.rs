//! The `portcullis-bench` program: holds, checks and measures TCP servers and proxies.

mod account;
mod bulk;
mod engine;
mod exchange;
mod figures;
mod net;
mod parts;
mod pattern;
mod pingpong;
mod plan;
mod progress;
mod scenario;
mod serve;
mod sources;
mod tally;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Progress goes to stderr, one JSON result to stdout. Exit codes: 0 done, 1 the target or the run
/// failed, 2 wrong usage, 3 the generator was the bottleneck: the figures are worth nothing.
#[derive(Parser)]
#[command(name = "portcullis-bench", version)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// An echo server, one process for each port.
    Serve(serve::Serve),
    /// One of its processes.
    #[command(hide = true)]
    ServePart(serve::Part),
    /// Opens connections to something that echoes, holds them, checks each, closes them.
    Hold(scenario::hold::Hold),
    /// Small messages back and forth on every connection, each checked.
    Pingpong(pingpong::PingPong),
    /// As many bytes as go, on few connections, each checked.
    Bulk(bulk::Bulk),
}

fn main() -> ExitCode {
    parts::allow_many_files();
    let outcome = match Arguments::parse().scenario {
        Scenario::Serve(serve) => serve.run(),
        Scenario::ServePart(part) => part.run(),
        Scenario::Hold(hold) => return end(hold.run()),
        Scenario::Pingpong(pingpong) => pingpong.run(),
        Scenario::Bulk(bulk) => bulk.run(),
    };
    end(outcome.map(|good| if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

fn end(outcome: std::io::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("portcullis-bench: {error}");
        ExitCode::from(if error.kind() == std::io::ErrorKind::InvalidInput { 2 } else { 1 })
    })
}
