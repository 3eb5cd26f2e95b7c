//! What the gateway says itself: an answer to a client, and what its server is asked.

use portcullis::base::{Buffer, Chunk, Errno, OpKind, Operation, Side};
use portcullis::conn::{Action, Connection, Event, Lapse, Onward, Patience, Phase, Reason, Wiring};

use crate::Bench;

impl Bench {
    /// The next piece of the worker's own words to a side, of which there are a few.
    pub(crate) fn say(&mut self, sink: Side) {
        let left = match self.words[sink] {
            Some(left) => left,
            None => 1 + self.choose(2),
        };
        self.words[sink] = Some(left);
        if left == 0 {
            self.words[sink] = None;
            return self.apply(Event::Said(sink));
        }
        let chunk = (self.choose(3) > 0).then(|| {
            let buffer = Buffer(self.next_buffer);
            self.next_buffer += 1;
            self.held.insert(buffer);
            self.words[sink] = Some(left - 1);
            Chunk { buffer, start_bytes: 0, length_bytes: 1 + self.choose(9) as u32 }
        });
        self.apply(Event::Say { sink, chunk });
    }

    /// A server's answer.
    pub(crate) fn heed(&mut self, chunk: Chunk) {
        assert!(self.held.remove(&chunk.buffer), "{chunk:?} is heeded but not held");
        let agrees = self.choose(2) == 0;
        if agrees {
            self.needs_consent = false;
            self.headed = self.onward.is_headed;
        }
        self.apply(Event::Answered { agrees });
    }
}

struct Asked(Connection);

impl Asked {
    /// After the first piece of its preface.
    fn read() -> Asked {
        let (conn, _) = Connection::prefaced(Wiring::Pair, false);
        let mut conn = Asked(conn);
        conn.done(Side::Client, OpKind::WaitReadable, Ok(1));
        conn.on(Event::PrefaceMore);
        conn.receives(Side::Client, 8);
        conn
    }

    /// Connected to a server that is to be asked.
    fn connected() -> Asked {
        let mut conn = Asked::read();
        let onward = Onward { is_asked: true, ..Wiring::Pair.into() };
        conn.on(Event::PrefaceDone { keeps: true, onward });
        conn.done(Side::Upstream, OpKind::Open, Ok(0));
        let asks = conn.done(Side::Upstream, OpKind::Connect, Ok(0));
        assert_eq!(asks, [Action::Say(Side::Upstream)]);
        assert_eq!((conn.0.phase(), conn.0.patience()), (Phase::Asking, Patience::Connect));
        conn
    }

    /// Its server was asked.
    fn waiting() -> Asked {
        let mut conn = Asked::connected();
        let sends = conn.on(Event::Say { sink: Side::Upstream, chunk: Some(chunk(3, 8)) });
        assert_eq!(sends, [Action::Start(Side::Upstream, Operation::Send(chunk(3, 8)))]);
        let sent = conn.done(Side::Upstream, OpKind::Send, Ok(8));
        assert_eq!(sent, [Action::Release(Buffer(3)), Action::Say(Side::Upstream)]);
        let waits = Action::Start(Side::Upstream, Operation::WaitReadable);
        assert_eq!(conn.on(Event::Said(Side::Upstream)), [waits], "it takes no buffer meanwhile");
        conn
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.0.on(event).list.to_vec()
    }

    fn done(&mut self, side: Side, kind: OpKind, result: Result<u32, Errno>) -> Vec<Action> {
        let (buffer, full, more) = (None, false, false);
        self.on(Event::Completed { side, kind, result, buffer, full, more })
    }

    fn receives(&mut self, side: Side, bytes: u32) -> Vec<Action> {
        let (kind, buffer) = (OpKind::Receive, Some(Buffer(7)));
        let (result, full, more) = (Ok(bytes), false, false);
        self.on(Event::Completed { side, kind, result, buffer, full, more })
    }

    /// Its server is on its way out, and the next one gets the same.
    fn tries_another(mut self) {
        assert_eq!(self.0.phase(), Phase::Retrying);
        let next = self.done(Side::Upstream, OpKind::Close, Ok(0));
        assert_eq!(next, [Action::Open]);
        self.done(Side::Upstream, OpKind::Open, Ok(0));
        let asks = self.done(Side::Upstream, OpKind::Connect, Ok(0));
        assert_eq!(asks, [Action::Say(Side::Upstream)]);
    }
}

fn chunk(buffer: u32, length_bytes: u32) -> Chunk {
    Chunk { buffer: Buffer(buffer), start_bytes: 0, length_bytes }
}

const CLOSES: Action = Action::Start(Side::Upstream, Operation::Close);

#[test]
fn a_client_is_answered_before_it_is_read_on() {
    let mut conn = Asked::read();
    let starved = conn.on(Event::Say { sink: Side::Client, chunk: None });
    assert_eq!(starved, [Action::AwaitBuffer(Side::Upstream)]);
    assert_eq!(conn.on(Event::BufferFreed(Side::Upstream)), [Action::Say(Side::Client)]);
    let sends = conn.on(Event::Say { sink: Side::Client, chunk: Some(chunk(1, 1)) });
    assert_eq!(sends, [Action::Start(Side::Client, Operation::Send(chunk(1, 1)))]);
    let sent = conn.done(Side::Client, OpKind::Send, Ok(1));
    assert_eq!(sent, [Action::Release(Buffer(1)), Action::Say(Side::Client)]);
    let reads = Action::Start(Side::Client, Operation::Receive);
    assert_eq!(conn.on(Event::Said(Side::Client)), [reads]);
    assert_eq!(conn.0.moved_bytes()[Side::Upstream], 0, "these were no server's bytes");
}

#[test]
fn words_wait_until_a_client_has_room_for_them() {
    let waits = Action::Start(Side::Client, Operation::WaitWritable);
    for (result, left) in [(Ok(2), 1), (Err(Errno::EAGAIN), 3), (Err(Errno::ENOMEM), 3)] {
        let mut conn = Asked::read();
        conn.on(Event::Say { sink: Side::Client, chunk: Some(chunk(1, 3)) });
        let rest = Chunk { start_bytes: 3 - left as i32, ..chunk(1, left) };
        let stalled = conn.done(Side::Client, OpKind::Send, result);
        assert_eq!(stalled, [Action::Stalled(Side::Client, rest), waits], "{result:?}");
        let sends = conn.done(Side::Client, OpKind::WaitWritable, Ok(4));
        assert_eq!(sends, [Action::Start(Side::Client, Operation::Send(rest))]);
        let sent = conn.done(Side::Client, OpKind::Send, Ok(left));
        assert_eq!(sent, [Action::Release(Buffer(1)), Action::Say(Side::Client)]);
    }
}

#[test]
fn a_client_that_cannot_be_answered_has_left() {
    for result in [Err(Errno::EPIPE), Err(Errno::ECONNRESET)] {
        let mut conn = Asked::read();
        conn.on(Event::Say { sink: Side::Client, chunk: Some(chunk(1, 1)) });
        let ends = conn.done(Side::Client, OpKind::Send, result);
        assert_eq!(ends[0], Action::Release(Buffer(1)));
        let over = conn.done(Side::Client, OpKind::Close, Ok(0));
        assert_eq!(over, [Action::Vacate(Reason::ClientGone)]);
    }
}

#[test]
fn a_server_that_agrees_gets_what_is_kept() {
    let mut conn = Asked::waiting();
    let reads = Action::Start(Side::Upstream, Operation::Receive);
    assert_eq!(conn.done(Side::Upstream, OpKind::WaitReadable, Ok(1)), [reads]);
    assert_eq!(conn.receives(Side::Upstream, 1), [Action::Heed(chunk(7, 1))]);
    let joins = conn.on(Event::Answered { agrees: true });
    let waits = Action::Start(Side::Upstream, Operation::WaitReadable);
    assert_eq!(joins, [Action::Recall, waits]);
    conn.on(Event::Kept { chunk: Some(chunk(1, 5)), more: false, own_bytes: 0 });
    conn.done(Side::Upstream, OpKind::Send, Ok(5));
    assert_eq!(conn.0.moved_bytes().0, [5, 0], "nothing of what was asked and answered counts");
}

#[test]
fn another_server_is_asked_after_one_that_does_not_agree_or_goes_or_is_late() {
    let mut conn = Asked::waiting();
    conn.done(Side::Upstream, OpKind::WaitReadable, Ok(1));
    conn.receives(Side::Upstream, 2);
    assert_eq!(conn.on(Event::Answered { agrees: false }), [CLOSES]);
    conn.tries_another();
    let gone = |errno| Action::Unanswered(Lapse::Gone(errno));
    let ends = [(Ok(0), Errno::ECONNRESET), (Err(Errno::ETIMEDOUT), Errno::ETIMEDOUT)];
    for (result, errno) in ends {
        let mut conn = Asked::waiting();
        conn.done(Side::Upstream, OpKind::WaitReadable, Ok(1));
        assert_eq!(conn.done(Side::Upstream, OpKind::Receive, result), [gone(errno), CLOSES]);
        conn.tries_another();
    }
    let mut conn = Asked::connected();
    conn.on(Event::Say { sink: Side::Upstream, chunk: Some(chunk(3, 8)) });
    let fails = conn.done(Side::Upstream, OpKind::Send, Err(Errno::EPIPE));
    assert_eq!(fails, [Action::Release(Buffer(3)), gone(Errno::EPIPE), CLOSES]);
    conn.tries_another();
    let mut conn = Asked::waiting();
    let late = conn.on(Event::Expired(Patience::Connect));
    assert_eq!(late[0], Action::Unanswered(Lapse::Late));
    assert!(matches!(late[1], Action::Start(Side::Upstream, Operation::Cancel(_))), "{late:?}");
    conn.done(Side::Upstream, OpKind::Cancel, Ok(1));
    conn.done(Side::Upstream, OpKind::WaitReadable, Err(Errno::ECANCELED));
    conn.tries_another();
}

#[test]
fn a_client_that_ends_while_its_server_is_asked_is_reset() {
    let mut conn = Asked::waiting();
    let ends = conn.on(Event::Ended { reason: Reason::Killed, at_rest: true });
    assert_eq!(ends[0], Action::Unanswered(Lapse::Abandoned));
    assert!(ends.contains(&Action::Start(Side::Client, Operation::Reset)), "{ends:?}");
}

#[test]
fn a_server_that_is_late_is_left_once_what_is_under_way_has_completed() {
    let mut conn = Asked::connected();
    conn.on(Event::Say { sink: Side::Upstream, chunk: Some(chunk(3, 8)) });
    let late = conn.on(Event::Expired(Patience::Connect));
    assert_eq!(late, [Action::Unanswered(Lapse::Late)], "it is being sent to");
    let sent = conn.done(Side::Upstream, OpKind::Send, Ok(8));
    assert_eq!(sent, [Action::Release(Buffer(3)), CLOSES]);
    conn.tries_another();
    // Its answer beats the cancel, and comes too late all the same.
    let mut conn = Asked::waiting();
    conn.done(Side::Upstream, OpKind::WaitReadable, Ok(1));
    conn.on(Event::Expired(Patience::Connect));
    assert_eq!(conn.receives(Side::Upstream, 1), [Action::Release(Buffer(7))]);
    assert_eq!(conn.done(Side::Upstream, OpKind::Cancel, Err(Errno::ENOENT)), [CLOSES]);
    conn.tries_another();
    // It waits for a buffer: nothing is under way.
    let mut conn = Asked::connected();
    conn.on(Event::Say { sink: Side::Upstream, chunk: None });
    let late = conn.on(Event::Expired(Patience::Connect));
    assert_eq!(late, [Action::Unanswered(Lapse::Late), CLOSES]);
    assert_eq!(conn.on(Event::BufferFreed(Side::Client)), []);
    conn.tries_another();
}
