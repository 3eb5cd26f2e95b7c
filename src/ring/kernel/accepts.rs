//! Clients: accepts into the slots of one kernel ring at a time, gates, and their queues.

use std::os::fd::AsRawFd;

use super::sqe::{self, Tag};
use super::{KernelRing, address};
use crate::base::{Errno, GateId};
use crate::ring::contract::{AcceptMode, Accepts};

impl Accepts for KernelRing {
    fn slots(&self) -> u32 {
        self.tables.connections()
    }

    fn accept_room(&self) -> u32 {
        self.tables.room()
    }

    fn best_accept_room(&self) -> u32 {
        self.tables.best_room()
    }

    /// A queue full of completions, and one client more that each gate's accept took before it
    /// found the queue full and ended. The backlogs are no bound: clients who arrive while a
    /// queue is emptied are accepted by the same call.
    fn accept_burst(&self) -> u32 {
        self.tables[self.tables.target()].queue.completion_entries() + self.gates.len() as u32
    }

    fn retarget_accepts(&mut self) {
        assert!(!self.gates.are_armed(), "accepts are armed");
        self.tables.retarget();
    }

    fn accept(&mut self, gate: GateId, mode: AcceptMode) {
        let armed = &mut self.gates[gate];
        *armed.armed(mode) += 1;
        let entry = sqe::accept(armed.socket.as_raw_fd(), mode);
        self.push(self.tables.target(), entry, sqe::accept_data(gate, mode));
    }

    fn cancel_accepts(&mut self, gate: GateId) {
        for mode in [AcceptMode::Multishot, AcceptMode::Single] {
            if *self.gates[gate].armed(mode) > 0 {
                let entry = sqe::cancel_data(sqe::accept_data(gate, mode));
                self.push(self.tables.target(), entry, Tag::Swallowed.with(0));
            }
        }
    }

    fn accept_queue(&self, gate: GateId) -> Result<u32, Errno> {
        address::accept_queue(&self.gates[gate].socket)
    }

    fn watch_queue(&mut self, gate: GateId) {
        let watched = &mut self.gates[gate];
        watched.watches += 1;
        let entry = sqe::watch_queue(watched.socket.as_raw_fd());
        // On the lead ring, which wakes the thread by itself.
        self.push(0, entry, sqe::watch_data(gate));
    }

    fn add_gate(&mut self, gate: GateId) {
        let socket = self.supplies.gate(gate);
        self.gates.add(gate, socket);
    }

    fn remove_gate(&mut self, gate: GateId) {
        if self.gates.remove(gate) {
            // A general cancel: a poll that is just completing, and might go on, ends too.
            let entry = sqe::cancel_data(sqe::watch_data(gate));
            self.push(0, entry, Tag::Swallowed.with(0));
        }
    }
}
