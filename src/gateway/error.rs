//! Why the gateway could not start, or broke.

use std::fmt;

use crate::listener::BindError;
use crate::ring::{ProbeError, RingError};

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
        /// What stood in the way.
        error: BindError,
    },
    /// More connections were asked for than the host can hold, or it can hold none.
    DoesNotFit {
        /// What the config says, unless it says "auto".
        asked: Option<u64>,
        /// The arithmetic, and what to change.
        because: String,
    },
    /// A thread could not be started.
    Thread(std::io::Error),
    /// The control plane could not be started.
    Control(std::io::Error),
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
            GatewayError::DoesNotFit { asked: Some(asked), because } => write!(
                out,
                "gateway.max_connections = {asked}: {because}. Or lower it, or write \"auto\"; \
                 `portcullis doctor` says more"
            ),
            GatewayError::DoesNotFit { asked: None, because } => {
                write!(out, "{because}. `portcullis doctor` says more")
            }
            GatewayError::Thread(error) => write!(
                out,
                "a worker's thread could not be started: {error}; \
                 lower gateway.workers or raise the limit on processes (ulimit -u)"
            ),
            GatewayError::Control(error) => write!(
                out,
                "the control thread could not be started: {error}; \
                 see whether memory or the limit on open files (ulimit -n) is short"
            ),
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
