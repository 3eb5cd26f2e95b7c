//! What goes with the sockets of a connection that leaves: its record, bytes in hand, extras.

use super::sink_of;
use crate::base::{BySide, ConnIndex, Side};
use crate::ring::{Buffers as _, Moves as _, Ring};
use crate::wire::handover::{Departure, Record};
use crate::worker::Worker;

impl<R: Ring> Worker<R> {
    /// What a successor learns of a connection; `None`: it cannot go as it is.
    pub(super) fn pack(&mut self, index: ConnIndex) -> Option<Departure> {
        if self.unserved.is_away(index) {
            return self.pack_unserved(index);
        }
        let mut in_hand = BySide([Vec::new(), Vec::new()]);
        let wiring = self.lives.entry(index).conn.passport().wiring;
        for source in Side::BOTH {
            // Data that is sealed goes with the session.
            let sealed_bytes = self.ring.waiting_data_bytes(index, sink_of(wiring, source));
            let chunk = self.lives.entry(index).conn.in_hand(source);
            if let Some(chunk) = chunk.and_then(|chunk| chunk.after(sealed_bytes)) {
                in_hand[source].extend_from_slice(self.ring.bytes(chunk));
            }
            self.ring.ahead(index, source, &mut in_hand[source]).ok()?;
        }
        let extras = self.extras(index)?;
        let entry = self.lives.entry(index);
        let passport = entry.conn.passport();
        let bit = |is: bool, bit: u16| if is { bit } else { 0 };
        let lanes = Side::BOTH.into_iter().filter(|side| passport.finished[*side]);
        let record = Record {
            flags: bit(passport.probed, Record::PROBED)
                | bit(passport.spoke, Record::SPOKE)
                | bit(passport.server_first, Record::SERVER_ENDED_FIRST),
            wiring: super::extras::number_of(passport.wiring),
            lanes: lanes.map(Record::finished).sum(),
            route: entry.route.0,
            server: entry.server.map_or(Record::NO_SERVER, |server| server.id().0),
            slot: index.0,
            opened_us: entry.opened.0,
            active_ms: entry.active.begins().0,
            waits_since_ms: entry.waits_since.begins().0,
            moved_bytes: passport.moved_bytes,
            connect_us: entry.connect.took().map_or(0, |took| took.as_micros() as u32),
        };
        let departure = Departure { record, in_hand, extras };
        // One with more in hand goes on here until it has less.
        departure.can_travel().then_some(departure)
    }

    /// The same for a client that has no server yet.
    fn pack_unserved(&mut self, index: ConnIndex) -> Option<Departure> {
        let mut in_hand = BySide([Vec::new(), Vec::new()]);
        let client = self.unserved.away(index)?;
        let since = client.since;
        in_hand[Side::Client].extend_from_slice(&client.bytes);
        self.ring.ahead(index, Side::Client, &mut in_hand[Side::Client]).ok()?;
        let extras = self.extras(index)?;
        let entry = self.lives.entry(index);
        let record = Record {
            wiring: Record::UNSERVED,
            route: entry.route.0,
            server: Record::NO_SERVER,
            slot: index.0,
            opened_us: entry.opened.0,
            active_ms: entry.active.begins().0,
            waits_since_ms: since.0,
            ..Record::default()
        };
        let departure = Departure { record, in_hand, extras };
        departure.can_travel().then_some(departure)
    }
}
