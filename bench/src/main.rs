//! The `portcullis-bench` program: holds, checks and measures TCP servers and proxies.

mod compare;
mod engine;
mod flags;
mod host;
mod load;
mod number;
mod pattern;
mod report;
mod result;
mod rivals;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Progress goes to stderr, one JSON result to stdout. Exit codes: 0 done, 1 the target or the run
/// failed, 2 wrong usage, 3 the generator was the bottleneck: the figures are worth nothing.
#[derive(Parser)]
#[command(name = "portcullis-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A server for the other end: echo, sink, source and others, on many ports.
    Serve(serve::Serve),
    #[command(flatten)]
    Load(load::Scenario),
    /// Charts and tables from results: one page of HTML, or Markdown.
    Report(report::Report),
    /// Portcullis and other proxies at the same works, in turns.
    Compare(compare::Compare),
    /// Upgrades of a gateway while connections are held and others come, talk and stream.
    Upgrade(compare::Upgrade),
    /// Portcullis at one work, with one key of its config at many values.
    Sweep(compare::Sweep),
}

fn main() -> ExitCode {
    engine::allow_large_tables();
    let outcome = match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Load(scenario) => scenario.run(),
        Command::Report(report) => report.run(),
        Command::Compare(compare) => compare.run(),
        Command::Upgrade(upgrade) => upgrade.run(),
        Command::Sweep(sweep) => sweep.run(),
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

    #[test]
    fn every_work_of_a_comparison_is_one_that_its_scenario_understands() {
        for (work, arguments) in compare::command_lines() {
            let target = ["--target", "127.0.0.1:1"].map(str::to_owned);
            let all = ["portcullis-bench".to_owned()].into_iter().chain(arguments).chain(target);
            let parsed = Arguments::try_parse_from(all);
            assert!(parsed.is_ok(), "{work}: {}", parsed.err().expect("checked"));
        }
    }
}
