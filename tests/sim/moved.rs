//! A secured side that goes to another ring: all of it is there, and it says nothing where it was.

use std::sync::Arc;
use std::time::Duration;

use portcullis::base::{Chunk, OpKind, Operation, Side};
use portcullis::ring::{
    Buffers as _, Completion, ConnIndex, Done, Operations as _, Ring as _, Token,
};
use portcullis::tls::{Awake, HEAD_BYTES, Moved, Secured, Session, Suite, TAIL_BYTES};
use portcullis::wire::handover::SecuredSide;

use crate::link::Link;
use crate::peer::Peer;
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::Scenario;

const CONN: ConnIndex = ConnIndex(0);

/// A ring in which nothing goes wrong, with a client in slot 0.
pub fn quiet_ring() -> SimRing {
    let scenario = Scenario::new(7);
    let mut ring = SimRing::new(scenario.shape, Random::new(7), scenario.faults, Arc::default());
    ring.shape.parts = 1;
    ring.seen_clients = vec![1];
    ring.faults.calm = true;
    let peer = Peer::new(&mut ring.random, 10, 0, false);
    let mut link = Link::new(1, peer, &mut ring.random, 0);
    link.peer.calm_down(false);
    link.peer.script.clear();
    link.established = true;
    link.holds.fill();
    ring.links.push(link);
    ring.slots[0][0] = Some(0);
    ring.live = 1;
    ring
}

/// The same with a joined client, whose socket takes a little.
fn ring() -> Secured<SimRing> {
    let mut ring = quiet_ring();
    ring.links[0].peer.room_bytes = 0;
    ring.links[0].joined = true;
    Secured::new(ring)
}

/// The gateway's end of a session, and its client's.
fn sessions() -> (Session, Session) {
    let (one, other) = ([1; 32], [2; 32]);
    let of = |read: &[u8; 32], write: &[u8; 32]| {
        Session::tls13(Suite::Aes128GcmSha256, (read, 0), (write, 0))
    };
    (of(&one, &other), of(&other, &one))
}

/// A record of the client's.
fn record(client: &mut Session, data: &[u8]) -> Vec<u8> {
    let mut memory = [&[0; HEAD_BYTES], data, &[0; TAIL_BYTES]].concat();
    let place = HEAD_BYTES..HEAD_BYTES + data.len();
    let sealed = client.seal(&mut Awake::default(), &mut memory, place);
    memory[sealed].to_vec()
}

fn start(ring: &mut Secured<SimRing>, operation: Operation) {
    let generation = ring.below_ring().lives[0];
    let token = Token { conn: CONN, generation, side: Side::Client, kind: operation.kind() };
    ring.start(token, operation);
}

/// What becomes of an operation that was started.
fn done(ring: &mut Secured<SimRing>, kind: OpKind) -> Done {
    for _ in 0..50 {
        ring.turn(Some(Duration::from_secs(1))).expect("a turn");
        while let Some(completion) = ring.next() {
            if let Completion::Done(done) = completion
                && done.token.kind == kind
            {
                return done;
            }
        }
    }
    panic!("{kind:?} is not done");
}

/// What a receive brings.
fn received(ring: &mut Secured<SimRing>) -> Vec<u8> {
    start(ring, Operation::Receive);
    let done = done(ring, OpKind::Receive);
    let (buffer, length_bytes) = done.buffer.zip(done.result.ok()).expect("bytes");
    let bytes = ring.bytes(Chunk { buffer, start_bytes: 0, length_bytes }).to_vec();
    ring.release(buffer);
    bytes
}

/// Bytes that the client's socket was given.
fn sent_bytes(ring: &mut Secured<SimRing>) -> u64 {
    ring.below_ring().links[0].taken_bytes
}

fn secured(received: &[u8]) -> Secured<SimRing> {
    let mut ring = ring();
    let life = (CONN, ring.below_ring().lives[0]);
    ring.secure(life, Side::Client, sessions().0, received);
    ring
}

/// The side as another process takes it over, over what is written of it.
fn handed(ring: &mut Secured<SimRing>) -> SecuredSide {
    assert!(ring.can_move(CONN));
    let side = ring.hand_over(CONN, Side::Client).expect("no error ahead").expect("it is secured");
    SecuredSide::from_bytes(&side.to_bytes()).expect("what was written")
}

fn taken_over(side: SecuredSide) -> Secured<SimRing> {
    let mut ring = ring();
    let life = (CONN, ring.below_ring().lives[0]);
    let (moved, waits) = Moved::of(side).expect("a session");
    let data = vec![0; moved.waiting_data_bytes() as usize];
    let chunks = (!waits.is_empty()).then(|| {
        let sealed = ring.place(&waits).expect("memory");
        (sealed, ring.place(&data).expect("memory").buffer)
    });
    ring.take_over(life, Side::Client, moved, chunks);
    ring
}

/// One whose client takes a record whole.
fn wide() -> Secured<SimRing> {
    let mut ring = secured(&[]);
    ring.below_ring().links[0].widen(100);
    ring
}

#[test]
fn a_side_that_was_handed_over_says_nothing_at_its_close() {
    let mut here = wide();
    start(&mut here, Operation::Close);
    done(&mut here, OpKind::Close);
    assert!(sent_bytes(&mut here) > 0, "close_notify");
    for ends in [&[Operation::Close][..], &[Operation::Reset, Operation::Close]] {
        let mut away = wide();
        handed(&mut away);
        for end in ends {
            start(&mut away, *end);
            done(&mut away, end.kind());
        }
        assert_eq!(sent_bytes(&mut away), 0, "its next number is another process's");
    }
    // One that goes on where it was says so again.
    let mut back = wide();
    handed(&mut back);
    back.comes_back(CONN);
    start(&mut back, Operation::Close);
    done(&mut back, OpKind::Close);
    assert!(sent_bytes(&mut back) > 0, "close_notify");
}

#[test]
fn a_side_that_is_forgotten_has_no_session_and_its_buffers_are_free() {
    use portcullis::ring::Moves as _;

    let mut away = secured(&record(&mut sessions().1, b"whole"));
    handed(&mut away);
    away.forget(CONN, Side::Client);
    assert!(!away.is_secured(CONN) && away.gathered_bytes() == 0);
    start(&mut away, Operation::Close);
    done(&mut away, OpKind::Close);
    assert_eq!(sent_bytes(&mut away), 0);
}

#[test]
fn half_a_record_counts_where_its_connection_is_and_is_late_there() {
    let whole = record(&mut sessions().1, b"whole");
    let mut here = secured(&whole[..whole.len() - 1]);
    let held_bytes = here.gathered_bytes();
    assert!(held_bytes > 0);
    let side = handed(&mut here);
    assert_eq!((here.gathered_bytes(), here.overdue()), (0, None));
    assert_eq!(taken_over(side).gathered_bytes(), held_bytes);
    here.comes_back(CONN);
    assert_eq!(here.gathered_bytes(), held_bytes);
}

#[test]
fn what_was_received_is_opened_once_wherever_it_was_cut() {
    let mut client = sessions().1;
    let records = [&b"one"[..], b"two", b"three"].map(|data| record(&mut client, data));
    let all = records.concat();
    for cut in 0..all.len() {
        let mut here = secured(&all[..cut]);
        // A part of it may be opened before it goes.
        start(&mut here, Operation::WaitReadable);
        start(&mut here, Operation::Cancel(portcullis::base::InFlight::only(OpKind::WaitReadable)));
        done(&mut here, OpKind::WaitReadable);
        let mut side = handed(&mut here);
        assert_eq!(side.opened.is_empty(), cut < records[0].len(), "cut at {cut}");
        side.received.extend_from_slice(&all[cut..]);
        let mut there = taken_over(side);
        let mut data = Vec::new();
        while data.len() < 11 {
            data.extend(received(&mut there));
        }
        assert_eq!(data, b"onetwothree", "cut at {cut}");
    }
}

#[test]
fn what_waits_sealed_is_sent_from_where_it_was() {
    let data: Vec<u8> = (0..200).collect();
    let mut here = secured(&[]);
    let chunk = here.place(&data).expect("memory");
    start(&mut here, Operation::Send(chunk));
    let first = done(&mut here, OpKind::Send).result.expect("a narrow socket takes a part");
    assert!((1..200).contains(&first), "{first} bytes");
    let side = handed(&mut here);
    assert_eq!(side.waiting_data_bytes, 200 - first);
    let (sent, waits) = (sent_bytes(&mut here) as usize, side.waits.clone());
    let mut there = taken_over(side);
    assert_eq!(there.waiting_data_bytes(CONN, Side::Client), 200 - first);
    // The client gets one record, of both processes.
    let mut memory = [&[0; HEAD_BYTES], &data[..], &[0; TAIL_BYTES]].concat();
    let mut sealer = sessions().0;
    let place = HEAD_BYTES..HEAD_BYTES + data.len();
    let sealed = sealer.seal(&mut Awake::default(), &mut memory, place);
    assert_eq!(memory[sealed][sent..], waits);
    let rest = there.place(&vec![0; 200 - first as usize]).expect("memory");
    start(&mut there, Operation::Send(rest));
    assert!(done(&mut there, OpKind::Send).result.is_ok_and(|bytes| bytes > 0));
    assert!(sent_bytes(&mut there) > 0);
    let session = there.session(CONN, Side::Client).expect("it is secured");
    assert_eq!(session.to_bytes()[..], sealer.to_bytes()[..], "nothing is sealed twice");
}
