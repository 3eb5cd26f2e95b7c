//! An upgrade: everything goes to a successor process, established connections with it.
//!
//! - `channel` — the line between the two control planes
//! - `things` — what is handed over beside connections
//! - `tickets` — keys by which clients resume their sessions
//! - `legacy` — what a predecessor has counted, and how servers stand
//! - `plan` — how it is to go, and why it fails
//! - `predecessor` — the side that hands over: the steps, and what takes everything back
//! - `outcome` — the answer to the asker
//! - `successor` — the side that takes over

mod channel;
mod legacy;
mod outcome;
mod plan;
mod predecessor;
mod successor;
mod things;
mod tickets;

pub use channel::{Broken, Channel};
pub(super) use outcome::carried_out;
pub use successor::Succession;
