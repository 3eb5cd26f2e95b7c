//! A turn that waits for a batch of completions ends when it should.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use portcullis::ring::{Ring, RingSetup};

use crate::harness::{Newer, Rig, V4, does, setup};
use crate::wake::wakes;

#[test]
fn a_wake_ends_a_turn_that_waits_for_a_batch() {
    if does(Newer::Batches) {
        let batch_wait = Duration::from_millis(1);
        wakes(RingSetup { table_entries: 64, batch_wait, ..setup(100) });
    }
}

#[test]
fn a_batch_s_time_ends_no_turn_that_nothing_has_come_to() {
    if !does(Newer::Batches) {
        return;
    }
    let batch_wait = Duration::from_micros(100);
    let mut rig = Rig::new(RingSetup { batch_wait, ..setup(100) }, &[V4]);
    let (waker, woken) = (rig.ring.waker(), Arc::new(AtomicBool::new(false)));
    let thread = thread::spawn({
        let woken = woken.clone();
        move || {
            // Far beyond the batch's time; a turn that ended by it would find the flag unset.
            thread::sleep(Duration::from_millis(50));
            woken.store(true, Ordering::SeqCst);
            waker.wake();
        }
    });
    rig.ring.turn(None).expect("a turn");
    assert!(woken.load(Ordering::SeqCst), "it ended before anything came");
    thread.join().expect("no panic");
    rig.ring.turn(Some(Duration::from_millis(1))).expect("a turn that nothing comes to");
    assert_eq!(rig.ring.next(), None);
}
