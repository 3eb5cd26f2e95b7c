//! Clients whose route depends on the name that they ask for in a TLS hello.

use std::sync::Arc;

use super::Worker;
use super::decoder::{Decoder, Judgement, Told};
use crate::base::{ConnIndex, PreambleFault, RouteId};
use crate::config::{Sniff, Unmatched};
use crate::ring::Ring;
use crate::topology::{Listener, Route, Topology};
use crate::wire::{self, Decoded, Entry, Names};

/// Reads a TLS hello.
#[derive(Debug)]
struct Hello {
    routes: Names<RouteId>,
    listener: Arc<Listener>,
    /// Held, so that no id among those above is given to another route, which may be another
    /// listener's, while a client may say its name.
    _held: Vec<Arc<Route>>,
}

impl Hello {
    /// What a client comes to for which there is no route.
    fn unmatched(&self, fault: PreambleFault, told: Told) -> Judgement {
        match self.listener.sniffing.unmatched {
            Unmatched::Upstream => Judgement::Done { taken_bytes: 0, told },
            Unmatched::Refuse => Judgement::Bad(fault),
        }
    }
}

impl Decoder for Hello {
    fn judge(&self, bytes: &[u8]) -> Judgement {
        match wire::client_hello(bytes) {
            Decoded::More(_) => Judgement::More,
            Decoded::NotMine => self.unmatched(PreambleFault::NotTls, Told::default()),
            Decoded::Bad(fault) => Judgement::Bad(fault),
            Decoded::Done { facts: hello, .. } => {
                let route = self.routes.find(hello.server_name(), hello.protocols()).copied();
                let name = hello.server_name().map(Into::into);
                let protocol = hello.protocols().next().map(Into::into);
                let told = Told { route, name, protocol, ..Told::default() };
                match route {
                    Some(_) => Judgement::Done { taken_bytes: 0, told },
                    None => self.unmatched(PreambleFault::UnknownName, told),
                }
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
    let entries = listener.named.iter().map(|one| Entry {
        names: one.names.clone(),
        protocols: one.protocols.clone(),
        target: one.route,
    });
    let held = listener.named.iter().map(|one| topology.routes[one.route].clone()).collect();
    let (routes, listener) = (Names::new(entries), listener.clone());
    Some(Box::new(Hello { routes, listener, _held: held }))
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
        let asked = Asked { listeners: &[listener], upstreams: &upstreams, gates: &[] };
        register.next(before, asked).expect("few of each kind")
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
