//! Questions of the control plane about a worker's connections, and the worker's answers.

use std::cmp::Ordering;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::tally::Tally;
use super::tls_clients::TlsClient;
use crate::base::BySide;
use crate::query::{By, ConnId, Facts, Query};
use crate::ring::FourTuple;
use crate::topology::Parties;

/// The purpose of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To show connections, with their addresses.
    Show,
    /// To end them, at a pace.
    Kill,
    /// To count them.
    Count(By),
}

/// A question to a worker.
#[derive(Debug)]
pub struct Task {
    /// Which connections are meant.
    pub query: Query,
    /// Only these connections. The answer lists those among them that are gone.
    pub only: Option<Vec<ConnId>>,
    /// The purpose.
    pub purpose: Purpose,
    /// Where the answer goes. When the receiver is dropped, the scan ends.
    pub reply: oneshot::Sender<Reply>,
}

/// A worker's reply.
#[derive(Debug)]
pub enum Reply {
    /// Another scan is under way.
    Busy,
    /// The scan is over.
    Done(Answer),
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Answer {
    /// Connections that matched when the scan came to them.
    pub matched: u64,
    /// Addresses that the kernel did not tell: it is older than Linux 6.8, or short of descriptors.
    pub addresses_missing: u64,
    /// The connections that come first, in no order: the control plane sorts them.
    pub rows: Vec<Candidate>,
    /// How many were ended.
    pub killed: u64,
    /// How many there are of each group, if they were to be counted.
    pub tally: Tally,
    /// Connections of [`Task::only`] that are gone.
    pub stale: Vec<ConnId>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: ConnId,
    /// Its facts when the scan reached it.
    pub facts: Facts,
    /// Its parties then.
    pub parties: Parties,
    /// The addresses at both ends of its sockets, where they could be had.
    pub addresses: BySide<Option<FourTuple>>,
    /// How its client speaks TLS, if that ends here.
    pub tls: Option<Arc<TlsClient>>,
}

/// A connection that matched: small, because a heap moves it about.
#[derive(Debug)]
pub struct Candidate {
    /// The key that sorts it: the greatest comes first.
    pub sort_key: u64,
    /// Its row in the answer.
    pub row: Box<Row>,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        let slots = || other.row.id.slot.cmp(&self.row.id.slot);
        self.sort_key.cmp(&other.sort_key).then_with(slots)
    }
}
