//! A worker's counts: at the listener, at the server and at itself.

use super::errands::Farewell;
use super::table::{ConnectTime, CountedServer};
use super::{Verdict, Worker};
use crate::base::{BySide, ConnIndex, Errno, OpKind, RouteId, Side};
use crate::conn::{Phase, Reason};
use crate::metrics::{ConnectFailure, ServerCounters};
use crate::ring::Ring;

impl<R: Ring> Worker<R> {
    /// A client was accepted.
    pub(super) fn count_accept(&mut self, route: RouteId, verdict: Verdict) {
        let counters = &self.routes.line(route).counters;
        counters.accepted.add(1);
        if let Verdict::Refuse(limit) = verdict {
            counters.refused[limit as usize].add(1);
        }
        self.lives.begin();
    }

    /// A connection's slots are empty.
    pub(super) fn count_end(&mut self, index: ConnIndex, reason: Reason) {
        let entry = self.lives.entry(index);
        let (route, opened) = (entry.route, entry.opened);
        let counters = &self.routes.line(route).counters;
        counters.closed[reason as usize].add(1);
        counters.lifetime.observe(self.time.moment().since(opened));
    }

    /// Bytes of a connection were delivered. This is on the way of every message: a few additions
    /// on lines that this worker alone writes to.
    pub(super) fn count_bytes(
        &self,
        route: RouteId,
        server: Option<CountedServer>,
        delivered_bytes: BySide<u32>,
    ) {
        let to_upstream_bytes = u64::from(delivered_bytes[Side::Client]);
        let to_client_bytes = u64::from(delivered_bytes[Side::Upstream]);
        let listener = &self.routes.line(route).counters;
        listener.to_upstream_bytes.add(to_upstream_bytes);
        listener.to_client_bytes.add(to_client_bytes);
        if let Some(server) = server {
            let server = &self.routes.place(server.id()).counters;
            server.to_upstream_bytes.add(to_upstream_bytes);
            server.to_client_bytes.add(to_client_bytes);
        }
    }

    /// An open or a connect completed, with which an attempt to connect to a server may be over.
    pub(super) fn count_attempt(
        &mut self,
        index: ConnIndex,
        kind: OpKind,
        result: Result<u32, Errno>,
    ) {
        let entry = self.lives.entry(index);
        let Some(server) = entry.server else { return };
        let (route, opened) = (entry.route, entry.opened);
        let failure = match (entry.conn.phase(), kind, result) {
            (Phase::Opening, OpKind::Open, Ok(_)) => return,
            (Phase::Connecting, OpKind::Connect, Ok(_)) => None,
            (Phase::Retrying, ..) => Some(ConnectFailure::TimedOut),
            (Phase::Opening | Phase::Connecting, _, Err(error)) => Some(ConnectFailure::of(error)),
            _ => Some(ConnectFailure::Abandoned),
        };
        let began = entry.waits_since.moment(entry.connect.last_bits());
        let counters: &ServerCounters = &self.routes.place(server.id()).counters;
        let took = self.time.moment().since(began);
        entry.connect = failure.map_or(ConnectTime::done(took), |_| ConnectTime::NONE);
        match failure {
            Some(failure) => counters.failed[failure as usize].add(1),
            None => {
                counters.joined.add(1);
                self.routes.of_upstream(route).connect.observe(took);
                let listener = &self.routes.line(route).counters;
                listener.join.observe(self.time.moment().since(opened));
            }
        }
    }

    /// Shows how things stand. Called once a turn.
    pub(super) fn publish(&self) {
        let counters = &self.counters;
        counters.turns.add(1);
        counters.beat_millis.set(self.time.now().0);
        counters.open.set(u64::from(self.lives.open()));
        counters.slots.set(u64::from(self.ring.slots()));
        counters.starved_lanes.set(self.starved.count() as u64);
        counters.buffers.set(u64::from(self.ring.pool_buffers()));
        counters.free_buffers.set(u64::from(self.ring.free_buffers()));
        counters.timers.set(u64::from(self.lives.deadlines()));
        counters.leaving.set(match self.errands.farewell() {
            Farewell::No => 0,
            Farewell::Draining => 1,
            Farewell::Stopping => 2,
        });
        counters.take_over(self.ring.counters());
    }
}
