//! Gateways that drain on the addresses of this one: each is asked to let go, and waited for.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;

use super::held::Held;
use super::host::Host;
use super::inherit::Inherited;
use super::{ClaimError, GatewayError};
use crate::base::{Clock, Millis};
use crate::config::Config;
use crate::host::holders::{collide, listening_on};
use crate::host::kernel_files::network_namespace;
use crate::host::lock_file::{LockFile, LockFileError};
use crate::host::notice::Notice;
use crate::listener::{Decoys, hold_syns};
use crate::ring::spread_clients;

/// Between two looks at a notice.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often a claim is tried.
const CLAIM_TRIES: u32 = 5;
/// Between two lines of the log.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Beyond the end that a notice names: an end takes its time.
const OVERTIME: Duration = Duration::from_secs(60);
/// For a predecessor to close what kept clients from its sockets.
const CLOSING: Duration = Duration::from_secs(2);
/// Between two trials of whether the connections fit beside those of a predecessor.
const FIT_EVERY: Duration = Duration::from_millis(500);

/// Gateways that drain on our addresses.
#[derive(Debug)]
pub(super) struct Predecessors {
    directory: PathBuf,
    clock: Clock,
    all: Vec<(i32, Notice)>,
    /// Addresses of which we have no inherited socket.
    ours: Vec<SocketAddr>,
    /// Our own, where their end is waited for.
    decoys: Vec<(SocketAddr, Decoys)>,
}

impl Predecessors {
    /// Those of whose addresses the config asks for one.
    pub(super) fn find(config: &Config, inherited: &Inherited, directory: &Path) -> Predecessors {
        let binds = || config.listeners.iter().flat_map(|listener| &listener.bind);
        let is_asked = |theirs: &SocketAddr| binds().any(|ours| collide(*theirs, *ours));
        let ours = binds().copied().filter(|ours| !inherited.serves(*ours)).collect();
        let us = std::process::id() as i32;
        let mut all = Notice::all_in(directory);
        let network = network_namespace();
        all.retain(|(pid, notice)| {
            *pid != us && notice.network == network && notice.addresses.iter().any(is_asked)
        });
        let (directory, clock) = (directory.to_owned(), Clock::system());
        Predecessors { directory, clock, all, ours, decoys: Vec::new() }
    }

    /// Prepares the host for a gateway beside them. What their connections take comes back; where
    /// the config asks for more than is there all the same, their end is waited for; then clients
    /// get no answer from here on.
    pub(super) fn prepare_host(&mut self, config: &Config) -> Result<Host, GatewayError> {
        let mut said: Option<Millis> = None;
        loop {
            let connections = self.all.iter().map(|(_, notice)| notice.connections).sum();
            let error = match Host::prepare(config, connections) {
                Err(error @ GatewayError::DoesNotFit { .. }) if !self.all.is_empty() => error,
                other => return other,
            };
            let now = self.clock.now();
            if said.is_none() {
                self.hold_clients();
            }
            if said.is_none_or(|said| now.since(said) >= SAY_EVERY) {
                let pids: Vec<i32> = self.all.iter().map(|(pid, _)| *pid).collect();
                let left = self.all.iter().filter_map(|(_, notice)| left(&self.clock, notice));
                let left_seconds =
                    left.max().unwrap_or_default().saturating_sub(OVERTIME).as_secs();
                tracing::warn!(
                    ?pids,
                    left_seconds,
                    %error,
                    "waits for the end of a gateway that drains"
                );
                said = Some(now);
            }
            std::thread::sleep(FIT_EVERY);
            let again = |(pid, _): (i32, Notice)| Some((pid, Notice::of(&self.directory, pid)?));
            self.all = std::mem::take(&mut self.all).into_iter().filter_map(again).collect();
            self.all.retain(|(_, notice)| left(&self.clock, notice).is_some());
        }
    }

    /// Clients that come to our addresses, once nobody listens there, come again.
    fn hold_clients(&mut self) {
        let theirs: Vec<_> = self.all.iter().flat_map(|(_, notice)| &notice.addresses).collect();
        let ours =
            self.ours.iter().filter(|ours| theirs.iter().any(|theirs| collide(**theirs, **ours)));
        let hold = |address: &SocketAddr| {
            let refused = |error| tracing::warn!(%error, "clients may be refused meanwhile");
            Some((*address, hold_syns(*address).map_err(refused).ok()?))
        };
        self.decoys = ours.filter_map(hold).collect();
    }

    /// Asks them to let go, and waits until each has, or has ended.
    ///
    /// # Errors
    /// When another process has asked before.
    pub(super) fn wait(self) -> Result<Takeover, ClaimError> {
        let mut vacated = Vec::new();
        for (pid, _) in &self.all {
            let claim = self.claim(*pid)?;
            if let Some(notice) = self.wait_for(*pid) {
                vacated.push(Vacated { pid: *pid, addresses: notice.addresses, _claim: claim });
            }
        }
        Ok(Takeover { clock: self.clock, all: vacated, decoys: self.decoys })
    }

    /// A gateway that looks whether it is claimed holds the lock for a moment.
    fn claim(&self, pid: i32) -> Result<Claim, ClaimError> {
        let mut tries = CLAIM_TRIES;
        loop {
            tries -= 1;
            match Notice::claim(&self.directory, pid) {
                Ok(claim) => return Ok(Claim(claim)),
                Err(LockFileError::Held { .. }) if tries > 0 => std::thread::sleep(LOOK_EVERY),
                Err(LockFileError::Held { pid: by }) => {
                    return Err(ClaimError::Held { pid, by });
                }
                Err(LockFileError::Unusable(error)) => {
                    return Err(ClaimError::Unusable(pid, error));
                }
            }
        }
    }

    /// The notice of one that has let go; `None`: it has ended, or takes longer than it said.
    fn wait_for(&self, pid: i32) -> Option<Notice> {
        let began = self.clock.now();
        let mut said: Option<Millis> = None;
        loop {
            let notice = Notice::of(&self.directory, pid)?;
            if notice.has_let_go {
                let waited_milliseconds = self.clock.now().since(began).as_millis() as u64;
                tracing::info!(pid, waited_milliseconds, "the gateway that drains has let go");
                return Some(notice);
            }
            let left = left(&self.clock, &notice)?;
            let now = self.clock.now();
            if said.is_none_or(|said| now.since(said) >= SAY_EVERY) {
                let left_seconds = left.saturating_sub(OVERTIME).as_secs();
                let connections = notice.connections;
                tracing::info!(
                    pid,
                    left_seconds,
                    connections,
                    "waits for a gateway that drains: until its queues are served, or it ends"
                );
                said = Some(now);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Until a predecessor has ended, by its notice; `None`: it should have.
fn left(clock: &Clock, notice: &Notice) -> Option<Duration> {
    let now = clock.calendar().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let end = Duration::from_secs(notice.until_seconds) + OVERTIME;
    end.checked_sub(now).filter(|left| !left.is_zero())
}

/// The wait that a predecessor sees. Its file goes with it.
#[derive(Debug)]
struct Claim(LockFile);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// The addresses that predecessors have let go. Until this gateway has sockets there, too, clients
/// get no answer from them, and so come again.
#[derive(Debug)]
pub(super) struct Takeover {
    clock: Clock,
    all: Vec<Vacated>,
    /// Our own.
    decoys: Vec<(SocketAddr, Decoys)>,
}

/// The addresses of one predecessor.
#[derive(Debug)]
struct Vacated {
    pid: i32,
    addresses: Vec<SocketAddr>,
    _claim: Claim,
}

impl Takeover {
    /// Whether the sockets on this address may be decoys, our own or those of a predecessor.
    pub(super) fn covers(&self, address: SocketAddr) -> bool {
        let vacated = self.all.iter().flat_map(|vacated| &vacated.addresses);
        let mut addresses = vacated.chain(self.decoys.iter().map(|(address, _)| address));
        addresses.any(|theirs| collide(*theirs, address))
    }

    /// Has the clients come to these sockets, which listen: predecessors close theirs.
    pub(super) fn finish(self, held: &[Held]) {
        let taken: Vec<&Held> =
            held.iter().filter(|one| !one.inherited && self.covers(one.address)).collect();
        let pids: Vec<i32> = self.all.iter().map(|vacated| vacated.pid).collect();
        let Takeover { clock, all, decoys } = self;
        drop((all, decoys));
        if !pids.is_empty() {
            tracing::info!(?pids, "took over from gateways that drain");
        }
        let began = clock.now();
        for one in taken {
            while !is_alone(one.address, held) && clock.now().since(began) < CLOSING {
                std::thread::sleep(LOOK_EVERY);
            }
            one.spread_clients();
        }
    }
}

/// Whether only sockets of these get clients of an address.
fn is_alone(address: SocketAddr, held: &[Held]) -> bool {
    let ours: HashSet<u64> = held.iter().flat_map(Held::inodes).collect();
    listening_on(address).iter().all(|one| ours.contains(&one.inode))
}

impl Held {
    /// A predecessor of the same address has steered its clients, which is of its sockets' group
    /// and so of ours.
    fn spread_clients(&self) {
        let Some(member) = self.sockets.first() else { return };
        match spread_clients(member) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => tracing::warn!(
                %error,
                address = %self.address,
                "clients come to the workers unevenly"
            ),
        }
    }
}
