//! The runtime of the control thread: tokio's, alone or with a ring of io_uring beside it.

use std::future::Future;

use tokio::task::LocalSet;

#[cfg(feature = "control-uring")]
use super::uring::UringRuntime;

/// Runs the control plane's tasks on the thread that it was made on.
pub enum Runtime {
    /// It has a ring.
    #[cfg(feature = "control-uring")]
    IoUring(UringRuntime),
    /// It has none.
    Epoll(tokio::runtime::Runtime, LocalSet),
}

impl Runtime {
    /// Makes the runtime for the calling thread: with a ring where the program is built so, and
    /// not `over_epoll`. It takes a ring or descriptors, so it is made before a client is served.
    ///
    /// # Errors
    /// When its ring or a descriptor is refused.
    pub fn new(over_epoll: bool) -> std::io::Result<Runtime> {
        #[cfg(feature = "control-uring")]
        if !over_epoll {
            return Ok(Runtime::IoUring(UringRuntime::new()?));
        }
        let _without_ring = over_epoll;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Runtime::Epoll(runtime, LocalSet::new()))
    }

    /// Runs a future to its end, and the tasks that were spawned meanwhile.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            #[cfg(feature = "control-uring")]
            Runtime::IoUring(runtime) => runtime.block_on(future),
            Runtime::Epoll(runtime, tasks) => tasks.block_on(runtime, future),
        }
    }
}
