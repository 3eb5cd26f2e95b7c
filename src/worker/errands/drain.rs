//! Closes every connection in time: those idle the longest first, at an even pace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::pace::Spread;
use super::reach::{Activity, Reach};
use super::step::{ENDED_PER_STEP, Step, VISITED_PER_STEP};
use crate::base::{ConnIndex, Millis, Tick};
use crate::conn::Reason;

/// The share of the drain's time over which connections are closed; the rest is for their endings.
const WINDOW_TENTHS: u32 = 9;

/// The longest time between two closes: 50 clients a second that come back at once hurt nobody.
const LONGEST_INTERVAL: Duration = Duration::from_millis(20);

/// How long a connection is left alone after its accept, and after its last byte before the drain,
/// so that a client is served and not only accepted.
const SERVICE: Duration = Duration::from_secs(1);
/// The least of it, for clients who come near the end.
const LEAST_SERVICE: Duration = Duration::from_millis(500);

/// How often the accept queues are polled.
const QUEUE_POLL: Duration = Duration::from_millis(10);
/// How long they must stay empty before they count as served.
const QUIET_QUEUE: Duration = Duration::from_millis(200);

/// How far the pace may fall behind before active connections are closed in their turn too.
const LATE: Duration = Duration::from_millis(100);

/// A drain under way.
///
/// It lists the slots of all connections, in steps, each with its activity at that time, and then
/// visits them in this order. The list says only when to visit a slot. The connection found there
/// is judged by its activity now: one that was active since goes back behind those that were not.
/// A listed slot takes 8 bytes, each slot of the table a bit; no slot is listed twice, whatever
/// comes and goes. Each visit that closes nothing is paid for by a byte that moved since the last
/// visit of this slot.
#[derive(Debug)]
pub struct Drain {
    began: Millis,
    deadline: Millis,
    stage: Stage,
    list: List,
    pace: Spread,
    /// When the accept queues are polled next; `None`: the worker accepts no more.
    poll: Option<Millis>,
    quiet_since: Option<Millis>,
}

#[derive(Debug)]
enum Stage {
    /// Slots are being listed, from this one on.
    Listing(u32),
    /// Connections are being closed.
    Closing,
}

impl Drain {
    /// A drain from `now` to `deadline` of about `open` connections.
    pub fn new(open: u32, now: Millis, deadline: Millis) -> Drain {
        let window_end = now.after(deadline.since(now) * WINDOW_TENTHS / 10);
        Drain {
            began: now,
            deadline,
            stage: Stage::Listing(0),
            list: List::with_capacity(open as usize),
            pace: Spread::new(now, window_end, LONGEST_INTERVAL),
            poll: Some(now),
            quiet_since: None,
        }
    }

    /// Whether the worker still accepts, for this drain.
    pub fn accepts(&self) -> bool {
        self.poll.is_some()
    }

    /// Lists or closes a bounded number of connections. At the deadline it is over, and accepts no
    /// more.
    pub fn step<R: Reach>(&mut self, reach: &mut R) -> Step {
        if reach.now() >= self.deadline {
            if self.accepts() {
                reach.stop_accepting();
            }
            return Step::Over;
        }
        self.poll_queues(reach);
        self.list_arrivals(reach);
        let next = match self.stage {
            Stage::Listing(from) => self.list_from(reach, from),
            Stage::Closing => self.close_due(reach),
        };
        let next = self.poll.map_or(next, |poll| poll.min(next)).min(self.deadline);
        Step::At(next)
    }

    fn poll_queues<R: Reach>(&mut self, reach: &mut R) {
        let now = reach.now();
        if self.poll.is_none_or(|poll| now < poll) {
            return;
        }
        let can_serve = now.after(LEAST_SERVICE) < self.pace.end();
        let go_on = !self.queues_are_served(reach.queued_clients(), now) && can_serve;
        self.poll = go_on.then(|| now.after(QUEUE_POLL));
        if !go_on {
            reach.stop_accepting();
        }
    }

    /// Whether the accept queues have stayed empty for long enough; so many clients wait there now.
    fn queues_are_served(&mut self, waiting: u32, now: Millis) -> bool {
        if waiting > 0 {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert(now);
        now.since(since) >= QUIET_QUEUE
    }

    /// Lists clients that came late, out of an accept queue.
    fn list_arrivals<R: Reach>(&mut self, reach: &mut R) {
        let arrivals = reach.take_arrivals();
        for index in &arrivals {
            self.list_one(reach, *index);
        }
        if !arrivals.is_empty() && matches!(self.stage, Stage::Closing) {
            self.pace.fit(self.list.len(), reach.now());
        }
    }

    fn list_one<R: Reach>(&mut self, reach: &mut R, index: ConnIndex) {
        if let Some(activity) = reach.activity(index) {
            self.list.add(index, activity.last);
        }
    }

    /// Lists a bounded number of slots. Says when to go on.
    fn list_from<R: Reach>(&mut self, reach: &mut R, mut from: u32) -> Millis {
        for _ in 0..VISITED_PER_STEP {
            let Some(index) = reach.next_slot(from) else {
                self.stage = Stage::Closing;
                self.pace.over(self.list.len(), reach.now());
                return self.close_due(reach);
            };
            self.list_one(reach, index);
            from = index.0 + 1;
        }
        self.stage = Stage::Listing(from);
        reach.now()
    }

    /// Closes the connections whose turn has come, a bounded number. Says when to go on.
    fn close_due<R: Reach>(&mut self, reach: &mut R) -> Millis {
        for _ in 0..ENDED_PER_STEP {
            let Some((index, listed)) = self.list.first() else { return self.deadline };
            let turn = self.pace.turn();
            if reach.now() < turn {
                return turn;
            }
            let activity = reach.activity(index);
            if let Some(Activity { opened, last }) = activity {
                if last > listed && reach.now().since(turn) < LATE {
                    self.list.put_back(last);
                    continue;
                }
                let served = self.served(opened, listed);
                if served > turn {
                    // The pace waits for this one, and spreads the others over what is left.
                    self.pace.over(self.list.len(), served);
                    continue;
                }
            }
            self.list.take();
            self.pace.take();
            if activity.is_some() {
                reach.end(index, Reason::Drained);
            }
        }
        reach.now()
    }

    /// When a connection has been served for long enough. What it does during the drain does not
    /// count, else those that are always active would all be left for the end of the window.
    fn served(&self, opened: Millis, listed: Tick) -> Millis {
        let active = opened.max(listed.begins().min(self.began));
        active.after(SERVICE).min(self.pace.end())
    }
}

/// Slots to visit, the one with the oldest activity first.
#[derive(Debug)]
struct List {
    slots: BinaryHeap<Reverse<(Tick, ConnIndex)>>,
    /// A bit for each slot: it is in the list.
    has: Vec<u64>,
}

const _: () = assert!(size_of::<Reverse<(Tick, ConnIndex)>>() == 8);

impl List {
    fn with_capacity(many: usize) -> List {
        List { slots: BinaryHeap::with_capacity(many), has: Vec::new() }
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a slot, unless it is in the list already.
    fn add(&mut self, index: ConnIndex, active: Tick) {
        let (word, bit) = place(index);
        if word >= self.has.len() {
            self.has.resize(word + 1, 0);
        }
        if self.has[word] & bit == 0 {
            self.has[word] |= bit;
            self.slots.push(Reverse((active, index)));
        }
    }

    /// The slot to visit next, and the activity that it is listed with.
    fn first(&self) -> Option<(ConnIndex, Tick)> {
        self.slots.peek().map(|Reverse((active, index))| (*index, *active))
    }

    /// Moves the first slot to where its activity puts it now.
    fn put_back(&mut self, active: Tick) {
        if let Some(mut first) = self.slots.peek_mut() {
            first.0.0 = active;
        }
    }

    /// Takes the first slot out.
    fn take(&mut self) {
        if let Some(Reverse((_, index))) = self.slots.pop() {
            let (word, bit) = place(index);
            self.has[word] &= !bit;
        }
    }
}

/// A slot's word among the bits, and its bit there.
fn place(index: ConnIndex) -> (usize, u64) {
    ((index.0 / u64::BITS) as usize, 1 << (index.0 % u64::BITS))
}
