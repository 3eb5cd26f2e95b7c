//! Why the gateway could not start, or broke.

use std::fmt;
use std::net::SocketAddr;

use super::wait::LONGEST_WAIT;
use super::{InheritError, LockError};
use crate::access_log::AccessLogError;
use crate::control::{AdminError, StatusError};
use crate::doctor::{Lack, count};
use crate::host::directory::DirectoryError;
use crate::host::holders::{Holder, TIME_WAIT, Use};
use crate::listener::BindError;
use crate::ring::{ProbeError, RingError};
use crate::tls::LoadError;

/// Why the gateway could not start, or broke.
#[derive(Debug)]
pub enum GatewayError {
    /// This kernel, or its policy, has no io_uring for us.
    IoUring(ProbeError),
    /// A worker's ring could not be made.
    Ring(RingError),
    /// An address could not be listened on.
    Listen {
        /// The listener's name in the config.
        listener: String,
        /// The cause.
        error: ListenError,
    },
    /// A socket that a parent handed down is of no use.
    Inherit(InheritError),
    /// A gateway on our addresses drains and cannot be asked for them.
    Claim(ClaimError),
    /// There is no place for the gateway's own files.
    Directory(DirectoryError),
    /// The config names what the host does not have: at least one thing.
    Lacks(Vec<Lack>),
    /// More connections were asked for than the host can hold, or it can hold none.
    DoesNotFit {
        /// The number in the config, unless it is "auto".
        asked: Option<u64>,
        /// The arithmetic, and what to change.
        because: String,
    },
    /// Files of certificates or keys are of no use: at least one.
    Tls(Vec<LoadError>),
    /// The admin socket cannot be made.
    Admin(AdminError),
    /// The status server's address cannot be listened on.
    Status(StatusError),
    /// The access log cannot be written.
    AccessLog(AccessLogError),
    /// A thread could not be started.
    Thread(std::io::Error),
    /// The control plane could not be started.
    Control(std::io::Error),
    /// A predecessor does not hand over to this process, or it cannot take over.
    Succession(String),
    /// A worker ended by itself; the log says how.
    WorkerLost,
    /// A second signal cut the end short.
    Forced,
}

impl fmt::Display for GatewayError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayError::IoUring(error) => write!(out, "{error}"),
            GatewayError::Ring(error) => write!(out, "{error}"),
            GatewayError::Listen { listener, error } => {
                write!(out, "listener {listener}: {error}")
            }
            GatewayError::Inherit(error) => write!(out, "{error}"),
            GatewayError::Claim(error) => write!(out, "{error}"),
            GatewayError::Directory(error) => write!(out, "{error}"),
            GatewayError::Lacks(lacks) => {
                let lines: Vec<String> = lacks.iter().map(Lack::to_string).collect();
                write!(out, "{}", lines.join("\n"))
            }
            GatewayError::Tls(errors) => {
                let lines: Vec<String> = errors.iter().map(LoadError::to_string).collect();
                write!(out, "{}", lines.join("\n"))
            }
            GatewayError::DoesNotFit { asked: Some(asked), because } => write!(
                out,
                "gateway.max_connections = {asked}: {because}. Or lower it, or write \"auto\"; \
                 `portcullis doctor` says more"
            ),
            GatewayError::DoesNotFit { asked: None, because } => {
                write!(out, "{because}. `portcullis doctor` says more")
            }
            GatewayError::Admin(error) => write!(out, "{error}"),
            GatewayError::Status(error) => write!(out, "{error}"),
            GatewayError::AccessLog(error) => write!(out, "{error}"),
            GatewayError::Thread(error) => write!(
                out,
                "a thread could not be started: {error}; \
                 raise the limit on processes (ulimit -u), which bounds all of this user's \
                 together, or lower gateway.workers"
            ),
            GatewayError::Control(error) => write!(
                out,
                "the control thread could not be started: {error}; \
                 raise the limit on locked memory (ulimit -l), which bounds all of this user's \
                 processes together, or on open files (ulimit -n)"
            ),
            GatewayError::Succession(words) => write!(out, "{words}"),
            GatewayError::WorkerLost => {
                write!(out, "a worker ended by itself; the log above says why")
            }
            GatewayError::Forced => {
                write!(out, "ended by a second signal before the connections were")
            }
        }
    }
}

impl std::error::Error for GatewayError {}

/// Why a gateway that drains cannot be asked for its addresses.
#[derive(Debug)]
pub enum ClaimError {
    /// Another process has asked.
    Held {
        /// The gateway that drains.
        pid: i32,
        /// The process that waits, where the kernel says it.
        by: Option<i32>,
    },
    /// The claim on this process cannot be made.
    Unusable(i32, std::io::Error),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::Held { pid, by } => {
                let by = by.map_or("another process".to_owned(), |by| format!("pid {by}"));
                write!(
                    out,
                    "pid {pid} drains, and {by} waits for its addresses already; stop that one \
                     first"
                )
            }
            ClaimError::Unusable(pid, error) => write!(
                out,
                "pid {pid} drains and cannot be asked for its addresses: drains-{pid}.lock in the \
                 runtime directory: {error}; start again when it has ended"
            ),
        }
    }
}

impl std::error::Error for ClaimError {}

/// Why there is no passive socket on an address.
#[derive(Debug)]
pub enum ListenError {
    /// The kernel refused one.
    Bind(BindError),
    /// A living gateway has the lock of the address.
    Locked {
        /// The address.
        address: SocketAddr,
        /// Who, by the lock.
        error: LockError,
    },
    /// Somebody else listens there.
    Taken {
        /// The address.
        address: SocketAddr,
        /// Who.
        holder: Holder,
    },
    /// No socket listens there, and the port is in use.
    Busy {
        /// The address.
        address: SocketAddr,
        /// By which connection; none: by a socket that is bound and has no connection.
        by: Option<Box<Use>>,
        /// Whether that was waited for, if it is a connection that has ended.
        waited: bool,
    },
    /// Listeners that no process has open did not go away.
    Haunted {
        /// The address.
        address: SocketAddr,
        /// How many.
        listeners: usize,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Bind(error) => write!(out, "{error}"),
            ListenError::Locked { address, error } => write!(out, "{address}: {error}"),
            ListenError::Taken { address, holder } if is_us(holder) => write!(
                out,
                "{address}: another bind of this gateway covers it; take one of the two out"
            ),
            ListenError::Taken { address, holder } => write!(
                out,
                "{address}: {holder} listens there; stop it first, or bind another address"
            ),
            ListenError::Busy { address, by, waited } => {
                busy(out, *address, by.as_deref(), *waited)
            }
            ListenError::Haunted { address, listeners } => write!(
                out,
                "{address}: after {} seconds there are still {} that no process here has open; if \
                 a gateway in a container on the host's network has the address, stop that one; \
                 otherwise start again once the kernel has closed what a dead one left",
                LONGEST_WAIT.as_secs(),
                count(*listeners as u64, "listener")
            ),
        }
    }
}

impl std::error::Error for ListenError {}

/// No socket listens; the port belongs to a connection, or to a socket that is only bound.
fn busy(
    out: &mut fmt::Formatter<'_>,
    address: SocketAddr,
    by: Option<&Use>,
    waited: bool,
) -> fmt::Result {
    let port = address.port();
    write!(out, "{address}: no server listens there, and ")?;
    match by {
        None => write!(
            out,
            "a socket that neither listens nor is connected has the port; stop its program, or \
             bind another port"
        ),
        Some(Use { peer, state: TIME_WAIT, .. }) if !waited => write!(
            out,
            "a connection to {peer} that has ended keeps the port (TIME-WAIT); ask again in a \
             minute, and reserve the port against outgoing connections: \
             sysctl -w net.ipv4.ip_local_reserved_ports={port}"
        ),
        Some(Use { peer, state: TIME_WAIT, .. }) => write!(
            out,
            "a connection to {peer} that has ended keeps the port (TIME-WAIT), and did for longer \
             than the kernel says; start again, and reserve the port against outgoing connections: \
             sysctl -w net.ipv4.ip_local_reserved_ports={port}"
        ),
        Some(Use { peer, state, holder }) => {
            write!(out, "a connection to {peer} ({state}) has the port")?;
            if *holder != Holder::Nobody {
                write!(out, ", of {holder}")?;
            }
            write!(
                out,
                "; end it, and reserve the port against outgoing connections: \
                 sysctl -w net.ipv4.ip_local_reserved_ports={port}"
            )
        }
    }
}

fn is_us(holder: &Holder) -> bool {
    let us = std::process::id() as i32;
    matches!(holder, Holder::Living(processes) if processes.iter().any(|one| one.pid == us))
}
