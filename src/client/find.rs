//! The search for the gateway that is meant.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::candidate::{Candidate, Looked, Says};
use super::{Client, ClientError};
use crate::host::address_lock::locked_in;
use crate::host::directory::{candidates, distrusted};
use crate::host::socket_file::{is_living, sockets_in};
use crate::metrics::Reading;
use crate::metrics::reading::{Identity, Listener};

/// Which gateway is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The only one that there is.
    Only,
    /// The one with this admin socket.
    Socket(PathBuf),
    /// The one that runs this config file. Where one that drains runs it, too, the other.
    Config(PathBuf),
}

impl Choice {
    /// The gateway that is meant.
    ///
    /// # Errors
    /// When there is none, or it is not clear which.
    pub fn find(&self) -> Result<Client, ClientError> {
        let wanted = match self {
            Choice::Socket(path) => return Ok(Client::at(path.clone())),
            Choice::Only => None,
            Choice::Config(file) => {
                let canonical = file.canonicalize();
                Some(canonical.map_err(|error| ClientError::File(file.clone(), error))?)
            }
        };
        let (mut living, looked) = living();
        if living.is_empty() {
            return Err(ClientError::Nobody(looked));
        }
        let Some(wanted) = wanted else {
            return match living.len() {
                1 => Ok(living.remove(0)),
                _ => Err(ClientError::Many(living.iter().map(ask).collect())),
            };
        };
        let all: Vec<Candidate> = living.iter().map(ask).collect();
        let running: Vec<&Candidate> = all.iter().filter(|one| one.runs(&wanted)).collect();
        let staying: Vec<&Candidate> = running.iter().filter(|it| !it.drains()).copied().collect();
        match (&running[..], &staying[..]) {
            ([one], _) | (_, [one]) => Ok(Client::at(one.path.clone())),
            ([], _) => Err(ClientError::NoneRuns(wanted, all)),
            _ => Err(ClientError::Many(running.into_iter().cloned().collect())),
        }
    }
}

/// The gateways whose admin sockets are in the runtime directories, and what else was seen there.
fn living() -> (Vec<Client>, Looked) {
    let mut looked = Looked::default();
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in candidates() {
        let because = distrusted(&directory);
        if because.is_none() {
            // One that is not there, or not this user's to read, has nothing for this user.
            found.extend(sockets_in(&directory).unwrap_or_default());
            looked.locked.extend(locked_in(&directory));
        }
        looked.directories.push((directory, because));
    }
    let mut known: Vec<PathBuf> = Vec::new();
    found.retain(|path| {
        // Two directories may be one, and may both lead to a socket.
        let place = fs::canonicalize(path).unwrap_or(path.clone());
        let is_new = !known.contains(&place);
        known.push(place);
        is_new && is_living(path)
    });
    looked.locked.sort();
    looked.locked.dedup();
    (found.into_iter().map(Client::at).collect(), looked)
}

/// What a gateway says of itself, if it says it soon.
fn ask(client: &Client) -> Candidate {
    let client = client.hurried();
    let says = client.reading().map(|reading| says(&reading, client.identity()));
    Candidate {
        path: client.path.clone(),
        says: says.map_err(|error| match error {
            ClientError::Socket(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "not this user's to ask".to_owned()
            }
            ClientError::Broken(_, because) => format!("it did not answer: {because}"),
            error => error.to_string(),
        }),
    }
}

fn says(reading: &Reading, identity: Option<Identity>) -> Says {
    let listener = |it: &Listener| format!("{} {}", it.name, it.addresses.join(" "));
    Says {
        identity,
        listeners: reading.listeners.iter().map(listener).collect(),
        draining: reading.drain.draining,
    }
}
