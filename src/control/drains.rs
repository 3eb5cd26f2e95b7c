//! The drains under way, and what the loop is asked about the drain of the process.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::{ListenerId, Millis, ServerId};
use crate::metrics::reading::DrainProgress;
use crate::topology::Topology;
use crate::worker::{Account, Pace, Part};

/// A drain under way.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Whom it means.
    pub of: Of,
    /// What people call it.
    pub name: String,
    /// When the first connection may be closed: the grace is over.
    pub begins: Millis,
    /// The end of its time.
    pub deadline: Millis,
    /// The most connections per second, if an operator said so.
    pub rate: Option<u32>,
    /// How far the workers are.
    pub account: Arc<Account>,
    /// What it has changed, for a cancel.
    pub undo: Undo,
}

impl Drain {
    /// To what its events happen.
    pub(super) fn subject(&self) -> &str {
        let prefixes = [SHARE_OF, DOWN];
        let part = prefixes.iter().find_map(|prefix| self.name.strip_prefix(prefix));
        let part = part.unwrap_or(&self.name);
        if part.contains('/') { part } else { "gateway" }
    }

    /// What is said of it, with what it drains where the subject does not say so.
    pub(super) fn said(&self, words: &str) -> String {
        match self.of {
            Of::Process | Of::Part(_, 100) => words.to_owned(),
            Of::Part(_, share) => format!("{share} %: {words}"),
            Of::Down(_) => format!("connections of a server that is down: {words}"),
            Of::Removed => format!("what a change removed: {words}"),
            Of::Overdue => format!("what a shorter timeout made overdue: {words}"),
        }
    }
}

/// How the name of a drain of a share of a part begins.
pub(super) const SHARE_OF: &str = "share of ";

/// How the name of a drain of a server that is down begins.
pub(super) const DOWN: &str = "down ";

/// Whose connections a drain closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Everybody's: the process ends.
    Process,
    /// So many in a hundred of those of a part, which gets new ones or not.
    Part(Part, u8),
    /// Those of a server that checks found down.
    Down(ServerId),
    /// Those on what a reload took away.
    Removed,
    /// Those that a reload made overdue.
    Overdue,
}

impl Of {
    /// The server whose drain it is.
    pub fn server(self) -> Option<ServerId> {
        match self {
            Of::Part(Part::Server(id), _) => Some(id),
            _ => None,
        }
    }
}

/// What a drain of a part has changed, so that the part gets no new connections.
#[derive(Clone, Debug, Default)]
pub struct Undo {
    /// A listener that it has paused.
    pub paused: Option<ListenerId>,
    /// Servers that had a weight.
    pub drained: Vec<ServerId>,
}

/// How fast a drain is to go, as an operator asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    /// Evenly over this time.
    pub over: Option<Duration>,
    /// No more than so many per second.
    pub rate: Option<u32>,
}

impl Speed {
    /// How closes follow each other. With both, closes are even and the rate bounds them.
    pub fn pace(self) -> Pace {
        match (self.over, self.rate) {
            (Some(_), _) => Pace::Even,
            (None, Some(_)) => Pace::Rate,
            (None, None) => Pace::Brisk,
        }
    }

    /// The time for so many connections: what was asked for, `usual` without that, and longer
    /// where the rate needs longer.
    pub fn time(self, open: u64, usual: Duration) -> Duration {
        let least = self.rate.map(|rate| Duration::from_secs(open) / rate.max(1));
        self.over.unwrap_or(usual).max(least.unwrap_or_default())
    }
}

/// How the process is to be drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// How fast.
    pub speed: Speed,
    /// For how long new clients are still served; `None`: as the config says.
    pub grace: Option<Duration>,
}

/// A request that the loop carries out. The answer is why not.
#[derive(Debug)]
pub enum Ask {
    /// Drain the process.
    Drain(Leave, oneshot::Sender<Result<(), String>>),
    /// Cancel that.
    Cancel(oneshot::Sender<Result<(), String>>),
    /// A successor has everything: end, and touch nothing.
    Succeeded,
}

/// Every drain under way. Only the control thread takes the lock while the gateway runs.
#[derive(Debug, Default)]
pub struct Drains(Mutex<Vec<Drain>>);

impl Drains {
    fn all(&self) -> MutexGuard<'_, Vec<Drain>> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// One more.
    pub fn begin(&self, drain: Drain) {
        self.all().push(drain);
    }

    /// The drain of these, if one is under way.
    pub fn find(&self, is_it: impl Fn(Of) -> bool) -> Option<Drain> {
        self.all().iter().find(|one| is_it(one.of) && is_under_way(one)).cloned()
    }

    /// The drain of the process, from its request on.
    pub fn process(&self) -> Option<Drain> {
        self.find(|of| of == Of::Process)
    }

    /// Another end of the process's drain: what it was asked for holds from the end of the grace.
    pub fn set_deadline(&self, deadline: Millis) {
        let mut all = self.all();
        let process = all.iter_mut().filter(|one| one.of == Of::Process);
        process.for_each(|one| one.deadline = deadline);
    }

    /// It is cancelled.
    pub fn end(&self, account: &Arc<Account>) {
        self.all().retain(|one| !Arc::ptr_eq(&one.account, account));
    }

    /// Takes out those that are over.
    pub fn take_over(&self) -> Vec<Drain> {
        self.all().extract_if(.., |one| !is_under_way(one)).collect()
    }

    /// Takes out those whose part this topology does not have: a removal goes on with theirs.
    pub fn take_gone(&self, topology: &Topology) -> Vec<Drain> {
        let is_gone = |one: &mut Drain| match one.of {
            Of::Part(Part::Listener(id), _) => topology.listeners.get(id).is_none(),
            Of::Part(Part::Server(id), _) | Of::Down(id) => topology.servers.get(id).is_none(),
            Of::Part(Part::Upstream(id), _) => topology.upstreams.get(id).is_none(),
            Of::Part(Part::Whole, _) | Of::Process | Of::Removed | Of::Overdue => false,
        };
        self.all().extract_if(.., is_gone).collect()
    }

    /// Drains of parts, of which a reload may take the file's word.
    pub fn of_parts(&self) -> Vec<Drain> {
        let all = self.all();
        all.iter().filter(|one| matches!(one.of, Of::Part(..))).cloned().collect()
    }

    /// How far each is. `open` connections are there; those of one name count as one.
    pub fn progress(&self, now: Millis, open: u64) -> Vec<DrainProgress> {
        let mut seen: Vec<DrainProgress> = Vec::new();
        for drain in self.all().iter().filter(|one| is_under_way(one)) {
            let one = progress(drain, now, open);
            match seen.iter_mut().find(|other| other.name == one.name) {
                Some(other) => {
                    other.left += one.left;
                    other.ended += one.ended;
                    other.per_second += one.per_second;
                    other.seconds_left = other.seconds_left.max(one.seconds_left);
                }
                None => seen.push(one),
            }
        }
        seen
    }
}

/// The drain of the process goes on to its end, whatever the workers still do for it.
fn is_under_way(drain: &Drain) -> bool {
    drain.of == Of::Process || !drain.account.is_over()
}

fn progress(drain: &Drain, now: Millis, open: u64) -> DrainProgress {
    let standing = drain.account.standing();
    let until_deadline = drain.deadline.since(now);
    let time_left = match standing.time_left {
        Some(left) if drain.of != Of::Process => left,
        // Connections that are ending, and clients in the queues, take their time, too.
        Some(left) if open > 0 || standing.left > 0 => left.min(until_deadline),
        Some(_) => Duration::ZERO,
        None => until_deadline,
    };
    DrainProgress {
        name: drain.name.clone(),
        left: if drain.of == Of::Process { open } else { standing.left },
        ended: standing.ended,
        per_second: standing.per_second,
        seconds_left: time_left.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(of: Of, name: &str) -> (Drain, Vec<crate::worker::Line>) {
        let (account, lines) = Account::open(1, None, Millis(0));
        let (begins, deadline) = (Millis(0), Millis(10_000));
        let (name, undo) = (name.to_owned(), Undo::default());
        (Drain { of, name, begins, deadline, rate: None, account, undo }, lines)
    }

    #[test]
    fn the_slower_of_time_and_rate_wins() {
        let usual = Duration::from_secs(25);
        let speed = |over: Option<u64>, rate| Speed { over: over.map(Duration::from_secs), rate };
        for (over, rate, pace, seconds) in [
            (None, None, Pace::Brisk, 25),
            (Some(600), None, Pace::Even, 600),
            (None, Some(500), Pace::Rate, 25),
            (None, Some(10), Pace::Rate, 100),
            (Some(600), Some(500), Pace::Even, 600),
            (Some(60), Some(5), Pace::Even, 200),
        ] {
            let speed = speed(over, rate);
            assert_eq!(speed.pace(), pace);
            assert_eq!(speed.time(1_000, usual), Duration::from_secs(seconds), "{speed:?}");
        }
    }

    #[test]
    fn a_drain_shows_until_it_is_over_and_removals_show_as_one() {
        let drains = Drains::default();
        let (one, first) = drain(Of::Removed, "removed");
        let (other, second) = drain(Of::Removed, "removed");
        let (process, lines) = drain(Of::Process, "process");
        [one, other, process].into_iter().for_each(|drain| drains.begin(drain));
        let shown = |open| {
            let all = drains.progress(Millis(4_000), open).into_iter();
            all.map(|one| (one.name, one.left, one.seconds_left)).collect::<Vec<_>>()
        };
        let process = |left| ("process".to_owned(), left, 6.0);
        assert_eq!(shown(9), [("removed".to_owned(), 0, 6.0), process(9)]);
        drop(first);
        assert_eq!(drains.take_over().len(), 1);
        drop((second, lines));
        assert_eq!(shown(0), [("process".to_owned(), 0, 0.0)]);
        assert_eq!(drains.take_over().len(), 1);
        drains.end(&drains.process().expect("it goes on").account);
        assert!(drains.process().is_none());
    }
}
