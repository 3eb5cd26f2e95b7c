//! Clients that wait at a limit, where idle connections are evicted for them.
//!
//! The owner of a gate counts the clients in its queue whenever it polls it ([`Waiting`]), and the
//! worker that accepts one of them counts it off. Every worker sees the counts, and evicts what it
//! can (`worker/errands/evict.rs`): the client may wait at one worker, the idle connections be at
//! another.
//!
//! [`Waiting`]: crate::budget::Waiting

use std::sync::Arc;

use super::Admission;
use crate::base::ConnIndex;
use crate::budget::Budget;
use crate::config::AtLimit;
use crate::worker::limit::Limit;

impl Admission {
    /// The limits at which clients wait for an eviction.
    pub fn waited_at(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter().filter(|limit| limit.bound.anyone_waits())
    }

    /// The limits at which the listeners of our own gates evict.
    pub(super) fn find_limits(&self) -> Vec<Limit> {
        let mut limits: Vec<Limit> = Vec::new();
        let own = self.gates[..self.own].iter();
        for gate in own.filter(|gate| gate.at_limit() == AtLimit::Evict) {
            let (listener, id) = (&gate.listener, gate.listener_id());
            let quota = listener.quota.as_ref().map(|quota| (quota.arc(), Some(id)));
            for (bound, of) in [(self.budget.clone(), None)].into_iter().chain(quota) {
                let idle_after = listener.evict_idle_after;
                match limits.iter_mut().find(|limit| limit.of == of) {
                    Some(limit) => limit.idle_after = limit.idle_after.min(idle_after),
                    None => limits.push(Limit { bound, of, idle_after }),
                }
            }
        }
        limits
    }

    /// So many clients wait at a gate.
    pub(super) fn count_waiting(&self, gate: usize, clients: u32) {
        let gate = &self.gates[gate];
        if gate.counts_waiting() && gate.waiting().count(&self.budget, gate.quota(), clients) {
            self.budget.wake_all();
        }
    }

    /// Nobody waits at our own gates, or for the moment nobody is to be evicted.
    pub(super) fn count_nobody(&self) {
        if self.limits.is_empty() {
            return;
        }
        for gate in 0..self.own {
            if !self.gates[gate].waiting().is_empty() {
                self.count_waiting(gate, 0);
            }
        }
    }

    /// A connection is evicted, for a client that waits at this limit.
    pub fn evict(&mut self, index: ConnIndex, bound: Arc<Budget>) {
        let other = self.evicted.insert(index, bound);
        assert!(other.is_none(), "slot {} is evicted twice", index.0);
    }

    /// A connection has left: its eviction, if it was one, is over.
    pub fn end_eviction(&mut self, index: ConnIndex) {
        if self.evicted.is_empty() {
            return;
        }
        if let Some(bound) = self.evicted.remove(&index) {
            bound.evicted();
        }
    }
}
