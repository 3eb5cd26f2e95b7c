//! Accepts that were lost, and cancels that missed: found once a second and repeated.

use super::gate::{Gate, Pause};
use super::{Admission, Mode};
use crate::ring::Accepts;

impl Admission {
    /// Once a second: a gate with clients in its queue, accepts armed and none completed for two
    /// checks has lost its accept. Accepts are cancelled and armed again.
    pub fn rearm_lost_accepts<R: Accepts>(&mut self, ring: &mut R) {
        let mut rearm = false;
        for gate in &mut self.gates {
            let silent = !std::mem::take(&mut gate.accepted) && gate.armed > 0;
            let waiting = silent && ring.accept_queue(gate.id).unwrap_or(0) > 0;
            if waiting && gate.suspected {
                self.counters.accepts_rearmed.add(1);
                rearm = true;
            }
            gate.suspected = waiting && !gate.suspected;
            // A cancel may have missed an accept: it may be asked for again.
            gate.cancelled = false;
        }
        if rearm || self.stopping || self.mode == Mode::Changing {
            self.cancel_all(ring);
        }
        for gate in 0..self.gates.len() {
            let Gate { pause, leaving, held, .. } = self.gates[gate];
            if pause == Pause::Begun || leaving || held {
                self.cancel(ring, gate);
            }
        }
    }
}
