//! What the control plane may ask about a worker's connections, and what the worker answers.

use std::cmp::Ordering;

use tokio::sync::oneshot;

use crate::base::BySide;
use crate::query::{ConnId, Facts, Query};
use crate::ring::FourTuple;
use crate::topology::Parties;

/// What a scan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To show connections, with their addresses.
    Show,
    /// To end them, at a pace.
    Kill,
}

/// What a worker is to find out or do.
#[derive(Debug)]
pub struct Task {
    /// Which connections are meant.
    pub query: Query,
    /// Of these alone. Those among them that are gone are named in the answer.
    pub only: Option<Vec<ConnId>>,
    /// What for.
    pub purpose: Purpose,
    /// Where the answer goes. When nobody listens there any more, the scan ends.
    pub reply: oneshot::Sender<Reply>,
}

/// What a worker says.
#[derive(Debug)]
pub enum Reply {
    /// Another scan is under way.
    Busy,
    /// This came of it.
    Done(Answer),
}

/// What came of a scan.
#[derive(Debug, Default)]
pub struct Answer {
    /// Connections that matched when the scan came to them.
    pub matched: u64,
    /// Addresses that the kernel did not tell: it is older than Linux 6.8, or short of descriptors.
    pub nameless: u64,
    /// Those that come first, in no order: sorting them is left to the asker, who has the time.
    pub rows: Vec<Candidate>,
    /// How many were ended.
    pub killed: u64,
    /// Those of [`Task::only`] that are gone.
    pub stale: Vec<ConnId>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What names it.
    pub id: ConnId,
    /// What was known of it when the scan came to it.
    pub facts: Facts,
    /// Whose it was then.
    pub parties: Parties,
    /// The addresses at both ends of its sockets, where they could be had.
    pub names: BySide<Option<FourTuple>>,
}

/// A connection that matched: small, because a heap moves it about.
#[derive(Debug)]
pub struct Candidate {
    /// What sorts it: who has more comes first.
    pub sort_key: u64,
    /// What is said of it.
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
