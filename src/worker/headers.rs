//! PROXY headers that servers get before their clients' first bytes.
//!
//! A header is made as soon as its client's addresses are known, before a server is chosen, and is
//! kept until the join.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::Worker;
use super::decoder::Told;
use crate::base::{ConnIndex, Micros, UniqueId, WorkerId};
use crate::config::{SendProxy, Tlv};
use crate::ring::{FourTuple, Ring};
use crate::wire::{self, Ends, Fields};

/// The headers of a worker's clients that are not joined.
#[derive(Debug)]
pub(super) struct Headers {
    clients: HashMap<ConnIndex, Header>,
    /// What no other worker has, of no gateway.
    salt: u32,
    /// Ids that another process has given.
    brought: HashMap<ConnIndex, UniqueId>,
}

#[derive(Debug)]
enum Header {
    /// What the client's first bytes have said, for the header.
    Told(Told),
    /// Its bytes.
    Made(Box<[u8]>),
}

impl Default for Headers {
    fn default() -> Headers {
        // The standard library's keys for hashes are its only source of chance.
        let salt = RandomState::new().build_hasher().finish() as u32;
        Headers { clients: HashMap::new(), salt, brought: HashMap::new() }
    }
}

impl Headers {
    /// A client's first bytes have said this, for its header, and perhaps others more.
    pub(super) fn hear(&mut self, index: ConnIndex, told: Told) {
        match self.clients.entry(index).or_insert_with(|| Header::Told(Told::default())) {
            Header::Told(before) => before.add(told),
            Header::Made(_) => panic!("slot {} spoke after its header was made", index.0),
        }
    }

    /// Whether a client's header is made.
    pub(super) fn is_made(&self, index: ConnIndex) -> bool {
        matches!(self.clients.get(&index), Some(Header::Made(_)))
    }

    /// A client's header, if it was made.
    pub(super) fn made(&self, index: ConnIndex) -> &[u8] {
        match self.clients.get(&index) {
            Some(Header::Made(header)) => header,
            _ => &[],
        }
    }

    /// Takes a client's header, if it was made.
    pub(super) fn take(&mut self, index: ConnIndex) -> Option<Box<[u8]>> {
        if !self.is_made(index) {
            return None;
        }
        match self.clients.remove(&index) {
            Some(Header::Made(header)) => Some(header),
            _ => None,
        }
    }

    /// A client is gone.
    pub(super) fn forget(&mut self, index: ConnIndex) {
        if !self.clients.is_empty() {
            self.clients.remove(&index);
        }
        if !self.brought.is_empty() {
            self.brought.remove(&index);
        }
    }

    /// A client's header was made by another process.
    pub(super) fn keep_made(&mut self, index: ConnIndex, header: Box<[u8]>) {
        self.clients.insert(index, Header::Made(header));
    }

    /// A client's server was told this id by another process.
    pub(super) fn keep_id(&mut self, index: ConnIndex, id: UniqueId) {
        self.brought.insert(index, id);
    }
}

impl<R: Ring> Worker<R> {
    /// The addresses of a client were found, or could not be: the header is made that its server is
    /// to get, if it is.
    pub(super) fn make_header(&mut self, index: ConnIndex, found: Option<FourTuple>) {
        let entry = self.lives.entry(index);
        if !entry.conn.wants_header() || self.headers.is_made(index) {
            return;
        }
        let line = self.routes.line(entry.route);
        let forwarding = line.telling.as_ref().expect("its server expects one");
        let told = match self.headers.clients.remove(&index) {
            Some(Header::Told(told)) => told,
            _ => Told::default(),
        };
        let found = found.and_then(|found| Some((found.peer?, found.local)));
        let own = found.map(|(source, destination)| Ends { source, destination });
        let ends = told.ends.or(own);
        let has = |tlv: Tlv| forwarding.tells(tlv);
        let id = unique_id(self.headers.salt, entry.opened, self.plan.worker, index);
        let mut has_unique_id = false;
        let mut header = Vec::new();
        match (forwarding.send_proxy, ends) {
            (SendProxy::V1, Some(ends)) => wire::proxy_line(ends, &mut header),
            // The client is gone, and its connection is about to end.
            (SendProxy::V1, None) => header.extend_from_slice(b"PROXY UNKNOWN\r\n"),
            (_, None) => wire::proxy_local(&mut header),
            (_, Some(ends)) => {
                let ssl = told.tls.as_ref().filter(|_| has(Tlv::Ssl)).map(|tls| tls.field());
                let fields = Fields {
                    received: if has(Tlv::Received) { &told.fields } else { &[] },
                    authority: has(Tlv::Authority)
                        .then_some(told.name.as_deref())
                        .flatten()
                        .map(str::as_bytes),
                    alpn: has(Tlv::Alpn).then_some(told.protocol.as_deref()).flatten(),
                    ssl: ssl.as_deref(),
                    unique_id: has(Tlv::UniqueId).then_some(&id.0[..]),
                    checksum: has(Tlv::Crc32c),
                };
                wire::proxy_binary(ends, &fields, &mut header);
                has_unique_id = fields.unique_id.is_some();
            }
        }
        self.headers.clients.insert(index, Header::Made(header.into()));
        self.lives.entry(index).has_unique_id = has_unique_id;
    }

    /// The unique id that a client's header has, if it was made and has one.
    pub(super) fn unique_id(&mut self, index: ConnIndex) -> Option<UniqueId> {
        let entry = self.lives.entry(index);
        let id = || unique_id(self.headers.salt, entry.opened, self.plan.worker, index);
        let brought = self.headers.brought.get(&index).copied();
        brought.or_else(|| entry.has_unique_id.then(id))
    }
}

/// What no other connection has: 4 bytes of chance, 6 of the time of the accept, the worker and the
/// slot.
fn unique_id(salt: u32, opened: Micros, worker: WorkerId, index: ConnIndex) -> UniqueId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&salt.to_be_bytes());
    id[4..10].copy_from_slice(&opened.0.to_be_bytes()[2..]);
    id[10..12].copy_from_slice(&worker.0.to_be_bytes());
    id[12..].copy_from_slice(&index.0.to_be_bytes());
    UniqueId(id)
}
