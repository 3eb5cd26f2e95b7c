//! The command line: flags become a command, and its outcome an exit code.

mod outcome;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ratatui::crossterm;
use serde_json::{Value, json};

use crate::base::version;
use crate::config::{self, Config, ConfigErrors, LogFormat, MAX_WEIGHT};
use crate::control::client::{Client, ClientError};
use crate::doctor::count;
use crate::summary::{Summary, listing, plain, plain_word, screenful};
use crate::top::TopError;
use crate::{doctor, gateway, query, top};
use outcome::{DONE, FAILED, Outcome, USAGE, warn};

/// Between the two readings that rates are made of.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// The whole command line; `clap::CommandFactory` makes help, completions and a man page of it.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version = version::LINE,
    about = "An io_uring TCP gateway for very large numbers of open connections",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or config. Wrong usage includes a \
                  filter, an id or a weight that is none, a listener or server that the gateway \
                  does not have, and no --admin where several gateways run.\n\
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
        within half a second of the first repeats it: timeout(1) sends two.")]
    Run {
        /// The config file [default: none: 127.0.0.1:7000 answers with an echo]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
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
    /// Say in a screenful how a running gateway does
    Status {
        /// Watch for a second, and say rates as well
        #[arg(long, conflicts_with = "json")]
        rates: bool,
        /// Answer with one JSON object
        #[arg(long)]
        json: bool,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Show a running gateway's rates, queues and bars on the terminal, until q
    Top {
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// End a gateway as SIGTERM does: no new client, and those who are there leave at a pace
    #[command(after_help = "A SIGTERM or SIGINT during it counts as the first.\n\
        Example: portcullis drain --admin /run/portcullis/admin.sock")]
    Drain {
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Show connections: who they are, where they stand, how long idle, bytes each way
    #[command(after_help = "Words of a filter, all of which must hold: src=10.0.0.0/8 idle>5m \
        age<1h bytes>1MiB server=UPSTREAM/SERVER listener=NAME state=joined worker=0\n\
        Quote them: the shell takes > and < for its own.\n\
        Example: portcullis conns --filter 'src=10.0.0.0/8 idle>5m' --sort age")]
    Conns {
        /// Which connections, in quoted words [default: all]
        #[arg(long, value_name = "WORDS", num_args = 1..)]
        filter: Vec<String>,
        /// Which come first: the longest idle, the oldest, those that moved most
        #[arg(long, value_name = "ORDER", default_value = "idle",
            value_parser = ["idle", "age", "bytes"])]
        sort: String,
        /// How many are shown
        #[arg(long, value_name = "N", default_value_t = query::ROWS,
            value_parser = clap::value_parser!(u32).range(1..=i64::from(query::MOST_ROWS)))]
        limit: u32,
        /// Answer with one JSON object, with the addresses at both ends of both sockets
        #[arg(long)]
        json: bool,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// End connections, by id or by filter, as max_lifetime would
    #[command(after_help = "The words of a filter are those of conns. At most 1,000 a second and \
        worker are ended, until all are or you interrupt it.\n\
        Exits with 1 when an id names nobody any more.\n\
        Example: portcullis kill --filter 'src=10.0.0.0/8 idle>1h' --dry-run")]
    #[command(group(clap::ArgGroup::new("whom").required(true).args(["ids", "filter"])))]
    Kill {
        /// Which connections, as conns names them
        ids: Vec<String>,
        /// Which connections, in quoted words
        #[arg(long, value_name = "WORDS", num_args = 1..)]
        filter: Vec<String>,
        /// Show whom it would end, and end nobody
        #[arg(long)]
        dry_run: bool,
        /// End more than 1,000
        #[arg(long)]
        yes: bool,
        /// Answer with one JSON object
        #[arg(long)]
        json: bool,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Let a listener's clients wait in the backlog, or serve them again
    #[command(after_help = "Connections that are open go on. A drain serves who waits, and a \
        restart forgets the pause.\n\
        Example: portcullis listener edge pause")]
    Listener {
        /// Its name in the config
        name: String,
        /// What to do
        action: ListenerAction,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Send a server no new connections, or its share of them
    #[command(
        after_help = "Connections that it has stay. When every server of an upstream drains, \
        its clients are reset: no-server.\n\
        A restart forgets it: weights are then those of the config.\n\
        Example: portcullis server app/10.0.0.1:9000 weight 2"
    )]
    Server {
        /// Its upstream and its name; without a name in the config, its address
        #[arg(value_name = "UPSTREAM/NAME")]
        name: String,
        /// What to do
        action: ServerAction,
        /// The weight: its share in relation to the others', 0 to 100; 0: drain
        #[arg(value_name = "N", required_if_eq("action", "weight"),
            value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT)))]
        weight: Option<u32>,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Write one text for a bug report: doctor, config, metrics, what happened last; no addresses
    #[command(after_help = "Look at it before you send it: names and paths are as they are.\n\
        Example: portcullis dump --output dump.txt")]
    Dump {
        /// Into this new file [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
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

/// What a listener can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListenerAction {
    /// Accept no client
    Pause,
    /// Accept again
    Resume,
}

/// What a server can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServerAction {
    /// No new connections
    Drain,
    /// New connections again, with the weight that it had
    Ready,
    /// New connections with this weight
    Weight,
}

/// Which gateway is meant.
#[derive(Debug, clap::Args)]
pub struct Instance {
    /// Its admin socket [default: the only one in the runtime directory]
    #[arg(long, value_name = "PATH")]
    pub admin: Option<PathBuf>,
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
        Command::Run { config } => run(config),
        Command::Doctor { config, connections, json } => match load(config) {
            Ok(config) => {
                let diagnosis = gateway::diagnose(&config, connections);
                let text = if json { diagnosis.json() } else { diagnosis.to_string() };
                outcome(text.trim_end().to_owned(), json, diagnosis.starts())
            }
            Err(errors) => Outcome::Config(errors),
        },
        Command::Check { config: path } => match Config::load(&path) {
            Ok(config) => {
                for lack in doctor::lacks(&config) {
                    let place = path.display();
                    warn(&format!("{place}: warning: a start on this host fails: {lack}\n"));
                }
                Outcome::Answer(summary(&path, &config))
            }
            Err(errors) => Outcome::Config(errors),
        },
        Command::Status { rates, json, instance } => {
            asked(&instance, json, |gateway| status(gateway, rates, json))
        }
        Command::Top { instance } => {
            match top::run(move || Client::find(instance.admin.as_deref())) {
                Ok(()) => Outcome::Done,
                Err(TopError::Client(error)) => Outcome::from(error),
                Err(error) => Outcome::Failed(error.to_string()),
            }
        }
        Command::Drain { instance } => asked(&instance, false, |gateway| {
            let answer = gateway.post("/drain", None)?;
            Ok(format!("draining, {} open", counted(&answer["open"])))
        }),
        Command::Conns { filter, sort, limit, json, instance } => {
            asked(&instance, json, |gateway| {
                let answer = gateway.list(&filter.join(" "), &sort, limit)?;
                Ok(if json { answer.to_string() } else { listing(&answer, columns()) })
            })
        }
        Command::Kill { ids, filter, dry_run, yes, json, instance } => {
            let filter = filter.join(" ");
            let request = json!({ "ids": ids, "filter": filter, "dry_run": dry_run, "yes": yes });
            match Client::find(instance.admin.as_deref()).and_then(|it| it.kill(&request)) {
                Ok(answer) => killed(&answer, json, dry_run),
                Err(error) => Outcome::from(error),
            }
        }
        Command::Listener { name, action, instance } => asked(&instance, false, |gateway| {
            let wish = json!({ "listener": name, "paused": action == ListenerAction::Pause });
            let answer = gateway.post("/listener", Some(&wish))?;
            Ok(format!("{name}: {}", word(&answer["state"])))
        }),
        Command::Server { name, action, weight, instance } => {
            server(&name, action, weight, &instance)
        }
        Command::Dump { output, instance } => dump(output.as_deref(), &instance),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut script);
            Outcome::Verbatim(String::from_utf8_lossy(&script).trim_end().to_owned(), DONE)
        }
        Command::Man { config: true, .. } => Outcome::Verbatim(config::man_page(), DONE),
        Command::Man { directory, .. } => man(directory.as_deref()),
    }
}

/// The gateway, until its end. Where its log is for programs, so is what ends it at once.
fn run(path: Option<PathBuf>) -> Outcome {
    let config = match load(path.clone()) {
        Ok(config) => config,
        Err(errors) => {
            let format = path.map_or(LogFormat::Text, |path| Config::log_format(&path));
            if format == LogFormat::Text {
                return Outcome::Config(errors);
            }
            gateway::log_config_errors(format, &errors);
            return Outcome::Logged(USAGE);
        }
    };
    let format = config.log.format;
    match gateway::run(config, path.as_deref()) {
        Ok(()) => Outcome::Done,
        Err(error) if format == LogFormat::Text => Outcome::Failed(error.to_string()),
        Err(_) => Outcome::Logged(FAILED),
    }
}

fn server(name: &str, action: ServerAction, weight: Option<u32>, instance: &Instance) -> Outcome {
    let share = match (action, weight) {
        (ServerAction::Drain, None) => json!("drain"),
        (ServerAction::Ready, None) => json!("ready"),
        (ServerAction::Weight, Some(weight)) => json!({ "weight": weight }),
        _ => {
            let words = "a number belongs to \"weight\" and to nothing else\n";
            return Outcome::Usage(Cli::command().error(ErrorKind::ArgumentConflict, words));
        }
    };
    asked(instance, false, |gateway| {
        let answer = gateway.post("/server", Some(&json!({ "server": name, "share": share })))?;
        let (state, weight) = (word(&answer["state"]), &answer["weight"]);
        Ok(format!("{name}: {state}, weight {weight}, {} open", counted(&answer["open"])))
    })
}

/// A text for a bug report, on stdout or in a file that only this user may read.
fn dump(output: Option<&Path>, instance: &Instance) -> Outcome {
    let found = Client::find(instance.admin.as_deref()).and_then(|gateway| gateway.text("/dump"));
    let text = match found {
        Ok(text) => text,
        Err(error) => return Outcome::from(error),
    };
    let Some(path) = output else { return Outcome::Answer(text.trim_end().to_owned()) };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match file.and_then(|mut file| file.write_all(plain(&text).as_bytes())) {
        Ok(()) => Outcome::Answer(format!("{}: look at it before you send it", path.display())),
        Err(error) => Outcome::Failed(format!("cannot write {}: {error}", path.display())),
    }
}

/// A number of connections in an answer.
fn counted(value: &Value) -> String {
    value.as_u64().map_or_else(|| "? connections".into(), |number| count(number, "connection"))
}

/// A text in an answer, without its quotes.
fn word(value: &Value) -> Cow<'_, str> {
    plain_word(value.as_str().unwrap_or("?"))
}

/// What a running gateway answers.
fn asked(
    instance: &Instance,
    json: bool,
    ask: impl FnOnce(&Client) -> Result<String, ClientError>,
) -> Outcome {
    match Client::find(instance.admin.as_deref()).and_then(|gateway| ask(&gateway)) {
        Ok(text) => outcome(text, json, true),
        Err(error) => Outcome::from(error),
    }
}

/// For a program or for people, and whether it is a yes.
fn outcome(text: String, json: bool, yes: bool) -> Outcome {
    match (json, yes) {
        (true, _) => Outcome::Verbatim(text, if yes { DONE } else { FAILED }),
        (false, true) => Outcome::Answer(text),
        (false, false) => Outcome::Denial(text),
    }
}

/// Of the terminal. Whoever reads from a pipe gets all there is.
fn columns() -> Option<usize> {
    let terminal = io::stdout().is_terminal().then(|| crossterm::terminal::size().ok()).flatten();
    terminal.map(|(columns, _)| usize::from(columns))
}

/// How a running gateway does.
fn status(gateway: &Client, rates: bool, json: bool) -> Result<String, ClientError> {
    if json {
        return gateway.get("/status.json").map(|answer| format!("{answer:#}"));
    }
    let mut now = gateway.reading()?;
    let mut earlier = None;
    if rates {
        thread::sleep(RATE_SPAN);
        earlier = Some(std::mem::replace(&mut now, gateway.reading()?));
    }
    Ok(screenful(&Summary::of(&now, earlier.as_ref()), columns()))
}

/// What became of those who were to be ended. Who was named and is gone makes it a denial, and so
/// does an error before all were ended.
fn killed(answer: &Value, json: bool, dry_run: bool) -> Outcome {
    let stale: Vec<&str> =
        answer["stale"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = match (json, dry_run) {
        (true, _) => answer.to_string(),
        (false, true) => listing(answer, columns()),
        (false, false) => format!("{} ended", counted(&answer["killed"])),
    };
    let error = answer["error"].as_str();
    if !json {
        let gone = stale
            .iter()
            .map(|id| format!("\n{}: there is no such connection any more", plain_word(id)));
        text.extend(gone.chain(error.map(|error| format!("\n{error}"))));
    }
    outcome(text, json, stale.is_empty() && error.is_none())
}

fn man(directory: Option<&Path>) -> Outcome {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        return match clap_mangen::Man::new(Cli::command()).render(&mut page) {
            Ok(()) => Outcome::Verbatim(String::from_utf8_lossy(&page).trim_end().to_owned(), DONE),
            Err(error) => Outcome::Failed(error.to_string()),
        };
    };
    match clap_mangen::generate_to(Cli::command(), directory) {
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
