//! Bytes go in and out of both sides, over both families and on every ring.

use std::io::{Read, Write};

use portcullis::base::{Chunk, Errno, Side, Source};
use portcullis::ring::{Accepts, Buffers, ConnIndex, GateId, Operation, Ring, RingSetup, ServerId};

use crate::harness::{Rig, V4, V6, setup};

/// Receives once on `from` and sends it all to `to`; how many bytes.
pub(crate) fn move_once(rig: &mut Rig, conn: ConnIndex, from: Side, to: Side) -> u32 {
    let token = rig.start(conn, from, Operation::Receive);
    let done = rig.done(token);
    let length_bytes = done.result.expect("bytes");
    let Some(buffer) = done.buffer else {
        assert_eq!(length_bytes, 0);
        return 0;
    };
    let chunk = Chunk { buffer, start_bytes: 0, length_bytes };
    assert_eq!(rig.run(conn, to, Operation::Send(chunk)), Ok(length_bytes));
    rig.ring.release(buffer);
    length_bytes
}

fn both_ways(rig: &mut Rig, index: u16) {
    let (mut client, conn) = rig.client_of(GateId(index));
    let mut server = rig.upstream(conn, index);
    let mut bytes = [0; 5];
    for round in 0..3 {
        let sent = [round; 5];
        client.write_all(&sent).expect("a write");
        assert_eq!(move_once(rig, conn, Side::Client, Side::Upstream), 5);
        server.read_exact(&mut bytes).expect("a read");
        assert_eq!(bytes, sent);
        server.write_all(b"reply").expect("a write");
        assert_eq!(move_once(rig, conn, Side::Upstream, Side::Client), 5);
        client.read_exact(&mut bytes).expect("a read");
        assert_eq!(&bytes, b"reply");
    }
    drop(client);
    assert_eq!(move_once(rig, conn, Side::Client, Side::Upstream), 0);
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Shutdown), Ok(0));
    assert_eq!(server.read(&mut bytes).expect("an end"), 0);
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Ok(0));
    assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
}

#[test]
fn bytes_and_ends_pass_both_ways_over_both_families() {
    for receive_ahead in [true, false] {
        let mut rig = Rig::new(RingSetup { receive_ahead, ..setup(10) }, &[V4, V6]);
        both_ways(&mut rig, 0);
        both_ways(&mut rig, 1);
        assert_eq!(rig.ring.counters().unknown_completions, 0);
    }
}

#[test]
fn bytes_pass_on_every_one_of_several_rings() {
    let mut rig = Rig::new(RingSetup { table_entries: 64, ..setup(100) }, &[V4]);
    let mut held = Vec::new();
    for index in 0..100 {
        if index % 25 == 0 {
            rig.ring.retarget_accepts();
        }
        let (client, conn) = rig.client();
        let server = rig.upstream(conn, 0);
        held.push((client, conn, server));
    }
    for (client, conn, server) in &mut held {
        client.write_all(b"hello").expect("a write");
        assert_eq!(move_once(&mut rig, *conn, Side::Client, Side::Upstream), 5);
        let mut bytes = [0; 5];
        server.read_exact(&mut bytes).expect("a read");
        assert_eq!(&bytes, b"hello");
    }
}

#[test]
fn a_send_that_does_not_fit_answers_at_once_and_a_poll_tells_when_it_does() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = rig.client();
    client.write_all(&[7; 4096]).expect("a write");
    let token = rig.start(conn, Side::Client, Operation::Receive);
    let done = rig.done(token);
    let length_bytes = done.result.expect("bytes");
    let chunk = Chunk { buffer: done.buffer.expect("full"), start_bytes: 0, length_bytes };
    let mut sent_bytes = 0;
    let refusal = loop {
        match rig.run(conn, Side::Client, Operation::Send(chunk)) {
            Ok(bytes) => sent_bytes += u64::from(bytes),
            Err(error) => break error,
        }
        assert!(sent_bytes < 1 << 30, "a socket holds no gigabyte");
    };
    assert_eq!(refusal, Errno::EAGAIN);
    let wait = rig.start(conn, Side::Client, Operation::WaitWritable);
    let unsent = rig.run(conn, Side::Client, Operation::Unacknowledged).expect("a count");
    assert!(unsent > 0 && u64::from(unsent) <= sent_bytes);
    let mut rest = vec![0; sent_bytes as usize];
    client.read_exact(&mut rest).expect("all of it");
    assert!(rest.iter().all(|byte| *byte == 7));
    let ready = rig.done(wait).result.expect("bits");
    assert_eq!(ready & nix::libc::POLLOUT as u32, nix::libc::POLLOUT as u32);
    rig.ring.release(chunk.buffer);
}

#[test]
fn everything_acknowledged_counts_zero() {
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    assert_eq!(rig.run(conn, Side::Client, Operation::Unacknowledged), Ok(0));
}

#[test]
fn a_connect_that_is_refused_says_so_and_the_slot_serves_again() {
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    let server = ServerId(0);
    let gone = rig.servers.remove(0);
    let address = gone.local_addr().expect("an address");
    drop(gone);
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Open(server, Source::default())), Ok(0));
    let refused = rig.run(conn, Side::Upstream, Operation::Connect(server));
    assert_eq!(refused, Err(Errno::ECONNREFUSED));
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Ok(0));
    rig.servers.push(std::net::TcpListener::bind(address).expect("the port again"));
    rig.upstream(conn, 0);
}
