//! A waiting turn returns when it should: for the waker, and for any of several rings.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portcullis::base::Side;
use portcullis::ring::{Accepts, Operation, Ring, RingSetup, Waker};

use crate::harness::{Rig, V4, setup};

fn is_send_and_sync<T: Send + Sync + Clone>(_: &T) {}

pub(crate) fn wakes(setup: RingSetup) {
    let mut rig = Rig::new(setup, &[V4]);
    let waker: Waker = rig.ring.waker();
    is_send_and_sync(&waker);
    let (ready, go) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        while go.recv().is_ok() {
            waker.wake();
        }
    });
    for _ in 0..100 {
        ready.send(()).expect("the thread lives");
        rig.ring.turn(None).expect("a turn");
        assert_eq!(rig.ring.next(), None);
    }
    drop(ready);
    thread.join().expect("no panic");
}

#[test]
fn a_wake_ends_a_turn_that_waits_for_ever_and_one_that_comes_later() {
    for table_entries in [64, 4096] {
        wakes(RingSetup { table_entries, ..setup(100) });
    }
}

#[test]
fn a_turn_that_waits_for_ever_sees_traffic_on_any_ring() {
    let mut rig = Rig::new(RingSetup { table_entries: 64, ..setup(100) }, &[V4]);
    let mut held = Vec::new();
    for index in 0..100 {
        if index % 25 == 0 {
            rig.ring.retarget_accepts();
        }
        held.push(rig.client());
    }
    for (_, conn) in &held {
        rig.start(*conn, Side::Client, Operation::WaitReadable);
    }
    rig.turn(Duration::ZERO);
    assert_eq!(rig.unseen(), []);
    let conns: Vec<_> = held.iter().map(|(_, conn)| *conn).collect();
    let (seen, next) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        for (client, _) in &mut held {
            client.write_all(b"x").expect("a write");
            next.recv().expect("the ring saw it");
        }
        held
    });
    for conn in conns {
        let mut found = None;
        // A wake-up of the ring's own may come in between, so a turn may bring nothing.
        for _ in 0..10 {
            rig.ring.turn(None).expect("a turn");
            found = rig.ring.next();
            if found.is_some() {
                break;
            }
        }
        let wanted = crate::harness::token(conn, Side::Client, Operation::WaitReadable);
        assert!(
            matches!(found, Some(portcullis::ring::Completion::Done(done)) if done.token == wanted),
            "{found:?}"
        );
        assert_eq!(rig.ring.next(), None);
        seen.send(()).expect("the writer lives");
    }
    writer.join().expect("no panic");
}

#[test]
fn an_idle_ring_does_not_spin() {
    let mut rig = Rig::new(RingSetup { table_entries: 64, ..setup(100) }, &[V4]);
    let (_client, conn) = rig.client();
    rig.start(conn, Side::Client, Operation::WaitReadable);
    // Whatever the set-up stirred settles in a few turns; after that each turn lasts its time.
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        let begun = std::time::Instant::now();
        rig.turn(Duration::from_millis(5));
        waited += begun.elapsed();
    }
    assert!(waited >= Duration::from_millis(15 * 5), "{waited:?} in twenty turns of 5 ms");
}
