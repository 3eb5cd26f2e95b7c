//! Rules by network, of which the most exact one is found for an address.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// Bits of an IPv6 address before the IPv4 address in it.
const MAPPED_BITS: u8 = 96;

/// A set of networks with a rule for each. What a rule means, its caller knows.
#[derive(Clone, Default)]
pub struct Networks {
    v4: PrefixMap<Ipv4Net, u32>,
    v6: PrefixMap<Ipv6Net, u32>,
}

impl Networks {
    /// The set of these networks; of a network that comes twice the last rule holds. Bits beyond
    /// a prefix do not matter, and a network of IPv4 addresses in IPv6 ones is one of IPv4.
    pub fn new(rules: impl IntoIterator<Item = (IpNet, u32)>) -> Networks {
        let mut networks = Networks::default();
        for (network, rule) in rules {
            match unmapped(network.trunc()) {
                IpNet::V4(network) => networks.v4.insert(network, rule),
                IpNet::V6(network) => networks.v6.insert(network, rule),
            };
        }
        networks
    }

    /// The rule of the smallest network that has this address.
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        let found = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).map(|(_, rule)| rule),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).map(|(_, rule)| rule),
        };
        found.copied()
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// There is no network, and so no rule for any address.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn unmapped(network: IpNet) -> IpNet {
    let bits = network.prefix_len().checked_sub(MAPPED_BITS);
    match (network.addr().to_canonical(), bits) {
        (address @ IpAddr::V4(_), Some(bits)) if matches!(network, IpNet::V6(_)) => {
            IpNet::new(address, bits).expect("32 bits are left")
        }
        _ => network,
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Networks({} networks)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn networks(all: &[(&str, u32)]) -> Networks {
        Networks::new(all.iter().map(|(net, rule)| (net.parse().expect("a network"), *rule)))
    }

    #[test]
    fn the_most_exact_network_is_found() {
        let all = networks(&[
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 2),
            ("10.1.2.3/32", 3),
            ("2001:db8::/32", 4),
            ("2001:db8::1/128", 5),
            ("::ffff:192.0.2.0/120", 6),
        ]);
        assert_eq!((all.len(), all.is_empty()), (6, false));
        for (address, rule) in [
            ("10.9.9.9", Some(1)),
            ("10.1.9.9", Some(2)),
            ("::ffff:10.1.9.9", Some(2)),
            ("10.1.2.3", Some(3)),
            ("11.0.0.0", None),
            ("2001:db8:9::", Some(4)),
            ("2001:db8::1", Some(5)),
            ("2001:db9::1", None),
            ("192.0.2.7", Some(6)),
        ] {
            assert_eq!(all.find(address.parse().expect("an address")), rule, "{address}");
        }
    }

    #[test]
    fn a_network_of_everybody_and_one_that_comes_twice() {
        let all = networks(&[("0.0.0.0/0", 1), ("10.0.0.0/8", 2), ("10.0.0.7/8", 3)]);
        assert_eq!(all.len(), 2);
        assert_eq!(all.find(Ipv4Addr::new(10, 0, 0, 1).into()), Some(3));
        assert_eq!(all.find(Ipv4Addr::BROADCAST.into()), Some(1));
        assert_eq!(all.find(Ipv6Addr::LOCALHOST.into()), None);
        assert!(Networks::default().is_empty());
    }

    /// Addresses that are near each other, so that networks lie in one another.
    fn near() -> impl Strategy<Value = (IpNet, u32)> {
        let v4 = (0..=3_u32, 0..=32_u8, any::<u32>()).prop_map(|(low, bits, rule)| {
            (IpNet::new(Ipv4Addr::from_bits(0x0A00_0000 | low << 7 | low).into(), bits), rule)
        });
        let v6 = (0..=3_u128, 0..=128_u8, any::<u32>()).prop_map(|(low, bits, rule)| {
            (IpNet::new(Ipv6Addr::from_bits(0x2A00 << 112 | low << 63 | low).into(), bits), rule)
        });
        prop_oneof![v4, v6].prop_map(|(network, rule)| (network.expect("few bits"), rule))
    }

    proptest! {
        #[test]
        fn it_is_as_a_look_at_every_network(
            rules in vec(near(), 0..40), asked in vec(near(), 1..20),
        ) {
            let all = Networks::new(rules.iter().copied());
            for address in asked.iter().map(|(network, _)| network.addr()) {
                let has = rules.iter().rev().filter(|(network, _)| network.contains(&address));
                let most = has.clone().map(|(network, _)| network.prefix_len()).max();
                let mut exact = has.filter(|(network, _)| Some(network.prefix_len()) == most);
                prop_assert_eq!(all.find(address), exact.next().map(|(_, rule)| *rule));
            }
        }
    }
}
