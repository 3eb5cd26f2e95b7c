//! What the control planes of both processes tell their workers, and each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::base::Millis;
use portcullis::courier::Link;
use portcullis::topology::{Elsewhere, Left};
use portcullis::wire::handover::RECORD_BYTES;
use portcullis::worker::{
    Account, Arrivals, Arrive, Depart, Departures, DrainOrder, Numbers, Order, Pace, Whom,
};

use super::courier::{Flags, Happened, pair};
use super::plan::{Fate, Step, Upgrade, When};
use super::run::{Process, Run};
use super::seen::Sight;
use crate::moves::Reference;
use crate::mutation::Mutation;

/// As the control plane has them: passes before the switch, the time of an answer, of a successor
/// that stands still, of the end of those that cannot move, of a takeback.
const PASSES: u32 = 2;
const ANSWER_MILLIS: u64 = 5_000;
const BEAT_MILLIS: u64 = 2_000;
const END_REST: Duration = Duration::from_secs(2);
const COMMIT_MILLIS: u64 = 10_000;
/// A takeback takes a few turns, beside what takes back late.
const TAKE_BACK_TURNS: u64 = 2_000;
/// So does what a predecessor had sent before it died.
const TAKE_IN_TURNS: u64 = 2_000;
/// Over which a worker is drained.
const DRAIN: Duration = Duration::from_secs(3);

/// The time before a handover.
#[derive(Debug)]
pub struct Before {
    /// When the last one was over.
    since: u64,
}

impl Before {
    pub fn new(since: u64) -> Before {
        Before { since }
    }

    /// When the last handover was over.
    pub fn since(&self) -> u64 {
        self.since
    }
}

/// What the predecessor says to the successor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ToSuccessor {
    Switch(Left),
    Left(Left),
    Commit,
}

/// And that one to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToPredecessor {
    Switched,
    Committed,
    Refuse,
}

/// A handover under way.
#[derive(Debug)]
pub struct Handing {
    upgrade: Upgrade,
    pub predecessor: usize,
    pub successor: usize,
    pub step: Step,
    /// When the step began, by the clock and in turns.
    since: u64,
    since_turn: u64,
    pub flags: Flags,
    departures: Arc<Departures>,
    arrivals: Arc<Arrivals>,
    happened: Arc<Mutex<Happened>>,
    to_successor: VecDeque<ToSuccessor>,
    to_predecessor: VecDeque<ToPredecessor>,
    /// What the predecessor has said that it has.
    told_left: Left,
    /// What the successor has heard of that, once its doors are open.
    pub elsewhere: Elsewhere,
    pub is_open: bool,
    /// How often the successor has turned; by client: since which turn the flag says ended.
    pub turned: u64,
    pub ended: BTreeMap<usize, u64>,
    /// The fate has come.
    is_fated: bool,
    /// The gateway is to end when all is taken back.
    stops: bool,
}

impl Handing {
    /// The successor stands on its own, whatever its predecessor has heard.
    pub fn is_kept(&self) -> bool {
        self.step == Step::Committing && self.to_predecessor.contains(&ToPredecessor::Committed)
    }

    fn left(&self) -> u32 {
        self.departures.left.load(Relaxed)
    }

    fn rest(&self) -> Left {
        let rest = self.departures.rest.lock().expect("one thread");
        Left { all: self.left(), ..rest.clone() }
    }

    fn is_all_moved(&self) -> bool {
        self.left() == 0 && self.departures.is_still.load(Relaxed)
    }

    fn tell_left(&mut self) {
        let left = self.rest();
        if left != self.told_left {
            self.to_successor.push_back(ToSuccessor::Left(left.clone()));
            self.told_left = left;
        }
    }
}

impl Run {
    /// What the control planes do now.
    pub fn control(&mut self) {
        let Some(mut handing) = self.handing.take() else { return self.begin_handover() };
        self.meet_fate(&mut handing);
        if self.processes.contains_key(&handing.successor) {
            self.step_successor(&mut handing);
        }
        let is_over = match handing.step {
            Step::Orphaned => handing.to_successor.is_empty() && self.stand_alone(&mut handing),
            _ => self.step_predecessor(&mut handing),
        };
        if is_over {
            self.before = Before::new(self.now());
            self.seen.note_happened(*handing.happened.lock().unwrap());
            return;
        }
        self.handing = Some(handing);
    }

    fn begin_handover(&mut self) {
        let Some(next) = self.plan.upgrades.front() else { return };
        if self.now() < self.before.since + next.after {
            return;
        }
        let upgrade = self.plan.upgrades.pop_front().expect("it was just looked at");
        let successor = self.begin_successor(&upgrade);
        self.say(|| format!("to {successor}: {upgrade:?}"));
        let slots = self.plan_slots();
        let flags = Flags::new(slots);
        let happened = Arc::new(Mutex::new(Happened::default()));
        let (departures, arrivals) = (Arc::default(), Arc::default());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..upgrade.ways {
            let random = crate::random::Random::new(self.random.next());
            let [one, other] = pair(&flags, upgrade.rates, &happened, random, self.mutation);
            ours.push(Box::new(one) as Box<dyn Link<Reference>>);
            theirs.push((Box::new(other) as Box<dyn Link<Reference>>, 0));
        }
        let numbers = Arc::new(self.numbers(successor, upgrade.lacks));
        let owner = &self.processes[&self.owner];
        if matches!(upgrade.fate, Fate::Drains) {
            self.is_stopped_early = true;
            self.drain();
        }
        self.processes[&successor].order(Order::Arrive(Box::new(Arrive {
            links: theirs,
            record_bytes: RECORD_BYTES,
            numbers,
            arrivals: Arc::clone(&arrivals),
        })));
        let departures: Arc<Departures> = departures;
        let depart = Depart {
            links: ours,
            flags_at: 0,
            takes_unserved: upgrade.takes_unserved,
            departures: departures.clone(),
        };
        owner.order(Order::Depart(Box::new(depart)));
        self.handing = Some(Handing {
            predecessor: self.owner,
            successor,
            step: Step::Moving,
            since: self.now(),
            since_turn: self.turns,
            flags,
            departures,
            arrivals,
            happened,
            to_successor: VecDeque::new(),
            to_predecessor: VecDeque::new(),
            told_left: Left::default(),
            elsewhere: Elsewhere::default(),
            is_open: false,
            turned: 0,
            ended: BTreeMap::new(),
            is_fated: false,
            stops: false,
            upgrade,
        });
    }

    fn plan_slots(&mut self) -> u32 {
        let owner = self.owner;
        self.with(owner, |process| process.ring().shape.slots)
    }

    /// The worker drains already when its connections are to depart: there is no other handover.
    fn drain(&self) {
        let now = Millis(self.now());
        let (_, mut lines) = Account::open(1, None, now);
        let line = lines.remove(0);
        let order = DrainOrder { whom: Whom::All, pace: Pace::Brisk, within: DRAIN, line };
        self.processes[&self.owner].order(Order::Drain(Box::new(order)));
    }

    /// What numbers mean in a successor, which may lack some.
    fn numbers(&self, successor: usize, lacks: [bool; 2]) -> Numbers {
        let topology = self.processes[&successor].world.topology();
        let routes = topology.routes.ids().skip(usize::from(lacks[0]));
        let servers = topology.servers.ids().skip(usize::from(lacks[1]));
        Numbers {
            routes: routes.map(|id| (id.0, id)).collect(),
            servers: servers.map(|id| (id.0, id)).collect(),
        }
    }

    fn enter(&mut self, handing: &mut Handing, step: Step) {
        self.say(|| format!("{step:?}"));
        self.seen.note(Sight::of(step));
        (handing.step, handing.since, handing.since_turn) = (step, self.now(), self.turns);
    }

    fn meet_fate(&mut self, handing: &mut Handing) {
        let is_due = |run: &Run, When { step, turns }: When| {
            handing.step == step && run.turns >= handing.since_turn + turns
        };
        let has_committed = handing.to_predecessor.contains(&ToPredecessor::Committed);
        if handing.is_fated || has_committed {
            return;
        }
        let (predecessor, successor) = (handing.predecessor, handing.successor);
        match handing.upgrade.fate {
            Fate::SuccessorDies(when) if is_due(self, when) => {
                self.seen.note(Sight::SuccessorDied);
                self.take_snapshot(handing);
                self.end(successor, true);
            }
            Fate::PredecessorDies(when) if is_due(self, when) => {
                self.seen.note(Sight::PredecessorDied);
                self.end(predecessor, true);
                self.enter(handing, Step::Orphaned);
            }
            Fate::Abort(when) if is_due(self, when) => self.take_back(handing, "aborted"),
            Fate::Hangs(when, millis) if is_due(self, when) => {
                let until = self.now() + millis;
                self.processes.get_mut(&successor).expect("it lives").paused_until = until;
                if millis > BEAT_MILLIS {
                    self.take_back(handing, "it stands still");
                }
            }
            Fate::Stops(when, waits) if is_due(self, when) => {
                self.seen.note(Sight::Stopped);
                self.take_back(handing, "the gateway is to end");
                self.plan.upgrades.clear();
                handing.stops = waits;
                if !waits {
                    self.stop();
                }
            }
            _ => return,
        }
        handing.is_fated = true;
    }

    fn stop(&mut self) {
        (self.stopped, self.is_stopped_early) = (true, true);
        self.processes[&self.owner].order(Order::Stop);
    }

    fn step_predecessor(&mut self, handing: &mut Handing) -> bool {
        let for_millis = self.now() - handing.since;
        let dies = !self.processes.contains_key(&handing.successor);
        if handing.step != Step::TakingBack && dies && self.random.percent(30) {
            self.take_back(handing, "it died");
        }
        let departures = handing.departures.clone();
        let is_cut = departures.is_cut_off.load(Relaxed);
        let refuses = handing.to_predecessor.contains(&ToPredecessor::Refuse);
        if handing.step != Step::TakingBack && (is_cut || refuses) {
            self.take_back(handing, "a way is cut");
        }
        let Upgrade { rest, probation, .. } = handing.upgrade;
        match handing.step {
            Step::Moving
                if departures.passes.load(Relaxed) >= PASSES
                    && for_millis >= handing.upgrade.passes =>
            {
                self.processes[&self.owner].order(Order::ShutDoors);
                self.enter(handing, Step::Shutting);
            }
            Step::Moving if for_millis > rest + handing.upgrade.passes => {
                self.take_back(handing, "not all asked in time")
            }
            Step::Shutting if departures.is_shut.load(Relaxed) => {
                handing.told_left = handing.rest();
                handing.to_successor.push_back(ToSuccessor::Switch(handing.told_left.clone()));
                self.enter(handing, Step::Switching);
            }
            Step::Switching if handing.to_predecessor.pop_front().is_some() => {
                self.enter(handing, Step::Resting);
            }
            Step::Shutting | Step::Switching if for_millis > ANSWER_MILLIS => {
                self.take_back(handing, "no switch");
            }
            Step::Resting | Step::Ending if handing.is_all_moved() => {
                handing.tell_left();
                self.enter(handing, Step::Proving);
            }
            Step::Resting if for_millis > rest => {
                self.seen.note(Sight::RestEnded);
                self.processes[&self.owner].order(Order::EndRest(END_REST));
                self.enter(handing, Step::Ending);
            }
            Step::Ending if for_millis > 2 * END_REST.as_millis() as u64 => {
                self.take_back(handing, "connections neither move nor end");
            }
            Step::Resting | Step::Ending => handing.tell_left(),
            Step::Proving if for_millis > probation => {
                handing.to_successor.push_back(ToSuccessor::Commit);
                self.enter(handing, Step::Committing);
            }
            Step::Committing if handing.to_predecessor.pop_front().is_some() => {
                self.commit(handing);
                return true;
            }
            Step::Committing if for_millis > COMMIT_MILLIS => self.take_back(handing, "no commit"),
            Step::TakingBack => return self.is_taken_back(handing),
            _ => {}
        }
        false
    }

    /// The predecessor leaves, as it has nothing of its own any more.
    fn commit(&mut self, handing: &Handing) {
        self.seen.note(Sight::Committed);
        self.check_left(handing);
        self.end(handing.predecessor, false);
        self.owner = handing.successor;
    }

    fn take_back(&mut self, handing: &mut Handing, because: &str) {
        self.say(|| format!("taken back: {because}"));
        if self.processes.contains_key(&handing.successor) && self.mutation != Mutation::TwoReaders
        {
            self.take_snapshot(handing);
            self.end(handing.successor, true);
        }
        let owner = &self.processes[&self.owner];
        owner.order(Order::TakeBack);
        owner.order(Order::OpenDoors);
        self.enter(handing, Step::TakingBack);
    }

    fn is_taken_back(&mut self, handing: &mut Handing) -> bool {
        let is_over = handing.departures.is_taken_back.load(Relaxed);
        let turns = self.turns - handing.since_turn;
        assert!(is_over || turns < TAKE_BACK_TURNS, "not taken back after {turns} turns");
        if is_over {
            self.seen.note_lost(handing.departures.lost.load(Relaxed));
            if matches!(handing.upgrade.fate, Fate::Drains) {
                self.plan.upgrades.clear();
            }
            if std::mem::take(&mut handing.stops) {
                self.stop();
            }
        }
        is_over
    }

    fn step_successor(&mut self, handing: &mut Handing) {
        let process = &self.processes[&handing.successor];
        if self.random.percent(50) || process.paused_until > self.now() {
            return;
        }
        if handing.arrivals.is_cut_off.load(Relaxed) && handing.step != Step::Orphaned {
            handing.to_predecessor.push_back(ToPredecessor::Refuse);
        }
        match handing.to_successor.pop_front() {
            Some(ToSuccessor::Switch(left)) => {
                open_doors(handing, process, &left, self.mutation);
                handing.to_predecessor.push_back(ToPredecessor::Switched);
            }
            Some(ToSuccessor::Left(left)) => count_elsewhere(handing, process, &left),
            Some(ToSuccessor::Commit) => {
                count_elsewhere(handing, process, &Left::default());
                process.order(Order::Keep);
                handing.to_predecessor.push_back(ToPredecessor::Committed);
            }
            None => {}
        }
    }

    /// The predecessor is gone. What it had sent is taken in before its permits are free.
    fn stand_alone(&mut self, handing: &mut Handing) -> bool {
        let process = &self.processes[&handing.successor];
        process.order(Order::Keep);
        let has_all = handing.arrivals.is_over.load(Relaxed);
        let turns = self.turns - handing.since_turn;
        assert!(has_all || turns < TAKE_IN_TURNS, "not all taken in after {turns} turns");
        if !has_all {
            return false;
        }
        if !handing.is_open {
            open_doors(handing, process, &Left::default(), self.mutation);
        }
        count_elsewhere(handing, process, &Left::default());
        self.owner = handing.successor;
        true
    }
}

fn open_doors(handing: &mut Handing, process: &Process, left: &Left, mutation: Mutation) {
    let mut left = left.clone();
    if mutation == Mutation::CountsForNoLimit {
        left.by_route.clear();
    }
    handing.elsewhere.begin(&left, &process.budget, process.world.topology());
    process.budget.take_over(u32::from(mutation == Mutation::CountsTwice));
    process.order(Order::OpenDoors);
    handing.is_open = true;
}

fn count_elsewhere(handing: &mut Handing, process: &Process, left: &Left) {
    handing.elsewhere.shrink(left, &process.budget, process.world.topology());
}
