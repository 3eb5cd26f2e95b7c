//! Bulk passes through pipes, all of it and in order, and what that took is given back.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::libc;
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use portcullis::base::{Chunk, Errno, Side};
use portcullis::ring::{Buffers, ConnIndex, Done, Operation, Operations, RingSetup};

use crate::harness::{Newer, Rig, V4, does, setup};

/// Splices once out of `from`.
fn splice(rig: &mut Rig, conn: ConnIndex, from: Side) -> Done {
    let token = rig.start(conn, from, Operation::Splice);
    rig.done(token)
}

/// The chunk that the next splice with something in it brings; `None` at the end.
fn next_chunk(rig: &mut Rig, conn: ConnIndex, from: Side) -> Option<Chunk> {
    loop {
        rig.run(conn, from, Operation::WaitReadable).expect("bits");
        let done = splice(rig, conn, from);
        match done.result {
            Ok(0) => return None,
            Ok(length_bytes) => {
                let buffer = done.buffer.expect("bytes are somewhere");
                return Some(Chunk { buffer, start_bytes: 0, length_bytes });
            }
            Err(error) => assert_eq!(error, Errno::EAGAIN),
        }
    }
}

/// Sends all of a chunk, and gives its pipe back.
fn send_all(rig: &mut Rig, conn: ConnIndex, to: Side, chunk: Chunk) {
    let mut rest = Some(chunk);
    while let Some(left) = rest {
        match rig.run(conn, to, Operation::Send(left)) {
            Ok(sent_bytes) => rest = left.after(sent_bytes),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                rig.run(conn, to, Operation::WaitWritable).expect("bits");
            }
        }
    }
    rig.ring.release(chunk.buffer);
}

/// A stream of bytes that shows what is missing or out of order.
fn bytes_of(length_bytes: usize) -> Vec<u8> {
    (0..length_bytes).map(|index| (index % 251) as u8).collect()
}

/// A pair of sockets, with the ends of both peers.
fn pair(rig: &mut Rig) -> (TcpStream, ConnIndex, TcpStream) {
    let (client, conn) = rig.client();
    let server = rig.upstream(conn, 0);
    (client, conn, server)
}

#[test]
fn megabytes_pass_both_ways_and_the_end_is_told() {
    const LENGTH_BYTES: usize = 7_000_003;
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (client, conn, server) = pair(&mut rig);
    for (from, to, mut sender, mut receiver) in [
        (Side::Client, Side::Upstream, &client, &server),
        (Side::Upstream, Side::Client, &server, &client),
    ] {
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || {
                sender.write_all(&bytes_of(LENGTH_BYTES)).expect("all is sent");
                sender.shutdown(std::net::Shutdown::Write).expect("an end");
            });
            let receiving = scope.spawn(move || {
                let mut got = vec![0; LENGTH_BYTES];
                receiver.read_exact(&mut got).expect("all of it");
                assert!(got == bytes_of(LENGTH_BYTES), "other bytes than were sent");
            });
            let mut moved_bytes = 0;
            while let Some(chunk) = next_chunk(&mut rig, conn, from) {
                moved_bytes += chunk.length_bytes as usize;
                send_all(&mut rig, conn, to, chunk);
            }
            assert_eq!(moved_bytes, LENGTH_BYTES);
            sending.join().expect("the sender");
            receiving.join().expect("the receiver");
        });
    }
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers(), "no buffer was needed");
}

#[test]
fn a_splice_never_waits_and_a_receive_goes_on_as_before() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (mut client, conn, mut server) = pair(&mut rig);
    assert_eq!(splice(&mut rig, conn, Side::Client).result, Err(Errno::EAGAIN));
    assert_eq!(splice(&mut rig, conn, Side::Upstream).result, Err(Errno::EAGAIN));
    let token = rig.start(conn, Side::Client, Operation::Receive);
    client.write_all(b"hello").expect("a write");
    let mut done = rig.done(token);
    if done.result == Err(Errno::EAGAIN) {
        // A kernel may take the socket's word that it does not wait.
        rig.run(conn, Side::Client, Operation::WaitReadable).expect("bits");
        let token = rig.start(conn, Side::Client, Operation::Receive);
        done = rig.done(token);
    }
    let chunk = Chunk { buffer: done.buffer.expect("bytes"), start_bytes: 0, length_bytes: 5 };
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Send(chunk)), Ok(5));
    rig.ring.release(chunk.buffer);
    let mut bytes = [0; 5];
    server.read_exact(&mut bytes).expect("a read");
    assert_eq!(&bytes, b"hello");
    // And it waits again when no splice is to come.
    rig.ring.end_splices(conn);
    let token = rig.start(conn, Side::Client, Operation::Receive);
    rig.turn(std::time::Duration::ZERO);
    client.write_all(b"x").expect("a write");
    let done = rig.done(token);
    assert_eq!(done.result, Ok(1));
    rig.ring.release(done.buffer.expect("a byte"));
}

#[test]
fn what_is_left_in_a_released_pipe_is_never_seen_again() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::new(RingSetup { splice_pipes: 1, ..setup(2) }, &[V4]);
    let (mut client, conn, mut server) = pair(&mut rig);
    client.write_all(b"of somebody else").expect("a write");
    let chunk = next_chunk(&mut rig, conn, Side::Client).expect("bytes");
    assert_eq!(chunk.length_bytes, 16);
    rig.ring.release(chunk.buffer);
    client.write_all(b"mine").expect("a write");
    let chunk = next_chunk(&mut rig, conn, Side::Client).expect("bytes");
    assert_eq!(chunk.length_bytes, 4);
    send_all(&mut rig, conn, Side::Upstream, chunk);
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).expect("a read");
    assert_eq!(&bytes, b"mine");
}

#[test]
fn pipes_and_connections_that_splice_are_bounded() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::new(RingSetup { splice_pipes: 1, ..setup(2) }, &[V4]);
    let (mut client, conn, mut server) = pair(&mut rig);
    let (_other_client, other, _other_server) = pair(&mut rig);
    client.write_all(b"a").expect("a write");
    server.write_all(b"b").expect("a write");
    let chunk = next_chunk(&mut rig, conn, Side::Client).expect("a byte");
    assert_eq!(splice(&mut rig, conn, Side::Upstream).result, Err(Errno::EMFILE), "its pipe");
    assert_eq!(splice(&mut rig, other, Side::Client).result, Err(Errno::EMFILE), "its sockets");
    send_all(&mut rig, conn, Side::Upstream, chunk);
    let chunk = next_chunk(&mut rig, conn, Side::Upstream).expect("a byte");
    send_all(&mut rig, conn, Side::Client, chunk);
    rig.ring.end_splices(conn);
    assert_eq!(splice(&mut rig, other, Side::Client).result, Err(Errno::EAGAIN));
    rig.ring.end_splices(other);
    let mut none = Rig::new(RingSetup { splice_pipes: 0, ..setup(1) }, &[V4]);
    let (_client, conn, _server) = pair(&mut none);
    assert_eq!(splice(&mut none, conn, Side::Client).result, Err(Errno::EMFILE));
}

#[test]
fn bytes_come_before_the_reset_that_follows_them() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (mut client, conn, mut server) = pair(&mut rig);
    client.write_all(&[7; 5000]).expect("a write");
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client, sockopt::Linger, &at_once).expect("SO_LINGER is set");
    drop(client);
    let chunk = next_chunk(&mut rig, conn, Side::Client).expect("bytes");
    assert_eq!(chunk.length_bytes, 5000);
    assert_eq!(splice(&mut rig, conn, Side::Client).result, Err(Errno::EAGAIN), "all was taken");
    assert_eq!(splice(&mut rig, conn, Side::Client).result, Err(Errno::ECONNRESET));
    assert_eq!(splice(&mut rig, conn, Side::Client).result, Ok(0), "it is told once");
    send_all(&mut rig, conn, Side::Upstream, chunk);
    let mut bytes = vec![0; 5000];
    server.read_exact(&mut bytes).expect("a read");
    // And into a dead socket nothing goes; the pipe keeps it.
    server.write_all(b"late").expect("a write");
    let chunk = next_chunk(&mut rig, conn, Side::Upstream).expect("bytes");
    assert_eq!(rig.run(conn, Side::Client, Operation::Send(chunk)), Err(Errno::EPIPE));
    rig.ring.release(chunk.buffer);
}

#[test]
fn urgent_data_stops_a_splice_and_no_receive() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (client, conn, _server) = pair(&mut rig);
    send(std::os::fd::AsRawFd::as_raw_fd(&client), b"!", MsgFlags::MSG_OOB).expect("a byte");
    (&client).write_all(b"rest").expect("a write");
    rig.run(conn, Side::Client, Operation::WaitReadable).expect("bits");
    assert_eq!(splice(&mut rig, conn, Side::Client).result, Err(Errno::EAGAIN));
    let token = rig.start(conn, Side::Client, Operation::Receive);
    let done = rig.done(token);
    assert_eq!(done.result, Ok(4));
    rig.ring.release(done.buffer.expect("bytes"));
}

#[test]
fn a_closed_slot_ends_its_connection_though_it_spliced() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (mut client, conn, mut server) = pair(&mut rig);
    assert_eq!(splice(&mut rig, conn, Side::Client).result, Err(Errno::EAGAIN));
    let mut byte = [0];
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Ok(0));
    assert_eq!(server.read(&mut byte).expect("an end"), 0);
    assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
    assert_eq!(client.read(&mut byte).expect("an end"), 0);
}

#[test]
fn a_ring_can_go_with_bytes_in_its_pipes() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(2);
    let (mut client, conn, mut server) = pair(&mut rig);
    let (_client, other, _server) = pair(&mut rig);
    client.write_all(b"x").expect("a write");
    let chunk = next_chunk(&mut rig, conn, Side::Client);
    assert!(chunk.is_some());
    // Its descriptors are being made, or are made and nobody hears of it.
    rig.start(other, Side::Client, Operation::Splice);
    rig.turn(std::time::Duration::ZERO);
    rig.start(other, Side::Upstream, Operation::Splice);
    drop(rig);
    let _end_or_reset = server.read(&mut [0]);
}

#[test]
fn splices_leave_a_descriptor_to_others_and_are_refused_without_any() {
    if !does(Newer::Descriptors) {
        return;
    }
    // A connection takes two, a pipe two, and one is kept.
    for (descriptors, result) in [(1, Errno::EMFILE), (4, Errno::EMFILE), (5, Errno::EAGAIN)] {
        let mut rig = Rig::new(RingSetup { descriptors, ..setup(1) }, &[V4]);
        let (mut client, conn) = rig.client();
        let mut server = rig.upstream(conn, 0);
        assert_eq!(rig.run(conn, Side::Client, Operation::Splice), Err(result));
        assert_eq!(rig.run(conn, Side::Client, Operation::Addresses), Ok(0));
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Shutdown), Ok(0));
        assert_eq!(server.read(&mut [0]).expect("a FIN"), 0);
        assert_eq!(rig.run(conn, Side::Client, Operation::Shutdown), Ok(0));
        assert_eq!(client.read(&mut [0]).expect("a FIN"), 0);
    }
}
