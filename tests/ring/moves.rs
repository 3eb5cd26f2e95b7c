//! Sockets that go from one ring to another: their peers notice nothing, and nothing is lost.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use portcullis::base::{BySide, Errno, InFlight, OpKind, Side};
use portcullis::ring::{
    AcceptMode, Accepts, Buffers, Completion, ConnIndex, GateId, Moves, Operation, Ring, RingSetup,
};

use crate::IS_EPOLL;
use crate::harness::{Newer, Rig, V4, does, setup};

/// How long a peer waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

type Sockets = BySide<Option<OwnedFd>>;

/// A client, its slot, and its server's end.
fn joined(rig: &mut Rig) -> (TcpStream, ConnIndex, TcpStream) {
    let (client, conn) = rig.client();
    let server = rig.upstream(conn, 0);
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    }
    (client, conn, server)
}

/// Asks for a side's socket; what the answer was.
pub(crate) fn lend(rig: &mut Rig, conn: ConnIndex, side: Side) -> Result<(), Errno> {
    rig.ring.lend(conn, 0, side);
    rig.wait(|completion| match completion {
        Completion::Lent { conn: one, side: of, result } if (*one, *of) == (conn, side) => {
            Some(*result)
        }
        _ => None,
    })
}

/// Both sockets of a connection.
fn lent(rig: &mut Rig, conn: ConnIndex) -> Sockets {
    BySide(Side::BOTH.map(|side| {
        lend(rig, conn, side).expect("a descriptor");
        rig.ring.lent(conn, side)
    }))
}

/// The sockets of a pair that no ring has.
pub(crate) fn pair() -> (TcpStream, Sockets) {
    let listener = TcpListener::bind(V4).expect("a free port");
    let peer = TcpStream::connect(listener.local_addr().expect("its address")).expect("room");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (peer, BySide([Some(listener.accept().expect("a client").0.into()), None]))
}

fn adopted(rig: &mut Rig, wanted: u32) -> Result<ConnIndex, Errno> {
    rig.wait(|completion| match completion {
        Completion::Adopted { key, result } if *key == wanted => Some(*result),
        _ => None,
    })
}

pub(crate) fn adopt(rig: &mut Rig, sockets: Sockets) -> Result<ConnIndex, Errno> {
    rig.ring.adopt(u32::MAX, sockets);
    adopted(rig, u32::MAX)
}

/// What one receive brings; empty at an end.
pub(crate) fn received(rig: &mut Rig, conn: ConnIndex, side: Side) -> Vec<u8> {
    let token = rig.start(conn, side, Operation::Receive);
    let done = rig.done(token);
    let length_bytes = done.result.expect("bytes or an end");
    let Some(buffer) = done.buffer else { return Vec::new() };
    let chunk = portcullis::base::Chunk { buffer, start_bytes: 0, length_bytes };
    let bytes = rig.ring.bytes(chunk).to_vec();
    rig.ring.release(buffer);
    bytes
}

fn send(rig: &mut Rig, conn: ConnIndex, side: Side, bytes: &[u8]) {
    let chunk = rig.ring.fill(bytes.len() as u32, |into| into.copy_from_slice(bytes));
    let chunk = chunk.expect("a free buffer");
    assert_eq!(rig.run(conn, side, Operation::Send(chunk)), Ok(bytes.len() as u32));
    rig.ring.release(chunk.buffer);
}

/// Has both peers hear and be heard through a ring.
fn passes(rig: &mut Rig, conn: ConnIndex, peers: [&mut TcpStream; 2], word: &[u8]) {
    for (side, peer) in Side::BOTH.into_iter().zip(peers) {
        peer.write_all(word).expect("a write");
        assert_eq!(received(rig, conn, side), word);
        send(rig, conn, side, word);
        let mut heard = vec![0; word.len()];
        peer.read_exact(&mut heard).expect("bytes");
        assert_eq!(heard, word);
    }
}

/// Nothing has come to a peer, and no end.
fn hears_nothing(peer: &TcpStream) {
    peer.set_nonblocking(true).expect("a flag");
    let found = (&mut &*peer).read(&mut [0]).map_err(|error| error.kind());
    peer.set_nonblocking(false).expect("a flag");
    assert_eq!(found, Err(ErrorKind::WouldBlock));
}

/// An end comes, and nothing before it.
fn hears_fin(peer: &TcpStream) {
    // It reads again where a ring's end has interrupted it.
    let found = (&mut &*peer).read_exact(&mut [0]).map_err(|error| error.kind());
    assert_eq!(found, Err(ErrorKind::UnexpectedEof));
}

fn close(rig: &mut Rig, conn: ConnIndex) {
    for side in [Side::Upstream, Side::Client] {
        assert_eq!(rig.run(conn, side, Operation::Close), Ok(0));
    }
}

#[test]
fn a_connection_goes_on_in_another_ring_and_ends_when_both_rings_have_let_it_go() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut old = Rig::v4(4);
    let mut new = Rig::v4(4);
    for closes_first in [true, false] {
        let (mut client, conn, mut server) = joined(&mut old);
        passes(&mut old, conn, [&mut client, &mut server], b"before");
        let sockets = lent(&mut old, conn);
        assert!(old.ring.lent(conn, Side::Client).is_none(), "it was taken");
        let here = adopt(&mut new, sockets).expect("a slot");
        assert_eq!(new.ring.accept_room(), 3);
        passes(&mut new, here, [&mut client, &mut server], b"after");
        let order = if closes_first {
            [(&mut old, conn), (&mut new, here)]
        } else {
            [(&mut new, here), (&mut old, conn)]
        };
        let [(first, its), (last, of_last)] = order;
        close(first, its);
        [&client, &server].into_iter().for_each(hears_nothing);
        if closes_first {
            passes(last, of_last, [&mut client, &mut server], b"alone");
        }
        close(last, of_last);
        for peer in [&client, &server] {
            hears_fin(peer);
        }
        assert_eq!((old.ring.accept_room(), new.ring.accept_room()), (4, 4));
    }
    assert_eq!(new.ring.counters().unknown_completions, 0);
}

#[test]
fn what_is_lent_can_be_taken_back() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (mut client, conn, mut server) = joined(&mut rig);
    passes(&mut rig, conn, [&mut client, &mut server], b"before");
    drop(lent(&mut rig, conn));
    passes(&mut rig, conn, [&mut client, &mut server], b"after");
    // Not taken, it goes with its slot.
    lend(&mut rig, conn, Side::Client).expect("a descriptor");
    close(&mut rig, conn);
    hears_fin(&client);
    assert!(rig.ring.lent(conn, Side::Client).is_none());
}

#[test]
fn a_wait_for_bytes_may_stay_behind_and_takes_none() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut old = Rig::v4(2);
    let mut new = Rig::v4(2);
    // The second one's receive went on until the wait.
    for with_receive in [false, true] {
        let (mut client, conn, mut server) = joined(&mut old);
        if with_receive {
            passes(&mut old, conn, [&mut client, &mut server], b"before");
        }
        let waits = Side::BOTH.map(|side| old.start(conn, side, Operation::WaitReadable));
        let sockets = lent(&mut old, conn);
        let here = adopt(&mut new, sockets).expect("a slot");
        passes(&mut new, here, [&mut client, &mut server], b"after");
        // The old ring may have heard of it, too.
        for (side, wait) in Side::BOTH.into_iter().zip(waits) {
            let kind = InFlight::only(OpKind::WaitReadable);
            let cancel = old.start(conn, side, Operation::Cancel(kind));
            old.done(wait);
            old.done(cancel);
        }
        passes(&mut new, here, [&mut client, &mut server], b"alone");
        for (ring, its) in [(&mut old, conn), (&mut new, here)] {
            [&client, &server].into_iter().for_each(hears_nothing);
            close(ring, its);
        }
        for peer in [&client, &server] {
            hears_fin(peer);
        }
    }
    assert_eq!(old.ring.counters().unknown_completions, 0);
}

#[test]
fn rings_of_two_threads_hand_a_connection_over() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut old = Rig::v4(1);
    let (mut client, conn, mut server) = joined(&mut old);
    passes(&mut old, conn, [&mut client, &mut server], b"before");
    let sockets = lent(&mut old, conn);
    let successor = thread::spawn(move || {
        let mut new = Rig::v4(1);
        let conn = adopt(&mut new, sockets).expect("a slot");
        passes(&mut new, conn, [&mut client, &mut server], b"after");
        close(&mut new, conn);
        (client, server)
    });
    let (mut client, mut server) = successor.join().expect("the other thread");
    [&client, &server].into_iter().for_each(hears_nothing);
    close(&mut old, conn);
    for peer in [&mut client, &mut server] {
        hears_fin(peer);
    }
}

/// A client whose receive goes on, and that has written `pieces` since, and its connection.
pub(crate) fn with_ahead(rig: &mut Rig, pieces: &[&[u8]]) -> (TcpStream, ConnIndex) {
    let (mut client, conn) = rig.client();
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.write_all(b"!").expect("a write");
    assert_eq!(received(rig, conn, Side::Client), b"!");
    for piece in pieces {
        client.write_all(piece).expect("a write");
        rig.turn(Duration::ZERO);
    }
    (client, conn)
}

pub(crate) fn ahead(rig: &Rig, conn: ConnIndex) -> (Vec<u8>, Result<(), Errno>) {
    let mut bytes = b"<".to_vec();
    let result = rig.ring.ahead(conn, Side::Client, &mut bytes);
    (bytes, result)
}

#[test]
fn a_lend_ends_the_receive_that_goes_on_and_what_came_ahead_is_there() {
    if !does(Newer::Descriptors) {
        return;
    }
    let is_ahead = !IS_EPOLL && does(Newer::ReceivesAhead);
    let mut rig = Rig::v4(2);
    for pieces in [&[][..], &[&b"one"[..]], &[b"one", b"two"]] {
        let (mut client, conn) = with_ahead(&mut rig, pieces);
        lend(&mut rig, conn, Side::Client).expect("a descriptor");
        let socket = rig.ring.lent(conn, Side::Client).expect("it was lent");
        // Nobody here takes this.
        client.write_all(b"later").expect("a write");
        (0..3).for_each(|_| rig.turn(Duration::ZERO));
        let sent = [&pieces.concat()[..], b"later"].concat();
        let (came, result) = ahead(&rig, conn);
        assert_eq!((ahead(&rig, conn), result), ((came.clone(), Ok(())), Ok(())), "it stays");
        assert!(came.len() > 1 || !is_ahead || pieces.is_empty(), "nothing came ahead");
        let mut left = TcpStream::from(socket);
        let mut all = came[1..].to_vec();
        all.resize(sent.len(), 0);
        left.read_exact(&mut all[came.len() - 1..]).expect("what nobody took");
        assert_eq!(all, sent);
        rig.ring.forget(conn, Side::Client);
        assert_eq!(ahead(&rig, conn), (b"<".to_vec(), Ok(())));
        assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
        assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
        drop(left);
        // What came ahead was somebody else's: no RST.
        hears_fin(&client);
    }
    assert_eq!(rig.ring.accept_room(), 2);
}

#[test]
fn an_end_that_came_ahead_is_found_again() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut old = Rig::v4(2);
    let mut new = Rig::v4(2);
    let (client, conn) = with_ahead(&mut old, &[]);
    drop(client);
    old.turn(Duration::ZERO);
    lend(&mut old, conn, Side::Client).expect("a descriptor");
    assert_eq!(ahead(&old, conn), (b"<".to_vec(), Ok(())));
    let sockets = BySide([old.ring.lent(conn, Side::Client), None]);
    let here = adopt(&mut new, sockets).expect("a slot");
    assert_eq!(received(&mut new, here, Side::Client), b"");
}

#[test]
fn a_lend_that_a_close_overtakes_is_over_and_brings_nothing() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    for waits in [false, true] {
        let (mut client, conn) = rig.client();
        if waits {
            client.write_all(b"!").expect("a write");
            assert_eq!(received(&mut rig, conn, Side::Client), b"!");
        }
        rig.ring.lend(conn, 0, Side::Client);
        assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
        let result = rig.wait(|completion| match completion {
            Completion::Lent { result, .. } => Some(*result),
            _ => None,
        });
        assert_eq!(result, Err(Errno::ECANCELED));
        assert!(rig.ring.lent(conn, Side::Client).is_none());
        hears_fin(&client);
    }
}

#[test]
fn a_ring_that_ends_closes_what_it_lends_and_adopts() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(3);
    let clients: Vec<_> = (0..2).map(|_| rig.client()).collect();
    for (_, conn) in &clients {
        rig.ring.lend(*conn, 0, Side::Client);
    }
    rig.ring.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(matches!(rig.ring.next(), Some(Completion::Lent { result: Ok(()), .. })));
    let (peer, sockets) = pair();
    rig.ring.adopt(0, sockets);
    rig.ring.turn(Some(Duration::ZERO)).expect("a turn");
    let (waiting, sockets) = pair();
    rig.ring.adopt(1, sockets);
    drop(rig);
    for peer in clients.into_iter().map(|(client, _)| client).chain([peer, waiting]) {
        peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        hears_fin(&peer);
    }
}

#[test]
fn a_full_ring_adopts_nobody_and_one_that_has_room_again_does() {
    for table_entries in [4096, 4] {
        // One kernel ring, or four.
        let mut rig = Rig::new(RingSetup { table_entries, ..setup(8) }, &[V4]);
        let mut held = Vec::new();
        for key in 0..8 {
            let (peer, sockets) = pair();
            rig.ring.adopt(key, sockets);
            held.push(peer);
        }
        assert_eq!((rig.ring.best_accept_room(), rig.ring.accept_room()), (0, 0));
        let (peer, sockets) = pair();
        assert_eq!(adopt(&mut rig, sockets), Err(Errno::ENFILE));
        hears_fin(&peer);
        let slots: Vec<_> = (0..8).map(|key| adopted(&mut rig, key).expect("a slot")).collect();
        assert_eq!(slots.iter().collect::<HashSet<_>>().len(), 8);
        assert_eq!(rig.run(slots[3], Side::Client, Operation::Close), Ok(0));
        hears_fin(&held[3]);
        let (peer, sockets) = pair();
        assert_eq!(adopt(&mut rig, sockets), Ok(slots[3]));
        hears_nothing(&peer);
    }
}

#[test]
fn a_client_whose_server_finds_no_slot_is_given_up() {
    let mut rig = Rig::new(RingSetup { with_upstream: false, ..setup(1) }, &[V4]);
    let (mut client, BySide([socket, _])) = pair();
    let (mut server, BySide([other, _])) = pair();
    assert_eq!(adopt(&mut rig, BySide([socket, other])), Err(Errno::EINVAL));
    for peer in [&mut client, &mut server] {
        hears_fin(peer);
    }
    assert_eq!(rig.ring.accept_room(), 1);
    let (_peer, sockets) = pair();
    adopt(&mut rig, sockets).expect("the slot is free again");
}

#[test]
fn the_slots_of_armed_accepts_are_not_taken() {
    let mut rig = Rig::v4(3);
    (0..2).for_each(|_| rig.ring.accept(GateId(0), AcceptMode::Single));
    let (peers, sockets): (Vec<_>, Vec<_>) = (0..2).map(|_| pair()).unzip();
    let results: Vec<_> = sockets.into_iter().map(|one| adopt(&mut rig, one)).collect();
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(Errno::ENFILE));
    let clients: Vec<_> =
        (0..2).map(|_| TcpStream::connect(rig.listeners[0]).expect("a client")).collect();
    let mut slots: HashSet<_> = clients.iter().map(|_| rig.accepted().1).collect();
    slots.extend(results[0]);
    assert_eq!(slots.len(), 3);
    drop(peers);
}

#[test]
fn accepts_and_adoptions_beside_each_other_never_meet_in_a_slot() {
    const EACH: u32 = 1000;
    let mut rig = Rig::new(RingSetup { with_upstream: false, ..setup(2 * EACH) }, &[V4]);
    (0..EACH).for_each(|_| rig.ring.accept(GateId(0), AcceptMode::Single));
    let address = rig.listeners[0];
    let mut peers = Vec::new();
    let mut clients = Vec::new();
    let mut filled = HashSet::new();
    for key in 0..EACH {
        let (peer, sockets) = pair();
        peers.push(peer);
        clients.push(TcpStream::connect(address).expect("a client"));
        rig.ring.adopt(key, sockets);
        if key % 10 == 9 {
            rig.turn(Duration::ZERO);
        }
    }
    let mut adoptions = Vec::new();
    for key in 0..EACH {
        let conn = adopted(&mut rig, key).expect("a slot");
        assert!(filled.insert(conn), "{conn:?} was filled twice");
        adoptions.push(conn);
        let conn = rig.accepted().1;
        assert!(filled.insert(conn), "{conn:?} was filled twice");
    }
    assert_eq!(rig.ring.accept_room(), 0);
    // Each still has its own peer.
    for (conn, peer) in adoptions.into_iter().zip(&mut peers) {
        peer.write_all(&conn.0.to_le_bytes()).expect("a write");
        assert_eq!(received(&mut rig, conn, Side::Client), conn.0.to_le_bytes());
    }
    clients.iter().for_each(hears_nothing);
}

#[test]
fn a_wait_that_was_cancelled_leaves_a_side_that_can_be_lent() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (mut client, conn) = with_ahead(&mut rig, &[]);
    for kind in [OpKind::Receive, OpKind::WaitReadable] {
        let operation = match kind {
            OpKind::Receive => Operation::Receive,
            _ => Operation::WaitReadable,
        };
        let waits = rig.start(conn, Side::Client, operation);
        rig.turn(Duration::ZERO);
        let cancel = rig.start(conn, Side::Client, Operation::Cancel(InFlight::only(kind)));
        assert_eq!(rig.done(waits).result, Err(Errno::ECANCELED));
        rig.done(cancel);
        lend(&mut rig, conn, Side::Client).expect("a descriptor");
        let mut socket = TcpStream::from(rig.ring.lent(conn, Side::Client).expect("it was lent"));
        client.write_all(b"here").expect("a write");
        let mut heard = [0; 4];
        socket.read_exact(&mut heard).expect("nobody else reads");
        assert_eq!(&heard, b"here");
    }
}
