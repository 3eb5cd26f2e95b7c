//! A worker's notes about connections for the access log, and their queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::Worker;
use super::tls_clients::TlsClient;
use crate::base::limits::ACCESS_LINE_BYTES;
use crate::base::{BySide, ConnIndex, Micros, Side, UniqueId};
use crate::conn::{Event, Reason};
use crate::query::ConnId;
use crate::ring::{FourTuple, Ring};
use crate::topology::{Parties, Server};

/// Which connections are noted, and the queue of the notes.
#[derive(Clone, Debug)]
pub struct AccessPlan {
    /// Takes it.
    pub notes: Arc<AccessQueue>,
    /// A connection's opening is noted, too.
    pub openings: bool,
    /// Connections that carried no byte before their client left are noted, too.
    pub empty: bool,
}

/// One worker's notes that wait to be written. It takes no lock, and when it is full a note is
/// dropped and counted.
#[derive(Debug)]
pub struct AccessQueue {
    notes: ArrayQueue<AccessNote>,
    dropped: AtomicU64,
}

impl AccessQueue {
    /// A queue for so many notes.
    ///
    /// # Panics
    /// When it is for none: the config does not let that through.
    pub fn new(notes: usize) -> AccessQueue {
        AccessQueue { notes: ArrayQueue::new(notes), dropped: AtomicU64::new(0) }
    }

    fn put(&self, note: AccessNote) {
        if self.notes.push(note).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The oldest note.
    pub fn take(&self) -> Option<AccessNote> {
        self.notes.pop()
    }

    /// How many notes were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A note about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessNote {
    /// When it happened.
    pub at: Micros,
    /// Which connection.
    pub id: ConnId,
    /// Whose it is. To note that takes no copy of a name, and the names stay known until the line
    /// is written.
    pub parties: Parties,
    /// The addresses at both ends of its sockets, where they could be had.
    pub addresses: BySide<Option<FourTuple>>,
    /// The id in the header that its server got, where that had one.
    pub unique_id: Option<UniqueId>,
    /// How its client speaks TLS, if that ends here.
    pub tls: Option<Arc<TlsClient>>,
    /// The event.
    pub event: AccessEvent,
}

/// The config file says what a waiting line takes: a note and its place in the queue.
const _: () = assert!(size_of::<AccessNote>() + size_of::<usize>() <= ACCESS_LINE_BYTES);

/// An event of a connection that is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessEvent {
    /// It was accepted.
    Opened,
    /// It ended.
    Ended {
        /// When it was accepted.
        opened: Micros,
        /// How long the connect to that server took, where there was one.
        connect: Option<Duration>,
        /// Bytes delivered to its server.
        to_upstream_bytes: u64,
        /// Bytes delivered to its client.
        to_client_bytes: u64,
        /// Why it ended.
        reason: Reason,
    },
}

/// The addresses and server of a connection that is noted.
#[derive(Debug, Default)]
pub(super) struct Departure {
    pub(super) addresses: BySide<Option<FourTuple>>,
    /// The server that it counted for, where that is to be noted.
    pub(super) server: Option<Arc<Server>>,
}

impl<R: Ring> Worker<R> {
    /// Asks who the client is where openings are noted; the note is made when that is known.
    pub(super) fn ask_for_opening(&mut self, index: ConnIndex) {
        let wanted = self.plan.settings.access.as_ref().is_some_and(|access| access.openings);
        let conn = &self.lives.entry(index).conn;
        if !wanted || !conn.has_addresses(Side::Client) {
            return;
        }
        let can_ask = conn.can_ask_addresses(Side::Client);
        self.notes.await_opening(index);
        // The choice of a server may be asking already.
        if can_ask {
            self.apply(index, Event::AddressesWanted(Side::Client));
        }
    }

    /// The addresses of a client were found, or could not be: perhaps its opening waited for them.
    pub(super) fn note_opening(&mut self, index: ConnIndex, found: Option<FourTuple>) {
        if self.notes.take_opening(index) {
            let mut addresses = BySide([None; 2]);
            addresses[Side::Client] = found;
            let at = self.lives.entry(index).opened;
            let departure = Departure { addresses, server: None };
            let tls = self.tls_client(index);
            self.note(index, at, departure, (None, tls), AccessEvent::Opened);
        }
    }

    /// A connection's slots are empty.
    pub(super) fn note_end(&mut self, index: ConnIndex, reason: Reason, departure: Departure) {
        let tls = self.tls_clients.take(index);
        let Some(access) = &self.plan.settings.access else { return };
        let entry = self.lives.entry(index);
        let moved = entry.conn.moved_bytes();
        let client_left = matches!(reason, Reason::ClosedByClient | Reason::ClientReset);
        if !access.empty && client_left && moved.0 == [0; 2] {
            return;
        }
        let connect = entry.connect.took();
        let event = AccessEvent::Ended {
            opened: entry.opened,
            connect,
            to_upstream_bytes: moved[Side::Client],
            to_client_bytes: moved[Side::Upstream],
            reason,
        };
        let unique_id = connect.and_then(|_| self.unique_id(index));
        self.note(index, self.time.moment(), departure, (unique_id, tls), event);
    }

    fn note(
        &mut self,
        index: ConnIndex,
        at: Micros,
        departure: Departure,
        (unique_id, tls): (Option<UniqueId>, Option<Arc<TlsClient>>),
        event: AccessEvent,
    ) {
        let Some(access) = &self.plan.settings.access else { return };
        let entry = self.lives.entry(index);
        let Departure { addresses, server } = departure;
        let parties = Parties { server, ..self.routes.parties(entry.route, None) };
        let worker = self.plan.worker.0;
        access.notes.put(AccessNote {
            at,
            id: ConnId { worker, slot: index.0, generation: entry.generation },
            parties,
            addresses,
            unique_id,
            tls,
            event,
        });
    }
}
