//! Values of flags, with one grammar for every command.

mod address;
mod amount;
mod beside;

pub(crate) use address::{Targets, parse_address, parse_targets};
pub(crate) use amount::{
    connections, count, count_to, count_u32, duration, seconds, size_to, size_u32, span, threads,
    whole_seconds,
};
pub(crate) use beside::{Beside, beside};
