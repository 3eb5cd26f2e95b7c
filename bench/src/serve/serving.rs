//! One thread of the server: what it does with its clients.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::base::Chunk;
use portcullis::ring::ConnIndex;

use super::receipts::{Receipts, locked};
use super::stats::Counters;
use super::{BUFFER_BYTES, Mode};
use crate::engine::{End, Event, Net, Phase, Script, Tally, Tick};
use crate::pattern::{
    self, Asked, HELLO_BYTES, HELLO_SEED, Header, Pattern, Receipt, Request, Wrong,
};

/// With more connections than this a thread waits for bytes without a buffer: an armed receive
/// costs the kernel some 600 bytes more than a poll, a poll one completion more for each message.
const FEW: u32 = 20_000;

/// What a server that is no echo knows of one client.
#[derive(Clone, Debug)]
struct Served {
    header: Header,
    /// What it sent, and what it gets.
    incoming: Pattern,
    outgoing: Pattern,
    received_bytes: u64,
    /// What was wrong first.
    wrong: Option<Wrong>,
    to_send_bytes: u64,
    /// Our FIN is on its way, and the client's has come.
    finished: bool,
    ended: bool,
}

impl Served {
    fn new() -> Served {
        Served {
            header: Header::default(),
            incoming: Pattern::new(0),
            outgoing: Pattern::new(0),
            received_bytes: 0,
            wrong: None,
            to_send_bytes: 0,
            finished: false,
            ended: false,
        }
    }

    /// Takes what arrived; what is asked, if the header has just become whole.
    fn take(&mut self, arrived: &[u8]) -> Option<Asked> {
        let (rest, asked) = self.header.take(arrived);
        if let Some(asked) = asked {
            self.incoming = Pattern::new(asked.seed);
            self.outgoing = Pattern::new(asked.seed);
            self.to_send_bytes = asked.length_bytes;
        }
        self.received_bytes += rest.len() as u64;
        if self.header.asked().is_some() && self.wrong.is_none() {
            self.wrong = pattern::check(&mut self.incoming, rest).err();
        }
        asked
    }

    /// The transfer that was asked for.
    fn transfer(&self) -> Option<Asked> {
        self.header.asked().filter(|asked| asked.what == Request::Transfer)
    }

    fn receipt(&self) -> Receipt {
        Receipt { bytes: self.received_bytes, wrong: self.wrong }
    }
}

/// One thread's clients.
pub(super) struct Serving {
    mode: Mode,
    tally: Tally,
    served: Vec<Served>,
    receipts: Arc<Mutex<Receipts>>,
    counters: Arc<Counters>,
}

impl Serving {
    pub(super) fn new(
        mode: Mode,
        slots: usize,
        receipts: Arc<Mutex<Receipts>>,
        counters: Arc<Counters>,
    ) -> Serving {
        let slots = if matches!(mode, Mode::Echo | Mode::HelloFirst) { 0 } else { slots };
        let served = vec![Served::new(); slots];
        Serving { mode, tally: Tally::default(), served, receipts, counters }
    }

    fn await_bytes(net: &mut Net, conn: ConnIndex) {
        if net.open > FEW { net.idle(conn) } else { net.receive(conn) }
    }

    fn accepted(&mut self, conn: ConnIndex, net: &mut Net) {
        self.tally.count("accepted", 1);
        if let Some(served) = self.served.get_mut(conn.0 as usize) {
            *served = Served::new();
        }
        if self.mode == Mode::HelloFirst {
            self.greet(conn, net);
        } else {
            Self::await_bytes(net, conn);
        }
    }

    fn greet(&mut self, conn: ConnIndex, net: &mut Net) {
        net.send(conn, HELLO_BYTES, |bytes| Pattern::new(HELLO_SEED).fill(bytes));
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        self.tally.count("received_bytes", u64::from(chunk.length_bytes));
        if self.served.is_empty() {
            self.tally.count("sent_bytes", u64::from(chunk.length_bytes));
            return net.send_back(conn, chunk);
        }
        let asked = self.served[conn.0 as usize].take(net.bytes(chunk));
        if asked.is_some() {
            self.answer(conn, net);
        }
        net.receive(conn);
    }

    /// Sends what is to be sent next.
    fn answer(&mut self, conn: ConnIndex, net: &mut Net) {
        match (self.mode, self.served[conn.0 as usize].header.asked().map(|asked| asked.what)) {
            (Mode::HalfClose, Some(Request::Receipt)) => self.tell(conn, net),
            (Mode::HalfClose | Mode::Source, Some(Request::Transfer)) => self.pour(conn, net),
            _ => {}
        }
    }

    /// The next bytes that were asked for, or the end of them.
    fn pour(&mut self, conn: ConnIndex, net: &mut Net) {
        let served = &mut self.served[conn.0 as usize];
        if net.is_sending(conn) {
            return;
        }
        let count = served.to_send_bytes.min(u64::from(BUFFER_BYTES)) as u32;
        if count == 0 {
            served.finished = true;
            return if served.ended { net.close(conn) } else { net.finish(conn) };
        }
        if net.send(conn, count, |bytes| served.outgoing.fill(bytes)) {
            served.to_send_bytes -= u64::from(count);
            self.tally.count("sent_bytes", u64::from(count));
        }
    }

    /// What came of a transfer, for whoever asks; they may ask again on the same connection.
    fn tell(&mut self, conn: ConnIndex, net: &mut Net) {
        let served = &mut self.served[conn.0 as usize];
        let Some(asked) = served.header.asked() else { return };
        let receipt = locked(&self.receipts).of(asked).to_bytes();
        if net.send(conn, Receipt::BYTES, |bytes| bytes.copy_from_slice(&receipt)) {
            served.header = Header::default();
        }
    }

    /// The client has said FIN.
    fn finished(&mut self, conn: ConnIndex, net: &mut Net) {
        self.tally.count("ended_by_fin", 1);
        let Some(served) = self.served.get_mut(conn.0 as usize) else { return net.close(conn) };
        served.ended = true;
        let (Some(asked), receipt) = (served.transfer(), served.receipt()) else {
            return net.close(conn);
        };
        if let Some(wrong) = receipt.wrong {
            self.tally.fail("received", &format!("wrong bytes: {wrong}"));
        }
        match self.mode {
            Mode::Sink => self.give_receipt(conn, net),
            Mode::HalfClose => {
                locked(&self.receipts).keep(asked, receipt);
                self.part(conn, net);
            }
            _ => self.part(conn, net),
        }
    }

    /// A sink's last words.
    fn give_receipt(&mut self, conn: ConnIndex, net: &mut Net) {
        let receipt = self.served[conn.0 as usize].receipt().to_bytes();
        net.send(conn, Receipt::BYTES, |bytes| bytes.copy_from_slice(&receipt));
    }

    /// Closes what has ended in both directions; what was asked for still goes out.
    fn part(&mut self, conn: ConnIndex, net: &mut Net) {
        if self.served[conn.0 as usize].finished { net.close(conn) } else { self.pour(conn, net) }
    }
}

impl Script for Serving {
    fn begin(&mut self, _: Phase, _: &mut Net) {}

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Accepted(_) => self.accepted(conn, net),
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Sent => match self.mode {
                Mode::Echo | Mode::HelloFirst => Self::await_bytes(net, conn),
                Mode::Sink => net.close(conn),
                Mode::Source | Mode::HalfClose => self.answer(conn, net),
            },
            // A send found no buffer.
            Event::MaySend => match self.mode {
                Mode::Echo | Mode::HelloFirst => self.greet(conn, net),
                Mode::Sink => self.give_receipt(conn, net),
                Mode::Source | Mode::HalfClose => self.answer(conn, net),
            },
            Event::Ended(End::Fin) => self.finished(conn, net),
            Event::Ended(End::Reset) => {
                self.tally.count("ended_by_reset", 1);
                net.close(conn);
            }
            Event::Ended(_) => {
                self.tally.count("ended_by_error", 1);
                net.close(conn);
            }
            Event::Closed => self.tally.count("closed", 1),
            Event::Opened | Event::Overdue => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let progress = self.tally.get("accepted");
        debug_assert!(net.open <= net.slots());
        self.counters.show(&self.tally, net.open);
        Tick { done: false, dead: false, progress, wait: Duration::MAX }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
