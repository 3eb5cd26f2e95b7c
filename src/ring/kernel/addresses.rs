//! Addresses that were found and not yet taken.

use std::collections::VecDeque;

use crate::base::{ConnIndex, Side};
use crate::ring::contract::FourTuple;
use crate::ring::token::Token;

/// Answers by the token of their question. A slot that is closed leaves none behind.
pub(in crate::ring) struct Addresses(VecDeque<(Token, FourTuple)>);

impl Addresses {
    /// None.
    pub(in crate::ring) fn new() -> Addresses {
        Addresses(VecDeque::new())
    }

    /// Keeps an answer.
    pub(in crate::ring) fn keep(&mut self, token: Token, found: FourTuple) {
        self.0.push_back((token, found));
    }

    /// Takes an answer, once.
    pub(in crate::ring) fn take(&mut self, token: Token) -> Option<FourTuple> {
        let place = self.0.iter().position(|(one, _)| *one == token)?;
        self.0.remove(place).map(|(_, found)| found)
    }

    /// A slot is about to be closed: nobody will take the answers about its socket.
    pub(in crate::ring) fn forget(&mut self, conn: ConnIndex, side: Side) {
        if !self.0.is_empty() {
            self.0.retain(|(one, _)| (one.conn, one.side) != (conn, side));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::OpKind;

    #[test]
    fn an_answer_is_taken_once_and_goes_with_its_slot() {
        let token = |conn, side| Token {
            conn: ConnIndex(conn),
            generation: 1,
            side,
            kind: OpKind::Addresses,
        };
        let local = SocketAddr::from(([127, 0, 0, 1], 1));
        let found = FourTuple { local, peer: None, via: None };
        let mut addresses = Addresses::new();
        for conn in [1, 2] {
            Side::BOTH.into_iter().for_each(|side| addresses.keep(token(conn, side), found));
        }
        assert_eq!(addresses.take(token(1, Side::Client)), Some(found));
        assert_eq!(addresses.take(token(1, Side::Client)), None);
        addresses.forget(ConnIndex(2), Side::Client);
        assert_eq!(addresses.take(token(2, Side::Client)), None);
        assert_eq!(addresses.take(token(2, Side::Upstream)), Some(found));
    }
}
