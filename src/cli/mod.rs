//! The command line: flags become a command, and its outcome an exit code.

mod admin;
mod drain;
mod instance;
mod man;
mod outcome;
mod servers;
mod upgrade;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use admin::{AdminCommand, ListenerAction, ServerAction};
pub use drain::DrainArguments;
pub use instance::Instance;
pub use upgrade::UpgradeArguments;

use crate::base::{Clock, version};
use crate::config::{self, Config, ConfigErrors, LogFormat};
use crate::doctor::count;
use crate::tls::Loaded;
use crate::{doctor, gateway};
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
        On addresses of a gateway that drains it waits until that one has served its queues, and \
        takes over: clients that come between the two wait and are served.")]
    Run {
        /// The config file [default: none: 127.0.0.1:7000 answers with an echo]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
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
    #[command(after_help = "What it names and this host lacks is a warning.")]
    Check {
        /// The config file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say how many connections this host can hold, what binds, and what to change
    #[command(after_help = "Changes nothing. Exits with 1 when what is asked for does not fit,\n\
        or when the host lacks what the config names.")]
    Doctor {
        /// The config file [default: none: 127.0.0.1:7000 answers with an echo]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
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
        Command::Doctor { config, connections, json } => match load(config) {
            Ok(config) => {
                let diagnosis = gateway::diagnose(&config, connections);
                let text = if json { diagnosis.json() } else { diagnosis.to_string() };
                Outcome::of(text.trim_end().to_owned(), json, diagnosis.starts())
            }
            Err(errors) => Outcome::Config(errors),
        },
        Command::Check { config: path } => match Config::load(&path) {
            Ok(config) => check(&path, &config),
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
fn run(path: Option<PathBuf>, successor: bool) -> Outcome {
    let handed = match successor.then(gateway::Handed::receive).transpose() {
        Ok(handed) => handed,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let config = match load(path.clone()) {
        Ok(config) => config,
        Err(errors) => {
            if let Some(handed) = &handed {
                handed.refuse(USAGE, &errors.to_string());
            }
            let format = path.map_or(LogFormat::Text, |path| Config::log_format(&path));
            if format == LogFormat::Text {
                return Outcome::Config(errors);
            }
            gateway::log_config_errors(format, &errors);
            return Outcome::Logged(USAGE);
        }
    };
    let format = config.log.format;
    match gateway::run(config, path.as_deref(), handed) {
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

/// The file's config, or the embedded one.
fn load(path: Option<PathBuf>) -> Result<Config, ConfigErrors> {
    path.map_or_else(|| Ok(Config::embedded()), |path| Config::load(&path))
}

/// What a right file names: what this host lacks is a warning, and so is a file that this user
/// cannot read. One that is read and wrong is an error.
fn check(path: &Path, config: &Config) -> Outcome {
    let place = path.display();
    for lack in doctor::lacks(config) {
        warn(&format!("{place}: warning: a start on this host fails: {lack}\n"));
    }
    let mut wrong = Vec::new();
    match Loaded::load(config, Clock::system().calendar()) {
        Ok(loaded) => {
            for warning in loaded.warnings {
                warn(&format!("{place}: warning: {warning}\n"));
            }
        }
        Err(errors) => {
            let (unreadable, others): (Vec<_>, Vec<_>) =
                errors.into_iter().partition(|error| error.is_unreadable);
            for error in unreadable {
                warn(&format!("{place}: warning: a start on this host fails: {error}\n"));
            }
            wrong = others;
        }
    }
    if wrong.is_empty() {
        return Outcome::Answer(summary(path, config));
    }
    let lines: Vec<String> = wrong.iter().map(|error| format!("{place}: {error}")).collect();
    Outcome::Files(lines.join("\n"))
}

/// What `check` answers about a right file.
fn summary(path: &Path, config: &Config) -> String {
    let listeners = count(config.listeners.len() as u64, "listener");
    let upstreams = count(config.upstreams.len() as u64, "upstream");
    format!("{}: ok: {listeners}, {upstreams}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_needs_no_file_and_check_does() {
        assert!(Cli::try_parse_from(["portcullis", "run"]).is_ok());
        assert!(Cli::try_parse_from(["portcullis", "run", "--config", "f"]).is_ok());
        assert!(Cli::try_parse_from(["portcullis", "check"]).is_err());
    }

    #[test]
    fn one_is_not_plural() {
        let text = summary(Path::new("f.toml"), &Config::embedded());
        assert_eq!(text, "f.toml: ok: 1 listener, 1 upstream");
    }
}
