//! A wait for writability wakes for what it waits for, and once for each cause.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use nix::libc::POLLOUT;
use portcullis::base::{Chunk, Errno, InFlight, OpKind, Side};
use portcullis::ring::{Buffers, ConnIndex, Operation, Ring};

use crate::endings::reset_by;
use crate::harness::Rig;

/// Completions that a wait may take of the kernel while nothing changes for it: of its own polls
/// and of what ends them.
const COMPLETIONS_MAX: u64 = 10;

/// A client that has sent FIN, does not read, and whose socket takes nothing more.
fn half_closed_and_full(rig: &mut Rig) -> (TcpStream, ConnIndex, u64) {
    let (mut client, conn) = rig.client();
    client.write_all(&[b'x'; 4096]).expect("a write");
    client.shutdown(Shutdown::Write).expect("a FIN");
    let receive = rig.start(conn, Side::Client, Operation::Receive);
    let received = rig.done(receive);
    let length_bytes = received.result.expect("bytes");
    let buffer = received.buffer.expect("a buffer");
    let chunk = Chunk { buffer, start_bytes: 0, length_bytes };
    let mut sent_bytes = 0;
    let refused = (0..100_000).find_map(|_| {
        match rig.run(conn, Side::Client, Operation::Send(chunk)) {
            Ok(bytes) => sent_bytes += u64::from(bytes),
            Err(error) => return Some(error),
        }
        None
    });
    assert_eq!(refused, Some(Errno::EAGAIN), "a socket takes so much and no more");
    rig.ring.release(buffer);
    (client, conn, sent_bytes)
}

#[test]
fn a_fin_does_not_wake_a_wait_for_writability() {
    let mut rig = Rig::v4(1);
    let (mut client, conn, sent_bytes) = half_closed_and_full(&mut rig);
    let before = rig.ring.counters().completions;
    let wait = rig.start(conn, Side::Client, Operation::WaitWritable);
    for _ in 0..50 {
        rig.turn(Duration::from_millis(1));
    }
    let took = rig.ring.counters().completions - before;
    assert!(took <= COMPLETIONS_MAX, "{took} completions while nothing changed");
    assert_eq!(rig.unseen(), []);

    let mut left = vec![0; sent_bytes as usize];
    client.read_exact(&mut left).expect("all that was sent");
    let woken = rig.done(wait);
    assert!(!woken.more && woken.result.is_ok_and(|bits| bits as i16 & POLLOUT != 0), "{woken:?}");
    assert_eq!(rig.unseen(), []);
}

#[test]
fn a_wait_for_writability_that_goes_on_is_cancelled_like_any() {
    let mut rig = Rig::v4(1);
    let (_client, conn, _) = half_closed_and_full(&mut rig);
    let wait = rig.start(conn, Side::Client, Operation::WaitWritable);
    rig.turn(Duration::from_millis(1));
    let waits = InFlight::only(OpKind::WaitWritable);
    assert_eq!(rig.run(conn, Side::Client, Operation::Cancel(waits)), Ok(0));
    assert_eq!(rig.done(wait).result, Err(Errno::ECANCELED));
    assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
}

#[test]
fn a_reset_wakes_a_wait_for_writability_of_a_half_closed_peer() {
    let mut rig = Rig::v4(1);
    let (client, conn, _) = half_closed_and_full(&mut rig);
    let wait = rig.start(conn, Side::Client, Operation::WaitWritable);
    rig.turn(Duration::from_millis(1));
    assert_eq!(rig.unseen(), []);
    reset_by(client);
    assert!(!rig.done(wait).more);
}
