//! A ring's gates: which there are, what is in flight on each, and how one goes.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::os::fd::{AsRawFd, RawFd};

use super::setup::PassiveSocket;
use crate::base::{GateId, IdMap};
use crate::ring::contract::{AcceptMode, Completion};

/// Gates by id. An id is in one of the three tables, or free.
pub(in crate::ring) struct Gates {
    present: IdMap<GateId, Gate>,
    /// Removed, with a watch in flight. Its completion names nothing but the id, so the id is not
    /// free before.
    leaving: IdMap<GateId, Gate>,
    /// Removed, with nothing in flight: the worker has yet to hear of it.
    gone: VecDeque<(GateId, Gate)>,
}

/// A passive socket, open for as long as an entry or a request may name its descriptor.
pub(in crate::ring) struct Gate {
    pub(in crate::ring) socket: PassiveSocket,
    multishot_armed: u32,
    single_armed: u32,
    /// Watches of its queue in flight.
    pub(in crate::ring) watches: u32,
}

impl Gate {
    /// Accepts armed in this mode.
    pub(in crate::ring) fn armed(&mut self, mode: AcceptMode) -> &mut u32 {
        match mode {
            AcceptMode::Multishot => &mut self.multishot_armed,
            AcceptMode::Single => &mut self.single_armed,
        }
    }

    /// An accept of it is armed.
    pub(in crate::ring) fn is_armed(&self) -> bool {
        self.multishot_armed + self.single_armed > 0
    }
}

impl Gates {
    /// # Panics
    /// When two have the same id.
    pub(in crate::ring) fn new(sockets: Vec<(GateId, PassiveSocket)>) -> Gates {
        let (present, leaving) = (IdMap::new(), IdMap::new());
        let mut gates = Gates { present, leaving, gone: VecDeque::new() };
        for (id, socket) in sockets {
            gates.add(id, socket);
        }
        gates
    }

    /// How many there are.
    pub(in crate::ring) fn len(&self) -> usize {
        self.present.len()
    }

    /// An accept is armed on one of them.
    pub(in crate::ring) fn are_armed(&self) -> bool {
        self.present.values().any(Gate::is_armed)
    }

    /// Client slots that armed accepts may still fill, of which a multishot takes at most `burst`
    /// in one turn.
    pub(in crate::ring) fn promised(&self, burst: u32) -> u32 {
        let single: u32 = self.present.values().map(|gate| gate.single_armed).sum();
        let goes_on = self.present.values().any(|gate| gate.multishot_armed > 0);
        single + if goes_on { burst } else { 0 }
    }

    /// The gate of this id, if there is one.
    pub(in crate::ring) fn get_mut(&mut self, id: GateId) -> Option<&mut Gate> {
        self.present.get_mut(id)
    }

    /// A gate that has the passive socket of this descriptor.
    pub(in crate::ring) fn with_socket(&self, fd: RawFd) -> Option<GateId> {
        let mut all = self.present.iter();
        all.find(|(_, gate)| gate.socket.as_raw_fd() == fd).map(|(id, _)| id)
    }

    /// Takes a gate in.
    ///
    /// # Panics
    /// When its id is in use.
    pub(in crate::ring) fn add(&mut self, id: GateId, socket: PassiveSocket) {
        let is_gone = self.gone.iter().any(|(gone, _)| *gone == id);
        assert!(!is_gone && self.leaving.get(id).is_none(), "{id:?} is not gone yet");
        let gate = Gate { socket, multishot_armed: 0, single_armed: 0, watches: 0 };
        assert!(self.present.insert(id, gate).is_none(), "{id:?} is in use");
    }

    /// Gives a gate up; says whether a watch of it must be cancelled.
    ///
    /// # Panics
    /// When there is none, or an accept of it is armed.
    pub(in crate::ring) fn remove(&mut self, id: GateId) -> bool {
        assert!(!self[id].is_armed(), "an accept of {id:?} is armed");
        let gate = self.present.remove(id).expect("it was there a line above");
        let is_watched = gate.watches > 0;
        if is_watched {
            self.leaving.insert(id, gate);
        } else {
            self.gone.push_back((id, gate));
        }
        is_watched
    }

    /// A watch has ended; says what the worker hears of it.
    pub(in crate::ring) fn watch_ended(&mut self, id: GateId) -> Option<Completion> {
        let Some(gate) = self.leaving.get_mut(id) else {
            self[id].watches -= 1;
            return Some(Completion::QueueReady { gate: id });
        };
        gate.watches -= 1;
        if gate.watches > 0 {
            return None;
        }
        self.leaving.remove(id);
        Some(Completion::GateRemoved { gate: id })
    }

    /// The removal of a gate is still to be told.
    pub(in crate::ring) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// The next gate whose removal is to be told; its socket is dropped here.
    pub(in crate::ring) fn next_gone(&mut self) -> Option<Completion> {
        self.gone.pop_front().map(|(gate, _)| Completion::GateRemoved { gate })
    }
}

impl Index<GateId> for Gates {
    type Output = Gate;

    fn index(&self, id: GateId) -> &Gate {
        &self.present[id]
    }
}

impl IndexMut<GateId> for Gates {
    fn index_mut(&mut self, id: GateId) -> &mut Gate {
        &mut self.present[id]
    }
}
