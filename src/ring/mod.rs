//! The worker's ring: slots, buffers and queues behind one contract, and the kernel below it.
//!
//! A caller names everything by index: connections, sides, servers, listeners, buffers. No address,
//! length or descriptor passes this interface, which is what makes it safe to call.

pub mod contract;
pub mod kernel;
pub mod token;

pub use contract::{
    AcceptMode, Completion, ConnIndex, Done, FourTuple, ListenerId, Operation, Ring, ServerId,
};
pub use kernel::locked::{lockable_bytes, patient};
pub use kernel::options::{steer_clients, take_no_hops};
pub use kernel::probe::{Features, ProbeError, probe};
pub use kernel::{
    AcceptQueue, KernelRing, PassiveSocket, RingError, RingSetup, ServerSocket, Waker,
};
pub use token::Token;

pub use crate::base::OpKind;
pub use crate::metrics::RingCounters;
