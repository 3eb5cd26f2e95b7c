//! Who is let in: permits before clients, by one of three ways to accept.
//!
//! - Multishot, in open water. It brings whatever is queued, up to a burst per turn, and no cancel
//!   can stop what the kernel has begun. So it is armed only while permits and slots cover three
//!   bursts, and cancelled when they cover fewer than two: one for the turn in which the cancel
//!   travels, one to spare.
//! - Credits, below that: every accept is one client, one permit, one slot. They lie ready on each
//!   listener.
//! - Scarce, when there are not enough permits to lie ready, or some worker is hungry: no permit
//!   lies idle. The queues are looked at every few milliseconds, and a credit is armed only for a
//!   client that is there.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Errno, Millis};
use crate::budget::Budget;
use crate::metrics::WorkerCounters;
use crate::ring::{AcceptMode, ListenerId, Ring};

/// Credits armed on one listener at most: enough to keep a busy queue moving from turn to turn.
const MAX_CREDITS: u32 = 256;

/// Bursts that permits and slots must cover to arm multishot, and to keep it.
const ARM_BURSTS: u32 = 3;
const KEEP_BURSTS: u32 = 2;

/// How often the queues are looked at while permits are scarce: 100 times a second, at a
/// microsecond per listener.
const LOOK: Duration = Duration::from_millis(10);

/// How long nobody may have been hungry before permits lie ready again.
const CALM: Duration = Duration::from_secs(1);

/// How long accepts rest after the kernel refused one for want of files or memory.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A listener's accepts.
#[derive(Clone, Copy, Debug, Default)]
struct Armed {
    /// Accepts that are not retired.
    count: u32,
    /// Their cancel was asked for.
    cancelled: bool,
    /// A client came since the last check for silence.
    heard: bool,
    /// It was silent with clients in its queue at the last check.
    suspected: bool,
    /// The kernel said that this socket does not listen (any more).
    broken: bool,
}

/// How accepts are armed at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Multishot,
    Credits,
    Scarce,
    /// All were cancelled; once the last is retired they are armed anew.
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
    /// While scarce: when the queues are looked at next.
    look: Millis,
    /// While scarce: when somebody was last hungry.
    pinched: Millis,
    hungry: bool,
    armed: Vec<Armed>,
    /// Whose turn it is for the first credit.
    turn: usize,
    rest: Option<Rest>,
    stopping: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Millis,
    length: Duration,
}

impl Admission {
    /// Admission over `listeners` passive sockets, for one of the workers that share the budget.
    pub fn new(
        budget: Arc<Budget>,
        counters: Arc<WorkerCounters>,
        worker: usize,
        listeners: usize,
    ) -> Admission {
        Admission {
            budget,
            counters,
            permits: 0,
            worker,
            mode: Mode::Changing,
            look: Millis(0),
            pinched: Millis(0),
            hungry: false,
            armed: vec![Armed::default(); listeners],
            turn: 0,
            rest: None,
            stopping: false,
        }
    }

    /// A client was accepted: its permit is used. `more` as in the completion.
    pub fn accepted(&mut self, listener: ListenerId, more: bool) {
        let armed = &mut self.armed[usize::from(listener.0)];
        armed.heard = true;
        if !more {
            armed.count -= 1;
        }
        if self.permits == 0 {
            self.permits = self.budget.lease(1);
        }
        if self.permits == 0 {
            // The arithmetic above excludes this; a client is served all the same.
            self.counters.overshoot.add(1);
            self.budget.overdraw();
        } else {
            self.permits -= 1;
        }
        self.rest = None;
    }

    /// An accept is retired without a client.
    pub fn ended(&mut self, listener: ListenerId, error: Errno, now: Millis) {
        let armed = &mut self.armed[usize::from(listener.0)];
        armed.count -= 1;
        match error {
            Errno::ENFILE | Errno::EMFILE | Errno::ENOMEM | Errno::ENOBUFS => {
                self.counters.accepts_pressed.add(1);
                let length = self.rest.map_or(FIRST_REST, |rest| {
                    if now < rest.until { rest.length } else { LONGEST_REST.min(rest.length * 2) }
                });
                if self.rest.is_none() {
                    tracing::warn!(
                        %error,
                        "the kernel refuses to accept; accepting rests and resumes by itself"
                    );
                }
                self.rest = Some(Rest { until: now.after(length), length });
            }
            Errno::EINVAL | Errno::EBADF | Errno::ENOTSOCK | Errno::EOPNOTSUPP => {
                armed.broken = true;
                tracing::error!(%error, listener = listener.0, "a passive socket is unusable");
            }
            // Cancelled, or an error of the one client that was to come.
            _ => {}
        }
    }

    /// A connection is over: its permit comes back.
    pub fn vacated(&mut self) {
        self.permits += 1;
    }

    /// Clients that wait in the accept queues.
    pub fn waiting<R: Ring>(&self, ring: &R) -> u32 {
        let queue = |listener| ring.accept_queue(ListenerId(listener as u16)).unwrap_or(0);
        (0..self.armed.len()).map(queue).sum()
    }

    /// Stops accepting for good.
    pub fn stop<R: Ring>(&mut self, ring: &mut R) {
        self.stopping = true;
        self.say_hungry(false);
        self.cancel_all(ring);
    }

    /// Stopped, and the last accept is retired: no client can come any more. Gives all permits
    /// back that no connection holds.
    pub fn is_over(&mut self) -> bool {
        let over = self.stopping && self.nothing_armed();
        if over {
            self.budget.give_back(std::mem::take(&mut self.permits));
        }
        over
    }

    /// When [`Admission::arm`] wants to be called next though nothing completes.
    pub fn next_look(&self) -> Option<Millis> {
        match self.rest {
            _ if self.stopping => None,
            Some(rest) => Some(rest.until),
            None => (self.mode == Mode::Scarce).then_some(self.look),
        }
    }

    /// Brings the armed accepts in line with permits, slots and rests. Called once a turn.
    pub fn arm<R: Ring>(&mut self, ring: &mut R, now: Millis) {
        if self.stopping || self.rest.is_some_and(|rest| now < rest.until) {
            return;
        }
        let burst = ring.accept_burst();
        self.balance_permits(burst);
        if self.mode == Mode::Changing {
            if !self.nothing_armed() {
                return;
            }
            ring.retarget_accepts();
            self.mode = self.choose(ring, now);
        }
        match self.mode {
            Mode::Multishot if self.pinches() || self.cover(ring) < KEEP_BURSTS * burst => {
                self.cancel_all(ring);
            }
            Mode::Credits if self.pinches() || self.could_cover(ring) >= ARM_BURSTS * burst => {
                self.cancel_all(ring);
            }
            Mode::Multishot => self.arm_multishot(ring),
            Mode::Credits => self.arm_credits(ring),
            Mode::Scarce => self.arm_for_the_waiting(ring, now),
            Mode::Changing => {}
        }
    }

    /// How to accept from now on.
    fn choose<R: Ring>(&mut self, ring: &R, now: Millis) -> Mode {
        let listeners = self.armed.len() as u32;
        if self.pinches() || self.cover(ring) < listeners {
            self.pinched = now;
            return Mode::Scarce;
        }
        let open_water = self.cover(ring) >= ARM_BURSTS * ring.accept_burst();
        if open_water { Mode::Multishot } else { Mode::Credits }
    }

    /// Clients that permits and slots cover where accepts land now.
    fn cover<R: Ring>(&self, ring: &R) -> u32 {
        self.permits.min(ring.accept_room())
    }

    /// And where they could land.
    fn could_cover<R: Ring>(&self, ring: &R) -> u32 {
        self.permits.min(ring.best_accept_room())
    }

    /// Some worker has clients waiting and no permits, so none may lie idle here.
    fn pinches(&self) -> bool {
        self.budget.anyone_hungry()
    }

    fn say_hungry(&mut self, hungry: bool) {
        if self.hungry != hungry {
            self.hungry = hungry;
            self.budget.set_hungry(self.worker, hungry);
        }
    }

    fn arm_multishot<R: Ring>(&mut self, ring: &mut R) {
        for (listener, armed) in self.armed.iter_mut().enumerate() {
            if armed.count == 0 && !armed.broken {
                *armed = Armed { count: 1, cancelled: false, ..*armed };
                ring.accept(ListenerId(listener as u16), AcceptMode::Multishot);
            }
        }
    }

    /// Spreads what permits and slots allow evenly over the listeners.
    fn arm_credits<R: Ring>(&mut self, ring: &mut R) {
        let usable = self.armed.iter().filter(|armed| !armed.broken).count() as u32;
        if usable == 0 {
            return;
        }
        let mut left = self.cover(ring).saturating_sub(self.outstanding());
        let share = ((left + self.outstanding()).div_ceil(usable)).min(MAX_CREDITS);
        let mut short = false;
        for listener in self.in_turn() {
            let wanted = share.saturating_sub(self.armed[listener].count).min(left);
            left -= wanted;
            self.arm_singles(ring, listener, wanted);
            short |= self.armed[listener].count == 0;
        }
        if short {
            // A listener without a credit would not be heard: look at the queues instead.
            self.cancel_all(ring);
        }
    }

    /// Arms a credit for each client that waits, and for nobody else.
    fn arm_for_the_waiting<R: Ring>(&mut self, ring: &mut R, now: Millis) {
        if now < self.look && !(self.hungry && self.budget.free() > 0) {
            return;
        }
        self.look = now.after(LOOK);
        if self.nothing_armed() {
            ring.retarget_accepts();
        }
        let mut unmet = false;
        for listener in self.in_turn() {
            let waiting = ring.accept_queue(ListenerId(listener as u16)).unwrap_or(0);
            let armed = self.armed[listener].count;
            if waiting == 0 && armed > 0 {
                // It was armed for a client that is gone.
                self.cancel(ring, listener);
            }
            let wanted = waiting.min(MAX_CREDITS).saturating_sub(armed);
            let granted = self.lease_for(ring, wanted);
            self.arm_singles(ring, listener, granted);
            unmet |= granted < wanted;
        }
        if unmet && ring.best_accept_room() > self.outstanding() {
            let before = self.hungry;
            self.say_hungry(true);
            if !before && self.budget.free() > 0 {
                self.look = now; // Somebody gave back in between.
            }
        } else {
            self.say_hungry(false);
        }
        if self.pinches() {
            self.pinched = now;
        } else if now.since(self.pinched) > CALM && self.has_plenty(ring) {
            self.cancel_all(ring);
        }
    }

    /// Enough permits and slots for several credits to lie ready on each listener.
    fn has_plenty<R: Ring>(&self, ring: &R) -> bool {
        self.fair_share().min(ring.best_accept_room()) >= 4 * self.armed.len() as u32
    }

    /// Permits and slots for `wanted` more credits, or as many as there are.
    fn lease_for<R: Ring>(&mut self, ring: &R, wanted: u32) -> u32 {
        let outstanding = self.outstanding();
        let missing = (outstanding + wanted).saturating_sub(self.permits);
        self.permits += self.budget.lease(missing);
        self.cover(ring).saturating_sub(outstanding).min(wanted)
    }

    fn arm_singles<R: Ring>(&mut self, ring: &mut R, listener: usize, count: u32) {
        let armed = &mut self.armed[listener];
        if armed.broken {
            return;
        }
        armed.cancelled &= armed.count > 0;
        armed.count += count;
        for _ in 0..count {
            ring.accept(ListenerId(listener as u16), AcceptMode::Single);
        }
    }

    /// Every listener, another one first each time.
    fn in_turn(&mut self) -> impl Iterator<Item = usize> + use<> {
        let many = self.armed.len();
        self.turn = (self.turn + 1) % many.max(1);
        let first = self.turn;
        (0..many).map(move |step| (first + step) % many)
    }

    fn outstanding(&self) -> u32 {
        self.armed.iter().map(|armed| armed.count).sum()
    }

    /// Cancels every accept; [`Admission::arm`] goes on when the last is retired.
    fn cancel_all<R: Ring>(&mut self, ring: &mut R) {
        self.mode = Mode::Changing;
        for listener in 0..self.armed.len() {
            self.cancel(ring, listener);
        }
    }

    fn cancel<R: Ring>(&mut self, ring: &mut R, listener: usize) {
        let armed = &mut self.armed[listener];
        if armed.count > 0 && !armed.cancelled {
            armed.cancelled = true;
            ring.cancel_accepts(ListenerId(listener as u16));
        }
    }

    fn nothing_armed(&self) -> bool {
        self.outstanding() == 0
    }

    fn fair_share(&self) -> u32 {
        (self.budget.free() + self.permits).div_ceil(self.budget.workers())
    }

    /// Leases what the next turns may need and gives back what they will not.
    fn balance_permits(&mut self, burst: u32) {
        let armed = self.outstanding();
        let (wanted, slack) = match self.mode {
            // Nothing lies idle: what is armed is covered, and no more.
            Mode::Scarce => (armed, 0),
            Mode::Changing if self.pinches() => (armed, 0),
            _ => (self.fair_share().min((ARM_BURSTS + 1) * burst), burst),
        };
        // An armed multishot accept may bring two bursts before its cancel has worked.
        let bound = match self.mode {
            Mode::Scarce | Mode::Credits => armed,
            Mode::Multishot | Mode::Changing if armed > 0 => KEEP_BURSTS * burst + armed,
            Mode::Multishot | Mode::Changing => 0,
        };
        if self.permits < wanted {
            self.permits += self.budget.lease(wanted - self.permits);
        } else if self.permits > wanted.max(bound) + slack {
            let surplus = self.permits - wanted.max(bound);
            self.permits -= surplus;
            self.budget.give_back(surplus);
        }
    }

    /// Once a second: a listener that has clients in its queue, accepts armed and nobody heard for
    /// two checks has lost its accept. Accepts are cancelled and armed anew.
    pub fn check_silence<R: Ring>(&mut self, ring: &mut R) {
        let mut rearm = false;
        for (listener, armed) in self.armed.iter_mut().enumerate() {
            let silent = !std::mem::take(&mut armed.heard) && armed.count > 0;
            let waiting = silent && ring.accept_queue(ListenerId(listener as u16)).unwrap_or(0) > 0;
            if waiting && armed.suspected {
                self.counters.accepts_rearmed.add(1);
                rearm = true;
            }
            armed.suspected = waiting && !armed.suspected;
            // A cancel may have missed an accept: it may be asked for again.
            armed.cancelled = false;
        }
        if !self.stopping && (rearm || self.mode == Mode::Changing) {
            self.cancel_all(ring);
        }
    }
}
