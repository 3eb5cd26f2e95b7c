//! Clients whose route depends on the name that they ask for in a TLS hello.

use std::sync::Arc;

use super::Worker;
use super::decoder::{Decoder, Judgement, Told};
use crate::base::{ConnIndex, PreambleFault, RouteId};
use crate::config::{Sniff, Unmatched};
use crate::ring::Ring;
use crate::topology::Listener;
use crate::wire::{self, Decoded, Entry, Names};

/// Reads a TLS hello.
#[derive(Debug)]
struct Hello {
    routes: Names<RouteId>,
    listener: Arc<Listener>,
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
pub(super) fn decoder(listener: &Arc<Listener>) -> Option<Box<dyn Decoder>> {
    if listener.sniffing.sniff == Sniff::Off {
        return None;
    }
    let entries = listener.named.iter().map(|one| Entry {
        names: one.names.clone(),
        protocols: one.protocols.clone(),
        target: one.route,
    });
    Some(Box::new(Hello { routes: Names::new(entries), listener: listener.clone() }))
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
