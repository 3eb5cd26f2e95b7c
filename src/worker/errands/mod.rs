//! Errands: visits to many connections, in bounded steps, while the worker serves the others.
//!
//! Every errand is a variant of [`Errand`], and all are run the same way. Once a turn
//! (`Worker::run_errands`) each does one bounded step through [`Reach`], the only way from an
//! errand to its worker, and says when it wants to go on ([`Step`]). [`Errands::next`] is the
//! earliest of these moments, and a limit of the worker's sleep. An idle worker pays for the check
//! of an empty list. `worker/mailbox.rs` turns orders into errands.
//!
//! | errand  | begun by         | visits                      | pace                 | then   |
//! |---------|------------------|-----------------------------|----------------------|--------|
//! | `Scan`  | `Order::Scan`    | every slot, or ids named    | 512 visits a step    | `Kill` |
//! | `Kill`  | a scan           | the ids that a scan chose   | 1,000 ends a second  |        |
//! | `Drain` | `Order::Drain`   | all, the longest idle first | even over its window | `Stop` |
//! | `Drain` | `Order::Drain`   | a part, or a share of it    | even, or by a rate   |        |
//! | `Drain` | `Order::EndLeft` | what left the topology      | even over its window |        |
//! | `Drain` | `Order::Adopt`   | those overdue by a timeout  | even over its window |        |
//! | `Evict` | waiting clients  | the longest idle first      | by the limit's size  |        |
//! | `Stop`  | `Order::Stop`    | every slot                  | 1,024 ends a step    |        |
//!
//! A connection is judged when an errand reaches it, by what it is then. What an errand keeps (a
//! list of ids, an order of slots) says only where to go.
//!
//! A new errand takes a file with a struct and its `step`, a variant of [`Errand`] with an arm in
//! each match below, and a `begin_…` in [`Errands`] that an order or the worker calls. It needs no
//! field of the worker and no line in its loop:
//!
//! - A handover visits as a drain does. Where a drain ends a connection, it exports one, for which
//!   [`Reach`] gets one more method.

mod account;
mod drain;
mod evict;
mod kill;
mod list;
mod pace;
mod reach;
mod scan;
mod step;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ConnIndex, Millis};
use crate::ring::{FourTuple, Token};
use crate::worker::limit::Limit;
use crate::worker::question::{Purpose, Reply, Task};
pub use account::{Account, Line, Standing};
use drain::Drain;
pub use drain::Whom;
use evict::Evict;
use kill::Kill;
pub use pace::Pace;
pub use reach::{Activity, Part, Reach};
use scan::Scan;
use step::Step;
use stop::Stop;

/// An errand under way.
#[derive(Debug)]
pub enum Errand {
    /// Looks for connections, to show or to kill them.
    Scan(Box<Scan>),
    /// Ends those chosen.
    Kill(Box<Kill>),
    /// Ends all, a part, or those that left the topology, at a pace.
    Drain(Box<Drain>),
    /// Ends idle ones for clients that wait at a limit.
    Evict(Box<Evict>),
    /// Ends all, now.
    Stop(Stop),
}

impl Errand {
    /// Carries the errand on by one step. Says what is left to do, and when.
    pub fn step<R: Reach>(mut self, reach: &mut R) -> Option<Running> {
        let step = match &mut self {
            Errand::Scan(scan) => scan.step(reach),
            Errand::Kill(kill) => kill.step(reach),
            Errand::Drain(drain) => drain.step(reach),
            Errand::Evict(evict) => evict.step(reach),
            Errand::Stop(stop) => stop.step(reach),
        };
        match step {
            Step::At(moment) => Some(Running { errand: self, next: Some(moment) }),
            Step::Waits => Some(Running { errand: self, next: None }),
            Step::Over => self.successor(reach.now())?.step(reach),
        }
    }

    /// The errand that follows one that is over.
    fn successor(self, now: Millis) -> Option<Errand> {
        match self {
            Errand::Scan(scan) => {
                scan.finish().map(|chosen| Errand::Kill(Box::new(Kill::new(chosen, now))))
            }
            Errand::Kill(kill) => {
                kill.answer();
                None
            }
            Errand::Drain(drain) => match drain.whom() {
                Whom::All => Some(Errand::Stop(Stop::new())),
                Whom::Left | Whom::Overdue | Whom::Part(..) => None,
            },
            Errand::Evict(_) | Errand::Stop(_) => None,
        }
    }

    fn farewell(&self) -> Farewell {
        match self {
            Errand::Scan(_) | Errand::Kill(_) | Errand::Evict(_) => Farewell::No,
            Errand::Drain(drain) => match drain.whom() {
                Whom::All => Farewell::Draining,
                Whom::Left | Whom::Overdue | Whom::Part(..) => Farewell::No,
            },
            Errand::Stop(_) => Farewell::Stopping,
        }
    }

    /// It is a drain for which the worker still accepts.
    fn accepts(&self) -> bool {
        matches!(self, Errand::Drain(drain) if drain.accepts())
    }

    /// The worker is at its end: a kill says what it has done, the others have no answer.
    fn abandon(self) {
        match self {
            Errand::Kill(kill) => kill.answer(),
            Errand::Scan(_) | Errand::Drain(_) | Errand::Evict(_) | Errand::Stop(_) => {}
        }
    }
}

/// An errand between two steps.
#[derive(Debug)]
pub struct Running {
    errand: Errand,
    /// When it wants to go on; `None`: when something completes.
    next: Option<Millis>,
}

/// A drain, as one worker is to carry it out.
#[derive(Debug)]
pub struct DrainOrder {
    /// Whose connections it closes.
    pub whom: Whom,
    /// How the closes follow each other.
    pub pace: Pace,
    /// Over this time.
    pub within: Duration,
    /// Where the worker says how far it is.
    pub line: Line,
}

/// How far a worker's farewell is. It goes on, but for a drain that is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Farewell {
    /// The worker stays.
    #[default]
    No,
    /// Connections are closed at a pace.
    Draining,
    /// Every connection is ended.
    Stopping,
}

/// All errands of a worker: at most one scan, one kill, one farewell (a drain of all or a stop),
/// few drains of what left the topology or is overdue, one drain of each part and one eviction for
/// each limit.
#[derive(Debug, Default)]
pub struct Errands {
    /// In the order in which they take their steps.
    list: VecDeque<Running>,
    farewell: Farewell,
    /// Clients that came during a farewell, for its next step: at most those of one turn.
    arrivals: Vec<ConnIndex>,
}

impl Errands {
    /// How many are under way.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Takes out the errand that has waited longest for a step, for [`Errands::keep`] after it.
    pub fn take(&mut self) -> Option<Errand> {
        self.list.pop_front().map(|running| running.errand)
    }

    /// Keeps an errand that has more to do.
    pub fn keep(&mut self, running: Running) {
        self.farewell = self.farewell.max(running.errand.farewell());
        self.list.push_back(running);
    }

    fn begin(&mut self, errand: Errand, now: Millis) {
        self.keep(Running { errand, next: Some(now) });
    }

    /// When the first of them wants to go on though nothing completes.
    pub fn next(&self) -> Option<Millis> {
        self.list.iter().filter_map(|running| running.next).min()
    }

    /// How far the farewell is.
    pub fn farewell(&self) -> Farewell {
        self.farewell
    }

    /// Begins a scan, unless another one is under way, or a kill while this is for another.
    pub fn begin_scan(&mut self, task: Task, now: Millis) {
        let is_in_the_way = |errand: &Errand| match errand {
            Errand::Scan(_) => true,
            Errand::Kill(_) => task.purpose == Purpose::Kill,
            Errand::Drain(_) | Errand::Evict(_) | Errand::Stop(_) => false,
        };
        if self.list.iter().any(|running| is_in_the_way(&running.errand)) {
            // The asker may be gone; then nobody needs the answer.
            let _ = task.reply.send(Reply::Busy);
            return;
        }
        self.begin(Errand::Scan(Box::new(Scan::new(task, now))), now);
    }

    /// Begins a drain, of all or of a part, of about `open` connections. If it is of all, no
    /// farewell may be under way.
    pub fn begin_drain(&mut self, order: DrainOrder, open: u32, now: Millis) {
        let DrainOrder { whom, pace, within, line } = order;
        let is_farewell = whom == Whom::All;
        assert!(!is_farewell || self.farewell == Farewell::No, "a farewell is not begun twice");
        let drain = Drain::new(whom, pace, line, open, now, now.after(within));
        self.begin(Errand::Drain(Box::new(drain)), now);
    }

    /// Begins to drain the connections that are left of what the topology no longer has, until
    /// `deadline`, or hands them to such a drain that has only begun.
    pub fn begin_removal(&mut self, line: Line, now: Millis, deadline: Millis) {
        self.begin_part(Whom::Left, line, now, deadline);
    }

    /// Begins to end the connections that a lowered timeout has made overdue, until `deadline`; the
    /// deadlines of the others are set again. Or hands them to such an errand that has only begun.
    pub fn begin_overdue(&mut self, line: Line, now: Millis, deadline: Millis) {
        self.begin_part(Whom::Overdue, line, now, deadline);
    }

    fn begin_part(&mut self, whom: Whom, line: Line, now: Millis, deadline: Millis) {
        let young = self.list.iter_mut().find_map(|running| match &mut running.errand {
            Errand::Drain(drain) if drain.whom() == whom && drain.is_young(now) => {
                running.next = Some(now);
                Some(drain)
            }
            _ => None,
        });
        match young {
            Some(drain) => drain.look_again(line),
            None => {
                let drain = Drain::new(whom, Pace::Brisk, line, 0, now, deadline);
                self.begin(Errand::Drain(Box::new(drain)), now);
            }
        }
    }

    /// Begins to evict at a limit, unless an errand for it is under way.
    pub fn begin_eviction(&mut self, limit: &Limit, now: Millis) {
        let is_for = |errand: &Errand| matches!(errand, Errand::Evict(one) if one.is_for(limit));
        if !self.list.iter().any(|running| is_for(&running.errand)) {
            self.begin(Errand::Evict(Box::new(Evict::new(limit.clone(), now))), now);
        }
    }

    /// Forgets the evictions: a limit, or what may be evicted there, is no longer what it was.
    /// Where clients wait they begin again.
    pub fn end_evictions(&mut self) {
        self.list.retain(|running| !matches!(running.errand, Errand::Evict(_)));
    }

    /// Ends the drain of this account; the connections that it has not closed stay. Says whether it
    /// was the worker's farewell, which is off then.
    pub fn cancel(&mut self, account: &Arc<Account>) -> bool {
        let is_it = |errand: &Errand| matches!(errand, Errand::Drain(one) if one.is_of(account));
        let Some(place) = self.list.iter().position(|running| is_it(&running.errand)) else {
            return false;
        };
        let cancelled = self.list.remove(place).expect("it is there");
        let was_farewell = cancelled.errand.farewell() == Farewell::Draining;
        if was_farewell {
            self.farewell = Farewell::No;
            self.arrivals.clear();
        }
        was_farewell
    }

    /// Begins a stop, in place of a drain. Says whether the worker still accepts.
    pub fn begin_stop(&mut self, now: Millis) -> bool {
        let accepts = match self.farewell {
            Farewell::No => true,
            Farewell::Draining => self.list.iter().any(|running| running.errand.accepts()),
            Farewell::Stopping => false,
        };
        self.list.retain(|running| running.errand.farewell() == Farewell::No);
        self.begin(Errand::Stop(Stop::new()), now);
        accepts
    }

    /// A client came: a farewell deals with it in its next step.
    pub fn arrived(&mut self, index: ConnIndex) {
        if self.farewell > Farewell::No {
            self.arrivals.push(index);
        }
    }

    /// The clients that came, once.
    pub fn take_arrivals(&mut self) -> Vec<ConnIndex> {
        std::mem::take(&mut self.arrivals)
    }

    /// Addresses were found, or could not be: perhaps a scan asked for them.
    pub fn addresses_found(&mut self, token: Token, found: Option<FourTuple>) {
        for running in &mut self.list {
            if let Errand::Scan(scan) = &mut running.errand {
                scan.addresses_found(token, found);
            }
        }
    }

    /// The worker is at its end. An asker without an answer hears that there is none.
    pub fn abandon(&mut self) {
        self.list.drain(..).for_each(|running| running.errand.abandon());
    }
}
