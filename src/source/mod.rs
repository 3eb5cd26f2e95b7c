//! Who a client is to the limits per source, and how much of them each source has used.
//!
//! Workers share [`Counts`] and [`Rates`] as they share the budget: without a lock, without an
//! allocation for a source, in memory that is bounded from the start. What one worker alone writes
//! is [`Busiest`]; [`Networks`] never changes once it is made.

mod buckets;
mod busiest;
mod counts;
mod key;
mod networks;
mod rates;
mod tables;
#[cfg(test)]
mod tests;

pub use busiest::{Busiest, Refusals};
pub use counts::{Counts, Entering, Word};
pub use key::{Key, Prefixes, Secret};
pub use networks::Networks;
pub use rates::{Admission, Rate, Rates};
pub use tables::{Answer, Limits, Tables};
