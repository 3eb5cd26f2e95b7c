//! Every interleaving of a few threads over the budget, by loom.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
use loom::thread;

use portcullis::base::Millis;

use crate::budget::{Budget, Eviction, Waiting, WakeWorker};

/// Runs `model` over every order of the threads' steps with at most three preemptions: more than
/// the two that any of these protocols needs to go wrong, and seconds instead of hours.
pub(crate) fn every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn two_workers_never_hold_more_than_the_limit_and_all_comes_back() {
    every_order(|| {
        let budget = Arc::new(Budget::new(3, 2));
        let held = Arc::new(AtomicU32::new(0));
        let worker = |wanted: u32| {
            let (budget, held) = (budget.clone(), held.clone());
            move || {
                let granted = budget.lease(wanted);
                let now = held.fetch_add(granted, SeqCst) + granted;
                assert!(now <= 3, "{now} held of 3");
                held.fetch_sub(granted, SeqCst);
                budget.give_back(granted);
            }
        };
        let other = thread::spawn(worker(2));
        worker(2)();
        other.join().expect("no assertion failed");
        assert_eq!(budget.free(), 3);
    });
}

/// Worker 1 holds the only permit and gives it back. Worker 0 finds none and says it is hungry.
/// Whatever the order, worker 0 has the permit in the end or is woken to try again.
#[test]
fn a_hungry_worker_has_the_permit_or_is_woken() {
    every_order(|| {
        let budget = Arc::new(Budget::new(1, 2));
        let wakes = Arc::new(AtomicU32::new(0));
        let wake: WakeWorker = {
            let wakes = wakes.clone();
            Box::new(move || {
                wakes.fetch_add(1, SeqCst);
            })
        };
        budget.set_wakers(vec![wake, Box::new(|| {})]);
        assert_eq!(budget.lease(1), 1, "worker 1 has it");
        let other = {
            let budget = budget.clone();
            thread::spawn(move || budget.give_back(1))
        };
        let mut granted = budget.lease(1);
        if granted == 0 {
            budget.set_hungry(0, true);
            granted = budget.lease(1);
        }
        other.join().expect("no assertion failed");
        assert!(granted == 1 || wakes.load(SeqCst) > 0, "worker 0 sleeps hungry beside a permit");
    });
}

/// Worker 1 has a permit lying idle. It looks once whether anybody is hungry, and sleeps if not.
/// Whatever the order, it has seen the hungry or is woken after it looked, and sees them then.
#[test]
fn who_holds_idle_permits_hears_of_the_hungry() {
    every_order(|| {
        let budget = Arc::new(Budget::new(1, 2));
        let wakes = Arc::new(AtomicU32::new(0));
        let wake: WakeWorker = {
            let wakes = wakes.clone();
            Box::new(move || {
                wakes.fetch_add(1, SeqCst);
            })
        };
        budget.set_wakers(vec![Box::new(|| {}), wake]);
        let idle = {
            let (budget, wakes) = (budget.clone(), wakes.clone());
            thread::spawn(move || (wakes.load(SeqCst), budget.anyone_hungry()))
        };
        budget.set_hungry(0, true);
        let (wakes_before, seen) = idle.join().expect("no assertion failed");
        let woken = wakes.load(SeqCst) > wakes_before;
        assert!(seen || woken, "worker 1 sleeps on an idle permit");
        assert!(budget.anyone_hungry(), "and once woken it sees why");
    });
}

/// A limit that is raised while a worker finds none free: it has a permit in the end, or is woken.
#[test]
fn a_raised_limit_is_found_or_wakes() {
    every_order(|| {
        let budget = Arc::new(Budget::new(0, 1));
        let rung = Arc::new(AtomicU32::new(0));
        let waker: WakeWorker = {
            let rung = rung.clone();
            Box::new(move || {
                rung.fetch_add(1, SeqCst);
            })
        };
        budget.set_wakers(vec![waker]);
        let other = {
            let budget = budget.clone();
            thread::spawn(move || budget.set_limit(1))
        };
        let granted = budget.lease(1);
        other.join().expect("no assertion failed");
        assert!(granted == 1 || rung.load(SeqCst) > 0, "it waits for ever");
        assert_eq!(granted + budget.free(), 1);
    });
}

/// Two workers hold an idle connection each, and one client waits. Whatever the order, one of them
/// ends its connection, and never both: not while the permit comes back, and not while the client
/// comes in with it.
#[test]
fn two_workers_never_evict_for_one_client() {
    every_order(|| {
        let budget = Arc::new(Budget::new(2, 2));
        assert_eq!(budget.lease(2), 2);
        (0..2).for_each(|_| budget.enter());
        let waiting = Waiting::default();
        assert!(waiting.count(&budget, None, 1), "it is the first");
        let evicts = {
            let budget = budget.clone();
            move || {
                if matches!(budget.evict(Millis(5)), Eviction::Begun) {
                    budget.leave();
                    budget.give_back(1);
                    budget.evicted();
                }
            }
        };
        let other = thread::spawn(evicts.clone());
        evicts();
        if budget.lease(1) == 1 {
            waiting.serve(&budget, None);
            budget.enter();
        }
        other.join().expect("no assertion failed");
        assert_eq!(budget.evictions(), (1, 0));
    });
}

/// The same, and the client comes in while somebody may evict for it once more.
#[test]
fn a_client_that_comes_in_is_not_counted_as_one_that_waits() {
    every_order(|| {
        let budget = Arc::new(Budget::new(2, 2));
        assert_eq!(budget.lease(2), 2);
        budget.enter();
        let waiting = Waiting::default();
        waiting.count(&budget, None, 1);
        let other = {
            let budget = budget.clone();
            thread::spawn(move || budget.evict(Millis(5)))
        };
        waiting.serve(&budget, None);
        budget.enter();
        assert_eq!(other.join().expect("no assertion failed"), Eviction::Enough);
    });
}
