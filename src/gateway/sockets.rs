//! Gets the passive sockets of every listener: inherited ones, or its own when nobody else listens.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;

use super::host::Host;
use super::inherit::Inherited;
use super::lock::Lock;
use super::others::{Others, lock};
use super::{GatewayError, ListenError};
use crate::config::{Config, Listener};
use crate::doctor::effective_backlog;
use crate::host::directory::runtime_directory;
use crate::host::holders::listening_on;
use crate::listener::{BindError, Bound, adopt, listen_on};
use crate::ring::PassiveSocket;

/// The gateway's passive sockets, and the locks of their addresses.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Each with the index of its listener in the config.
    pub(super) bound: Vec<(usize, Bound)>,
    pub(super) locks: Vec<Lock>,
}

/// A passive socket, and what it is for.
#[derive(Clone, Debug)]
pub(super) struct Passive {
    /// Index of its listener in the config.
    pub(super) listener: usize,
    pub(super) address: SocketAddr,
    /// The worker that it belongs to. Others accept from it while that one has no slot left.
    pub(super) owner: usize,
    /// A successor is to accept from it.
    pub(super) inherited: bool,
    pub(super) socket: PassiveSocket,
}

/// All passive sockets, in the order of the unsorted plan.
pub(super) fn passive_sockets(bound: Vec<(usize, Bound)>) -> Vec<Passive> {
    let rows = bound.into_iter().map(|(listener, row)| {
        let Bound { address, sockets, inherited } = row;
        let passive = move |(owner, socket)| {
            let socket = Arc::new(socket);
            Passive { listener, address, owner, inherited, socket }
        };
        sockets.into_iter().enumerate().map(passive)
    });
    rows.flatten().collect()
}

/// The sockets that no other process has, by address.
pub(super) fn own_by_address(sockets: Vec<Passive>) -> Vec<(SocketAddr, Vec<PassiveSocket>)> {
    let mut own: Vec<(SocketAddr, Vec<PassiveSocket>)> = Vec::new();
    for Passive { address, socket, .. } in sockets.into_iter().filter(|one| !one.inherited) {
        match own.last_mut() {
            Some((before, row)) if *before == address => row.push(socket),
            _ => own.push((address, vec![socket])),
        }
    }
    own
}

/// Listens on every address of every listener.
pub(super) fn bind_all(
    config: &Config,
    host: &Host,
    mut inherited: Inherited,
) -> Result<Sockets, GatewayError> {
    let binds = config.listeners.iter().map(|listener| &listener.bind[..]);
    inherited.check(binds).map_err(GatewayError::Inherit)?;
    if let Some(pid) = inherited.meant_for() {
        tracing::warn!(
            listen_pid = pid,
            "LISTEN_FDS is set for another process; its sockets are not ours to use"
        );
    }
    let workers = host.workers();
    let mut sockets = Sockets { bound: Vec::new(), locks: Vec::new() };
    for (index, listener) in config.listeners.iter().enumerate() {
        let mut served = Vec::new();
        let mut absent = None;
        for (nth, &address) in listener.bind.iter().enumerate() {
            let failed = |error| GatewayError::Listen { listener: listener.name.clone(), error };
            let address = same_port(address, nth, &listener.bind, &sockets.bound);
            let handed = inherited.take(address);
            if !handed.is_empty() {
                let count = handed.len();
                let rows = take_over(listener, address, handed, workers).map_err(failed)?;
                say(host, listener, address, count, true);
                sockets.bound.extend(rows.into_iter().map(|bound| (index, bound)));
                served.push(address);
            } else if inherited.covers(address) {
                tracing::info!(
                    listener = %listener.name,
                    %address,
                    "an inherited socket of both families serves it"
                );
                served.push(address);
            } else {
                let directory = runtime_directory().map_err(GatewayError::Directory)?;
                match make(listener, address, workers, &directory) {
                    Ok((bound, lock)) => {
                        say(host, listener, bound.address, workers, false);
                        served.push(bound.address);
                        sockets.bound.push((index, bound));
                        sockets.locks.push(lock);
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
    Ok(sockets)
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
    workers: usize,
    directory: &Path,
) -> Result<(Bound, Lock), ListenError> {
    // Which port 0 becomes is known only afterwards, and nobody else can have it.
    let early = (address.port() != 0).then(|| lock(directory, address)).transpose()?;
    let mut others = Others::new(&listener.name, address);
    let bound = loop {
        match listen_on(address, workers, &listener.sockets) {
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
    adopt(address, handed, workers, &listener.sockets).map_err(ListenError::Bind)
}

fn inode_of(socket: &TcpListener) -> Option<u64> {
    let file = std::fs::File::from(OwnedFd::from(socket.try_clone().ok()?));
    file.metadata().ok().map(|found| found.ino())
}

/// `*:0` asks for one free port for both families: the second takes the port of the first.
fn same_port(
    address: SocketAddr,
    nth: usize,
    binds: &[SocketAddr],
    bound: &[(usize, Bound)],
) -> SocketAddr {
    match (nth.checked_sub(1).map(|before| binds[before]), bound.last()) {
        (Some(before), Some((_, bound)))
            if address.port() == 0
                && before.port() == 0
                && address.ip().is_unspecified()
                && before.ip().is_unspecified()
                && address.is_ipv4() != before.is_ipv4() =>
        {
            SocketAddr::new(address.ip(), bound.address.port())
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
