//! The control plane's runtime where io_uring may be used: that of tokio-uring.
//!
//! Its sockets and clocks are tokio's, which waits by epoll for them and for the ring. The control
//! plane puts nothing into that ring, so it is made disabled and stays so: unlike those of workers
//! it does no operation at all, whatever runs in its thread. A control
//! plane that is to use it enables it, and says in the security page what it can do then.

use std::future::Future;
use std::io;

use crate::base::errno_of;
use crate::ring::patient;

/// A runtime with a ring of its own.
pub struct UringRuntime(tokio_uring::Runtime);

impl UringRuntime {
    /// Makes the runtime for the calling thread.
    ///
    /// # Errors
    /// When its ring or a descriptor is refused; memory is waited for, a bounded time.
    pub fn new() -> io::Result<UringRuntime> {
        let mut ring = tokio_uring::uring_builder();
        ring.setup_r_disabled();
        let mut builder = tokio_uring::builder();
        builder.uring_builder(&ring);
        let make = || tokio_uring::Runtime::new(&builder);
        let runtime = patient(|| make().map_err(|error| errno_of(&error)))?;
        Ok(UringRuntime(runtime))
    }

    /// Runs a future to its end, and the tasks that were spawned meanwhile.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A NOP of a ring that is enabled is complete when the thread has parked once.
    #[test]
    fn its_ring_does_nothing() {
        let runtime = UringRuntime::new().expect("a runtime");
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = tokio_uring::no_op() => true,
                () = tokio::time::sleep(Duration::from_millis(50)) => false,
            }
        });
        assert!(!done);
        // Its end would wait for the NOP.
        std::mem::forget(runtime);
    }
}
