//! What a successor learns of a connection beside its record: each kind in bytes of its own.
//!
//! A process that does not know a kind does not take the connection, which stays where it is.

use std::net::{IpAddr, SocketAddr};

use crate::base::{ConnIndex, Side, UniqueId};
use crate::conn::Wiring;
use crate::ring::Ring;
use crate::wire::handover::{Departure, Record};
use crate::worker::Worker;

/// The number of a wiring in a record.
pub(super) fn number_of(wiring: Wiring) -> u8 {
    match wiring {
        Wiring::Pair => Record::PAIR,
        Wiring::Echo => Record::ECHO,
        Wiring::Discard => Record::DISCARD,
        Wiring::Hold => Record::HOLD,
    }
}

/// The wiring of a number; `None`: another version's.
pub(super) fn wiring_of(number: u8) -> Option<Wiring> {
    let all = [Wiring::Pair, Wiring::Echo, Wiring::Discard, Wiring::Hold];
    all.into_iter().find(|wiring| number_of(*wiring) == number)
}

impl<R: Ring> Worker<R> {
    /// Whether a successor can learn all of a connection.
    pub(super) fn may_depart(&self, index: ConnIndex) -> bool {
        // A session's secrets stay with their process.
        Side::BOTH.iter().all(|side| self.ring.session(index, *side).is_none())
    }

    /// What else a successor learns of a connection; `None`: something of it cannot go now.
    pub(super) fn extras(&mut self, index: ConnIndex) -> Option<Vec<(u8, Vec<u8>)>> {
        if !self.may_depart(index) {
            return None;
        }
        let mut extras = Vec::new();
        if let Some(named) = self.named.of(index) {
            extras.push((Departure::ADDRESSES, address_bytes(named)));
        }
        if let Some(UniqueId(id)) = self.unique_id(index) {
            extras.push((Departure::UNIQUE_ID, id.to_vec()));
        }
        Some(extras)
    }

    /// Takes over what it learns, all of which is understood.
    pub(super) fn keep_extras(&mut self, index: ConnIndex, extras: &[(u8, Vec<u8>)]) {
        for extra in extras.iter().filter_map(|(kind, bytes)| Extra::of(*kind, bytes)) {
            match extra {
                Extra::Named(named) => self.named.put(index, named),
                Extra::UniqueId(id) => self.headers.keep_id(index, id),
            }
        }
    }
}

/// One of them.
enum Extra {
    Named(SocketAddr),
    UniqueId(UniqueId),
}

impl Extra {
    fn of(kind: u8, bytes: &[u8]) -> Option<Extra> {
        match kind {
            Departure::ADDRESSES => address_of(bytes).map(Extra::Named),
            Departure::UNIQUE_ID => Some(Extra::UniqueId(UniqueId(bytes.try_into().ok()?))),
            _ => None,
        }
    }
}

/// Whether this process can take all of them over.
pub(super) fn are_understood(extras: &[(u8, Vec<u8>)]) -> bool {
    extras.iter().all(|(kind, bytes)| Extra::of(*kind, bytes).is_some())
}

/// 4 or 16 bytes of the address, and the port behind them, in network order.
fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes
}

fn address_of(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}
