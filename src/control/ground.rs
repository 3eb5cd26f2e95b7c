//! What the control plane needs of the gateway below the workers: its file and its sockets.

use std::fmt;
use std::time::Duration;

use crate::config::{Config, ConfigErrors};
use crate::ring::PassiveSocket;
use crate::topology::GateSpec;

/// The file and the sockets of a gateway. A change goes through [`Ground::prepare`], then
/// [`Ground::commit`] or [`Ground::abandon`]; one at a time.
pub trait Ground: fmt::Debug + Send {
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

    /// Before a drain of all: no client comes that the drain would not serve any more.
    fn turn_clients_away(&mut self, within: Duration);
}

/// Why there is no config to be read.
#[derive(Debug)]
pub enum Unread {
    /// The gateway runs without a file.
    NoFile,
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
            Unread::Wrong(errors) => write!(out, "{errors}"),
        }
    }
}
