//! What lanes give up when nothing has moved for a while.

use super::{Actions, Connection, Lane, Passage, Wiring};
use crate::base::{InFlight, OpKind, Operation, Side};

/// Operations that a lane gives up when it has waited for long.
const GIVEN_BACK: InFlight =
    InFlight::only(OpKind::Receive).or(InFlight::only(OpKind::WatchHangup));

impl Connection {
    /// Nothing comes of `source` for a while.
    pub(super) fn rest(&mut self, source: Side) {
        if self.wiring == Wiring::Pair {
            self.passages[source].rest();
        }
    }

    /// Whether the lane of `source` waits with more than a plain wait: an armed receive, a watch or
    /// a splice, which is not being cancelled; or has counted receives since it was quiet.
    pub(super) fn lane_can_go_quiet(&self, source: Side) -> bool {
        let waits = matches!(self.lanes[source], Lane::Receiving | Lane::Waiting);
        let in_flight = self.in_flight[source];
        let keeps = !in_flight.and(GIVEN_BACK).is_empty() && !in_flight.has(OpKind::Cancel);
        let passage = self.passages[source];
        let counts = passage.is_spliced() || passage.is_seldom() && passage != Passage::QUIET;
        waits && (keeps || self.lanes[source] == Lane::Waiting && counts)
    }

    /// Nothing has moved for a while: receives that wait are cancelled, and when they have ended,
    /// waits without a buffer take their place. Data may beat the cancel, as anything else may.
    pub(super) fn go_quiet(&mut self, actions: &mut Actions) {
        for side in Side::BOTH {
            if !self.lane_can_go_quiet(side) {
                continue;
            }
            if self.lanes[side] == Lane::Waiting {
                if self.passages[side].is_spliced() {
                    self.stop_splicing(side, Passage::COPIED, actions);
                }
                self.rest(side);
            }
            let kept = self.in_flight[side].and(GIVEN_BACK);
            if !kept.is_empty() && !self.in_flight[side].has(OpKind::Cancel) {
                self.start(side, Operation::Cancel(kept), actions);
            }
        }
    }
}
