//! The parts of a reading beside the counters: the process, its host, its budget and its end.

use serde::{Deserialize, Serialize};

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

/// The config that it runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// Of the file as it was read, in hexadecimal, as `sha256sum` prints it; `None`: no file.
    pub sha256: Option<String>,
    /// Which one runs: 1 at the start, one more at each reload that changes something.
    pub generation: u64,
}

/// The process. `None`: the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// User and system time of all threads.
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
