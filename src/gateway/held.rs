//! What the gateway listens on: for each address its passive sockets, and what keeps others away.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::stat::fstat;

use super::lock::Lock;
use crate::config::SocketOptions;
use crate::control::Passive;
use crate::listener::{Bound, set_options};
use crate::ring::{AcceptQueue, PassiveSocket};

/// An address that a listener binds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The listener's name.
    pub(super) listener: String,
    /// The address as the config has it; its port may be 0.
    pub(super) asked: SocketAddr,
    /// The address that it is.
    pub(super) address: SocketAddr,
    /// One for each worker.
    pub(super) sockets: Vec<PassiveSocket>,
    /// Somebody else has the sockets, too.
    pub(super) inherited: bool,
    /// How many accept queues they have; the workers take them in turn.
    pub(super) queues: usize,
    /// Dropped with the last that holds it.
    lock: Option<Arc<Lock>>,
}

impl Held {
    /// What was bound, or handed over, for a listener.
    pub(super) fn new(listener: &str, asked: SocketAddr, bound: Bound, lock: Option<Lock>) -> Held {
        Held::shared(listener, asked, bound, lock.map(Arc::new))
    }

    /// The same where others of the address have the lock, too.
    pub(super) fn shared(
        listener: &str,
        asked: SocketAddr,
        bound: Bound,
        lock: Option<Arc<Lock>>,
    ) -> Held {
        let Bound { address, sockets, inherited, queues } = bound;
        Held {
            listener: listener.to_owned(),
            asked,
            address,
            sockets: sockets.into_iter().map(Arc::new).collect(),
            inherited,
            queues,
            lock,
        }
    }

    /// Gives the sockets other options: a backlog, and what clients get from them. One that the
    /// kernel refuses stays as it was, and the log says so.
    pub(super) fn set_options(&self, options: &SocketOptions) {
        let set = |socket| set_options(socket, options, self.address);
        if let Err(error) = self.sockets.iter().try_for_each(set) {
            tracing::warn!(listener = %self.listener, %error, "a passive socket keeps its options");
        }
    }

    /// Lets another gateway have the address. Our own sockets listen no more, though workers have
    /// them open; what waits in their queues is reset. Those of others are left alone.
    pub(super) fn let_go(&mut self) {
        for socket in self.sockets.iter().filter(|_| !self.inherited) {
            // It leaves the table of passive sockets (inet_shutdown in net/ipv4/af_inet.c).
            if let Err(error) = shutdown(socket.as_raw_fd(), Shutdown::Read) {
                tracing::warn!(%error, address = %self.address, "a passive socket goes on");
            }
        }
        self.lock = None;
    }

    /// For a successor, which listens there, too.
    pub(super) fn passive(&self) -> io::Result<Passive> {
        Ok(Passive {
            listener: self.listener.clone(),
            asked: self.asked,
            address: self.address,
            inherited: self.inherited,
            sockets: self.sockets.iter().take(self.queues).cloned().collect(),
            lock: self.lock.as_ref().map(|lock| lock.share()).transpose()?,
        })
    }

    /// The lock is this process's from here on.
    pub(super) fn sign_lock(&self) {
        if let Some(Err(error)) = self.lock.as_ref().map(|lock| lock.sign()) {
            tracing::warn!(%error, address = %self.address, "the lock names another process");
        }
    }

    /// The numbers that identify its own sockets.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        let own = self.sockets.iter().filter(|_| !self.inherited);
        own.filter_map(|socket| fstat(socket).ok()).map(|found| found.st_ino)
    }

    /// Clients that wait in the queues which nobody else serves.
    pub(super) fn waiting(&self) -> u32 {
        let own = self.sockets.iter().filter(|_| !self.inherited);
        own.filter_map(|socket| AcceptQueue::of(socket).ok()).map(|queue| queue.waiting).sum()
    }
}
