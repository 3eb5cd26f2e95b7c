//! Connections of which nothing has moved for a while.

use portcullis::base::{Buffer, BySide, Errno, InFlight, OpKind, Operation, Side};
use portcullis::conn::{Action, Connection, Event, Passport, Patience, Wiring};

/// Receives, each behind a wait, after which a lane that was quiet keeps one armed.
const RECEIVES: usize = 8;

/// A joined connection that waits for bytes of both sides, and nothing of it has moved yet.
pub(super) fn quiet() -> Connection {
    let passport = Passport {
        wiring: Wiring::Pair,
        finished: BySide([false; 2]),
        moved_bytes: BySide([0; 2]),
        spoke: true,
        probed: false,
        server_first: false,
    };
    Connection::arrived(passport, BySide([None; 2]), false).0
}

/// The actions of what a ring completes; `full`: a receive took as much as its buffer holds.
pub(super) fn done(
    conn: &mut Connection,
    (side, kind): (Side, OpKind),
    result: Result<u32, Errno>,
    full: bool,
) -> Vec<Action> {
    let buffer = (kind == OpKind::Receive && result.is_ok()).then_some(Buffer(7));
    conn.on(Event::Completed { side, kind, result, buffer, full, more: false }).list.to_vec()
}

const SOURCE: Side = Side::Client;
const WAITS: Action = Action::Start(SOURCE, Operation::WaitReadable);
const RECEIVES_NEXT: Action = Action::Start(SOURCE, Operation::Receive);

/// A message of the source, which a receive that is in flight brings; what comes after it.
fn message(conn: &mut Connection, full: bool) -> Vec<Action> {
    done(conn, (SOURCE, OpKind::Receive), Ok(5), full);
    done(conn, (SOURCE.other(), OpKind::Send), Ok(5), full)
}

/// So many messages of a lane that waits before each.
fn seldom(conn: &mut Connection, messages: usize) {
    for _ in 0..messages {
        assert_eq!(done(conn, (SOURCE, OpKind::WaitReadable), Ok(1), false), [RECEIVES_NEXT]);
        assert!(message(conn, false).contains(&WAITS));
    }
}

#[test]
fn a_lane_that_was_quiet_waits_before_its_first_receives() {
    let mut conn = quiet();
    assert!(!conn.can_go_quiet(), "it is");
    seldom(&mut conn, RECEIVES - 1);
    done(&mut conn, (SOURCE, OpKind::WaitReadable), Ok(1), false);
    assert!(message(&mut conn, false).contains(&RECEIVES_NEXT));
    assert!(message(&mut conn, false).contains(&RECEIVES_NEXT), "one is kept armed now");
    // Quiet once more, it begins to count again.
    assert!(conn.can_go_quiet());
    let cancels = Operation::Cancel(InFlight::only(OpKind::Receive));
    let gives_up = conn.on(Event::Expired(Patience::Quiet)).list.to_vec();
    assert_eq!(gives_up, [Action::Start(SOURCE, cancels)]);
    let ended = done(&mut conn, (SOURCE, OpKind::Receive), Err(Errno::ECANCELED), false);
    assert_eq!(ended, [WAITS]);
    done(&mut conn, (SOURCE, OpKind::Cancel), Ok(1), false);
    seldom(&mut conn, RECEIVES - 1);
}

#[test]
fn one_that_speaks_seldom_never_has_a_receive_to_cancel() {
    let mut conn = quiet();
    for _ in 0..RECEIVES {
        seldom(&mut conn, RECEIVES - 1);
        assert!(conn.can_go_quiet(), "it is to forget them");
        assert_eq!(conn.on(Event::Expired(Patience::Quiet)).list.to_vec(), []);
        assert!(!conn.can_go_quiet());
    }
}

#[test]
fn bulk_needs_no_waits() {
    let mut conn = quiet();
    done(&mut conn, (SOURCE, OpKind::WaitReadable), Ok(1), false);
    assert!(message(&mut conn, true).contains(&RECEIVES_NEXT));
}
