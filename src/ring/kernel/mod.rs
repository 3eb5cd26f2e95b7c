//! The kernel's rings behind the contract: one worker's set of them.
//!
//! `accepts`, `buffers`, `operations` and `turn` are the contract. `queue` is one kernel ring,
//! `memory` is all that requests name: `pool` and `parked` hold bytes, `servers` addresses. `gates`
//! are what ids name, `supplier` brings what is added later, `entries` words requests,
//! `completions` reads answers,
//! `ahead` keeps receives going, `splices` moves bulk, `address` asks for what the ring cannot,
//! `installs` lends both descriptors, `opens` makes sockets in steps, `self_connect` tells a server
//! from an echo of ourselves, `setup` does arithmetic, `life` makes and ends the set, `probe` and
//! `closes` try what this kernel does, `locked` waits for memory that the dead still hold,
//! `options` are passive sockets'.
//!
//! A ring's fixed-file table holds its client slots first, where alone the kernel allocates, and
//! behind them an upstream slot for each: client slot `n` of `N` has upstream slot `N + n`.
#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::mem::ManuallyDrop;

use io_uring::squeue;

pub use self::address::AcceptQueue;
use self::ahead::Receives;
use self::entries::Tag;
use self::gates::Gates;
use self::installs::Installs;
use self::memory::Memory;
use self::opens::Opening;
use self::queue::Queue;
use self::self_connect::SelfConnects;
pub use self::setup::{PassiveSocket, RingError, RingSetup, ServerSocket};
use self::splices::Splices;
pub use self::supplier::Supplier;
use self::supplier::Supplies;
pub use self::waker::Waker;
use crate::base::{ConnIndex, Side};
use crate::metrics::RingCounters;
use crate::ring::contract::{Done, FourTuple};
use crate::ring::token::Token;

mod accepts;
mod address;
mod ahead;
mod buffers;
mod closes;
mod completions;
mod entries;
mod gates;
mod installs;
mod life;
pub mod locked;
mod mapping;
mod memory;
mod opens;
mod operations;
pub mod options;
mod parked;
mod pool;
pub mod probe;
mod queue;
mod rest;
mod self_connect;
mod servers;
mod setup;
mod splices;
mod supplier;
#[cfg(test)]
mod tests;
mod turn;
mod waker;

/// The bit of a [`Buffer`] that tells a parked remainder from a pool buffer.
const PARKED_BIT: u32 = 1 << 31;

/// io-wq threads of each kind that a ring may use, so that ends handed to them (shutdown) never
/// become a thread each.
const IO_WQ_WORKERS: u32 = 4;

/// A worker's kernel rings. Made, used and dropped on the worker's thread.
pub struct KernelRing {
    /// Dropped, and so closed, before the memory below is given back: see `Drop`.
    tables: ManuallyDrop<Vec<Table>>,
    memory: ManuallyDrop<Memory>,
    gates: Gates,
    supplies: Supplies,
    connections: u32,
    clients_per_ring: u32,
    /// The table that accepts land in.
    target: usize,
    /// The table whose completions are being read.
    reading: usize,
    splices: Splices,
    installs: Installs,
    self_connects: SelfConnects,
    addresses: VecDeque<(Token, FourTuple)>,
    /// What one receive takes at most; `None` where each is a request of its own.
    receive_bytes: Option<u32>,
    /// Completions that wait for the worker here: of what needed no request.
    told: VecDeque<Done>,
    /// Polls for writability that are being ended because they woke, with what they said.
    woken: HashMap<u64, u32>,
    waker: Waker,
    counters: RingCounters,
}

/// One kernel ring with its slots.
struct Table {
    queue: Queue,
    clients: u32,
    free_clients: u32,
    receives: Receives,
    /// Opens in flight, oldest first.
    opens: VecDeque<Opening>,
}

impl KernelRing {
    /// What wakes this ring from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What hands gates and servers over to this ring, from any thread, before they are added.
    pub fn supplier(&self) -> Supplier {
        self.supplies.supplier()
    }

    fn locate(&self, conn: ConnIndex) -> (usize, u32) {
        assert!(conn.0 < self.connections, "{conn:?} of {} connections", self.connections);
        ((conn.0 / self.clients_per_ring) as usize, conn.0 % self.clients_per_ring)
    }

    fn slot(&self, table: usize, local: u32, side: Side) -> u32 {
        match side {
            Side::Client => local,
            Side::Upstream => self.tables[table].clients + local,
        }
    }

    /// Queues an entry, submitting first what fills the queue.
    fn push(&mut self, table: usize, entry: squeue::Entry, user_data: u64) {
        if self.tables[table].queue.is_full() {
            self.restock(table);
            self.tables[table].queue.submit();
        }
        // SAFETY: `entries` builds every entry, from slots, the program's constants, and memory of
        // `self.memory`: pool buffers are never unmapped while rings exist, and those of a group
        // are referred to by nobody else (`Pool::held`); parked ones and addresses of servers,
        // which the kernel reads while it takes an entry, neither move nor go before what names
        // them is submitted (`Memory::forget` in `open_turn`); the wake count has one read at a
        // time (`arm_wake`). `Drop` gives that memory back only when no request is left.
        unsafe { self.tables[table].queue.push(entry.user_data(user_data)) };
    }

    fn restock(&mut self, table: usize) {
        let receives = self.tables[table].receives.armed();
        self.memory.restock(table, receives);
    }

    /// Keeps a read on the waker's eventfd in flight on the lead ring: exactly one.
    fn arm_wake(&mut self) {
        let entry = entries::read_event(self.waker.fd(), self.memory.wake_count.get());
        self.push(0, entry, Tag::Wake.with(0));
    }
}
