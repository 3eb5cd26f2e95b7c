//! The fast plane: one thread, one ring, and the loop that joins them.

mod access;
mod admission;
mod count;
mod deadline;
mod errands;
mod history;
mod link;
mod lives;
mod mailbox;
mod notes;
mod preface;
mod question;
mod reach;
mod route;
mod routes;
mod starved;
mod table;
mod time;
mod timers;

use std::sync::Arc;
use std::time::Duration;

pub use access::{AccessEvent, AccessNote, AccessPlan, AccessQueue};
pub use history::{HistoryEntry, HistoryKind};
pub use mailbox::{Adoption, Mailbox, Order, mailbox};
pub use preface::{Decoder, Judgement, Preface, PrefacePlan, Prefaces};
pub use question::{Answer, Candidate, Purpose, Reply, Row, Task};

pub use crate::config::Timeouts;

use crate::base::{Clock, Errno, Millis, WorkerId};
use crate::budget::Budget;
use crate::metrics::WorkerCounters;
use crate::ring::{Completion, Ring};
use crate::topology::Topology;
use admission::{Admission, Verdict};
use errands::{Errands, Farewell};
use lives::Lives;
use notes::Notes;
use routes::Routes;
use starved::Starved;
use time::Time;

/// The configuration of a worker.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which of the workers that share the budget this is.
    pub worker: WorkerId,
    /// The topology until another one is adopted. Its gates and servers are in the worker's ring.
    pub topology: Arc<Topology>,
    /// The log has a line for every connection that ends.
    pub logged: bool,
    /// For the access log.
    pub access: Option<AccessPlan>,
    /// When receives that wait give way to waits without a buffer.
    pub quiet: QuietPlan,
    /// Which clients are read before a server is chosen.
    pub prefaces: PrefacePlan,
}

/// When a connection's receives have waited for long enough. A waiting receive takes 870 bytes of
/// kernel memory, a wait for readability 260.
#[derive(Clone, Debug)]
pub struct QuietPlan {
    /// Without a byte in either direction.
    pub after: Duration,
    /// Connections that are made quiet in one turn. Each takes requests for its cancels, and a ring
    /// never returns memory of requests (io_kiocb) before its end, so few at a time.
    pub per_turn: u32,
}

impl Plan {
    /// Whether the addresses of every connection are asked for before it ends.
    fn asks_addresses(&self) -> bool {
        self.logged || self.access.is_some()
    }
}

/// The longest sleep: often enough for the heartbeat and the checks that come once a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A worker over a ring, which is the kernel's or a simulation.
#[derive(Debug)]
pub struct Worker<R: Ring> {
    ring: R,
    plan: Plan,
    mailbox: Mailbox,
    counters: Arc<WorkerCounters>,
    time: Time,
    admission: Admission,
    routes: Routes,
    lives: Lives,
    prefaces: Prefaces,
    starved: Starved,
    notes: Notes,
    errands: Errands,
}

impl<R: Ring> Worker<R> {
    /// A worker that holds no connection yet.
    pub fn new(
        ring: R,
        clock: Clock,
        mailbox: Mailbox,
        plan: Plan,
        budget: Arc<Budget>,
        counters: Arc<WorkerCounters>,
    ) -> Worker<R> {
        let time = Time::new(clock);
        let worker = Worker {
            admission: Admission::new(budget, counters.clone(), plan.worker, &plan.topology),
            routes: Routes::new(&plan, &counters),
            lives: Lives::new(ring.slots(), plan.quiet.after, time.now()),
            prefaces: Prefaces::new(plan.prefaces.places),
            starved: Starved::default(),
            notes: Notes::new(),
            errands: Errands::default(),
            ring,
            plan,
            mailbox,
            counters,
            time,
        };
        // A reader before the end of the first turn sees the present numbers.
        worker.counters.generation.set(1);
        worker.publish();
        worker
    }

    /// Turns until a stop order has been carried out.
    ///
    /// # Errors
    /// When the kernel refuses the ring itself.
    pub fn run(&mut self) -> Result<(), Errno> {
        while self.turn()? {}
        Ok(())
    }

    /// One turn of the loop: submit and wait, then handle completions and deadlines.
    /// Says whether there is more to do.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn turn(&mut self) -> Result<bool, Errno> {
        self.read_mailbox();
        self.admission.arm(&mut self.ring, self.time.now());
        self.ring.turn(Some(self.sleep()))?;
        self.time.turn(self.ring.is_behind());
        while let Some(completion) = self.ring.next() {
            self.route(completion);
        }
        self.expire();
        self.feed_starved();
        self.call_waiting();
        self.run_errands();
        self.check_once_a_second();
        self.routes.sweep(&mut self.ring);
        self.publish();
        let over = self.is_over();
        if over {
            self.errands.abandon();
        }
        Ok(!over)
    }

    /// The ring, for a simulation to look into.
    pub fn ring(&mut self) -> &mut R {
        &mut self.ring
    }

    fn sleep(&self) -> Duration {
        if self.lives.any_due() || self.prefaces.can_call() {
            return Duration::ZERO;
        }
        let moments = [self.admission.wake_at(), self.errands.next()];
        let next = moments.into_iter().flatten().fold(self.lives.next_stop(), Millis::min);
        next.since(self.time.now()).min(LONGEST_SLEEP)
    }

    /// Every connection is gone and no client can come.
    fn is_over(&mut self) -> bool {
        self.errands.farewell() != Farewell::No
            && self.lives.open() == 0
            && self.admission.is_over()
    }

    fn check_once_a_second(&mut self) {
        if !self.time.is_second_over() {
            return;
        }
        self.admission.rearm_lost_accepts(&mut self.ring);
        self.ring.trim();
        // One starved lane tries without a returned buffer, should the count ever be wrong.
        self.starved.try_again();
    }

    fn route(&mut self, completion: Completion) {
        self.notes.keep(self.time.moment(), HistoryKind::Completed(completion));
        match completion {
            Completion::Accepted { gate, conn, more } => {
                let verdict = self.admission.accepted(gate, more);
                self.admit(gate, conn, verdict);
            }
            Completion::AcceptEnded { gate, error } => {
                self.admission.ended(gate, error, self.time.now());
            }
            Completion::QueueReady { gate } => self.admission.queue_ready(gate),
            Completion::GateRemoved { gate } => {
                self.admission.gate_removed(gate);
                self.routes.close_gate(gate);
            }
            Completion::Done(done) => self.done(done),
        }
    }
}
