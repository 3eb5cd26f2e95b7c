//! Full queues delay completions and lose none.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use portcullis::base::Side;
use portcullis::ring::{
    AcceptMode, Accepts, Completion, ConnIndex, GateId, Operation, Operations, Ring, RingSetup,
    Token,
};

use crate::IS_EPOLL;
use crate::harness::{Rig, V4, setup, token};

const CONNECTIONS: u32 = 2_000;

/// 2,000 clients on the shortest queues there are.
fn crowd() -> (Rig, Vec<(TcpStream, ConnIndex)>) {
    let short = RingSetup { submission_entries: 1, completion_entries: 1, ..setup(CONNECTIONS) };
    let mut rig = Rig::new(short, &[V4]);
    let streams: Vec<_> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(rig.listeners[0]).expect("a client")).collect();
    let mut accepted = 0;
    let mut slots = HashSet::new();
    let mut conns = Vec::new();
    let mut armed = false;
    while accepted < CONNECTIONS {
        if !armed {
            rig.ring.accept(GateId(0), AcceptMode::Multishot);
        }
        let (_, conn, more) = rig.accepted();
        armed = more;
        assert!(slots.insert(conn));
        conns.push(conn);
        accepted += 1;
    }
    assert_eq!(rig.ring.accept_room(), 0);
    (rig, streams.into_iter().zip(conns).collect())
}

fn count(rig: &mut Rig, wanted: usize) -> HashSet<Token> {
    let mut seen = HashSet::new();
    while seen.len() < wanted {
        let done = rig.wait(|completion| match completion {
            Completion::Done(done) => Some(*done),
            _ => None,
        });
        assert!(done.result.is_ok(), "{done:?}");
        assert!(seen.insert(done.token), "{done:?} came twice");
    }
    rig.turn(Duration::ZERO);
    assert_eq!(rig.unseen(), []);
    seen
}

#[test]
fn two_thousand_completions_pass_through_a_queue_of_256() {
    let (mut rig, mut held) = crowd();
    for (_, conn) in &held {
        rig.start(*conn, Side::Client, Operation::WaitReadable);
    }
    rig.turn(Duration::ZERO);
    for (client, _) in &mut held {
        client.write_all(b"x").expect("a write");
    }
    count(&mut rig, held.len());
    assert_eq!(rig.ring.counters().lost_completions, 0);
}

#[test]
fn ten_thousand_operations_start_between_two_turns() {
    let (mut rig, held) = crowd();
    let kinds = [
        Operation::Unacknowledged,
        Operation::WaitWritable,
        Operation::Addresses,
        Operation::Unacknowledged,
        Operation::WaitWritable,
    ];
    let mut started = HashSet::new();
    for (round, operation) in kinds.into_iter().enumerate() {
        for (_, conn) in &held {
            let one = Token { generation: round as u32, ..token(*conn, Side::Client, operation) };
            rig.ring.start(one, operation);
            started.insert(one);
        }
    }
    assert_eq!(started.len(), 10_000);
    assert_eq!(count(&mut rig, 10_000), started);
    let counters = rig.ring.counters();
    assert_eq!((counters.lost_completions, counters.unknown_completions), (0, 0));
    let overflows = counters.queue_overflows;
    assert!(IS_EPOLL || overflows > 0, "256 entries held 10,000 completions");
}
