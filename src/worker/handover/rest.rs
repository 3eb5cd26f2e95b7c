//! The connections that are left when no client comes any more: what they count for, and their end
//! if they cannot go.

use std::collections::HashSet;
use std::iter;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::leaving::{Ending, Leaving};
use crate::base::{ConnIndex, Millis};
use crate::conn::{Phase, Reason};
use crate::ring::Ring;
use crate::topology::Left;
use crate::worker::Worker;

impl<S> Leaving<S> {
    /// Those that cannot go are ended over this time, `left` of them.
    pub(in crate::worker) fn end_rest(&mut self, left: u32, within: Duration, now: Millis) {
        self.rest.ending = Some(Ending { interval: within / left.max(1), next: now });
    }
}

impl<R: Ring> Worker<R> {
    /// Says what those count for that are here and nowhere else, where that has changed.
    pub(super) fn count_rest(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        let left = leaving.departures.left.load(Relaxed);
        // The control plane reads it just now: in the next turn, then.
        let Ok(mut rest) = leaving.departures.rest.try_lock() else { return };
        if leaving.rest.slots.is_some() && rest.all == left {
            return;
        }
        let unanswered: HashSet<ConnIndex> = leaving.unanswered().collect();
        let is_here =
            |index: &ConnIndex| !leaving.custody.has(index.0) || unanswered.contains(index);
        let used =
            |from: Option<ConnIndex>| self.lives.used_from(from.map_or(0, |index| index.0 + 1));
        // Nobody comes any more, so later those of before are looked at alone.
        let slots: Vec<ConnIndex> = match leaving.rest.slots.take() {
            Some(slots) => slots.into_iter().filter(is_here).collect(),
            None => {
                iter::successors(used(None), |index| used(Some(*index))).filter(is_here).collect()
            }
        };
        *rest = Left { all: left, ..Left::default() };
        for index in &slots {
            let entry = self.lives.entry(*index);
            if entry.conn.phase() == Phase::Vacant {
                continue;
            }
            *rest.by_route.entry(entry.route).or_default() += 1;
            if let Some(server) = entry.server {
                *rest.by_server.entry(server.id()).or_default() += 1;
            }
        }
        leaving.rest.slots = Some(slots);
    }

    /// Ends those that could not go, one after the other.
    pub(super) fn end_rest_at_pace(&mut self) {
        let now = self.time.now();
        let ending = self.leaving.as_ref().and_then(|leaving| leaving.rest.ending);
        let Some(mut ending) = ending else { return };
        let mut from = 0;
        while ending.next <= now {
            let Some(index) = self.next_rest(from) else { break };
            from = index.0 + 1;
            ending.next = Millis(ending.next.0 + ending.interval.as_millis().max(1) as u64);
            self.end(index, Reason::Drained);
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.rest.ending = Some(ending);
        }
    }

    /// Says what those are at that cannot go. In prefaces are clients that were answered something.
    pub(in crate::worker) fn say_rest(&mut self) {
        let (mut in_prefaces, mut without_server, mut joined, mut from) = (0, 0, 0, 0);
        while let Some(index) = self.next_rest(from) {
            from = index.0 + 1;
            let count = match self.lives.entry(index).conn.phase() {
                Phase::Meeting | Phase::Preface { .. } | Phase::Standby { .. } | Phase::Asking => {
                    &mut in_prefaces
                }
                Phase::Joined | Phase::Departing | Phase::Delivering { .. } => &mut joined,
                _ => &mut without_server,
            };
            *count += 1;
        }
        if in_prefaces + without_server + joined > 0 {
            tracing::info!(in_prefaces, without_server, joined, "connections that cannot move");
        }
    }

    fn next_rest(&mut self, from: u32) -> Option<ConnIndex> {
        let mut at = from;
        while let Some(index) = self.lives.used_from(at) {
            let phase = self.lives.entry(index).conn.phase();
            if !matches!(phase, Phase::Vacant | Phase::Departed | Phase::Ending(_)) {
                return Some(index);
            }
            at = index.0 + 1;
        }
        None
    }
}
