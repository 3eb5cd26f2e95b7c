//! This machine: what its kernel says of processes, sockets and memory, and which sysctls it needs.

mod account;
mod charged;
mod footprint;
mod sysctl;

pub(crate) use account::{Snapshot, socket_memory_bytes};
pub(crate) use charged::{V2, memory_cgroup};
pub(crate) use footprint::{Footprint, family, group, runs};
pub(crate) use sysctl::{Applied, Demand, Need, facts, needs, ports};
