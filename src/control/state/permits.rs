//! Permits to query the workers: one request at a time scans, and one ends connections.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Each worker scans for one request at a time, in the order of their coming, while the kill of
/// another one goes on.
#[derive(Debug)]
pub(in crate::control) struct Permits {
    show: Semaphore,
    kill: Semaphore,
}

impl Permits {
    pub(super) fn new() -> Permits {
        Permits { show: Semaphore::new(1), kill: Semaphore::new(1) }
    }

    /// To show connections.
    pub(in crate::control) async fn show(&self) -> SemaphorePermit<'_> {
        self.show.acquire().await.expect("it is never closed")
    }

    /// To end connections.
    pub(in crate::control) async fn kill(&self) -> SemaphorePermit<'_> {
        self.kill.acquire().await.expect("it is never closed")
    }
}
