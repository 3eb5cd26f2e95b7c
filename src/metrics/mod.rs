//! What is counted, and how it is shown.
//!
//! `counters` and `histogram` are what a worker writes, `kinds` the words for what can go wrong.

mod counters;
mod histogram;
mod kinds;

pub use counters::{
    Counter, Extent, OfListener, OfServer, OfUpstream, OfWorker, REASONS, WorkerCounters,
};
pub use histogram::{Bounds, Histogram};
pub use kinds::{ConnectFailure, Refusal};
