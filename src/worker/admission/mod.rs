//! How many clients may come in: permits before clients, by one of three ways to accept.
//!
//! - Multishot, in open water. It brings whatever is queued, up to a burst per turn, and no cancel
//!   can stop what the kernel has begun. So it is armed only while permits and slots cover three
//!   bursts, and cancelled when they cover fewer than two: one for the turn in which the cancel
//!   travels, one to spare.
//! - Credits, below that: every accept is one client, one permit, one slot. They lie ready on each
//!   listener.
//! - Scarce, when there are not enough permits to lie ready, or some worker is hungry: no permit
//!   lies idle. A credit is armed only for a client that is there: the ring reports the first
//!   client in a queue, and the queue is polled every few milliseconds from then on until it is
//!   empty. Listeners near their own quota always work this way; the queues of a worker without a
//!   free slot are served this way by the others.
//!
//! Listeners with a quota have credits, never a multishot: the quota is exact.
//!
//! A client beyond a limit waits in its queue, or, by its listener's policy, is accepted without a
//! permit and reset. Where the policy is to evict, it waits, and is counted until it comes in.

mod by_queue;
mod change;
mod gate;
mod lost_accepts;
mod pause;
mod prearmed;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ConnIndex, Errno, GateId, IdMap, Millis, WorkerId};
use crate::budget::Budget;
use crate::config::AtLimit;
use crate::conn::is_pressure;
use crate::metrics::{Refusal, WorkerCounters};
use crate::ring::Accepts;
use crate::topology::{Listener, Topology};
use crate::worker::limit::Limit;
use gate::Gate;

/// Credits armed on one listener at most: enough to keep a busy queue moving from turn to turn.
const MAX_CREDITS: u32 = 256;

/// Bursts that permits and slots must cover to arm multishot, and to keep it.
const ARM_BURSTS: u32 = 3;
const KEEP_BURSTS: u32 = 2;

/// Between two polls of the accept queues while permits are scarce.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// The same while there is no permit at all: a returned permit wakes the hungry workers, so this
/// only has to find new clients. At 85 µs a poll, wake-up included, it costs 0.1 % of a core.
const POLL_EVERY_AT_LIMIT: Duration = Duration::from_millis(100);

/// The same while all queues are empty and watched: a check that this is still so.
const POLL_EVERY_QUIET: Duration = Duration::from_secs(1);

/// How long no worker may have been hungry before permits lie ready again.
const CALM: Duration = Duration::from_secs(1);

/// How long accepts rest after the kernel refused one for want of files or memory.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The verdict on a client that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a permit.
    Serve,
    /// It has none, by which limit, and its listener's policy is to reset it.
    Refuse(Refusal),
}

/// How accepts are armed at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Multishot,
    Credits,
    Scarce,
    /// All were cancelled; once the last is retired, accepts are armed again.
    Changing,
}

/// One worker's admission.
#[derive(Debug)]
pub struct Admission {
    budget: Arc<Budget>,
    counters: Arc<WorkerCounters>,
    /// Leased and not yet used by a connection.
    permits: u32,
    /// Which of the workers that share the budget this is.
    worker: usize,
    mode: Mode,
    /// When the queues were polled last, and when they are next.
    last_poll: Millis,
    next_poll: Millis,
    /// When permits or slots were last found too few to lie ready.
    pinched: Option<Millis>,
    hungry: bool,
    /// Our own first, so that most loops end with them.
    gates: Vec<Gate>,
    own: usize,
    /// Where a gate is among them.
    places: IdMap<GateId, usize>,
    /// Some gate is to be given up once nothing is armed on it.
    leaving: bool,
    /// Gates that the ring has not let go of.
    going: IdMap<GateId, Gate>,
    /// Accepts that are not retired, over all gates.
    outstanding: u32,
    /// Some own gate has a quota.
    has_quotas: bool,
    /// Where the listeners of own gates evict.
    limits: Vec<Limit>,
    /// Connections that are evicted and not gone, and the limit that it is for: few.
    evicted: HashMap<ConnIndex, Arc<Budget>>,
    /// This worker has no slot left and has said so.
    full: bool,
    /// The gate that gets the first credit.
    first: usize,
    rest: Option<Rest>,
    /// Some pause is not carried out yet.
    pausing: bool,
    stopping: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Millis,
    length: Duration,
}

impl Admission {
    /// Admission through the gates of a topology, for one of the workers that share the budget.
    /// The ring has them.
    pub fn new(
        budget: Arc<Budget>,
        counters: Arc<WorkerCounters>,
        worker: WorkerId,
        topology: &Topology,
    ) -> Admission {
        let mut admission = Admission {
            own: 0,
            places: IdMap::new(),
            leaving: false,
            going: IdMap::new(),
            outstanding: 0,
            has_quotas: false,
            limits: Vec::new(),
            evicted: HashMap::new(),
            budget,
            counters,
            permits: 0,
            worker: worker.0.into(),
            mode: Mode::Changing,
            last_poll: Millis(0),
            next_poll: Millis(0),
            pinched: None,
            hungry: false,
            gates: topology.gates.ids().map(|id| Gate::new(topology, id)).collect(),
            full: false,
            first: 0,
            rest: None,
            pausing: false,
            stopping: false,
        };
        admission.arrange();
        admission
    }

    /// A client was accepted; `more` as in the completion. Its permits are used.
    pub fn accepted(&mut self, gate: GateId, more: bool) -> Verdict {
        self.poll_soon();
        let gate = &mut self.gates[self.places[gate]];
        gate.accepted = true;
        if self.permits == 0 {
            self.permits += self.budget.lease(1);
        }
        let has_permit = self.permits > 0;
        if gate.at_limit() == AtLimit::Evict {
            gate.waiting().serve(&self.budget, gate.quota());
        }
        let has_quota = gate.take_quota();
        if !more {
            gate.retire();
            self.outstanding -= 1;
        }
        if !(has_permit && has_quota) {
            if gate.at_limit() == AtLimit::Reset {
                if let Some(quota) = gate.quota().filter(|_| has_quota) {
                    // Not kept for the gate, which may be quiet for ever.
                    quota.give_back(1);
                }
                return Verdict::Refuse(if has_permit {
                    Refusal::ListenerLimit
                } else {
                    Refusal::GatewayLimit
                });
            }
            // The arithmetic above excludes this; a client is served all the same.
            self.counters.overshoot.add(1);
            if !has_permit {
                self.budget.overdraw();
                self.permits += 1;
            }
            if let Some(quota) = gate.quota().filter(|_| !has_quota) {
                quota.overdraw();
            }
        }
        self.permits -= 1;
        self.budget.enter();
        if let Some(quota) = gate.quota() {
            quota.enter();
        }
        Verdict::Serve
    }

    /// A connection of this listener's comes from another process, with its permits.
    pub fn arrived(&mut self, listener: &Listener) {
        self.budget.take_over(1);
        if let Some(quota) = &listener.quota {
            quota.take_over(1);
        }
    }

    /// A client of this listener that was served is gone: its permits come back.
    pub fn left(&mut self, listener: &Listener) {
        self.budget.leave();
        self.permits += 1;
        if let Some(quota) = &listener.quota {
            quota.leave();
            quota.give_back(1);
        }
    }

    /// An accept is retired without a client.
    pub fn ended(&mut self, gate: GateId, error: Errno, now: Millis) {
        self.poll_soon();
        let gate = &mut self.gates[self.places[gate]];
        gate.retire();
        self.outstanding -= 1;
        match error {
            error if is_pressure(error) => self.press(error, now),
            Errno::EINVAL | Errno::EBADF | Errno::ENOTSOCK | Errno::EOPNOTSUPP => {
                gate.shut = true;
                let listener = &gate.listener.name;
                tracing::error!(%error, listener, "a passive socket is unusable");
            }
            // Cancelled, or an error of the one client that was to come.
            _ => {}
        }
    }

    /// The kernel has no file, memory or watch for one more socket: accepting rests, longer each
    /// time. Armed accepts stay armed: without a file an accept leaves the client in its queue.
    pub fn press(&mut self, error: Errno, now: Millis) {
        self.counters.accepts_pressed.add(1);
        let length = match self.rest {
            None => {
                let what = match error {
                    Errno::ENOSPC => "watch (fs.epoll.max_user_watches)",
                    _ => "file or memory",
                };
                tracing::warn!(
                    %error,
                    "the kernel has no {what} for another socket; accepting rests and resumes by \
                     itself"
                );
                FIRST_REST
            }
            Some(rest) if now < rest.until => return,
            Some(rest) => LONGEST_REST.min(rest.length * 2),
        };
        self.rest = Some(Rest { until: now.after(length), length });
    }

    /// A drain begins: queues of inherited sockets are left to the process that has them next.
    /// Pauses are over: only we can serve the clients in our own queues.
    pub fn begin_drain<R: Accepts>(&mut self, ring: &mut R) {
        for gate in &mut self.gates {
            gate.left = gate.is_inherited();
            gate.resume();
        }
        self.cancel_all(ring);
    }

    /// The drain is cancelled: accepts as before, from the next turn on. Pauses have to be asked
    /// for again.
    pub fn end_drain(&mut self) {
        self.gates.iter_mut().for_each(|gate| gate.left = false);
        self.stopping = false;
        self.next_poll = Millis(0);
    }

    /// Clients that wait in the accept queues which are ours to serve.
    pub fn waiting<R: Accepts>(&self, ring: &R) -> impl Iterator<Item = (GateId, u32)> {
        let ours = self.gates[..self.own].iter();
        let ours = ours.filter(|gate| !gate.is_inherited() && !gate.leaving);
        ours.map(|gate| (gate.id, ring.accept_queue(gate.id).unwrap_or(0)))
    }

    /// Stops accepting for good.
    pub fn stop<R: Accepts>(&mut self, ring: &mut R) {
        self.stopping = true;
        self.say_hungry(false);
        self.say_full(false);
        self.count_nobody();
        self.cancel_all(ring);
    }

    /// No client is to come in here.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Stopped, and the last accept is retired: no client can come any more. Gives all permits
    /// back that no connection holds.
    pub fn is_over(&mut self) -> bool {
        let over = self.stopping && self.nothing_armed();
        if over {
            self.budget.give_back(std::mem::take(&mut self.permits));
            self.gates.iter_mut().for_each(Gate::trim_quota);
        }
        over
    }

    /// When [`Admission::arm`] is to be called next even if nothing completes.
    pub fn wake_at(&self) -> Option<Millis> {
        if self.stopping {
            return None;
        }
        match self.rest {
            Some(rest) => Some(rest.until),
            // No completion will say that nothing is armed.
            None if self.mode == Mode::Changing && self.nothing_armed() => Some(Millis(0)),
            None => self.polls_queues().then_some(self.next_poll),
        }
    }

    /// Whether any queue is polled.
    fn polls_queues(&self) -> bool {
        self.mode != Mode::Changing
            && (self.mode == Mode::Scarce
                || self.budget.anyone_full()
                || self.has_quotas && (0..self.own).any(|gate| self.is_polled_by_quota(gate)))
    }

    /// Brings the armed accepts in line with permits, slots and rests. Called once a turn.
    pub fn arm<R: Accepts>(&mut self, ring: &mut R, now: Millis) {
        self.settle_pauses();
        self.let_go(ring);
        if self.stopping {
            return;
        }
        let burst = ring.accept_burst();
        // The clients that a multishot and the credits beside it may bring before a cancel works.
        let needed = KEEP_BURSTS * burst + self.outstanding;
        if self.is_resting(now) {
            // Nothing new is armed; what still is brings clients, and must stay covered.
            self.count_nobody();
            self.balance_permits(burst);
            if self.mode == Mode::Multishot && self.cover(ring) < needed {
                self.cancel_all(ring);
            }
            return;
        }
        self.say_full(ring.best_accept_room() == 0);
        self.balance_permits(burst);
        if self.mode == Mode::Changing {
            if !self.nothing_armed() {
                return;
            }
            ring.retarget_accepts();
            self.mode = self.choose(ring, now);
            self.next_poll = now;
        }
        match self.mode {
            Mode::Multishot if self.pinches() || self.cover(ring) < needed => {
                return self.cancel_all(ring);
            }
            Mode::Credits if self.pinches() || self.could_cover(ring) >= ARM_BURSTS * burst => {
                return self.cancel_all(ring);
            }
            Mode::Multishot => {
                self.arm_multishot(ring);
                self.arm_quotas(ring);
            }
            Mode::Credits => {
                self.arm_credits(ring);
                self.arm_quotas(ring);
            }
            Mode::Scarce | Mode::Changing => {}
        }
        if self.budget.anyone_full() || self.polls_by_quota() {
            self.poll_soon();
        }
        if self.rest.is_some() || self.polls_queues() {
            self.poll_queues(ring, now);
        } else {
            self.count_nobody();
        }
    }

    /// Whether accepts rest; once they have not for a while, the kernel has what it needs again.
    fn is_resting(&mut self, now: Millis) -> bool {
        let Some(rest) = self.rest else { return false };
        if now >= rest.until.after(2 * LONGEST_REST) {
            self.rest = None;
            tracing::info!("the kernel has what sockets need again; accepting goes on");
        }
        now < rest.until
    }

    /// How to accept from now on.
    fn choose<R: Accepts>(&mut self, ring: &R, now: Millis) -> Mode {
        if self.pinches() || self.cover(ring) < self.ready() {
            self.pinched = Some(now);
        }
        if !self.is_calm(now) {
            return Mode::Scarce;
        }
        let open_water = self.cover(ring) >= ARM_BURSTS * ring.accept_burst();
        if open_water { Mode::Multishot } else { Mode::Credits }
    }

    /// Clients that permits and slots cover where accepts land now.
    fn cover<R: Accepts>(&self, ring: &R) -> u32 {
        self.permits.min(ring.accept_room())
    }

    /// Clients that permits and slots would cover in the part of the table with the most room.
    fn could_cover<R: Accepts>(&self, ring: &R) -> u32 {
        self.permits.min(ring.best_accept_room())
    }

    /// Some worker has clients waiting and no permits, or there are more than may be: none may lie
    /// idle here.
    fn pinches(&self) -> bool {
        self.budget.anyone_hungry() || self.budget.is_exceeded()
    }

    /// No worker has been short of permits or slots for a while.
    fn is_calm(&self, now: Millis) -> bool {
        self.pinched.is_none_or(|pinched| now.since(pinched) > CALM)
    }

    fn say_hungry(&mut self, hungry: bool) {
        if self.hungry != hungry {
            self.hungry = hungry;
            self.budget.set_hungry(self.worker, hungry);
        }
    }

    fn say_full(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.budget.set_full(self.worker, full);
        }
    }

    fn nothing_armed(&self) -> bool {
        self.outstanding == 0
    }

    fn fair_share(&self) -> u32 {
        (self.budget.free() + self.permits).div_ceil(self.budget.workers())
    }

    /// Permits that what is armed may use: one for each accept, and two bursts for a multishot
    /// before its cancel has worked.
    fn bound(&self, burst: u32) -> u32 {
        let armed = self.outstanding;
        match self.mode {
            Mode::Multishot | Mode::Changing if armed > 0 => armed + KEEP_BURSTS * burst,
            _ => armed,
        }
    }

    /// Leases what the next turns may need and gives back what they will not.
    fn balance_permits(&mut self, burst: u32) {
        let bound = self.bound(burst);
        let (wanted, slack) = match self.mode {
            // Nothing lies idle: what is armed is covered, and no more.
            Mode::Scarce => (bound, 0),
            Mode::Changing if self.pinches() => (bound, 0),
            _ if !self.takes_any() => (bound, 0),
            _ => (self.fair_share().min((ARM_BURSTS + 1) * burst), burst),
        };
        if self.permits < wanted {
            self.permits += self.budget.lease(wanted - self.permits);
        } else if self.permits > wanted.max(bound) + slack {
            let surplus = self.permits - wanted.max(bound);
            self.permits -= surplus;
            self.budget.give_back(surplus);
        }
    }
}
