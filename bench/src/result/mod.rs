//! Lines of results: what a run writes and a report reads.

mod line;
mod model;
mod origin;
mod role;

pub(crate) use model::{About, Better, Figure, Input, Outcome, Run, Series, text};
pub(crate) use origin::{SCHEMA, command, host};
pub(crate) use role::{DIRECT, FLOORS, OURS, Role, role};
