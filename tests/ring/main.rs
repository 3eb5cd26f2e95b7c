//! The kernel's ring behind the contract, against real sockets.

mod accept;
mod addresses;
mod buffers;
mod data;
mod endings;
mod harness;
mod own;
mod pressure;
mod wake;
