//! Buffers are lent, run out and come home; none is lost.

use std::io::{Read, Write};
use std::time::Duration;

use portcullis::base::{Chunk, Errno, InFlight, Side};
use portcullis::ring::{Accepts, Buffers, Completion, Operation, Operations, Ring, RingSetup};

use crate::IS_EPOLL;
use crate::harness::{Rig, V4, setup};

#[test]
fn a_dry_pool_says_so_and_a_release_serves_any_ring() {
    let few = RingSetup { table_entries: 64, buffer_count: 8, ..setup(100) };
    let mut rig = Rig::new(few, &[V4]);
    let mut held = Vec::new();
    for index in 0..100 {
        if index % 25 == 0 {
            rig.ring.retarget_accepts();
        }
        let (mut client, conn) = rig.client();
        client.write_all(b"x").expect("a write");
        held.push((client, conn));
    }
    for (_, conn) in &held {
        rig.start(*conn, Side::Client, Operation::Receive);
    }
    let (mut buffers, mut starved) = (Vec::new(), Vec::new());
    while buffers.len() + starved.len() < 100 {
        let done = rig.wait(|completion| match completion {
            Completion::Done(done) => Some(*done),
            _ => None,
        });
        match done.result {
            Ok(1) => buffers.push(done.buffer.expect("a byte is somewhere")),
            result => {
                assert_eq!((result, done.buffer), (Err(Errno::ENOBUFS), None));
                starved.push(done.token);
            }
        }
    }
    // Four rings share eight buffers; whatever idle groups keep, four are with connections.
    assert!((4..=8).contains(&buffers.len()), "{} received", buffers.len());
    assert_eq!(rig.ring.free_buffers(), 8 - buffers.len() as u32);
    for token in starved {
        rig.ring.release(buffers.pop().expect("somebody holds a buffer"));
        rig.ring.start(token, Operation::Receive);
        let done = rig.done(token);
        assert_eq!(done.result, Ok(1));
        buffers.push(done.buffer.expect("a byte is somewhere"));
    }
    buffers.into_iter().for_each(|buffer| rig.ring.release(buffer));
    assert_eq!(rig.ring.free_buffers(), 8);
}

#[test]
fn a_burst_beyond_the_stock_is_served_without_the_worker_hearing_of_it() {
    let mut rig = Rig::v4(200);
    let mut held: Vec<_> = (0..200).map(|_| rig.client()).collect();
    for (client, conn) in &mut held {
        client.write_all(b"x").expect("a write");
        rig.start(*conn, Side::Client, Operation::Receive);
    }
    for _ in 0..200 {
        let done = rig.wait(|completion| match completion {
            Completion::Done(done) => Some(*done),
            _ => None,
        });
        assert_eq!(done.result, Ok(1));
    }
    assert_eq!(rig.ring.free_buffers(), 56);
    let retries = rig.ring.counters().receive_retries;
    assert!(IS_EPOLL || retries > 0, "the stock began smaller than the burst");
}

#[test]
fn what_a_resting_ring_gave_back_comes_again_with_the_next_burst() {
    for table_entries in [4096, 100] {
        let mut rig = Rig::new(RingSetup { table_entries, ..setup(200) }, &[V4]);
        let mut held = Vec::new();
        for index in 0..200 {
            if index % 50 == 0 {
                rig.ring.retarget_accepts();
            }
            held.push(rig.client());
        }
        for _ in 0..3 {
            let tokens: Vec<_> = held
                .iter()
                .map(|(_, conn)| rig.start(*conn, Side::Client, Operation::Receive))
                .collect();
            rig.turn(Duration::ZERO);
            // Nothing comes for so long that the buffers which wait for it go back to the pool.
            for _ in 0..3 {
                rig.ring.trim();
                rig.turn(Duration::ZERO);
            }
            for (number, (client, _)) in held.iter_mut().enumerate() {
                client.write_all(&[number as u8]).expect("a write");
            }
            for (number, token) in tokens.into_iter().enumerate() {
                let done = rig.done(token);
                assert_eq!(done.result, Ok(1), "receive {number}");
                let buffer = done.buffer.expect("a byte is somewhere");
                let chunk = Chunk { buffer, start_bytes: 0, length_bytes: 1 };
                assert_eq!(rig.ring.bytes(chunk), &[number as u8]);
                rig.ring.release(buffer);
            }
        }
        assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
    }
}

#[test]
fn a_cancel_is_final_though_its_receive_found_no_buffer() {
    let mut rig = Rig::v4(200);
    let mut held: Vec<_> = (0..200).map(|_| rig.client()).collect();
    for (index, (client, conn)) in held.iter_mut().enumerate() {
        if index < 40 {
            client.write_all(b"x").expect("a write");
        }
        rig.start(*conn, Side::Client, Operation::Receive);
    }
    // Completions are there, unread. Forty took the first stock, which is 32: the receives behind
    // them say ENOBUFS, and started again they would wait for bytes that never come.
    rig.ring.turn(Some(Duration::ZERO)).expect("a turn");
    for (_, conn) in &held {
        rig.start(*conn, Side::Client, Operation::Cancel(InFlight::WAITING));
    }
    let mut retired = 0;
    while retired < 400 {
        rig.wait(|completion| match completion {
            Completion::Done(done) if !done.more => Some(()),
            _ => None,
        });
        retired += 1;
    }
}

#[test]
fn a_parked_chunk_frees_its_buffer_and_is_sent_from_where_it_lies() {
    let mut rig = Rig::new(RingSetup { parked_bytes_max: 6, ..setup(2) }, &[V4]);
    let (mut client, conn) = rig.client();
    client.write_all(b"0123456789").expect("a write");
    let token = rig.start(conn, Side::Client, Operation::Receive);
    let done = rig.done(token);
    let buffer = done.buffer.expect("ten bytes");
    let chunk = Chunk { buffer, start_bytes: 4, length_bytes: 6 };
    let parked = rig.ring.park(chunk).expect("within the bound");
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
    assert_eq!((parked.start_bytes, parked.length_bytes), (0, 6));
    assert_eq!(rig.ring.park(parked), Some(parked), "it lies there already");
    let rest = parked.after(2).expect("four more");
    // Released while its send is queued only: the memory must outlive the send.
    let token = rig.start(conn, Side::Client, Operation::Send(rest));
    rig.ring.release(parked.buffer);
    assert_eq!(rig.done(token).result, Ok(4));
    let mut bytes = [0; 4];
    client.read_exact(&mut bytes).expect("a read");
    assert_eq!(&bytes, b"6789");
}

#[test]
fn parking_beyond_the_bound_leaves_the_chunk_where_it_is() {
    let mut rig = Rig::new(RingSetup { parked_bytes_max: 5, ..setup(2) }, &[V4]);
    let (mut client, conn) = rig.client();
    client.write_all(b"abcdef").expect("a write");
    let token = rig.start(conn, Side::Client, Operation::Receive);
    let buffer = rig.done(token).buffer.expect("six bytes");
    let chunk = Chunk { buffer, start_bytes: 0, length_bytes: 6 };
    assert_eq!(rig.ring.park(chunk), None);
    assert_eq!(rig.run(conn, Side::Client, Operation::Send(chunk)), Ok(6));
    rig.ring.release(buffer);
}

#[test]
#[should_panic(expected = "of buffer")]
fn a_chunk_beyond_its_buffer_is_refused() {
    let mut rig = Rig::v4(2);
    let (mut client, conn) = rig.client();
    client.write_all(b"abcdef").expect("a write");
    let token = rig.start(conn, Side::Client, Operation::Receive);
    let buffer = rig.done(token).buffer.expect("six bytes");
    let chunk = Chunk { buffer, start_bytes: 4000, length_bytes: 1000 };
    rig.start(conn, Side::Client, Operation::Send(chunk));
}

#[test]
fn a_ring_can_go_while_everything_is_in_flight() {
    for table_entries in [64, 4096] {
        let mut rig = Rig::new(RingSetup { table_entries, ..setup(60) }, &[V4]);
        let mut held = Vec::new();
        for index in 0..60 {
            if rig.ring.accept_room() == 0 || index == 0 {
                rig.ring.retarget_accepts();
            }
            held.push(rig.client());
        }
        for (_, conn) in &held {
            rig.start(*conn, Side::Client, Operation::Receive);
            rig.start(*conn, Side::Client, Operation::WatchHangup);
            rig.start(*conn, Side::Client, Operation::Addresses);
        }
        rig.turn(Duration::ZERO);
        // Some entries are queued and never submitted.
        rig.start(held[0].1, Side::Client, Operation::Shutdown);
        drop(rig);
        for (client, _) in &mut held {
            let mut byte = [0];
            let _end_or_reset = client.read(&mut byte);
        }
    }
}
