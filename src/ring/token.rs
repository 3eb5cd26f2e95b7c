//! The contents of `user_data`: the operation, its connection, and which life of the slot.

use crate::base::limits::{CONN_BITS, WORKER_CONNECTIONS_MAX};
use crate::base::{ConnIndex, OpKind, Side};

/// Names one operation of one life of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The connection.
    pub conn: ConnIndex,
    /// Which life of it, modulo 2²⁴. A completion of an older life is stale.
    pub generation: u32,
    /// Which of its sockets.
    pub side: Side,
    /// The kind of the operation.
    pub kind: OpKind,
}

const GENERATION_BITS: u32 = 24;
const SIDE_SHIFT: u32 = CONN_BITS + GENERATION_BITS;
const KIND_SHIFT: u32 = SIDE_SHIFT + 1;
const KIND_BITS: u32 = 7;

impl Token {
    /// Connections that a worker can name: 2²⁴ = 16,777,216.
    pub const MAX_CONNECTIONS: u32 = WORKER_CONNECTIONS_MAX;
    /// Lives that a slot goes through before its generation comes back.
    pub const GENERATIONS: u32 = 1 << GENERATION_BITS;
    /// The bits above a packed token, always 0 in it: what the ring uses for its own operations.
    pub const UNUSED_SHIFT: u32 = KIND_SHIFT + KIND_BITS;

    /// The token as 64 bits, the highest eight of them 0.
    ///
    /// # Panics
    /// When the connection or generation exceeds its 24 bits.
    pub fn pack(self) -> u64 {
        assert!(self.conn.0 < Token::MAX_CONNECTIONS && self.generation < Token::GENERATIONS);
        u64::from(self.conn.0)
            | u64::from(self.generation) << CONN_BITS
            | (self.side as u64) << SIDE_SHIFT
            | (self.kind as u64) << KIND_SHIFT
    }

    /// The token in `bits`; `None` when no [`Token::pack`] made them.
    pub fn unpack(bits: u64) -> Option<Token> {
        let side = if bits >> SIDE_SHIFT & 1 == 0 { Side::Client } else { Side::Upstream };
        let kind = *OpKind::ALL.get((bits >> KIND_SHIFT) as usize)?;
        Some(Token {
            conn: ConnIndex(bits as u32 & (Token::MAX_CONNECTIONS - 1)),
            generation: (bits >> CONN_BITS) as u32 & (Token::GENERATIONS - 1),
            side,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_round_trip() {
        for kind in OpKind::ALL {
            for side in Side::BOTH {
                for (conn, generation) in [(0, 0), (1, 2), ((1 << 24) - 1, (1 << 24) - 1)] {
                    let token = Token { conn: ConnIndex(conn), generation, side, kind };
                    assert_eq!(Token::unpack(token.pack()), Some(token));
                }
            }
        }
    }

    #[test]
    fn bits_that_no_token_packs_are_refused() {
        assert_eq!(Token::unpack(u64::MAX), None);
        assert_eq!(Token::unpack((OpKind::ALL.len() as u64) << KIND_SHIFT), None);
        assert_eq!(Token::unpack(1 << Token::UNUSED_SHIFT), None);
    }
}
