//! Accepts that are armed before a client comes, each covered by permits and slots.

use super::{Admission, MAX_CREDITS, Mode};
use crate::ring::{AcceptMode, Accepts};

impl Admission {
    pub(super) fn arm_multishot<R: Accepts>(&mut self, ring: &mut R) {
        for gate in &mut self.gates[..self.own] {
            if gate.armed == 0 && gate.is_ready() {
                gate.armed = 1;
                gate.cancelled = false;
                self.outstanding += 1;
                ring.accept(gate.id, AcceptMode::Multishot);
            }
        }
    }

    /// Spreads what permits and slots allow evenly over the gates.
    pub(super) fn arm_credits<R: Accepts>(&mut self, ring: &mut R) {
        let mut left = self.cover(ring).saturating_sub(self.outstanding);
        // Rounded down: were it rounded up, the last of them could be left without any.
        let share = ((left + self.outstanding) / self.ready().max(1)).min(MAX_CREDITS);
        let mut short = false;
        for gate in self.round_robin(self.own) {
            if self.gates[gate].is_ready() && !self.gates[gate].cancelled {
                let wanted = share.saturating_sub(self.gates[gate].armed).min(left);
                left -= wanted;
                self.arm_singles(ring, gate, wanted);
                short |= self.gates[gate].armed == 0;
            }
        }
        if short {
            // A client at a gate without a credit would not be seen: poll the queues instead.
            self.cancel_all(ring);
        }
    }

    /// Keeps credits ready on gates whose quota has plenty, as far as a fair share of permits goes.
    /// Beside a multishot they leave a burst, or its next client would find too few to go on.
    pub(super) fn arm_quotas<R: Accepts>(&mut self, ring: &mut R) {
        if !self.has_quotas || self.mode == Mode::Changing {
            return;
        }
        let burst = ring.accept_burst();
        let kept = if self.mode == Mode::Multishot { burst } else { 0 };
        for gate in self.round_robin(self.own) {
            let left = self.fair_share().saturating_sub(self.bound(burst) + kept);
            let share = self.gates[gate].quota_share(self.budget.workers()).min(MAX_CREDITS);
            let wanted = share.saturating_sub(self.gates[gate].armed).min(left);
            if wanted > 0 && !self.gates[gate].cancelled {
                let by_quota = self.gates[gate].lease_quota(wanted);
                let granted = self.lease_for(ring, by_quota);
                self.arm_singles(ring, gate, granted);
                self.gates[gate].trim_quota();
            }
        }
    }

    pub(super) fn arm_singles<R: Accepts>(&mut self, ring: &mut R, gate: usize, count: u32) {
        let state = &mut self.gates[gate];
        state.cancelled &= state.armed > 0;
        state.armed += count;
        self.outstanding += count;
        for _ in 0..count {
            ring.accept(state.id, AcceptMode::Single);
        }
    }

    /// Gates that accepts may lie ready on.
    pub(super) fn ready(&self) -> u32 {
        self.gates[..self.own].iter().filter(|gate| gate.is_ready()).count() as u32
    }

    /// The first `many` gates, another one first each time.
    pub(super) fn round_robin(&mut self, many: usize) -> impl Iterator<Item = usize> + use<> {
        self.first = (self.first + 1) % many.max(1);
        let first = self.first;
        (0..many).map(move |step| (first + step) % many)
    }

    /// Permits and slots for `wanted` more credits, or as many as there are.
    pub(super) fn lease_for<R: Accepts>(&mut self, ring: &R, wanted: u32) -> u32 {
        let bound = self.bound(ring.accept_burst());
        let missing = (bound + wanted).saturating_sub(self.permits);
        self.permits += self.budget.lease(missing);
        self.cover(ring).saturating_sub(bound).min(wanted)
    }

    /// Cancels every accept; [`Admission::arm`] goes on when the last is retired.
    pub(super) fn cancel_all<R: Accepts>(&mut self, ring: &mut R) {
        self.mode = Mode::Changing;
        for gate in 0..self.gates.len() {
            self.cancel(ring, gate);
        }
    }

    pub(super) fn cancel<R: Accepts>(&mut self, ring: &mut R, gate: usize) {
        let state = &mut self.gates[gate];
        if state.armed > 0 && !state.cancelled {
            state.cancelled = true;
            ring.cancel_accepts(state.id);
        }
    }
}
