//! The kernel's ring behind the contract, against real sockets.

mod accept;
mod addresses;
mod ahead;
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
mod self_connect;
mod splices;
mod waits;
mod wake;
