//! What is counted, and how it is shown.
//!
//! Each number is declared once, in `catalogue`, in the words of `declare`; from that come what a
//! worker writes (`counters`, `histogram`, with `kinds` for the causes), the `reading` that is a
//! picture of all of it, and the exposition (`text`).

mod catalogue;
mod counters;
mod declare;
mod histogram;
mod kinds;
pub mod reading;
mod text;

use catalogue::Shown;
pub use catalogue::listener::OfListener;
pub use catalogue::server::OfServer;
pub use catalogue::upstream::OfUpstream;
pub use catalogue::worker::{OfWorker, RingCounters};
pub use catalogue::{Family, Kind, Sink, Unit, Value, families};
pub use counters::{By, Counted, Counter, Kept, WorkerCounters};
pub use histogram::{Bounds, Histogram};
pub use kinds::{Cause, ConnectFailure, Refusal};
pub use reading::Reading;
pub use text::{Format, openmetrics, plain_text};
