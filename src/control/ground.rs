//! What the control plane needs of the gateway below the workers: its file and its sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, ConfigErrors, ConfigSource};
use crate::ring::PassiveSocket;
use crate::topology::GateSpec;

/// The file and the sockets of a gateway. A change goes through [`Ground::prepare`], then
/// [`Ground::commit`] or [`Ground::abandon`]; one at a time.
pub trait Ground: fmt::Debug + Send {
    /// Where the config came from, with the absolute path of its file.
    fn source(&self) -> ConfigSource;

    /// What errors and answers call the config file.
    fn file(&self) -> String;

    /// Reads the config file again, and checks it.
    ///
    /// # Errors
    /// When it is wrong, or there is none.
    fn read(&self) -> Result<Config, Unread>;

    /// Gets the passive sockets that a config asks for, those that are there already among them.
    ///
    /// # Errors
    /// When one is not to be had, or the host lacks something else: nothing has changed then.
    fn prepare(&mut self, config: &Config) -> Result<Vec<(GateSpec, PassiveSocket)>, String>;

    /// Lets no new client come to the sockets that the prepared change gives up, and says how many
    /// wait in their queues; `None`: it gives none up.
    fn stop_clients(&mut self) -> Option<u32>;

    /// The prepared change is carried out.
    fn commit(&mut self);

    /// Closes what changes have given up, as soon as no worker has it. Says whether all of it is.
    fn has_let_go(&mut self) -> bool;

    /// The prepared change does not come.
    fn abandon(&mut self);

    /// Says to other gateways on this host that this one drains: that it is gone after this time,
    /// and how many connections it has. One that starts can wait for its addresses. `None`: that it
    /// stays.
    fn say_draining(&mut self, drain: Option<(Duration, u64)>);

    /// Before a drain of all: no client comes that the drain would not serve any more.
    fn turn_clients_away(&mut self);

    /// The drain is cancelled: clients come as before.
    fn let_clients_in(&mut self);

    /// For a gateway that waits: so many connections are left.
    fn say_left(&mut self, connections: u64);

    /// Whether another gateway waits for the addresses of this one, which drains.
    fn is_awaited(&self) -> bool;

    /// Whether clients wait in queues that no other process serves.
    fn clients_wait(&self) -> bool;

    /// Gives up the passive sockets and the locks. Clients that come before the other gateway
    /// listens get no answer, and so come again.
    fn let_go(&mut self);

    /// Whether that gateway waits no more: it listens, or it has ended.
    fn is_succeeded(&mut self) -> bool;

    /// What it listens on, for a successor, which listens there, too.
    ///
    /// # Errors
    /// When there are no descriptors left.
    fn passive(&self) -> io::Result<Vec<Passive>>;

    /// The locks are this process's from here on, and say so.
    fn sign_locks(&self);
}

/// The passive sockets of an address, for a successor.
#[derive(Debug)]
pub struct Passive {
    /// The listener's name.
    pub listener: String,
    /// The address as the config has it.
    pub asked: SocketAddr,
    /// The address that it is.
    pub address: SocketAddr,
    /// Somebody else has them, too.
    pub inherited: bool,
    /// Each queue once.
    pub sockets: Vec<PassiveSocket>,
    /// Where the lock of the address is, and its file.
    pub lock: Option<(PathBuf, OwnedFd)>,
}

/// Why there is no config to be read.
#[derive(Debug)]
pub enum Unread {
    /// The gateway runs without a file.
    NoFile,
    /// It came over standard input.
    Input,
    /// What is wrong with it.
    Wrong(ConfigErrors),
}

impl fmt::Display for Unread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::NoFile => write!(
                out,
                "this gateway runs without a config file; start it with run --config FILE"
            ),
            Unread::Input => write!(
                out,
                "the config came over standard input, which has nothing more to read; `portcullis \
                 upgrade --successor-config FILE` goes over to a file, and disconnects nobody"
            ),
            Unread::Wrong(errors) => write!(out, "{errors}"),
        }
    }
}
