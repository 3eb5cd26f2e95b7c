//! What is counted, and how it is shown.
//!
//! `counters` and `histogram` are what a worker writes, `kinds` the words for what can go wrong;
//! `reading` is a picture of all of it, `catalogue` the list of what it shows, `text` the
//! exposition.

mod catalogue;
mod counters;
mod histogram;
mod kinds;
pub mod reading;
mod text;

pub use catalogue::{Family, Kind, Sink, Unit, Value, families};
pub use counters::{
    Counted, Counter, Extent, OfListener, OfServer, OfUpstream, OfWorker, REASONS, WorkerCounters,
};
pub use histogram::{Bounds, Histogram};
pub use kinds::{ConnectFailure, Refusal};
pub use reading::Reading;
pub use text::{Format, openmetrics, plain_text};
