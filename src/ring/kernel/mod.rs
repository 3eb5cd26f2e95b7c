//! The kernel's rings behind the contract: one worker's set of them.
//!
//! The contract: `accepts`, `buffers`, `operations`, `moves`, `turn`.
//!
//! Owners of state: `tables` has the kernel rings, each a `queue` with its `receives`, in slots as
//! `layout` divides them; `memory` has all that requests name: bytes in `pool`, of which each ring
//! has a `group`, and `parked`, the addresses of `servers`, `numbers` of descriptors; `gates` has
//! the sockets that ids name, `supplier` hands new ones over; `descriptors` lends ordinary
//! descriptors, also to `splices`, which move bulk; `addresses` keeps answers; `self_connect` finds
//! connects that reached ourselves.
//!
//! Operations of several steps: `receive_ahead`, `opens`, `guards`, and those of `descriptors`.
//!
//! The kernel's side: `sqe` makes submission entries, `cqe` reads completion entries; `address` and
//! `options` ask sockets for what the ring cannot; `mapping` is memory, `waker` an eventfd.
//!
//! Begin and end: `setup` does arithmetic, `lifecycle` makes and ends the set, `allowed` lists what
//! its rings can do, `rest` gives memory back, `probe` and `closes` try what this kernel does,
//! `refusal` has the words for what it does not, `locked` waits for memory that processes
//! on their way out still hold.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use io_uring::squeue;

pub use self::address::AcceptQueue;
use self::addresses::Addresses;
use self::descriptors::Descriptors;
use self::gates::Gates;
use self::memory::Memory;
use self::moves::Moving;
use self::self_connect::SelfConnects;
pub use self::setup::{PassiveSocket, RingError, RingSetup, ServerSocket};
use self::sqe::Tag;
pub use self::supplier::Supplier;
use self::supplier::Supplies;
use self::tables::Tables;
pub use self::waker::Waker;
use crate::metrics::RingCounters;
use crate::ring::contract::Done;

mod accepts;
pub(super) mod address;
pub(super) mod addresses;
mod allowed;
mod buffers;
mod closes;
pub(super) mod confined;
mod cqe;
pub(super) mod descriptors;
pub(super) mod gates;
mod group;
mod guards;
mod layout;
pub mod lifecycle;
pub mod locked;
mod mapping;
pub(super) mod memory;
mod moves;
mod numbers;
mod opens;
mod operations;
pub mod options;
mod parked;
mod pool;
pub mod probe;
mod queue;
mod receive_ahead;
mod receives;
mod refusal;
mod rest;
#[cfg(test)]
mod restricted;
pub(super) mod self_connect;
mod servers;
pub(super) mod setup;
pub(super) mod splices;
mod sqe;
pub(super) mod supplier;
mod tables;
#[cfg(test)]
mod tests;
mod turn;
pub(super) mod waker;

/// io-wq threads of each kind that a ring may use, so that ends handed to them (shutdown) never
/// become a thread each.
const IO_WQ_WORKERS: u32 = 4;

/// A worker's kernel rings. Made, used and dropped on the worker's thread.
///
/// It owns parts, each with its own rules, and carries out what a part decides: entries are queued
/// here alone (`KernelRing::push`).
pub struct KernelRing {
    /// Dropped, and so closed, before the memory below is given back: see `Drop`.
    tables: ManuallyDrop<Tables>,
    memory: ManuallyDrop<Memory>,
    gates: Gates,
    supplies: Supplies,
    descriptors: Descriptors,
    self_connects: SelfConnects,
    addresses: Addresses,
    moving: Moving,
    /// Completions of operations that needed no request; the worker has yet to take them.
    ready: VecDeque<Done>,
    waker: Waker,
    counters: RingCounters,
}

impl KernelRing {
    /// A handle that wakes this ring from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// A handle that passes gates and servers to this ring, from any thread, before they are added.
    pub fn supplier(&self) -> Supplier {
        self.supplies.supplier()
    }

    /// Queues an entry, submitting first what fills the queue.
    fn push(&mut self, table: usize, entry: squeue::Entry, user_data: u64) {
        if self.tables[table].queue.is_full() {
            self.memory.restock(table, self.tables[table].receives.submit());
            self.tables[table].queue.submit();
        }
        // SAFETY: `sqe` builds every entry, from slots, the program's constants, and memory of
        // `self.memory`: pool buffers are never unmapped while rings exist, and those of a group
        // are referred to by nobody else (`Pool::held`); parked ones and addresses of servers,
        // which the kernel reads while it takes an entry, neither move nor go before what names
        // them is submitted (`Memory::forget` in `open_turn`); values of options and
        // numbers of descriptors never do, and a number is not touched here before its request has
        // ended (`Numbers::take` in `adopted`); the wake count has one read at a time
        // (`arm_wake`). `Drop` gives that memory back only when no request is left.
        unsafe { self.tables[table].queue.push(entry.user_data(user_data)) };
    }

    /// Keeps a read on the waker's eventfd in flight on the lead ring: exactly one.
    fn arm_wake(&mut self) {
        let entry = sqe::read_event(self.waker.fd(), self.memory.wake_count.get());
        self.push(0, entry, Tag::Wake.with(0));
    }
}
