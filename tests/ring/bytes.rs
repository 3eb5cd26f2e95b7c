//! A program opens sockets in client slots, and sends and reads bytes of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

use portcullis::base::{Chunk, Errno, Side, Source};
use portcullis::ring::{Accepts, Buffers, ConnIndex, Operation, RingSetup, ServerId, ServerSocket};

use crate::TestRing;
use crate::harness::{Newer, Rig, V4, does, setup};

/// A ring without listeners whose servers are one address, reached from each of these sources.
fn rig(connections: u32, sources: &[Ipv4Addr]) -> (Rig, TcpListener) {
    let server = TcpListener::bind(V4).expect("a server");
    let address = server.local_addr().expect("its address");
    let from = |source: &Ipv4Addr| ServerSocket { address, sources: vec![IpAddr::V4(*source)] };
    let servers = (0..).map(ServerId).zip(sources.iter().map(from)).collect();
    let setup = RingSetup { with_upstream: false, servers, ..setup(connections) };
    (Rig::new(setup, &[]), server)
}

fn open(rig: &mut Rig, conn: ConnIndex, server: ServerId) {
    assert_eq!(rig.run(conn, Side::Client, Operation::Open(server, Source::default())), Ok(0));
    assert_eq!(rig.run(conn, Side::Client, Operation::Connect(server)), Ok(0));
}

fn say(rig: &mut Rig, conn: ConnIndex, words: &[u8]) -> Chunk {
    let chunk = rig.ring.fill(words.len() as u32, |bytes| bytes.copy_from_slice(words));
    let chunk = chunk.expect("a free buffer");
    assert_eq!(rig.ring.bytes(chunk), words);
    assert_eq!(rig.run(conn, Side::Client, Operation::Send(chunk)), Ok(words.len() as u32));
    chunk
}

fn hear(rig: &mut Rig, conn: ConnIndex) -> Vec<u8> {
    let token = rig.start(conn, Side::Client, Operation::Receive);
    let done = rig.done(token);
    let (buffer, length_bytes) = (done.buffer.expect("bytes"), done.result.expect("a length"));
    let heard = rig.ring.bytes(Chunk { buffer, start_bytes: 0, length_bytes }).to_vec();
    rig.ring.release(buffer);
    heard
}

fn exchange(rig: &mut Rig, conn: ConnIndex, server: &mut TcpStream) {
    let chunk = say(rig, conn, b"ping");
    rig.ring.release(chunk.buffer);
    let mut heard = [0; 4];
    server.read_exact(&mut heard).expect("bytes");
    assert_eq!(&heard, b"ping");
    server.write_all(b"pong!").expect("a write");
    assert_eq!(hear(rig, conn), b"pong!");
}

#[test]
fn each_connection_comes_from_its_source_and_slots_come_back() {
    if !does(Newer::SourceAddresses) {
        return;
    }
    let sources = [Ipv4Addr::new(127, 0, 0, 7), Ipv4Addr::new(127, 1, 2, 3)];
    let (mut rig, server) = rig(2, &sources);
    for _ in 0..3 {
        for (index, source) in sources.iter().enumerate() {
            let conn = ConnIndex(index as u32);
            open(&mut rig, conn, ServerId(index as u16));
            let (mut stream, peer) = server.accept().expect("it connected");
            assert_eq!(peer.ip(), *source);
            exchange(&mut rig, conn, &mut stream);
        }
        assert_eq!(rig.ring.accept_room(), 0);
        for index in 0..2 {
            assert_eq!(rig.run(ConnIndex(index), Side::Client, Operation::Close), Ok(0));
        }
        assert_eq!(rig.ring.accept_room(), 2);
    }
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
}

#[test]
fn a_source_that_the_host_lacks_fails_the_open_and_frees_the_slot() {
    if !does(Newer::SourceAddresses) {
        return;
    }
    let (mut rig, _server) = rig(1, &[Ipv4Addr::new(192, 0, 2, 1)]);
    for _ in 0..2 {
        let opened =
            rig.run(ConnIndex(0), Side::Client, Operation::Open(ServerId(0), Source::default()));
        assert_eq!(opened, Err(Errno::EADDRNOTAVAIL));
        assert_eq!(rig.ring.accept_room(), 1);
    }
}

#[test]
fn a_pool_without_a_free_buffer_says_so() {
    let ring = TestRing::new(RingSetup { buffer_count: 2, ..setup(1) });
    let mut ring = ring.expect("a ring");
    let first = ring.fill(4096, |bytes| bytes.fill(1)).expect("a free buffer");
    let second = ring.fill(1, |bytes| bytes.fill(2)).expect("a free buffer");
    assert!(ring.fill(1, |_| panic!("there is no buffer")).is_none());
    assert_eq!((ring.bytes(first).len(), ring.bytes(second)), (4096, &[2][..]));
    ring.release(first.buffer);
    assert!(ring.fill(1, |bytes| bytes.fill(3)).is_some());
}

#[test]
#[should_panic(expected = "byte 4097 of buffers")]
fn more_than_a_buffer_is_refused() {
    let mut ring = TestRing::new(setup(1)).expect("a ring");
    ring.fill(4097, |_| ());
}

#[test]
#[should_panic(expected = "client slots belong to accepts")]
fn a_slot_that_accepts_use_cannot_be_opened() {
    let mut rig = Rig::v4(1);
    rig.start(ConnIndex(0), Side::Client, Operation::Open(ServerId(0), Source::default()));
}

#[test]
fn bytes_are_changed_in_place_wherever_they_lie() {
    let mut ring = TestRing::new(setup(1)).expect("a ring");
    let chunk = ring.fill(8, |bytes| bytes.copy_from_slice(b"plain...")).expect("a free buffer");
    let part = Chunk { start_bytes: 5, length_bytes: 3, ..chunk };
    ring.bytes_mut(part).copy_from_slice(b"!?!");
    assert_eq!(ring.bytes(chunk), b"plain!?!");
    let parked = ring.park(chunk).expect("room");
    assert_ne!(parked.buffer, chunk.buffer);
    ring.bytes_mut(Chunk { length_bytes: 5, ..parked }).make_ascii_uppercase();
    assert_eq!(ring.bytes(parked), b"PLAIN!?!");
    ring.release(parked.buffer);
    assert_eq!(ring.free_buffers(), ring.pool_buffers());
}

#[test]
fn a_chunk_is_stretched_where_its_buffer_has_room_and_nobody_elses_is_touched() {
    let mut ring = TestRing::new(setup(3)).expect("a ring");
    let whole = |at: u8| move |bytes: &mut [u8]| bytes.fill(at);
    let chunks: Vec<Chunk> =
        (1..=3).map(|at| ring.fill(4096, whole(at)).expect("a free buffer")).collect();
    for chunk in &chunks {
        let wide = ring.stretch(*chunk, 32, 107).expect("room");
        assert_eq!(wide.after(32).map(|rest| rest.start_bytes), Some(0));
        let (before, behind) = (32, 32 + 4096);
        let bytes = ring.bytes_mut(wide);
        bytes[..before].fill(0xEE);
        bytes[behind..].fill(0xEE);
    }
    for (chunk, at) in chunks.iter().zip(1..) {
        assert!(ring.bytes(*chunk).iter().all(|byte| *byte == at), "buffer {at}");
    }
    assert_eq!(ring.stretch(chunks[0], 32, 4096), None);
    assert_eq!(ring.stretch(chunks[0], 4096, 32), None);
    let part = Chunk { start_bytes: 1000, length_bytes: 3, ..chunks[0] };
    assert!(ring.stretch(part, 900, 3000).is_some(), "bytes of its own buffer are room");
    let parked = ring.park(chunks[1]).expect("room");
    assert_eq!(ring.stretch(parked, 1, 0), None);
}

#[test]
#[should_panic(expected = "use of buffer")]
fn bytes_of_a_buffer_that_nobody_holds_are_refused() {
    let mut ring = TestRing::new(setup(1)).expect("a ring");
    let chunk = ring.fill(1, |_| ()).expect("a free buffer");
    ring.release(chunk.buffer);
    ring.bytes_mut(chunk);
}
