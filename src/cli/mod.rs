//! The command line: flags become a command, and its outcome an exit code.

mod admin;
mod check;
mod drain;
mod instance;
mod man;
mod outcome;
mod place;
mod servers;
mod upgrade;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use admin::{AdminCommand, ListenerAction, ServerAction};
pub use drain::DrainArguments;
pub use instance::Instance;
pub use place::ConfigArguments;
pub use upgrade::UpgradeArguments;

use crate::base::version;
use crate::config::{self, Config, ConfigErrors, ConfigSource, DEFAULT_FILE, LogFormat, Place};
use crate::gateway;
use check::check;
use outcome::{DONE, FAILED, Outcome, USAGE, warn};

/// The whole command line; `clap::CommandFactory` makes help, completions and a man page of it.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version = version::LINE,
    about = "An io_uring TCP gateway for very large numbers of open connections",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or config. Wrong usage includes a \
                  filter, an id or a weight that is none, a listener or server that the gateway \
                  does not have, and neither --config nor --admin where several gateways run.\n\
                  PORTCULLIS_ADMIN names the admin socket where no option does.\n\
                  Logs go to stderr, what a command answers goes to stdout."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can be told to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    #[command(after_help = "SIGTERM or SIGINT drains, a second one ends at once. The same signal \
        within half a second of the first repeats it: timeout(1) sends two.\n\
        --set takes the value as the file would, and a word without quotes, as in log.level=debug. \
        A reload and an upgrade keep it.\n\
        On addresses of a gateway that drains it waits until that one has served its queues, and \
        takes over: clients that come between the two wait and are served.")]
    Run {
        /// Where its config comes from.
        #[command(flatten)]
        config: ConfigArguments,
        /// A gateway hands over to this process, over standard input
        #[arg(long, hide = true)]
        successor: bool,
    },
    /// Be the parent of a successor until it is committed
    #[command(name = gateway::FOSTER, hide = true)]
    Foster {
        /// The successor's program
        program: PathBuf,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Say whether a config file is right, and every line that is not
    #[command(after_help = "What it names and this host lacks is a warning, or with --host an \
        error (exit code 1).\nExample: portcullis check --host /etc/portcullis/portcullis.toml")]
    Check {
        /// Try what a start on this host would: addresses and ports, files, groups, limits
        #[arg(long)]
        host: bool,
        /// Where its config comes from.
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Say how many connections this host can hold, what binds, and what to change
    #[command(after_help = "Changes nothing. Exits with 1 when what is asked for does not fit,\n\
        or when the host lacks what the config names.")]
    Doctor {
        /// Where its config comes from.
        #[command(flatten)]
        config: ConfigArguments,
        /// How many connections to hold [default: gateway.max_connections]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        connections: Option<u64>,
        /// Answer with one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Ask a running gateway, or change it.
    #[command(flatten)]
    Admin(AdminCommand),
    /// Print what makes a shell complete this command line
    #[command(after_help = "Example: portcullis completions bash \
        > /usr/share/bash-completion/completions/portcullis")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write one for the program and one for each command
    #[command(after_help = "Example: portcullis man --directory /usr/share/man/man1")]
    Man {
        /// Where to write them
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
        /// Print the page on the config file instead, portcullis.toml(5)
        #[arg(long, conflicts_with = "directory")]
        config: bool,
    },
}

/// Does what `arguments`, the program's name first, say.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => perform(cli.command),
        Err(error) => Outcome::Usage(error),
    };
    outcome.report()
}

fn perform(command: Command) -> Outcome {
    match command {
        Command::Run { config, successor } => run(config, successor),
        Command::Foster { program, arguments } => {
            // Who waits for it has heard why it did not start.
            Outcome::Logged(gateway::foster(&program, &arguments).unwrap_or(FAILED))
        }
        Command::Doctor { config, connections, json } => match loaded(config) {
            Ok((source, config)) => {
                if source.place == Place::Default {
                    warn(&format!("portcullis: no config is named: {DEFAULT_FILE} is taken\n"));
                }
                let diagnosis = gateway::diagnose(&config, connections);
                let text = if json { diagnosis.json() } else { diagnosis.to_string() };
                Outcome::of(text.trim_end().to_owned(), json, diagnosis.starts())
            }
            Err(errors) => Outcome::Config(errors),
        },
        Command::Check { config, host } => match loaded(config) {
            Ok((ConfigSource { place: Place::Embedded, .. }, _)) => no_file(),
            Ok((source, config)) => check(&source.name(), &config, host),
            Err(errors) => Outcome::Config(errors),
        },
        Command::Admin(command) => admin::perform(command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut script);
            Outcome::Verbatim(String::from_utf8_lossy(&script).trim_end().to_owned(), DONE)
        }
        Command::Man { config: true, .. } => Outcome::Verbatim(config::man_page(), DONE),
        Command::Man { directory, .. } => write_man_pages(directory.as_deref()),
    }
}

/// The gateway, until its end. Where its log is for programs, so is what ends it at once.
fn run(arguments: ConfigArguments, successor: bool) -> Outcome {
    let handed = match successor.then(gateway::Handed::receive).transpose() {
        Ok(handed) => handed,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let refused = |format: LogFormat, errors: ConfigErrors| {
        if let Some(handed) = &handed {
            handed.refuse(USAGE, &errors.to_string());
        }
        if format == LogFormat::Text {
            return Outcome::Config(errors);
        }
        gateway::log_config_errors(format, &errors);
        Outcome::Logged(USAGE)
    };
    // A successor's standard input is its predecessor, which hands the text over.
    let input = handed.as_ref().map(|handed| handed.config_text().unwrap_or_default());
    let source = match arguments.source(input) {
        Ok(source) => source,
        Err(errors) => return refused(LogFormat::Text, errors),
    };
    let config = match source.load() {
        Ok(config) => config,
        Err(errors) => return refused(source.log_format(), errors),
    };
    let format = config.log.format;
    match gateway::run(config, source, handed) {
        Ok(()) => Outcome::Done,
        Err(error) if format == LogFormat::Text => Outcome::Failed(error.to_string()),
        Err(_) => Outcome::Logged(FAILED),
    }
}

fn write_man_pages(directory: Option<&Path>) -> Outcome {
    let Some(directory) = directory else {
        return match man::page() {
            Ok(page) => Outcome::Verbatim(String::from_utf8_lossy(&page).trim_end().into(), DONE),
            Err(error) => Outcome::Failed(error.to_string()),
        };
    };
    match man::write_all(directory) {
        Ok(()) => Outcome::Done,
        Err(error) => {
            let place = directory.display();
            Outcome::Failed(format!("cannot write man pages to {place}: {error}"))
        }
    }
}

/// The config that the command line means, and where it comes from.
fn loaded(arguments: ConfigArguments) -> Result<(ConfigSource, Config), ConfigErrors> {
    let source = arguments.source(None)?;
    let config = source.load()?;
    Ok((source, config))
}

/// There is nothing to check.
fn no_file() -> Outcome {
    let words =
        format!("name a config file, or - for standard input: there is no {DEFAULT_FILE}\n");
    let mut command = Cli::command();
    command.build();
    let check = command.find_subcommand_mut("check").expect("a command");
    Outcome::Usage(check.error(ErrorKind::MissingRequiredArgument, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_file_is_named_in_three_ways_and_once() {
        for command in ["run", "check", "doctor"] {
            for file in [&[][..], &["--config", "f"], &["-c", "f"], &["f"], &["-"], &["-c", "-"]] {
                let line = [&["portcullis", command], file].concat();
                assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
            }
            assert!(Cli::try_parse_from(["portcullis", command, "f", "-c", "f"]).is_err());
        }
        for command in [&["status"][..], &["reload"], &["drain"], &["servers", "app"]] {
            let line = [&["portcullis"], command, &["-c", "f"]].concat();
            assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
        }
    }
}
