//! How much of an errand is one step, and what comes of it.

use crate::base::Millis;

/// Slots visited per step: at two cache misses each, 100 ns or so, that is 0.05 ms. Messages of
/// other connections wait for so long, at each turn.
pub const VISITED_PER_STEP: u32 = 512;
/// Connections that are ended per step at most, so that turns stay short.
pub const ENDED_PER_STEP: u32 = 1024;

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do, at this moment at the latest.
    At(Millis),
    /// There is more to do, when something completes.
    Waits,
    /// The errand is done.
    Over,
}
