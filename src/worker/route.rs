//! Completion to connection, its actions to operations, its deadlines to the wheel.

use std::time::Duration;

use super::table::{ConnectTime, CountedServer};
use super::{HistoryKind, Verdict, Worker};
use crate::base::{
    BySide, Chunk, ConnIndex, Errno, GateId, OpKind, Operation, RouteId, ServerId, Side, Tick,
};
use crate::conn::{Action, Connection, Event, Phase, Reason, is_pressure};
use crate::ring::{Done, FourTuple, Ring, Token};
use crate::upstream::Tried;

/// How long no byte has moved in a connection that may be ended by FIN. Servers commonly end a
/// connection that was idle for so long themselves (Apache's KeepAliveTimeout is 5 s), so its peers
/// do not take that for the end of something that had begun.
const REST: Duration = Duration::from_secs(5);

impl<R: Ring> Worker<R> {
    /// A client was accepted into this slot: its connection begins, or does so once the slot's
    /// last one has ended.
    pub(super) fn admit(&mut self, gate: GateId, index: ConnIndex, verdict: Verdict) {
        let route = self.routes.enter(gate);
        let entry = self.lives.entry(index);
        if entry.conn.phase() == Phase::Vacant {
            return self.begin(route, index, verdict);
        }
        // The slot's close was carried out, but this overtook its completion.
        self.lives.succeed(index, route, verdict);
    }

    fn begin(&mut self, route: RouteId, index: ConnIndex, verdict: Verdict) {
        self.count_accept(route, verdict);
        let line = self.routes.line(route);
        let (conn, actions) = match (verdict, &line.preface) {
            (Verdict::Serve, None) => Connection::accepted(line.wiring, self.plan.asks_addresses()),
            (Verdict::Serve, Some(_)) => {
                Connection::prefaced(line.wiring, self.plan.asks_addresses())
            }
            (Verdict::Refuse(_), _) => Connection::refused(self.plan.asks_addresses()),
        };
        let entry = self.lives.entry(index);
        entry.conn = conn;
        entry.opened = self.time.moment();
        entry.active = Tick::not_before(self.time.now());
        entry.waits_since = entry.active;
        entry.route = route;
        entry.connect = ConnectTime::NONE;
        entry.tried = Tried::NONE;
        entry.out_of_ports = false;
        for action in actions.list {
            self.perform(index, action);
        }
        self.set_timer(index);
        self.ask_for_opening(index);
        self.errands.arrived(index);
    }

    /// An operation of a connection completed.
    pub(super) fn done(&mut self, done: Done) {
        let Token { conn: index, generation, side, kind } = done.token;
        if self.lives.entry(index).generation != generation {
            self.counters.stale_completions.add(1);
            if let Some(buffer) = done.buffer {
                self.ring.release(buffer);
            }
            return;
        }
        if matches!(kind, OpKind::Open | OpKind::Connect) {
            self.count_attempt(index, kind, done.result);
        }
        match kind {
            // It took no buffer: another lane may have the wake that it used up.
            OpKind::Receive if done.buffer.is_none() && done.result != Err(Errno::ENOBUFS) => {
                self.starved.try_again();
            }
            OpKind::Splice if done.result == Err(Errno::EMFILE) => {
                self.counters.splices_refused.add(1);
            }
            OpKind::Connect if done.result.is_err() => {
                // Every port of this source towards this server is taken; another server's may not.
                let no_port = done.result == Err(Errno::EADDRNOTAVAIL);
                self.lives.entry(index).out_of_ports |= no_port;
            }
            OpKind::Open if done.result.is_err() => {
                self.leave_server(index);
                if let Some(error) = done.result.err().filter(|error| is_pressure(*error)) {
                    // The server was not tried, and new clients would fare no better.
                    self.lives.entry(index).tried.take_back();
                    self.admission.press(error, self.time.now());
                }
            }
            OpKind::Close if side == Side::Upstream => self.leave_server(index),
            OpKind::Addresses => self.addresses_found(done.token),
            _ => {}
        }
        let Done { result, buffer, full, more, .. } = done;
        self.apply(index, Event::Completed { side, kind, result, buffer, full, more });
    }

    /// Puts an event into a connection and does what comes out.
    pub(super) fn apply(&mut self, index: ConnIndex, event: Event) {
        let entry = self.lives.entry(index);
        let before = entry.conn.patience();
        let actions = entry.conn.on(event);
        if actions.moved {
            entry.active = Tick::not_before(self.time.now());
        }
        let changed = entry.conn.patience() != before;
        if changed {
            entry.waits_since = Tick::not_before(self.time.now());
        }
        let (route, server) = (entry.route, entry.server);
        if actions.moved {
            self.count_bytes(route, server, actions.delivered_bytes);
        }
        for action in actions.list {
            self.perform(index, action);
        }
        if changed || self.would_be_late(index) {
            self.set_timer(index);
        }
    }

    /// Ends a connection from outside.
    pub(super) fn end(&mut self, index: ConnIndex, reason: Reason) {
        let active = self.lives.entry(index).active.begins();
        let at_rest = self.time.heard().since(active) >= REST;
        self.apply(index, Event::Ended { reason, at_rest });
    }

    fn perform(&mut self, index: ConnIndex, action: Action) {
        match action {
            Action::Start(side, operation) => self.start(index, side, operation),
            Action::AwaitPlace => self.await_place(index),
            Action::Judge(chunk) => self.judge(index, chunk),
            Action::Recall => self.recall(index),
            Action::Open => self.open(index),
            Action::Connect => self.connect(index),
            Action::Stalled(sink, chunk) => self.park_if_scarce(index, sink, chunk),
            Action::Release(buffer) => self.ring.release(buffer),
            Action::AwaitBuffer(source) => {
                let generation = self.lives.entry(index).generation;
                self.counters.buffers_starved.add(1);
                self.starved.put(index, generation, source);
            }
            Action::EndSplices => self.ring.end_splices(index),
            Action::Vacate(reason) => self.vacate(index, reason),
        }
    }

    fn start(&mut self, index: ConnIndex, side: Side, operation: Operation) {
        let generation = self.lives.entry(index).generation;
        let token = Token { conn: index, generation, side, kind: operation.kind() };
        self.ring.start(token, operation);
    }

    fn open(&mut self, index: ConnIndex) {
        match self.next_server(index) {
            Some(server) => self.start(index, Side::Upstream, Operation::Open(server)),
            None => self.no_server(index),
        }
    }

    fn connect(&mut self, index: ConnIndex) {
        self.lives.entry(index).connect = ConnectTime::began(self.time.moment());
        let server = self.server_of(index);
        self.start(index, Side::Upstream, Operation::Connect(server));
    }

    /// A peer that does not read may keep a pool buffer only while half of the pool is free:
    /// otherwise a pool's worth of such peers would stop everybody else.
    fn park_if_scarce(&mut self, index: ConnIndex, sink: Side, chunk: Chunk) {
        // Its next piece of a preface is to find the buffer that this one leaves.
        if !self.ring.is_scarce() || self.prefaces.keeps_more(index) {
            return;
        }
        if let Some(parked) = self.ring.park(chunk) {
            self.apply(index, Event::ChunkMoved(sink, parked));
        }
    }

    /// The next server that this connection has not tried.
    fn next_server(&mut self, index: ConnIndex) -> Option<ServerId> {
        let entry = self.lives.entry(index);
        let turn = index.0 as usize;
        let server = self.routes.next_server(entry.route, &mut entry.tried, turn)?;
        entry.server = Some(CountedServer::new(server));
        Some(server)
    }

    /// Every server was tried. Where only a source port was missing, the client waits for one and
    /// new ones wait in the backlog; else no server is left.
    fn no_server(&mut self, index: ConnIndex) {
        let entry = self.lives.entry(index);
        entry.tried = Tried::NONE;
        // Ports are taken where connections hold them; otherwise the host has no address to
        // connect from, and waiting would not help.
        let is_short = std::mem::take(&mut entry.out_of_ports);
        if !(is_short && self.routes.any_open(entry.route)) {
            return self.apply(index, Event::ServersExhausted);
        }
        self.admission.press(Errno::EADDRNOTAVAIL, self.time.now());
        self.apply(index, Event::NoPort);
    }

    fn server_of(&mut self, index: ConnIndex) -> ServerId {
        self.lives.entry(index).server.expect("it connects to a server that it has chosen").id()
    }

    /// The connection no longer counts as one of its server's.
    fn leave_server(&mut self, index: ConnIndex) {
        let entry = self.lives.entry(index);
        let Some(server) = entry.server.take() else { return };
        if self.plan.access.is_some() && matches!(entry.conn.phase(), Phase::Ending(_)) {
            let server = self.routes.place(server.id()).server.clone();
            self.notes.departure(index).server = Some(server);
        }
        self.routes.leave_server(server.id());
    }

    fn vacate(&mut self, index: ConnIndex, reason: Reason) {
        self.count_end(index, reason);
        let generation = self.lives.entry(index).generation;
        self.notes.keep(self.time.moment(), HistoryKind::Ended { conn: index, generation, reason });
        if self.plan.asks_addresses() {
            let departure = self.notes.take_departure(index);
            self.log_end(index, reason, &departure.addresses);
            self.note_end(index, reason, departure);
        }
        self.leave_place(index);
        let route = self.lives.entry(index).route;
        if reason != Reason::Refused {
            self.admission.left(&self.routes.line(route).listener);
        }
        self.routes.leave(route);
        if let Some((route, verdict)) = self.lives.end(index) {
            self.begin(route, index, verdict);
        }
    }

    /// The addresses of a side were found, or could not be: for a line about its opening or its
    /// end, for the scan that asked, or for several of these.
    fn addresses_found(&mut self, token: Token) {
        let found = self.ring.addresses(token);
        let ends = matches!(self.lives.entry(token.conn).conn.phase(), Phase::Ending(_));
        if self.plan.asks_addresses() && ends {
            self.notes.departure(token.conn).addresses[token.side] = found;
        }
        if token.side == Side::Client {
            self.note_opening(token.conn, found);
        }
        self.errands.addresses_found(token, found);
    }

    fn log_end(&mut self, index: ConnIndex, reason: Reason, addresses: &BySide<Option<FourTuple>>) {
        let moved = self.lives.entry(index).conn.moved_bytes();
        let show = |name: Option<std::net::SocketAddr>| match name {
            Some(address) => address.to_string(),
            None => "-".to_owned(),
        };
        let local = |side: Side| show(addresses[side].map(|FourTuple { local, .. }| local));
        let peer = |side: Side| show(addresses[side].and_then(|FourTuple { peer, .. }| peer));
        tracing::debug!(
            reason = %reason.word(),
            client = %peer(Side::Client),
            local = %local(Side::Client),
            source = %local(Side::Upstream),
            server = %peer(Side::Upstream),
            to_upstream_bytes = moved[Side::Client],
            to_client_bytes = moved[Side::Upstream],
            "connection ended"
        );
    }
}
