//! The atomics that threads share. `tests/budget` puts a model checker's in their place.

pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
