//! The fast plane: one thread, one ring, and the loop that joins them.

mod access;
mod admission;
mod count;
mod errands;
mod history;
mod link;
mod mailbox;
mod preface;
mod question;
mod reach;
mod route;
mod routes;
mod table;
mod timers;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use access::{AccessEvent, AccessNote, AccessPlan, AccessQueue};
pub use history::{HistoryEntry, HistoryKind};
pub use mailbox::{Adoption, Mailbox, Order, mailbox};
pub use preface::{Decoder, Judgement, Preface, PrefacePlan, Prefaces};
pub use question::{Answer, Candidate, Purpose, Reply, Row, Task};

pub use crate::config::Timeouts;

use crate::base::{Clock, ConnIndex, Errno, Micros, Millis, RouteId, Side, Tick, WorkerId};
use crate::budget::Budget;
use crate::conn::{Event, Patience};
use crate::metrics::WorkerCounters;
use crate::ring::{Completion, Ring};
use crate::topology::Topology;
use access::Departure;
use admission::{Admission, Verdict};
use errands::{Errands, Farewell};
use history::History;
use routes::Routes;
use table::Table;
use timers::Timers;

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

/// How long deadlines wait for a ring that is behind: a worker that has too much to do for longer
/// must keep them all the same.
const BEHIND_MAX: Duration = Duration::from_secs(2);

/// A worker over a ring, which is the kernel's or a simulation.
#[derive(Debug)]
pub struct Worker<R: Ring> {
    ring: R,
    clock: Clock,
    mailbox: Mailbox,
    plan: Plan,
    counters: Arc<WorkerCounters>,
    admission: Admission,
    routes: Routes,
    table: Table,
    /// Clients accepted into slots whose close has not been heard of, and their routes.
    successors: HashMap<ConnIndex, (RouteId, Verdict)>,
    timers: Timers,
    prefaces: Prefaces,
    /// Lanes that found no buffer, oldest first.
    starved: VecDeque<(ConnIndex, u32, Side)>,
    /// Starved lanes that may try again, beside one for each buffer that comes back.
    starved_tries: u32,
    /// Addresses and servers of connections that are ending, for the logs.
    departures: HashMap<ConnIndex, Departure>,
    /// For the dump.
    history: History,
    /// Connections whose opening is noted when their client's address is known.
    openings: HashSet<ConnIndex>,
    /// When this turn began, to the microsecond and to the millisecond.
    moment: Micros,
    now: Millis,
    /// Bytes that arrived by then have been read, wherever a lane reads: when the turn before the
    /// last one began to wait, `turned` being the last. One turn brings the wake of a wait for
    /// bytes, the next one the bytes. Idle timeouts are judged by this, so that a process that was
    /// stopped for a while does not time its clients out for it.
    heard: Millis,
    turned: Millis,
    behind_since: Option<Millis>,
    checked: Millis,
    open: u32,
    /// [`QuietPlan::after`], in ticks.
    quiet_ticks: u32,
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
        let moment = clock.micros();
        let now = moment.millis();
        let worker = Worker {
            admission: Admission::new(budget, counters.clone(), plan.worker, &plan.topology),
            routes: Routes::new(&plan, &counters),
            prefaces: Prefaces::new(plan.prefaces.places),
            table: Table::new(ring.slots()),
            successors: HashMap::new(),
            timers: Timers::new(Tick::at(now)),
            starved: VecDeque::new(),
            starved_tries: 0,
            departures: HashMap::new(),
            history: History::new(),
            openings: HashSet::new(),
            checked: now,
            open: 0,
            quiet_ticks: Tick::not_before(Millis(0).after(plan.quiet.after)).0,
            errands: Errands::default(),
            ring,
            clock,
            mailbox,
            plan,
            counters,
            moment,
            now,
            heard: now,
            turned: now,
            behind_since: None,
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
        self.admission.arm(&mut self.ring, self.now);
        self.ring.turn(Some(self.sleep()))?;
        let turned = std::mem::replace(&mut self.moment, self.clock.micros()).millis();
        self.now = self.moment.millis();
        self.hear(turned);
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

    /// Moves [`Worker::heard`] on, `turned` being when the turn before this one was over. Not while
    /// the ring brings less in a turn than there is, but for that a bounded time.
    fn hear(&mut self, turned: Millis) {
        if self.ring.is_behind() {
            let since = *self.behind_since.get_or_insert(self.now);
            if self.now.since(since) < BEHIND_MAX {
                return;
            }
        } else {
            self.behind_since = None;
        }
        self.heard = std::mem::replace(&mut self.turned, turned);
    }

    fn sleep(&self) -> Duration {
        if self.timers.any_due() || self.prefaces.can_call() {
            return Duration::ZERO;
        }
        let moments = [self.admission.wake_at(), self.errands.next()];
        let timers = self.timers.next_stop().begins();
        let next = moments.into_iter().flatten().fold(timers, Millis::min);
        next.since(self.now).min(LONGEST_SLEEP)
    }

    /// Wakes starved lanes, one for each buffer that came back.
    fn feed_starved(&mut self) {
        let mut left = self.ring.returned_buffers() + std::mem::take(&mut self.starved_tries);
        while left > 0 {
            let Some((index, generation, source)) = self.starved.pop_front() else { return };
            if self.table.entry(index).generation == generation {
                self.apply(index, Event::BufferFreed(source));
                left -= 1;
            }
        }
    }

    /// Handles deadlines that have passed. Where more connections have gone quiet than a turn
    /// takes, the rest of the wheel's tick waits for the next turn.
    fn expire(&mut self) {
        let mut quieted = 0;
        let quieted_max = self.plan.quiet.per_turn;
        let until = Tick::at(self.heard);
        loop {
            while quieted < quieted_max
                && let Some(index) = self.timers.due(&mut self.table)
            {
                quieted += u32::from(self.expire_one(index) == Some(Patience::Quiet));
            }
            if self.timers.any_due() || !self.timers.step(&mut self.table, until) {
                return;
            }
        }
    }

    /// Handles one deadline; `None` when it was not really due.
    fn expire_one(&mut self, index: ConnIndex) -> Option<Patience> {
        let (due, patience) = self.deadline(index)?;
        let entry = self.table.entry(index);
        let is_new = entry.waits_since.begins() > self.heard;
        if due > self.heard || is_new || entry.conn.holds_up(patience) {
            // A byte moved since the deadline was set, or it lay beyond the wheel; or it waits for
            // something else only since a moment ago, and what was there has not been read yet; or
            // the next step is ours.
            self.set_timer(index);
            return None;
        }
        self.counters.timers_expired.add(1);
        match patience {
            Patience::Retirement => self.counters.cancels_repeated.add(1),
            Patience::Quiet => self.counters.quieted.add(1),
            Patience::LastBytes => self.counters.cut_short.add(1),
            _ => {}
        }
        self.table.entry(index).waits_since = Tick::not_before(self.now);
        match patience.timeout() {
            Some(reason) => self.end(index, reason),
            None => self.apply(index, Event::Expired(patience)),
        }
        self.set_timer(index);
        Some(patience)
    }

    /// Every connection is gone and no client can come.
    fn is_over(&mut self) -> bool {
        self.errands.farewell() != Farewell::No && self.open == 0 && self.admission.is_over()
    }

    fn check_once_a_second(&mut self) {
        if self.now.since(self.checked) < Duration::from_secs(1) {
            return;
        }
        self.checked = self.now;
        self.admission.rearm_lost_accepts(&mut self.ring);
        self.ring.trim();
        // One starved lane tries without a returned buffer, should the count ever be wrong.
        self.starved_tries += 1;
    }

    fn route(&mut self, completion: Completion) {
        self.history.keep(self.moment, HistoryKind::Completed(completion));
        match completion {
            Completion::Accepted { gate, conn, more } => {
                let verdict = self.admission.accepted(gate, more);
                self.admit(gate, conn, verdict);
            }
            Completion::AcceptEnded { gate, error } => {
                self.admission.ended(gate, error, self.now);
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
