//! An upgrade: a successor process takes everything over, established connections with it.

use serde::{Deserialize, Serialize};

use super::{Method, Request};

/// The longest time that may be asked for in place of a default, in milliseconds: 10 minutes.
pub const MOST_MILLIS: u64 = 600_000;

/// Asks for an upgrade, or for the end of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Upgrade {
    /// Take the one that is under way back.
    pub abort: bool,
    /// The program of the successor; `None`: what lies where this one was started from.
    pub binary: Option<String>,
    /// Its config file; `None`: the path of this one's.
    pub config: Option<String>,
    /// For how long it must prove itself before the predecessor ends.
    pub probation_millis: Option<u64>,
    /// For how long none may move, and those that cannot at once are tried again.
    pub timeout_millis: Option<u64>,
}

impl Request for Upgrade {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/upgrade";
    type Answer = Upgraded;
}

/// How an upgrade came out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Upgraded {
    /// Connections that had moved and are back.
    pub back: u64,
    /// The successor has everything, and this process ends.
    pub committed: bool,
    /// Connections that the gateway ended because they could not move.
    pub ended: u64,
    /// Connections that were lost with a successor that failed.
    pub lost: u64,
    /// Connections that moved.
    pub moved: u64,
    /// The process that answers.
    pub pid: u32,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// How long each step took.
    pub steps: Vec<Step>,
    /// The successor's process; `None`: there was none.
    pub successor: Option<u32>,
    /// The config is wrong: the exit code is that of wrong usage.
    pub wrong_config: bool,
    /// What happened, in a line.
    pub words: String,
}

/// A step of an upgrade.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Step {
    /// How long it took.
    pub seconds: f64,
    /// Its name.
    pub step: String,
}
