//! Clients whose TLS ends here: their handshake is the last of their preface.
//!
//! It takes what decoders have left of their first bytes. When it is done, the ring opens and seals
//! what passes, and the client is as any other from then on.

use std::rc::Rc;
use std::sync::Arc;

use super::Worker;
use super::decoder::{Told, ToldTls};
use super::shake::Shake;
use super::sniff::NamedRoutes;
use super::tls_clients::TlsClient;
use crate::base::{BAD_RECORD, CUT_OFF, ConnIndex, OpKind, PreambleFault, Side, TlsFault};
use crate::config::Tlv;
use crate::conn::{Event, Phase, Reason};
use crate::ring::{Done, Ring};
use crate::tls::{Acceptor, Established, HandshakeFault};
use crate::topology::{Listener, Topology};
use crate::wire::{Decoded, client_hello};

/// How the clients of a listener shake hands.
#[derive(Debug)]
pub(super) struct Termination {
    acceptor: Acceptor,
    listener: Arc<Listener>,
    /// Where those go that ask for a name.
    routes: NamedRoutes,
}

impl Termination {
    /// As a listener has it now: as it was before, where nothing of it has changed.
    pub(super) fn of(
        before: Option<Rc<Termination>>,
        listener: &Arc<Listener>,
        topology: &Topology,
    ) -> Option<Rc<Termination>> {
        let (materials, tickets) = listener.tls.as_ref().zip(listener.tickets.as_ref())?;
        if let Some(before) = before.filter(|before| Arc::ptr_eq(&before.listener, listener)) {
            return Some(before);
        }
        let acceptor = Acceptor::new(&materials.plan(tickets));
        let acceptor = acceptor.expect("the authorities of a file were there when it was read");
        let routes = NamedRoutes::of(listener, topology);
        Some(Rc::new(Termination { acceptor, listener: listener.clone(), routes }))
    }

    /// The most handshakes of a worker's at once.
    pub(super) fn most(&self) -> usize {
        self.listener.tls.as_ref().map_or(0, |tls| tls.handshakes as usize)
    }
}

impl<R: Ring> Worker<R> {
    /// What a client has said behind its preface is its handshake's.
    pub(super) fn shake(&mut self, index: ConnIndex) {
        let now = self.time.now();
        let read = self.prefaces.read(index);
        let Some(tls) = read.tls.clone() else { return };
        match &mut read.shake {
            Some(_) if !self.shakes.go_on(index, now) => return,
            Some(_) => {}
            // Half a hello needs no handshake, and can go to another process.
            None if matches!(client_hello(&read.bytes), Decoded::More(_)) => {
                return self.apply(index, Event::PrefaceMore);
            }
            None if !self.shakes.begin(index, now) => return self.apply(index, Event::StandBy),
            none => *none = Some(Box::new(Shake::begin(tls.acceptor.begin(), &[]))),
        }
        let shake = read.shake.as_mut().expect("it was just begun");
        shake.hear(&mut read.bytes);
        if !shake.words().is_empty() {
            return self.say(index, Side::Client);
        }
        match shake.is_over() {
            true => self.shaken(index),
            false => self.apply(index, Event::PrefaceMore),
        }
    }

    /// A client has heard all that its handshake had to say, and that has ended.
    pub(super) fn shaken(&mut self, index: ConnIndex) {
        self.shakes.leave(index);
        let read = self.prefaces.read(index);
        let (end, _) = read.shake.take().expect("it was begun").into_end();
        match end {
            Ok(established) => self.secured(index, *established),
            Err(fault) => self.unshaken(index, fault),
        }
    }

    fn secured(&mut self, index: ConnIndex, established: Established) {
        let Established { session, name, protocol, subject, is_resumed } = established;
        let suite = session.suite();
        let read = self.prefaces.read(index);
        let (tls, received) = (read.tls.take(), std::mem::take(&mut read.bytes));
        let life = (index, self.lives.entry(index).generation);
        self.ring.secure(life, Side::Client, session, &received);
        let counters = &self.routes.line(self.lives.entry(index).route).counters;
        counters.tls_handshakes.add(1);
        counters.tls_resumed.add(u64::from(is_resumed));
        let routes = &tls.expect("it was being read").routes;
        let route = match routes.find(name.as_deref(), protocol.as_deref()) {
            Err(fault) => return self.refuse(index, fault),
            Ok(route) => route,
        };
        let common_name = subject.as_ref().and_then(|subject| subject.common_name.clone());
        if common_name.is_some() || self.plan.settings.access.is_some() {
            let server_name = name.clone();
            self.tls_clients.keep(index, TlsClient { suite, server_name, common_name });
        }
        let way = route.unwrap_or(self.lives.entry(index).route);
        let telling = self.routes.line(way).telling.as_ref();
        let tls = telling.is_some_and(|telling| telling.tells(Tlv::Ssl)).then(|| {
            let gets_der = telling.is_some_and(|telling| telling.tells(Tlv::ClientCert));
            Box::new(ToldTls::of(suite, subject, is_resumed, gets_der))
        });
        self.hear(index, Told { route, name, protocol, tls, ..Told::default() });
        self.read_through(index);
    }

    /// How the client of a connection speaks TLS, if it ends here.
    pub(super) fn tls_client(&self, index: ConnIndex) -> Option<Arc<TlsClient>> {
        let suite = self.ring.session(index, Side::Client)?.suite();
        let of_session = || Arc::new(TlsClient { suite, server_name: None, common_name: None });
        Some(self.tls_clients.get(index).unwrap_or_else(of_session))
    }

    /// A client was told why there is no session, where it can be told.
    fn unshaken(&mut self, index: ConnIndex, fault: HandshakeFault) {
        let route = self.lives.entry(index).route;
        if fault == HandshakeFault::NotTls {
            return self.refuse(index, PreambleFault::NotTls);
        }
        self.routes.line(route).counters.tls_faults[TlsFault::from(fault) as usize].add(1);
        self.apply(index, Event::PrefaceDeclined(Reason::BadTls));
    }

    /// Handshakes that wait for their turn go on and begin, as many as may.
    pub(super) fn begin_handshakes(&mut self) {
        let now = self.time.now();
        while let Some(index) = self.shakes.stalled(now) {
            self.shakes.leave(index);
            let route = self.lives.entry(index).route;
            self.routes.line(route).counters.tls_faults[TlsFault::Stalled as usize].add(1);
            self.apply(index, Event::PrefaceRefused(Reason::PreambleTimeout));
        }
        while let Some(index) = self.shakes.call() {
            match self.lives.entry(index).conn.phase() {
                Phase::Standby { .. } => self.apply(index, Event::PrefaceBrought),
                Phase::Preface { .. } => {}
                // It was ended while it waited, and its slot is not empty yet.
                _ => {
                    self.shakes.leave(index);
                    continue;
                }
            }
            self.decode_on(index);
        }
        self.shakes.turn();
    }

    /// Connections that wait for the rest of a record for too long are ended.
    pub(super) fn end_overdue(&mut self) {
        while let Some(index) = self.ring.overdue() {
            self.count_tls_fault(index, TlsFault::LateRecord);
            // Half a record is owed, however long nothing came: it is cut, and looks so.
            self.apply(index, Event::Ended { reason: Reason::BadTls, at_rest: false });
        }
    }

    /// Counts what is wrong with a side's records.
    pub(super) fn note_tls_fault(&mut self, done: &Done) {
        if done.token.kind != OpKind::Receive {
            return;
        }
        let fault = match done.result {
            Err(CUT_OFF) => TlsFault::CutOff,
            Err(BAD_RECORD) => match self.ring.fault(done.token.conn, done.token.side) {
                Some(fault) => fault.into(),
                None => TlsFault::Other,
            },
            _ => return,
        };
        self.count_tls_fault(done.token.conn, fault);
        if done.token.side == Side::Upstream {
            self.note_broken(done.token.conn, fault);
        }
    }

    fn count_tls_fault(&mut self, index: ConnIndex, fault: TlsFault) {
        let route = self.lives.entry(index).route;
        self.routes.line(route).counters.tls_faults[fault as usize].add(1);
    }
}
