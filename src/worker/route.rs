//! Completion to connection, its actions to operations, its deadlines to the wheel.

use std::time::Duration;

use super::table::{ConnectTime, CountedServer};
use super::{HistoryKind, Verdict, Worker};
use crate::base::{
    BySide, Chunk, ConnIndex, Errno, GateId, Guard, OpKind, Operation, RouteId, ServerId, Side,
    Source, Tick,
};
use crate::config::Guards;
use crate::conn::{Action, Connection, Event, Phase, Reason, Shortage, is_pressure};
use crate::ring::{Buffers as _, Done, FourTuple, Operations as _, Ring, Token};
use crate::upstream::{ClientKey, Lack, Tried};

/// How long no byte has moved in a connection that may be ended by FIN. Servers commonly end a
/// connection that was idle for so long themselves (Apache's KeepAliveTimeout is 5 s), so its peers
/// do not take that for the end of something that had begun.
const REST: Duration = Duration::from_secs(5);

/// The answer to a connection that asks for a server.
enum Choice {
    /// This one, from this one of its source addresses.
    Server(ServerId, Source),
    /// None now, but there may be room at one soon.
    Later(Lack),
    /// The client's address is to be known first.
    AddressFirst,
    /// None.
    None,
}

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
        let asks_addresses = self.plan.settings.asks_addresses();
        let line = self.routes.line(route);
        let preface = line.preface.as_ref().filter(|_| line.reads);
        let is_met = line.listener.keeper.is_some()
            || preface.is_some_and(|preface| preface.trust.is_some());
        let (conn, actions) = match (verdict, preface) {
            (Verdict::Serve, None) => Connection::accepted(line.onward(), asks_addresses),
            (Verdict::Serve, Some(_)) if is_met => Connection::met(line.wiring, asks_addresses),
            (Verdict::Serve, Some(_)) => Connection::prefaced(line.wiring, asks_addresses),
            (Verdict::Refuse(_), _) => Connection::refused(asks_addresses),
        };
        let entry = self.lives.entry(index);
        entry.conn = conn;
        entry.opened = self.time.moment();
        entry.active = Tick::not_before(self.time.now());
        entry.waits_since = entry.active;
        entry.route = route;
        entry.connect = ConnectTime::NONE;
        entry.tried = Tried::NONE;
        entry.had_no_port = false;
        entry.has_unique_id = false;
        entry.again = None;
        for action in actions.list {
            self.perform(index, action);
        }
        self.set_timer(index);
        // Who it is is not known before it was met, and perhaps was read.
        if !is_met {
            self.ask_for_opening(index);
        }
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
            if done.result == Err(Errno::EADDRNOTAVAIL) {
                self.try_next_source(index);
            }
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
                let entry = self.lives.entry(index);
                entry.had_no_port = done.result == Err(Errno::EADDRNOTAVAIL);
                match entry.had_no_port {
                    true => entry.tried.lack(Lack::Port),
                    false => entry.tried.fail(),
                }
            }
            OpKind::Open if done.result.is_err() => {
                self.leave_server(index);
                let entry = self.lives.entry(index);
                match done.result {
                    Err(error) if is_pressure(error) => {
                        // The server was not tried, and new clients would fare no better.
                        entry.tried.take_back();
                        self.admission.press(error, self.time.now());
                    }
                    _ if entry.again.is_none() => entry.tried.fail(),
                    _ => {}
                }
            }
            OpKind::Close if side == Side::Upstream => self.leave_server(index),
            OpKind::Addresses => self.addresses_found(done.token),
            _ => {}
        }
        if done.result.is_err() {
            self.note_tls_fault(&done);
        }
        if self.arriving.is_some() && done.buffer.is_some() {
            self.flag_received(index);
        }
        let Done { result, buffer, full, more, .. } = done;
        self.apply(index, Event::Completed { side, kind, result, buffer, full, more });
        match kind {
            OpKind::Connect if result.is_ok() => {
                if self.lives.entry(index).conn.phase() == Phase::Joined {
                    self.end_wait(index, true);
                }
                self.guard(index, Guards::unacknowledged);
            }
            // Another one may have become due meanwhile.
            OpKind::Guard => self.set_timer(index),
            _ => {}
        }
    }

    /// Has the server's socket find out whether the server is gone, if its upstream wants that.
    pub(super) fn guard(&mut self, index: ConnIndex, which: impl Fn(&Guards) -> Option<Guard>) {
        let route = self.lives.entry(index).route;
        if let Some(guard) = which(&self.routes.line(route).guards) {
            self.apply(index, Event::GuardDue(guard));
        }
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
        if self.arriving.is_some() {
            self.flag_at_rest(index);
        }
        if changed || self.would_be_late(index) {
            self.set_timer(index);
        }
    }

    /// Ends a connection from outside.
    pub(super) fn end(&mut self, index: ConnIndex, reason: Reason) {
        let active = self.lives.entry(index).active.begins();
        let at_rest = self.time.heard().since(active) >= REST && !self.ring.owes(index);
        self.apply(index, Event::Ended { reason, at_rest });
    }

    pub(super) fn perform(&mut self, index: ConnIndex, action: Action) {
        match action {
            Action::Start(side, operation) => self.start(index, side, operation),
            Action::Meet => self.meet(index),
            Action::AwaitPlace => self.await_place(index),
            Action::Judge(chunk) => self.judge(index, chunk),
            Action::Recall => self.recall(index),
            Action::Head(first) => self.head(index, first),
            Action::Say(sink) => self.say(index, sink),
            Action::Heed(chunk) => self.heed(index, chunk),
            Action::Unanswered(lapse) => self.unanswered(index, lapse),
            Action::Open => self.open(index),
            Action::Connect => self.connect(index),
            Action::Stalled(sink, chunk) => self.stalled(index, sink, chunk),
            Action::Release(buffer) => self.ring.release(buffer),
            Action::AwaitBuffer(source) => {
                let generation = self.lives.entry(index).generation;
                self.counters.buffers_starved.add(1);
                self.starved.put(index, generation, source);
            }
            Action::EndSplices => self.ring.end_splices(index),
            Action::Departed => self.departed(index),
            Action::Vacate(reason) => self.vacate(index, reason),
        }
    }

    fn start(&mut self, index: ConnIndex, side: Side, operation: Operation) {
        if self.arriving.is_some() {
            self.flag_before(index, operation.kind());
        }
        let generation = self.lives.entry(index).generation;
        let token = Token { conn: index, generation, side, kind: operation.kind() };
        self.ring.start(token, operation);
    }

    fn open(&mut self, index: ConnIndex) {
        match self.choose(index) {
            Choice::Server(server, source) => {
                self.start(index, Side::Upstream, Operation::Open(server, source));
            }
            Choice::Later(lack) => self.wait_for_room(index, lack),
            Choice::AddressFirst => self.apply(index, Event::AddressFirst),
            Choice::None => self.apply(index, Event::ServersExhausted),
        }
    }

    fn connect(&mut self, index: ConnIndex) {
        self.lives.entry(index).connect = ConnectTime::began(self.time.moment());
        let server = self.server_of(index);
        self.start(index, Side::Upstream, Operation::Connect(server));
    }

    /// A peer does not read. It may keep a pool buffer only while half of the pool is free:
    /// otherwise a pool's worth of such peers would stop everybody else. A pipe it may keep, unless
    /// its connection departs.
    fn stalled(&mut self, index: ConnIndex, sink: Side, chunk: Chunk) {
        let departs = self.lives.entry(index).conn.phase() == Phase::Departing;
        if departs {
            let moved = self.ring.park(chunk).unwrap_or(chunk);
            return self.apply(index, Event::ChunkMoved(sink, moved));
        }
        // Its next piece of a preface is to find the buffer that this one leaves.
        let may_stay = chunk.buffer.is_pipe() || self.prefaces.keeps_more(index);
        if !may_stay
            && self.ring.is_scarce()
            && let Some(parked) = self.ring.park(chunk)
        {
            self.apply(index, Event::ChunkMoved(sink, parked));
        }
    }

    /// The next server that this connection has not tried, from which on it counts for it. Where
    /// all were tried, and one only had no room, there is none now and may be one later.
    fn choose(&mut self, index: ConnIndex) -> Choice {
        // It is this one's, whatever becomes of it: the next that asks is another.
        let client = self.client.take();
        if self.lives.entry(index).tried.is_fresh() && self.is_behind_others(index) {
            return Choice::Later(Lack::Limit);
        }
        let entry = self.lives.entry(index);
        if let Some(server) = entry.again.take() {
            if self.routes.enter_server(server.id()) {
                entry.server = Some(server);
                entry.source = entry.source.next();
                return Choice::Server(server.id(), entry.source);
            }
            entry.tried.lack(Lack::Limit);
        }
        let lacks_header = entry.conn.wants_header() && !self.headers.is_made(index);
        if client.is_none() && (lacks_header || self.routes.is_by_source(entry.route)) {
            return Choice::AddressFirst;
        }
        entry.sources_tried = 0;
        if entry.tried.is_fresh() {
            let connect = self.routes.line(entry.route).timeouts.connect;
            entry.connect_until = Tick::not_before(self.time.now().after(connect));
        }
        let turn = index.0 as usize;
        let (route, tried, client) = (entry.route, &mut entry.tried, client.unwrap_or_default());
        if let Some(server) = self.routes.next_server(route, tried, turn, client) {
            entry.server = Some(CountedServer::new(server));
            entry.source = self.routes.next_source(server);
            return Choice::Server(server, entry.source);
        }
        match std::mem::take(&mut entry.tried).lacked() {
            Lack::Nothing => Choice::None,
            lack => Choice::Later(lack),
        }
    }

    /// From one of its sources a server cannot be reached now: it has no port left, or is not this
    /// host's. The server is tried from each of the others before the next one is.
    fn try_next_source(&mut self, index: ConnIndex) {
        let entry = self.lives.entry(index);
        let Some(server) = entry.server else { return };
        entry.sources_tried = entry.sources_tried.saturating_add(1);
        let sources = self.routes.place(server.id()).server.sources.len();
        entry.again = (usize::from(entry.sources_tried) < sources).then_some(server);
    }

    fn server_of(&mut self, index: ConnIndex) -> ServerId {
        self.lives.entry(index).server.expect("it connects to a server that it has chosen").id()
    }

    /// The connection no longer counts as one of its server's.
    fn leave_server(&mut self, index: ConnIndex) {
        self.note_leave(index);
        let entry = self.lives.entry(index);
        let Some(server) = entry.server.take() else { return };
        if self.plan.settings.access.is_some() && matches!(entry.conn.phase(), Phase::Ending(_)) {
            let server = self.routes.place(server.id()).server.clone();
            self.notes.departure(index).server = Some(server);
        }
        let had_port = !std::mem::take(&mut entry.had_no_port);
        let route = entry.route;
        self.routes.leave_server(server.id());
        if had_port {
            self.free_room(self.routes.line(route).route.upstream);
        }
    }

    fn vacate(&mut self, index: ConnIndex, reason: Reason) {
        // Where it ended, it is counted and logged.
        let is_elsewhere = self.forget_departure(index);
        if !is_elsewhere {
            self.count_end(index, reason);
        }
        if let Some(arriving) = &mut self.arriving {
            arriving.end(index);
        }
        let generation = self.lives.entry(index).generation;
        self.notes.keep(self.time.moment(), HistoryKind::Ended { conn: index, generation, reason });
        if self.plan.settings.asks_addresses() && !is_elsewhere {
            let departure = self.notes.take_departure(index);
            self.log_end(index, reason, &departure.addresses);
            self.note_end(index, reason, departure);
        }
        self.leave_place(index);
        self.unserved.forget(index);
        self.named.forget(index);
        self.tls_clients.take(index);
        self.headers.forget(index);
        self.dials.forget(index);
        self.leave_source(index, reason);
        self.end_wait(index, false);
        let route = self.lives.entry(index).route;
        if reason != Reason::Refused {
            self.admission.left(&self.routes.line(route).listener);
            self.admission.end_eviction(index);
        }
        self.routes.leave(route);
        if let Some((route, verdict)) = self.lives.end(index) {
            self.begin(route, index, verdict);
        }
        self.arrive_behind(index);
    }

    /// The addresses of a side were found, or could not be: for a line about its opening or its
    /// end, for the choice of a server or the scan that asked, or for several of these.
    fn addresses_found(&mut self, token: Token) {
        let mut found = self.ring.addresses(token);
        if token.side == Side::Client {
            found = found.map(|found| self.named.behind(token.conn, found));
        }
        let phase = self.lives.entry(token.conn).conn.phase();
        let ends = matches!(phase, Phase::Ending(_));
        if self.plan.settings.asks_addresses() && ends {
            self.notes.departure(token.conn).addresses[token.side] = found;
        }
        if token.side == Side::Client {
            self.note_opening(token.conn, found);
        }
        self.errands.addresses_found(token, found);
        if phase == Phase::Meeting {
            self.met = found;
        }
        let is_awaited = phase == Phase::Pressed(Shortage::Address) && token.side == Side::Client;
        if is_awaited {
            // The socket of a client that is gone has none; the connection is about to end.
            let client = found.and_then(|found| found.peer).map(|peer| ClientKey::of(peer.ip()));
            self.client = Some(client.unwrap_or_default());
            self.make_header(token.conn, found);
        }
    }

    fn log_end(&mut self, index: ConnIndex, reason: Reason, addresses: &BySide<Option<FourTuple>>) {
        let moved = self.lives.entry(index).conn.moved_bytes();
        let show = |name: Option<std::net::SocketAddr>| match name {
            Some(address) => address.to_string(),
            None => "-".to_owned(),
        };
        let local = |side: Side| show(addresses[side].map(|FourTuple { local, .. }| local));
        let peer = |side: Side| show(addresses[side].and_then(|FourTuple { peer, .. }| peer));
        let via = addresses[Side::Client].and_then(|FourTuple { via, .. }| via);
        tracing::debug!(
            reason = %reason.word(),
            client = %peer(Side::Client),
            via = via.map(tracing::field::display),
            local = %local(Side::Client),
            source = %local(Side::Upstream),
            server = %peer(Side::Upstream),
            to_upstream_bytes = moved[Side::Client],
            to_client_bytes = moved[Side::Upstream],
            "connection ended"
        );
    }
}
