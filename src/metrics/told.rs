//! The parts of a reading beside the counters: the process, its host, its budget and its end.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::counter::Counts;

/// The version of this document's shape. Fields may be added within one; a field that changes its
/// meaning or goes away makes the next.
pub const SCHEMA: u32 = 1;

/// Version and commit of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The version, as `--version` says it.
    pub version: String,
    /// The commit, where the build knew it.
    pub commit: Option<String>,
}

/// How the gateway reaches the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// `io_uring` or `epoll`; empty: a former version does not say.
    pub by: String,
    /// Why that is not io_uring, and what to do.
    pub refused: Option<String>,
}

/// A certificate that clients of a listener get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The listener.
    pub listener: String,
    /// Its file.
    pub file: String,
    /// Its first name, or its subject.
    pub title: String,
    /// It is valid up to this second.
    pub not_after_seconds_since_1970: u64,
}

/// Which gateway it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The absolute path of its config file; `None`: it runs without one.
    pub config: Option<String>,
    /// The name of its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config.as_deref().unwrap_or("no config file");
        write!(out, "pid {} on {}, {config}", self.pid, self.host)
    }
}

/// The config that it runs with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigText {
    /// Of the file as it was read, in hexadecimal, as `sha256sum` prints it; `None`: no file.
    pub sha256: Option<String>,
    /// Which topology runs: 1 at the start, one more at each reload or change of servers.
    pub generation: u64,
    /// The last time that it was read again; `None`: never.
    #[serde(default)]
    pub last_reload: Option<LastReload>,
}

/// The last reload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastReload {
    /// When it was over.
    pub at_seconds_since_1970: f64,
    /// It was carried out.
    pub successful: bool,
}

/// How those are asked who know the servers of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchState {
    /// Answers by outcome.
    pub answers: BTreeMap<String, u64>,
    /// When an answer was good last; `None`: never.
    pub last_good_seconds_since_1970: Option<f64>,
    /// Which servers are not known at present, and why.
    pub trouble: Option<String>,
}

/// The results of the checks of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckResults {
    /// It answered as it should.
    pub passed: u64,
    /// It did not.
    pub failed: u64,
    /// They could not be made, for want of something here.
    pub unable: u64,
    /// What came of the last one, in words; `None`: there was none yet.
    pub last: Option<String>,
    /// When that was over.
    pub last_seconds_since_1970: Option<f64>,
    /// Why it failed one last; `None`: it never did.
    pub last_error: Option<String>,
    /// When.
    pub last_error_seconds_since_1970: Option<f64>,
}

impl CheckResults {
    /// Checks by result.
    pub(super) fn counts(&self) -> Counts {
        let all = [("passed", self.passed), ("failed", self.failed), ("unable", self.unable)];
        all.into_iter().map(|(result, count)| (Cow::Borrowed(result), count)).collect()
    }
}

/// Sources that have connections or are refused, over all listeners with limits for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    /// How many have a connection that is counted.
    pub counted: u64,
    /// Those that were refused most, the most first.
    pub most_refused: Vec<RefusedSource>,
}

/// A source that was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedSource {
    /// Its address or network.
    pub source: String,
    /// How often, at most: there may be more in it of one that it took the place of.
    pub refused: u64,
}

/// The process. `None`: the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// User and system time of all threads, with that of the processes it has taken over from.
    pub cpu_seconds: Option<f64>,
    /// Memory that is in RAM.
    pub resident_memory_bytes: Option<u64>,
    /// Ordinary descriptors; connections are not among them.
    pub open_fds: Option<u64>,
    /// RLIMIT_NOFILE, soft.
    pub max_fds: Option<u64>,
    /// When it was started, in seconds since 1970.
    pub start_time_seconds: Option<f64>,
}

/// Limits that the whole machine shares. `None`: the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Open files of everybody, connections among them.
    pub open_files: Option<u64>,
    /// fs.file-max.
    pub max_files: Option<u64>,
}

/// The limit of connections, and the permits in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The most connections at once.
    pub limit: u64,
    /// The limit that this comes from, as `doctor` calls it.
    pub bound_by: String,
    /// Permits that connections hold.
    pub used: u64,
    /// Permits that workers have: those of connections, and those that lie ready for clients.
    pub leased: u64,
}

/// How the end comes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// It has begun.
    pub draining: bool,
    /// Connections that are still open.
    pub still_open: u64,
    /// When connections that are left will be ended, on the clock of `at_seconds`.
    pub deadline_seconds: Option<f64>,
}

/// How far a drain is that is under way: of the process or a part of it, or of what a reload took
/// away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainProgress {
    /// What drains: `process`, `share`, `listener/NAME`, `share of listener/NAME`, `down
    /// server/UPSTREAM/NAME`, `removed` and `overdue` by a reload.
    pub name: String,
    /// Connections that it has still to end.
    pub left: u64,
    /// Connections that it has ended.
    pub ended: u64,
    /// How many it ends per second, at its present pace.
    pub per_second: f64,
    /// Until all are ended, at that pace.
    pub seconds_left: f64,
}

/// How far an upgrade is that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpgradeProgress {
    /// Its step: `ready`, `move`, `switch`, `rest`, `probation`, `commit` or `taken back`.
    pub step: String,
    /// Since it was asked for.
    pub seconds: f64,
    /// The successor's process, once there is one.
    pub successor: Option<u32>,
    /// Connections that the successor has taken.
    pub moved: u64,
    /// Connections that are in this process alone.
    pub left: u64,
}

/// The counts of the access log's lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessLog {
    /// They were written.
    pub written: u64,
    /// They found the queue full.
    pub dropped: u64,
    /// Writing them failed.
    pub failed: u64,
    /// Why nothing can be written now; `None`: the last write went well.
    pub failing: Option<Failing>,
}

impl AccessLog {
    /// Lines that no file has.
    pub fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}

/// Something that happened to the gateway; its log has a line of the same words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in UTC as RFC 3339 has it: `2026-11-29T14:28:59Z`.
    pub at: String,
    /// How bad it is.
    pub severity: Severity,
    /// To what: `gateway`, `listener/NAME`, `upstream/NAME`, `server/UPSTREAM/NAME` or `worker/N`.
    pub subject: String,
    /// What happened.
    pub words: String,
}

impl Severity {
    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// Something that is wrong at present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// How bad it is.
    pub severity: Severity,
    /// With what, as the subject of an [`Event`].
    pub subject: String,
    /// What it is.
    pub words: String,
    /// Since when, where that is known.
    pub since_seconds_since_1970: Option<f64>,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// How bad an event or a trouble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something was done, or is good again.
    Info,
    /// It may need somebody.
    Warning,
    /// It needs somebody.
    Error,
}

/// Something that does not work at present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when, on the clock of `at_seconds`.
    pub since_seconds: f64,
    /// The system's words.
    pub because: String,
}

/// How far a worker's leave has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaving {
    /// It serves.
    #[default]
    No,
    /// It closes connections at a pace.
    Draining,
    /// It ends what is left.
    Ending,
}

/// The accept queues of a listener, summed over its passive sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptQueue {
    /// Completed handshakes that wait.
    pub waiting: u64,
    /// How many may: the backlogs, as the kernel granted them.
    pub limit: u64,
    /// Handshakes and segments that the kernel dropped, mostly because a queue was full.
    pub dropped: u64,
}
