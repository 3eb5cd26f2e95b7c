//! What passes between the control plane and a worker: orders in, signs of life out.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use super::question::Task;
use super::recent::Happening;
use crate::base::ListenerId;
use crate::metrics::WorkerCounters;
use crate::topology::Topology;

/// What the control plane may tell a worker.
#[derive(Debug)]
pub enum Order {
    /// Serve what is queued, close every connection at a pace, idle ones first, and return when
    /// all are gone, at the latest when this time is over.
    Drain(Duration),
    /// Stop accepting, end every connection, and return when all are gone.
    Stop,
    /// Walk over the connections, and answer.
    Walk(Box<Task>),
    /// Say what happened last.
    Recall(oneshot::Sender<Vec<Happening>>),
    /// Accept no more on this listener until it is resumed. Its clients wait.
    Pause(ListenerId),
    /// Accept there again.
    Resume(ListenerId),
    /// Go by another topology from here on.
    Adopt(Adoption),
}

/// Another topology. What is new in it was handed over to the worker's ring before.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// What it is.
    pub topology: Arc<Topology>,
    /// The worker's counters, with those of everything that is in it.
    pub counters: Arc<WorkerCounters>,
}

/// A worker's end of its mailbox.
#[derive(Debug)]
pub struct Mailbox(Receiver<Order>);

/// A mailbox: who sends an order wakes the worker's ring afterwards. The queue has no bound of its
/// own because only the control plane writes: a drain or a stop, what operators ask for one after
/// the other, and questions, of which it lets few wait.
pub fn mailbox() -> (Sender<Order>, Mailbox) {
    let (sender, receiver) = unbounded();
    (sender, Mailbox(receiver))
}

impl Mailbox {
    /// The next order, if one came.
    pub fn take(&self) -> Option<Order> {
        self.0.try_recv().ok()
    }
}
