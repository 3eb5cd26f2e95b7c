//! Gates and servers of the simulated ring that come and go with the topology.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::base::{GateId, Id, Operation, ServerId};
use portcullis::config::Forwarding;
use portcullis::ring::Completion;
use portcullis::topology::Topology;

use crate::accepts::Accept;
use crate::fault::Fault;
use crate::ring::{Op, SimRing};
use crate::world::Change;

/// What the ring has, and what was handed over to it and it does not have yet.
#[derive(Debug, Default)]
pub struct Supplies {
    pub servers: BTreeSet<ServerId>,
    gates: BTreeMap<GateId, usize>,
    handed: BTreeSet<ServerId>,
    /// Servers of the newest topology.
    known: BTreeSet<ServerId>,
    /// Listeners whose gate the newest topology no longer has.
    closing: BTreeSet<usize>,
}

impl SimRing {
    /// Has the gates and servers of this topology from the start, a gate for each listener.
    pub fn take_over(&mut self, topology: &Topology, pools: &[Forwarding; 2]) {
        self.telling.adopt(topology, pools);
        for (id, gate) in topology.gates.iter() {
            self.listeners[gate.listener.place()].gate = Some(id);
        }
        self.supplies.servers = topology.servers.ids().collect();
        self.supplies.known.clone_from(&self.supplies.servers);
    }

    /// What is new in a topology is handed over, before the worker hears of it. `gates`: by
    /// listener.
    pub fn hand_over(&mut self, change: Change, topology: &Topology, gates: &[Option<GateId>]) {
        let pools = self.telling.after(change);
        self.telling.adopt(topology, &pools);
        self.gate.adopt(change);
        self.supplies.closing.clear();
        for (listener, gate) in gates.iter().enumerate() {
            let before = self.listeners[listener].gate;
            match *gate {
                Some(gate) if before != Some(gate) => {
                    self.supplies.gates.insert(gate, listener);
                }
                None if before.is_some() => {
                    self.supplies.closing.insert(listener);
                    let armed = |accept: &Accept| accept.listener == listener && !accept.over;
                    if self.accepts.iter().any(armed) {
                        self.faults.note(Fault::ClosedWhileArmed);
                    }
                }
                _ => {}
            }
        }
        // One that comes back is handed over again: the worker may have given it up by then.
        let now: BTreeSet<_> = topology.servers.ids().collect();
        self.supplies.handed.extend(now.difference(&self.supplies.known));
        self.supplies.known = now;
        let is_gone = |op: &Op| {
            server_of(op.operation).is_some_and(|server| topology.servers.get(server).is_none())
        };
        if self.ops.iter().any(is_gone) {
            self.faults.note(Fault::DroppedWhileConnecting);
        }
        match change {
            Change::Redirect(listener) if self.served(Some(listener)) > 0 => {
                self.faults.note(Fault::RedirectedInFlight);
            }
            Change::Rename(_) if self.live > 0 => self.faults.note(Fault::ServerRenamed),
            Change::Retell(..) if self.live > 0 => self.faults.note(Fault::Retold),
            Change::Reread(listener, _) => self.note_reread(listener),
            Change::Rekeep(listener, _) => self.note_rekept(listener),
            _ => {}
        }
    }

    /// An accept is armed on a gate that the newest topology no longer has.
    pub fn is_closing(&self) -> bool {
        self.accepts.iter().any(|accept| self.supplies.closing.contains(&accept.listener))
    }

    /// A client is accepted although the topology no longer has its gate.
    pub fn note_late(&mut self, listener: usize) {
        if self.supplies.closing.contains(&listener) {
            self.faults.note(Fault::AcceptAfterClose);
        }
    }

    pub fn take_gate_in(&mut self, gate: GateId) {
        let listener = self.supplies.gates.remove(&gate);
        let listener = listener.unwrap_or_else(|| panic!("{gate:?} was not handed over"));
        let before = self.listeners[listener].gate.replace(gate);
        assert_eq!(before, None, "a listener has two gates");
        self.faults.note(Fault::ListenerReturned);
    }

    pub fn give_gate_up(&mut self, gate: GateId) {
        let listener = self.listener_of(gate);
        let armed = self.accepts.iter().any(|accept| accept.listener == listener);
        assert!(!armed, "an accept is armed on {gate:?}, which is given up");
        let tells = |completion: &Completion| *completion == Completion::QueueReady { gate };
        self.posted.retain(|posted| !tells(&posted.completion));
        self.out.retain(|posted| !tells(&posted.completion));
        let socket = &mut self.listeners[listener];
        (socket.gate, socket.paused) = (None, false);
        socket.watched = false;
        // Their socket is closed; the kernel resets them.
        socket.queue.clear();
        let key = self.key();
        self.post(key, Completion::GateRemoved { gate }, true);
    }

    pub fn take_server_in(&mut self, server: ServerId) {
        assert!(self.supplies.handed.contains(&server), "{server:?} was not handed over");
        assert!(self.supplies.servers.insert(server), "{server:?} is there already");
    }

    pub fn give_server_up(&mut self, server: ServerId) {
        assert!(self.supplies.servers.remove(&server), "{server:?} is not there");
        let goes_there = |op: &Op| server_of(op.operation) == Some(server);
        assert!(!self.ops.iter().any(goes_there), "{server:?} is given up under an open");
    }

    /// What a worker has that serves nobody is what the topology has.
    pub fn check_topology(&self, topology: &Topology) {
        let gates: BTreeSet<_> = self.listeners.iter().filter_map(|one| one.gate).collect();
        let wanted: BTreeSet<_> = topology.gates.ids().collect();
        assert_eq!(gates, wanted, "the ring has other gates than the topology");
        let wanted: BTreeSet<_> = topology.servers.ids().collect();
        assert_eq!(self.supplies.servers, wanted, "the ring has other servers than the topology");
    }
}

/// The server that an operation is about.
pub fn server_of(operation: Operation) -> Option<ServerId> {
    match operation {
        Operation::Open(server, _) | Operation::Connect(server) => Some(server),
        _ => None,
    }
}
