//! What holds at the contract's border: of each operation as it starts, and of each address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portcullis::base::{Buffer, OpKind, Side};
use portcullis::ring::{ConnIndex, FourTuple, Operation, Token};

use crate::gates::server_of;
use crate::ring::{Op, SimRing};

/// 10.0.0.0: where the links' addresses begin.
const FIRST_ADDRESS: u32 = 10 << 24;

impl SimRing {
    /// What the kernel has in flight on a side.
    fn in_flight(&self, conn: ConnIndex, side: Side) -> impl Iterator<Item = &Op> {
        self.ops.iter().filter(move |op| op.token.conn == conn && op.token.side == side)
    }

    pub fn check_start(&self, token: Token, operation: Operation) {
        let Token { conn, generation, side, kind } = token;
        assert_eq!(kind, operation.kind(), "{token:?} names another kind than {operation:?}");
        assert_eq!(generation, self.lives[conn.0 as usize], "{token:?} is of another life");
        let filled = self.link_at(conn, side).is_some();
        let opens = kind == OpKind::Open;
        assert!(filled != opens, "{operation:?} on a slot that is filled: {filled}, {token:?}");
        assert!(!opens || side == Side::Upstream, "{token:?} opens a client");
        let mut same = self.in_flight(conn, side).filter(|op| op.token.kind == kind);
        assert!(same.next().is_none(), "two of a kind are in flight: {token:?}");
        let closing = self.in_flight(conn, side).any(|op| op.token.kind == OpKind::Close);
        assert!(!closing, "{token:?} starts on a slot that is being closed");
        if let Some(server) = server_of(operation) {
            let is_there = self.supplies.servers.contains(&server);
            assert!(is_there, "{token:?} goes to {server:?}, which is not in the ring");
        }
        match operation {
            Operation::Close => {
                let other = self.in_flight(conn, side).next();
                assert!(other.is_none(), "{token:?} while {other:?} is in flight");
                assert!(!self.pipes.holds_for(conn), "{token:?} while a pipe holds bytes of it");
                let pair = side == Side::Client && self.link_at(conn, Side::Upstream).is_some();
                assert!(!pair, "{token:?} before its upstream slot is empty");
            }
            Operation::Send(chunk) => {
                self.bytes_of(chunk);
                let twice = self.sending(chunk.buffer);
                assert!(!twice, "{chunk:?} is sent twice at once");
            }
            _ => {}
        }
    }

    /// Whether a send of this buffer is in flight.
    pub fn sending(&self, buffer: Buffer) -> bool {
        self.ops
            .iter()
            .any(|op| matches!(op.operation, Operation::Send(chunk) if chunk.buffer == buffer))
    }
}

/// The addresses of a link, which its number is in.
pub fn address_of(link: usize) -> FourTuple {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 7000));
    let peer = SocketAddr::from((Ipv4Addr::from(FIRST_ADDRESS + link as u32), 1));
    FourTuple { local, peer: Some(peer), via: None }
}

/// The link that has these addresses.
pub fn link_of(found: FourTuple) -> usize {
    match found.via.or(found.peer).map(|peer| peer.ip()) {
        Some(IpAddr::V4(peer)) => (u32::from(peer) - FIRST_ADDRESS) as usize,
        other => panic!("{other:?} is no link's address"),
    }
}
