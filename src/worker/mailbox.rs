//! Orders from the control plane to a worker, and what the worker begins for each.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use super::Worker;
use super::errands::{Farewell, Reach};
use super::history::HistoryEntry;
use super::question::Task;
use crate::base::ListenerId;
use crate::metrics::WorkerCounters;
use crate::ring::Ring;
use crate::topology::Topology;

/// An order of the control plane to a worker.
#[derive(Debug)]
pub enum Order {
    /// Serve what is queued, close every connection at a pace, idle ones first, and return when
    /// all are gone, at the latest when this time is over.
    Drain(Duration),
    /// Stop accepting, end every connection, and return when all are gone.
    Stop,
    /// Scan the connections, and answer.
    Scan(Box<Task>),
    /// Answer with the history.
    Recall(oneshot::Sender<Vec<HistoryEntry>>),
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
    /// The topology.
    pub topology: Arc<Topology>,
    /// The worker's counters, with those of everything that is in it.
    pub counters: Arc<WorkerCounters>,
    /// Which change this is: the worker shows it once the change is carried out.
    pub generation: u64,
    /// How long it may take to end the connections that it concerns.
    pub within: Duration,
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
                Order::Scan(task) => self.errands.begin_scan(*task, self.time.now()),
                Order::Recall(reply) => {
                    // The asker may be gone.
                    let _ = reply.send(self.notes.history());
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
    /// the last connection that is on it. Those connections are ended at a pace, and so are those
    /// that a shorter timeout has made overdue.
    fn adopt(&mut self, Adoption { topology, counters, generation, within }: Adoption) {
        self.admission.adopt(&mut self.ring, &topology);
        let concerned = self.routes.adopt(&mut self.ring, topology, &counters);
        let deadline = self.time.now().after(within);
        if concerned.left {
            self.errands.begin_removal(self.time.now(), deadline);
        }
        if concerned.shortened {
            self.errands.begin_overdue(self.time.now(), deadline);
        }
        self.counters = counters;
        self.counters.generation.set(generation);
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
