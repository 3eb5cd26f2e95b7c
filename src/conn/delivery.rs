//! A reset that waits until what its sender sent before it has arrived.

use super::{Actions, Connection, Input, Phase, Wiring};
use crate::base::{BySide, Errno, OpKind, Operation, Side};

/// A count of bytes at any address, so that a [`Phase`] takes five bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftBytes([u8; 4]);

impl LeftBytes {
    /// So many.
    pub fn new(bytes: u32) -> LeftBytes {
        LeftBytes(bytes.to_ne_bytes())
    }

    /// How many.
    pub fn get(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }
}

impl Connection {
    /// Everything that `side` sent is with the other side's socket, and `side` is reset.
    pub(super) fn pass_reset_on(&mut self, side: Side, actions: &mut Actions) {
        let to = side.other();
        if self.wiring != Wiring::Pair || self.input[to] == Input::Reset {
            return self.end(self.reason, BySide([false; 2]), actions);
        }
        // A reset overtakes what waits in the socket, so it waits until all is acknowledged.
        self.phase = Phase::Delivering { to, left: LeftBytes::new(u32::MAX) };
        self.ask(to, actions);
    }

    /// Asks what `side` has not acknowledged, unless the question is open.
    pub(super) fn ask(&mut self, side: Side, actions: &mut Actions) {
        if !self.in_flight[side].has(OpKind::Unacknowledged) {
            self.start(side, Operation::Unacknowledged, actions);
        }
    }

    pub(super) fn unacknowledged(&mut self, result: Result<u32, Errno>, actions: &mut Actions) {
        let Phase::Delivering { to, left } = self.phase else { return };
        match result {
            Ok(0) | Err(_) => self.end_delivery(actions),
            Ok(now_bytes) => {
                actions.moved |= now_bytes < left.get();
                self.phase = Phase::Delivering { to, left: LeftBytes::new(now_bytes) };
                if !self.in_flight[to].has(OpKind::WatchHangup) {
                    self.start(to, Operation::WatchHangup, actions);
                }
            }
        }
    }

    pub(super) fn end_delivery(&mut self, actions: &mut Actions) {
        let Phase::Delivering { to, .. } = self.phase else { return };
        let mut resets = BySide([false; 2]);
        resets[to] = true;
        self.end(self.reason, resets, actions);
    }
}
