//! The four ends of a connection's two sockets, and the addresses that a filter means by them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::base::Side;

/// An end of a connection's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The gateway's, on this side.
    Local(Side),
    /// The client's, or the server's.
    Peer(Side),
}

impl End {
    pub(super) fn side(self) -> Side {
        match self {
            End::Local(side) | End::Peer(side) => side,
        }
    }
}

/// The addresses that are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Every port of them.
    Network(IpNet),
    /// One port of one address.
    Port(IpAddr, u16),
}

impl Place {
    pub(super) fn has(self, address: SocketAddr) -> bool {
        match self {
            Place::Network(network) => network.contains(&address.ip()),
            Place::Port(ip, port) => (address.ip(), address.port()) == (ip, port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Names, Query};

    #[test]
    fn an_end_is_a_network_an_address_or_an_address_with_a_port() {
        for (filter, client, holds) in [
            ("src=10.0.0.0/8", "10.1.2.3:1", true),
            ("src=10.0.0.0/8", "11.1.2.3:1", false),
            ("src=10.1.2.3", "10.1.2.3:1", true),
            ("src=10.1.2.3:1", "10.1.2.3:1", true),
            ("src=10.1.2.3:2", "10.1.2.3:1", false),
            ("src=2001:db8::/32", "[2001:db8::1]:1", true),
            ("src=[2001:db8::1]:1", "[2001:db8::1]:1", true),
            ("src=[2001:db8::1]:1", "[2001:db8::1]:2", false),
            ("src=2001:db8::1 src=2001:db8::/32", "[2001:db8::2]:1", false),
            ("src=0.0.0.0/0", "[::1]:1", false),
            ("idle>5m", "[::1]:1", true),
        ] {
            let query = Query::parse(filter, None, None, &Names::default()).expect(filter);
            assert_eq!(query.asks(Side::Client), filter.contains("src="), "{filter}");
            assert!(!query.asks(Side::Upstream), "{filter}");
            let (local, peer) = ("10.9.9.9:443", client.parse().expect("an address"));
            let local = local.parse().expect("an address");
            let admits = query.admits_addresses(Side::Client, local, Some(peer));
            assert_eq!(admits, holds, "{filter} {client}");
        }
    }

    #[test]
    fn each_of_the_four_ends_has_a_word() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (filter, side) in [
            ("src=10.0.0.1:1", Side::Client),
            ("local=10.0.0.2:2", Side::Client),
            ("source=10.0.0.3:3", Side::Upstream),
            ("server=10.0.0.4:4", Side::Upstream),
        ] {
            let query = Query::parse(filter, None, None, &Names::default()).expect(filter);
            let other = if side == Side::Client { Side::Upstream } else { Side::Client };
            assert!(query.asks(side) && !query.asks(other), "{filter}");
            let admits = |side, local, peer| {
                query.admits_addresses(side, address(local), Some(address(peer)))
            };
            assert!(admits(Side::Client, "10.0.0.2:2", "10.0.0.1:1"), "{filter}");
            assert!(admits(Side::Upstream, "10.0.0.3:3", "10.0.0.4:4"), "{filter}");
            assert!(!admits(side, "10.0.0.9:9", "10.0.0.9:9"), "{filter}");
            // The peer of a socket that was reset is not known.
            let unknown = query.admits_addresses(side, address("10.0.0.9:9"), None);
            assert!(!unknown, "{filter}");
        }
    }
}
