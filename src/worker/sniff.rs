//! Clients whose route depends on the name that they ask for in a TLS hello, which those of
//! PostgreSQL send once they have asked for TLS.

use std::sync::Arc;

use super::Worker;
use super::decoder::{Decoder, Judgement, Request, Told};
use crate::base::{ConnIndex, PreambleFault, RouteId};
use crate::config::{Sniff, Unmatched};
use crate::ring::Ring;
use crate::topology::{Listener, Route, Topology};
use crate::wire::{self, Decoded, Entry, Names, PostgresStart};

/// Where clients of a listener go that ask for names.
#[derive(Debug)]
pub(super) struct NamedRoutes {
    routes: Names<RouteId>,
    listener: Arc<Listener>,
    /// Held, so that no id among those above is given to another route, which may be another
    /// listener's, while a client may say its name.
    _held: Vec<Arc<Route>>,
}

impl NamedRoutes {
    pub(super) fn of(listener: &Arc<Listener>, topology: &Topology) -> NamedRoutes {
        let entries = listener.named.iter().map(|one| Entry {
            names: one.names.clone(),
            protocols: one.protocols.clone(),
            target: one.route,
        });
        let routes = Names::new(entries);
        let held = listener.named.iter().map(|one| topology.routes[one.route].clone()).collect();
        NamedRoutes { routes, listener: listener.clone(), _held: held }
    }

    /// The route of a client whose session has agreed on these; none: its listener's own.
    pub(super) fn find(
        &self,
        name: Option<&str>,
        protocol: Option<&[u8]>,
    ) -> Result<Option<RouteId>, PreambleFault> {
        let route = self.routes.find(name, protocol.into_iter()).copied();
        match self.listener.sniffing.unmatched {
            Unmatched::Refuse if route.is_none() => Err(PreambleFault::UnknownName),
            _ => Ok(route),
        }
    }
}

/// Reads a TLS hello.
#[derive(Debug)]
struct Hello(NamedRoutes);

impl Hello {
    /// What a client comes to for which there is no route.
    fn unmatched(&self, fault: PreambleFault, told: Told) -> Judgement {
        match self.0.listener.sniffing.unmatched {
            Unmatched::Upstream => Judgement::Done { taken_bytes: 0, told },
            Unmatched::Refuse => Judgement::Bad(fault),
        }
    }
}

impl Decoder for Hello {
    fn judge(&self, bytes: &[u8], _: &[u8]) -> Judgement {
        self.read(bytes, None)
    }

    fn most_bytes(&self) -> usize {
        wire::HELLO_MAX
    }
}

impl Hello {
    /// Reads a client that has asked for TLS by this request, or may speak something else.
    fn read(&self, bytes: &[u8], request: Option<Request>) -> Judgement {
        match wire::client_hello(bytes) {
            Decoded::More(_) => Judgement::More,
            Decoded::NotMine if request.is_some() => Judgement::Bad(PreambleFault::NotTls),
            Decoded::NotMine => self.unmatched(PreambleFault::NotTls, Told::default()),
            Decoded::Bad(fault) => Judgement::Bad(fault),
            Decoded::Done { facts: hello, .. } => {
                let route = self.0.routes.find(hello.server_name(), hello.protocols()).copied();
                let name = hello.server_name().map(Into::into);
                let protocol = hello.protocols().next().map(Into::into);
                let told = Told { route, name, protocol, request, ..Told::default() };
                match route {
                    Some(_) => Judgement::Done { taken_bytes: 0, told },
                    None => self.unmatched(PreambleFault::UnknownName, told),
                }
            }
        }
    }
}

/// Reads how a client of PostgreSQL begins, and its TLS hello.
#[derive(Debug)]
struct Postgres(Hello);

/// What a client gets that asks for TLS, or for encryption by GSSAPI, and what its server says.
const AGREED: &[u8] = b"S";
const REFUSED: &[u8] = b"N";

impl Decoder for Postgres {
    fn judge(&self, bytes: &[u8], answer: &[u8]) -> Judgement {
        let Postgres(hello) = self;
        if answer == AGREED && hello.0.listener.tls.is_some() {
            return Judgement::Done { taken_bytes: 0, told: Told::default() };
        }
        if answer == AGREED {
            let request = Request { bytes: &wire::SSL_REQUEST, consent: AGREED };
            return hello.read(bytes, Some(request));
        }
        let answers = |taken_bytes, say| Judgement::Answer { taken_bytes, say };
        match wire::postgres(bytes) {
            Decoded::More(_) => Judgement::More,
            Decoded::Bad(fault) => Judgement::Bad(fault),
            Decoded::Done { used, facts: PostgresStart::SslRequest } => answers(used, AGREED),
            // Asked for again it is no preface of PostgreSQL's.
            Decoded::Done { facts: PostgresStart::GssRequest, .. } if answer == REFUSED => {
                Judgement::Bad(PreambleFault::NotTls)
            }
            Decoded::Done { used, facts: PostgresStart::GssRequest } => answers(used, REFUSED),
            Decoded::Done { facts: PostgresStart::Hello, .. } => hello.read(bytes, None),
            Decoded::Done { facts: PostgresStart::Plain, .. } | Decoded::NotMine => {
                hello.unmatched(PreambleFault::NotTls, Told::default())
            }
        }
    }

    fn most_bytes(&self) -> usize {
        wire::HELLO_MAX
    }
}

/// How the names are read that clients of a listener ask for, if they are.
pub(super) fn decoder(listener: &Arc<Listener>, topology: &Topology) -> Option<Box<dyn Decoder>> {
    if listener.sniffing.sniff == Sniff::Off {
        return None;
    }
    let is_postgres = listener.sniffing.sniff == Sniff::Postgres;
    let hello = Hello(NamedRoutes::of(listener, topology));
    match is_postgres {
        true => Some(Box::new(Postgres(hello))),
        false => Some(Box::new(hello)),
    }
}

impl<R: Ring> Worker<R> {
    /// A client goes another way than its listener's own from here on.
    pub(super) fn reroute(&mut self, index: ConnIndex, route: RouteId) {
        let entry = self.lives.entry(index);
        if self.routes.change(entry.route, route) {
            entry.route = route;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, NamedRoute, Sniffing};
    use crate::topology::{Asked, Register};

    const NAMES: [&str; 2] = ["one", "other"];

    fn listener(name: &str, routes: Vec<NamedRoute>) -> config::Listener {
        let sniffing = Sniffing { routes, sniff: Sniff::Tls, ..Sniffing::default() };
        config::Listener { name: name.to_owned(), sniffing, ..config::Listener::default() }
    }

    fn next(register: &mut Register, before: &Topology, listener: config::Listener) -> Topology {
        let upstream = |name: &str| config::Upstream {
            name: name.to_owned(),
            kind: config::UpstreamKind::Builtin(config::Builtin::Echo),
            ..config::Upstream::default()
        };
        let upstreams = NAMES.map(upstream);
        let asked = Asked { listeners: &[listener], upstreams: &upstreams, gates: &[], tls: None };
        register.next(before, asked).expect("few of each kind")
    }

    #[test]
    fn a_client_of_postgresql_is_answered_and_says_its_name_then() {
        let mut register = Register::default();
        let mut edge = listener("edge", Vec::new());
        edge.sniffing.sniff = Sniff::Postgres;
        let topology = next(&mut register, &Topology::default(), edge);
        let its = topology.listeners.values().next().expect("there is one");
        let decoder = decoder(its, &topology).expect("it reads names");
        let gss = b"\0\0\0\x08\x04\xd2\x16\x30";
        let answered = |say: &'static [u8]| Judgement::Answer { taken_bytes: 8, say };
        for (bytes, answer) in [(&wire::SSL_REQUEST, b"S"), (gss, b"N")] {
            assert_eq!(decoder.judge(bytes, b""), answered(answer));
            assert_eq!(decoder.judge(&bytes[..7], b""), Judgement::More);
            let early = [&bytes[..], b"\x16"].concat();
            assert_eq!(decoder.judge(&early, b""), Judgement::Bad(PreambleFault::EarlyBytes));
        }
        assert_eq!(decoder.judge(&wire::SSL_REQUEST, b"N"), answered(b"S"));
        let not_tls = Judgement::Bad(PreambleFault::NotTls);
        assert_eq!(decoder.judge(gss, b"N"), not_tls, "it was declined already");
        assert_eq!(decoder.judge(&wire::SSL_REQUEST, b"S"), not_tls);
        let plain = Judgement::Done { taken_bytes: 0, told: Told::default() };
        assert_eq!(decoder.judge(b"\0\0\0\x09\0\x03\0\0\0", b"N"), plain);
        assert_eq!(decoder.judge(b"GET /", b""), plain);
        assert_eq!(decoder.judge(b"\x16\x03\x01", b"S"), Judgement::More);
    }

    #[test]
    fn a_name_leads_to_no_route_that_came_after_its_own_was_taken_away() {
        let (mut register, named) = (Register::default(), |upstream| NamedRoute {
            server_names: Vec::new(),
            alpn: Vec::new(),
            upstream,
        });
        let first = listener("first", vec![named(1)]);
        let before = next(&mut register, &Topology::default(), first);
        let its = before.listeners.values().next().expect("there is one").clone();
        let ids: Vec<RouteId> = before.routes.ids().collect();
        let decoder = decoder(&its, &before).expect("it reads names");
        let between = next(&mut register, &before, listener("second", Vec::new()));
        drop(before);
        let after = next(&mut register, &between, listener("third", vec![named(1)]));
        let is_reused = |id: &RouteId| after.routes.get(*id).is_some();
        assert!(!is_reused(&its.named[0].route), "{ids:?}, {decoder:?}");
    }
}
