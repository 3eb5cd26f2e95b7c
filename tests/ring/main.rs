//! The kernel's ring behind the contract, against real sockets.

use portcullis::ring::KernelRing as TestRing;

/// The same tests run over epoll, but for those of what the kernel's ring alone has.
const IS_EPOLL: bool = false;

mod accept;
mod addresses;
mod ahead;
mod batches;
mod buffers;
mod bytes;
mod data;
mod descriptors;
mod endings;
mod gates;
mod guards;
mod harness;
mod layer;
mod moves;
mod pressure;
mod received_ahead;
mod self_connect;
mod splices;
mod tables;
mod waits;
mod wake;
