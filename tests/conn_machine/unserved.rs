//! Clients without a server that withdraw, and enter here or elsewhere.

use portcullis::base::{Operation, Side};
use portcullis::conn::{Connection, Entrance, Event, Phase, Reason, Wiring};

use super::Bench;

impl Bench {
    /// Its client leaves before it has a server, if it may: what is kept of it goes along.
    pub(super) fn withdraw(&mut self) {
        if !self.conn.can_withdraw() || self.needs_consent {
            return;
        }
        (self.kept, self.awaits_place, self.is_withdrawn) = (0, false, true);
        let keeps_waits = self.choose(2) == 0;
        self.apply(Event::Withdraw { keeps_waits });
    }

    /// It enters here, or elsewhere, which is here, too; or it never does.
    pub(super) fn enter(&mut self) {
        match self.choose(4) {
            0 => return self.apply(Event::Gone),
            1 => return self.apply(Event::Lost),
            2 => {}
            _ => {
                self.in_flight.clear();
                self.conn = Connection::unserved(self.choose(2) == 0);
            }
        }
        self.enter_here();
    }

    /// It enters here, if it has withdrawn.
    pub(super) fn come_back(&mut self) {
        if self.conn.phase() == Phase::Departed && self.is_withdrawn {
            self.enter_here();
        }
    }

    /// It enters as any that has just come could, or as one that was read before.
    fn enter_here(&mut self) {
        self.is_withdrawn = false;
        let wiring = self.onward.wiring;
        // Of one that keeps its wait for a first byte nothing was read.
        let is_unread = self.in_flight.contains(&(Side::Client, Operation::WaitReadable));
        let entrance = match self.choose(4) {
            0 => Entrance::Meeting(wiring),
            1 => Entrance::Preface(wiring),
            2 if !is_unread => Entrance::Brought(wiring),
            _ => {
                let keeps = wiring != Wiring::Hold && !is_unread && self.choose(2) == 0;
                self.kept = if keeps { 1 + self.choose(3) } else { 0 };
                Entrance::Onward { onward: self.onward, keeps }
            }
        };
        self.apply(Event::Enter(entrance));
        if let Entrance::Brought(_) = entrance {
            self.judge_brought();
        }
    }

    /// What was brought of a preface is read.
    fn judge_brought(&mut self) {
        let event = match self.choose(4) {
            0 => Event::PrefaceRests,
            1 => Event::PrefaceMore,
            2 => Event::PrefaceRefused(Reason::BadPreamble),
            _ => {
                self.kept = self.choose(3);
                self.needs_consent = self.kept > 0 && self.onward.is_asked;
                Event::PrefaceDone { keeps: self.kept > 0, onward: self.onward }
            }
        };
        self.apply(event);
    }
}

#[test]
fn a_silent_client_withdraws_with_its_wait_and_enters_again() {
    let begun = Connection::prefaced(Wiring::Pair, false);
    let mut bench = Bench::new(begun, Wiring::Pair.into(), Vec::new());
    let waits = bench.in_flight.clone();
    bench.apply(Event::Withdraw { keeps_waits: true });
    assert_eq!((bench.conn.phase(), &bench.in_flight), (Phase::Departed, &waits));
    bench.apply(Event::Enter(Entrance::Preface(Wiring::Pair)));
    assert_eq!((bench.conn.phase(), &bench.in_flight), (Phase::Preface { is_read: false }, &waits));
    bench.apply(Event::Withdraw { keeps_waits: false });
    assert!(matches!(bench.conn.phase(), Phase::Withdrawing { .. }), "its wait is cancelled first");
    while let Some(at) = bench.in_flight.len().checked_sub(1) {
        bench.complete(at);
    }
    assert_eq!(bench.conn.phase(), Phase::Departed);
}
