//! Gates that come and go.

use super::Admission;
use super::gate::Gate;
use crate::base::{GateId, Millis};
use crate::ring::Accepts;
use crate::topology::Topology;

impl Admission {
    /// Accepts at the gates of this topology from here on. A gate that is not in it is given up
    /// once nothing is armed on it; clients that it accepts before are served. Accepts stay armed
    /// wherever they may: to arm hundreds again takes milliseconds, in which nobody's bytes move.
    pub fn adopt<R: Accepts>(&mut self, ring: &mut R, topology: &Topology) {
        self.count_nobody();
        for gate in 0..self.gates.len() {
            let stays = topology.gates.get(self.gates[gate].id).is_some();
            if stays && self.gates[gate].stay(topology) {
                continue;
            }
            self.gates[gate].leaving = !stays;
            self.leaving |= !stays;
            self.cancel_again(ring, gate);
        }
        for id in topology.gates.ids() {
            if self.places.get(id).is_none() {
                ring.add_gate(id);
                self.gates.push(Gate::new(topology, id));
                // Clients may wait there.
                self.next_poll = Millis(0);
            }
        }
        self.arrange();
        self.let_go(ring);
    }

    /// Brings the gates in order: our own first, each kind in the order of its ids.
    pub(super) fn arrange(&mut self) {
        let worker = self.worker;
        self.gates.sort_by_key(|gate| (gate.owner() != worker, gate.id));
        let is_own = |gate: &&Gate| gate.owner() == worker;
        self.own = self.gates.iter().take_while(is_own).count();
        self.has_quotas = self.gates[..self.own].iter().any(|gate| gate.quota().is_some());
        self.limits = self.find_limits();
        self.places = self.gates.iter().enumerate().map(|(at, gate)| (gate.id, at)).collect();
    }

    /// Gives up the gates that leave and have nothing armed.
    pub(super) fn let_go<R: Accepts>(&mut self, ring: &mut R) {
        if !self.leaving {
            return;
        }
        let is_over = |gate: &mut Gate| gate.leaving && gate.armed == 0;
        for mut gate in self.gates.extract_if(.., is_over) {
            gate.trim_quota();
            gate.resume();
            ring.remove_gate(gate.id);
            self.going.insert(gate.id, gate);
        }
        self.leaving = self.gates.iter().any(|gate| gate.leaving);
        self.arrange();
    }

    /// The ring has let go of a gate.
    pub fn gate_removed(&mut self, gate: GateId) {
        self.going.remove(gate);
    }
}
