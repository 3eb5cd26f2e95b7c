//! Gates that accept no client for a while: clients wait in their queues.

use super::Admission;
use crate::base::{GateId, ListenerId, Millis};
use crate::ring::Accepts;

impl Admission {
    /// Arms no accept on a listener's gates, and cancels those that are armed. Clients accepted
    /// before the cancel has worked are served.
    pub fn pause<R: Accepts>(&mut self, ring: &mut R, listener: ListenerId) {
        for gate in self.gates_of(listener) {
            self.gates[gate].pause();
            self.cancel_again(ring, gate);
            self.pausing = true;
        }
    }

    /// Accepts there again, from the next turn on.
    pub fn resume(&mut self, listener: ListenerId) {
        for gate in self.gates_of(listener) {
            self.gates[gate].resume();
            self.next_poll = Millis(0);
        }
    }

    /// Arms no accept on the gates that are held from here on, and cancels those that are armed, as
    /// for a pause; on the others as ever.
    pub fn hold<R: Accepts>(&mut self, ring: &mut R, is_held: impl Fn(GateId) -> bool) {
        for gate in 0..self.gates.len() {
            let held = is_held(self.gates[gate].id);
            if std::mem::replace(&mut self.gates[gate].held, held) == held {
                continue;
            }
            if held {
                self.cancel_again(ring, gate);
            } else {
                self.next_poll = Millis(0);
            }
        }
    }

    /// Has the other workers look whether there is something for them.
    pub fn wake_others(&self) {
        self.budget.wake_others(self.worker);
    }

    fn gates_of(&self, listener: ListenerId) -> Vec<usize> {
        let is_its = |gate: &usize| self.gates[*gate].listener_id() == listener;
        (0..self.gates.len()).filter(is_its).collect()
    }

    /// Sees which pauses are carried out: the last accept is retired.
    pub(super) fn settle_pauses(&mut self) {
        if self.pausing {
            let settled = self.gates.iter_mut().map(|gate| gate.settle_pause());
            // Every gate is visited, so no short cut.
            self.pausing = settled.fold(false, |pausing, settled| pausing | !settled);
        }
    }

    /// Some gate of our own takes clients.
    pub(super) fn takes_any(&self) -> bool {
        self.gates[..self.own].iter().any(|gate| !gate.is_closed())
    }

    /// Asks for the cancel again for which one may be under way: what was armed since, or what it
    /// missed, would go on otherwise.
    pub(super) fn cancel_again<R: Accepts>(&mut self, ring: &mut R, gate: usize) {
        let state = &mut self.gates[gate];
        state.cancelled = state.armed > 0;
        if state.cancelled {
            ring.cancel_accepts(state.id);
        }
    }
}
