//! A client that is read before a server is chosen, step by step.

use portcullis::base::{Buffer, Chunk, Errno, OpKind, Operation, Side};
use portcullis::conn::{Action, Connection, Event, Patience, Phase, Reason, Wiring};

/// The client's connection.
struct Prefaced(Connection);

impl Prefaced {
    fn new() -> Prefaced {
        let (conn, actions) = Connection::prefaced(Wiring::Pair, false);
        let waits = Action::Start(Side::Client, Operation::WaitReadable);
        assert_eq!(actions.list[..], [waits], "a silent client takes no buffer");
        Prefaced(conn)
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.0.on(event).list.to_vec()
    }

    fn done(&mut self, side: Side, kind: OpKind, result: Result<u32, Errno>) -> Vec<Action> {
        let (buffer, full, more) = (None, false, false);
        self.on(Event::Completed { side, kind, result, buffer, full, more })
    }

    fn receives(&mut self, bytes: u32) -> Vec<Action> {
        let (side, kind, buffer) = (Side::Client, OpKind::Receive, Some(Buffer(7)));
        let (result, full, more) = (Ok(bytes), false, false);
        self.on(Event::Completed { side, kind, result, buffer, full, more })
    }

    /// With a place, after a first piece that is not all.
    fn half_read() -> Prefaced {
        let mut conn = Prefaced::new();
        assert_eq!(conn.done(Side::Client, OpKind::WaitReadable, Ok(1)), [Action::AwaitPlace]);
        let reads = Action::Start(Side::Client, Operation::Receive);
        assert_eq!(conn.on(Event::PrefaceMore), [reads]);
        assert_eq!(conn.receives(3), [Action::Judge(chunk(7, 3))]);
        assert_eq!(conn.on(Event::PrefaceMore), [reads]);
        conn
    }

    /// Joined, with two pieces kept.
    fn joined() -> Prefaced {
        let mut conn = Prefaced::half_read();
        conn.receives(5);
        let watch = Action::Start(Side::Client, Operation::WatchHangup);
        assert_eq!(
            conn.on(Event::PrefaceDone { keeps: true, onward: Wiring::Pair.into() }),
            [watch, Action::Open]
        );
        assert_eq!(conn.done(Side::Upstream, OpKind::Open, Ok(0)), [Action::Connect]);
        let waits = Action::Start(Side::Upstream, Operation::WaitReadable);
        let joins = conn.done(Side::Upstream, OpKind::Connect, Ok(0));
        assert_eq!(joins, [Action::Recall, waits]);
        conn
    }

    fn reset_of(self, side: Side, actions: &[Action]) {
        let resets = actions.contains(&Action::Start(side, Operation::Reset));
        assert!(resets, "{side:?} sees no reset: {actions:?}, {:?}", self.0);
    }
}

#[test]
fn a_client_that_ended_while_it_was_held_does_not_stay_at_a_builtin_that_holds() {
    let ended = Ok(0x2000);
    for comes_first in [false, true] {
        let mut conn = Prefaced(Connection::met(Wiring::Hold, false).0);
        let watches = [Action::Start(Side::Client, Operation::WatchHangup)];
        assert_eq!(conn.done(Side::Client, OpKind::Addresses, Ok(0)), [Action::Meet]);
        assert_eq!(conn.on(Event::Hold), watches);
        let tells = |conn: &mut Prefaced| {
            let (side, kind, buffer) = (Side::Client, OpKind::WatchHangup, None);
            conn.on(Event::Completed { side, kind, result: ended, buffer, full: false, more: true })
        };
        let goes_on = Event::PrefaceDone { keeps: false, onward: Wiring::Hold.into() };
        let last = if comes_first {
            assert_eq!(tells(&mut conn), []);
            conn.on(goes_on)
        } else {
            assert_eq!(conn.on(goes_on), []);
            tells(&mut conn)
        };
        assert!(matches!(conn.0.phase(), Phase::Ending(_)), "{last:?}, {:?}", conn.0);
    }
}

#[test]
fn the_time_of_a_client_stands_still_until_its_turn_to_be_read() {
    let mut conn = Prefaced::new();
    assert_eq!(conn.0.patience(), Patience::Preface);
    conn.done(Side::Client, OpKind::WaitReadable, Ok(1));
    let watches = [Action::Start(Side::Client, Operation::WatchHangup)];
    assert_eq!(conn.on(Event::StandBy), watches);
    assert_eq!(conn.0.patience(), Patience::Unbounded);
    // It has ended its direction, and what it said before is still to be read.
    assert_eq!(conn.done(Side::Client, OpKind::WatchHangup, Ok(0x2000)), watches);
    let reads = [Action::Start(Side::Client, Operation::Receive)];
    assert_eq!(conn.on(Event::PrefaceMore), reads);
    assert_eq!(conn.0.patience(), Patience::Preface);
}

#[test]
fn a_client_that_leaves_before_its_turn_to_shake_hands_has_none() {
    let ended = Ok(0x2000);
    for says_early in [false, true] {
        let mut conn = Prefaced::new();
        conn.done(Side::Client, OpKind::WaitReadable, Ok(1));
        if says_early {
            conn.on(Event::StandBy);
            conn.done(Side::Client, OpKind::WatchHangup, ended);
        }
        conn.on(Event::PrefaceMore);
        assert_eq!(conn.receives(3), [Action::Judge(chunk(7, 3))]);
        let mut last = conn.on(Event::StandBy);
        if !says_early {
            assert_eq!(conn.0.phase(), Phase::Standby { is_read: true });
            last = conn.done(Side::Client, OpKind::WatchHangup, ended);
        }
        conn.reset_of(Side::Client, &last);
    }
}

fn chunk(buffer: u32, length_bytes: u32) -> Chunk {
    Chunk { buffer: Buffer(buffer), start_bytes: 0, length_bytes }
}

fn sends(buffer: u32, length_bytes: u32) -> Action {
    Action::Start(Side::Upstream, Operation::Send(chunk(buffer, length_bytes)))
}

#[test]
fn what_is_kept_of_a_preface_goes_out_before_anything_is_received() {
    let mut conn = Prefaced::joined();
    assert_eq!(
        conn.on(Event::Kept { chunk: Some(chunk(1, 4)), more: true, own_bytes: 0 }),
        [sends(1, 4)]
    );
    let next = conn.done(Side::Upstream, OpKind::Send, Ok(4));
    assert_eq!(next, [Action::Release(Buffer(1)), Action::Recall]);
    // No buffer is free: as a receive, it waits for one.
    let starved = conn.on(Event::Kept { chunk: None, more: true, own_bytes: 0 });
    assert_eq!(starved, [Action::AwaitBuffer(Side::Client)]);
    assert_eq!(conn.on(Event::BufferFreed(Side::Client)), [Action::Recall]);
    assert_eq!(
        conn.on(Event::Kept { chunk: Some(chunk(2, 4)), more: false, own_bytes: 0 }),
        [sends(2, 4)]
    );
    let next = conn.done(Side::Upstream, OpKind::Send, Ok(4));
    let receives = Action::Start(Side::Client, Operation::Receive);
    assert_eq!(next, [Action::Release(Buffer(2)), receives]);
    let ends = conn.done(Side::Client, OpKind::Receive, Ok(0));
    assert_eq!(ends, [Action::Start(Side::Upstream, Operation::Shutdown)]);
}

#[test]
fn a_client_that_spoke_in_its_preface_owes_no_first_byte() {
    let conn = Prefaced::joined();
    assert_eq!(conn.0.patience(), Patience::Byte);
    let mut conn = Prefaced::half_read();
    assert_eq!(conn.0.patience(), Patience::Preface);
    conn.receives(5);
    conn.on(Event::PrefaceDone { keeps: false, onward: Wiring::Pair.into() });
    conn.done(Side::Upstream, OpKind::Open, Ok(0));
    conn.done(Side::Upstream, OpKind::Connect, Ok(0));
    assert_eq!(conn.0.patience(), Patience::FirstByte);
}

#[test]
fn a_server_that_is_reset_before_it_has_what_is_kept_makes_nobody_recall_it() {
    let mut conn = Prefaced::joined();
    conn.on(Event::Kept { chunk: Some(chunk(1, 4)), more: true, own_bytes: 0 });
    let gone = conn.done(Side::Upstream, OpKind::Send, Err(Errno::EPIPE));
    let receives = Action::Start(Side::Client, Operation::Receive);
    assert_eq!(gone, [Action::Release(Buffer(1)), receives], "it is read, and dropped");
}

#[test]
fn a_client_that_ends_or_is_reset_in_its_preface_is_gone() {
    let mut conn = Prefaced::half_read();
    let ends = conn.done(Side::Client, OpKind::Receive, Ok(0));
    conn.reset_of(Side::Client, &ends);
    let mut conn = Prefaced::half_read();
    let ends = conn.done(Side::Client, OpKind::Receive, Err(Errno::ECONNRESET));
    assert_eq!(ends, [Action::Start(Side::Client, Operation::Close)]);
    let over = conn.done(Side::Client, OpKind::Close, Ok(0));
    assert_eq!(over, [Action::Vacate(Reason::ClientGone)]);
    // One that said nothing sees a clean end.
    let mut conn = Prefaced::new();
    conn.done(Side::Client, OpKind::WaitReadable, Ok(0x2001));
    conn.on(Event::PrefaceMore);
    let ends = conn.done(Side::Client, OpKind::Receive, Ok(0));
    assert_eq!(ends, [Action::Start(Side::Client, Operation::Close)]);
}

#[test]
fn a_client_that_is_reset_while_bytes_of_it_are_kept_never_reaches_a_server() {
    let mut conn = Prefaced::half_read();
    conn.receives(5);
    conn.on(Event::PrefaceDone { keeps: true, onward: Wiring::Pair.into() });
    conn.done(Side::Client, OpKind::WatchHangup, Ok(0x2018));
    assert!(matches!(conn.0.phase(), Phase::Ending(_)));
    let opened = conn.done(Side::Upstream, OpKind::Open, Ok(0));
    assert_eq!(opened, [Action::Start(Side::Upstream, Operation::Close)]);
}

#[test]
fn an_end_from_outside_shows_a_client_that_was_read_a_reset() {
    for reason in [Reason::PreambleTimeout, Reason::Drained, Reason::Killed, Reason::Stopped] {
        let mut conn = Prefaced::half_read();
        let ends = conn.on(Event::Ended { reason, at_rest: true });
        conn.reset_of(Side::Client, &ends);
        let mut conn = Prefaced::half_read();
        conn.receives(5);
        conn.on(Event::PrefaceDone { keeps: true, onward: Wiring::Pair.into() });
        let ends = conn.on(Event::Ended { reason, at_rest: true });
        conn.reset_of(Side::Client, &ends);
        // While it waits for a place nothing of it was read.
        let mut conn = Prefaced::new();
        conn.done(Side::Client, OpKind::WaitReadable, Ok(1));
        let ends = conn.on(Event::Ended { reason, at_rest: true });
        assert_eq!(ends, [Action::Start(Side::Client, Operation::Close)]);
        assert_eq!(conn.on(Event::PrefaceMore), [], "a place that comes too late");
    }
}

#[test]
fn bytes_that_beat_the_end_of_a_preface_reset_their_client_and_nobody_else() {
    let mut conn = Prefaced::new();
    conn.done(Side::Client, OpKind::WaitReadable, Ok(1));
    conn.on(Event::PrefaceMore);
    conn.on(Event::Ended { reason: Reason::Stopped, at_rest: true });
    let beaten = conn.receives(3);
    let reset = Action::Start(Side::Client, Operation::Reset);
    assert_eq!(beaten, [Action::Release(Buffer(7)), reset]);
}

#[test]
fn a_preface_that_cannot_be_one_is_answered_by_a_reset() {
    let mut conn = Prefaced::half_read();
    conn.receives(5);
    let refused = conn.on(Event::PrefaceRefused(Reason::BadPreamble));
    conn.reset_of(Side::Client, &refused);
}
