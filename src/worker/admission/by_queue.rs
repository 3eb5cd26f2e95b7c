//! Accepting by queue: the queues are polled, and each client that waits gets one credit.

use super::{Admission, MAX_CREDITS, Mode, POLL_EVERY, POLL_EVERY_AT_LIMIT, POLL_EVERY_QUIET};
use crate::base::{GateId, Millis};
use crate::config::AtLimit;
use crate::ring::Accepts;

/// The findings of one poll of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// It is to be polled again even if no new client comes.
    restless: bool,
    /// Clients wait for a permit, which may lie idle at another worker.
    unmet: bool,
    /// Accepts were armed for clients that will be reset.
    condemned: bool,
}

impl Admission {
    /// Polls the queues of gates without prearmed accepts, if it is time.
    pub(super) fn poll_queues<R: Accepts>(&mut self, ring: &mut R, now: Millis) {
        if now < self.next_poll && !(self.hungry && self.budget.free() > 0) {
            return;
        }
        let pace = if self.budget.free() > 0 { POLL_EVERY } else { POLL_EVERY_AT_LIMIT };
        if self.mode == Mode::Scarce && self.nothing_armed() {
            ring.retarget_accepts();
        }
        let mut all = Seen::default();
        let many = if self.budget.anyone_full() || self.outstanding > 0 {
            self.gates.len()
        } else {
            self.own
        };
        for gate in self.round_robin(many) {
            if self.is_polled(gate) && !self.gates[gate].is_quiet() {
                let seen = self.poll_queue(ring, gate);
                all.restless |= seen.restless;
                all.unmet |= seen.unmet;
                all.condemned |= seen.condemned;
            } else if gate < self.own {
                self.count_waiting(gate, 0);
            }
        }
        self.last_poll = now;
        self.next_poll = now.after(if all.restless { pace } else { POLL_EVERY_QUIET });
        if all.condemned {
            self.next_poll = now; // More may wait than one batch.
        }
        let hungry = all.unmet && ring.best_accept_room() > self.outstanding;
        if hungry && !self.hungry {
            // Saying that we are hungry makes others return idle permits: poll again now.
            self.next_poll = now;
        }
        self.say_hungry(hungry);
        if all.unmet && !hungry && self.mode == Mode::Credits {
            // Credits prearmed on other gates hold every slot.
            self.pinched = Some(now);
            self.cancel_all(ring);
        }
        self.watch_the_calm(ring, now);
    }

    /// A client came to a queue that was watched.
    pub fn queue_ready(&mut self, gate: GateId) {
        self.gates[self.places[gate]].watched = false;
        self.poll_soon();
    }

    /// Something changed that queues are polled for: polls at once if the last poll is long enough
    /// ago. So a queue to which clients come one by one costs no more than one that is never empty.
    pub(super) fn poll_soon(&mut self) {
        self.next_poll = self.next_poll.min(self.last_poll.after(POLL_EVERY));
    }

    /// Some queue of ours is polled because of its quota, and has no watch.
    pub(super) fn polls_by_quota(&self) -> bool {
        let overlooked = |gate| self.is_polled_by_quota(gate) && !self.gates[gate].is_quiet();
        self.has_quotas && (0..self.own).any(overlooked)
    }

    /// Whether a queue is polled: all of ours while permits are scarce, those whose quota is scarce
    /// at any time, and those of workers without a slot.
    fn is_polled(&self, index: usize) -> bool {
        let is_own = index < self.own;
        let gate = &self.gates[index];
        if gate.is_closed() {
            return false;
        }
        if !is_own {
            return self.budget.is_full(gate.owner()) || gate.armed > 0;
        }
        self.mode == Mode::Scarce || self.is_polled_by_quota(index)
    }

    /// Whether a gate of ours has a quota and no prearmed credits.
    pub(super) fn is_polled_by_quota(&self, gate: usize) -> bool {
        let gate = &self.gates[gate];
        gate.quota().is_some() && !gate.is_closed() && !gate.keeps_ready(self.budget.workers())
    }

    fn poll_queue<R: Accepts>(&mut self, ring: &mut R, gate: usize) -> Seen {
        let waiting = ring.accept_queue(self.gates[gate].id).unwrap_or(0);
        if gate < self.own {
            self.count_waiting(gate, waiting);
        }
        if waiting == 0 {
            // The client that an accept was armed for is gone; nothing stays pinned here.
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
            // The rest of the quota lies ready at other workers: they wake, and give it back.
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

    /// Leaves scarcity when no worker has been hungry for a while and there is plenty again.
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
