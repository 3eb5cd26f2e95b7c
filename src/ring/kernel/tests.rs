//! What the set of rings must not do while the kernel has not told, or not been told, everything.

use std::time::Duration;

use super::queue::Wait;
use super::*;
use crate::base::{Buffer, Chunk, ConnIndex, Errno, OpKind, Operation, Side};
use crate::ring::contract::{Buffers, Operations, Ring};
use crate::ring::token::Token;

/// Connections on two kernel rings.
fn two_rings(receive_ahead: bool) -> KernelRing {
    let ring = KernelRing::new(RingSetup {
        connections: 256,
        with_upstream: false,
        table_entries: 128,
        submission_entries: 64,
        completion_entries: 256,
        buffer_bytes: 4096,
        buffer_count: 256,
        receive_ahead,
        batch_wait: Duration::ZERO,
        parked_bytes_max: 1 << 20,
        splice_pipes: 0,
        ephemeral_ports: None,
        descriptors: 1,
        gates: Vec::new(),
        servers: Vec::new(),
    });
    let ring = ring.expect("a ring");
    assert_eq!(ring.memory.groups.len(), 2);
    ring
}

/// Operations in the second ring's first slot, which is empty.
fn token(kind: OpKind) -> Token {
    Token { conn: ConnIndex(128), generation: 0, side: Side::Client, kind }
}

fn read_all(ring: &mut KernelRing) {
    ring.turn(Some(Duration::ZERO)).expect("a turn");
    while ring.next().is_some() {}
}

/// Lends the second ring's group more than it keeps when nobody needs it.
fn overstock(ring: &mut KernelRing) -> u32 {
    let Memory { pool, groups, .. } = &mut *ring.memory;
    groups[1].widen();
    groups[1].restock(pool, 64);
    assert_eq!(groups[1].stock(), 64);
    groups[1].stock()
}

#[test]
fn a_group_keeps_its_buffers_while_a_completion_is_unread() {
    let mut ring = two_rings(true);
    read_all(&mut ring);
    let stocked = overstock(&mut ring);
    ring.push(1, sqe::nothing(), Tag::Swallowed.with(0));
    ring.tables[1].queue.turn(Wait::No).expect("a turn");
    ring.trim();
    assert_eq!(ring.memory.groups[1].stock(), stocked, "it may tell of a buffer");
    read_all(&mut ring);
    ring.trim();
    assert!(ring.memory.groups[1].stock() < stocked);
}

#[test]
fn a_group_keeps_its_buffers_while_a_receive_may_run_elsewhere() {
    for (receive_ahead, waits) in [(false, false), (true, false), (true, true)] {
        let mut ring = two_rings(receive_ahead);
        read_all(&mut ring);
        let stocked = overstock(&mut ring);
        if waits {
            ring.start(token(OpKind::WaitReadable), Operation::WaitReadable);
        }
        ring.start(token(OpKind::Receive), Operation::Receive);
        ring.tables[1].receives.submit();
        ring.trim();
        let keeps = ring.memory.groups[1].stock() == stocked;
        let goes_on = receive_ahead && !waits && probe::receives_go_on();
        assert_eq!(keeps, !goes_on, "receives ahead: {receive_ahead}, behind a wait: {waits}");
        read_all(&mut ring);
        ring.trim();
        assert!(ring.memory.groups[1].stock() < stocked);
    }
}

#[test]
#[should_panic(expected = "completions are unread")]
fn a_group_refuses_to_give_back_what_the_kernel_may_have_taken() {
    let mut ring = two_rings(true);
    ring.push(1, sqe::nothing(), Tag::Swallowed.with(0));
    ring.tables[1].queue.turn(Wait::No).expect("a turn");
    let KernelRing { tables, memory, .. } = &mut ring;
    let Memory { pool, groups, .. } = &mut **memory;
    groups[1].rest(pool, &mut tables[1].queue, 64);
}

#[test]
fn a_sibling_with_work_keeps_the_lead_awake() {
    let mut ring = two_rings(true);
    read_all(&mut ring);
    assert!(!ring.tables.is_busy());
    ring.push(1, sqe::nothing(), Tag::Swallowed.with(0));
    assert!(ring.tables.is_busy());
    read_all(&mut ring);
    assert!(!ring.tables.is_busy());
}

#[test]
fn parked_bytes_live_until_a_send_that_names_them_is_submitted() {
    let mut ring = two_rings(true);
    let chunk = ring.fill(1000, |bytes| bytes.fill(7)).expect("a free buffer");
    let parked = ring.park(chunk).expect("room");
    ring.start(token(OpKind::Send), Operation::Send(parked));
    ring.release(parked.buffer);
    ring.open_turn();
    assert_eq!(ring.counters().parked_bytes, 1000, "the kernel has not read them");
    read_all(&mut ring);
    assert_eq!(ring.counters().parked_bytes, 0);
}

#[test]
fn a_lost_completion_ends_the_ring() {
    assert_eq!(rest::require_all(0), Ok(()));
    assert_eq!(rest::require_all(1), Err(Errno::EOVERFLOW));
}

#[test]
#[should_panic(expected = "lies in a pipe")]
fn a_pipe_has_no_bytes() {
    let chunk = Chunk { buffer: Buffer(Buffer::PIPE_BIT), start_bytes: 0, length_bytes: 1 };
    two_rings(true).bytes(chunk);
}
