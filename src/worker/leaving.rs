//! How a worker takes its leave: by a drain, by a stop, or by a drain that becomes a stop.

use std::time::Duration;

use super::drain::{Candidate, Drain};
use super::{Adoption, Order, Worker};
use crate::base::{ConnIndex, Millis};
use crate::conn::{Phase, Reason};
use crate::metrics::Refusal;
use crate::ring::Ring;

/// Connections that are ended per turn at most, so that turns stay short.
const ENDED_PER_TURN: u32 = 1024;

/// How often a drain looks whether the accept queues are empty.
const LOOK: Duration = Duration::from_millis(10);

/// How far the leave has come.
#[derive(Debug)]
pub(super) enum Leaving {
    /// Nobody asked for one.
    No,
    /// Connections are closed at a pace.
    Draining {
        /// The pace.
        drain: Drain,
        /// When the accept queues are looked at next, while accepting goes on.
        look: Option<Millis>,
    },
    /// Connections are being ended, from this slot on.
    Walking(u32),
    /// Each was told to end; a client that comes late is told at once.
    Walked,
}

impl<R: Ring> Worker<R> {
    pub(super) fn read_mailbox(&mut self) {
        while let Some(order) = self.mailbox.take() {
            match order {
                Order::Drain(within) => self.begin_drain(within),
                Order::Stop => self.begin_stop(),
                Order::Walk(task) => self.begin_walk(*task),
                Order::Recall(reply) => {
                    // Whoever asked may be gone.
                    let _ = reply.send(self.recent.list());
                }
                // A drain serves every queue, paused or not.
                Order::Pause(_) if !matches!(self.leaving, Leaving::No) => {}
                Order::Pause(listener) => self.admission.pause(&mut self.ring, listener),
                Order::Resume(listener) => self.admission.resume(listener),
                // Who leaves takes nothing new on.
                Order::Adopt(_) if !matches!(self.leaving, Leaving::No) => {}
                Order::Adopt(adoption) => self.adopt(adoption),
            }
        }
    }

    /// Goes by another topology: what it adds is served from here on, what it takes away goes with
    /// the last connection that is on it.
    fn adopt(&mut self, Adoption { topology, counters }: Adoption) {
        self.admission.adopt(&mut self.ring, &topology);
        self.routes.adopt(&mut self.ring, topology, &counters);
        self.counters = counters;
    }

    fn begin_drain(&mut self, within: Duration) {
        if !matches!(self.leaving, Leaving::No) {
            return;
        }
        self.admission.begin_drain(&mut self.ring);
        let mut candidates = Vec::with_capacity(self.open as usize);
        let mut from = 0;
        while let Some(index) = self.table.used_from(from) {
            let entry = self.table.entry(index);
            if !matches!(entry.conn.phase(), Phase::Vacant | Phase::Ending(_)) {
                let (active, generation) = (entry.active.begins(), entry.generation);
                candidates.push(Candidate { active, index, generation });
            }
            from = index.0 + 1;
        }
        let drain = Drain::new(candidates, self.now, self.now.after(within));
        self.counters.drain_deadline_millis.set(drain.deadline().0);
        self.leaving = Leaving::Draining { drain, look: Some(self.now) };
    }

    fn begin_stop(&mut self) {
        if !matches!(self.leaving, Leaving::Draining { look: None, .. }) {
            self.stop_accepting();
        }
        self.leaving = Leaving::Walking(0);
    }

    /// Accepts no more. Who still waits is reset when the passive sockets close.
    fn stop_accepting(&mut self) {
        for (gate, clients) in self.admission.waiting(&self.ring) {
            let refused = &self.routes.of_gate(gate).counters.refused;
            refused[Refusal::DrainEnd as usize].add(u64::from(clients));
        }
        self.admission.stop(&mut self.ring);
    }

    /// Carries the leave on.
    pub(super) fn leave(&mut self) {
        match &mut self.leaving {
            Leaving::No | Leaving::Walked => {}
            Leaving::Draining { drain, .. } if self.now >= drain.deadline() => self.begin_stop(),
            Leaving::Draining { .. } => self.go_on_draining(),
            Leaving::Walking(from) => {
                let from = *from;
                self.leaving = self.end_from(from);
            }
        }
    }

    fn go_on_draining(&mut self) {
        let Leaving::Draining { drain, look } = &mut self.leaving else { return };
        if look.is_some_and(|look| self.now >= look) {
            let waiting = self.admission.waiting(&self.ring).map(|(_, clients)| clients).sum();
            let go_on = !drain.queues_are_served(waiting, self.now) && drain.can_serve(self.now);
            *look = go_on.then(|| self.now.after(LOOK));
            if !go_on {
                self.stop_accepting();
            }
        }
        for _ in 0..ENDED_PER_TURN {
            let Leaving::Draining { drain, .. } = &mut self.leaving else { return };
            let Some(Candidate { index, generation, .. }) = drain.due(self.now) else { return };
            if self.table.entry(index).generation == generation {
                self.end(index, Reason::Drained);
            }
        }
    }

    /// Ends a bounded number of connections from slot `from` on.
    fn end_from(&mut self, mut from: u32) -> Leaving {
        for _ in 0..ENDED_PER_TURN {
            let Some(index) = self.table.used_from(from) else { return Leaving::Walked };
            self.end(index, Reason::Stopped);
            from = index.0 + 1;
        }
        Leaving::Walking(from)
    }

    /// A client came although the worker takes its leave.
    pub(super) fn admit_late(&mut self, index: ConnIndex) {
        let generation = self.table.entry(index).generation;
        match &mut self.leaving {
            Leaving::No => {}
            Leaving::Draining { drain, .. } => {
                let active = self.now;
                drain.add(Candidate { active, index, generation }, self.now);
            }
            Leaving::Walking(_) | Leaving::Walked => {
                self.end(index, Reason::Stopped);
            }
        }
    }

    /// When the leave wants to be carried on though nothing completes.
    pub(super) fn next_departure(&self) -> Option<Millis> {
        match &self.leaving {
            Leaving::No | Leaving::Walked => None,
            Leaving::Walking(_) => Some(self.now),
            Leaving::Draining { drain, look } => {
                Some(look.map_or(drain.next_turn(), |look| look.min(drain.next_turn())))
            }
        }
    }

    /// Every connection is gone and no client can come.
    pub(super) fn is_over(&mut self) -> bool {
        !matches!(self.leaving, Leaving::No) && self.open == 0 && self.admission.is_over()
    }
}
