//! The kernel's rings behind the contract: one worker's set of them.
//!
//! `queue` is one kernel ring, `pool` and `parked` hold bytes, `gates` and `servers` what ids name,
//! `supplier` brings what is added later, `entries` words requests, `completions` reads answers,
//! `ahead` keeps receives going, `splices` moves bulk, `address` asks for what the ring cannot,
//! `installs` lends both descriptors, `opens` makes sockets in steps, `self_connect` tells a server
//! from an echo of ourselves, `setup` does arithmetic, `life` makes and ends the set, `own` is for
//! programs with bytes of their own, `probe` and `closes` try what this kernel does, `locked` waits
//! for memory that the dead still hold, `options` are passive sockets'.
//!
//! A ring's fixed-file table holds its client slots first, where alone the kernel allocates, and
//! behind them an upstream slot for each: client slot `n` of `N` has upstream slot `N + n`.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::squeue;

pub use self::address::AcceptQueue;
use self::ahead::Receives;
use self::entries::Tag;
use self::gates::Gates;
use self::installs::Installs;
use self::opens::Opening;
use self::parked::Parked;
use self::pool::{Group, Pool};
use self::queue::{Queue, Wait};
use self::self_connect::SelfConnects;
use self::servers::Servers;
pub use self::setup::{PassiveSocket, RingError, RingSetup, ServerSocket};
use self::splices::{PIPE_BIT, Splices};
pub use self::supplier::Supplier;
use self::supplier::Supplies;
pub use self::waker::Waker;
use crate::base::{Buffer, Chunk, ConnIndex, Errno, GateId, OpKind, Operation, ServerId, Side};
use crate::metrics::RingCounters;
use crate::ring::contract::{AcceptMode, Completion, Done, FourTuple, Ring};
use crate::ring::token::Token;

mod address;
mod ahead;
mod closes;
mod completions;
mod entries;
mod gates;
mod installs;
mod life;
pub mod locked;
mod memory;
mod opens;
pub mod options;
mod own;
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

/// All memory that the kernel reads or writes for requests of this ring.
struct Memory {
    pool: Pool,
    groups: Vec<Group>,
    parked: Parked,
    servers: Servers,
    /// Where the read on the waker's eventfd puts a count that nobody needs.
    wake_count: Box<UnsafeCell<u64>>,
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
        // `self.memory`: pool buffers are never unmapped or aliased while rings exist; parked ones
        // and addresses of servers, which the kernel reads while it takes an entry, neither move
        // nor change and outlive the submission of what names them (`Parked::forget` and
        // `Servers::forget` in `open_turn`); the wake count has one read at a time (`arm_wake`).
        // `Drop` gives that memory back only when no request is left.
        unsafe { self.tables[table].queue.push(entry.user_data(user_data)) };
    }

    fn restock(&mut self, table: usize) {
        let receives = self.tables[table].receives.armed();
        let Memory { pool, groups, .. } = &mut *self.memory;
        groups[table].restock(pool, receives);
    }

    /// Keeps a read on the waker's eventfd in flight on the lead ring: exactly one.
    fn arm_wake(&mut self) {
        let entry = entries::read_event(self.waker.fd(), self.memory.wake_count.get());
        self.push(0, entry, Tag::Wake.with(0));
    }

    fn cancel_one(&mut self, table: usize, target: Token) {
        let target_data = target.pack();
        let entry = match target.kind {
            OpKind::WaitReadable | OpKind::WaitWritable | OpKind::WatchHangup => {
                entries::cancel_poll(target_data)
            }
            _ => entries::cancel_request(target_data),
        };
        self.push(table, entry, Tag::CancelStep.with(target_data));
    }

    fn chunk_bytes(&self, chunk: Chunk) -> *const u8 {
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        if id & PARKED_BIT == 0 {
            self.memory.pool.bytes(id, start_bytes, length_bytes)
        } else {
            self.memory.parked.bytes(id & !PARKED_BIT, start_bytes, length_bytes)
        }
    }

    /// Enters the rings that have something to do; the lead waits as `wait` says, if no other has
    /// completions.
    fn enter_all(&mut self, wait: Wait) -> Result<(), Errno> {
        for index in 1..self.tables.len() {
            if self.tables[index].queue.needs_turn() {
                self.restock(index);
                self.tables[index].queue.turn(Wait::No)?;
            }
        }
        // A ring that gets work sets its flag and then writes to the eventfd, whose count the
        // lead's read cannot miss: waiting below loses nothing that comes from here on. What came
        // before may have had its count read already, so there the flags decide.
        let busy = self.is_busy();
        if busy && !self.tables[0].queue.needs_turn() {
            return Ok(());
        }
        self.restock(0);
        self.tables[0].queue.turn(if busy { Wait::No } else { wait })?;
        if busy {
            return Ok(());
        }
        for index in 1..self.tables.len() {
            if self.tables[index].queue.needs_turn() {
                self.restock(index);
                self.tables[index].queue.turn(Wait::No)?;
            }
        }
        Ok(())
    }

    /// Whether the lead ring must not sleep.
    fn is_busy(&mut self) -> bool {
        let mut busy = self.tables[0].queue.has_completions();
        for table in &mut self.tables[1..] {
            busy |= table.queue.has_completions() || table.queue.needs_turn();
        }
        busy
    }

    fn open_turn(&mut self) {
        self.reading = 0;
        let mut lost = 0;
        for table in self.tables.iter_mut() {
            self.counters.completions += u64::from(table.queue.open_turn());
            if table.queue.has_overflowed() {
                self.counters.queue_overflows += 1;
            }
            lost += u64::from(table.queue.dropped());
            let (enters, submissions) = table.queue.take_enters();
            self.counters.ring_enters += enters;
            self.counters.submissions += submissions;
        }
        self.counters.lost_completions = lost;
        if self.tables.iter_mut().all(|table| table.queue.is_submitted()) {
            self.memory.parked.forget();
            self.memory.servers.forget();
        }
    }
}

impl Ring for KernelRing {
    fn slots(&self) -> u32 {
        self.connections
    }

    fn accept_room(&self) -> u32 {
        self.tables[self.target].free_clients
    }

    fn best_accept_room(&self) -> u32 {
        self.tables.iter().map(|table| table.free_clients).max().unwrap_or(0)
    }

    /// A queue full of completions, and one client more that each gate's accept took before it
    /// found the queue full and ended. The backlogs are no bound: clients who arrive while a
    /// queue is emptied are accepted by the same call.
    fn accept_burst(&self) -> u32 {
        self.tables[self.target].queue.completion_entries() + self.gates.len() as u32
    }

    fn retarget_accepts(&mut self) {
        assert!(!self.gates.are_armed(), "accepts are armed");
        // The first of equals: what happens on the lead ring wakes the thread by itself, and
        // nothing has to be read from an eventfd.
        let most =
            (0..self.tables.len()).min_by_key(|index| Reverse(self.tables[*index].free_clients));
        self.target = most.expect("at least one ring");
    }

    fn accept(&mut self, gate: GateId, mode: AcceptMode) {
        let armed = &mut self.gates[gate];
        *armed.armed(mode) += 1;
        let entry = entries::accept(armed.socket.as_raw_fd(), mode);
        self.push(self.target, entry, entries::accept_data(gate, mode));
    }

    fn cancel_accepts(&mut self, gate: GateId) {
        for mode in [AcceptMode::Multishot, AcceptMode::Single] {
            if *self.gates[gate].armed(mode) > 0 {
                let entry = entries::cancel_data(entries::accept_data(gate, mode));
                self.push(self.target, entry, Tag::Swallowed.with(0));
            }
        }
    }

    fn accept_queue(&self, gate: GateId) -> Result<u32, Errno> {
        address::accept_queue(&self.gates[gate].socket)
    }

    fn watch_queue(&mut self, gate: GateId) {
        let watched = &mut self.gates[gate];
        watched.watches += 1;
        let entry = entries::watch_queue(watched.socket.as_raw_fd());
        // On the lead ring, which wakes the thread by itself.
        self.push(0, entry, entries::watch_data(gate));
    }

    fn add_gate(&mut self, gate: GateId) {
        let socket = self.supplies.gate(gate);
        self.gates.add(gate, socket);
    }

    fn remove_gate(&mut self, gate: GateId) {
        if self.gates.remove(gate) {
            // A general cancel: a poll that is just completing, and might go on, ends too.
            let entry = entries::cancel_data(entries::watch_data(gate));
            self.push(0, entry, Tag::Swallowed.with(0));
        }
    }

    fn add_server(&mut self, server: ServerId) {
        let socket = self.supplies.server(server);
        self.memory.servers.add(server, &socket);
        self.self_connects.add(server, &socket);
    }

    fn remove_server(&mut self, server: ServerId) {
        self.memory.servers.remove(server);
        self.self_connects.remove(server);
    }

    fn start(&mut self, token: Token, operation: Operation) {
        let (table, local) = self.locate(token.conn);
        let slot = self.slot(table, local, token.side);
        debug_assert_eq!(token.kind, operation.kind());
        let user_data = token.pack();
        let entry = match operation {
            Operation::Open(server) => return self.start_open(table, slot, token, server),
            Operation::Addresses => return self.start_name(token),
            Operation::Send(chunk) if chunk.buffer.0 & PIPE_BIT != 0 => {
                return self.splices.send(token, chunk);
            }
            Operation::Connect(server) => {
                self.self_connects.begun(token, server);
                entries::connect(slot, &self.memory.servers.get(server).address)
            }
            Operation::WaitReadable | Operation::Splice => {
                return self.start_after_receives(table, slot, token);
            }
            Operation::Receive => return self.start_receive(table, slot, token),
            Operation::Send(chunk) => {
                entries::send(slot, self.chunk_bytes(chunk), chunk.length_bytes)
            }
            Operation::WaitWritable => {
                self.hold_receives(token);
                entries::wait_writable(slot)
            }
            Operation::Shutdown => return self.start_shutdown(token),
            Operation::WatchHangup => entries::watch_hangup(slot),
            Operation::Reset => entries::reset(slot),
            Operation::Unacknowledged => entries::unacknowledged(slot),
            Operation::Cancel(kinds) => {
                self.tables[table].receives.cancel(slot);
                for kind in kinds.kinds() {
                    self.cancel_one(table, Token { kind, ..token });
                }
                entries::nothing()
            }
            Operation::Close => {
                if !self.addresses.is_empty() {
                    let other = |one: Token| (one.conn, one.side) != (token.conn, token.side);
                    self.addresses.retain(|(one, _)| other(*one));
                }
                self.splices.close(token.conn, token.side);
                self.ask_waiting();
                return self.start_after_receives(table, slot, token);
            }
        };
        self.push(table, entry, user_data);
    }

    fn end_splices(&mut self, conn: ConnIndex) {
        self.splices.end(conn);
        self.ask_waiting();
    }

    fn release(&mut self, buffer: Buffer) {
        if buffer.0 & PIPE_BIT != 0 {
            self.splices.release(buffer);
        } else if buffer.0 & PARKED_BIT == 0 {
            self.memory.pool.release(buffer.0);
        } else {
            self.memory.parked.release(buffer.0 & !PARKED_BIT);
        }
    }

    fn free_buffers(&self) -> u32 {
        self.memory.pool.free()
    }

    fn returned_buffers(&mut self) -> u32 {
        self.memory.pool.take_returned()
    }

    fn pool_buffers(&self) -> u32 {
        self.memory.pool.count()
    }

    fn trim(&mut self) {
        self.rest_groups();
        self.memory.pool.trim();
        self.self_connects.age();
    }

    fn counters(&self) -> RingCounters {
        RingCounters {
            parked_bytes: self.memory.parked.held_bytes() as u64,
            splicing: self.splices.connections().into(),
            spliced_bytes: self.splices.moved_bytes(),
            ..self.counters
        }
    }

    fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        let Chunk { buffer: Buffer(id), start_bytes, length_bytes } = chunk;
        if id & (PARKED_BIT | PIPE_BIT) != 0 {
            return Some(chunk);
        }
        let Memory { pool, parked, .. } = &mut *self.memory;
        let mut copy = parked.reserve(length_bytes as usize)?;
        pool.copy_out(id, start_bytes, length_bytes, &mut copy);
        pool.release(id);
        self.counters.chunks_parked += 1;
        let buffer = Buffer(parked.keep(copy) | PARKED_BIT);
        Some(Chunk { buffer, start_bytes: 0, length_bytes })
    }

    fn addresses(&mut self, token: Token) -> Option<FourTuple> {
        let place = self.addresses.iter().position(|(one, _)| *one == token)?;
        self.addresses.remove(place).map(|(_, found)| found)
    }

    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        let wait = match wait {
            _ if self.splices.is_busy() || !self.told.is_empty() => Wait::No,
            _ if self.gates.has_gone() => Wait::No,
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::No,
            Some(limit) => Wait::AtMost(limit),
        };
        self.enter_all(wait)?;
        self.open_turn();
        self.splices.open_turn();
        rest::require_all(self.counters.lost_completions)
    }

    fn is_behind(&mut self) -> bool {
        self.tables.iter_mut().any(|table| table.queue.is_behind())
    }

    fn next(&mut self) -> Option<Completion> {
        while self.reading < self.tables.len() {
            let Some(completion) = self.tables[self.reading].queue.next() else {
                self.reading += 1;
                continue;
            };
            if let Some(completion) = self.translate(self.reading, &completion) {
                return Some(completion);
            }
        }
        if let Some(done) = self.told.pop_front() {
            return Some(Completion::Done(done));
        }
        if let Some(removed) = self.gates.next_gone() {
            return Some(removed);
        }
        let room = self.descriptors_for_splices();
        self.splices.next(room).map(Completion::Done)
    }
}
