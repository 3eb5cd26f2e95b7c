//! The runtime of the control thread: on io_uring, or on epoll where that is refused.

use std::future::Future;

use tokio::task::LocalSet;

use crate::base::errno_of;
use crate::ring::patient;

/// Runs the control plane's tasks on the thread that it was made on.
pub enum Runtime {
    /// It waits in a ring of its own.
    IoUring(tokio_uring::Runtime),
    /// It waits for its sockets by epoll.
    Epoll(tokio::runtime::Runtime, LocalSet),
}

impl Runtime {
    /// Makes the runtime for the calling thread. It takes a ring or descriptors, so it is made
    /// before a client is served.
    ///
    /// # Errors
    /// When its ring or a descriptor is refused; memory is waited for, a bounded time.
    pub fn new(over_epoll: bool) -> std::io::Result<Runtime> {
        if over_epoll {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return Ok(Runtime::Epoll(runtime, LocalSet::new()));
        }
        let make = || tokio_uring::Runtime::new(&tokio_uring::builder());
        let ring = patient(|| make().map_err(|error| errno_of(&error)))?;
        Ok(Runtime::IoUring(ring))
    }

    /// Runs a future to its end, and the tasks that were spawned meanwhile.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Runtime::IoUring(runtime) => runtime.block_on(future),
            Runtime::Epoll(runtime, tasks) => tasks.block_on(runtime, future),
        }
    }
}
