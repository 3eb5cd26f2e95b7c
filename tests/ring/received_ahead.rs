//! What the kernel received before it was asked for: errors are kept, scarce buffers are not.

use std::io::Write;
use std::time::Duration;

use nix::libc::POLLERR;
use portcullis::base::{Errno, Side};
use portcullis::ring::{Buffers, Moves, Operation, Ring, RingSetup};

use crate::ahead::{begun, bytes_of, received, write_unasked};
use crate::endings::reset_by;
use crate::harness::{Newer, Rig, V4, does, setup};
use crate::moves;

#[test]
fn a_splice_comes_after_what_was_received() {
    if !does(Newer::Descriptors) || !does(Newer::ReceivesAhead) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (mut client, conn) = begun(&mut rig);
    let server = rig.upstream(conn, 0);
    for pieces in [&["one", "two"][..], &[]] {
        for piece in pieces {
            write_unasked(&mut rig, &mut client, piece.as_bytes());
        }
        let mut spliced = 0;
        let expected = pieces.concat();
        let mut copied = Vec::new();
        // A receive may still be armed here: what it brings meanwhile is told in its turn.
        for _ in 0..3 {
            let token = rig.start(conn, Side::Client, Operation::Splice);
            let done = rig.done(token);
            match done.result {
                Ok(_) => copied.extend(bytes_of(&mut rig, done)),
                Err(error) => {
                    assert_eq!(error, Errno::EAGAIN);
                    spliced += 1;
                }
            }
        }
        assert_eq!(String::from_utf8(copied), Ok(expected));
        assert!(spliced > 0, "the socket itself was never read");
        write_unasked(&mut rig, &mut client, b"!");
        assert_eq!(received(&mut rig, conn), b"!");
    }
    drop(server);
}

#[test]
fn an_error_that_was_taken_is_told_to_the_receive() {
    if !does(Newer::ReceivesAhead) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (mut client, conn) = begun(&mut rig);
    write_unasked(&mut rig, &mut client, b"last words");
    reset_by(client);
    rig.turn(Duration::ZERO);
    assert_eq!(received(&mut rig, conn), b"last words");
    let token = rig.start(conn, Side::Client, Operation::WaitReadable);
    assert_eq!(rig.done(token).result.expect("bits") as i16 & POLLERR, POLLERR);
    let token = rig.start(conn, Side::Client, Operation::Receive);
    assert_eq!(rig.done(token).result, Err(Errno::ECONNRESET));
}

#[test]
fn a_receive_behind_a_wait_takes_nothing_more() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = rig.client();
    let all = rig.ring.pool_buffers();
    for words in [b"one", b"two"] {
        let token = rig.start(conn, Side::Client, Operation::WaitReadable);
        client.write_all(words).expect("a write");
        rig.done(token).result.expect("bits");
        assert_eq!(received(&mut rig, conn), words);
        write_unasked(&mut rig, &mut client, b"more");
        assert_eq!(rig.ring.free_buffers(), all, "it lies in its socket");
        assert_eq!(received(&mut rig, conn), b"more");
    }
}

#[test]
fn where_buffers_are_scarce_those_who_wait_keep_none() {
    if !does(Newer::ReceivesAhead) {
        return;
    }
    let few = RingSetup { buffer_count: 8, ..setup(8) };
    let mut rig = Rig::new(few, &[V4]);
    let mut held: Vec<_> = (0..8).map(|_| begun(&mut rig)).collect();
    for (number, (client, _)) in held.iter_mut().enumerate() {
        write_unasked(&mut rig, client, &[number as u8; 7]);
    }
    assert!(!rig.ring.is_scarce(), "{} of 8 buffers are free", rig.ring.free_buffers());
    for (number, (_, conn)) in held.iter().enumerate() {
        assert_eq!(received(&mut rig, *conn), [number as u8; 7]);
    }
    rig.turn(Duration::ZERO);
    assert_eq!((rig.ring.free_buffers(), rig.ring.counters().parked_bytes), (8, 0));
    assert!(rig.ring.counters().chunks_parked > 0);
}

#[test]
fn parked_bytes_are_ahead_as_others_are() {
    if !does(Newer::Descriptors) || !does(Newer::ReceivesAhead) {
        return;
    }
    let few = RingSetup { buffer_count: 8, ..setup(8) };
    let mut rig = Rig::new(few, &[V4]);
    let held: Vec<_> = (0..8).map(|_| moves::with_ahead(&mut rig, &[b"waits"])).collect();
    assert!(rig.ring.counters().parked_bytes > 0);
    for (_, conn) in &held {
        moves::lend(&mut rig, *conn, Side::Client).expect("a descriptor");
        assert_eq!(moves::ahead(&rig, *conn), (b"<waits".to_vec(), Ok(())));
        rig.ring.forget(*conn, Side::Client);
    }
    rig.turn(Duration::ZERO);
    assert_eq!((rig.ring.free_buffers(), rig.ring.counters().parked_bytes), (8, 0));
}

#[test]
fn a_reset_that_came_ahead_is_told_to_whom_the_bytes_are() {
    if !does(Newer::Descriptors) || !does(Newer::ReceivesAhead) {
        return;
    }
    let mut old = Rig::v4(2);
    let (client, conn) = moves::with_ahead(&mut old, &[b"last words"]);
    reset_by(client);
    old.turn(Duration::ZERO);
    moves::lend(&mut old, conn, Side::Client).expect("a descriptor");
    assert_eq!(moves::ahead(&old, conn), (b"<last words".to_vec(), Err(Errno::ECONNRESET)));
}
