//! A worker's counts: at the listener, at the server and at itself.

use super::errands::Farewell;
use super::table::{ConnectTime, CountedServer};
use super::{Verdict, Worker};
use crate::base::{BySide, ConnIndex, Errno, OpKind, RouteId, ServerId, Side, TlsFault};
use crate::conn::{Phase, Reason};
use crate::metrics::{ConnectFailure, ServerCounters};
use crate::ring::{Accepts as _, Buffers as _, Ring};
use crate::upstream::Failure;

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
        let failure = match (entry.conn.phase(), kind, result) {
            (Phase::Opening, OpKind::Open, Ok(_)) => return,
            // It is to be asked something first.
            (Phase::Connecting, OpKind::Connect, Ok(_)) if entry.conn.is_asked() => return,
            (Phase::Connecting, OpKind::Connect, Ok(_)) => None,
            (Phase::Retrying, ..) => Some(ConnectFailure::TimedOut),
            // The bind of the source address failed; a connect says so where no port is free.
            (Phase::Opening, _, Err(Errno::EADDRNOTAVAIL)) => Some(ConnectFailure::NoAddress),
            (Phase::Opening | Phase::Connecting, _, Err(error)) => Some(ConnectFailure::of(error)),
            _ => Some(ConnectFailure::Abandoned),
        };
        let Some(failure) = failure else { return self.count_joined(index) };
        entry.connect = ConnectTime::NONE;
        self.routes.place(server.id()).counters.failed[failure as usize].add(1);
        self.note_failure(server.id(), failure, result);
    }

    /// A server has a client from here on.
    pub(super) fn count_joined(&mut self, index: ConnIndex) {
        let entry = self.lives.entry(index);
        let Some(server) = entry.server else { return };
        let (route, opened) = (entry.route, entry.opened);
        let began = entry.waits_since.moment(entry.connect.last_bits());
        let took = self.time.moment().since(began);
        entry.connect = ConnectTime::done(took);
        let counters: &ServerCounters = &self.routes.place(server.id()).counters;
        counters.joined.add(1);
        counters.connect.observe(took);
        self.routes.joined(server.id());
        self.routes.of_upstream(route).connect.observe(took);
        let listener = &self.routes.line(route).counters;
        listener.join.observe(self.time.moment().since(opened));
    }

    /// A server has failed a client, if it was its own fault.
    fn note_failure(&self, server: ServerId, failure: ConnectFailure, result: Result<u32, Errno>) {
        let failure = match (failure, result) {
            (ConnectFailure::NoPort | ConnectFailure::NoAddress, _) => return,
            (ConnectFailure::Pressure | ConnectFailure::Abandoned, _) => return,
            (ConnectFailure::TimedOut, _) | (_, Ok(_)) => Failure::Silence,
            (_, Err(errno)) => Failure::Connect(errno),
        };
        self.routes.failed(server, failure, self.time.now());
    }

    /// A connection leaves its server: whether that one ended it early is seen here.
    pub(super) fn note_leave(&mut self, index: ConnIndex) {
        let entry = self.lives.entry(index);
        let Some(server) = entry.server else { return };
        if entry.connect.took().is_none() || !matches!(entry.conn.phase(), Phase::Ending(_)) {
            return;
        }
        let is_mute = entry.conn.moved_bytes()[Side::Upstream] == 0;
        if is_mute && entry.conn.is_ended_by_bad_tls() {
            return; // Whose fault that was is noted.
        }
        let is_its = is_mute && entry.conn.is_ended_by_server();
        let opened = entry.opened;
        let by_server = is_its.then(|| (Failure::EarlyEnd, self.time.moment().since(opened)));
        self.routes.ended(server.id(), opened.millis(), by_server, self.time.now());
    }

    /// A server's side of a session is wrong: whether it was so early is seen here.
    pub(super) fn note_broken(&mut self, index: ConnIndex, fault: TlsFault) {
        let entry = self.lives.entry(index);
        let Some(server) = entry.server else { return };
        if entry.conn.moved_bytes()[Side::Upstream] > 0 {
            return;
        }
        let opened = entry.opened;
        let by_server = Some((Failure::EarlyTls(fault), self.time.moment().since(opened)));
        self.routes.ended(server.id(), opened.millis(), by_server, self.time.now());
    }

    /// Shows how things stand. Called once a turn.
    pub(super) fn publish(&self, is_drained: bool) {
        let counters = &self.counters;
        counters.turns.add(1);
        counters.beat_millis.set(self.time.now().0);
        counters.open.set(u64::from(self.lives.open()));
        counters.slots.set(u64::from(self.ring.slots()));
        counters.held.set(self.keep.held() as u64);
        let (sessions, awake) = self.ring.counts();
        counters.sessions.set(sessions as u64);
        counters.sessions_awake.set(awake as u64);
        counters.gathered_bytes.set(self.ring.gathered_bytes() as u64);
        counters.handshaking.set(self.shakes.running() as u64);
        counters.handshakes_waiting.set(self.shakes.waiting() as u64);
        counters.starved_lanes.set(self.starved.count() as u64);
        counters.buffers.set(u64::from(self.ring.pool_buffers()));
        counters.free_buffers.set(u64::from(self.ring.free_buffers()));
        counters.timers.set(u64::from(self.lives.deadlines()));
        counters.leaving.set(match self.errands.farewell() {
            Farewell::No => 0,
            Farewell::Draining => 1,
            Farewell::Stopping => 2,
        });
        counters.drained.set(u64::from(is_drained));
        counters.take_over(self.ring.counters().after(self.former));
    }
}
