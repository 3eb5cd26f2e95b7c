//! The commands that ask a running gateway, or change it: their flags, and what they print.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Subcommand, ValueEnum};
use ratatui::crossterm;

use super::Cli;
use super::drain::{DrainArguments, drain};
use super::instance::{Instance, asked, of_gateway, one_line};
use super::outcome::Outcome;
use super::servers::ServersCommand;
use super::upgrade::{UpgradeArguments, upgrade};
use crate::api::conns::{CountConns, DryRun, Kill, ListConns};
use crate::api::reload::Reload;
use crate::api::steer::{SetListener, SetServer, Share};
use crate::base::{plain, plain_word};
use crate::client::{Client, ClientError, KillOutcome};
use crate::config::MAX_WEIGHT;
use crate::doctor::count;
use crate::query::By;
use crate::summary::{Summary, changes, counts, listing, screenful};
use crate::top::TopError;
use crate::{query, top};

/// Between the two readings that rates are made of.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// Commands to a running gateway.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
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
    /// Show on the terminal what is wrong with a running gateway, and its figures, until q
    #[command(after_help = top::help_of_keys())]
    Top {
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Close connections at a pace, the longest idle first: all, of a part, or a share; or end that
    #[command(
        after_help = "Without a part, it ends the gateway as SIGTERM does; a SIGTERM or SIGINT \
        during it counts as the first.\n\
        A part gets no new connections: a listener pauses, a server drains, and so do all \
        servers of an upstream. The process goes on.\n\
        With --over and --rate the slower wins. A connection whose bytes move is left to finish \
        while time allows.\n\
        `status` and `top` show what drains, how many are left, the pace and the time.\n\
        Examples:\n  \
        portcullis drain --over 10m --grace 30s    end the gateway, balancers first\n  \
        portcullis drain listener/edge --rate 500/s\n  \
        portcullis drain server/app/10.0.0.1:9000 --over 5m\n  \
        portcullis drain --share 30 --over 5m      rebalance: 30 % come again elsewhere\n  \
        portcullis drain --cancel                  go on with all who are left"
    )]
    Drain {
        /// What is to be drained, and how.
        #[command(flatten)]
        arguments: DrainArguments,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Show connections: who they are, where they stand, how long idle, bytes each way
    #[command(after_help = "Words of a filter, all of which must hold: idle>5m age<1h bytes>1MiB \
        server=UPSTREAM/SERVER listener=NAME state=joined worker=0, and by the four ends of its \
        sockets: src=CLIENT local=WHERE-IT-CAME source=TOWARDS-THE-SERVER server=IP:PORT\n\
        src, local and source take a network, an address or IP:PORT, as [2001:db8::1]:443.\n\
        Quote them: the shell takes > and < for its own.\n\
        Examples:\n  \
        portcullis conns --filter 'src=10.0.0.0/8 idle>5m' --sort age\n  \
        portcullis conns --filter source=10.0.0.9:41234   whose port a server complains of\n  \
        portcullis conns --by src --limit 10              who has the most")]
    Conns {
        /// Which connections, in quoted words [default: all]
        #[arg(long, value_name = "WORDS", num_args = 1..)]
        filter: Vec<String>,
        /// Count them by what they have in common, the largest group first
        #[arg(long, value_name = "WHAT", conflicts_with = "sort",
            value_parser = By::ALL.map(By::word))]
        by: Option<String>,
        /// Which come first: the longest idle, the oldest, those that moved most
        #[arg(long, value_name = "ORDER", default_value = "idle",
            value_parser = ["idle", "age", "bytes"])]
        sort: String,
        /// How many connections or groups are shown
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
        /// The weight: its share in relation to the others', 0 to 100; 0: none
        #[arg(value_name = "N", required_if_eq("action", "weight"),
            value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT)))]
        weight: Option<u32>,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Show the servers of an upstream as a list, or change the list
    #[command(
        after_help = "What it prints is a file that --set takes again: a second writer, whose \
        file is of an older revision, is refused. A list that was changed so stays over a reload, \
        until the config file's own is another one, or reload --reset.\n\
        Examples: portcullis servers app > app.servers; portcullis servers app --set app.servers\n\
        \u{20}         portcullis servers app add 10.0.0.3:9000 --name c --weight 2"
    )]
    #[command(args_conflicts_with_subcommands = false)]
    Servers(ServersCommand),
    /// Read the config file again, and change the running gateway to what it says
    #[command(
        after_help = "Nothing that the change does not concern is touched, and what leaves, \
        leaves at a pace.\n\
        Exits with 2 when the file is wrong and with 1 when it cannot be carried out; nothing is \
        changed then. SIGHUP does the same, and the log has the answer.\n\
        Example: portcullis reload --dry-run"
    )]
    Reload {
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Take what can change now, though other keys need a restart
        #[arg(long)]
        allow_partial: bool,
        /// Take the file's word where an operator's is another: weights, drained servers, pauses
        #[arg(long)]
        reset: bool,
        /// Answer with one JSON object
        #[arg(long)]
        json: bool,
        /// Which gateway.
        #[command(flatten)]
        instance: Instance,
    },
    /// Have a new process take everything over, open connections with it: a new version, or keys
    /// that no reload can change
    #[command(
        after_help = "Nobody is disconnected. The new process gets the listening sockets and the \
        connections, and serves for a while before the old one ends. If it fails before that, \
        the old one takes everything back. SIGUSR2 does the same, and the log has the outcome.\n\
        Exits with 1 when the upgrade was taken back, and with 2 when the config is wrong.\n\
        Examples:\n  \
        portcullis upgrade                         the program and the file that are there now\n  \
        portcullis upgrade --binary ./portcullis --probation 10s\n  \
        portcullis upgrade --abort"
    )]
    Upgrade {
        /// To what, and how.
        #[command(flatten)]
        arguments: UpgradeArguments,
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
}

/// Orders to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListenerAction {
    /// Accept no client
    Pause,
    /// Accept again
    Resume,
}

/// Orders to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServerAction {
    /// No new connections
    Drain,
    /// No new connections, and no checks
    Maintenance,
    /// New connections again, with the weight that it had
    Ready,
    /// New connections with this weight
    Weight,
}

/// Does what `command` says.
pub(super) fn perform(command: AdminCommand) -> Outcome {
    match command {
        AdminCommand::Status { rates, json, instance } => of_gateway(&instance, true, |gateway| {
            status(gateway, rates, json).map(|text| Outcome::of(text, json, true))
        }),
        AdminCommand::Top { instance } => {
            let choice = instance.choice();
            match top::run(move || choice.find()) {
                Ok(()) => Outcome::Done,
                Err(TopError::Client(error)) => Outcome::from(error),
                Err(error) => Outcome::Failed(error.to_string()),
            }
        }
        AdminCommand::Drain { arguments, instance } => {
            let json = arguments.json;
            asked(&instance, json, |gateway| drain(gateway, arguments))
        }
        AdminCommand::Conns { filter, by: Some(by), limit, json, instance, .. } => {
            let request = CountConns { by, filter: filter.join(" "), limit: Some(limit) };
            asked(&instance, json, |gateway| match json {
                true => gateway.document(&request).map(|answer| answer.to_string()),
                false => gateway.ask(&request).map(|answer| counts(&answer)),
            })
        }
        AdminCommand::Conns { filter, sort, limit, json, instance, .. } => {
            let filter = filter.join(" ");
            let request = ListConns { filter, sort: Some(sort), limit: Some(limit) };
            asked(&instance, json, |gateway| {
                if json {
                    return gateway.document(&request).map(|answer| answer.to_string());
                }
                Ok(listing(&gateway.ask(&request)?, columns()))
            })
        }
        AdminCommand::Kill { ids, filter, dry_run, yes, json, instance } => {
            let request = Kill { ids, filter: filter.join(" "), dry_run, yes };
            of_gateway(&instance, json, |gateway| match dry_run {
                true => would_kill(gateway, request, json),
                false => kill(gateway, &request, json),
            })
        }
        AdminCommand::Listener { name, action, instance } => asked(&instance, false, |gateway| {
            let paused = action == ListenerAction::Pause;
            let answer = gateway.ask(&SetListener { listener: name.clone(), paused })?;
            Ok(format!("{name}: {}", answer.state.word()))
        }),
        AdminCommand::Server { name, action, weight, instance } => {
            server(&name, action, weight, &instance)
        }
        AdminCommand::Servers(command) => super::servers::perform(command),
        AdminCommand::Reload { dry_run, allow_partial, reset, json, instance } => {
            let request = Reload { allow_partial, dry_run, reset };
            of_gateway(&instance, json, |gateway| reload(gateway, &request, json))
        }
        AdminCommand::Upgrade { arguments, instance } => {
            let json = arguments.json;
            of_gateway(&instance, json, |gateway| upgrade(gateway, arguments))
        }
        AdminCommand::Dump { output, instance } => dump(output.as_deref(), &instance),
    }
}

fn server(name: &str, action: ServerAction, weight: Option<u32>, instance: &Instance) -> Outcome {
    let share = match (action, weight) {
        (ServerAction::Drain, None) => Share::Drain,
        (ServerAction::Maintenance, None) => Share::Maintenance,
        (ServerAction::Ready, None) => Share::Ready,
        (ServerAction::Weight, Some(weight)) => Share::Weight(weight),
        _ => {
            let words = "a number belongs to \"weight\" and to nothing else\n";
            return Outcome::Usage(Cli::command().error(ErrorKind::ArgumentConflict, words));
        }
    };
    asked(instance, false, |gateway| {
        let answer = gateway.ask(&SetServer { server: name.to_owned(), share })?;
        let (state, open) = (answer.state.word(), count(answer.open.into(), "connection"));
        Ok(format!("{name}: {state}, weight {}, {open} open", answer.weight))
    })
}

/// A text for a bug report, on stdout or in a file that only this user may read.
fn dump(output: Option<&Path>, instance: &Instance) -> Outcome {
    of_gateway(instance, false, |gateway| gateway.dump().map(|text| keep(&text, output)))
}

fn keep(text: &str, output: Option<&Path>) -> Outcome {
    let Some(path) = output else { return Outcome::Answer(text.trim_end().to_owned()) };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match file.and_then(|mut file| file.write_all(plain(text).as_bytes())) {
        Ok(()) => Outcome::Answer(format!("{}: look at it before you send it", path.display())),
        Err(error) => Outcome::Failed(format!("cannot write {}: {error}", path.display())),
    }
}

/// What a reload changes. One that is refused, or not carried out in time, is a denial.
fn reload(gateway: &Client, request: &Reload, json: bool) -> Result<Outcome, ClientError> {
    let answer = gateway.ask(request)?;
    let text = if json { one_line(gateway, &answer) } else { changes(&answer) };
    Ok(Outcome::of(text, json, answer.refused.is_none() && answer.failed.is_none()))
}

/// The terminal's width; none for a pipe, which gets whole rows.
fn columns() -> Option<usize> {
    let terminal = io::stdout().is_terminal().then(|| crossterm::terminal::size().ok()).flatten();
    terminal.map(|(columns, _)| usize::from(columns))
}

/// How a running gateway does.
fn status(gateway: &Client, rates: bool, json: bool) -> Result<String, ClientError> {
    if json {
        return gateway.status().map(|answer| format!("{answer:#}"));
    }
    let mut now = gateway.reading()?;
    let mut earlier = None;
    if rates {
        thread::sleep(RATE_SPAN);
        earlier = Some(std::mem::replace(&mut now, gateway.reading()?));
    }
    Ok(screenful(&Summary::of(&now, earlier.as_ref()), columns()))
}

/// Ends connections. An id that names none, or an error before all were ended, makes it a denial.
fn kill(gateway: &Client, request: &Kill, json: bool) -> Result<Outcome, ClientError> {
    let outcome = gateway.kill(request)?;
    let KillOutcome { error, killed } = &outcome;
    let text = match json {
        true => one_line(gateway, &outcome),
        false => {
            let mut text = format!("{} ended", count(killed.killed, "connection"));
            text.push_str(&gone(&killed.stale));
            text.extend(error.iter().map(|error| format!("\n{error}")));
            text
        }
    };
    Ok(Outcome::of(text, json, killed.stale.is_empty() && error.is_none()))
}

/// Shows the connections that a kill would end. An id that names none makes it a denial.
fn would_kill(gateway: &Client, request: Kill, json: bool) -> Result<Outcome, ClientError> {
    let answer = gateway.ask(&DryRun::from(request))?;
    let text = match json {
        true => one_line(gateway, &answer),
        false => listing(&answer.conns, columns()) + &gone(&answer.stale),
    };
    Ok(Outcome::of(text, json, answer.stale.is_empty()))
}

/// A line for each id that names no connection.
fn gone(stale: &[String]) -> String {
    let lines = stale
        .iter()
        .map(|id| format!("\n{}: there is no such connection any more", plain_word(id)));
    lines.collect()
}
