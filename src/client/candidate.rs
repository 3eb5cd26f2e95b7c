//! Gateways that may be meant, and what else a search came upon, in words for people.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::host::address_lock::LockedAddress;
use crate::host::socket_file::pid_of;
use crate::metrics::reading::Identity;

/// A gateway that may be meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its admin socket.
    pub path: PathBuf,
    /// What it says of itself, or why it says nothing.
    pub says: Result<Says, String>,
}

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Says {
    /// Which one it is; older ones do not say it.
    pub identity: Option<Identity>,
    /// Its listeners, each with its addresses.
    pub listeners: Vec<String>,
    /// It drains.
    pub draining: bool,
}

/// What a search came upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// The directories, each with the reason why it was not looked into, if there is one.
    pub directories: Vec<(PathBuf, Option<String>)>,
    /// Addresses of gateways, also of those that have no admin socket.
    pub locked: Vec<LockedAddress>,
}

impl Candidate {
    /// Whether it runs this file, whose path is canonical. Its own path may be a link.
    pub(super) fn runs(&self, file: &Path) -> bool {
        let identity = self.says.as_ref().ok().and_then(|says| says.identity.as_ref());
        let path = identity.and_then(|identity| identity.config.as_deref()).map(Path::new);
        path.is_some_and(|path| path == file || path.canonicalize().is_ok_and(|at| at == file))
    }

    /// Whether it drains.
    pub(super) fn drains(&self) -> bool {
        self.says.as_ref().is_ok_and(|says| says.draining)
    }

    /// The pid of its gateway, where it or the socket's name says it.
    pub fn pid(&self) -> Option<u32> {
        let identity = self.says.as_ref().ok().and_then(|says| says.identity.as_ref());
        identity.map(|identity| identity.pid).or_else(|| pid_of(&self.path))
    }
}

/// Listeners of a gateway that a list shows.
const LISTENERS_SHOWN: usize = 4;

impl fmt::Display for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid() {
            Some(pid) => write!(out, "pid {pid}")?,
            None => write!(out, "a gateway")?,
        }
        match &self.says {
            Ok(Says { identity, listeners, draining }) => {
                match identity.as_ref().map(|it| it.config.as_deref()) {
                    Some(Some(config)) => write!(out, ", {config}")?,
                    Some(None) => write!(out, ", no config file")?,
                    None => {}
                }
                let shown = &listeners[..listeners.len().min(LISTENERS_SHOWN)];
                write!(out, ", {}", shown.join(", "))?;
                match listeners.len() - shown.len() {
                    0 => {}
                    more => write!(out, " and {more} more")?,
                }
                write!(out, "{}", if *draining { " (drains)" } else { "" })?;
            }
            Err(because) => write!(out, ", {because}")?,
        }
        write!(out, "\n    --admin {}", self.path.display())
    }
}

impl fmt::Display for Looked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Looked { directories, locked } = self;
        let all: Vec<_> = directories.iter().map(|(one, _)| one.display().to_string()).collect();
        write!(
            out,
            "no gateway has an admin socket that this user can see in {}; name it by --admin \
             PATH, or set RUNTIME_DIRECTORY as for the gateway",
            all.join(" or ")
        )?;
        for of_one in locked.chunk_by(|one, next| one.pid == next.pid) {
            let addresses: Vec<String> = of_one.iter().map(|one| one.address.to_string()).collect();
            write!(
                out,
                "\n  pid {} has {} and no admin socket there: its admin.socket is \"off\", or a \
                 path that --admin can name",
                of_one[0].pid,
                addresses.join(", ")
            )?;
        }
        directories.iter().try_for_each(|(one, because)| match because {
            Some(because) => write!(out, "\n  {} is passed over: {because}", one.display()),
            None => Ok(()),
        })
    }
}
