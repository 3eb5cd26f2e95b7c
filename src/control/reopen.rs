//! What a reload needs of the control plane's own sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Config;

/// The control plane's sockets, to be opened elsewhere.
pub(super) trait Reopen: fmt::Debug + Send + Sync {
    /// Opens what the config `after` asks for beside what is open. The last step before a change is
    /// made: a mode or a group is given to the admin socket here already.
    ///
    /// # Errors
    /// When it cannot be had. Nothing has changed then.
    fn prepare(self: Arc<Self>, before: &Config, after: &Config) -> Result<TakePlace, String>;

    /// What a successor gets.
    ///
    /// # Errors
    /// When there is no descriptor left.
    fn share(&self) -> io::Result<Handed>;

    /// A successor has put its own in their places: the files are its.
    fn leave(&self);

    /// Has what a successor that is no more has put in their places give way again.
    fn stay(&self);

    /// Opens what the config asks for, in the places of a predecessor's.
    fn take_over(&self, handed: Handed);
}

/// What one process hands over to the next.
#[derive(Debug, Default)]
pub struct Handed {
    /// Where the status server listens, and its socket.
    pub status: Option<(SocketAddr, TcpListener)>,
    /// The path of the admin socket that the config names, and the file of its lock.
    pub admin: Option<(PathBuf, OwnedFd)>,
}

/// Has what was opened answer, and closes what was open before. Answers under way are given.
pub(super) type TakePlace = Box<dyn FnOnce() + Send>;
