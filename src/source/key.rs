//! The source of a client, and the key of a source in the tables.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::base::ListenerId;

/// How many bits of an address make its source: clients that agree in them are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Of an IPv4 address, 32 at most.
    pub v4: u8,
    /// Of an IPv6 address, 128 at most.
    pub v6: u8,
}

impl Prefixes {
    /// The source of a client at `address`, with zeros beyond its prefix. An IPv4 address in an
    /// IPv6 one (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2) is an IPv4 address.
    ///
    /// # Panics
    /// When a prefix is longer than the address.
    pub fn source(self, address: IpAddr) -> IpNet {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { self.v4 } else { self.v6 };
        IpNet::new(address, bits).expect("a prefix is no longer than the address").trunc()
    }
}

/// A source in the tables: a keyed hash, so that nobody can choose addresses that fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

/// What makes keys: SipHash under a secret that lives as long as the process. The tables of all
/// workers take keys of one secret.
#[derive(Clone, Debug)]
pub struct Secret(RandomState);

impl Secret {
    /// A secret that nobody foresees.
    #[allow(clippy::new_without_default, reason = "two of them make different keys")]
    pub fn new() -> Secret {
        Secret(RandomState::new())
    }

    /// The key of a source among the clients of a listener: the listeners count apart from each
    /// other in one table.
    pub fn key(&self, listener: ListenerId, source: IpNet) -> Key {
        let bits = match source.addr() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let scope = u32::from(listener.0) << 8 | u32::from(source.prefix_len());
        Key(self.0.hash_one((scope, bits)))
    }
}
