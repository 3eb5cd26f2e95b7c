//! What a successor learns of a connection beside its record: each kind in bytes of its own.
//!
//! A process that does not know a kind does not take the connection, which stays where it is.

use std::net::{IpAddr, SocketAddr};

use crate::base::{BySide, ConnIndex, Side, UniqueId};
use crate::conn::Wiring;
use crate::ring::Ring;
use crate::tls::Moved;
use crate::wire::handover::{Departure, Extra, Record, SecuredSide, TlsFacts};
use crate::worker::Worker;
use crate::worker::unserved::Stand;

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

/// The kind of the extra that has the session of a side.
fn session_of(side: Side) -> u8 {
    match side {
        Side::Client => Departure::CLIENT_SESSION,
        Side::Upstream => Departure::SERVER_SESSION,
    }
}

impl<R: Ring> Worker<R> {
    /// Whether a successor can learn all of a connection.
    pub(super) fn may_depart(&self, index: ConnIndex) -> bool {
        self.ring.can_move(index)
    }

    /// What else a successor learns of a connection; `None`: something of it cannot go now.
    pub(super) fn extras(&mut self, index: ConnIndex) -> Option<Vec<Extra>> {
        if !self.may_depart(index) {
            return None;
        }
        let mut extras = Vec::new();
        if let Some(client) = self.unserved.away(index) {
            extras.push(Extra::new(Departure::STAND, vec![client.stand.number()]));
            if self.headers.is_made(index) {
                extras.push(Extra::new(Departure::HEADER, self.headers.made(index).to_vec()));
            }
        }
        if let Some(named) = self.named.of(index) {
            extras.push(Extra::new(Departure::ADDRESSES, address_bytes(named)));
        }
        if let Some(UniqueId(id)) = self.unique_id(index) {
            extras.push(Extra::new(Departure::UNIQUE_ID, id.to_vec()));
        }
        for side in Side::BOTH {
            let secured = self.ring.hand_over(index, side).ok()?;
            let bytes = secured.map(|secured| secured.to_bytes());
            extras.extend(bytes.map(|bytes| Extra { kind: session_of(side), bytes }));
        }
        if let Some(client) = self.tls_clients.get(index) {
            let (server_name, common_name) =
                (client.server_name.clone(), client.common_name.clone());
            let facts = TlsFacts { server_name, common_name };
            extras.push(Extra::new(Departure::TLS_FACTS, facts.to_bytes()));
        }
        Some(extras)
    }
}

/// What extras say, all of which is understood.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) named: Option<SocketAddr>,
    pub(super) unique_id: Option<UniqueId>,
    pub(super) tls_facts: Option<TlsFacts>,
    /// How far one had come that has no server yet, and the header that its server is to get.
    pub(super) stand: Option<Stand>,
    pub(super) header: Option<Box<[u8]>>,
    /// Sides that speak TLS, and the records that wait to be sent to each.
    pub(super) secured: BySide<Option<(Moved, Vec<u8>)>>,
}

impl Extras {
    /// What these say of a connection of this wiring, if it has one; `None`: this process cannot
    /// take it over.
    pub(super) fn of(extras: &[Extra], wiring: Option<Wiring>) -> Option<Extras> {
        let mut all = Extras::default();
        let secured = |bytes| Moved::of(SecuredSide::from_bytes(bytes).ok()?).ok();
        for Extra { kind, bytes } in extras {
            match *kind {
                Departure::ADDRESSES => all.named = Some(address_of(bytes)?),
                Departure::UNIQUE_ID => {
                    all.unique_id = Some(UniqueId(bytes[..].try_into().ok()?));
                }
                Departure::TLS_FACTS => all.tls_facts = Some(TlsFacts::from_bytes(bytes).ok()?),
                Departure::STAND if wiring.is_none() => {
                    let [number] = bytes[..] else { return None };
                    all.stand = Some(Stand::of_number(number)?);
                }
                Departure::HEADER if wiring.is_none() => all.header = Some(bytes[..].into()),
                Departure::CLIENT_SESSION if wiring.is_some() => {
                    all.secured[Side::Client] = Some(secured(bytes)?)
                }
                Departure::SERVER_SESSION if wiring == Some(Wiring::Pair) => {
                    all.secured[Side::Upstream] = Some(secured(bytes)?);
                }
                _ => return None,
            }
        }
        (all.stand.is_some() == wiring.is_none()).then_some(all)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Session, Suite};

    fn secured(kind: u8, session: &[u8]) -> Extra {
        let side = SecuredSide { session: session.to_vec().into(), ..SecuredSide::default() };
        Extra { kind, bytes: side.to_bytes() }
    }

    #[test]
    fn a_connection_is_taken_over_only_where_all_of_it_is_understood() {
        let secret = [7; 32];
        let session = Session::tls13(Suite::Aes128GcmSha256, (&secret, 0), (&secret, 0)).to_bytes();
        let named = "192.0.2.7:80".parse().expect("an address");
        let facts = TlsFacts { common_name: Some("amy".into()), ..TlsFacts::default() };
        let all = [
            Extra::new(Departure::ADDRESSES, address_bytes(named)),
            Extra::new(Departure::UNIQUE_ID, vec![5; 16]),
            Extra::new(Departure::TLS_FACTS, facts.to_bytes()),
            secured(Departure::CLIENT_SESSION, &session),
            secured(Departure::SERVER_SESSION, &session),
        ];
        let read = Extras::of(&all, Some(Wiring::Pair)).expect("all is known");
        assert_eq!((read.named, read.unique_id), (Some(named), Some(UniqueId([5; 16]))));
        assert_eq!(read.tls_facts, Some(facts));
        assert!(read.secured.0.iter().all(Option::is_some));
        assert!(Extras::of(&all[..4], Some(Wiring::Echo)).is_some());
        assert!(Extras::of(&all, Some(Wiring::Echo)).is_none(), "it has no server");
        for strange in [
            Extra::new(Departure::SOURCE, Vec::new()),
            Extra::new(200, Vec::new()),
            Extra::new(Departure::ADDRESSES, vec![0; 5]),
            Extra::new(Departure::UNIQUE_ID, vec![0; 15]),
            Extra::new(Departure::TLS_FACTS, vec![0]),
            Extra::new(Departure::STAND, vec![1]),
            Extra::new(Departure::HEADER, vec![1]),
            Extra::new(Departure::CLIENT_SESSION, vec![0]),
            secured(Departure::CLIENT_SESSION, &session[1..]),
            secured(Departure::SERVER_SESSION, &[]),
        ] {
            assert!(
                Extras::of(std::slice::from_ref(&strange), Some(Wiring::Pair)).is_none(),
                "{strange:?}"
            );
        }
    }

    #[test]
    fn a_client_without_a_server_is_taken_in_where_its_stand_is_understood() {
        let stand = |number| Extra::new(Departure::STAND, vec![number]);
        for number in 1..=6 {
            let header = Extra::new(Departure::HEADER, vec![7; 28]);
            let read = Extras::of(&[stand(number), header], None).expect("all is known");
            assert_eq!(read.stand.map(Stand::number), Some(number));
            assert_eq!(read.header.as_deref(), Some(&[7; 28][..]));
        }
        let secret = [7; 32];
        let session = Session::tls13(Suite::Aes128GcmSha256, (&secret, 0), (&secret, 0)).to_bytes();
        assert!(Extras::of(&[], None).is_none(), "it stands nowhere");
        for strange in [
            stand(0),
            stand(7),
            Extra::new(Departure::STAND, Vec::new()),
            Extra::new(Departure::STAND, vec![1, 1]),
            secured(Departure::CLIENT_SESSION, &session),
        ] {
            assert!(Extras::of(&[stand(1), strange.clone()], None).is_none(), "{strange:?}");
        }
    }
}
