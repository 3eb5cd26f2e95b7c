//! Bytes whose sink is gone: they are read and dropped, so that who sends before it reads is not
//! kept from reading.

use super::{Action, Actions, Connection, Input, Lane, Passage};
use crate::base::{Buffer, Errno, OpKind, Operation, Side};

impl Connection {
    /// The sink of `source` is gone while the connection goes on.
    pub(super) fn drop_bytes(&mut self, source: Side, actions: &mut Actions) {
        match self.lanes[source] {
            // It is released by its completion, which comes back here.
            Lane::Sending(_) => return,
            Lane::Stalled(chunk) => actions.list.push(Action::Release(chunk.buffer)),
            Lane::Finishing | Lane::Finished => return, // Nothing comes any more.
            _ => {}
        }
        if self.input[source] != Input::Open {
            self.lanes[source] = Lane::Dead;
            return;
        }
        self.lanes[source] = Lane::Dropping;
        self.go_on_dropping(source, actions);
    }

    /// Reads on, unless something is under way that brings what comes next.
    pub(super) fn go_on_dropping(&mut self, source: Side, actions: &mut Actions) {
        let reads = [OpKind::WaitReadable, OpKind::Receive, OpKind::Splice];
        if !reads.iter().any(|&kind| self.in_flight[source].has(kind)) {
            self.start(source, Operation::Receive, actions);
        }
    }

    /// Bytes came that have no sink any more, in Joined or Delivering; an ending has no such lane.
    pub(super) fn dropped(
        &mut self,
        source: Side,
        result: Result<u32, Errno>,
        buffer: Option<Buffer>,
        actions: &mut Actions,
    ) {
        actions.list.extend(buffer.map(Action::Release));
        self.stop_splicing(source, Passage::COPIED, actions);
        match result {
            Ok(0) => {
                self.lanes[source] = Lane::Dead;
                if self.input[source] == Input::Open {
                    self.input[source] = Input::Ended;
                }
            }
            Ok(_) | Err(Errno::EINTR | Errno::EMFILE) => {
                self.start(source, Operation::Receive, actions)
            }
            Err(Errno::ENOBUFS) => actions.list.push(Action::AwaitBuffer(source)),
            Err(Errno::EAGAIN | Errno::ECANCELED) => {
                self.start(source, Operation::WaitReadable, actions)
            }
            Err(_) => self.mark_reset(source, actions),
        }
    }
}
