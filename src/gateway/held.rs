//! What the gateway listens on: for each address its passive sockets, and what keeps others away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::lock::Lock;
use crate::config::SocketOptions;
use crate::listener::{Bound, set_options};
use crate::ring::PassiveSocket;

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
    /// Dropped with the last that holds it.
    lock: Option<Arc<Lock>>,
}

impl Held {
    /// What was bound, or handed over, for a listener.
    pub(super) fn new(listener: &str, asked: SocketAddr, bound: Bound, lock: Option<Lock>) -> Held {
        let Bound { address, sockets, inherited } = bound;
        Held {
            listener: listener.to_owned(),
            asked,
            address,
            sockets: sockets.into_iter().map(Arc::new).collect(),
            inherited,
            lock: lock.map(Arc::new),
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

    /// Says in the lock's file when it is free at the latest.
    pub(super) fn say_draining(&self, until: SystemTime) {
        if let Some(lock) = &self.lock {
            lock.say_draining(until);
        }
    }
}
