//! A limit at which idle connections make way for clients.

use std::sync::Arc;
use std::time::Duration;

use crate::base::ListenerId;
use crate::budget::Budget;

/// A limit of listeners that evict: the gateway's, or one of theirs.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The bound, and the evictions at it.
    pub bound: Arc<Budget>,
    /// Whose connections make way; `None`: those of every listener that evicts.
    pub of: Option<ListenerId>,
    /// For how long any of them has been idle, at the least.
    pub idle_after: Duration,
}
