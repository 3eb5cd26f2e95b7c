//! Connections that depart, stay after all, end elsewhere, or arrive.

use portcullis::base::{Buffer, BySide, Errno, OpKind, Operation, Side};
use portcullis::conn::{Action, Connection, Event, Onward, Passport, Phase, Wiring};

use super::Bench;
use super::quiet::{self, quiet};

impl Bench {
    /// Nothing of a departed connection is in flight but waits for bytes, and what it has in hand
    /// is not in a pipe.
    pub(super) fn check_departed(&self) {
        let mut busy = self.in_flight.iter().filter(|(_, op)| *op != Operation::WaitReadable);
        assert!(busy.next().is_none(), "departed with {:?}", self.in_flight);
        let in_hand: Vec<_> =
            Side::BOTH.iter().filter_map(|side| self.conn.in_hand(*side)).collect();
        assert!(in_hand.iter().all(|chunk| self.held.contains(&chunk.buffer)));
        assert!(in_hand.iter().all(|chunk| !chunk.buffer.is_pipe()), "a pipe cannot go");
        assert_eq!(in_hand.len(), self.held.len(), "it holds what it does not have in hand");
    }

    /// It goes on here, ends elsewhere, or goes on elsewhere, which is here, too.
    pub(super) fn part(&mut self) {
        if self.is_withdrawn {
            return self.enter();
        }
        match self.choose(4) {
            0 => self.apply(Event::Stay),
            1 => self.apply(Event::Gone),
            2 => self.apply(Event::Lost),
            _ => {
                let passport = self.conn.passport();
                let in_hand = [Side::Client, Side::Upstream].map(|side| self.conn.in_hand(side));
                let before = self.conn.moved_bytes();
                let (conn, actions) = Connection::arrived(passport, BySide(in_hand), true);
                assert_eq!(conn.moved_bytes(), before);
                // Its waits are those of the process that it has left.
                self.in_flight.clear();
                self.conn = conn;
                self.perform(actions);
                self.check_works(passport);
            }
        }
    }

    /// Each direction that is open is read, or what it brought is on its way.
    fn check_works(&self, Passport { wiring, finished, .. }: Passport) {
        assert!(self.conn.can_depart(), "who has arrived may go again: {:?}", self.conn);
        let sources = if wiring == Wiring::Pair { &Side::BOTH[..] } else { &[Side::Client] };
        for source in sources.iter().filter(|source| !finished[**source]) {
            let works = self.in_flight.iter().any(|(side, operation)| match operation {
                Operation::WaitReadable | Operation::WatchHangup => side == source,
                Operation::Send(_) => wiring != Wiring::Pair || *side == source.other(),
                _ => false,
            });
            assert!(works, "{source:?} is not read: {:?}", self.conn);
        }
    }
}

#[test]
fn an_idle_connection_departs_and_goes_on() {
    let onward = Onward::from(Wiring::Echo);
    let mut bench = Bench::new(Connection::accepted(onward, false), onward, Vec::new());
    bench.apply(Event::Depart { keeps_waits: false });
    assert_eq!(bench.conn.phase(), Phase::Departing);
    for _ in 0..4 {
        if let Some(at) = bench.in_flight.len().checked_sub(1) {
            bench.complete(at);
        }
    }
    assert_eq!(bench.conn.phase(), Phase::Departed);
    bench.apply(Event::Stay);
    assert!(bench.conn.holds_nothing() && bench.in_flight.len() == 1);
}

#[test]
fn a_stalled_lane_whose_next_bytes_are_to_be_spliced_departs_with_its_chunk() {
    let mut conn = quiet();
    let (sink, source) = (Side::Client, Side::Upstream);
    let done =
        |conn: &mut Connection, at: (Side, OpKind), result| quiet::done(conn, at, result, true);
    done(&mut conn, (source, OpKind::WaitReadable), Ok(1));
    // The fourth full receive in a row is the last before a splice.
    for _ in 1..4 {
        done(&mut conn, (source, OpKind::Receive), Ok(9));
        let next = done(&mut conn, (sink, OpKind::Send), Ok(9));
        assert!(next.contains(&Action::Start(source, Operation::Receive)), "{next:?}");
    }
    done(&mut conn, (source, OpKind::Receive), Ok(9));
    let next = done(&mut conn.clone(), (sink, OpKind::Send), Ok(9));
    assert!(next.contains(&Action::Start(source, Operation::Splice)), "{next:?}");
    let stalls = done(&mut conn, (sink, OpKind::Send), Ok(2));
    assert!(stalls.contains(&Action::Start(sink, Operation::WaitWritable)), "{stalls:?}");
    conn.on(Event::Depart { keeps_waits: false });
    // The wait is cancelled, and the send after it finds no room.
    done(&mut conn, (sink, OpKind::WaitWritable), Err(Errno::ECANCELED));
    let stalls = done(&mut conn, (sink, OpKind::Send), Err(Errno::EAGAIN));
    assert_eq!(stalls, []);
    for kind in [OpKind::WatchHangup, OpKind::Cancel] {
        done(&mut conn, (source, kind), Err(Errno::ECANCELED));
    }
    for kind in [OpKind::WaitReadable, OpKind::Cancel] {
        done(&mut conn, (sink, kind), Err(Errno::ECANCELED));
    }
    assert_eq!(conn.phase(), Phase::Departed);
    let chunk = conn.in_hand(source).expect("it goes along");
    assert_eq!((chunk.buffer, chunk.length_bytes), (Buffer(7), 7));
}

#[test]
fn a_quiet_connection_departs_at_once_with_its_wait_and_goes_on_with_it() {
    let onward = Onward::from(Wiring::Echo);
    let mut bench = Bench::new(Connection::accepted(onward, false), onward, Vec::new());
    bench.apply(Event::Depart { keeps_waits: false });
    while let Some(at) = bench.in_flight.len().checked_sub(1) {
        bench.complete(at);
    }
    bench.apply(Event::Stay);
    for is_heard in [false, true] {
        assert_eq!(bench.in_flight, [(Side::Client, Operation::WaitReadable)]);
        bench.apply(Event::Depart { keeps_waits: true });
        assert_eq!(bench.conn.phase(), Phase::Departed);
        assert_eq!(bench.in_flight, [(Side::Client, Operation::WaitReadable)]);
        if is_heard {
            bench.complete(0);
            assert_eq!((bench.conn.phase(), bench.in_flight.len()), (Phase::Departed, 0));
        }
        bench.apply(Event::Stay);
    }
    assert!(bench.conn.holds_nothing());
    assert_eq!(bench.in_flight, [(Side::Client, Operation::WaitReadable)]);
}
