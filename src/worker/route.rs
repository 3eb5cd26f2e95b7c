//! Completion to connection, its actions to operations, its deadlines to the wheel.

use std::time::Duration;

use super::table::{ConnectTime, CountedServer};
use super::{HistoryKind, Verdict, Worker};
use crate::base::{
    BySide, Chunk, ConnIndex, Errno, GateId, Millis, OpKind, Operation, RouteId, ServerId, Side,
    Tick,
};
use crate::conn::{Action, Connection, Event, Patience, Phase, Reason, is_pressure};
use crate::ring::{Done, FourTuple, Ring, Token};
use crate::upstream::Tried;

/// When cancelled operations that have not ended are cancelled again.
const RETIREMENT_PATIENCE: Duration = Duration::from_secs(1);
/// How soon the kernel is asked again for what it had no file or memory for.
const PRESSURE_PATIENCE: Duration = Duration::from_millis(200);
/// How long one direction may be over before a reset of its sender is watched for.
const OTHER_END_PATIENCE: Duration = Duration::from_secs(1);
/// How often a reset that waits for its last bytes looks whether they have arrived.
const DELIVERY_PATIENCE: Duration = Duration::from_millis(50);
/// How long what a side sent before its reset may make no way before the reset is passed on all
/// the same. A reset destroys bytes anyway; this is for a peer that is slow, not for one that has
/// stopped.
const LAST_BYTES_PATIENCE: Duration = Duration::from_secs(5);
/// How long no byte has moved in a connection that may be ended by FIN. Servers commonly end a
/// connection that was idle for so long themselves (Apache's KeepAliveTimeout is 5 s), so its peers
/// do not take that for the end of something that had begun.
const REST: Duration = Duration::from_secs(5);

impl<R: Ring> Worker<R> {
    /// A client was accepted into this slot: its connection begins, or does so once the slot's
    /// last one has ended.
    pub(super) fn admit(&mut self, gate: GateId, index: ConnIndex, verdict: Verdict) {
        let route = self.routes.enter(gate);
        let entry = self.table.entry(index);
        if entry.conn.phase() == Phase::Vacant {
            return self.begin(route, index, verdict);
        }
        // The slot's close was carried out, but this overtook its completion.
        let other = self.successors.insert(index, (route, verdict));
        assert!(other.is_none(), "two clients in slot {}", index.0);
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
        let entry = self.table.entry(index);
        entry.conn = conn;
        entry.opened = self.moment;
        entry.active = Tick::not_before(self.now);
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
        if self.table.entry(index).generation != generation {
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
                self.starved_tries += 1;
            }
            OpKind::Splice if done.result == Err(Errno::EMFILE) => {
                self.counters.splices_refused.add(1);
            }
            OpKind::Connect if done.result.is_err() => {
                // Every port of this source towards this server is taken; another server's may not.
                let no_port = done.result == Err(Errno::EADDRNOTAVAIL);
                self.table.entry(index).out_of_ports |= no_port;
            }
            OpKind::Open if done.result.is_err() => {
                self.leave_server(index);
                if let Some(error) = done.result.err().filter(|error| is_pressure(*error)) {
                    // The server was not tried, and new clients would fare no better.
                    self.table.entry(index).tried.take_back();
                    self.admission.press(error, self.now);
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
        let entry = self.table.entry(index);
        let before = entry.conn.patience();
        let actions = entry.conn.on(event);
        if actions.moved {
            entry.active = Tick::not_before(self.now);
        }
        let changed = entry.conn.patience() != before;
        if changed {
            entry.waits_since = Tick::not_before(self.now);
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
        let active = self.table.entry(index).active.begins();
        let at_rest = self.heard.since(active) >= REST;
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
                let generation = self.table.entry(index).generation;
                self.counters.buffers_starved.add(1);
                self.starved.push_back((index, generation, source));
            }
            Action::EndSplices => self.ring.end_splices(index),
            Action::Vacate(reason) => self.vacate(index, reason),
        }
    }

    fn start(&mut self, index: ConnIndex, side: Side, operation: Operation) {
        let generation = self.table.entry(index).generation;
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
        self.table.entry(index).connect = ConnectTime::began(self.moment);
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
        let entry = self.table.entry(index);
        let turn = index.0 as usize;
        let server = self.routes.next_server(entry.route, &mut entry.tried, turn)?;
        entry.server = Some(CountedServer::new(server));
        Some(server)
    }

    /// Every server was tried. Where only a source port was missing, the client waits for one and
    /// new ones wait in the backlog; else no server is left.
    fn no_server(&mut self, index: ConnIndex) {
        let entry = self.table.entry(index);
        entry.tried = Tried::NONE;
        // Ports are taken where connections hold them; otherwise the host has no address to
        // connect from, and waiting would not help.
        let is_short = std::mem::take(&mut entry.out_of_ports);
        if !(is_short && self.routes.any_open(entry.route)) {
            return self.apply(index, Event::ServersExhausted);
        }
        self.admission.press(Errno::EADDRNOTAVAIL, self.now);
        self.apply(index, Event::NoPort);
    }

    fn server_of(&mut self, index: ConnIndex) -> ServerId {
        self.table.entry(index).server.expect("it connects to a server that it has chosen").id()
    }

    /// The connection no longer counts as one of its server's.
    fn leave_server(&mut self, index: ConnIndex) {
        let entry = self.table.entry(index);
        let Some(server) = entry.server.take() else { return };
        if self.plan.access.is_some() && matches!(entry.conn.phase(), Phase::Ending(_)) {
            let server = self.routes.place(server.id()).server.clone();
            self.departures.entry(index).or_default().server = Some(server);
        }
        self.routes.leave_server(server.id());
    }

    fn vacate(&mut self, index: ConnIndex, reason: Reason) {
        self.count_end(index, reason);
        let generation = self.table.entry(index).generation;
        self.history.keep(self.moment, HistoryKind::Ended { conn: index, generation, reason });
        if self.plan.asks_addresses() {
            let departure = self.departures.remove(&index).unwrap_or_default();
            self.log_end(index, reason, &departure.addresses);
            self.note_end(index, reason, departure);
        }
        self.timers.clear(&mut self.table, index);
        self.leave_place(index);
        let entry = self.table.entry(index);
        if reason != Reason::Refused {
            self.admission.left(&self.routes.line(entry.route).listener);
        }
        self.routes.leave(entry.route);
        entry.generation = (entry.generation + 1) % Token::GENERATIONS;
        if !self.successors.is_empty()
            && let Some((route, verdict)) = self.successors.remove(&index)
        {
            self.begin(route, index, verdict);
        }
    }

    /// The addresses of a side were found, or could not be: for a line about its opening or its
    /// end, for the scan that asked, or for several of these.
    fn addresses_found(&mut self, token: Token) {
        let found = self.ring.addresses(token);
        let ends = matches!(self.table.entry(token.conn).conn.phase(), Phase::Ending(_));
        if self.plan.asks_addresses() && ends {
            self.departures.entry(token.conn).or_default().addresses[token.side] = found;
        }
        if token.side == Side::Client {
            self.note_opening(token.conn, found);
        }
        self.errands.addresses_found(token, found);
    }

    fn log_end(&mut self, index: ConnIndex, reason: Reason, addresses: &BySide<Option<FourTuple>>) {
        let moved = self.table.entry(index).conn.moved_bytes();
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

    /// Puts the connection's earliest deadline into the wheel.
    pub(super) fn set_timer(&mut self, index: ConnIndex) {
        match self.deadline(index) {
            Some((due, _)) => self.timers.set(&mut self.table, index, Tick::not_before(due)),
            None => self.timers.clear(&mut self.table, index),
        }
    }

    /// The earliest deadline of a connection, and what ends its patience then.
    pub(super) fn deadline(&mut self, index: ConnIndex) -> Option<(Millis, Patience)> {
        let entry = self.table.entry(index);
        let line = self.routes.line(entry.route);
        let timeouts = &line.timeouts;
        let idle_since = entry.active.begins();
        let since = entry.waits_since.begins();
        let byte = timeouts.idle.map(|idle| (idle_since.after(idle), Patience::Byte));
        let half_close =
            timeouts.half_close.map(|wait| (idle_since.after(wait), Patience::LastDirection));
        let last_bytes = (idle_since.after(LAST_BYTES_PATIENCE), Patience::LastBytes);
        let (first, second) = match entry.conn.patience() {
            Patience::Unbounded => (None, None),
            Patience::Retirement => {
                return Some((since.after(RETIREMENT_PATIENCE), Patience::Retirement));
            }
            Patience::Pressure => {
                (Some((since.after(PRESSURE_PATIENCE), Patience::Pressure)), None)
            }
            Patience::Preface => {
                let within = line.preface.as_ref().map(|preface| preface.within);
                let opened = entry.opened.millis();
                (within.map(|within| (opened.after(within), Patience::Preface)), None)
            }
            Patience::Connect => (Some((since.after(timeouts.connect), Patience::Connect)), None),
            Patience::Delivery => {
                (Some((since.after(DELIVERY_PATIENCE), Patience::Delivery)), Some(last_bytes))
            }
            Patience::LastBytes => (Some(last_bytes), None),
            Patience::OtherEnd => {
                (Some((since.after(OTHER_END_PATIENCE), Patience::OtherEnd)), half_close)
            }
            Patience::FirstByte => {
                let wait = timeouts.first_byte;
                (wait.map(|wait| (entry.opened.millis().after(wait), Patience::FirstByte)), byte)
            }
            Patience::Byte | Patience::Lifetime | Patience::Quiet => (None, byte),
            Patience::LastDirection => (half_close, byte),
        };
        let lifetime = timeouts.max_lifetime.filter(|_| entry.conn.phase() != Phase::Vacant);
        let lifetime = lifetime.map(|longest| {
            let share = lifetime_share(index, entry.generation);
            let due = entry.opened.millis().after(longest.mul_f64(share));
            (due, Patience::Lifetime)
        });
        let quiet = self.quiet_due(index).map(|due| (due.begins(), Patience::Quiet));
        [first, second, lifetime, quiet].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// When a receive that waits will have waited for too long; `None` when none does.
    fn quiet_due(&mut self, index: ConnIndex) -> Option<Tick> {
        let entry = self.table.entry(index);
        let Tick(since) = entry.active.max(entry.waits_since);
        entry.conn.can_go_quiet().then(|| Tick(since.saturating_add(self.quiet_ticks)))
    }

    /// Whether the wheel comes to the connection too late to find its receive quiet.
    fn would_be_late(&mut self, index: ConnIndex) -> bool {
        let Some(due) = self.quiet_due(index) else { return false };
        let set = self.table.entry(index).timer.due();
        set.is_none_or(|set| set > due.max(Tick(Tick::at(self.heard).0 + 1)))
    }
}

/// Between nine tenths and all of the allotted time, spread by slot and life so that connections
/// that came together do not end together.
fn lifetime_share(index: ConnIndex, generation: u32) -> f64 {
    // Knuth's multiplicative hash: 2³² divided by the golden ratio.
    let spread = (index.0 ^ generation.rotate_left(16)).wrapping_mul(2_654_435_769);
    1.0 - 0.1 * f64::from(spread) / f64::from(u32::MAX)
}
