//! The choice by a client's address: weighted rendezvous hashing over the servers' names.
//!
//! Each server draws a number for each client, by its name alone. The draw of a server of weight w
//! is exponential with rate w, and the least draw wins: so each wins by its share, and no draw
//! depends on another server. Gateways that know the same names agree without a word, in whatever
//! order, and a server that goes or comes moves its own clients and no others.

use std::net::IpAddr;

/// What the choice goes by: an IPv4 address, or the /64 of an IPv6 one, in which a client may have
/// many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientKey(u64);

impl ClientKey {
    /// Of this client.
    pub fn of(client: IpAddr) -> ClientKey {
        ClientKey(match client.to_canonical() {
            IpAddr::V4(ip) => mixed(u64::from(u32::from(ip))),
            IpAddr::V6(ip) => mixed(!((u128::from(ip) >> 64) as u64)),
        })
    }

    /// Evenly spread over all numbers, one for each pair of a client and a name.
    fn spread(self, name: NameHash) -> u64 {
        mixed(self.0 ^ name.0)
    }

    /// The draw of a server of this share; the least of all wins.
    pub(super) fn draw(self, name: NameHash, share: u32) -> f64 {
        -unit(self.spread(name)).ln() / f64::from(share)
    }
}

/// A server's name, as far as the choice knows it: of the same name always and everywhere the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameHash(u64);

impl NameHash {
    /// FNV-1a of 64 bits, and its bits mixed.
    pub(super) fn of(name: &str) -> NameHash {
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        NameHash(mixed(name.bytes().fold(BASIS, step)))
    }
}

/// The finalizer of SplitMix64: each bit of the number changes half of the bits of what it becomes.
pub(super) fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// As a part of one, never none.
fn unit(number: u64) -> f64 {
    const PARTS: u64 = 1 << 53;
    ((number >> 11) + 1) as f64 / PARTS as f64
}

/// The winner where all have the same share: the largest number has the least draw.
pub(super) fn winner_of_equals(names: &[NameHash], client: ClientKey) -> Option<usize> {
    let numbers = names.iter().map(|name| client.spread(*name)).enumerate();
    numbers.max_by_key(|(_, number)| *number).map(|(server, _)| server)
}

/// The winner among those that have a share and `may`, of those with a draw beyond this one.
///
/// A logarithm is taken of the few alone that may win: -ln(h) is no less than 1 - h.
pub(super) fn winner(
    names: &[NameHash],
    shares: &[u32],
    client: ClientKey,
    beyond: Option<f64>,
    may: impl Fn(usize) -> bool,
) -> Option<usize> {
    let beyond = beyond.unwrap_or(-1.0);
    let (mut least, mut found) = (f64::INFINITY, None);
    for (server, (name, share)) in names.iter().zip(shares).enumerate() {
        let (part, share) = (unit(client.spread(*name)), f64::from(*share));
        if share == 0.0 || (1.0 - part) >= least * share {
            continue;
        }
        let draw = -part.ln() / share;
        if draw < least && draw > beyond && may(server) {
            (least, found) = (draw, Some(server));
        }
    }
    found
}
