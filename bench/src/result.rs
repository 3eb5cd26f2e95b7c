//! The parts that every line of results has.

/// The version of the result's shape.
pub(crate) const SCHEMA: u32 = 2;
