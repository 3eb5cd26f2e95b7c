//! A header of the worker's, which a server gets before a client's first bytes.
//!
//! It goes in one piece with these where any are there at the join, else by itself and at once: the
//! server may be the one that speaks first.

use super::{Action, Actions, Connection, Lane, Passage};
use crate::base::{Chunk, OpKind, Side};

impl Connection {
    /// Whether its server gets a header of the worker's before anything else.
    pub fn wants_header(&self) -> bool {
        self.passages[Side::Client].is_headed()
    }

    /// A header went, all of it, before its source said anything, and it still waits for that.
    pub(super) fn is_awaited_behind_header(&self, source: Side) -> bool {
        let is_awaited = self.in_flight[source].has(OpKind::WaitReadable);
        is_awaited && !self.passages[source].is_kept()
    }

    /// The server's header is due, before these first bytes of the client's or before any.
    pub(super) fn head(&mut self, first: Option<Chunk>, actions: &mut Actions) {
        actions.moved |= first.is_some();
        self.passages[Side::Client] = Passage::KEPT;
        self.lanes[Side::Client] = Lane::Receiving;
        actions.list.push(Action::Head(first));
    }
}
