//! Servers that are spoken to in TLS: they are asked for a session before they get a byte.
//!
//! The handshake goes the way of any request to a server (`conn/saying.rs`). One that fails is a
//! failure of that server, and another one is tried.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::Worker;
use super::shake::Shake;
use crate::base::{Chunk, ConnIndex, Side, TlsFault};
use crate::conn::Event;
use crate::metrics::ConnectFailure;
use crate::ring::{Buffers as _, Ring};
use crate::tls::{Connector, Established, UpstreamMaterials};
use crate::upstream::Failure;

/// How the servers of an upstream are spoken to.
#[derive(Debug)]
pub(super) struct Towards {
    connector: Connector,
    materials: Arc<UpstreamMaterials>,
}

impl Towards {
    /// As an upstream has it now: as it was before, where nothing of it has changed.
    pub(super) fn of(
        before: Option<Rc<Towards>>,
        materials: Option<&Arc<UpstreamMaterials>>,
    ) -> Option<Rc<Towards>> {
        let materials = materials?;
        if let Some(before) = before.filter(|before| before.materials == *materials) {
            return Some(before);
        }
        let connector = Connector::new(&materials.plan());
        let connector = connector.expect("a certificate that is read has a key of its own");
        Some(Rc::new(Towards { connector, materials: materials.clone() }))
    }
}

/// The handshakes with servers that a worker has under way.
#[derive(Debug, Default)]
pub(super) struct Dials(HashMap<ConnIndex, Shake>);

impl Dials {
    /// Whether one with this connection's server is under way.
    pub(super) fn has(&self, index: ConnIndex) -> bool {
        self.0.contains_key(&index)
    }

    pub(super) fn running(&self) -> usize {
        self.0.len()
    }

    /// It is over, or its server is not tried any more.
    pub(super) fn forget(&mut self, index: ConnIndex) {
        if !self.0.is_empty() {
            self.0.remove(&index);
        }
    }
}

impl<R: Ring> Worker<R> {
    /// Whether a connection's server is spoken to in TLS: as it was when it was first asked.
    pub(super) fn is_dialled(&mut self, index: ConnIndex) -> bool {
        if self.dials.has(index) || self.prefaces.is_asking(index) {
            return self.dials.has(index);
        }
        let route = self.lives.entry(index).route;
        self.routes.line(route).towards.is_some()
    }

    /// Says the next of our own words to a server: its client's header, then the handshake.
    pub(super) fn dial(&mut self, index: ConnIndex) {
        if !self.dials.0.contains_key(&index) {
            match self.begin_dial(index) {
                Some(shake) => self.dials.0.insert(index, shake),
                None => return self.not_dialled(index, TlsFault::Other),
            };
        }
        let shake = self.dials.0.get_mut(&index).expect("it was just begun");
        if shake.words().is_empty() {
            return match shake.is_over() {
                true => self.dialled(index),
                false => self.apply(index, Event::Said(Side::Upstream)),
            };
        }
        let length = shake.words().len().min(self.ring.buffer_bytes() as usize);
        let chunk = self.ring.fill(length as u32, |bytes| {
            bytes.copy_from_slice(&shake.words()[..length]);
        });
        if chunk.is_some() {
            shake.spoke(length);
        }
        self.apply(index, Event::Say { sink: Side::Upstream, chunk });
    }

    fn begin_dial(&mut self, index: ConnIndex) -> Option<Shake> {
        let entry = self.lives.entry(index);
        let towards = self.routes.line(entry.route).towards.clone()?;
        let server = &self.routes.place(entry.server?.id()).server;
        let name = towards.materials.server_name.clone();
        let name = name.unwrap_or_else(|| ServerName::IpAddress(server.address.ip().into()));
        let handshake = towards.connector.begin(name).ok()?;
        Some(Shake::begin(handshake, self.headers.made(index)))
    }

    /// A server has said something in its handshake.
    pub(super) fn heed_dial(&mut self, index: ConnIndex, chunk: Chunk) {
        let said = self.ring.bytes(chunk).to_vec();
        self.ring.release(chunk.buffer);
        let shake = self.dials.0.get_mut(&index).expect("its server was asked");
        shake.hear_last(said);
        self.dial(index);
    }

    /// A handshake has ended, and all of it was said.
    fn dialled(&mut self, index: ConnIndex) {
        let shake = self.dials.0.remove(&index);
        let (end, rest) = shake.expect("it was begun").into_end();
        match end {
            Ok(established) => {
                let Established { session, .. } = *established;
                let life = (index, self.lives.entry(index).generation);
                self.ring.secure(life, Side::Upstream, session, &rest);
                self.agreed(index);
            }
            Err(fault) => self.not_dialled(index, fault.into()),
        }
    }

    fn not_dialled(&mut self, index: ConnIndex, fault: TlsFault) {
        self.count_unanswered(index, ConnectFailure::NoTls, Some(Failure::Tls(fault)));
        self.apply(index, Event::Answered { agrees: false });
    }
}
