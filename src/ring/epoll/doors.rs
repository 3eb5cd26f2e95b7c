//! Gates, and those at which clients wait.

use std::os::fd::{AsRawFd, OwnedFd};

use socket2::SockRef;

use super::poller::Poller;
use crate::base::{Errno, GateId, errno_of};
use crate::ring::contract::{AcceptMode, Completion};
use crate::ring::kernel::address;
use crate::ring::kernel::gates::{Gate, Gates};
use crate::ring::kernel::setup::PassiveSocket;

/// The gates of a ring. Passive sockets do not wait: another worker may have taken the client that
/// an edge told of. That flag is of all processes that have the socket, and one over io_uring takes
/// it away, perhaps between a look at it and the accept. So no accept is tried, either, for which
/// the queue has no client.
pub(super) struct Doors {
    pub(super) gates: Gates,
    /// An edge told of clients, and nobody has found the queue empty since.
    visited: Vec<GateId>,
    /// Clients that were accepted and could not be watched, as for want of watches: the next.
    unwatched: Vec<(GateId, OwnedFd)>,
}

impl Doors {
    /// # Panics
    /// When two gates have the same id.
    pub(super) fn new(
        sockets: Vec<(GateId, PassiveSocket)>,
        poller: &Poller,
    ) -> Result<Doors, Errno> {
        for (gate, socket) in &sockets {
            open(poller, *gate, socket)?;
        }
        Ok(Doors { gates: Gates::new(sockets), visited: Vec::new(), unwatched: Vec::new() })
    }

    /// Takes a gate in.
    ///
    /// # Panics
    /// When its id is in use.
    pub(super) fn add(
        &mut self,
        gate: GateId,
        socket: PassiveSocket,
        poller: &Poller,
    ) -> Result<(), Errno> {
        let opened = open(poller, gate, &socket);
        self.gates.add(gate, socket);
        opened
    }

    /// Gives a gate up: nothing of it waits, so its removal is the next to be told.
    ///
    /// # Panics
    /// When there is none, or an accept of it is armed.
    pub(super) fn remove(&mut self, gate: GateId, poller: &Poller) {
        let socket = self.gates[gate].socket.clone();
        self.gates[gate].watches = 0;
        self.gates.remove(gate);
        // A listener under another name has a gate of its own for the same socket.
        let heir = self.gates.with_socket(socket.as_raw_fd());
        if heir.is_none_or(|heir| poller.watch_gate(&socket, heir).is_err()) {
            poller.forget(&socket);
        }
        self.has_nobody(gate);
        self.unwatched.retain(|(of, _)| *of != gate);
    }

    /// Somebody has come to a gate. An edge of one that is gone is late.
    pub(super) fn visit(&mut self, gate: GateId) -> Option<&mut Gate> {
        let present = self.gates.get_mut(gate)?;
        if !self.visited.contains(&gate) {
            self.visited.push(gate);
        }
        Some(present)
    }

    /// Nobody waits at a gate.
    pub(super) fn has_nobody(&mut self, gate: GateId) {
        self.visited.retain(|one| *one != gate);
    }

    /// Gates at which somebody waits for an accept that is armed; the first is another one each
    /// time.
    pub(super) fn due(&mut self) -> Vec<GateId> {
        if self.visited.is_empty() {
            return Vec::new();
        }
        self.visited.rotate_left(1);
        self.visited.iter().copied().filter(|gate| self.gates[*gate].is_armed()).collect()
    }

    /// Accepts of a gate are about to begin.
    pub(super) fn prepare(&self, gate: GateId) -> Result<(), Errno> {
        let_not_wait(&self.gates[gate].socket)
    }

    /// There are any such.
    pub(super) fn are_due(&self) -> bool {
        self.visited.iter().any(|gate| self.gates[*gate].is_armed())
    }

    /// Begins to watch a gate's queue. Says what completes of that at once.
    pub(super) fn watch(&mut self, gate: GateId) -> Option<Completion> {
        self.gates[gate].watches += 1;
        let waits = self.queue(gate).is_ok_and(|waiting| waiting > 0);
        if waits { self.gates.watch_ended(gate) } else { None }
    }

    /// Clients that wait at a gate.
    pub(super) fn queue(&self, gate: GateId) -> Result<u32, Errno> {
        let in_queue = address::accept_queue(&self.gates[gate].socket)?;
        Ok(in_queue + self.unwatched_at(gate))
    }

    /// Accepts of a gate that do not wait, whatever its flag says.
    pub(super) fn at_once(&self, gate: GateId) -> u32 {
        address::accepts_at_once(&self.gates[gate].socket) + self.unwatched_at(gate)
    }

    fn unwatched_at(&self, gate: GateId) -> u32 {
        self.unwatched.iter().filter(|(of, _)| *of == gate).count() as u32
    }

    /// Keeps a client that was accepted until it can be watched.
    pub(super) fn keep_unwatched(&mut self, gate: GateId, socket: OwnedFd) {
        self.unwatched.push((gate, socket));
    }

    /// The client that was kept.
    pub(super) fn take_unwatched(&mut self, gate: GateId) -> Option<OwnedFd> {
        let place = self.unwatched.iter().position(|(of, _)| *of == gate)?;
        Some(self.unwatched.remove(place).1)
    }

    /// An accept that a client is to be taken for: one of those for a single client, or the one
    /// that goes on.
    pub(super) fn armed(&mut self, gate: GateId) -> Option<AcceptMode> {
        let modes = [AcceptMode::Single, AcceptMode::Multishot];
        modes.into_iter().find(|mode| *self.gates[gate].armed(*mode) > 0)
    }
}

fn open(poller: &Poller, gate: GateId, socket: &PassiveSocket) -> Result<(), Errno> {
    let_not_wait(socket)?;
    poller.watch_gate(socket, gate)
}

/// Has accepts of a passive socket not wait. The flag is of all processes that have the socket, and
/// one that starts, as a successor, may take it away.
fn let_not_wait(socket: &PassiveSocket) -> Result<(), Errno> {
    SockRef::from(socket).set_nonblocking(true).map_err(|error| errno_of(&error))
}
