//! Accepts land where and as often as they should.

use std::collections::HashSet;
use std::net::TcpStream;
use std::time::Duration;

use portcullis::base::{Errno, Side};
use portcullis::ring::{AcceptMode, Completion, ListenerId, Operation, Ring, RingSetup};

use crate::harness::{Rig, V4, setup};

const LISTENER: ListenerId = ListenerId(0);

fn clients(rig: &Rig, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(rig.listeners[0]).expect("a client")).collect()
}

#[test]
fn a_multishot_accepts_everybody_into_a_slot_of_their_own() {
    let mut rig = Rig::v4(100);
    assert_eq!((rig.ring.slots(), rig.ring.accept_room()), (100, 100));
    rig.ring.accept(LISTENER, AcceptMode::Multishot);
    let streams = clients(&rig, 20);
    let slots: HashSet<u32> = streams
        .iter()
        .map(|_| {
            let (listener, conn, more) = rig.accepted();
            assert!(more && listener == LISTENER);
            conn.0
        })
        .collect();
    assert_eq!(slots.len(), 20);
    assert!(slots.iter().all(|slot| *slot < 100));
    assert_eq!(rig.ring.accept_room(), 80);
}

#[test]
fn credits_are_exact_and_the_rest_stay_in_the_queue() {
    let mut rig = Rig::v4(100);
    let _streams = clients(&rig, 30);
    assert_eq!(rig.ring.accept_queue(LISTENER), Ok(30));
    for _ in 0..10 {
        rig.ring.accept(LISTENER, AcceptMode::Single);
    }
    for _ in 0..10 {
        assert!(!rig.accepted().2);
    }
    rig.turn(Duration::from_millis(20));
    assert_eq!(rig.unseen(), []);
    assert_eq!(rig.ring.accept_queue(LISTENER), Ok(20));
}

#[test]
fn cancelled_accepts_retire_one_by_one() {
    let mut rig = Rig::v4(100);
    rig.ring.accept(LISTENER, AcceptMode::Multishot);
    for _ in 0..3 {
        rig.ring.accept(LISTENER, AcceptMode::Single);
    }
    rig.turn(Duration::ZERO);
    rig.ring.cancel_accepts(LISTENER);
    for _ in 0..4 {
        let ended = rig.wait(|completion| match completion {
            Completion::AcceptEnded { listener, error } => Some((*listener, *error)),
            _ => None,
        });
        assert_eq!(ended, (LISTENER, Errno::ECANCELED));
    }
    rig.ring.retarget_accepts();
    rig.turn(Duration::from_millis(20));
    assert_eq!(rig.unseen(), []);
}

#[test]
#[should_panic(expected = "accepts are armed")]
fn armed_accepts_cannot_be_retargeted() {
    let mut rig = Rig::v4(100);
    rig.ring.accept(LISTENER, AcceptMode::Single);
    rig.ring.retarget_accepts();
}

/// 64 slots a ring: 32 pairs, so 100 connections take four rings of 25.
fn small_tables() -> RingSetup {
    RingSetup { table_entries: 64, ..setup(100) }
}

#[test]
fn several_small_tables_are_filled_one_after_the_other() {
    let mut rig = Rig::new(small_tables(), &[V4]);
    assert_eq!((rig.ring.counters().rings, rig.ring.slots()), (4, 100));
    let _streams = clients(&rig, 110);
    let mut slots = HashSet::new();
    for _ in 0..4 {
        rig.ring.retarget_accepts();
        let room = rig.ring.accept_room();
        assert_eq!(room, 25);
        for _ in 0..room {
            rig.ring.accept(LISTENER, AcceptMode::Single);
        }
        for _ in 0..room {
            slots.insert(rig.accepted().1);
        }
        assert_eq!(rig.ring.accept_room(), 0);
    }
    assert_eq!(slots.len(), 100);
    assert!(slots.iter().all(|conn| conn.0 < 100));
    assert_eq!(rig.ring.accept_queue(LISTENER), Ok(10));
}

#[test]
fn a_closed_slot_takes_the_next_client_on_any_ring() {
    let mut rig = Rig::new(small_tables(), &[V4]);
    let mut conns = Vec::new();
    let mut streams = Vec::new();
    for round in 0..100 {
        if round % 25 == 0 {
            rig.ring.retarget_accepts();
        }
        let (stream, conn) = rig.client();
        streams.push(stream);
        conns.push(conn);
    }
    for conn in [conns[3], conns[60]] {
        assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
        rig.ring.retarget_accepts();
        assert_eq!(rig.ring.accept_room(), 1);
        let (stream, again) = rig.client();
        streams.push(stream);
        assert_eq!(again, conn);
    }
}

#[test]
fn a_full_table_ends_an_accept_with_its_error() {
    let mut rig = Rig::v4(2);
    let _streams = clients(&rig, 3);
    for _ in 0..3 {
        rig.ring.accept(LISTENER, AcceptMode::Single);
    }
    let error = rig.wait(|completion| match completion {
        Completion::AcceptEnded { error, .. } => Some(*error),
        _ => None,
    });
    assert_eq!((error, rig.ring.accept_room()), (Errno::ENFILE, 0));
}

#[test]
fn without_upstreams_a_table_holds_twice_as_many_clients() {
    let one_ring = RingSetup { with_upstream: false, table_entries: 100, ..setup(100) };
    let mut rig = Rig::new(one_ring, &[V4]);
    assert_eq!((rig.ring.counters().rings, rig.ring.accept_room()), (1, 100));
    rig.client();
    assert_eq!(rig.ring.accept_room(), 99);
}
