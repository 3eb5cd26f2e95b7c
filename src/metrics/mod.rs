//! Counters and metrics: one declaration for each number.
//!
//! Each number is declared once, in `catalogue`, in the form of `declare`. From that come the
//! storage that a worker writes (`counters`, of `counter` and `histogram`, with `kinds` for the
//! causes), the reading (all counters at one moment, with the values in `told` from other places),
//! and the exposition (`text`).

mod catalogue;
mod counter;
mod counters;
mod declare;
mod histogram;
mod kinds;
mod text;
mod told;

use catalogue::Shown;
pub use catalogue::listener::ListenerCounters;
pub use catalogue::server::ServerCounters;
pub use catalogue::upstream::UpstreamCounters;
pub use catalogue::worker::{RingCounters, WorkerOwnCounters};
pub use catalogue::{Family, Kind, Reading, Sink, Unit, Value, families};
pub use counter::{By, Counted, Counter};
pub use counters::{Former, Kept, Removed, WorkerCounters};
pub use histogram::{Bounds, Histogram};
pub use kinds::{Cause, ConnectFailure, Refusal};
pub use text::{Format, openmetrics, plain_text};

/// One consistent picture of a gateway, as plain data: the status document, and what the
/// exposition is made of.
pub mod reading {
    pub use super::catalogue::Reading;
    pub use super::catalogue::listener::Listener;
    pub use super::catalogue::server::Server;
    pub use super::catalogue::upstream::Upstream;
    pub use super::catalogue::worker::Worker;
    pub use super::counter::Counts;
    pub use super::histogram::Durations;
    pub use super::told::{
        AcceptQueue, AccessLog, Budget, Build, Certificate, CheckResults, ConfigText, Drain,
        DrainProgress, Event, Failing, Host, Identity, Io, LastReload, Leaving, Process,
        RefusedSource, SCHEMA, SearchState, Severity, Sources, Trouble, UpgradeProgress,
    };
}
