//! The worker's ring: slots, buffers and queues behind one contract, and the kernel below it.
//!
//! A caller names everything by index: connections, sides, servers, gates, buffers. No address,
//! length or descriptor passes this interface, which is what makes it safe to call. A [`Supplier`]
//! hands over, beside it, what a ring is to take in while it runs.

pub mod contract;
mod epoll;
mod heap;
mod host;
pub mod kernel;
pub mod layer;
pub mod token;

pub use contract::{
    AcceptMode, Accepts, Buffers, Completion, Done, FourTuple, Moves, Operations, Ring,
};
pub use epoll::EpollRing;
pub use heap::give_back_heap;
pub use host::HostRing;
pub use kernel::confined::confine_thread;
pub use kernel::lifecycle::require_batches;
pub use kernel::locked::{lockable_bytes, patient};
use kernel::options::take_any_port;
pub use kernel::options::{spread_clients, steer_clients, take_no_hops};
pub use kernel::probe::{Features, HostSays, ProbeError, probe};
pub use kernel::{
    AcceptQueue, KernelRing, PassiveSocket, RingError, RingSetup, ServerSocket, Supplier, Waker,
};
pub use layer::Layer;
pub use token::Token;

pub use crate::base::{ConnIndex, GateId, OpKind, Operation, ServerId};
pub use crate::metrics::RingCounters;
