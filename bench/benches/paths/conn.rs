//! The state machine of one connection: a message through it, and its life from accept to vacant.

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::Criterion;
use portcullis::base::{Buffer, Errno, InFlight, OpKind, Operation, ServerId, Side, Source};
use portcullis::conn::{Action, Actions, Connection, Event, Phase, Wiring};

/// poll(2): there is something to read.
const READABLE: u32 = 1;
const MESSAGE_BYTES: u32 = 64;

pub(crate) fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conn");
    let joined = joined();
    let message = |conn: &mut Connection| {
        let readable = completed(Side::Client, OpKind::WaitReadable, Ok(READABLE));
        let received = Event::Completed {
            side: Side::Client,
            kind: OpKind::Receive,
            result: Ok(MESSAGE_BYTES),
            buffer: Some(Buffer(7)),
            full: false,
            more: false,
        };
        let sent = completed(Side::Upstream, OpKind::Send, Ok(MESSAGE_BYTES));
        for event in [readable, received, sent] {
            black_box(conn.on(event));
        }
    };
    let mut once = joined.clone();
    message(&mut once);
    assert_eq!(once.moved_bytes()[Side::Client], u64::from(MESSAGE_BYTES));
    group.bench_function("message: readable, received, sent", |bench| {
        bench.iter(|| {
            let mut conn = black_box(&joined).clone();
            message(&mut conn);
            conn
        });
    });
    assert_eq!(live(), Phase::Vacant);
    group.bench_function("life: accepted, joined, FIN both ways, vacant", |bench| {
        bench.iter(live);
    });
    group.finish();
}

fn completed(side: Side, kind: OpKind, result: Result<u32, Errno>) -> Event {
    Event::Completed { side, kind, result, buffer: None, full: false, more: false }
}

/// A connection with both its sockets, nothing read yet.
fn joined() -> Connection {
    let (mut conn, _) = Connection::accepted(Wiring::Pair, false);
    for kind in [OpKind::Open, OpKind::Connect] {
        conn.on(completed(Side::Upstream, kind, Ok(0)));
    }
    assert_eq!(conn.phase(), Phase::Joined);
    conn
}

/// A connection whose peers say FIN at once: what it asks for completes in the order of asking.
fn live() -> Phase {
    let mut kernel = Kernel::default();
    let (mut conn, actions) = Connection::accepted(Wiring::Pair, false);
    kernel.start(actions);
    while let Some(event) = kernel.complete() {
        let actions = conn.on(event);
        kernel.start(actions);
    }
    conn.phase()
}

/// As much of a kernel as such a connection needs.
#[derive(Default)]
struct Kernel {
    asked: VecDeque<(Side, Operation)>,
    /// A watch goes on until it is cancelled.
    watched: Vec<Side>,
}

impl Kernel {
    fn start(&mut self, actions: Actions) {
        for action in actions.list {
            match action {
                Action::Start(side, Operation::WatchHangup) => self.watched.push(side),
                Action::Start(side, Operation::Cancel(kinds)) => {
                    self.cancel(side, kinds);
                    self.asked.push_back((side, Operation::Cancel(kinds)));
                }
                Action::Start(side, op) => self.asked.push_back((side, op)),
                Action::Open => {
                    let open = Operation::Open(ServerId(0), Source::default());
                    self.asked.push_back((Side::Upstream, open))
                }
                Action::Connect => {
                    self.asked.push_back((Side::Upstream, Operation::Connect(ServerId(0))));
                }
                Action::Stalled(..)
                | Action::Release(_)
                | Action::AwaitBuffer(_)
                | Action::EndSplices
                // No route has a preface.
                | Action::Meet
                | Action::AwaitPlace
                | Action::Judge(_)
                | Action::Recall
                | Action::Head(_)
                | Action::Say(_)
                | Action::Heed(_)
                | Action::Unanswered(_)
                | Action::Departed | Action::Vacate(_) => {}
            }
        }
    }

    fn cancel(&mut self, side: Side, kinds: InFlight) {
        if kinds.has(OpKind::WatchHangup) {
            self.watched.retain(|watched| *watched != side);
            self.asked.push_back((side, Operation::WatchHangup));
        }
    }

    fn complete(&mut self) -> Option<Event> {
        let (side, op) = self.asked.pop_front()?;
        let result = match op {
            Operation::WaitReadable => Ok(READABLE),
            Operation::WatchHangup => Err(Errno::ECANCELED),
            _ => Ok(0),
        };
        Some(completed(side, op.kind(), result))
    }
}
