//! A start as far as it can be tried without one: addresses are bound and let go again, and what a
//! start would open or write is looked at. Nothing is changed, and no client is accepted.

use std::net::SocketAddr;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::others::TIME_WAIT_LONGEST;
use crate::config::{AccessPath, AdminSocket, Config, Listener, SocketOptions, Status};
use crate::doctor::{Lack, lacks};
use crate::host::accounts::{group_id, may_give_to};
use crate::host::address_lock::locked_in;
use crate::host::directory::{DirectoryError, candidates, parent_of, refused};
use crate::host::holders::{Holder, Process, TIME_WAIT, Use, holder_of, listening_on, use_of};
use crate::listener::{BindError, remedy, try_bind};

/// The name of a gateway's process where its lock is not to be seen.
const OURS: &str = "portcullis";

/// A start as far as it was tried.
#[derive(Debug, Default)]
pub struct Trial {
    /// A start fails of each.
    pub lacks: Vec<Lack>,
    /// A start, or the change of a gateway that runs, copes with each, and says so.
    pub notes: Vec<Lack>,
}

/// Tries what a start with `config` would.
pub fn tried(config: &Config) -> Trial {
    let mut trial = Trial { lacks: lacks(config), notes: Vec::new() };
    for listener in &config.listeners {
        trial.binds_of(listener);
    }
    if let Some(address) = config.status.bind {
        trial.bind("status.bind", address, &SocketOptions::default());
    }
    trial.lacks.extend(unwritable(config));
    trial.lacks.extend(foreign_group(config));
    trial
}

impl Trial {
    fn binds_of(&mut self, listener: &Listener) {
        let key = format!("listener.{}.bind", listener.name);
        for address in &listener.bind {
            self.bind(&key, *address, &listener.sockets);
        }
    }

    fn bind(&mut self, key: &str, address: SocketAddr, options: &SocketOptions) {
        let Err(BindError { errno, .. }) = try_bind(address, options) else { return };
        let finding = |says: String, remedy: String| Lack {
            key: key.to_owned(),
            value: address.to_string(),
            says,
            remedy,
        };
        match errno {
            // Of these, `lacks` has said what there is to say.
            Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT | Errno::ENODEV | Errno::EINVAL => {}
            Errno::EADDRINUSE if address == Status::BIND && key == "status.bind" => {
                let says = "the port is in use, and the gateway goes without a status server";
                self.notes.push(finding(says.to_owned(), "write another port".to_owned()));
            }
            Errno::EADDRINUSE => {
                let (copes, says, remedy) = in_use(address);
                let all = if copes { &mut self.notes } else { &mut self.lacks };
                all.push(finding(says, remedy));
            }
            errno => self.lacks.push(finding(errno.desc().to_owned(), remedy(errno, address))),
        }
    }
}

/// Whether a start, or a gateway that runs, copes with the address in use; by what it is in use,
/// and the remedy.
fn in_use(address: SocketAddr) -> (bool, String, String) {
    let found = listening_on(address);
    if found.is_empty() {
        return match use_of(address) {
            Some(Use { peer, state: TIME_WAIT, .. }) => (
                true,
                format!("a connection to {peer} that has ended keeps the port ({TIME_WAIT})"),
                format!("a start waits for it, {} s at most", TIME_WAIT_LONGEST.as_secs()),
            ),
            Some(Use { peer, state, holder }) => (
                false,
                format!("a connection to {peer} ({state}) has the port, of {holder}"),
                "end it, or bind another port".to_owned(),
            ),
            None => (
                false,
                "a socket that neither listens nor is connected has the port".to_owned(),
                "stop its program, or bind another port".to_owned(),
            ),
        };
    }
    let holder = holder_of(&found, usize::MAX);
    let (copes, remedy) = match &holder {
        Holder::Living(processes) if processes.iter().any(|one| is_gateway(one, address)) => (
            true,
            "portcullis reload or upgrade goes over to this config there; a second start fails, \
             but while that gateway drains",
        ),
        Holder::Living(processes) if processes.iter().any(|one| one.pid == 1) => {
            (true, "a start takes it over if it is handed down, by a socket unit")
        }
        Holder::Nobody => (true, "a start waits until the kernel has closed what a dead one left"),
        _ => (false, "stop it first, or bind another address"),
    };
    (copes, format!("{holder} listens there"), remedy.to_owned())
}

/// By the lock of the address, or else by its name.
fn is_gateway(process: &Process, address: SocketAddr) -> bool {
    let locked = candidates().into_iter().flat_map(|directory| locked_in(&directory));
    let mut locked = locked.filter(|one| one.address.port() == address.port());
    process.name == OURS || locked.any(|one| one.pid == process.pid)
}

/// Files and directories that this user may not write.
fn unwritable(config: &Config) -> Vec<Lack> {
    let denied = |path: &Path, flags| {
        matches!(access(path, flags), Err(Errno::EACCES | Errno::EPERM | Errno::EROFS))
    };
    let lack = |key: &str, path: &Path, says: String, remedy: &str| Lack {
        key: key.to_owned(),
        value: path.display().to_string(),
        says,
        remedy: remedy.to_owned(),
    };
    let may_not = |path: &Path| format!("this user may not write {}", path.display());
    let mut lacks = Vec::new();
    if let AccessPath::File(path) = &config.access_log.path {
        let directory = parent_of(path);
        let place = if path.exists() { path } else { directory };
        if denied(place, AccessFlags::W_OK) {
            let remedy = "give it to this user, or name another file";
            lacks.push(lack("access_log.path", path, may_not(place), remedy));
        }
    }
    if let AdminSocket::At(path) = &config.admin.socket
        && denied(parent_of(path), AccessFlags::W_OK | AccessFlags::X_OK)
    {
        let remedy = "write a path where this user can make a socket, \"auto\" or \"off\"";
        lacks.push(lack("admin.socket", path, may_not(parent_of(path)), remedy));
    }
    if let Some(DirectoryError { path, error }) = refused() {
        let remedy = "give RUNTIME_DIRECTORY the name of a directory that this user can write";
        lacks.push(lack("RUNTIME_DIRECTORY", &path, error.to_string(), remedy));
    }
    lacks
}

/// Only root or a member of a group gives it a file.
fn foreign_group(config: &Config) -> Option<Lack> {
    let group =
        config.admin.group.as_deref().filter(|_| config.admin.socket != AdminSocket::Off)?;
    (!may_give_to(group_id(group)?)).then(|| Lack {
        key: "admin.group".to_owned(),
        value: group.to_owned(),
        says: "this user is no member of it, and may not give it the socket".to_owned(),
        remedy: "add this user to it, or leave the key out".to_owned(),
    })
}
