//! Clients that wait for room at the servers of their upstream, and when they try again.
//!
//! A client that no server has room for, because each has as many connections as it may, no source
//! port is left towards it, or none serves and `all_down` says to wait for one, waits with its
//! permit, and the gates whose clients go to the same upstream take no more: these wait in the
//! accept queues. Other upstreams and their gates are as ever. A client tries again, the oldest
//! first,
//!
//! - when a connection of the upstream has ended, here or at another worker;
//! - when a client that waited was joined: room comes in batches, so two try after the first, four
//!   after these, until one fails;
//! - by the clock, 100 ms after a failure, doubling to a second: ports in TIME_WAIT, and what other
//!   programs hold, become free unseen.
//!
//! After two failures in a row ends of connections bring no room, as where each leaves a TIME_WAIT
//! behind. A failed connect looks at every port of the range (4 ms for 28,232), so only the clock
//! counts then. A look at servers that are full costs nothing: each end of a connection is one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Worker;
use crate::base::{ConnIndex, Millis, UpstreamId};
use crate::conn::{Event, Phase, Shortage};
use crate::ring::Ring;
use crate::upstream::Lack;

/// Between a failure and the next try by the clock.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Failures in a row from which on only the clock counts.
const FAILURES: u32 = 2;
/// Clients that may try after one that was joined.
const MOST_AT_ONCE: u32 = 64;

/// The clients of a worker that wait for room.
#[derive(Debug, Default)]
pub(super) struct Waits {
    clients: HashMap<ConnIndex, Wait>,
    /// By upstream; those that somebody waits for.
    queues: BTreeMap<UpstreamId, Queue>,
    /// Waits so far: a number tells which is the older.
    count: u64,
}

/// One client's wait, from the first time that there was no room to its join or its end.
#[derive(Clone, Copy, Debug)]
struct Wait {
    upstream: UpstreamId,
    number: u64,
    since: Millis,
    /// It tries just now, from then on.
    tries: Option<Millis>,
}

impl Wait {
    /// The oldest is first, also where it has waited in another process before.
    fn turn(&self) -> (Millis, u64) {
        (self.since, self.number)
    }
}

/// Those who wait for one upstream.
#[derive(Debug)]
struct Queue {
    /// In the order in which they try; without those that try just now.
    resting: BTreeMap<(Millis, u64), ConnIndex>,
    /// Clients that try just now.
    trying: u32,
    /// How many may try for ends of connections.
    tries: u32,
    /// How many may because others were joined, and how many may after the next.
    batch: u32,
    at_once: u32,
    /// Failures in a row, and when the last of them was.
    failures: u32,
    failed: Millis,
    /// When the next may try by the clock.
    next: Millis,
}

impl Queue {
    fn new(now: Millis) -> Queue {
        Queue {
            resting: BTreeMap::new(),
            trying: 0,
            tries: 0,
            batch: 0,
            at_once: 1,
            failures: 1,
            failed: now,
            next: now.after(FIRST_REST),
        }
    }

    /// Several that tried together fail together: once. Where servers were merely full, another
    /// client had the room first, and its end will bring some again. A look for a server that
    /// serves costs nothing.
    fn fail(&mut self, lack: Lack, began: Millis, now: Millis) {
        (self.batch, self.at_once) = (0, 1);
        if lack != Lack::Port {
            self.next = now.after(FIRST_REST);
        } else if began > self.failed {
            self.failures += 1;
            self.failed = now;
            let doubled = FIRST_REST * (1 << (self.failures - 1).min(4));
            self.next = now.after(doubled.min(LONGEST_REST));
        }
    }

    fn succeed(&mut self, now: Millis) {
        self.batch += self.at_once;
        self.at_once = (2 * self.at_once).min(MOST_AT_ONCE);
        self.failures = 0;
        self.next = now.after(FIRST_REST);
    }

    /// Whether somebody may try whatever the clock says.
    fn is_granted(&self) -> bool {
        self.tries + self.batch > 0 && self.failures < FAILURES
    }

    /// Whether somebody may try now.
    fn may_try(&self, now: Millis) -> bool {
        !self.resting.is_empty() && (self.is_granted() || now >= self.next)
    }
}

impl Waits {
    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether anybody waits for this upstream.
    pub(super) fn are_for(&self, upstream: UpstreamId) -> bool {
        self.queues.contains_key(&upstream)
    }

    /// Whether a client has waited for room, and may wait or try now.
    fn has(&self, index: ConnIndex) -> bool {
        self.clients.contains_key(&index)
    }

    /// Since when a client has waited.
    pub(super) fn since(&self, index: ConnIndex) -> Option<Millis> {
        self.clients.get(&index).map(|wait| wait.since)
    }

    /// A client waits, for the first time or again. Says whether it begins to.
    fn put(
        &mut self,
        index: ConnIndex,
        upstream: UpstreamId,
        lack: Lack,
        (since, now): (Millis, Millis),
    ) -> bool {
        let queue = self.queues.entry(upstream).or_insert_with(|| Queue::new(now));
        if let Some(wait) = self.clients.get_mut(&index) {
            let began = wait.tries.take().expect("it was trying");
            queue.trying -= 1;
            queue.fail(lack, began, now);
            queue.resting.insert(wait.turn(), index);
            return false;
        }
        self.count += 1;
        let wait = Wait { upstream, number: self.count, since, tries: None };
        queue.resting.insert(wait.turn(), index);
        self.clients.insert(index, wait);
        true
    }

    /// A client waits no longer, because it was joined or has ended. Says what it waited for.
    fn take(&mut self, index: ConnIndex, joined: bool, now: Millis) -> Option<UpstreamId> {
        let wait = self.clients.remove(&index)?;
        let queue = self.queues.get_mut(&wait.upstream).expect("it is in a queue");
        match wait.tries {
            Some(_) => queue.trying -= 1,
            None => drop(queue.resting.remove(&wait.turn())),
        }
        if joined {
            queue.succeed(now);
        }
        if queue.trying == 0 && queue.resting.is_empty() {
            self.queues.remove(&wait.upstream);
        }
        Some(wait.upstream)
    }

    /// A connection of this upstream has ended. Says whether a client of ours may use its room.
    fn free(&mut self, upstream: UpstreamId) -> bool {
        let Some(queue) = self.queues.get_mut(&upstream) else { return false };
        let is_wanted = (queue.tries as usize) < queue.resting.len();
        queue.tries += u32::from(is_wanted);
        is_wanted
    }

    /// Servers or sources have changed: there may be room.
    pub(super) fn try_all(&mut self, now: Millis) {
        self.queues.values_mut().for_each(|queue| queue.next = now);
    }

    /// The next that is to try, if one may.
    fn call(&mut self, now: Millis) -> Option<ConnIndex> {
        let queue = self.queues.values_mut().find(|queue| queue.may_try(now))?;
        if !queue.is_granted() {
            queue.next = now.after(LONGEST_REST);
        }
        match queue.batch {
            0 => queue.tries = queue.tries.saturating_sub(1),
            _ => queue.batch -= 1,
        }
        queue.trying += 1;
        let (_, index) = queue.resting.pop_first().expect("one rests");
        self.clients.get_mut(&index).expect("it waits").tries = Some(now);
        Some(index)
    }

    /// When somebody is to try next if nothing happens.
    pub(super) fn next(&self) -> Option<Millis> {
        let resting = self.queues.values().filter(|queue| !queue.resting.is_empty());
        let next = resting.map(|queue| if queue.is_granted() { Millis(0) } else { queue.next });
        next.min()
    }
}

impl<R: Ring> Worker<R> {
    /// Whether a client that has tried no server yet is to wait behind others.
    pub(super) fn is_behind_others(&mut self, index: ConnIndex) -> bool {
        if self.waits.is_empty() {
            return false;
        }
        let route = self.lives.entry(index).route;
        let upstream = self.routes.line(route).route.upstream;
        self.waits.are_for(upstream) && !self.waits.has(index)
    }

    /// No server has room for a client now: it waits, and its upstream's gates take no more.
    pub(super) fn wait_for_room(&mut self, index: ConnIndex, lack: Lack) {
        let route = self.lives.entry(index).route;
        let upstream = self.routes.line(route).route.upstream;
        let is_first = !self.waits.are_for(upstream);
        let now = self.time.now();
        let since = self.unserved.take_search(index).unwrap_or(now);
        if self.waits.put(index, upstream, lack, (since, now)) {
            self.routes.room(upstream).wait();
        }
        if is_first {
            self.hold_gates();
        }
        self.apply(index, Event::NoRoom);
    }

    /// A client that may have waited for room was joined, or has ended.
    pub(super) fn end_wait(&mut self, index: ConnIndex, joined: bool) {
        if joined {
            self.unserved.settle(index);
        }
        if self.waits.is_empty() {
            return;
        }
        if let Some(upstream) = self.waits.take(index, joined, self.time.now()) {
            self.routes.room(upstream).waited();
            if !self.waits.are_for(upstream) {
                self.hold_gates();
            }
        }
    }

    /// A connection has left a server of this upstream: somebody may have its room.
    pub(super) fn free_room(&mut self, upstream: UpstreamId) {
        if !self.waits.free(upstream) && self.routes.room(upstream).free() {
            self.admission.wake_others();
        }
    }

    /// Holds the gates whose clients would wait, and no others.
    pub(super) fn hold_gates(&mut self) {
        let (waits, routes) = (&self.waits, &self.routes);
        let is_held = |gate| waits.are_for(routes.of_gate(gate).route.upstream);
        self.admission.hold(&mut self.ring, is_held);
    }

    /// Lets clients try again for which there may be room. Called once a turn.
    pub(super) fn try_waiting(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        for (upstream, queue) in &mut self.waits.queues {
            let wanted = (queue.resting.len() as u32).saturating_sub(queue.tries);
            queue.tries += self.routes.room(*upstream).take(wanted);
        }
        let now = self.time.now();
        while let Some(index) = self.waits.call(now) {
            if self.lives.entry(index).conn.phase() == Phase::Pressed(Shortage::Room) {
                self.apply(index, Event::RoomPerhaps);
                continue;
            }
            // It is ending: another one may use its try.
            let upstream = self.waits.clients[&index].upstream;
            self.end_wait(index, false);
            self.waits.free(upstream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: UpstreamId = UpstreamId(3);

    fn at(now: Millis) -> (Millis, Millis) {
        (now, now)
    }

    /// Three clients that wait from a second on, in the order of their slots.
    fn three() -> Waits {
        let mut waits = Waits::default();
        for slot in 0..3 {
            assert!(waits.put(
                ConnIndex(slot),
                APP,
                Lack::Port,
                at(Millis(1000 + u64::from(slot)))
            ));
        }
        waits
    }

    /// Who may try at this moment.
    fn called(waits: &mut Waits, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| waits.call(Millis(now)).map(|ConnIndex(slot)| slot)).collect()
    }

    #[test]
    fn the_oldest_tries_at_once_when_a_connection_has_ended() {
        let mut waits = three();
        assert_eq!((called(&mut waits, 1010), waits.next()), (vec![], Some(Millis(1100))));
        assert!(waits.free(APP) && !waits.free(UpstreamId(4)));
        assert_eq!(called(&mut waits, 1010), [0]);
        assert!(!waits.put(ConnIndex(0), APP, Lack::Port, at(Millis(1011))), "it goes on waiting");
        waits.free(APP);
        assert!(called(&mut waits, 1012).is_empty(), "two failures: the clock alone counts");
        assert_eq!(called(&mut waits, 1211), [0], "and it is still the oldest");
        assert_eq!(waits.since(ConnIndex(0)), Some(Millis(1000)));
    }

    #[test]
    fn where_servers_are_full_each_end_is_a_try() {
        let mut waits = Waits::default();
        for slot in 0..2 {
            waits.put(ConnIndex(slot), APP, Lack::Limit, at(Millis(1000)));
        }
        for now in 1001..1010 {
            waits.free(APP);
            assert_eq!(called(&mut waits, now), [0], "the oldest, however often it finds none");
            waits.put(ConnIndex(0), APP, Lack::Limit, at(Millis(now)));
        }
        assert!(called(&mut waits, 1108).is_empty());
        assert_eq!(called(&mut waits, 1109), [0], "and by the clock, should an end go unseen");
    }

    #[test]
    fn more_try_after_each_that_is_joined_and_rests_double_to_a_second() {
        let mut waits = three();
        assert_eq!(called(&mut waits, 1100), [0]);
        assert_eq!(waits.take(ConnIndex(0), true, Millis(1101)), Some(APP));
        assert_eq!(called(&mut waits, 1101), [1]);
        waits.take(ConnIndex(1), true, Millis(1102));
        assert_eq!(called(&mut waits, 1102), [2]);
        let mut now = 1102;
        let mut rests = Vec::new();
        for _ in 0..6 {
            waits.put(ConnIndex(2), APP, Lack::Port, at(Millis(now + 1)));
            let next = waits.next().expect("it waits").0;
            rests.push(next - now - 1);
            now = next;
            assert_eq!(called(&mut waits, now), [2]);
        }
        assert_eq!(rests, [100, 200, 400, 800, 1000, 1000]);
        waits.take(ConnIndex(2), false, Millis(now));
        assert!(waits.is_empty() && waits.next().is_none());
    }
}
