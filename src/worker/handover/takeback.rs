//! A takeback: the successor is no more, and whom it had nothing of in hand goes on here.

use std::sync::atomic::Ordering::Relaxed;

use super::ended::EndedThere;
use super::leaving::{Leaving, VISITS};
use crate::base::{ConnIndex, Tick};
use crate::conn::{Event, Phase};
use crate::courier::Flag;
use crate::ring::{Accepts as _, Ring};
use crate::worker::Worker;

impl<R: Ring> Worker<R> {
    /// A connection that was departed goes on here.
    pub(super) fn stay(&mut self, index: ConnIndex) {
        self.ring.comes_back(index);
        self.go_on_here(index);
        // A stop or a drain that came meanwhile has passed it by.
        self.errands.arrived(index);
    }

    /// A connection that was asked to depart has ended, or goes on.
    pub(in crate::worker) fn forget_departure(&mut self, index: ConnIndex) -> bool {
        let Some(leaving) = &mut self.leaving else { return false };
        leaving.asked.remove(&index);
        let was_lent = leaving.has_custody(index);
        leaving.set_custody(index, false);
        if was_lent {
            let entry = self.lives.entry(index);
            let lifetime = self.time.moment().since(entry.opened);
            let counters = self.routes.line(entry.route).counters.clone();
            leaving.ended.push(EndedThere { counters, lifetime });
        }
        was_lent
    }

    /// Goes on with what no other process has in hand, some slots a turn. Says whether all is done.
    pub(super) fn reclaim(&mut self, leaving: &mut Leaving<R::Socket>) -> bool {
        let from = leaving.reclaim.unwrap_or_default();
        let slots = self.ring.slots();
        let count = VISITS.min(slots - from);
        let flags = leaving.ways[0].link.flags(leaving.flags_at + u64::from(from), count);
        for (nth, flag) in flags.into_iter().enumerate() {
            let index = ConnIndex(from + nth as u32);
            if self.lives.used_from(index.0) != Some(index) {
                continue;
            }
            let was_lent = leaving.has_custody(index);
            let is_away =
                matches!(self.lives.entry(index).conn.phase(), Phase::Departed | Phase::Departing);
            if !is_away || leaving.lending.contains_key(&index) {
                continue;
            }
            match flag {
                Flag::Ended if was_lent => self.let_go(leaving, index),
                Flag::InHand if was_lent => {
                    leaving.set_custody(index, false);
                    leaving.departures.lost.fetch_add(1, Relaxed);
                    self.apply(index, Event::Lost);
                }
                _ => {
                    leaving.set_custody(index, false);
                    leaving.departures.back.fetch_add(u32::from(was_lent), Relaxed);
                    // Bytes may have moved in the successor until now.
                    let now = Tick::not_before(self.time.now());
                    self.lives.entry(index).active = now;
                    self.stay(index);
                }
            }
        }
        leaving.asked.clear();
        leaving.reclaim = Some(from + count);
        let is_over = from + count >= slots && leaving.lending.is_empty();
        if is_over {
            leaving.ended.drain(..).for_each(EndedThere::count);
            leaving.departures.is_taken_back.store(true, Relaxed);
        }
        is_over
    }
}
