//! What a gateway needs of the ring that it makes for a worker, whichever it is.

use std::os::fd::OwnedFd;

use super::contract::{Moves, Ring};
use super::epoll::EpollRing;
use super::kernel::{KernelRing, RingError, RingSetup, Supplier, Waker};

/// A ring of this host: of io_uring, or over epoll. Sockets go from each to any other.
pub trait HostRing: Ring + Moves<Socket = OwnedFd> + Sized {
    /// Makes the ring for the calling thread, which alone can use it.
    ///
    /// # Errors
    /// When the setup breaks a rule or the kernel refuses a part.
    fn of(setup: RingSetup) -> Result<Self, RingError>;

    /// A handle that wakes this ring from another thread.
    fn waker_of(&self) -> Waker;

    /// A handle that passes gates and servers to this ring.
    fn supplier_of(&self) -> Supplier;
}

macro_rules! host_ring {
    ($ring:ty) => {
        impl HostRing for $ring {
            fn of(setup: RingSetup) -> Result<Self, RingError> {
                Self::new(setup)
            }

            fn waker_of(&self) -> Waker {
                self.waker()
            }

            fn supplier_of(&self) -> Supplier {
                self.supplier()
            }
        }
    };
}

host_ring!(KernelRing);
host_ring!(EpollRing);
