//! Errands over a worker that is a list of connections.

mod evictions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::{ListenerId, Side, Tick};
use crate::conn::Reason;
use crate::query::{ConnId, Facts};
use crate::topology::Parties;
use crate::worker::TlsClient;

mod parts;

/// A worker's connections, its clock, and what was done to it.
#[derive(Debug, Default)]
struct Fake {
    errands: Errands,
    now: Millis,
    conns: BTreeMap<ConnIndex, Activity>,
    /// When each was ended, in this order.
    ended: Vec<(Millis, ConnIndex, Reason)>,
    queued: u32,
    accepts_no_more: bool,
    /// Slots whose connection is on what the topology no longer has.
    left: BTreeSet<ConnIndex>,
    /// Slots whose connection belongs to any part.
    part: BTreeSet<ConnIndex>,
    /// How long a connection may be idle.
    idle: Option<Duration>,
    /// Deadlines that were set again.
    retimed: u32,
}

impl Fake {
    /// Connections that were last active in these milliseconds, by slot.
    fn with(actives: impl IntoIterator<Item = u64>, now: u64) -> Fake {
        let mut fake = Fake { now: Millis(now), ..Fake::default() };
        for (slot, active) in (0..).zip(actives) {
            fake.open(slot, active);
        }
        fake
    }

    fn open(&mut self, slot: u32, active: u64) {
        let last = Tick::not_before(Millis(active));
        self.conns.insert(ConnIndex(slot), Activity { opened: Millis(active), last });
    }

    fn accept(&mut self, slot: u32) {
        self.open(slot, self.now.0);
        self.errands.arrived(ConnIndex(slot));
    }

    fn touch(&mut self, slot: u32) {
        let last = Tick::not_before(self.now);
        self.conns.entry(ConnIndex(slot)).and_modify(|activity| activity.last = last);
    }

    fn drain(&mut self, seconds: u64) {
        self.drain_of(Whom::All, Pace::Brisk, line(), seconds);
    }

    fn drain_of(&mut self, whom: Whom, pace: Pace, line: Line, seconds: u64) {
        let (open, within) = (self.conns.len() as u32, Duration::from_secs(seconds));
        self.errands.begin_drain(DrainOrder { whom, pace, within, line }, open, self.now);
    }

    fn turn(&mut self) {
        for _ in 0..self.errands.count() {
            let errand = self.errands.take().expect("it was counted");
            if let Some(running) = errand.step(self) {
                self.errands.keep(running);
            }
        }
    }

    /// Turns whenever an errand wants to go on, until no connection is left.
    fn run(&mut self) {
        while !self.conns.is_empty() {
            self.turn();
            self.now = self.now.max(self.errands.next().unwrap_or(self.now));
        }
    }

    fn turn_at(&mut self, now: u64) {
        self.now = Millis(now);
        self.turn();
        while self.errands.next().is_some_and(|next| next <= self.now) {
            self.turn();
        }
    }

    fn ended_slots(&self) -> Vec<u32> {
        self.ended.iter().map(|(_, index, _)| index.0).collect()
    }
}

impl Reach for Fake {
    fn now(&self) -> Millis {
        self.now
    }

    fn heard(&self) -> Millis {
        self.now
    }

    fn next_slot(&self, from: u32) -> Option<ConnIndex> {
        self.conns.range(ConnIndex(from)..).next().map(|(index, _)| *index)
    }

    fn activity(&mut self, index: ConnIndex) -> Option<Activity> {
        self.conns.get(&index).copied()
    }

    fn is_left(&mut self, index: ConnIndex) -> bool {
        self.left.contains(&index)
    }

    fn is_of(&mut self, index: ConnIndex, part: Part) -> bool {
        part == Part::Whole || self.part.contains(&index)
    }

    fn is_overdue(&mut self, index: ConnIndex) -> bool {
        let idle = self.idle.is_some_and(|idle| {
            self.conns.get(&index).is_some_and(|one| one.last.begins().after(idle) <= self.now)
        });
        self.retimed += u32::from(!idle);
        idle
    }

    fn end_overdue(&mut self, index: ConnIndex) {
        if self.is_overdue(index) {
            self.end(index, Reason::IdleTimeout);
        }
    }

    fn makes_way_at(&mut self, index: ConnIndex, _: Option<ListenerId>) -> Option<Millis> {
        let one = self.conns.get(&index)?;
        Some(one.last.begins().after(self.idle?))
    }

    fn evict(&mut self, index: ConnIndex, limit: &Limit) {
        self.end(index, Reason::Evicted);
        limit.bound.leave();
        limit.bound.give_back(1);
        limit.bound.evicted();
    }

    fn facts(&mut self, _: ConnIndex) -> Option<Facts> {
        None
    }

    fn parties(&mut self, _: ConnIndex) -> Option<Parties> {
        None
    }

    fn tls(&mut self, _: ConnIndex) -> Option<Arc<TlsClient>> {
        None
    }

    fn id(&mut self, index: ConnIndex) -> ConnId {
        ConnId { worker: 0, slot: index.0, generation: 0 }
    }

    fn is_there(&mut self, id: ConnId) -> bool {
        self.conns.contains_key(&ConnIndex(id.slot))
    }

    fn is_living(&mut self, id: ConnId) -> bool {
        self.is_there(id)
    }

    fn has_addresses(&mut self, _: ConnIndex, _: Side) -> bool {
        false
    }

    fn ask_addresses(&mut self, _: ConnIndex, _: Side) {}

    fn end(&mut self, index: ConnIndex, reason: Reason) {
        if self.conns.remove(&index).is_some() {
            self.ended.push((self.now, index, reason));
        }
    }

    fn queued_clients(&self) -> u32 {
        self.queued
    }

    fn stop_accepting(&mut self) {
        assert!(!self.accepts_no_more, "accepting is stopped once");
        self.accepts_no_more = true;
    }

    fn take_arrivals(&mut self) -> Vec<ConnIndex> {
        self.errands.take_arrivals()
    }
}

/// A line of an account that nobody looks at.
fn line() -> Line {
    Account::open(1, None, Millis(0)).1.remove(0)
}

fn drained(many: usize, seconds: u64) -> Vec<u64> {
    let mut fake = Fake::with(std::iter::repeat_n(0, many), 1000);
    fake.drain(seconds);
    fake.run();
    assert!(fake.ended.iter().all(|(_, _, reason)| *reason == Reason::Drained));
    fake.ended.iter().map(|(at, _, _)| at.0 - 1000).collect()
}

#[test]
fn a_large_drain_is_even_over_its_window() {
    let closed = drained(200_000, 20);
    assert_eq!(closed.len(), 200_000);
    for second in 0..18 {
        let many = closed.iter().filter(|&&at| at / 1000 == second).count();
        assert!((11_000..11_250).contains(&many), "{many} in second {second}");
    }
}

#[test]
fn a_small_drain_does_not_dawdle() {
    let closed = drained(100, 3600);
    assert_eq!(closed.len(), 100);
    assert!(closed[99] <= 2_020, "{} ms", closed[99]);
}

#[test]
fn clients_that_come_late_are_closed_in_time_too() {
    let mut fake = Fake::with([0], 0);
    fake.queued = 1;
    fake.drain(10);
    for now in 0..10_000 {
        fake.now = Millis(now);
        if now % 2 == 0 && now < 8_000 {
            fake.accept(now as u32 + 1);
        }
        fake.turn_at(now);
    }
    let closed: Vec<u64> = fake.ended.iter().map(|(at, _, _)| at.0).collect();
    assert_eq!(closed.len(), 4_001);
    assert!(closed[4_000] <= 9_001, "{}", closed[4_000]);
    for (at, index, _) in &fake.ended[1..] {
        let accepted = u64::from(index.0) - 1;
        assert!(at.0 >= 9_000.min(accepted + 1000), "accepted at {accepted}, closed at {}", at.0);
    }
}

#[test]
fn the_longest_idle_is_closed_first() {
    // Neither the order of slots nor the order in which they were found.
    let actives = [700, 300, 900, 0, 500, 350, 800, 100];
    let mut fake = Fake::with(actives, 60_000);
    fake.drain(30);
    fake.run();
    assert_eq!(fake.ended_slots(), [3, 7, 1, 5, 4, 0, 6, 2]);
}

#[test]
fn a_connection_that_was_active_since_goes_back_behind_the_idle_ones() {
    let mut fake = Fake::with((0..10).map(|slot| slot * 100), 60_000);
    fake.drain(30);
    fake.turn_at(60_001);
    assert_eq!(fake.ended_slots(), [0]);
    fake.touch(1);
    fake.touch(4);
    fake.run();
    assert_eq!(fake.ended_slots(), [0, 2, 3, 5, 6, 7, 8, 9, 1, 4]);
}

#[test]
fn connections_that_are_always_active_are_spared_and_then_closed_evenly() {
    let mut fake = Fake::with(std::iter::repeat_n(0, 3_000), 60_000);
    (0..3_000).for_each(|slot| fake.touch(slot));
    fake.drain(20);
    for now in 60_000..78_000 {
        fake.now = Millis(now);
        if now % 200 == 0 {
            (0..3_000).for_each(|slot| fake.touch(slot));
        }
        fake.turn_at(now);
    }
    assert!(fake.conns.len() <= 1, "{} are left", fake.conns.len());
    // A window of 18 seconds, and seven tenths of it are theirs.
    let closed = |second| fake.ended.iter().filter(|(at, _, _)| at.0 / 100 == second).count();
    for tenth in 600..726 {
        assert_eq!(closed(tenth), 0, "at {tenth}");
    }
    for tenth in 727..779 {
        assert!((50..62).contains(&closed(tenth)), "{} at {tenth}", closed(tenth));
    }
}

#[test]
fn a_stream_among_idle_ones_is_left_to_finish() {
    let mut fake = Fake::with(std::iter::repeat_n(0, 1_000), 60_000);
    fake.drain(25);
    for now in 60_000..66_000 {
        fake.now = Millis(now);
        fake.touch(7);
        fake.turn_at(now);
    }
    assert!(fake.conns.contains_key(&ConnIndex(7)), "it is cut in full flow");
    let second = |at: u64| fake.ended.iter().filter(|(end, _, _)| end.0 / 1000 == at).count();
    for at in 60..66 {
        assert!((49..=51).contains(&second(at)), "{} others in second {at}", second(at));
    }
}

#[test]
fn what_left_the_topology_is_drained_and_nobody_else() {
    let mut fake = Fake::with(std::iter::repeat_n(0, 4_000), 60_000);
    fake.left = (0..4_000).step_by(2).map(ConnIndex).collect();
    fake.errands.begin_removal(line(), fake.now, Millis(80_000));
    while let Some(next) = fake.errands.next() {
        fake.now = fake.now.max(next);
        fake.turn();
    }
    assert_eq!((fake.conns.len(), fake.ended.len()), (2_000, 2_000));
    assert!(
        fake.ended
            .iter()
            .all(|(_, index, reason)| { fake.left.contains(index) && *reason == Reason::Drained })
    );
    for second in 60..78 {
        let many = fake.ended.iter().filter(|(at, _, _)| at.0 / 1000 == second).count();
        assert!((110..113).contains(&many), "{many} in second {second}");
    }
    assert_eq!((fake.errands.count(), fake.errands.farewell()), (0, Farewell::No));
    assert!(!fake.accepts_no_more);
}

#[test]
fn removals_that_follow_each_other_are_few_errands_and_each_keeps_its_time() {
    let mut fake = Fake::with(std::iter::repeat_n(0, 3_000), 60_000);
    let mut most = 0;
    // One connection's part leaves every 20 ms, each with 8 seconds.
    for now in (60_000..140_000).step_by(10) {
        fake.now = Millis(now);
        if now % 20 == 0 && now < 120_000 {
            let slot = (now - 60_000) / 20;
            fake.left.insert(ConnIndex(slot as u32));
            fake.errands.begin_removal(line(), fake.now, fake.now.after(Duration::from_secs(8)));
            most = most.max(fake.errands.count());
        }
        fake.turn_at(now);
    }
    assert_eq!((fake.conns.len(), fake.errands.count()), (0, 0));
    assert!(most <= 9, "{most} at once");
    for (at, index, _) in &fake.ended {
        let left = 60_000 + u64::from(index.0) * 20;
        assert!((left..=left + 8_000).contains(&at.0), "left at {left}, closed at {}", at.0);
    }
}

#[test]
fn a_lowered_timeout_ends_whom_it_makes_overdue_evenly_and_sets_other_deadlines_again() {
    // Half have been silent for a minute, half for a second.
    let mut fake = Fake::with((0..4_000).map(|slot| (slot % 2) * 59_000), 60_000);
    fake.idle = Some(Duration::from_secs(30));
    fake.errands.begin_overdue(line(), fake.now, Millis(80_000));
    while let Some(next) = fake.errands.next() {
        fake.now = fake.now.max(next);
        if fake.ended.len() == 100 {
            // It was listed, and moved a byte: it is no longer meant.
            fake.touch(3_000);
        }
        fake.turn();
    }
    assert_eq!((fake.conns.len(), fake.ended.len()), (2_001, 1_999));
    assert!(fake.retimed >= 2_000, "{} deadlines", fake.retimed);
    assert!(fake.ended.iter().all(|(_, _, reason)| *reason == Reason::IdleTimeout));
    for second in 60..78 {
        let many = fake.ended.iter().filter(|(at, _, _)| at.0 / 1000 == second).count();
        assert!((110..113).contains(&many), "{many} in second {second}");
    }
}

#[test]
fn a_slot_that_an_unconcerned_client_got_meanwhile_is_passed_over() {
    let mut fake = Fake::with([0; 100], 60_000);
    fake.left = (0..100).map(ConnIndex).collect();
    fake.errands.begin_removal(line(), fake.now, Millis(70_000));
    fake.turn();
    fake.left.remove(&ConnIndex(99));
    while let Some(next) = fake.errands.next() {
        fake.now = fake.now.max(next);
        fake.turn();
    }
    assert_eq!(fake.conns.keys().collect::<Vec<_>>(), [&ConnIndex(99)]);
}

#[test]
fn a_client_in_the_slot_of_one_that_is_gone_waits_behind_the_idle_ones() {
    let mut fake = Fake::with([0, 100, 200], 60_000);
    fake.queued = 1;
    fake.drain(30);
    fake.turn_at(60_000);
    assert_eq!(fake.ended_slots(), [0]);
    fake.conns.remove(&ConnIndex(1));
    fake.accept(1);
    fake.run();
    assert_eq!(fake.ended_slots(), [0, 2, 1]);
    assert!(fake.ended[2].0 >= Millis(61_000), "it is served first: {:?}", fake.ended);
}

#[test]
fn a_drain_stops_accepting_when_the_queues_stay_empty() {
    let mut fake = Fake::with([0; 1], 0);
    fake.conns.clear();
    fake.drain(10);
    fake.turn_at(0);
    fake.queued = 1;
    fake.turn_at(199);
    fake.queued = 0;
    fake.turn_at(210);
    fake.turn_at(400);
    assert!(!fake.accepts_no_more);
    fake.turn_at(410);
    assert!(fake.accepts_no_more);
}

#[test]
fn a_drain_becomes_a_stop_at_its_deadline() {
    let mut fake = Fake::with([0; 5000], 0);
    fake.queued = 1;
    fake.drain(0);
    fake.run();
    assert!(fake.accepts_no_more);
    assert_eq!(fake.errands.farewell(), Farewell::Stopping);
    assert!(fake.ended.iter().all(|(_, _, reason)| *reason == Reason::Stopped));
    assert_eq!(fake.errands.next(), None, "it sleeps");
    fake.accept(7);
    fake.turn();
    assert!(fake.conns.is_empty(), "a client that comes late is ended as it comes");
}

#[test]
fn a_stop_takes_the_place_of_a_drain() {
    let mut fake = Fake::with([0; 500], 60_000);
    fake.queued = 1;
    fake.drain(3600);
    fake.turn();
    assert!(fake.errands.begin_stop(fake.now), "the drain still accepted");
    fake.turn();
    assert_eq!(fake.errands.count(), 1);
    assert!(fake.conns.is_empty());
    assert!(!fake.errands.begin_stop(fake.now), "a stop accepts no more");
}
