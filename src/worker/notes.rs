//! What a worker keeps of its connections until something is said of them: in the log, in the
//! access log, or to an operator that looks for a fault.

use std::collections::{HashMap, HashSet};

use super::access::Departure;
use super::history::{History, HistoryEntry, HistoryKind};
use crate::base::{ConnIndex, Micros};

/// Notes of a worker. One of a connection goes with it at the latest.
#[derive(Debug)]
pub(super) struct Notes {
    /// What is known of connections on their way out.
    departures: HashMap<ConnIndex, Departure>,
    /// Connections whose opening is noted when their client's address is known.
    openings: HashSet<ConnIndex>,
    history: History,
}

impl Notes {
    pub(super) fn new() -> Notes {
        Notes { departures: HashMap::new(), openings: HashSet::new(), history: History::new() }
    }

    /// Something happened at the ring.
    pub(super) fn keep(&mut self, at: Micros, what: HistoryKind) {
        self.history.keep(at, what);
    }

    /// What happened last, oldest first.
    pub(super) fn history(&self) -> Vec<HistoryEntry> {
        self.history.list()
    }

    /// The opening of a connection waits for its client's address.
    pub(super) fn await_opening(&mut self, index: ConnIndex) {
        self.openings.insert(index);
    }

    /// The address is known, or cannot be. Says whether an opening waited for it.
    pub(super) fn take_opening(&mut self, index: ConnIndex) -> bool {
        self.openings.remove(&index)
    }

    /// What is known of a connection on its way out.
    pub(super) fn departure(&mut self, index: ConnIndex) -> &mut Departure {
        self.departures.entry(index).or_default()
    }

    /// Nothing is to be said of ends any more.
    pub(super) fn forget_departures(&mut self) {
        self.departures.clear();
    }

    /// Nothing is to be said of openings any more.
    pub(super) fn forget_openings(&mut self) {
        self.openings.clear();
    }

    /// It is gone.
    pub(super) fn take_departure(&mut self, index: ConnIndex) -> Departure {
        self.departures.remove(&index).unwrap_or_default()
    }
}
