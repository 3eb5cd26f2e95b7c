//! One of these runs: the workers of two processes over one simulated kernel, turn by turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::channel::Sender;
use portcullis::base::{Clock, Id, WorkerId};
use portcullis::budget::Budget;
use portcullis::config::Balance;
use portcullis::worker::{AccessQueue, Order, Plan as WorkerPlan, Worker, mailbox};

use super::books::Books;
use super::control::{Before, Handing};
use super::plan::{Plan, Upgrade};
use super::seen::{Report, Seen};
use super::shared::Shared;
use crate::accepts::Listener;
use crate::ends::Ends;
use crate::fault::Fault;
use crate::moves::SimOrder;
use crate::mutant::Mutant;
use crate::mutation::Mutation;
use crate::oracle;
use crate::panics;
use crate::prefaces;
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::Shape;
use crate::tally::Tally;
use crate::world::World;

/// How many turns everything may take, and how many at rest before a run is over.
const MOST_TURNS: u64 = 300_000;
/// How long a worker sleeps at most: the other one is to turn as well.
const LONGEST_NAP: u64 = 10;
/// How long a stop may take, however peers behave.
const STOP_MILLIS: u64 = 10_000;

/// A process with one worker.
pub struct Process {
    pub worker: Worker<Mutant>,
    pub orders: Sender<SimOrder>,
    pub budget: Arc<Budget>,
    pub world: World,
    pub tally: Tally,
    /// The worker has not returned.
    pub running: bool,
    /// It does not turn before that moment.
    pub paused_until: u64,
}

impl Process {
    pub fn ring(&mut self) -> &mut SimRing {
        &mut self.worker.ring().inner
    }

    pub fn order(&self, order: SimOrder) {
        self.orders.send(order).expect("a worker listens");
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Past {
    pub ends: Ends,
    pub accepted: u64,
    pub closed: u64,
    /// It was ended, and what only it had is cut.
    pub is_killed: bool,
}

pub struct Run {
    pub plan: Plan,
    pub mutation: Mutation,
    trace: bool,
    clock: Arc<AtomicU64>,
    pub shared: Shared,
    /// By number.
    pub processes: BTreeMap<usize, Process>,
    pub past: BTreeMap<usize, Past>,
    started: usize,
    /// The process that serves, or whose successor is to.
    pub owner: usize,
    pub before: Before,
    pub handing: Option<Handing>,
    pub random: Random,
    pub books: Books,
    pub seen: Seen,
    calm: bool,
    pub stopped: bool,
    /// And not because all had left.
    pub is_stopped_early: bool,
    pub turns: u64,
}

/// Runs a seed. `Err` says what did not hold.
pub fn run(seed: u64, mutation: Mutation, trace: bool) -> Result<Report, String> {
    panics::caught(|| {
        let mut run = Run::new(seed, mutation, trace);
        run.until_over();
        run.judge()
    })
}

impl Run {
    fn new(seed: u64, mutation: Mutation, trace: bool) -> Run {
        let mut plan = Plan::new(seed);
        let mut random = Random::new(plan.scenario.random.next());
        let start = random.below(100_000);
        let mut run = Run {
            mutation,
            trace,
            clock: Arc::new(AtomicU64::new(start)),
            shared: Shared::new(plan.scenario.wirings.len()),
            processes: BTreeMap::new(),
            past: BTreeMap::new(),
            started: 0,
            owner: 0,
            before: Before::new(start),
            handing: None,
            random,
            books: Books::default(),
            seen: Seen::default(),
            calm: false,
            stopped: false,
            is_stopped_early: false,
            turns: 0,
            plan,
        };
        let shape = run.plan.scenario.shape.clone();
        run.owner = run.begin(shape, true);
        let knocks = run.plan.scenario.knocks.clone();
        run.with(run.owner, |process| {
            for mut knock in knocks {
                knock.at += start;
                process.ring().insert_knock(knock);
            }
        });
        run
    }

    /// Begins a process; says which.
    fn begin(&mut self, shape: Shape, opens_doors: bool) -> usize {
        let number = self.started;
        self.started += 1;
        let scenario = &self.plan.scenario;
        let world = World::new(scenario, Balance::RoundRobin, self.mutation);
        let random = Random::new(self.random.next());
        let mut ring = SimRing::new(shape, random, scenario.faults.clone(), self.clock.clone());
        ring.spares_last = true;
        ring.trace = self.trace.then_some(number);
        ring.faults.calm = self.calm;
        ring.listeners.resize_with(scenario.wirings.len(), Listener::default);
        ring.wirings = scenario.wirings.clone();
        ring.prefaces = scenario.prefaces.clone();
        ring.longest_nap = LONGEST_NAP;
        let topology = Arc::new(world.of_worker(0));
        ring.take_over(&topology, &scenario.tellings.pools);
        let mut tally = Tally::default();
        let counters = tally.adopt(&world);
        ring.ends.tally = tally.clone();
        let (orders, mailbox) = mailbox();
        let budget = Arc::new(Budget::new(scenario.budget, 1));
        let mutant = Mutant::new(ring, self.mutation, Random::new(self.random.next()));
        let plan = WorkerPlan {
            worker: WorkerId::at(0),
            topology,
            settings: scenario.settings(&Arc::new(AccessQueue::new(1))),
            prefaces: prefaces::plan(scenario, &world, self.mutation),
            opens_doors,
        };
        let clock = Clock::Simulated(self.clock.clone());
        let worker = Worker::new(mutant, clock, mailbox, plan, budget.clone(), counters);
        let running = true;
        let process = Process { worker, orders, budget, world, tally, running, paused_until: 0 };
        self.processes.insert(number, process);
        number
    }

    /// Begins a successor.
    pub fn begin_successor(&mut self, upgrade: &Upgrade) -> usize {
        let number = self.begin(upgrade.shape.clone(), false);
        let process = self.processes.get_mut(&number).expect("it was just begun");
        process.ring().moving.refuses = upgrade.refuses;
        number
    }

    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub fn say(&self, words: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>7} ms  control   {}", self.now(), words());
        }
    }

    /// Does something with a process that has the kernel.
    pub fn with<T>(&mut self, number: usize, act: impl FnOnce(&mut Process) -> T) -> T {
        let process = self.processes.get_mut(&number).expect("it lives");
        self.shared.enter(number, process.ring());
        let done = act(process);
        self.shared.leave(number, process.ring());
        done
    }

    fn until_over(&mut self) {
        while self.processes.values().any(|process| process.running) {
            self.turns += 1;
            if self.turns > MOST_TURNS {
                let owner = self.owner;
                let dump = self.with(owner, |process| process.ring().dump());
                panic!("still going: {:?} {dump}", self.handing);
            }
            self.control();
            self.direct();
            let now = self.now();
            let there = self.processes.iter();
            let there: Vec<usize> = there
                .filter(|(_, process)| process.running && process.paused_until <= now)
                .map(|(number, _)| *number)
                .collect();
            let Some(number) = (!there.is_empty()).then(|| self.random.pick(&there)) else {
                self.clock.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            self.turn(number);
            self.check(number);
        }
    }

    fn turn(&mut self, number: usize) {
        let after = self.plan.scenario.quiet.after;
        self.with(number, |process| {
            process.running = process.worker.turn().expect("the ring goes on");
            let ring = process.ring();
            ring.ends.take_count();
            oracle::check_quiet(ring, after);
        });
    }

    /// Calms the run down once there is nothing to hand over, and stops it when all have left.
    fn direct(&mut self) {
        if self.handing.is_some() || !self.plan.upgrades.is_empty() {
            return;
        }
        let is_stopping = self.is_stopped_early && self.stopped && self.is_steady();
        if is_stopping {
            let for_millis = self.now() - self.before.since();
            assert!(for_millis < STOP_MILLIS, "still stopping after {for_millis} ms");
        }
        if !self.calm && !is_stopping {
            self.calm = true;
            let owner = self.owner;
            self.with(owner, |process| process.ring().calm_down());
        }
        let owner = self.owner;
        if !self.stopped && self.with(owner, |process| process.ring().is_quiet()) {
            self.stopped = true;
            self.processes[&owner].order(Order::Stop);
        }
    }

    /// No clock jumps, and nobody sleeps for long.
    fn is_steady(&self) -> bool {
        let jumps = [Fault::ClockJump, Fault::TurnLate, Fault::Paused];
        !jumps.into_iter().any(|fault| self.plan.scenario.faults.may(fault))
    }

    /// A process is no more: its slots, and whatever it held, are gone.
    pub fn end(&mut self, number: usize, is_killed: bool) {
        self.say(|| format!("process {number} ends"));
        let mut process = self.processes.remove(&number).expect("it lives");
        self.note_cut(number, &mut process);
        if is_killed {
            // Why they ended, nobody will say.
            self.books.cut.extend(process.ring().ends.unheard());
        }
        self.shared.bury(number, process.ring());
        let tally = &process.tally;
        let accepted = tally.over_listeners(|one| one.accepted.get());
        let closed = tally.over_listeners(|one| one.closed.iter().map(|one| one.get()).sum());
        let ends = std::mem::replace(&mut process.ring().ends, Ends::new());
        self.past.insert(number, Past { ends, accepted, closed, is_killed });
    }
}
