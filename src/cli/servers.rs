//! The command for the servers of an upstream as a set: its flags, and what it prints.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Subcommand};

use super::Cli;
use super::instance::{Instance, of_gateway, one_line};
use super::outcome::Outcome;
use crate::api::servers::{BasedOn, ListChange, ListServers, ServerList, ServersSet, SetServers};
use crate::config::MAX_WEIGHT;
use crate::doctor::count;

/// The servers of an upstream.
#[derive(Debug, clap::Args)]
pub struct ServersCommand {
    /// The upstream
    #[arg(value_name = "UPSTREAM")]
    upstream: String,
    /// Put the list in this file in place of what there is; -: standard input
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
    /// The revision that the change is based on, or "any" [default: the one in the file]
    #[arg(long, value_name = "N", value_parser = revision)]
    revision: Option<BasedOn>,
    /// A change of one server
    #[command(subcommand)]
    change: Option<OneServer>,
    /// Answer with one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Which gateway.
    #[command(flatten)]
    instance: Instance,
}

/// The revision that a change is based on.
fn revision(text: &str) -> Result<BasedOn, String> {
    match text {
        "any" => Ok(BasedOn::Any),
        number => number
            .parse()
            .map(BasedOn::Revision)
            .map_err(|_| "write the number that `portcullis servers` shows, or any".to_owned()),
    }
}

/// A change of one server.
#[derive(Debug, Subcommand)]
enum OneServer {
    /// Add a server
    Add {
        /// Its address with a port, or a host's name with one
        address: String,
        /// Its name [default: its address]
        #[arg(long)]
        name: Option<String>,
        /// Its share of new connections in relation to the others', 0 to 100
        #[arg(long, default_value_t = 1,
            value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT)))]
        weight: u32,
        /// The most connections that it may have [default: any number]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_connections: Option<u32>,
        /// It gets clients only while no other server serves
        #[arg(long)]
        backup: bool,
    },
    /// Remove servers: they get no new connections, and keep what they have for removed_timeout
    Remove {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Give a server another weight
    Weight {
        /// Its name
        name: String,
        /// The weight: its share in relation to the others', 0 to 100
        #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT)))]
        weight: u32,
    },
}

/// Shows the servers of an upstream, or changes them.
pub(super) fn perform(command: ServersCommand) -> Outcome {
    let ServersCommand { upstream, set, revision, change, json, instance } = command;
    let change = match (set, change) {
        (Some(_), Some(_)) => {
            let words = "--set puts a whole list, and takes no other change\n";
            return Outcome::Usage(Cli::command().error(ErrorKind::ArgumentConflict, words));
        }
        (Some(path), None) => match list_in(&path) {
            Ok(change) => Some(change),
            Err(because) => return Outcome::Failed(because),
        },
        (None, change) => change.map(OneServer::change),
    };
    of_gateway(&instance, json, |gateway| {
        let Some(change) = change else {
            let answer = gateway.ask(&ListServers { upstream })?;
            let text = if json { one_line(gateway, &answer) } else { list(&answer) };
            return Ok(Outcome::of(text, json, true));
        };
        let answer =
            gateway.ask(&SetServers { change, on: revision.unwrap_or_default(), upstream })?;
        let text = if json { one_line(gateway, &answer) } else { said(&answer) };
        Ok(Outcome::of(text, json, true))
    })
}

impl OneServer {
    fn change(self) -> ListChange {
        match self {
            OneServer::Add { address, name, weight, max_connections, backup } => {
                ListChange::Add { address, name, weight, max_connections, backup }
            }
            OneServer::Remove { names } => ListChange::Remove(names),
            OneServer::Weight { name, weight } => ListChange::Weight { name, weight },
        }
    }
}

fn list_in(path: &Path) -> Result<ListChange, String> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    let file = path.display().to_string();
    match read {
        Ok(_) => Ok(ListChange::Set { file, text }),
        Err(error) => Err(format!("cannot read {file}: {error}")),
    }
}

/// The list as a file that --set takes, with what there is to know of it as comments.
fn list(answer: &ServerList) -> String {
    let ServerList { by_hand, origin, servers, text, trouble, upstream, .. } = answer;
    let whose = match (by_hand, origin.as_str()) {
        (true, _) => "an operator's list; the config file's is another".to_owned(),
        (false, "servers") => "the config file's list".to_owned(),
        (false, origin) => format!("from {origin}"),
    };
    let mut lines = vec![format!("# upstream {upstream}: {whose}")];
    lines.extend(trouble.iter().map(|trouble| format!("# not known at present: {trouble}")));
    for server in servers {
        let open = count(server.open.into(), "connection");
        let most = server.max_connections.map(|most| format!(" of {most} at most"));
        let (most, backup) =
            (most.unwrap_or_default(), if server.backup { ", backup" } else { "" });
        let (name, at) = (&server.name, &server.address);
        let (state, weight) = (&server.state, server.weight);
        lines.push(format!("# {name} at {at}: {state}, weight {weight}, {open}{most}{backup}"));
    }
    format!("{}\n{}", lines.join("\n"), text.trim_end())
}

/// What a change has done.
fn said(answer: &ServersSet) -> String {
    let ServersSet { added, leaving, removed, revision, upstream, .. } = answer;
    let mut text = format!("{upstream}: revision {revision}");
    for (what, names) in [("added", added), ("removed", removed)] {
        if !names.is_empty() {
            text += &format!("\n{what} {}", names.join(", "));
        }
    }
    if *leaving > 0 {
        text += &format!("\n{} stay for removed_timeout", count(*leaving, "connection"));
    }
    text
}
