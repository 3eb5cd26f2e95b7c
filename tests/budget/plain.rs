//! Permits of the real budget, over real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use portcullis::budget::{Budget, WakeWorker};

#[test]
fn no_more_is_leased_than_the_limit_and_all_of_it_comes_back() {
    let budget = Budget::new(10, 1);
    assert_eq!(budget.lease(7), 7);
    assert_eq!(budget.lease(7), 3);
    assert_eq!(budget.lease(1), 0);
    budget.give_back(4);
    assert_eq!(budget.free(), 4);
    assert_eq!(budget.lease(9), 4);
}

#[test]
fn threads_that_lease_and_return_never_exceed_the_limit() {
    let budget = Budget::new(100, 4);
    let held = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for seed in 1..5u32 {
            let (budget, held) = (&budget, &held);
            scope.spawn(move || {
                for round in 0..10_000u32 {
                    let granted = budget.lease(1 + (round * seed) % 40);
                    let now = held.fetch_add(granted, SeqCst) + granted;
                    assert!(now <= 100, "{now} held of 100");
                    held.fetch_sub(granted, SeqCst);
                    budget.give_back(granted);
                }
            });
        }
    });
    assert_eq!(budget.free(), 100);
}

#[test]
fn the_first_word_of_hunger_wakes_the_others_and_a_return_wakes_the_hungry() {
    let budget = Budget::new(1, 3);
    let woken: Arc<[AtomicU32; 3]> = Arc::default();
    let wake = |worker: usize| -> WakeWorker {
        let woken = woken.clone();
        Box::new(move || {
            woken[worker].fetch_add(1, SeqCst);
        })
    };
    budget.set_wakers((0..3).map(wake).collect());
    let wakes = || [0, 1, 2].map(|worker: usize| woken[worker].load(SeqCst));
    assert_eq!(budget.lease(1), 1);
    budget.set_hungry(1, true);
    budget.set_hungry(1, true);
    assert_eq!(wakes(), [1, 0, 1]);
    budget.give_back(1);
    assert_eq!(wakes(), [1, 1, 1]);
    budget.set_hungry(1, false);
    assert!(!budget.anyone_hungry());
}

#[test]
fn a_limit_that_changes_wakes_all_and_holds_for_what_comes() {
    let budget = Budget::new(10, 2);
    let rung = Arc::new(AtomicU32::new(0));
    let waker = || -> WakeWorker {
        let rung = rung.clone();
        Box::new(move || {
            rung.fetch_add(1, SeqCst);
        })
    };
    budget.set_wakers(vec![waker(), waker()]);
    assert_eq!(budget.lease(8), 8);
    budget.set_limit(5);
    assert_eq!((budget.limit(), budget.free(), budget.is_exceeded()), (5, 0, true));
    assert_eq!(rung.load(SeqCst), 2);
    budget.give_back(3);
    assert_eq!((budget.lease(1), budget.is_exceeded()), (0, false));
    budget.give_back(1);
    assert_eq!(budget.lease(9), 1);
    budget.set_limit(6);
    assert_eq!(budget.lease(9), 1);
}

#[test]
fn connections_that_were_there_before_count_and_leave_like_any_other() {
    let budget = Budget::new(2, 1);
    budget.take_over(3);
    assert_eq!((budget.used(), budget.lease(1), budget.is_exceeded()), (3, 0, true));
    for _ in 0..3 {
        budget.leave();
        budget.give_back(1);
    }
    assert_eq!((budget.used(), budget.leased(), budget.lease(9)), (0, 0, 2));
}
