//! Others who listen on an address of ours: who lives is refused by name, who is dying waited for.

use std::net::SocketAddr;
use std::path::Path;

use super::ListenError;
use super::lock::{Lock, LockError};
use super::wait::{LOOK, Wait};
use crate::host::holders::{Holder, Listening, holder_of, is_ending, is_living, use_of};
use crate::listener::BindError;

/// Looks that find a lock held by a process that is not on its way out, before it is believed: one
/// that was killed a moment ago may not know it yet.
const STEADY_LOOKS: u32 = 2;
/// Descriptors of each process that are looked through first.
const FIRST_DESCRIPTORS: usize = 1024;
/// Looks that find the address taken and nobody on it, before the kernel's word is passed on.
const EMPTY_LOOKS: u32 = 3;

/// Takes the lock of `address`. A holder that is on its way out is waited for.
pub(super) fn lock(directory: &Path, address: SocketAddr) -> Result<Lock, ListenError> {
    let wait = Wait::new();
    let (mut steady_looks, mut has_said) = (0, false);
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
        steady_looks = if pid.is_none_or(is_ending) { 0 } else { steady_looks + 1 };
        if steady_looks == STEADY_LOOKS || !wait.goes_on() {
            return Err(ListenError::Locked { address, error });
        }
    }
}

/// Whether a process lives on, for the same reason looked at twice.
fn outlives_a_look(pid: i32) -> bool {
    if is_ending(pid) {
        return false;
    }
    std::thread::sleep(LOOK);
    is_living(pid)
}

/// Those who listen on an address where we are to.
pub(super) struct Others<'a> {
    /// By its name in the config.
    listener: &'a str,
    address: SocketAddr,
    wait: Wait,
    /// Inodes of listeners that no process has open.
    dead: Vec<u64>,
    empty_looks: u32,
}

impl Others<'_> {
    pub(super) fn new(listener: &str, address: SocketAddr) -> Others<'_> {
        Others { listener, address, wait: Wait::new(), dead: Vec::new(), empty_looks: 0 }
    }

    /// Judges those who were found, and sleeps until the next look if they are dead. `refused` is
    /// what the kernel said of our bind.
    ///
    /// # Errors
    /// When one lives, when the time is over, or when the kernel refuses though nobody listens.
    pub(super) fn look(
        &mut self,
        found: Vec<Listening>,
        refused: Option<BindError>,
    ) -> Result<(), ListenError> {
        let address = self.address;
        let fresh: Vec<Listening> =
            found.iter().filter(|one| !self.dead.contains(&one.inode)).copied().collect();
        let holder = self.judge(&fresh);
        match &holder {
            Holder::Living(processes) if !processes.iter().any(|p| outlives_a_look(p.pid)) => {
                return Ok(());
            }
            Holder::Living(_) | Holder::Unseen(_) => {
                return Err(ListenError::Taken { address, holder });
            }
            Holder::Nobody => {}
        }
        self.empty_looks = if found.is_empty() { self.empty_looks + 1 } else { 0 };
        if refused.is_some() && self.empty_looks == EMPTY_LOOKS {
            return Err(ListenError::Busy { address, by: use_of(address).map(Box::new) });
        }
        if self.wait.goes_on() {
            return Ok(());
        }
        Err(ListenError::Haunted { address, listeners: found.len() })
    }

    /// Who has these open. That it seems to be nobody is said at once: to be sure takes longer.
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
