//! The `portcullis-bench` program: holds, checks and measures TCP servers and proxies.

mod bulk;
mod exchange;
mod figures;
mod hold;
mod parts;
mod pattern;
mod pingpong;
mod serve;
mod sources;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Progress goes to stderr, one JSON result to stdout; the exit code is 1 if anything failed.
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
    Hold(hold::Hold),
    /// One of its processes.
    #[command(hide = true)]
    HoldPart(hold::part::Part),
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
        Scenario::Hold(hold) => hold.run(),
        Scenario::HoldPart(part) => part.run(),
        Scenario::Pingpong(pingpong) => pingpong.run(),
        Scenario::Bulk(bulk) => bulk.run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("portcullis-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
