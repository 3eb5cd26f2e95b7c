//! The `portcullis-bench` program: holds, checks and measures TCP servers and proxies.

mod account;
mod amount;
mod charged;
mod compare;
mod engine;
mod memory;
mod net;
mod pattern;
mod phase;
mod plan;
mod progress;
mod protocol;
mod report;
mod result;
mod rivals;
mod scenario;
mod serve;
mod sysctl;
mod tally;
mod timeline;
mod wrong;

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
    /// A server for the other end: echo, sink, source and others, on many ports.
    Serve(serve::Serve),
    /// Opens connections to something that echoes, holds them, checks each, closes them.
    Hold(scenario::hold::Hold),
    /// Small messages back and forth on every connection, each checked.
    Pingpong(scenario::pingpong::PingPong),
    /// Connect, one message, close, again and again.
    Churn(scenario::churn::Churn),
    /// All connect at once; then all drop and return.
    Storm(scenario::churn::Storm),
    /// One end says FIN first, or both at once, and still everything arrives.
    #[command(name = "halfclose")]
    HalfClose(scenario::halfclose::HalfClose),
    /// Connections that abort at random points; afterwards the target must still serve.
    Reset(scenario::ends::Reset),
    /// Clients that abort while both directions are full: servers must see it, and nothing stays.
    Abort(scenario::abort::Abort),
    /// More clients than the target may hold: who is served, waits, or is turned away how.
    Limit(scenario::limit::Limit),
    /// Clients that do not read for a while, or dribble what they write; everything must arrive.
    Slow(scenario::slow::Slow),
    /// Established and new connections while the target reloads or upgrades: lost, reset, stalled.
    Restart(scenario::restart::Restart),
    /// As many bytes as go on few connections, each checked.
    Bulk(scenario::bulk::Bulk),
    /// Charts and tables from results: one page of HTML, or Markdown.
    Report(report::Report),
    /// Portcullis and other proxies at the same works, in turns.
    Compare(compare::Compare),
    /// Portcullis at one work, with one key of its config at many values.
    Sweep(compare::sweep::Sweep),
}

fn main() -> ExitCode {
    engine::allow_large_tables();
    let outcome = match Arguments::parse().scenario {
        Scenario::Serve(serve) => serve.run(),
        Scenario::Hold(hold) => hold.run(),
        Scenario::Pingpong(pingpong) => pingpong.run(),
        Scenario::Churn(churn) => churn.run(),
        Scenario::Storm(storm) => storm.run(),
        Scenario::HalfClose(halfclose) => halfclose.run(),
        Scenario::Reset(reset) => reset.run(),
        Scenario::Abort(abort) => abort.run(),
        Scenario::Limit(limit) => limit.run(),
        Scenario::Slow(slow) => slow.run(),
        Scenario::Restart(restart) => restart.run(),
        Scenario::Bulk(bulk) => bulk.run(),
        Scenario::Report(report) => report.run(),
        Scenario::Compare(compare) => compare.run(),
        Scenario::Sweep(sweep) => sweep.run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("portcullis-bench: {error}");
        ExitCode::from(if error.kind() == std::io::ErrorKind::InvalidInput { 2 } else { 1 })
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The examples of a command's help, each in one line, as far as this program is to read it.
    fn examples(help: &str) -> Vec<String> {
        let joined = help.replace("\\\n", " ").replace("$(pgrep -x portcullis)", "1");
        let lines = joined.lines().filter(|line| line.trim().starts_with("portcullis-bench "));
        lines.map(|line| line.split(" > ").next().unwrap_or(line).to_owned()).collect()
    }

    #[test]
    fn every_command_s_help_has_an_example_and_every_example_is_understood() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            let all = examples(&help);
            let own = all.iter().filter(|one| one.contains(&format!("portcullis-bench {name} ")));
            let mut count = 0;
            for example in own {
                let parsed = Arguments::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {}", parsed.err().expect("checked"));
                count += 1;
            }
            assert!(count > 0, "the help of {name} has no example: {help}");
        }
    }
}
