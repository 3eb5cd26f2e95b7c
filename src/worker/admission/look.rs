//! Accepting by looking: a credit for each client that waits in a queue, and for nobody else.

use super::{Admission, LOOK, LOOK_AT_LIMIT, LOOK_AT_QUIET, MAX_CREDITS, Mode};
use crate::base::{GateId, Millis};
use crate::config::AtLimit;
use crate::ring::Accepts;

/// What a look at one queue came to.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// It is to be looked at again though nobody may come to it.
    restless: bool,
    /// Clients that wait for a permit which may lie idle elsewhere.
    unmet: bool,
    /// Accepts were armed for clients that will be reset.
    condemned: bool,
}

impl Admission {
    /// Looks at the queues where credits do not lie ready, if it is time.
    pub(super) fn look<R: Accepts>(&mut self, ring: &mut R, now: Millis) {
        if now < self.look && !(self.hungry && self.budget.free() > 0) {
            return;
        }
        let pace = if self.budget.free() > 0 { LOOK } else { LOOK_AT_LIMIT };
        if self.mode == Mode::Scarce && self.nothing_armed() {
            ring.retarget_accepts();
        }
        let mut all = Seen::default();
        let many = if self.budget.anyone_full() || self.outstanding > 0 {
            self.gates.len()
        } else {
            self.own
        };
        for gate in self.in_turn(many) {
            if self.is_looked_at(gate) && !self.gates[gate].is_quiet() {
                let seen = self.look_at(ring, gate);
                all.restless |= seen.restless;
                all.unmet |= seen.unmet;
                all.condemned |= seen.condemned;
            }
        }
        self.looked = now;
        self.look = now.after(if all.restless { pace } else { LOOK_AT_QUIET });
        if all.condemned {
            self.look = now; // More may wait than one batch.
        }
        let hungry = all.unmet && ring.best_accept_room() > self.outstanding;
        if hungry && !self.hungry {
            self.look = now; // Somebody may give back what this word makes idle.
        }
        self.say_hungry(hungry);
        if all.unmet && !hungry && self.mode == Mode::Credits {
            // Credits that lie ready elsewhere hold every slot.
            self.pinched = Some(now);
            self.cancel_all(ring);
        }
        self.watch_the_calm(ring, now);
    }

    /// A client came to a queue that was watched.
    pub fn queue_ready(&mut self, gate: GateId) {
        self.gates[self.places[gate]].watched = false;
        self.look_soon();
    }

    /// Something changed that queues are looked at for: at once, if the last look is long enough
    /// ago. So a queue to which clients come one by one costs no more than one that is never empty.
    pub(super) fn look_soon(&mut self) {
        self.look = self.look.min(self.looked.after(LOOK));
    }

    /// Some queue of ours is to be looked at by its quota, and nothing else tells who comes to it.
    pub(super) fn is_quota_overlooked(&self) -> bool {
        let overlooked = |gate| self.is_quota_looked_at(gate) && !self.gates[gate].is_quiet();
        self.has_quotas && (0..self.own).any(overlooked)
    }

    /// Queues that no ready accept serves: all of ours while permits are scarce, those whose quota
    /// is scarce at any time, and those of workers without a slot.
    fn is_looked_at(&self, index: usize) -> bool {
        let is_own = index < self.own;
        let gate = &self.gates[index];
        if gate.is_closed() {
            return false;
        }
        if !is_own {
            return self.budget.is_full(gate.owner()) || gate.armed > 0;
        }
        self.mode == Mode::Scarce || self.is_quota_looked_at(index)
    }

    /// Whether a gate of ours has a quota and no credits that lie ready by it.
    pub(super) fn is_quota_looked_at(&self, gate: usize) -> bool {
        let gate = &self.gates[gate];
        gate.quota().is_some() && !gate.is_closed() && !gate.keeps_ready(self.budget.workers())
    }

    fn look_at<R: Accepts>(&mut self, ring: &mut R, gate: usize) -> Seen {
        let waiting = ring.accept_queue(self.gates[gate].id).unwrap_or(0);
        if waiting == 0 {
            // Whoever an accept was armed for is gone; nothing stays pinned here.
            self.cancel(ring, gate);
            let state = &mut self.gates[gate];
            state.trim_quota();
            if !state.watched {
                state.watched = true;
                ring.watch_queue(state.id);
            }
            return Seen { restless: state.armed > 0, ..Seen::default() };
        }
        let wanted = waiting.min(MAX_CREDITS).saturating_sub(self.gates[gate].armed);
        let by_quota = self.gates[gate].lease_quota(wanted);
        let granted = self.lease_for(ring, by_quota);
        self.arm_singles(ring, gate, granted);
        self.gates[gate].trim_quota();
        let left = wanted - granted;
        if by_quota < wanted && !self.gates[gate].quota_is_used_up() {
            // What is left of the quota lies ready elsewhere: whoever has it looks now, and gives
            // it back.
            self.budget.wake_others(self.worker);
        }
        let at_limit = self.budget.is_used_up() || self.gates[gate].quota_is_used_up();
        if left > 0 && at_limit && self.gates[gate].at_limit() == AtLimit::Reset {
            let bound = self.bound(ring.accept_burst());
            let slots = ring.accept_room().saturating_sub(bound);
            self.arm_singles(ring, gate, left.min(slots));
            return Seen { restless: true, unmet: false, condemned: slots > 0 };
        }
        Seen { restless: true, unmet: granted < by_quota, condemned: false }
    }

    /// Leaves scarcity when nobody has been hungry for a while and there is plenty again.
    fn watch_the_calm<R: Accepts>(&mut self, ring: &mut R, now: Millis) {
        if self.pinches() {
            self.pinched = Some(now);
        } else if self.mode == Mode::Scarce && self.is_calm(now) && self.has_plenty(ring) {
            self.cancel_all(ring);
        }
    }

    /// Enough permits and slots for several credits to lie ready on each gate.
    fn has_plenty<R: Accepts>(&self, ring: &R) -> bool {
        self.fair_share().min(ring.best_accept_room()) >= 4 * self.own as u32
    }
}
