//! How an upgrade is to go, and why it fails.

use std::path::PathBuf;
use std::time::Duration;

use super::channel::Broken;
use crate::config::ConfigSource;

/// How an upgrade is to go.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) binary: PathBuf,
    pub(super) config: ConfigSource,
    pub(super) probation: Duration,
    pub(super) timeout: Duration,
}

/// Why everything is taken back.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) words: String,
    pub(super) wrong_config: bool,
    /// The successor has ended by itself: its status says more.
    pub(super) is_gone: bool,
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Failure {
        match broken {
            Broken::Gone => {
                let words = "the successor ended".to_owned();
                Failure { words, wrong_config: false, is_gone: true }
            }
            Broken::Other(words) => words.into(),
        }
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Failure {
        Failure { words, wrong_config: false, is_gone: false }
    }
}
