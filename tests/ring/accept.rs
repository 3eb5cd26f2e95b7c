//! Accepts land where and as often as they should.

use std::collections::HashSet;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use portcullis::base::{Errno, Side};
use portcullis::ring::{AcceptMode, Accepts, Completion, GateId, Operation, Ring, RingSetup};

use crate::harness::{Rig, V4, passive, setup};
use crate::{IS_EPOLL, TestRing};

const LISTENER: GateId = GateId(0);

pub(crate) fn clients(rig: &Rig, count: usize) -> Vec<TcpStream> {
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
            Completion::AcceptEnded { gate: listener, error } => Some((*listener, *error)),
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
pub(crate) fn small_tables() -> RingSetup {
    RingSetup { table_entries: 64, ..setup(100) }
}

#[test]
fn no_turn_accepts_more_than_the_burst() {
    // More clients than a ring of this size has completion entries, 8,192.
    let wide = RingSetup { with_upstream: false, table_entries: 9_000, ..setup(9_000) };
    let mut rig = Rig::new(wide, &[V4, V4, V4]);
    let burst = rig.ring.accept_burst() as usize;
    assert!(IS_EPOLL || burst == 8_192 + 3, "{burst}");
    let streams: Vec<_> = (0..9_000)
        .map(|index| TcpStream::connect(rig.listeners[index % 3]).expect("a client"))
        .collect();
    let mut armed = [false; 3];
    let (mut accepted, mut turns) = (0, 0);
    while accepted < streams.len() {
        for (index, armed) in armed.iter_mut().enumerate() {
            if !std::mem::replace(armed, true) {
                rig.ring.accept(GateId(index as u16), AcceptMode::Multishot);
            }
        }
        rig.turn(Duration::ZERO);
        let completions = rig.unseen();
        assert!(completions.len() <= burst, "{} in one turn", completions.len());
        for completion in completions {
            let Completion::Accepted { gate: listener, more, .. } = completion else {
                panic!("{completion:?}");
            };
            accepted += 1;
            armed[usize::from(listener.0)] = more;
        }
        turns += 1;
        assert!(turns < 1_000, "{accepted} accepted");
    }
    assert_eq!(rig.ring.accept_room(), 0);
}

#[test]
fn a_non_blocking_listener_is_waited_for_as_any_other() {
    let (listener, address) = passive(V4, 128);
    let socket = std::sync::Arc::into_inner(listener).expect("nobody else has it");
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true).expect("an option");
    let inherited = std::sync::Arc::new(listener.into());
    let mut rig = Rig::v4(2);
    rig.ring = TestRing::new(RingSetup { gates: vec![(LISTENER, inherited)], ..setup(2) })
        .expect("a ring");
    rig.ring.accept(LISTENER, AcceptMode::Single);
    rig.turn(Duration::from_millis(10));
    assert_eq!(rig.unseen(), []);
    let _client = TcpStream::connect(address).expect("a client");
    rig.accepted();
}

#[test]
fn an_accept_never_waits_for_a_client_whom_another_has_taken() {
    let (listener, address) = passive(V4, 128);
    let another = TcpListener::from(listener.try_clone().expect("a descriptor"));
    let mut rig = Rig::v4(2);
    rig.ring =
        TestRing::new(RingSetup { gates: vec![(LISTENER, listener)], ..setup(2) }).expect("a ring");
    rig.ring.watch_queue(LISTENER);
    let _first = TcpStream::connect(address).expect("a client");
    rig.wait(|completion| matches!(completion, Completion::QueueReady { .. }).then_some(()));
    // Who shares the socket takes the client, and has accepts wait.
    another.accept().expect("the client");
    another.set_nonblocking(false).expect("a flag");
    rig.ring.accept(LISTENER, AcceptMode::Single);
    rig.turn(Duration::from_millis(10));
    assert_eq!(rig.unseen(), []);
    let _second = TcpStream::connect(address).expect("a client");
    rig.accepted();
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
    assert_eq!(rig.ring.accept_room(), 100);
    assert!(IS_EPOLL || rig.ring.counters().rings == 1);
    rig.client();
    assert_eq!(rig.ring.accept_room(), 99);
}

#[test]
fn a_watched_queue_tells_of_a_client_once_and_takes_none() {
    let mut rig = Rig::new(small_tables(), &[V4, V4]);
    let told = |rig: &mut Rig| {
        rig.wait(|completion| match completion {
            Completion::QueueReady { gate: listener } => Some(*listener),
            _ => None,
        })
    };
    rig.ring.watch_queue(GateId(0));
    rig.ring.watch_queue(GateId(1));
    rig.turn(Duration::ZERO);
    assert_eq!(rig.unseen(), []);
    let _first = TcpStream::connect(rig.listeners[1]).expect("a client");
    let _second = TcpStream::connect(rig.listeners[1]).expect("a client");
    assert_eq!(told(&mut rig), GateId(1));
    rig.turn(Duration::from_millis(50));
    assert_eq!(rig.unseen(), [], "once");
    assert_eq!(rig.ring.accept_queue(GateId(1)), Ok(2));
    rig.ring.watch_queue(GateId(1));
    assert_eq!(told(&mut rig), GateId(1), "those that wait already are told of at once");
}
