//! Many clients at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::Builder;
use std::time::Instant;

use super::PATIENCE;

/// Threads of a test are many and do little.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// Runs `job` for 0, 1, … `count` − 1, up to `at_once` of them side by side.
pub(crate) fn crowd(count: usize, at_once: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(count) {
            let work = || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    job(index);
                }
            };
            Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).expect("a thread");
        }
    });
}

/// Marks that one thread sets and another waits for, each with a number.
#[derive(Default)]
pub(crate) struct Marks {
    set: Mutex<HashSet<u64>>,
    changed: Condvar,
}

impl Marks {
    pub(crate) fn set(&self, number: u64) {
        self.set.lock().unwrap().insert(number);
        self.changed.notify_all();
    }

    pub(crate) fn wait(&self, number: u64) {
        let deadline = Instant::now() + PATIENCE;
        let mut set = self.set.lock().unwrap();
        while !set.contains(&number) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(set);
                panic!("waited {PATIENCE:?} in vain for mark {number}");
            }
            set = self.changed.wait_timeout(set, left).unwrap().0;
        }
    }
}
