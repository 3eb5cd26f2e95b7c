//! One consistent picture of a gateway, as plain data: the status document, and what the
//! exposition is made of.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Histogram;

/// The version of this document's shape. Fields may be added within one; a field that changes its
/// meaning or goes away makes the next.
pub const SCHEMA: u32 = 1;

/// Numbers by the word for what is counted.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

/// Everything that a gateway says about itself at one moment. Rates are for the reader to make, of
/// two readings and their `at_seconds`.
///
/// Numbers that grow never shrink while the process lives. Workers go on while they are read, so
/// sums may be a few connections apart; when nothing happens any more they agree exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When this was read, in seconds of the gateway's own clock, which never goes back.
    pub at_seconds: f64,
    /// What runs.
    pub build: Build,
    /// The config that it runs with.
    pub config: ConfigText,
    /// The process.
    pub process: Process,
    /// What the whole machine shares.
    pub host: Host,
    /// What may be held, and what is.
    pub budget: Budget,
    /// How the end comes on.
    pub drain: Drain,
    /// What became of the access log's lines; `None`: there is none.
    pub access_log: Option<AccessLog>,
    /// By worker.
    pub workers: Vec<Worker>,
    /// In the order of the config.
    pub listeners: Vec<Listener>,
    /// In the order of the config.
    pub upstreams: Vec<Upstream>,
}

/// What runs.
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

/// What the whole machine shares. `None`: the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Open files of everybody, connections among them.
    pub open_files: Option<u64>,
    /// fs.file-max.
    pub max_files: Option<u64>,
}

/// What may be held, and what is.
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

/// What became of the access log's lines.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaving {
    /// It serves.
    No,
    /// It closes connections at a pace.
    Draining,
    /// It ends what is left.
    Ending,
}

/// A worker and its ring. What each number means stands in the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the catalogue says what each is")]
pub struct Worker {
    pub open: u64,
    pub slots: u64,
    pub leaving: Leaving,
    /// Since its last turn began.
    pub silent_seconds: f64,
    pub turns: u64,
    pub timers: u64,
    pub timers_expired: u64,
    pub buffers: u64,
    pub free_buffers: u64,
    pub buffers_starved: u64,
    pub starved_lanes: u64,
    pub chunks_parked: u64,
    pub parked_bytes: u64,
    pub spliced_bytes: u64,
    pub splices_refused: u64,
    pub splicing: u64,
    pub rings: u64,
    pub ring_enters: u64,
    pub submissions: u64,
    pub completions: u64,
    pub queue_overflows: u64,
    pub lost_completions: u64,
    pub unknown_completions: u64,
    pub stale_completions: u64,
    pub receive_retries: u64,
    pub accepts_rearmed: u64,
    pub accepts_pressed: u64,
    pub overshoot: u64,
    pub cancels_repeated: u64,
    pub quieted: u64,
}

/// A listener, over all its addresses and workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name in the config.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Clients accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// An operator lets its clients wait.
    pub paused: bool,
    /// The most that it may hold; `None`: as many as the gateway.
    pub limit: Option<u64>,
    /// Clients refused, by reason.
    pub refused: Counts,
    /// Connections closed, by reason.
    pub closed: Counts,
    /// Bytes delivered to servers, or taken by a builtin.
    pub to_upstream_bytes: u64,
    /// Bytes delivered to clients.
    pub to_client_bytes: u64,
    /// Its accept queues.
    pub accept_queue: AcceptQueue,
    /// From the accept to the join with a server.
    pub join: Durations,
    /// From the accept to the end.
    pub lifetime: Durations,
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

/// An upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name in the config.
    pub name: String,
    /// Its servers; none where the gateway itself answers.
    pub servers: Vec<Server>,
    /// How long connects took that succeeded.
    pub connect: Durations,
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name in the config, or its address.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Attempts to connect to it: once over, each was joined or failed.
    pub attempts: u64,
    /// Clients joined to it.
    pub joined: u64,
    /// Attempts that failed, by reason.
    pub failed: Counts,
    /// Its share of new connections in relation to the others'; 0: it drains.
    pub weight: u64,
    /// Connections to it now, those under way among them.
    pub open: u64,
    /// Bytes delivered to it.
    pub to_upstream_bytes: u64,
    /// Bytes of it delivered to clients.
    pub to_client_bytes: u64,
}

/// How long something took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Upper bounds of the buckets but the last, which has none.
    pub bounds_seconds: Vec<f64>,
    /// How many fell into each bucket.
    pub counts: Vec<u64>,
    /// Their sum.
    pub sum_seconds: f64,
}

impl Durations {
    /// The sum of histograms with the same bounds; nothing at all if there is none.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Durations {
        let mut durations =
            Durations { bounds_seconds: Vec::new(), counts: Vec::new(), sum_seconds: 0.0 };
        let mut sum_micros = 0;
        for histogram in histograms {
            if durations.counts.is_empty() {
                let bounds = histogram.bounds().iter();
                durations.bounds_seconds = bounds.map(|&micros| seconds_of(micros)).collect();
                durations.counts = histogram.counts().collect();
            } else {
                let sums = durations.counts.iter_mut().zip(histogram.counts());
                sums.for_each(|(sum, count)| *sum += count);
            }
            sum_micros += histogram.sum_micros();
        }
        durations.sum_seconds = seconds_of(sum_micros);
        durations
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

fn seconds_of(micros: u64) -> f64 {
    micros as f64 / 1e6
}
