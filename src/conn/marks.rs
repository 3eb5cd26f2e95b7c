//! What is noted of a connection, one bit each.

use crate::base::{BySide, Side};

/// A set of marks, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks(u8);

/// One of them.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Mark {
    /// Addresses are wanted at the end.
    AsksAddresses = 1,
    /// The upstream slot holds a socket.
    UpstreamOpen = 1 << 1,
    /// A server may have heard of this client, which has not joined one yet.
    ConnectBegun = 1 << 2,
    /// The client gets RST at the end.
    ResetsClient = 1 << 3,
    /// The server does.
    ResetsUpstream = 1 << 4,
    /// The client sent more than a preface already, before the join.
    Spoke = 1 << 5,
    /// The server is probed while it is silent.
    Probed = 1 << 6,
    /// The server ended its direction while the client's went on.
    ServerFirst = 1 << 7,
}

impl Mark {
    /// It was in another process, which may have passed a FIN on that is read here once more. Has
    /// the bit of a mark that ends with the join, so that a connection stays small.
    pub(super) const WAS_ELSEWHERE: Mark = Mark::ConnectBegun;
    /// It departs with its waits for bytes armed. Has the bit of a mark that an ending sets.
    pub(super) const KEEPS_WAITS: Mark = Mark::ResetsClient;
}

impl Marks {
    /// None.
    pub(super) const NONE: Marks = Marks(0);

    /// With this one, or without it.
    pub(super) fn with(self, mark: Mark, is_set: bool) -> Marks {
        let rest = self.0 & !(mark as u8);
        Marks(if is_set { rest | mark as u8 } else { rest })
    }

    pub(super) fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    pub(super) fn set(&mut self, mark: Mark, is_set: bool) {
        *self = self.with(mark, is_set);
    }

    /// `side` gets RST at the end.
    pub(super) fn resets(self, side: Side) -> bool {
        self.has(reset_of(side))
    }

    /// `side` is to get RST at the end.
    pub(super) fn set_reset(&mut self, side: Side) {
        self.set(reset_of(side), true);
    }

    /// Who gets RST at the end.
    pub(super) fn set_resets(&mut self, resets: BySide<bool>) {
        Side::BOTH.into_iter().for_each(|side| self.set(reset_of(side), resets[side]));
    }
}

fn reset_of(side: Side) -> Mark {
    match side {
        Side::Client => Mark::ResetsClient,
        Side::Upstream => Mark::ResetsUpstream,
    }
}
