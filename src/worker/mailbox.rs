//! Orders from the control plane to a worker, and what the worker begins for each.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use super::Worker;
use super::errands::{Account, DrainOrder, Farewell, Line, Reach, Whom};
use super::handover::{Arrive, Depart, Leaving};
use super::history::HistoryEntry;
use super::question::Task;
use super::settings::Settings;
use crate::base::ListenerId;
use crate::metrics::{Former, RingCounters, WorkerCounters};
use crate::ring::{Accepts as _, Ring};
use crate::topology::{Gone, Topology};

/// An order of the control plane to a worker.
#[derive(Debug)]
pub enum Order<S = OwnedFd> {
    /// Close connections at a pace, idle ones first. A drain of all serves what is queued, and
    /// then waits with nobody left: for a stop, or its cancel. What its time has not ended, it
    /// ends, and returns.
    Drain(Box<DrainOrder>),
    /// Go on as if the drain of this account had not begun, with whom it has not closed.
    Cancel(Arc<Account>),
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
    /// End the connections of what is gone. What has come back is left alone.
    EndLeft(EndLeft),
    /// Have connections depart to a successor, until it stands on its own or is given up.
    Depart(Box<Depart<S>>),
    /// Accept no more clients until the doors open again.
    ShutDoors,
    /// Accept clients as the topology says.
    OpenDoors,
    /// End those that cannot depart, over this time.
    EndRest(Duration),
    /// The successor is no more: go on with every connection of which it had nothing in hand.
    TakeBack,
    /// Take connections of a predecessor in.
    Arrive(Box<Arrive<S>>),
    /// The predecessor is gone: what has come is this worker's alone.
    Keep,
    /// Go on counting where a predecessor has stopped.
    CountOn(Box<Former>, oneshot::Sender<()>),
}

/// The end of connections that are on what a change took away.
#[derive(Debug)]
pub struct EndLeft {
    /// What was taken away.
    pub gone: Gone,
    /// How long it may take.
    pub within: Duration,
    /// Where the worker says how far it is.
    pub line: Line,
}

/// Another topology. What is new in it was handed over to the worker's ring before.
#[derive(Debug)]
pub struct Adoption {
    /// The topology.
    pub topology: Arc<Topology>,
    /// What goes by the config beside it.
    pub settings: Settings,
    /// The worker's counters, with those of everything that is in it.
    pub counters: Arc<WorkerCounters>,
    /// Which change this is: the worker shows it once the change is carried out.
    pub generation: u64,
    /// How long it may take to end the connections that it makes overdue.
    pub within: Duration,
    /// Where the worker says how far it is when it has to visit all: to set their deadlines again,
    /// and to end those whom a shorter timeout makes overdue.
    pub overdue: Line,
}

/// A worker's end of its mailbox.
#[derive(Debug)]
pub struct Mailbox<S = OwnedFd>(Receiver<Order<S>>);

/// A mailbox: who sends an order wakes the worker's ring afterwards. The queue has no bound of its
/// own because only the control plane writes: a drain or a stop, what operators ask for one after
/// the other, and questions, of which it lets few wait.
pub fn mailbox<S>() -> (Sender<Order<S>>, Mailbox<S>) {
    let (sender, receiver) = unbounded();
    (sender, Mailbox(receiver))
}

impl<S> Mailbox<S> {
    /// The next order, if one came.
    pub fn take(&self) -> Option<Order<S>> {
        self.0.try_recv().ok()
    }
}

impl<R: Ring> Worker<R> {
    pub(super) fn read_mailbox(&mut self) {
        while let Some(order) = self.mailbox.take() {
            let stays = self.errands.farewell() == Farewell::No;
            match order {
                Order::Drain(order) if stays => self.begin_drain(*order),
                Order::Drain(_) => {}
                Order::Cancel(account) => self.cancel(&account),
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
                Order::EndLeft(_) if !stays => {}
                Order::EndLeft(order) => self.end_left(order),
                Order::Depart(order) if !stays => order.refuse(),
                Order::Depart(order) => {
                    let (slots, now) = (self.ring.slots(), self.time.now());
                    self.leaving = Some(Leaving::new(*order, slots, now));
                }
                Order::ShutDoors => self.admission.stop(&mut self.ring),
                // The successor is gone, but this worker ends, too.
                Order::OpenDoors if !stays => {}
                Order::OpenDoors => self.admission.end_drain(),
                Order::EndRest(within) => {
                    let (open, now) = (self.lives.open(), self.time.now());
                    if let Some(leaving) = &mut self.leaving {
                        leaving.end_rest(open, within, now);
                    }
                    self.say_rest();
                }
                Order::TakeBack => {
                    if let Some(leaving) = &mut self.leaving {
                        leaving.take_back();
                    }
                }
                Order::Arrive(order) => self.begin_arrivals(*order),
                Order::Keep => self.keep_arrivals(),
                Order::CountOn(former, done) => {
                    self.counters.resume(&former);
                    self.former = RingCounters::former(&former.worker).after(self.former);
                    let _ = done.send(());
                }
            }
        }
    }

    /// Goes by another topology: what it adds is served from here on, what it takes away goes with
    /// the last connection that is on it. Connections that a shorter timeout has made overdue are
    /// ended at a pace.
    fn adopt(&mut self, adoption: Adoption) {
        let Adoption { topology, settings, counters, generation, within, overdue } = adoption;
        let concerns_all = self.adopt_settings(settings);
        self.admission.adopt(&mut self.ring, &topology);
        // Who holds counters of a thing holds the thing, too: they go first.
        self.counters = counters;
        let is_shorter = self.routes.adopt(&mut self.ring, topology, &self.counters);
        self.shakes.allow(self.routes.most_handshakes());
        self.hold_gates();
        self.waits.try_all(self.time.now());
        if is_shorter || concerns_all {
            let now = self.time.now();
            self.errands.begin_overdue(overdue, now, now.after(within));
        }
        self.errands.end_evictions();
        self.counters.generation.set(generation);
    }

    fn end_left(&mut self, order: EndLeft) {
        let EndLeft { gone, within, line } = order;
        if self.routes.end_left(&gone) {
            let now = self.time.now();
            self.errands.begin_removal(line, now, now.after(within));
        }
    }

    fn begin_drain(&mut self, order: DrainOrder) {
        let is_farewell = order.whom == Whom::All;
        if is_farewell {
            self.admission.begin_drain(&mut self.ring);
        }
        let open = if is_farewell { self.lives.open() } else { 0 };
        self.errands.begin_drain(order, open, self.time.now());
    }

    fn cancel(&mut self, account: &Arc<Account>) {
        if self.errands.cancel(account) {
            self.admission.end_drain();
        }
    }

    fn begin_stop(&mut self) {
        if self.errands.begin_stop(self.time.now()) {
            self.stop_accepting();
        }
    }
}
