//! The fast plane: one thread, one ring, and the loop that joins them.

mod access;
mod admission;
mod count;
mod deadline;
mod decoder;
mod errands;
mod handover;
mod headers;
mod history;
mod keep;
mod limit;
mod link;
mod lives;
mod mailbox;
mod notes;
mod preface;
mod proxy;
mod question;
mod reach;
mod room;
mod route;
mod routes;
mod settings;
mod shake;
mod sniff;
mod starttls;
mod starved;
mod table;
mod tally;
mod time;
mod timers;
mod tls_clients;
mod tls_in;
mod tls_out;
mod unserved;

use std::sync::Arc;
use std::time::Duration;

pub use access::{AccessEvent, AccessNote, AccessPlan, AccessQueue};
pub use decoder::{Decoder, Judgement, Preface, Told};
pub use errands::{Account, DrainOrder, Line, Pace, Part, Standing, Whom};
pub use handover::{Arrivals, Arrive, Depart, Departures, Numbers};
pub use history::{HistoryEntry, HistoryKind};
pub use mailbox::{Adoption, EndLeft, Mailbox, Order, mailbox};
pub use preface::{PrefacePlan, Prefaces};
pub use question::{Answer, Candidate, Purpose, Reply, Row, Task};
pub use settings::{QuietPlan, Settings};
pub use tally::{Counted, Group, Tally};
pub use tls_clients::TlsClient;

pub use crate::config::Timeouts;

use crate::base::{Clock, ConnIndex, Errno, Millis, WorkerId};
use crate::budget::Budget;
use crate::conn::Phase;
use crate::metrics::{RingCounters, WorkerCounters};
use crate::ring::{Buffers as _, Completion, FourTuple, Ring};
use crate::tls::Secured;
use crate::topology::Topology;
use crate::upstream::ClientKey;
use admission::{Admission, Verdict};
use errands::{Errands, Farewell};
use handover::{Arriving, Leaving};
use headers::Headers;
use keep::Keep;
use lives::Lives;
use notes::Notes;
use proxy::Named;
use room::Waits;
use routes::Routes;
use shake::Shakes;
use starved::Starved;
use time::Time;
use tls_clients::TlsClients;
use tls_out::Dials;
use unserved::Unserveds;

/// The configuration of a worker.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which of the workers that share the budget this is.
    pub worker: WorkerId,
    /// The topology until another one is adopted. Its gates and servers are in the worker's ring.
    pub topology: Arc<Topology>,
    /// What goes by the config until another one is adopted.
    pub settings: Settings,
    /// Which clients are read before a server is chosen.
    pub prefaces: PrefacePlan,
    /// Clients are accepted from the start on, not from an order on.
    pub opens_doors: bool,
}

/// What TLS has in a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsCounts {
    /// Sides that are secured.
    pub sessions: usize,
    /// Those of them with expanded keys.
    pub awake: usize,
    /// Bytes of records that are not whole.
    pub gathered_bytes: usize,
    /// Handshakes under way or awaited.
    pub handshakes: usize,
}

/// The longest sleep: often enough for the heartbeat and the checks that come once a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A worker over a ring, which is the kernel's or a simulation.
#[derive(Debug)]
pub struct Worker<R: Ring> {
    ring: Secured<R>,
    plan: Plan,
    mailbox: Mailbox<R::Socket>,
    counters: Arc<WorkerCounters>,
    time: Time,
    admission: Admission,
    routes: Routes,
    lives: Lives,
    prefaces: Prefaces,
    shakes: Shakes,
    dials: Dials,
    /// The addresses of the client whose address was just found, to see whether it is read.
    met: Option<FourTuple>,
    named: Named,
    tls_clients: TlsClients,
    headers: Headers,
    keep: Keep,
    waits: Waits,
    unserved: Unserveds,
    /// The client whose address was just found, for the choice of its server.
    client: Option<ClientKey>,
    starved: Starved,
    notes: Notes,
    errands: Errands,
    /// Connections go to a successor.
    leaving: Option<Leaving<R::Socket>>,
    /// Connections come from a predecessor, or have come and could be taken back.
    arriving: Option<Arriving<R::Socket>>,
    /// What the ring of a predecessor has counted.
    former: RingCounters,
}

impl<R: Ring> Worker<R> {
    /// A worker that holds no connection yet.
    pub fn new(
        ring: R,
        clock: Clock,
        mailbox: Mailbox<R::Socket>,
        plan: Plan,
        budget: Arc<Budget>,
        counters: Arc<WorkerCounters>,
    ) -> Worker<R> {
        let time = Time::new(clock);
        let mut worker = Worker {
            admission: Admission::new(budget, counters.clone(), plan.worker, &plan.topology),
            routes: Routes::new(&plan, &counters),
            lives: Lives::new(ring.slots(), plan.settings.quiet.after, time.now()),
            prefaces: Prefaces::new(plan.prefaces.places),
            shakes: Shakes::default(),
            dials: Dials::default(),
            met: None,
            named: Named::default(),
            tls_clients: TlsClients::default(),
            headers: Headers::default(),
            keep: Keep::default(),
            waits: Waits::default(),
            unserved: Unserveds::default(),
            client: None,
            starved: Starved::default(),
            notes: Notes::new(),
            errands: Errands::default(),
            leaving: None,
            arriving: None,
            former: RingCounters::default(),
            ring: Secured::new(ring),
            plan,
            mailbox,
            counters,
            time,
        };
        worker.shakes.allow(worker.routes.most_handshakes());
        if !worker.plan.opens_doors {
            worker.admission.stop(&mut worker.ring);
        }
        // A reader before the end of the first turn sees the present numbers.
        worker.counters.generation.set(1);
        worker.publish(false);
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
        self.try_waiting();
        self.feed_starved();
        self.call_waiting();
        self.begin_handshakes();
        self.look_after_held();
        self.run_errands();
        self.run_departures();
        self.run_arrivals();
        self.check_once_a_second();
        self.routes.sweep(&mut self.ring);
        let is_drained = self.is_drained();
        self.publish(is_drained);
        let over = is_drained && self.errands.farewell() == Farewell::Stopping;
        if over {
            self.errands.abandon();
        }
        Ok(!over)
    }

    /// Where the connection of a slot stands, for a simulation to look into.
    pub fn phase(&mut self, index: ConnIndex) -> Phase {
        self.lives.entry(index).conn.phase()
    }

    /// What TLS has here, for a simulation to look into.
    pub fn tls_counts(&self) -> TlsCounts {
        let (sessions, awake) = self.ring.counts();
        let handshakes = self.shakes.running() + self.shakes.waiting() + self.dials.running();
        TlsCounts { sessions, awake, gathered_bytes: self.ring.gathered_bytes(), handshakes }
    }

    /// The ring, for a simulation to look into.
    pub fn ring(&mut self) -> &mut R {
        self.ring.below_ring()
    }

    fn sleep(&self) -> Duration {
        if self.lives.any_due() || self.prefaces.can_call() {
            return Duration::ZERO;
        }
        let moments = [
            self.admission.wake_at(),
            self.errands.next(),
            self.waits.next(),
            self.keep.next(),
            self.shakes.next(self.time.now()),
            self.leaving.as_ref().map(|leaving| leaving.next(self.time.now())),
            self.arriving.as_ref().map(|arriving| arriving.next(self.time.now())),
        ];
        let next = moments.into_iter().flatten().fold(self.lives.next_stop(), Millis::min);
        next.since(self.time.now()).min(LONGEST_SLEEP)
    }

    /// In a farewell every connection is gone and no client can come.
    fn is_drained(&mut self) -> bool {
        self.errands.farewell() != Farewell::No
            && self.lives.open() == 0
            && self.arriving.as_ref().is_none_or(Arriving::is_still)
            && self.admission.is_over()
    }

    fn check_once_a_second(&mut self) {
        if !self.time.is_second_over() {
            return;
        }
        self.admission.rearm_lost_accepts(&mut self.ring);
        self.ring.trim();
        self.end_overdue();
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
            Completion::Lent { conn, .. } => self.lent(conn),
            Completion::Adopted { key, result } => self.adopted(key, result),
            Completion::Done(done) => self.done(done),
        }
    }
}
