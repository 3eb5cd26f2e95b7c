//! Gets the passive sockets of every listener: inherited ones, or its own when nobody else listens.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;

use super::held::Held;
use super::host::Host;
use super::inherit::Inherited;
use super::lock::Lock;
use super::others::{Others, lock, why};
use super::predecessors::Takeover;
use super::successor::Handed;
use super::{GatewayError, ListenError};
use crate::config::{Config, Listener, SocketOptions};
use crate::doctor::effective_backlog;
use crate::host::directory::runtime_directory;
use crate::host::holders::{Listening, listening_on};
use crate::listener::{BindError, Bound, adopt, have_wait, listen_beside, listen_on};

/// That the config asks for every inherited socket.
pub(super) fn check_inherited(config: &Config, inherited: &Inherited) -> Result<(), GatewayError> {
    let binds = config.listeners.iter().map(|listener| &listener.bind[..]);
    inherited.check(binds).map_err(GatewayError::Inherit)
}

/// Listens on every address of every listener. Locks are in `directory`.
pub(super) fn bind_all(
    config: &Config,
    host: &Host,
    (mut inherited, mut handed): (Inherited, Option<&mut Handed>),
    (directory, takeover): (&Path, &Takeover),
) -> Result<Vec<Held>, GatewayError> {
    if let Some(pid) = inherited.meant_for() {
        tracing::warn!(
            listen_pid = pid,
            "LISTEN_FDS is set for another process; its sockets are not ours to use"
        );
    }
    let workers = host.workers();
    let mut all: Vec<Held> = Vec::new();
    for listener in &config.listeners {
        let mut served = Vec::new();
        let mut absent = None;
        let name = &listener.name;
        for (nth, &asked) in listener.bind.iter().enumerate() {
            let failed = |error| GatewayError::Listen { listener: name.clone(), error };
            let taken = handed.as_mut().and_then(|handed| handed.take(listener, asked, workers));
            if let Some(taken) = taken {
                let taken = taken.map_err(|error| failed(ListenError::Bind(error)))?;
                served.extend(taken.iter().map(|held| held.address));
                all.extend(taken);
                continue;
            }
            let address = same_port(asked, nth, &listener.bind, &all);
            let handed = inherited.take(address);
            if !handed.is_empty() {
                let count = handed.len();
                let rows = take_over(listener, address, handed, workers).map_err(failed)?;
                say(host, listener, address, count, true);
                all.extend(rows.into_iter().map(|bound| Held::new(name, asked, bound, None)));
                served.push(address);
            } else if inherited.covers(address) {
                tracing::info!(
                    listener = %listener.name,
                    %address,
                    "an inherited socket of both families serves it"
                );
                served.push(address);
            } else {
                match make(listener, address, (workers, &all), (directory, takeover)) {
                    Ok((bound, lock)) => {
                        say(host, listener, bound.address, workers, false);
                        served.push(bound.address);
                        all.push(Held::new(name, asked, bound, Some(lock)));
                    }
                    Err(error) if is_of_absent_family(address, &error) => {
                        absent = absent.or(Some((address, failed(error))));
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        match absent {
            Some((_, error)) if served.is_empty() => return Err(error),
            Some((address, error)) => tracing::warn!(
                listener = %listener.name,
                %address,
                %error,
                serves = ?served,
                "the host lacks the family of this address, so that no client can come there"
            ),
            None => {}
        }
    }
    Ok(all)
}

/// Listens on one address more, for a listener of a gateway that runs. Nobody is waited for: those
/// who wait meanwhile are its clients.
pub(super) fn bind_one(
    listener: &Listener,
    asked: SocketAddr,
    host: &Host,
    ours: &[&Held],
) -> Result<Held, GatewayError> {
    let failed = |error| GatewayError::Listen { listener: listener.name.clone(), error };
    let directory = runtime_directory().map_err(GatewayError::Directory)?;
    let lock = |address| {
        let taken = Lock::take(&directory, address);
        taken.map_err(|error| failed(ListenError::Locked { address, error }))
    };
    let early = (asked.port() != 0).then(|| lock(asked)).transpose()?;
    let bound = listen_among(asked, host.workers(), &listener.sockets, ours);
    let bound = bound.map_err(|error| failed(why(asked, error, &inodes(ours))))?;
    let lock = early.map_or_else(|| lock(bound.address), Ok)?;
    say(host, listener, bound.address, host.workers(), false);
    Ok(Held::new(&listener.name, asked, bound, Some(lock)))
}

fn inodes(ours: &[&Held]) -> Vec<u64> {
    ours.iter().flat_map(|held| held.inodes()).collect()
}

/// Listens on an address, which may overlap with those of other sockets of ours: of all that match
/// a SYN the kernel takes those of the narrowest address.
fn listen_among(
    address: SocketAddr,
    workers: usize,
    options: &SocketOptions,
    ours: &[&Held],
) -> Result<Bound, BindError> {
    let bound = listen_on(address, workers, options);
    if !bound.as_ref().is_err_and(|error| error.errno == Errno::EADDRINUSE) {
        return bound;
    }
    let inodes = inodes(ours);
    let is_ours = |one: &Listening| inodes.contains(&one.inode) && one.address != address;
    let found = listening_on(address);
    if found.is_empty() || !found.iter().all(is_ours) {
        return bound;
    }
    listen_beside(address, workers, options)
}

/// Whether the kernel refused a wildcard address because it does not have its family. No client of
/// that family can come to this host, so a listener with another address goes without.
fn is_of_absent_family(address: SocketAddr, error: &ListenError) -> bool {
    let ListenError::Bind(BindError { errno, .. }) = error else { return false };
    let absent = [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL].contains(errno);
    absent && address.ip().is_unspecified()
}

/// Sockets of our own, and the lock of their address.
fn make(
    listener: &Listener,
    address: SocketAddr,
    (workers, ours): (usize, &[Held]),
    (directory, takeover): (&Path, &Takeover),
) -> Result<(Bound, Lock), ListenError> {
    // Which port 0 becomes is known only afterwards, and nobody else can have it.
    let early = (address.port() != 0).then(|| lock(directory, address)).transpose()?;
    let mut others = Others::new(&listener.name, address);
    let (options, ours) = (&listener.sockets, Vec::from_iter(ours));
    let bound = loop {
        let bound = match takeover.covers(address) {
            true => listen_beside(address, workers, options),
            false => listen_among(address, workers, options, &ours),
        };
        match bound {
            Ok(bound) => break bound,
            Err(error) if error.errno == Errno::EADDRINUSE => {
                others.check(listening_on(address), Some(error))?;
            }
            Err(error) => return Err(ListenError::Bind(error)),
        }
    };
    others.say_gone();
    let lock = match early {
        Some(lock) => lock,
        None => lock(directory, bound.address)?,
    };
    Ok((bound, lock))
}

/// The sockets of a parent. Another gateway may accept from the same ones, and no client is lost by
/// that: a successor can start before its predecessor has ended. Other sockets on the same address
/// would take clients away, so they are treated as when we bind.
fn take_over(
    listener: &Listener,
    address: SocketAddr,
    handed: Vec<TcpListener>,
    workers: usize,
) -> Result<Vec<Bound>, ListenError> {
    let ours: Vec<u64> = handed.iter().filter_map(inode_of).collect();
    let mut others = Others::new(&listener.name, address);
    loop {
        let mut found = listening_on(address);
        found.retain(|one| one.address == address && !ours.contains(&one.inode));
        if found.is_empty() {
            break;
        }
        others.check(found, None)?;
    }
    others.say_gone();
    have_wait(address, &handed).map_err(ListenError::Bind)?;
    adopt(address, handed, workers, &listener.sockets).map_err(ListenError::Bind)
}

fn inode_of(socket: &TcpListener) -> Option<u64> {
    let file = std::fs::File::from(OwnedFd::from(socket.try_clone().ok()?));
    file.metadata().ok().map(|found| found.ino())
}

/// `*:0` asks for one free port for both families: the second takes the port of the first.
fn same_port(address: SocketAddr, nth: usize, binds: &[SocketAddr], held: &[Held]) -> SocketAddr {
    match (nth.checked_sub(1).map(|before| binds[before]), held.last()) {
        (Some(before), Some(last))
            if address.port() == 0
                && before.port() == 0
                && address.ip().is_unspecified()
                && before.ip().is_unspecified()
                && address.is_ipv4() != before.is_ipv4() =>
        {
            SocketAddr::new(address.ip(), last.address.port())
        }
        _ => address,
    }
}

/// The log's line for an address that is listened on. The start's report says what to do about a
/// backlog that the kernel cuts.
fn say(host: &Host, listener: &Listener, address: SocketAddr, sockets: usize, inherited: bool) {
    let backlog = effective_backlog(&host.facts, listener);
    tracing::info!(
        listener = %listener.name,
        %address,
        backlog,
        passive_sockets = sockets,
        backlog_in_all = sockets as u64 * u64::from(backlog),
        inherited,
        "listening"
    );
}
