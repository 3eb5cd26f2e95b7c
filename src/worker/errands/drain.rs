//! Closes connections in time: those idle the longest first, at an even pace.

use std::sync::Arc;
use std::time::Duration;

use super::account::{Account, Line};
use super::list::List;
use super::pace::{Pace, Spread};
use super::reach::{Activity, Part, Reach};
use super::step::{ENDED_PER_STEP, Step, VISITED_PER_STEP};
use crate::base::{ConnIndex, Millis, Tick};
use crate::conn::Reason;

/// The part of the drain's time over which connections are closed; the rest is for their endings.
const WINDOW_TENTHS: u32 = 9;
/// The same where the drain's end ends nobody.
const WHOLE_TENTHS: u32 = 10;

/// The longest time between two closes: 50 clients a second that come back at once hurt nobody.
const LONGEST_INTERVAL: Duration = Duration::from_millis(20);

/// How long a connection is left alone after its accept, so that a client is served and not only
/// accepted, and after its last byte, so that what is on its way arrives.
const SERVICE: Duration = Duration::from_secs(1);
/// The part of the window after which a connection is closed in its turn though its bytes still
/// move. Before, time allows it to finish.
const SPARED_TENTHS: u32 = 7;
/// The least of it, for clients who come near the end.
const LEAST_SERVICE: Duration = Duration::from_millis(500);

/// How often the accept queues are polled.
const QUEUE_POLL: Duration = Duration::from_millis(10);
/// How long they must stay empty before they count as served.
const QUIET_QUEUE: Duration = Duration::from_millis(200);

/// The part of its time for which a drain takes on what leaves later, so that few go on at once.
const YOUTH: u32 = 8;

/// How far the pace may fall behind before active connections are closed in their turn too.
const LATE: Duration = Duration::from_millis(100);

/// Whose connections a drain closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Everybody's, those who wait in the accept queues included: the worker's farewell.
    All,
    /// Those that are on a route or a server which the topology no longer has.
    Left,
    /// Those that have been silent or open for longer than they may now: a timeout was lowered.
    Overdue,
    /// So many in a hundred of those that belong to a part, the longest idle.
    Part(Part, u8),
}

/// A drain under way.
///
/// It lists the slots of its connections, in steps, each with its activity at that time, and then
/// visits them in this order. The list says only when to visit a slot. The connection found there
/// is judged by its activity now: one that was active since goes back behind those that were not.
/// A listed slot takes 8 bytes, each slot of the table a bit; no slot is listed twice, whatever
/// comes and goes. Each visit that closes nothing is paid for by a byte that moved since the last
/// visit of this slot.
///
/// While all that are left move bytes it waits, for most of its window; then it closes them in
/// turn, too, evenly over what is left of it.
#[derive(Debug)]
pub struct Drain {
    whom: Whom,
    line: Line,
    began: Millis,
    /// From here on nobody is spared.
    spared_until: Millis,
    deadline: Millis,
    stage: Stage,
    list: List,
    /// How many of the list are to be closed; `None`: all.
    quota: Option<usize>,
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
    pub fn new(
        whom: Whom,
        pace: Pace,
        line: Line,
        open: u32,
        now: Millis,
        deadline: Millis,
    ) -> Drain {
        let tenths = if matches!(whom, Whom::Part(..)) { WHOLE_TENTHS } else { WINDOW_TENTHS };
        let window = deadline.since(now) * tenths / 10;
        let window_end = now.after(window);
        let longest = match pace {
            Pace::Brisk => LONGEST_INTERVAL,
            Pace::Even => window,
            Pace::Rate => Duration::ZERO,
        };
        Drain {
            whom,
            line,
            began: now,
            spared_until: now.after(window * SPARED_TENTHS / 10),
            deadline,
            stage: Stage::Listing(0),
            list: List::with_capacity(open as usize),
            quota: None,
            pace: Spread::new(now, window_end, longest),
            poll: (whom == Whom::All).then_some(now),
            quiet_since: None,
        }
    }

    /// Whose connections it closes.
    pub fn whom(&self) -> Whom {
        self.whom
    }

    /// Whether it has only begun: what leaves now can still be closed with the others.
    pub fn is_young(&self, now: Millis) -> bool {
        now.since(self.began) < self.deadline.since(self.began) / YOUTH
    }

    /// There are more connections to close: all slots are looked at once more. It goes on in this
    /// line of the account.
    pub fn look_again(&mut self, line: Line) {
        self.stage = Stage::Listing(0);
        self.line = line;
    }

    /// Whether it is a part of the drain of this account.
    pub fn is_of(&self, account: &Arc<Account>) -> bool {
        self.line.is_of(account)
    }

    /// How many are still to be closed, as far as they are listed.
    fn left(&self) -> usize {
        self.quota.map_or(self.list.len(), |quota| quota.min(self.list.len()))
    }

    /// Whether the worker still accepts, for this drain.
    pub fn accepts(&self) -> bool {
        self.poll.is_some()
    }

    /// Lists or closes a bounded number of connections. A farewell is over at the deadline, and
    /// accepts no more; a drain of some is over when none is left.
    pub fn step<R: Reach>(&mut self, reach: &mut R) -> Step {
        if self.whom == Whom::All && reach.now() >= self.deadline {
            if self.accepts() {
                reach.stop_accepting();
            }
            return Step::Over;
        }
        if self.whom == Whom::All {
            self.poll_queues(reach);
            self.list_arrivals(reach);
        }
        let next = match self.stage {
            Stage::Listing(from) => self.list_from(reach, from),
            Stage::Closing => self.close_due(reach),
        };
        let has_listed = matches!(self.stage, Stage::Closing);
        self.line.tell(self.left(), self.pace.interval(), has_listed);
        match (next, self.whom) {
            (next, Whom::All) => {
                let next = next.into_iter().chain(self.poll).fold(self.deadline, Millis::min);
                Step::At(next)
            }
            (Some(next), _) => Step::At(next),
            (None, _) => Step::Over,
        }
    }

    /// When the connection in a slot was active; `None`: there is none, or it is not ours to close.
    fn activity<R: Reach>(&self, reach: &mut R, index: ConnIndex) -> Option<Activity> {
        let activity = reach.activity(index)?;
        let is_meant = match self.whom {
            Whom::All => true,
            Whom::Left => reach.is_left(index),
            Whom::Overdue => reach.is_overdue(index),
            Whom::Part(part, _) => reach.is_of(index, part),
        };
        is_meant.then_some(activity)
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
            self.pace.fit(self.left(), reach.now());
        }
    }

    fn list_one<R: Reach>(&mut self, reach: &mut R, index: ConnIndex) {
        if let Some(activity) = self.activity(reach, index) {
            self.list.add(index, activity.last);
        }
    }

    /// Lists a bounded number of slots. Says when to go on; `None`: nobody is left to close.
    fn list_from<R: Reach>(&mut self, reach: &mut R, mut from: u32) -> Option<Millis> {
        for _ in 0..VISITED_PER_STEP {
            let Some(index) = reach.next_slot(from) else {
                self.stage = Stage::Closing;
                if let Whom::Part(_, share @ ..100) = self.whom {
                    self.quota = Some(self.line.share_of(self.list.len(), share));
                }
                self.pace.over(self.left(), reach.now());
                return self.close_due(reach);
            };
            self.list_one(reach, index);
            from = index.0 + 1;
        }
        self.stage = Stage::Listing(from);
        Some(reach.now())
    }

    /// Closes the connections whose turn has come, a bounded number. Says when to go on; `None`:
    /// nobody is left.
    fn close_due<R: Reach>(&mut self, reach: &mut R) -> Option<Millis> {
        for _ in 0..ENDED_PER_STEP {
            let (index, listed) = self.list.first().filter(|_| self.left() > 0)?;
            let (now, turn) = (reach.now(), self.pace.turn());
            if now < turn {
                return Some(turn);
            }
            let activity = self.activity(reach, index);
            if let Some(Activity { opened, last }) = activity {
                let is_late = now >= self.spared_until && now.since(turn) >= LATE;
                if last > listed && !is_late {
                    self.list.put_back(last);
                    continue;
                }
                // Nobody was silent for longer than this one.
                let served = self.served(opened, last);
                if served > now {
                    // The pace waits for this one, and spreads the others over what is left.
                    self.pace.over(self.left(), served);
                    continue;
                }
                if let Err(turn) = self.line.take_turn(now) {
                    return Some(turn);
                }
                self.line.count_end();
            }
            self.list.take();
            self.pace.take();
            // One that has left by itself is one of the share, too.
            self.quota = self.quota.map(|quota| quota - 1);
            match self.whom {
                _ if activity.is_none() => {}
                Whom::All | Whom::Left | Whom::Part(..) => reach.end(index, Reason::Drained),
                Whom::Overdue => reach.end_overdue(index),
            }
        }
        Some(reach.now())
    }

    /// When a connection has been served for long enough.
    fn served(&self, opened: Millis, last: Tick) -> Millis {
        let accepted = opened.after(SERVICE).min(self.pace.end());
        accepted.max(last.begins().after(SERVICE).min(self.spared_until))
    }
}
