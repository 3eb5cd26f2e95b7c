//! Evicts idle connections for clients that wait at a limit, those idle the longest first.

use std::time::Duration;

use super::list::List;
use super::reach::Reach;
use super::step::{Step, VISITED_PER_STEP};
use crate::base::{Millis, Tick};
use crate::budget::Eviction;
use crate::worker::limit::Limit;

/// How often it is looked whether clients wait for more than is under way.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The shortest time between two listings. One of 100,000 connections takes about 10 ms.
const LIST_AGAIN: Duration = Duration::from_secs(1);
/// How long the list is kept after the last client waited: the next one comes at any moment while
/// the limit is reached, and another listing would cost more than the 8 bytes of a slot.
const KEPT: Duration = Duration::from_secs(60);

/// Evictions at one limit.
///
/// It lists the slots of the connections that may make way, in steps, each with the moment from
/// which on it may, and then visits them in this order. As with a drain, the list says only when to
/// visit a slot, and the connection found there is judged by its activity now.
///
/// A worker's order is exact: a connection that was accepted since the listing began is not in the
/// list, but cannot make way before all slots are listed again, because that happens whenever the
/// shortest time for which one must be idle is over, at most once a second. Over several workers it
/// is not. The one that first sees the client ends the longest idle of its own; the kernel spreads
/// clients evenly, so with n workers it is one of the n-th part that is idle the longest.
#[derive(Debug)]
pub struct Evict {
    limit: Limit,
    /// The next slot to list; `None`: all are listed.
    from: Option<u32>,
    list: List,
    /// When the listing began.
    listed: Millis,
    kept_until: Millis,
}

impl Evict {
    /// Nobody is listed yet.
    pub fn new(limit: Limit, now: Millis) -> Evict {
        let list = List::with_capacity(0);
        Evict { limit, from: Some(0), list, listed: now, kept_until: now.after(KEPT) }
    }

    /// Whether it evicts at this limit.
    pub fn is_for(&self, limit: &Limit) -> bool {
        self.limit.of == limit.of
    }

    /// Lists, or evicts, a bounded number of connections. It is over when no client has waited for
    /// a while.
    pub fn step<R: Reach>(&mut self, reach: &mut R) -> Step {
        let now = reach.now();
        if !self.limit.bound.anyone_waits() {
            return if now < self.kept_until { Step::At(self.kept_until) } else { Step::Over };
        }
        self.kept_until = now.after(KEPT);
        let list_again = self.listed.after(self.limit.idle_after.max(LIST_AGAIN));
        if self.from.is_none() && now >= list_again {
            // What is in the list may stand behind its place: its slot may have another connection.
            (self.from, self.listed) = (Some(0), now);
            self.list = List::with_capacity(self.list.len());
        }
        if self.lists_more(reach) {
            return Step::At(now);
        }
        let next = self.evict_due(reach);
        Step::At(next.min(list_again))
    }

    /// Lists a bounded number of slots. Says whether there are more.
    fn lists_more<R: Reach>(&mut self, reach: &mut R) -> bool {
        for _ in 0..VISITED_PER_STEP {
            let Some(from) = self.from else { return false };
            let slot = reach.next_slot(from);
            self.from = slot.map(|index| index.0 + 1);
            if let Some(index) = slot
                && let Some(due) = reach.makes_way_at(index, self.limit.of)
            {
                self.list.add(index, Tick::not_before(due));
            }
        }
        self.from.is_some()
    }

    /// Evicts those whose time is over, as many as clients wait and the pace allows. Says when to
    /// go on.
    fn evict_due<R: Reach>(&mut self, reach: &mut R) -> Millis {
        let now = reach.now();
        for _ in 0..VISITED_PER_STEP {
            let Some((index, listed)) = self.list.first() else {
                // Somebody may be listed again.
                return now.after(LIST_AGAIN);
            };
            let Some(due) = reach.makes_way_at(index, self.limit.of) else {
                self.list.take();
                continue;
            };
            let tick = Tick::not_before(due);
            if tick > listed {
                self.list.put_back(tick);
            } else if due > reach.heard() {
                return due.max(now.after(LOOK_AGAIN));
            } else {
                match self.limit.bound.evict(now) {
                    Eviction::Begun => {
                        self.list.take();
                        reach.evict(index, &self.limit);
                    }
                    Eviction::Enough => return now.after(LOOK_AGAIN),
                    Eviction::NotBefore(turn) => return turn,
                }
            }
        }
        now
    }
}
