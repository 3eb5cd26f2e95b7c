//! What a receive brings before it is asked for is told in its order, is little, and is never lost.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::libc::{POLLIN, POLLRDHUP};
use portcullis::base::{Chunk, Errno, InFlight, OpKind, Side};
use portcullis::ring::{Accepts, Buffers, ConnIndex, Done, Operation, Ring};

use crate::endings::reset_by;
use crate::harness::Rig;

/// A client whose first receive is over, so that the next may come by itself.
pub(crate) fn begun(rig: &mut Rig) -> (TcpStream, ConnIndex) {
    let (mut client, conn) = rig.client();
    client.write_all(b"!").expect("a write");
    assert_eq!(received(rig, conn), b"!");
    (client, conn)
}

/// Has the client write, and the ring see it while nobody asks.
pub(crate) fn write_unasked(rig: &mut Rig, client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).expect("a write");
    rig.turn(Duration::ZERO);
}

/// The bytes of a receive or splice, whose buffer goes back.
pub(crate) fn bytes_of(rig: &mut Rig, done: Done) -> Vec<u8> {
    let length_bytes = done.result.expect("bytes or an end");
    let Some(buffer) = done.buffer else {
        assert_eq!(length_bytes, 0);
        return Vec::new();
    };
    let bytes = rig.ring.bytes(Chunk { buffer, start_bytes: 0, length_bytes }).to_vec();
    rig.ring.release(buffer);
    bytes
}

/// What one receive of the client's side brings; empty at the end.
pub(crate) fn received(rig: &mut Rig, conn: ConnIndex) -> Vec<u8> {
    let token = rig.start(conn, Side::Client, Operation::Receive);
    let done = rig.done(token);
    bytes_of(rig, done)
}

/// Everything that receives bring until there are so many bytes.
fn received_all(rig: &mut Rig, conn: ConnIndex, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend(received(rig, conn));
    }
    bytes
}

#[test]
fn pieces_and_an_end_that_nobody_asked_for_are_told_in_their_order() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = begun(&mut rig);
    write_unasked(&mut rig, &mut client, b"one");
    write_unasked(&mut rig, &mut client, b"two");
    drop(client);
    rig.turn(Duration::ZERO);
    assert_eq!(rig.unseen(), [], "nothing was asked");
    assert_eq!(received_all(&mut rig, conn, 6), b"onetwo");
    assert_eq!(received(&mut rig, conn), b"");
    assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
}

#[test]
fn what_nobody_asks_for_stays_in_its_socket() {
    const PIECES: usize = 100;
    let mut rig = Rig::v4(1);
    let (mut client, conn) = begun(&mut rig);
    for number in 0..PIECES {
        write_unasked(&mut rig, &mut client, &[number as u8]);
    }
    let held = rig.ring.pool_buffers() - rig.ring.free_buffers();
    assert!(held <= 3, "{held} buffers are held for a side that nobody reads");
    let all: Vec<u8> = (0..PIECES as u8).collect();
    assert_eq!(received_all(&mut rig, conn, PIECES), all);
    write_unasked(&mut rig, &mut client, b"later");
    assert_eq!(received(&mut rig, conn), b"later");
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
    assert!(rig.ring.returned_buffers() >= 3, "nobody was told that buffers came back");
}

#[test]
fn a_megabyte_that_nobody_asks_for_takes_a_few_buffers() {
    let mut rig = Rig::v4(1);
    let (client, conn) = begun(&mut rig);
    let sent: Vec<u8> = (0..1_000_000).map(|index| (index % 251) as u8).collect();
    let mut sender = client.try_clone().expect("a clone");
    let bytes = sent.clone();
    let sending = std::thread::spawn(move || sender.write_all(&bytes).expect("a write"));
    for _ in 0..20 {
        rig.turn(Duration::from_millis(1));
        let held = rig.ring.pool_buffers() - rig.ring.free_buffers();
        assert!(held <= 4, "{held} buffers are held for a side that nobody reads");
    }
    assert!(received_all(&mut rig, conn, sent.len()) == sent, "other bytes than were sent");
    sending.join().expect("the sender");
}

#[test]
fn a_wait_for_the_other_side_lets_the_source_rest() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = begun(&mut rig);
    let server = rig.upstream(conn, 0);
    // It is writable at once; a lane asks this when it is not.
    rig.run(conn, Side::Upstream, Operation::WaitWritable).expect("bits");
    rig.turn(Duration::ZERO);
    write_unasked(&mut rig, &mut client, b"x");
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers(), "it was received");
    assert_eq!(received(&mut rig, conn), b"x");
    drop(server);
}

#[test]
fn a_wait_for_bytes_sees_those_that_came_and_those_that_come() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = begun(&mut rig);
    write_unasked(&mut rig, &mut client, b"here");
    let bits = rig.run(conn, Side::Client, Operation::WaitReadable).expect("bits") as i16;
    assert_eq!(bits & (POLLIN | POLLRDHUP), POLLIN);
    assert_eq!(received(&mut rig, conn), b"here");
    // A receive is armed, and gives way to the wait.
    let token = rig.start(conn, Side::Client, Operation::WaitReadable);
    rig.turn(Duration::ZERO);
    rig.turn(Duration::ZERO);
    assert_eq!(rig.unseen(), []);
    client.write_all(b"comes").expect("a write");
    assert_eq!(rig.done(token).result.expect("bits") as i16 & POLLIN, POLLIN);
    assert_eq!(received(&mut rig, conn), b"comes");
    // One that is cancelled in the same turn ends, and leaves nothing armed.
    let token = rig.start(conn, Side::Client, Operation::WaitReadable);
    rig.run(conn, Side::Client, Operation::Cancel(InFlight::only(OpKind::WaitReadable)))
        .unwrap_or_default();
    assert_eq!(rig.done(token).result, Err(Errno::ECANCELED));
    assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
    assert_eq!(client.read(&mut [0]).expect("a FIN"), 0);
}

#[test]
fn a_close_waits_for_no_bytes_and_frees_the_slot() {
    let mut rig = Rig::v4(1);
    for generation in 0..3 {
        // Bytes wait here, or only a receive is armed.
        let (mut client, conn) = begun(&mut rig);
        let is_cut = generation != 1;
        if is_cut {
            write_unasked(&mut rig, &mut client, b"never asked for");
        }
        assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
        // Whose bytes nobody took hears a reset, wherever they were.
        match client.read(&mut [0]) {
            Ok(length) => assert!(length == 0 && !is_cut, "{length} bytes, or a FIN"),
            Err(error) => assert!(is_cut && error.kind() == ErrorKind::ConnectionReset, "{error}"),
        }
        assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
        assert_eq!(rig.ring.accept_room(), 1);
    }
    assert_eq!(rig.ring.counters().unknown_completions, 0);
}

#[test]
fn bytes_with_an_end_at_their_heels_hide_neither_a_fin_nor_a_reset() {
    let mut rig = Rig::v4(2);
    for is_reset in [false, true] {
        let (mut client, conn) = begun(&mut rig);
        let token = rig.start(conn, Side::Client, Operation::Receive);
        rig.turn(Duration::ZERO);
        client.write_all(b"last words").expect("a write");
        if is_reset {
            reset_by(client);
        } else {
            drop(client);
        }
        let done = rig.done(token);
        assert_eq!(bytes_of(&mut rig, done), b"last words");
        let end = rig.run(conn, Side::Client, Operation::Receive);
        assert_eq!(end, if is_reset { Err(Errno::ECONNRESET) } else { Ok(0) });
    }
}

#[test]
fn a_cancel_that_meets_the_rings_own_ends_the_receive_or_comes_too_late() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = begun(&mut rig);
    rig.upstream(conn, 0);
    for _ in 0..20 {
        // The ring begins to cancel, then the worker asks, and cancels too.
        let wait = rig.start(conn, Side::Upstream, Operation::WaitWritable);
        let receive = rig.start(conn, Side::Client, Operation::Receive);
        let cancel = Operation::Cancel(InFlight::only(OpKind::Receive));
        let cancel = rig.start(conn, Side::Client, cancel);
        assert_eq!(rig.done(receive).result, Err(Errno::ECANCELED));
        rig.done(wait);
        rig.done(cancel);
        client.write_all(b"!").expect("a write");
        assert_eq!(received(&mut rig, conn), b"!");
    }
}
