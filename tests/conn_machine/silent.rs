//! Clients that say nothing yet, and what their servers get before their first byte.

use portcullis::base::{Buffer, Chunk, OpKind, Operation, Side};
use portcullis::conn::{Action, Connection, Event, Onward, Wiring};

/// poll(2): there is something, and the peer will send no more.
const ENDED: u32 = 0x0001 | 0x2000;

fn onward(is_headed: bool, is_lazy: bool) -> Onward {
    Onward { wiring: Wiring::Pair, is_headed, is_lazy, is_asked: false }
}

fn done(conn: &mut Connection, side: Side, kind: OpKind, result: u32) -> Vec<Action> {
    let (result, full, more) = (Ok(result), false, false);
    let buffer = (kind == OpKind::Receive).then_some(Buffer(7));
    conn.on(Event::Completed { side, kind, result, buffer, full, more }).list.to_vec()
}

fn chunk(buffer: u32) -> Chunk {
    Chunk { buffer: Buffer(buffer), start_bytes: 0, length_bytes: 4 }
}

#[test]
fn a_header_in_pieces_goes_whole_to_the_server_of_a_client_that_says_nothing() {
    let (mut conn, _) = Connection::accepted(onward(true, false), false);
    done(&mut conn, Side::Upstream, OpKind::Open, 0);
    let joins = done(&mut conn, Side::Upstream, OpKind::Connect, 0);
    assert_eq!(joins[0], Action::Head(None));
    conn.on(Event::Kept { chunk: Some(chunk(1)), more: true, own_bytes: 8 });
    let goes_on = done(&mut conn, Side::Upstream, OpKind::Send, 4);
    assert_eq!(goes_on, [Action::Release(Buffer(1)), Action::Recall]);
    conn.on(Event::Kept { chunk: Some(chunk(2)), more: false, own_bytes: 0 });
    let waits = done(&mut conn, Side::Upstream, OpKind::Send, 4);
    assert_eq!(waits, [Action::Release(Buffer(2))]);
    assert_eq!(conn.moved_bytes()[Side::Client], 0);
    let reads = done(&mut conn, Side::Client, OpKind::WaitReadable, 1);
    assert_eq!(reads, [Action::Start(Side::Client, Operation::Receive)]);
}

#[test]
fn a_client_that_was_silent_while_a_change_came_is_told_of_as_when_it_came() {
    for is_headed in [false, true] {
        let (mut conn, _) = Connection::accepted(onward(is_headed, true), false);
        assert_eq!(
            done(&mut conn, Side::Client, OpKind::WaitReadable, ENDED),
            [Action::AwaitPlace]
        );
        conn.on(Event::PrefaceMore);
        done(&mut conn, Side::Client, OpKind::Receive, 4);
        conn.on(Event::PrefaceDone { keeps: true, onward: onward(!is_headed, true) });
        assert_eq!(conn.wants_header(), is_headed);
    }
}
