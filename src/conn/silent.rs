//! Clients whose first byte comes before the choice of a server.

use super::relay::{POLL_ENDED, is_gone};
use super::{Action, Actions, Connection, Input, Lane, Phase, Wiring};
use crate::base::{Errno, Side};

/// Whether a wait's result says that the peer will send no more than is there.
fn has_ended(result: Result<u32, Errno>) -> bool {
    result.is_ok_and(|bits| bits & POLL_ENDED != 0)
}

impl Connection {
    /// All is known that the choice of a server depends on, but for the first byte of a lazy
    /// client.
    pub(super) fn set_out(&mut self, is_lazy: bool, actions: &mut Actions) {
        let keeps = self.passages[Side::Client].is_kept();
        if is_lazy && !keeps && self.wiring == Wiring::Pair {
            self.phase = Phase::Silent { ended: false };
            return self.wait_readable(Side::Client, actions);
        }
        self.begin(actions);
    }

    /// A client that said nothing yet has said something, or has ended. A FIN may come with bytes
    /// before it.
    pub(super) fn spoken(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        self.lanes[Side::Client] = Lane::Unarmed;
        if is_gone(result) {
            self.client_left(Input::Reset, actions);
        } else if has_ended(result) {
            self.phase = Phase::Silent { ended: true };
            actions.list.push(Action::AwaitPlace);
        } else {
            actions.moved = true;
            self.begin(actions);
        }
    }

    /// A server is connected to although the client said nothing yet.
    pub(super) fn silence_over(&mut self, actions: &mut Actions) {
        if self.phase == (Phase::Silent { ended: false }) {
            self.begin(actions);
        }
    }
}
