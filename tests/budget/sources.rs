//! Sources stay within their limits in every order of the workers' steps, by loom.

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
use loom::thread;
use portcullis::base::Millis;

use crate::modelled::every_order;
use crate::source::counts::{Counts, Entering};
use crate::source::key::Key;
use crate::source::rates::{Admission, Rate, Rates};

/// Two sources that prefer the same bucket.
const ONE: Key = Key(0x1111_1111_1100_0000);
const OTHER: Key = Key(0x2222_2222_2200_0000);

/// A worker that enters, if it may, and leaves.
fn worker(
    counts: &Arc<Counts>,
    held: &Arc<AtomicU32>,
    limit: u32,
) -> impl FnOnce() -> bool + use<> {
    let (counts, held) = (counts.clone(), held.clone());
    move || {
        let Entering::Entered(word) = counts.enter(ONE, limit) else { return false };
        let now = held.fetch_add(1, SeqCst) + 1;
        assert!(now <= limit, "{now} held, and {limit} may be");
        held.fetch_sub(1, SeqCst);
        counts.leave(word);
        true
    }
}

#[test]
fn two_workers_never_hold_more_of_a_source_than_its_limit() {
    every_order(|| {
        let (counts, held) = (Arc::new(Counts::for_connections(1)), Arc::default());
        let other = thread::spawn(worker(&counts, &held, 1));
        let mine = worker(&counts, &held, 1)();
        let others = other.join().expect("no assertion failed");
        assert!(mine || others, "one of them gets in");
        assert_eq!(counts.used(), 0);
    });
}

#[test]
fn three_workers_never_hold_more_of_a_source_than_its_limit() {
    every_order(|| {
        let (counts, held) = (Arc::new(Counts::for_connections(1)), Arc::default());
        let others = [(); 2].map(|()| thread::spawn(worker(&counts, &held, 2)));
        worker(&counts, &held, 2)();
        others.into_iter().for_each(|other| {
            other.join().expect("no assertion failed");
        });
        assert_eq!(counts.used(), 0);
    });
}

/// The last place of a source, and two that want it: the one gets in, and the other does not.
#[test]
fn of_two_racers_for_the_last_place_one_gets_in() {
    every_order(|| {
        let counts = Arc::new(Counts::for_connections(1));
        let enters = {
            let counts = counts.clone();
            move || matches!(counts.enter(ONE, 1), Entering::Entered(_))
        };
        let other = thread::spawn(enters.clone());
        let entered = [enters(), other.join().expect("no assertion failed")];
        assert_ne!(entered[0], entered[1]);
        assert_eq!(counts.used(), 1);
    });
}

/// Another source leaves the bucket meanwhile, so that each racer may find another word free.
#[test]
fn a_word_that_another_source_frees_lets_nobody_in_beyond_the_limit() {
    every_order(|| {
        let (counts, held) = (Arc::new(Counts::for_connections(1)), Arc::default());
        let Entering::Entered(word) = counts.enter(OTHER, 1) else { panic!("it is empty") };
        let others = {
            let counts = counts.clone();
            [
                thread::spawn(worker(&counts, &held, 1)),
                thread::spawn(move || {
                    counts.leave(word);
                    true
                }),
            ]
        };
        worker(&counts, &held, 1)();
        others.into_iter().for_each(|other| {
            other.join().expect("no assertion failed");
        });
        assert_eq!(counts.used(), 0);
    });
}

/// Both are there in the end, each in a word of its own.
#[test]
fn two_sources_that_begin_in_one_bucket_are_two() {
    every_order(|| {
        let counts = Arc::new(Counts::for_connections(1));
        let other = {
            let counts = counts.clone();
            thread::spawn(move || counts.enter(OTHER, 1))
        };
        let entered = [counts.enter(ONE, 1), other.join().expect("no assertion failed")];
        let [Entering::Entered(one), Entering::Entered(other)] = entered else {
            panic!("{entered:?}")
        };
        assert_ne!(one, other);
        assert_eq!(counts.used(), 2);
        assert_eq!([ONE, OTHER].map(|key| counts.enter(key, 1)), [Entering::AtLimit; 2]);
    });
}

#[test]
fn workers_admit_a_burst_and_no_more() {
    every_order(|| {
        let rates = Arc::new(Rates::for_connections(1));
        let rate = Rate::new(1, Duration::from_secs(1), 2);
        let admits = {
            let rates = rates.clone();
            move || u32::from(rates.admit(ONE, Millis(7), rate) == Admission::Admitted)
        };
        let others = [(); 2].map(|()| thread::spawn(admits.clone()));
        let mine = admits();
        let others = others.map(|other| other.join().expect("no assertion failed"));
        assert_eq!(mine + others[0] + others[1], 2);
    });
}

/// The word of a source that owes nothing any more is taken by one of two others.
#[test]
fn a_word_whose_time_has_passed_is_taken_once() {
    every_order(|| {
        let rates = Arc::new(Rates::for_connections(1));
        let rate = Rate::new(1, Duration::from_secs(1), 1);
        assert_eq!(rates.admit(OTHER, Millis(0), rate), Admission::Admitted);
        let admits = {
            let rates = rates.clone();
            move |key| rates.admit(key, Millis(1000), rate)
        };
        let other = thread::spawn({
            let admits = admits.clone();
            move || admits(OTHER)
        });
        assert_eq!(admits(ONE), Admission::Admitted);
        assert_eq!(other.join().expect("no assertion failed"), Admission::Admitted);
        let again_in = Duration::from_secs(1);
        assert_eq!([ONE, OTHER].map(admits), [Admission::Refused { again_in }; 2]);
        assert_eq!(rates.used(Millis(1000)), 2);
    });
}
