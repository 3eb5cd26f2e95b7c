//! Other processes on our addresses: a living one is an error by name, a dying one is waited for.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::ListenError;
use super::lock::{Lock, LockError};
use super::wait::{BETWEEN_CHECKS, Wait};
use crate::host::holders::{
    Holder, Listening, TIME_WAIT, Use, holder_of, is_ending, is_living, listening_on, use_of,
};
use crate::listener::BindError;

/// Consecutive checks that must find a living holder of a lock before that is an error: a process
/// killed a moment ago still looks alive.
const STEADY_CHECKS: u32 = 2;
/// Descriptors of each process that are looked through first.
const FIRST_DESCRIPTORS: usize = 1024;
/// Consecutive checks that find the address taken and no socket on it, before the kernel's error is
/// passed on.
const EMPTY_CHECKS: u32 = 3;

/// Why a gateway that runs, whose sockets have these inodes, cannot listen on one address more.
/// Nobody is waited for: its clients would be too.
pub(super) fn why(address: SocketAddr, refused: BindError, ours: &[u64]) -> ListenError {
    if refused.errno != Errno::EADDRINUSE {
        return ListenError::Bind(refused);
    }
    let mut found = listening_on(address);
    let is_others = |one: &Listening| !ours.contains(&one.inode);
    if found.iter().any(is_others) {
        found.retain(is_others);
    }
    if found.is_empty() {
        let by = use_of(address).map(Box::new);
        return ListenError::Busy { address, by, waited: false };
    }
    match holder_of(&found, FIRST_DESCRIPTORS) {
        Holder::Nobody => ListenError::Bind(refused),
        holder => ListenError::Taken { address, holder },
    }
}

/// Takes the lock of `address`. A holder that is on its way out is waited for.
pub(super) fn lock(directory: &Path, address: SocketAddr) -> Result<Lock, ListenError> {
    let wait = Wait::new();
    let (mut steady_checks, mut has_said) = (0, false);
    loop {
        let error = match Lock::take(directory, address) {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        let LockError::Held { pid, path, .. } = &error else {
            return Err(ListenError::Locked { address, error });
        };
        if !has_said {
            let path = path.display();
            tracing::warn!(%address, %path, pid, "waits for the lock of the address");
            has_said = true;
        }
        steady_checks = if pid.is_none_or(is_ending) { 0 } else { steady_checks + 1 };
        if steady_checks == STEADY_CHECKS || !wait.goes_on() {
            return Err(ListenError::Locked { address, error });
        }
    }
}

/// Whether a process is alive, and still is after a moment.
fn outlives_a_check(pid: i32) -> bool {
    if is_ending(pid) {
        return false;
    }
    std::thread::sleep(BETWEEN_CHECKS);
    is_living(pid)
}

/// How long a connection that has ended is waited for: it keeps its port for 60 seconds
/// (TCP_TIMEWAIT_LEN), and the kernel's timer may be an eighth late.
pub(super) const TIME_WAIT_LONGEST: Duration = Duration::from_secs(75);
/// Between two looks at all connections.
const TIME_WAIT_EVERY: Duration = Duration::from_millis(500);

/// Sockets of other processes that listen on an address of ours.
pub(super) struct Others<'a> {
    /// By its name in the config.
    listener: &'a str,
    address: SocketAddr,
    wait: Wait,
    /// Inodes of listeners that no process has open.
    dead: Vec<u64>,
    empty_checks: u32,
    waits_for_ended: bool,
}

impl Others<'_> {
    pub(super) fn new(listener: &str, address: SocketAddr) -> Others<'_> {
        let (wait, dead) = (Wait::new(), Vec::new());
        Others { listener, address, wait, dead, empty_checks: 0, waits_for_ended: false }
    }

    /// Judges the sockets found, and sleeps until the next check if their processes are dead.
    /// `refused` is the kernel's error of our bind.
    ///
    /// # Errors
    /// When one lives, when the time is over, or when the kernel refuses though nobody listens.
    pub(super) fn check(
        &mut self,
        found: Vec<Listening>,
        refused: Option<BindError>,
    ) -> Result<(), ListenError> {
        let address = self.address;
        let fresh: Vec<Listening> =
            found.iter().filter(|one| !self.dead.contains(&one.inode)).copied().collect();
        let holder = self.judge(&fresh);
        match &holder {
            Holder::Living(processes) if !processes.iter().any(|p| outlives_a_check(p.pid)) => {
                return Ok(());
            }
            Holder::Living(_) | Holder::Unseen(_) => {
                return Err(ListenError::Taken { address, holder });
            }
            Holder::Nobody => {}
        }
        self.empty_checks = if found.is_empty() { self.empty_checks + 1 } else { 0 };
        if refused.is_some() && self.empty_checks >= EMPTY_CHECKS {
            return self.wait_for_ended(use_of(address));
        }
        if self.wait.goes_on() {
            return Ok(());
        }
        Err(ListenError::Haunted { address, listeners: found.len() })
    }

    /// A connection that has ended goes by itself, and is waited for; another use is an error.
    fn wait_for_ended(&mut self, by: Option<Use>) -> Result<(), ListenError> {
        let address = self.address;
        match by {
            Some(Use { peer, state: TIME_WAIT, .. }) if self.wait.so_far() < TIME_WAIT_LONGEST => {
                if !self.waits_for_ended {
                    let at_most_seconds = TIME_WAIT_LONGEST.as_secs();
                    tracing::warn!(
                        listener = %self.listener,
                        %address,
                        %peer,
                        at_most_seconds,
                        "a connection that has ended keeps the port (TIME-WAIT); waiting for its \
                         end"
                    );
                    self.waits_for_ended = true;
                }
                std::thread::sleep(TIME_WAIT_EVERY);
                Ok(())
            }
            // It went since the bind.
            None if self.waits_for_ended && self.wait.so_far() < TIME_WAIT_LONGEST => {
                std::thread::sleep(BETWEEN_CHECKS);
                Ok(())
            }
            by => Err(ListenError::Busy { address, by: by.map(Box::new), waited: true }),
        }
    }

    /// The holder of these sockets. A first sign that they have none is logged at once: to be sure
    /// takes longer.
    fn judge(&mut self, fresh: &[Listening]) -> Holder {
        if fresh.is_empty() {
            return Holder::Nobody;
        }
        let holder = holder_of(fresh, FIRST_DESCRIPTORS);
        if holder != Holder::Nobody {
            return holder;
        }
        self.dead.extend(fresh.iter().map(|one| one.inode));
        tracing::warn!(
            listener = %self.listener,
            address = %self.address,
            listeners = self.dead.len(),
            inodes = ?self.dead,
            "a dead predecessor's listeners still take clients; waiting until the kernel has \
             closed them"
        );
        holder_of(fresh, usize::MAX)
    }

    /// Ends in the log what a wait began there.
    pub(super) fn say_gone(&self) {
        if !self.dead.is_empty() {
            tracing::info!(
                listener = %self.listener,
                address = %self.address,
                listeners = self.dead.len(),
                waited_milliseconds = self.wait.so_far().as_millis() as u64,
                "the dead predecessor's listeners are gone"
            );
        }
    }
}
