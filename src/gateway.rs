//! Builds all parts from a config, starts the workers, drains and joins them.

use std::fmt;

use crate::config::Config;

/// Why the gateway could not start or go on.
#[derive(Debug)]
pub enum GatewayError {
    /// This build has no workers.
    NoWorkers,
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayError::NoWorkers => f.write_str("this build has no workers; use a later one"),
        }
    }
}

impl std::error::Error for GatewayError {}

/// Runs until it is told to stop and everything has ended.
///
/// # Errors
/// When the gateway could not start, or broke.
pub fn run(config: Config) -> Result<(), GatewayError> {
    drop(config);
    Err(GatewayError::NoWorkers)
}
