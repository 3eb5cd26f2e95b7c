//! Orders from the control plane to a worker, and what the worker begins for each.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use super::Worker;
use super::errands::{Farewell, Reach};
use super::question::Task;
use super::recent::Happening;
use crate::base::ListenerId;
use crate::metrics::WorkerCounters;
use crate::ring::Ring;
use crate::topology::Topology;

/// What the control plane may tell a worker.
#[derive(Debug)]
pub enum Order {
    /// Serve what is queued, close every connection at a pace, idle ones first, and return when
    /// all are gone, at the latest when this time is over.
    Drain(Duration),
    /// Stop accepting, end every connection, and return when all are gone.
    Stop,
    /// Scan the connections, and answer.
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

impl<R: Ring> Worker<R> {
    pub(super) fn read_mailbox(&mut self) {
        while let Some(order) = self.mailbox.take() {
            let stays = self.errands.farewell() == Farewell::No;
            match order {
                Order::Drain(within) if stays => self.begin_drain(within),
                Order::Drain(_) => {}
                Order::Stop => self.begin_stop(),
                Order::Walk(task) => self.errands.begin_scan(*task, self.time.now()),
                Order::Recall(reply) => {
                    // The asker may be gone.
                    let _ = reply.send(self.notes.recent());
                }
                // A drain serves every queue, paused or not.
                Order::Pause(_) if !stays => {}
                Order::Pause(listener) => self.admission.pause(&mut self.ring, listener),
                Order::Resume(listener) => self.admission.resume(listener),
                // A worker that leaves takes nothing new on.
                Order::Adopt(_) if !stays => {}
                Order::Adopt(adoption) => self.adopt(adoption),
            }
        }
    }

    /// Goes by another topology: what it adds is served from here on, what it takes away goes with
    /// the last connection that is on it.
    fn adopt(&mut self, Adoption { topology, counters }: Adoption) {
        self.admission.adopt(&mut self.ring, &topology);
        self.routes.adopt(&mut self.ring, topology, &counters);
        self.counters = counters;
    }

    fn begin_drain(&mut self, within: Duration) {
        let deadline = self.time.now().after(within);
        self.admission.begin_drain(&mut self.ring);
        self.counters.drain_deadline_millis.set(deadline.0);
        self.errands.begin_drain(self.lives.open(), self.time.now(), deadline);
    }

    fn begin_stop(&mut self) {
        if self.errands.begin_stop(self.time.now()) {
            self.stop_accepting();
        }
    }
}
