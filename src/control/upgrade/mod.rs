//! An upgrade: everything goes to a successor process, established connections with it.
//!
//! - `channel` — the line between the two control planes
//! - `things` — what is handed over beside connections
//! - `tickets` — keys by which clients resume their sessions
//! - `legacy` — what a predecessor has counted, and how servers stand
//! - `foster` — the process of a successor, and the one between it and its predecessor
//! - `plan` — how it is to go, and why it fails
//! - `predecessor` — the side that hands over: the steps, and what takes everything back
//! - `outcome` — the answer to the asker
//! - `successor` — the side that takes over

mod channel;
mod foster;
mod legacy;
mod outcome;
mod plan;
mod predecessor;
mod successor;
mod things;
mod tickets;

pub use channel::{Broken, Channel};
pub use foster::{FOSTER, foster};
pub(super) use outcome::carried_out;
pub use successor::Succession;
