//! Who is let in: permits before clients, multishot in open water, exact credits near a limit.
//!
//! A multishot accept brings whatever is queued, up to a burst per turn, and no cancel can stop what
//! the kernel has begun. So it is armed only while permits and slots cover three bursts, and
//! cancelled when they cover fewer than two: one for the turn in which the cancel travels, one to
//! spare. Below that every accept is a credit: one client, one permit, one slot.

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
    /// This worker's part of the budget while it is plentiful: 1 / `workers`.
    workers: u32,
    mode: Mode,
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
    /// Admission over `listeners` passive sockets, one of `workers` that share the budget.
    pub fn new(
        budget: Arc<Budget>,
        counters: Arc<WorkerCounters>,
        workers: u32,
        listeners: usize,
    ) -> Admission {
        Admission {
            budget,
            counters,
            permits: 0,
            workers,
            mode: Mode::Changing,
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

    /// Stops accepting for good.
    pub fn stop<R: Ring>(&mut self, ring: &mut R) {
        self.stopping = true;
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

    /// Brings the armed accepts in line with permits, slots and rests. Called once a turn.
    pub fn arm<R: Ring>(&mut self, ring: &mut R, now: Millis) {
        if self.stopping || self.rest.is_some_and(|rest| now < rest.until) {
            return;
        }
        let burst = ring.accept_burst();
        self.balance_permits(burst);
        let open_water = ARM_BURSTS * burst;
        let cover = self.permits.min(ring.accept_room());
        let could_cover = self.permits.min(ring.best_accept_room());
        match self.mode {
            Mode::Multishot if cover < KEEP_BURSTS * burst => return self.cancel_all(ring),
            Mode::Credits if cover.max(could_cover) >= open_water => return self.cancel_all(ring),
            Mode::Credits if ring.accept_room() == 0 && ring.best_accept_room() > 0 => {
                return self.cancel_all(ring);
            }
            Mode::Changing => {
                if !self.nothing_armed() {
                    return;
                }
                ring.retarget_accepts();
                let cover = self.permits.min(ring.accept_room());
                self.mode = if cover >= open_water { Mode::Multishot } else { Mode::Credits };
            }
            _ => {}
        }
        match self.mode {
            Mode::Multishot => self.arm_multishot(ring),
            _ => self.arm_credits(ring),
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
        let outstanding: u32 = self.armed.iter().map(|armed| armed.count).sum();
        let mut left = self.permits.min(ring.accept_room()).saturating_sub(outstanding);
        let share = ((left + outstanding).div_ceil(usable)).min(MAX_CREDITS);
        self.turn = (self.turn + 1) % self.armed.len();
        for step in 0..self.armed.len() {
            let listener = (self.turn + step) % self.armed.len();
            let armed = &mut self.armed[listener];
            if armed.broken {
                continue;
            }
            armed.cancelled &= armed.count > 0;
            let wanted = share.saturating_sub(armed.count).min(left);
            for _ in 0..wanted {
                ring.accept(ListenerId(listener as u16), AcceptMode::Single);
            }
            armed.count += wanted;
            left -= wanted;
        }
    }

    /// Cancels every accept; [`Admission::arm`] goes on when the last is retired.
    fn cancel_all<R: Ring>(&mut self, ring: &mut R) {
        self.mode = Mode::Changing;
        for (listener, armed) in self.armed.iter_mut().enumerate() {
            if armed.count > 0 && !armed.cancelled {
                armed.cancelled = true;
                ring.cancel_accepts(ListenerId(listener as u16));
            }
        }
    }

    fn nothing_armed(&self) -> bool {
        self.armed.iter().all(|armed| armed.count == 0)
    }

    /// Leases what the next turns may need and gives back what they will not.
    fn balance_permits(&mut self, burst: u32) {
        let fair = (self.budget.free() + self.permits).div_ceil(self.workers);
        let wanted = (ARM_BURSTS * burst + burst).min(fair);
        if self.permits < wanted {
            self.permits += self.budget.lease(wanted - self.permits);
        } else if self.permits > wanted + burst {
            // What is armed already stays covered: wanted is never below what it needs, because
            // multishot needs three bursts and a credit is counted in `permits` until it is used.
            let outstanding: u32 = self.armed.iter().map(|armed| armed.count).sum();
            let needed = wanted.max(outstanding).max(KEEP_BURSTS * burst);
            let surplus = self.permits.saturating_sub(needed);
            self.permits -= surplus;
            self.budget.give_back(surplus);
        }
    }

    /// Once a second: a listener that has clients in its queue, accepts armed and nobody heard for
    /// two checks has lost its accept. Accepts are cancelled and armed anew.
    pub fn check_silence<R: Ring>(&mut self, ring: &mut R) {
        let starved = self.mode == Mode::Credits && self.armed.iter().any(|armed| armed.count == 0);
        let mut rearm = false;
        for (listener, armed) in self.armed.iter_mut().enumerate() {
            let heard = std::mem::take(&mut armed.heard);
            let quiet = !heard && !armed.broken && (armed.count > 0 || starved);
            let waiting = quiet && ring.accept_queue(ListenerId(listener as u16)).unwrap_or(0) > 0;
            if waiting && armed.suspected {
                self.counters.accepts_rearmed.add(1);
                rearm = true;
            }
            armed.suspected = waiting && !armed.suspected;
            if armed.cancelled && armed.count > 0 {
                armed.cancelled = false; // The cancel missed one: ask again.
            }
        }
        if rearm || (self.mode == Mode::Changing && !self.nothing_armed()) {
            self.cancel_all(ring);
        }
    }
}
