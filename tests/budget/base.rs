//! Stands in for the crate's `base` in the modelled budget.

pub(crate) use portcullis::base::Millis;

pub(crate) mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
}
