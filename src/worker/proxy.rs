//! Clients that come through a balancer, which says by a PROXY header whose connection it forwards.
//!
//! The header is a [`Preface`](super::Preface), read of trusted peers alone. The address that it
//! names takes the place of the peer's wherever addresses are asked for: `Worker::addresses_found`
//! is the only way to them.

use std::net::SocketAddr;

use super::Worker;
use super::decoder::{Decoder, Judgement, Told};
use super::keep::Course;
use crate::base::limits::NAMED_BYTES;
use crate::base::{ConnIndex, PreambleFault, Sparse};
use crate::config::{AcceptProxy, Preamble};
use crate::conn::{Event, Reason};
use crate::ring::{FourTuple, Ring};
use crate::wire::{Decoded, HEADER_MAX, proxy_header};

/// Reads a PROXY header of either version.
#[derive(Debug)]
struct Header;

impl Decoder for Header {
    fn judge(&self, bytes: &[u8], _: &[u8]) -> Judgement {
        match proxy_header(bytes) {
            Decoded::More(_) => Judgement::More,
            Decoded::NotMine => Judgement::Bad(PreambleFault::NoHeader),
            Decoded::Bad(fault) => Judgement::Bad(fault),
            Decoded::Done { used, facts } => {
                let told =
                    Told { ends: facts.ends, fields: facts.fields.into(), ..Told::default() };
                Judgement::Done { taken_bytes: used, told }
            }
        }
    }

    fn most_bytes(&self) -> usize {
        HEADER_MAX
    }
}

/// How the headers are read of clients of which one is asked for, if it is.
pub(super) fn decoder(preamble: &Preamble) -> Option<Box<dyn Decoder>> {
    (preamble.accept_proxy != AcceptProxy::Off).then(|| Box::new(Header) as Box<dyn Decoder>)
}

const _: () = assert!(size_of::<Option<SocketAddr>>() == NAMED_BYTES);

/// The clients that a header has named: 32 bytes for each slot of a block that has one.
#[derive(Debug, Default)]
pub(super) struct Named(Sparse<SocketAddr>);

impl Named {
    /// A header has named it.
    pub(super) fn put(&mut self, index: ConnIndex, client: SocketAddr) {
        self.0.put(index, client);
    }

    /// What a header has named it.
    pub(super) fn of(&self, index: ConnIndex) -> Option<SocketAddr> {
        self.0.get(index).copied()
    }

    /// It is gone.
    pub(super) fn forget(&mut self, index: ConnIndex) {
        self.0.take(index);
    }

    /// The addresses of a client's socket, with who it is in place of who has forwarded it.
    pub(super) fn behind(&mut self, index: ConnIndex, found: FourTuple) -> FourTuple {
        match self.0.get(index) {
            Some(&client) => FourTuple { peer: Some(client), via: found.peer, ..found },
            None => found,
        }
    }
}

impl<R: Ring> Worker<R> {
    /// The address of a client was found, or could not be, on which it depends whether it may come,
    /// and whether it is read.
    pub(super) fn meet(&mut self, index: ConnIndex) {
        let found = self.met.take();
        let line = self.routes.line(self.lives.entry(index).route);
        let preface = line.preface.as_ref().expect("its route asks for one");
        let trust = preface.trust.as_ref();
        match found.map(|found| found.peer) {
            None => self.refuse(index, PreambleFault::UnknownPeer),
            // The kernel knows no peer any more: it was reset.
            Some(None) => self.apply(index, Event::PrefaceRefused(Reason::ClientGone)),
            // Its header says whom it comes for, and then that one is judged.
            Some(Some(peer)) if trust.is_some_and(|trust| trust.trusts(peer.ip())) => {
                self.prefaces.meet(index, preface.clone(), 0);
                self.await_preface(index);
            }
            Some(Some(_)) if trust.is_some_and(|it| it.accept_proxy == AcceptProxy::Required) => {
                self.refuse(index, PreambleFault::UntrustedPeer);
            }
            Some(Some(peer)) => {
                if self.judge_source(index, peer.ip()) == Course::On {
                    self.go_on_direct(index);
                }
            }
        }
    }

    /// A client that may come, and sends no header.
    pub(super) fn go_on_direct(&mut self, index: ConnIndex) {
        let line = self.routes.line(self.lives.entry(index).route);
        let preface = line.preface.as_ref().expect("its route asks for one");
        let headers = usize::from(preface.trust.is_some());
        // A handshake is read like any other preface.
        if preface.decoders.len() > headers || line.tls.is_some() {
            self.prefaces.meet(index, preface.clone(), headers);
            return self.await_preface(index);
        }
        let onward = line.onward();
        let keeps = self.keep_unread(index, onward.wiring);
        self.apply(index, Event::PrefaceDone { keeps, onward });
        self.ask_for_opening(index);
    }

    /// A client has said who it is, or where it wants to go. Says whether it goes on.
    pub(super) fn hear(&mut self, index: ConnIndex, told: Told) -> Course {
        let client = told.ends.map(|ends| ends.source);
        if let Some(client) = client {
            self.named.0.put(index, client);
        }
        if let Some(route) = told.route {
            self.reroute(index, route);
        }
        // Whether a server gets a header is known when all was read.
        self.headers.hear(index, told);
        client.map_or(Course::On, |client| self.judge_source(index, client.ip()))
    }

    /// A client is reset for what it said, or for who it is.
    pub(super) fn refuse(&mut self, index: ConnIndex, fault: PreambleFault) {
        let route = self.lives.entry(index).route;
        self.routes.line(route).counters.bad_preambles[fault as usize].add(1);
        self.apply(index, Event::PrefaceRefused(Reason::BadPreamble));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_named_client_takes_the_place_of_its_peer_until_it_is_gone() {
        let (one, other) = (ConnIndex(5000), ConnIndex(5001));
        let (local, peer) = (address("10.0.0.1:80"), Some(address("10.0.0.2:99")));
        let found = FourTuple { local, peer, via: None };
        let mut named = Named::default();
        assert_eq!(named.behind(one, found), found);
        let client = address("192.0.2.7:40000");
        named.0.put(one, client);
        let behind = FourTuple { local, peer: Some(client), via: peer };
        assert_eq!((named.behind(one, found), named.behind(other, found)), (behind, found));
        named.forget(other);
        named.forget(one);
        assert_eq!(named.behind(one, found), found);
    }
}
