//! Clients that load a target, check every byte, and say what they measured.

mod common;
mod memory;
mod plan;
mod scenario;
mod secure;
mod table;
mod verdict;

pub(crate) use scenario::Scenario;
