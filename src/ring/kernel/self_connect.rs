//! Connects that may reach their own socket: which servers allow that, and what becomes of one.
//!
//! The kernel chooses a connect's source port. If that is the server's own port, on the server's
//! own address, and no server listens there, the handshake is a simultaneous open of the socket
//! with itself (RFC 9293, 3.5). It succeeds: the client would hear its own bytes, and the server
//! could not bind its port again.
//!
//! That takes a source address equal to the server's, and a port that the kernel chooses for
//! connects. Only there is a connect's end verified: it costs a connection 6 % more CPU
//! (`portcullis-bench churn`, Linux 6.18, 2 cores). Once a connect was refused, no port is
//! excluded: net.ipv4.ip_local_port_range may have come to contain any while we run.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use super::layout::Place;
use super::setup::ServerSocket;
use super::sqe::{self, Tag};
use super::{KernelRing, address};
use crate::base::{Errno, IdMap, SELF_CONNECT, ServerId};
use crate::ring::contract::FourTuple;
use crate::ring::token::Token;

/// Which connects are verified.
pub(in crate::ring) struct SelfConnects {
    servers: IdMap<ServerId, Reached>,
    /// Source ports that the kernel chose from at the start; `None`: any.
    ports: Option<(u16, u16)>,
    /// Connects under way whose end is to be verified.
    suspects: HashSet<Token>,
    /// A connect was refused since the last [`SelfConnects::age`].
    refused: bool,
    /// Knowledge of a server older than this age is found out again.
    age: u64,
}

/// A server, and whether its own address may be the source of a connect to it.
struct Reached {
    address: SocketAddr,
    sources: Vec<IpAddr>,
    known: Option<(u64, bool)>,
}

impl SelfConnects {
    pub(in crate::ring) fn new(
        servers: &[(ServerId, ServerSocket)],
        ports: Option<(u16, u16)>,
    ) -> SelfConnects {
        let mut connects = SelfConnects {
            servers: IdMap::new(),
            ports,
            suspects: HashSet::new(),
            refused: false,
            age: 0,
        };
        for (id, server) in servers {
            connects.add(*id, server);
        }
        connects
    }

    /// A server is there.
    pub(in crate::ring) fn add(&mut self, id: ServerId, server: &ServerSocket) {
        let sources = server.sources.iter().copied().filter(|source| !source.is_unspecified());
        let (address, sources) = (server.address, sources.collect());
        self.servers.insert(id, Reached { address, sources, known: None });
    }

    /// A server is gone, and no connect to it is under way.
    pub(in crate::ring) fn remove(&mut self, id: ServerId) {
        self.servers.remove(id);
    }

    /// A connect begins.
    pub(in crate::ring) fn begun(&mut self, token: Token, server: ServerId) {
        let server = &mut self.servers[server];
        let is_chosen = |(first, last)| (first..=last).contains(&server.address.port());
        let may_be_source = self.age > 0 || self.ports.is_none_or(is_chosen);
        if may_be_source && server.may_reach_itself(self.age) {
            self.suspects.insert(token);
        }
    }

    /// A connect is over for the kernel; says whether its end must be verified.
    pub(in crate::ring) fn over(&mut self, token: Token, result: Result<u32, Errno>) -> bool {
        self.refused |= result == Err(Errno::ECONNREFUSED);
        !self.suspects.is_empty() && self.suspects.remove(&token) && result.is_ok()
    }

    /// Once a second. An address may have moved to this host. A connect is refused there before
    /// one can reach itself, but for one in thousands, so a refusal is the time to ask again.
    pub(in crate::ring) fn age(&mut self) {
        self.age += u64::from(std::mem::take(&mut self.refused));
    }
}

impl Reached {
    fn may_reach_itself(&mut self, age: u64) -> bool {
        if let Some((since, may)) = self.known
            && since == age
        {
            return may;
        }
        let may = match &*self.sources {
            [] => may_reach_itself(self.address, None),
            sources => sources.iter().any(|one| may_reach_itself(self.address, Some(*one))),
        };
        self.known = Some((age, may));
        may
    }
}

impl KernelRing {
    /// What a verified connect is reported as. A socket that reached itself is reset at once, so
    /// that no TIME_WAIT keeps the server from its port.
    pub(in crate::ring) fn verified(
        &mut self,
        token: Token,
        socket: Result<OwnedFd, Errno>,
    ) -> Result<u32, Errno> {
        match socket.and_then(|socket| address::four_tuple(socket.as_fd())) {
            Ok(ends) if is_its_own(&ends) => {
                let Place { table, slot } = self.tables.place(token.conn, token.side);
                self.push(table, sqe::reset(slot), Tag::Swallowed.with(0));
                Err(SELF_CONNECT)
            }
            // Without a descriptor (Linux before 6.8) the kernel's word is all there is.
            _ => Ok(0),
        }
    }
}

/// Both ends are one socket.
pub(in crate::ring) fn is_its_own(ends: &FourTuple) -> bool {
    let port_of = |end: SocketAddr| (end.ip(), end.port());
    ends.peer.is_some_and(|peer| port_of(peer) == port_of(ends.local))
}

/// Whether the kernel may choose `address`'s own host as the source of a connect to it. A UDP
/// socket asks, without a packet. True when it cannot: there may be a route later.
fn may_reach_itself(address: SocketAddr, source: Option<IpAddr>) -> bool {
    if let Some(source) = source {
        return source.to_canonical() == address.ip().to_canonical();
    }
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        // The unspecified address means the host itself: the peer's name tells.
        Ok(socket.local_addr()?.ip() == socket.peer_addr()?.ip())
    });
    asked.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ConnIndex, OpKind, Side};

    const CONNECT: Token =
        Token { conn: ConnIndex(0), generation: 0, side: Side::Upstream, kind: OpKind::Connect };

    #[test]
    fn only_a_source_that_is_the_servers_address_lets_a_connect_reach_itself() {
        let may = |address: &str, source: Option<&str>| {
            let source = source.map(|source| source.parse().expect("an address"));
            may_reach_itself(address.parse().expect("an address"), source)
        };
        assert!(may("127.0.0.1:30000", None));
        assert!(may("0.0.0.0:30000", None), "it means this host");
        assert!(may("[::ffff:127.0.0.1]:30000", None));
        assert!(!may("127.0.0.2:30000", None), "the source is 127.0.0.1");
        assert!(may("127.0.0.2:30000", Some("127.0.0.2")));
        assert!(!may("127.0.0.2:30000", Some("127.0.0.1")));
        assert!(!may("192.0.2.1:30000", Some("127.0.0.1")));
    }

    #[test]
    fn what_is_known_of_a_server_is_asked_again_after_a_refusal() {
        let address = "192.0.2.1:30000".parse().expect("an address");
        let server = (ServerId(0), ServerSocket { address, sources: Vec::new() });
        let mut connects = SelfConnects::new(&[server], None);
        connects.servers[ServerId(0)].known = Some((0, false));
        // The address is this host's from here on.
        connects.servers[ServerId(0)].address = "127.0.0.1:30000".parse().expect("an address");
        connects.begun(CONNECT, ServerId(0));
        assert!(!connects.over(CONNECT, Ok(0)));
        assert!(!connects.over(CONNECT, Err(Errno::ECONNREFUSED)));
        connects.age();
        connects.begun(CONNECT, ServerId(0));
        assert!(connects.over(CONNECT, Ok(0)));
        assert!(!connects.over(CONNECT, Ok(0)), "each is verified once");
    }

    #[test]
    fn a_port_that_no_connect_comes_from_is_verified_only_after_a_refusal() {
        let server = |id, port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            (ServerId(id), ServerSocket { address, sources: Vec::new() })
        };
        let servers = [server(0, 9000), server(1, 40_000)];
        let mut connects = SelfConnects::new(&servers, Some((32_768, 60_999)));
        let is_verified = |connects: &mut SelfConnects, server| {
            connects.begun(CONNECT, ServerId(server));
            connects.over(CONNECT, Ok(0))
        };
        assert!(!is_verified(&mut connects, 0) && is_verified(&mut connects, 1));
        connects.over(CONNECT, Err(Errno::ECONNREFUSED));
        connects.age();
        assert!(is_verified(&mut connects, 0), "the range may be another one by now");
    }
}
