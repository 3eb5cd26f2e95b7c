//! Idle connections make way for clients that wait at a limit.

use std::sync::Arc;
use std::time::Duration;

use super::Fake;
use crate::budget::{Budget, Waiting};
use crate::conn::Reason;
use crate::worker::limit::Limit;

/// A limit that is reached, with so many clients waiting at it.
fn limit(connections: u32, clients: u32, idle_after: Duration) -> (Limit, Waiting) {
    let bound = Arc::new(Budget::new(connections, 1));
    assert_eq!(bound.lease(connections), connections);
    (0..connections).for_each(|_| bound.enter());
    let waiting = Waiting::default();
    waiting.count(&bound, None, clients);
    (Limit { bound, of: None, idle_after }, waiting)
}

/// Clients come in for every permit that is there.
fn come_in(limit: &Limit, waiting: &Waiting) {
    while limit.bound.anyone_waits() && limit.bound.lease(1) == 1 {
        waiting.serve(&limit.bound, None);
        limit.bound.enter();
    }
}

#[test]
fn as_many_are_evicted_as_wait_those_idle_the_longest_first_and_no_busy_one() {
    let minute = Duration::from_secs(60);
    // Slot 4 has been idle for less than a minute, slot 2 moves a byte when it is its turn.
    let mut fake = Fake::with([30_000, 10_000, 0, 20_000, 50_000], 100_000);
    fake.idle = Some(minute);
    let (limit, waiting) = limit(5, 2, minute);
    fake.errands.begin_eviction(&limit, fake.now);
    fake.errands.begin_eviction(&limit, fake.now);
    assert_eq!(fake.errands.count(), 1, "one for a limit");
    fake.touch(2);
    for now in (100_000..101_000).step_by(10) {
        fake.turn_at(now);
        come_in(&limit, &waiting);
    }
    assert_eq!(fake.ended_slots(), [1, 3]);
    assert!(fake.ended.iter().all(|(_, _, reason)| *reason == Reason::Evicted));
    assert!(!limit.bound.anyone_waits());

    // Three more come, and one connection is idle for long enough.
    waiting.count(&limit.bound, None, 3);
    for now in (101_000..109_000).step_by(10) {
        fake.turn_at(now);
        come_in(&limit, &waiting);
    }
    assert_eq!(fake.ended_slots(), [1, 3, 0], "the others wait as in a queue");
    fake.turn_at(110_000);
    assert_eq!(fake.ended_slots(), [1, 3, 0, 4], "until the next has been idle for a minute");

    waiting.count(&limit.bound, None, 0);
    fake.turn_at(170_001);
    assert_eq!((fake.errands.count(), fake.conns.len()), (0, 1), "it is over after a while");
}

#[test]
fn a_crowd_turns_everybody_out_at_the_pace_of_the_limit() {
    let mut fake = Fake::with(std::iter::repeat_n(0, 2_000), 600_000);
    fake.idle = Some(Duration::from_secs(60));
    let (limit, waiting) = limit(2_000, 10_000, Duration::from_secs(60));
    fake.errands.begin_eviction(&limit, fake.now);
    for now in 600_000..625_000 {
        fake.turn_at(now);
        come_in(&limit, &waiting);
    }
    assert_eq!(fake.ended.len(), 2_000);
    for second in 600..609 {
        let many = fake.ended.iter().filter(|(at, _, _)| at.0 / 1000 == second).count();
        // The pace makes up for a tenth of a second of quiet.
        let most = if second == 600 { 221 } else { 201 };
        assert!((198..=most).contains(&many), "{many} in second {second}");
    }
}

#[test]
fn who_came_after_the_listing_is_evicted_when_its_time_has_come() {
    let mut fake = Fake::with([0], 1_000);
    fake.idle = Some(Duration::from_secs(5));
    let (limit, waiting) = limit(2, 1, Duration::from_secs(5));
    fake.errands.begin_eviction(&limit, fake.now);
    fake.turn_at(1_000);
    fake.open(1, 1_100);
    for now in (1_100..7_000).step_by(10) {
        fake.turn_at(now);
        if come_in_once(&limit, &waiting) {
            waiting.count(&limit.bound, None, 1);
        }
    }
    let ends: Vec<_> = fake.ended.iter().map(|(at, index, _)| (at.0, index.0)).collect();
    assert_eq!(ends, [(5_000, 0), (6_100, 1)]);
}

fn come_in_once(limit: &Limit, waiting: &Waiting) -> bool {
    let is_free = limit.bound.unused() > 0;
    come_in(limit, waiting);
    is_free
}
