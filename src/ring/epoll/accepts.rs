//! Clients: accepts into any free slot, gates, and their queues.

use std::os::fd::OwnedFd;

use rustix::net::{SocketFlags, accept_with};

use super::EpollRing;
use super::slots::Slot;
use crate::base::{Errno, GateId, Side};
use crate::ring::contract::{AcceptMode, Accepts, Completion};

/// Clients that one turn takes at most, beside one for each gate.
const BURST: u32 = 128;

impl Accepts for EpollRing {
    fn slots(&self) -> u32 {
        self.slots.connections()
    }

    fn accept_room(&self) -> u32 {
        self.slots.room()
    }

    fn best_accept_room(&self) -> u32 {
        self.slots.room()
    }

    fn accept_burst(&self) -> u32 {
        BURST + self.doors.gates.len() as u32
    }

    fn retarget_accepts(&mut self) {
        assert!(!self.doors.gates.are_armed(), "accepts are armed");
    }

    fn accept(&mut self, gate: GateId, mode: AcceptMode) {
        self.counters.submissions += 1;
        *self.doors.gates[gate].armed(mode) += 1;
    }

    fn cancel_accepts(&mut self, gate: GateId) {
        for mode in [AcceptMode::Multishot, AcceptMode::Single] {
            for _ in 0..std::mem::take(self.doors.gates[gate].armed(mode)) {
                let ended = Completion::AcceptEnded { gate, error: Errno::ECANCELED };
                self.later.push_back(ended);
            }
        }
    }

    fn accept_queue(&self, gate: GateId) -> Result<u32, Errno> {
        self.doors.queue(gate)
    }

    fn watch_queue(&mut self, gate: GateId) {
        let ready = self.doors.watch(gate);
        self.later.extend(ready);
    }

    fn add_gate(&mut self, gate: GateId) {
        let socket = self.supplies.gate(gate);
        if let Err(errno) = self.doors.add(gate, socket, &self.poller) {
            tracing::error!(
                %errno,
                "a listener cannot be watched, and its clients wait: raise \
                 fs.epoll.max_user_watches, and reload"
            );
        }
    }

    fn remove_gate(&mut self, gate: GateId) {
        self.doors.remove(gate, &self.poller);
        let is_of_others = |one: &Completion| *one != Completion::QueueReady { gate };
        self.later.retain(is_of_others);
        self.now.retain(is_of_others);
    }
}

impl EpollRing {
    /// Somebody has come to a gate.
    pub(super) fn visited(&mut self, gate: GateId) {
        let Some(present) = self.doors.visit(gate) else { return };
        if present.watches > 0 {
            let ready = self.doors.gates.watch_ended(gate);
            self.later.extend(ready);
        }
    }

    /// Takes clients for the accepts that are armed.
    pub(super) fn accept_clients(&mut self) {
        let mut left = self.accept_burst();
        for gate in self.doors.due() {
            if let Err(errno) = self.doors.prepare(gate) {
                tracing::error!(%errno, "a listener cannot be asked without a wait");
                continue;
            }
            let mut at_once = 0;
            while left > 0
                && let Some(mode) = self.doors.armed(gate)
            {
                if at_once == 0 {
                    at_once = self.doors.at_once(gate);
                }
                if at_once == 0 {
                    self.doors.has_nobody(gate);
                    break;
                }
                if !self.accept_client(gate, mode) {
                    break;
                }
                (at_once, left) = (at_once - 1, left - 1);
            }
        }
    }

    /// Takes a client, or ends the accept in its place. False: another process took the client.
    fn accept_client(&mut self, gate: GateId, mode: AcceptMode) -> bool {
        let accepted =
            if self.slots.room() > 0 { self.accept_socket(gate) } else { Err(Errno::ENFILE) };
        let more = accepted.is_ok() && mode == AcceptMode::Multishot;
        if accepted == Err(Errno::EAGAIN) {
            self.doors.has_nobody(gate);
            return false;
        }
        if !more {
            *self.doors.gates[gate].armed(mode) -= 1;
        }
        self.later.push_back(match accepted {
            Ok(conn) => Completion::Accepted { gate, conn, more },
            Err(error) => Completion::AcceptEnded { gate, error },
        });
        true
    }

    fn accept_socket(&mut self, gate: GateId) -> Result<crate::base::ConnIndex, Errno> {
        let socket: OwnedFd = loop {
            if let Some(socket) = self.doors.take_unwatched(gate) {
                break socket;
            }
            match accept_with(&self.doors.gates[gate].socket, SocketFlags::CLOEXEC) {
                Ok(socket) => break socket,
                // A client that has gone again, or a signal, is nobody's.
                Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Errno::from_raw(error.raw_os_error())),
            }
        };
        let conn = self.slots.take_any().expect("there is room, as the caller saw");
        if let Err(errno) = self.poller.watch_socket(&socket, conn, Side::Client) {
            self.slots.give_back(conn);
            // Its client waits as those in the queue do.
            self.doors.keep_unwatched(gate, socket);
            return Err(errno);
        }
        *self.slots.at(conn, Side::Client) = Slot::with(socket);
        Ok(conn)
    }
}
