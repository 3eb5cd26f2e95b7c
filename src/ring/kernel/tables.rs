//! The kernel rings of a set, each with its slots: room for clients, and a turn of all of them.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};

use io_uring::cqueue;

use super::layout::{Layout, Place};
use super::memory::Memory;
use super::opens::Opening;
use super::queue::{Queue, Wait};
use super::receives::Receives;
use crate::base::{ConnIndex, Errno, Side};
use crate::metrics::RingCounters;

/// Tables by index; the first is the lead, on which alone the thread waits.
///
/// The room of a table is its client slots less those that the worker has heard of and whose close
/// it has not, and less one for each client that it is just adopting: [`Tables::client_came`],
/// [`Tables::client_comes`] and [`Tables::client_left`] alone change it. A turn's completions are
/// read table after table, each to its end.
pub(super) struct Tables {
    layout: Layout,
    all: Vec<Table>,
    /// The table that accepts land in.
    target: usize,
    /// The table whose completions are being read.
    reading: usize,
}

/// One kernel ring with its slots.
pub(super) struct Table {
    pub(super) queue: Queue,
    free_clients: u32,
    pub(super) receives: Receives,
    /// Opens in flight, oldest first.
    pub(super) opens: VecDeque<Opening>,
    /// Polls for writability that are being ended because they woke, with what they said.
    pub(super) woken: HashMap<u64, u32>,
}

impl Tables {
    /// None yet.
    pub(super) fn new(layout: Layout) -> Tables {
        Tables { layout, all: Vec::new(), target: 0, reading: 0 }
    }

    /// Adds the next one.
    pub(super) fn add(&mut self, queue: Queue, receives: Receives) {
        let free_clients = self.layout.clients(self.all.len());
        let (opens, woken) = (VecDeque::new(), HashMap::new());
        self.all.push(Table { queue, free_clients, receives, opens, woken });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Table> {
        self.all.iter_mut()
    }

    /// Connections that there are slots for.
    pub(super) fn connections(&self) -> u32 {
        self.layout.connections()
    }

    /// The slot of one side of a connection.
    ///
    /// # Panics
    /// When there is no such connection.
    pub(super) fn place(&self, conn: ConnIndex, side: Side) -> Place {
        self.layout.place(conn, side)
    }

    /// The table that accepts land in.
    pub(super) fn target(&self) -> usize {
        self.target
    }

    /// Points accepts to the table with the most room. No accept may be armed.
    pub(super) fn retarget(&mut self) {
        // The first of equals: what happens on the lead ring wakes the thread by itself, and
        // nothing has to be read from an eventfd.
        let most = (0..self.all.len()).min_by_key(|index| Reverse(self.all[*index].free_clients));
        self.target = most.expect("at least one ring");
    }

    /// Room of the table that accepts land in.
    pub(super) fn room(&self) -> u32 {
        self.all[self.target].free_clients
    }

    /// Room of the table that has most.
    pub(super) fn best_room(&self) -> u32 {
        self.all.iter().map(|table| table.free_clients).max().unwrap_or(0)
    }

    /// The connection whose client is in a slot.
    ///
    /// # Panics
    /// When it is not a client's slot.
    pub(super) fn conn(&self, table: usize, slot: u32) -> ConnIndex {
        self.layout.conn(table, slot)
    }

    /// A client slot is filled.
    ///
    /// # Panics
    /// When it is not a client's slot.
    pub(super) fn client_came(&mut self, table: usize, slot: u32) -> ConnIndex {
        self.client_comes(table);
        self.conn(table, slot)
    }

    /// A client slot will be filled, whichever it is.
    pub(super) fn client_comes(&mut self, table: usize) {
        self.all[table].free_clients -= 1;
    }

    /// A client slot is empty again.
    pub(super) fn client_left(&mut self, table: usize) {
        self.all[table].free_clients += 1;
    }

    /// Enters the rings that have something to do; the lead waits as `wait` says, if no other has
    /// completions.
    pub(super) fn enter(&mut self, memory: &mut Memory, wait: Wait) -> Result<(), Errno> {
        self.enter_others(memory)?;
        // A ring that gets work sets its flag and then writes to the eventfd, whose count the
        // lead's read cannot miss: waiting below loses nothing that comes from here on. What came
        // before may have had its count read already, so there the flags decide.
        let busy = self.is_busy();
        if busy && !self.all[0].queue.needs_turn() {
            return Ok(());
        }
        memory.restock(0, self.all[0].receives.submit());
        self.all[0].queue.turn(if busy { Wait::No } else { wait })?;
        if busy {
            return Ok(());
        }
        self.enter_others(memory)
    }

    fn enter_others(&mut self, memory: &mut Memory) -> Result<(), Errno> {
        for (index, table) in self.all.iter_mut().enumerate().skip(1) {
            if table.queue.needs_turn() {
                memory.restock(index, table.receives.submit());
                table.queue.turn(Wait::No)?;
            }
        }
        Ok(())
    }

    /// Whether the lead ring must not sleep.
    pub(super) fn is_busy(&mut self) -> bool {
        let mut busy = self.all[0].queue.has_completions();
        for table in &mut self.all[1..] {
            busy |= table.queue.has_completions() || table.queue.needs_turn();
        }
        busy
    }

    /// Makes the completions that are there now this turn's.
    pub(super) fn open_turn(&mut self, counters: &mut RingCounters) {
        self.reading = 0;
        let mut lost = 0;
        for table in &mut self.all {
            counters.completions += u64::from(table.queue.open_turn());
            if table.queue.has_overflowed() {
                counters.queue_overflows += 1;
            }
            lost += u64::from(table.queue.dropped());
            let (enters, submissions) = table.queue.take_enters();
            counters.ring_enters += enters;
            counters.submissions += submissions;
        }
        counters.lost_completions = lost;
    }

    /// Whether no entry waits to be submitted.
    pub(super) fn are_submitted(&mut self) -> bool {
        self.all.iter_mut().all(|table| table.queue.is_submitted())
    }

    /// Whether more had arrived than this turn brings.
    pub(super) fn are_behind(&mut self) -> bool {
        self.all.iter_mut().any(|table| table.queue.is_behind())
    }

    /// The next completion of this turn, and its table.
    pub(super) fn next(&mut self) -> Option<(usize, cqueue::Entry)> {
        while let Some(table) = self.all.get_mut(self.reading) {
            if let Some(completion) = table.queue.next() {
                return Some((self.reading, completion));
            }
            self.reading += 1;
        }
        None
    }
}

impl Table {
    /// Client slots that nobody has, and nobody was given.
    pub(super) fn free_clients(&self) -> u32 {
        self.free_clients
    }
}

impl Index<usize> for Tables {
    type Output = Table;

    fn index(&self, table: usize) -> &Table {
        &self.all[table]
    }
}

impl IndexMut<usize> for Tables {
    fn index_mut(&mut self, table: usize) -> &mut Table {
        &mut self.all[table]
    }
}
