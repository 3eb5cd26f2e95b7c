//! Drains of parts and of shares, their rates, and cancels.

use super::*;
use crate::base::{ListenerId, ServerId};

/// Turns whenever an errand wants to go on, until none does.
fn run_out(fake: &mut Fake) {
    while let Some(next) = fake.errands.next() {
        fake.now = fake.now.max(next);
        fake.turn();
    }
}

#[test]
fn a_part_drains_over_all_of_its_time_and_nobody_else_does() {
    let mut fake = Fake::with(std::iter::repeat_n(0, 1_000), 60_000);
    fake.part = (0..1_000).step_by(10).map(ConnIndex).collect();
    let (account, mut lines) = Account::open(1, None, fake.now);
    let whom = Whom::Part(Part::Listener(ListenerId(3)), 100);
    fake.drain_of(whom, Pace::Even, lines.remove(0), 50);
    fake.turn_at(60_000);
    let standing = account.standing();
    assert_eq!((standing.left, standing.ended), (99, 1));
    assert!((1.9..2.1).contains(&standing.per_second), "{standing:?}");
    assert!(standing.time_left.is_some_and(|left| left.as_secs() == 49), "{standing:?}");
    assert_eq!(fake.errands.farewell(), Farewell::No);
    run_out(&mut fake);
    assert_eq!((fake.conns.len(), fake.ended.len()), (900, 100));
    assert!(account.is_over() && !fake.accepts_no_more);
    assert_eq!(account.standing().ended, 100);
    assert!(fake.ended.iter().all(|(_, index, _)| index.0 % 10 == 0));
    for tenth in 0..10 {
        let (from, to) = (60_000 + tenth * 5_000, 65_000 + tenth * 5_000);
        let many = fake.ended.iter().filter(|(at, ..)| (from..to).contains(&at.0)).count();
        assert!((9..=11).contains(&many), "{many} in tenth {tenth}");
    }
}

#[test]
fn a_share_is_of_the_longest_idle_and_who_moves_bytes_gives_its_place_to_another() {
    let mut fake = Fake::with((0..100).map(|slot| slot * 100), 60_000);
    fake.drain_of(Whom::Part(Part::Whole, 30), Pace::Brisk, line(), 30);
    fake.turn();
    fake.touch(5);
    fake.touch(20);
    run_out(&mut fake);
    let expected: Vec<u32> = (0..32).filter(|slot| ![5, 20].contains(slot)).collect();
    assert_eq!(fake.ended_slots(), expected);
    assert_eq!(fake.conns.len(), 70);
}

#[test]
fn a_rate_is_never_exceeded_whatever_the_time() {
    for (pace, seconds, least_seconds) in [(Pace::Rate, 25, 9), (Pace::Even, 2, 9)] {
        let mut fake = Fake::with(std::iter::repeat_n(0, 500), 60_000);
        let mut lines = Account::open(1, Some(50), fake.now).1;
        fake.drain_of(Whom::Part(Part::Whole, 100), pace, lines.remove(0), seconds);
        run_out(&mut fake);
        assert_eq!(fake.ended.len(), 500);
        for (count, (at, ..)) in fake.ended.iter().enumerate() {
            let most = (at.0 - 60_000) * 50 / 1000 + 1;
            assert!((count as u64) < most, "{count} by {at:?}");
        }
        assert_eq!((fake.ended[499].0.0 - 60_000) / 1000, least_seconds);
    }
}

#[test]
fn a_drain_of_all_that_is_cancelled_leaves_whom_it_has_not_closed_and_can_come_again() {
    let mut fake = Fake::with(std::iter::repeat_n(0, 1_000), 60_000);
    let (account, mut lines) = Account::open(1, None, fake.now);
    fake.drain_of(Whom::All, Pace::Brisk, lines.remove(0), 20);
    for now in 60_000..65_000 {
        fake.turn_at(now);
    }
    assert!(fake.accepts_no_more);
    fake.accept(1_000);
    assert!(fake.errands.cancel(&account), "it was the farewell");
    assert_eq!((fake.errands.count(), fake.errands.farewell()), (0, Farewell::No));
    assert!(account.is_over());
    let ended = fake.ended.len();
    assert_eq!(account.standing().ended, ended as u64);
    assert!((250..=300).contains(&ended), "{ended}");
    assert!(!fake.errands.cancel(&account), "it is cancelled once");
    (fake.accepts_no_more, fake.now) = (false, Millis(90_000));
    fake.accept(1_001);
    fake.drain(20);
    fake.run();
    assert!(fake.ended.iter().all(|(_, _, reason)| *reason == Reason::Drained));
    assert_eq!(fake.ended.len(), 1_002);
}

#[test]
fn a_stop_is_not_cancelled_with_the_drain_that_it_follows() {
    let mut fake = Fake::with([0; 5], 60_000);
    let (account, mut lines) = Account::open(1, None, fake.now);
    fake.drain_of(Whom::All, Pace::Brisk, lines.remove(0), 0);
    fake.turn();
    assert!(account.is_over() && !fake.errands.cancel(&account));
    assert_eq!(fake.errands.farewell(), Farewell::Stopping);
}

#[test]
fn the_cancel_of_one_drain_leaves_another_alone() {
    let mut fake = Fake::with([0; 100], 60_000);
    fake.part = (0..10).map(ConnIndex).collect();
    fake.left = (90..100).map(ConnIndex).collect();
    let (account, mut lines) = Account::open(1, None, fake.now);
    let whom = Whom::Part(Part::Server(ServerId(0)), 100);
    fake.drain_of(whom, Pace::Even, lines.remove(0), 3600);
    fake.errands.begin_removal(line(), fake.now, Millis(70_000));
    fake.turn();
    assert!(!fake.errands.cancel(&account), "it was no farewell");
    run_out(&mut fake);
    assert!((89..=90).contains(&fake.conns.len()), "{}", fake.conns.len());
}
