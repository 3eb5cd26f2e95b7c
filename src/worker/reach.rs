//! The worker's side of the interface to errands, and their step in its loop.

use std::sync::Arc;

use super::Worker;
use super::errands::{Activity, Part, Reach};
use super::limit::Limit;
use super::table::CountedServer;
use super::tls_clients::TlsClient;
use crate::base::{ConnIndex, ListenerId, Millis, Side};
use crate::config::AtLimit;
use crate::conn::{Event, Patience, Phase, Reason, Shortage};
use crate::metrics::Refusal;
use crate::query::{ConnId, Facts, State};
use crate::ring::Ring;
use crate::topology::Parties;

impl<R: Ring> Worker<R> {
    /// Lets each errand do its step of this turn.
    pub(super) fn run_errands(&mut self) {
        for limit in self.admission.waited_at() {
            self.errands.begin_eviction(limit, self.time.now());
        }
        for _ in 0..self.errands.count() {
            let errand = self.errands.take();
            if let Some(running) = errand.and_then(|errand| errand.step(self)) {
                self.errands.keep(running);
            }
        }
    }
}

impl<R: Ring> Worker<R> {
    /// Why the connection would end now, if its deadline has passed.
    fn overdue(&mut self, index: ConnIndex) -> Option<Reason> {
        let (due, patience) = self.deadline(index)?;
        let is_over = due <= self.time.heard() && !self.lives.entry(index).conn.holds_up(patience);
        is_over.then(|| patience.timeout()).flatten()
    }
}

impl<R: Ring> Reach for Worker<R> {
    fn now(&self) -> Millis {
        self.time.now()
    }

    fn heard(&self) -> Millis {
        self.time.heard()
    }

    fn next_slot(&self, from: u32) -> Option<ConnIndex> {
        self.lives.used_from(from)
    }

    fn activity(&mut self, index: ConnIndex) -> Option<Activity> {
        let entry = self.lives.entry(index);
        let is_living = !matches!(entry.conn.phase(), Phase::Vacant | Phase::Ending(_));
        is_living.then(|| Activity { opened: entry.opened.millis(), last: entry.active })
    }

    fn is_left(&mut self, index: ConnIndex) -> bool {
        let entry = self.lives.entry(index);
        self.routes.is_left(entry.route, entry.server.map(CountedServer::id))
    }

    fn is_of(&mut self, index: ConnIndex, part: Part) -> bool {
        let entry = self.lives.entry(index);
        let route = &self.routes.line(entry.route).route;
        match part {
            Part::Whole => true,
            Part::Listener(listener) => route.listener == listener,
            Part::Server(server) => entry.server.map(CountedServer::id) == Some(server),
            Part::Upstream(upstream) => route.upstream == upstream,
        }
    }

    fn is_overdue(&mut self, index: ConnIndex) -> bool {
        let is_overdue = self.overdue(index).is_some();
        if !is_overdue {
            let asks_addresses = self.plan.settings.asks_addresses();
            self.lives.entry(index).conn.want_addresses(asks_addresses);
            self.set_timer(index);
        }
        is_overdue
    }

    fn end_overdue(&mut self, index: ConnIndex) {
        if let Some(reason) = self.overdue(index) {
            Worker::end(self, index, reason);
        }
    }

    fn makes_way_at(&mut self, index: ConnIndex, of: Option<ListenerId>) -> Option<Millis> {
        let entry = self.lives.entry(index);
        let is_joined = entry.conn.phase() == Phase::Joined;
        // One that passes a reset on is about to end.
        if !is_joined || entry.conn.patience() == Patience::LastBytes {
            return None;
        }
        let line = self.routes.line(entry.route);
        let is_meant = of.is_none_or(|of| line.route.listener == of);
        let evicts = line.listener.at_limit == AtLimit::Evict;
        if !(is_meant && evicts) || entry.conn.holds_up(Patience::Byte) {
            return None;
        }
        let idle = entry.active.begins().after(line.listener.evict_idle_after);
        // What it waits for since a moment ago may be there, and not have been read.
        Some(idle.max(entry.waits_since.begins()))
    }

    fn evict(&mut self, index: ConnIndex, limit: &Limit) {
        self.admission.evict(index, limit.bound.clone());
        Worker::end(self, index, Reason::Evicted);
    }

    fn facts(&mut self, index: ConnIndex) -> Option<Facts> {
        let unique_id = self.unique_id(index);
        let is_unserved = self.unserved.is_away(index);
        let entry = self.lives.entry(index);
        let state = match entry.conn.phase() {
            Phase::Vacant => return None,
            Phase::Meeting | Phase::Preface { .. } => State::Preamble,
            Phase::Opening | Phase::Withdrawing { .. } => State::Opening,
            Phase::Departed if is_unserved => State::Opening,
            Phase::Standby { .. } => State::Standby,
            Phase::Held { .. } => State::Held,
            Phase::Silent { .. } => State::Silent,
            Phase::Connecting | Phase::Asking => State::Connecting,
            Phase::Pressed(Shortage::Room) => State::Queued,
            Phase::Pressed(Shortage::Address) => State::Opening,
            Phase::Pressed(Shortage::Kernel) => State::Pressed,
            Phase::Retrying => State::Retrying,
            Phase::Joined | Phase::Departing | Phase::Departed => State::Joined,
            Phase::Delivering { .. } => State::Delivering,
            Phase::Ending(_) => State::Ending,
        };
        let route = &self.routes.line(entry.route).route;
        let moved = entry.conn.moved_bytes();
        Some(Facts {
            worker: self.plan.worker.0,
            listener: route.listener,
            upstream: route.upstream,
            server: entry.server.map(CountedServer::id),
            state,
            seen: self.time.heard(),
            opened: entry.opened.millis(),
            active: entry.active.begins(),
            to_upstream_bytes: moved[Side::Client],
            to_client_bytes: moved[Side::Upstream],
            unique_id,
        })
    }

    fn parties(&mut self, index: ConnIndex) -> Option<Parties> {
        let entry = self.lives.entry(index);
        let is_there = entry.conn.phase() != Phase::Vacant;
        let server = entry.server.map(CountedServer::id);
        is_there.then(|| self.routes.parties(entry.route, server))
    }

    fn tls(&mut self, index: ConnIndex) -> Option<Arc<TlsClient>> {
        self.tls_client(index)
    }

    fn id(&mut self, index: ConnIndex) -> ConnId {
        let generation = self.lives.entry(index).generation;
        ConnId { worker: self.plan.worker.0, slot: index.0, generation }
    }

    fn is_there(&mut self, id: ConnId) -> bool {
        let index = ConnIndex(id.slot);
        let ours = id.worker == self.plan.worker.0;
        // An id may name a slot that never was, and none is made for it.
        ours && self.lives.used_from(id.slot) == Some(index) && {
            let entry = self.lives.entry(index);
            entry.generation == id.generation && entry.conn.phase() != Phase::Vacant
        }
    }

    fn is_living(&mut self, id: ConnId) -> bool {
        self.is_there(id) && self.activity(ConnIndex(id.slot)).is_some()
    }

    fn has_addresses(&mut self, index: ConnIndex, side: Side) -> bool {
        self.lives.entry(index).conn.has_addresses(side)
    }

    fn ask_addresses(&mut self, index: ConnIndex, side: Side) {
        if self.lives.entry(index).conn.can_ask_addresses(side) {
            self.apply(index, Event::AddressesWanted(side));
        }
    }

    fn end(&mut self, index: ConnIndex, reason: Reason) {
        Worker::end(self, index, reason);
    }

    fn queued_clients(&self) -> u32 {
        self.admission.waiting(&self.ring).map(|(_, clients)| clients).sum()
    }

    fn stop_accepting(&mut self) {
        for (gate, clients) in self.admission.waiting(&self.ring) {
            let refused = &self.routes.of_gate(gate).counters.refused;
            refused[Refusal::DrainEnd as usize].add(u64::from(clients));
        }
        self.admission.stop(&mut self.ring);
    }

    fn take_arrivals(&mut self) -> Vec<ConnIndex> {
        self.errands.take_arrivals()
    }
}
