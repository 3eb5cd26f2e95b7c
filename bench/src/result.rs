//! What is the same in every line of results.

/// The version of the result's shape.
pub(crate) const SCHEMA: u32 = 2;
