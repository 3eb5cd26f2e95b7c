//! Room for connections at the servers of an upstream, which clients of several workers wait for.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many clients wait for room, over all workers, and what became free for them.
#[derive(Debug, Default)]
pub struct Room {
    waiting: AtomicU32,
    /// Ends of connections that no worker has tried to use yet.
    freed: AtomicU32,
}

impl Room {
    /// A client begins to wait.
    pub fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// A client waits no longer.
    ///
    /// # Panics
    /// When none waited.
    pub fn waited(&self) {
        let before = self.waiting.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a client waits no longer that did not wait");
    }

    /// Clients that wait now.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A connection has ended, and none of its own worker's clients waits. Says whether another
    /// worker's does.
    pub fn free(&self) -> bool {
        let awaited = self.waiting() > 0;
        if awaited {
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
        awaited
    }

    /// Takes up to `wanted` of what became free.
    pub fn take(&self, wanted: u32) -> u32 {
        if wanted == 0 || self.freed.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let less = |freed: u32| Some(freed.saturating_sub(wanted));
        let before = self.freed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        before.map_or(0, |freed| freed.min(wanted))
    }
}
