//! One run: workers over simulated rings, from the first knock to the last permit.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once};
use std::time::Duration;

use crossbeam::channel::Sender;
use portcullis::base::{Clock, ConnIndex, Id, WorkerId};
use portcullis::budget::Budget;
use portcullis::config::Balance;
use portcullis::conn::Reason;
use portcullis::worker::{AccessPlan, AccessQueue, Adoption, Order, Plan, Worker, mailbox};

use crate::accepts::Listener;
use crate::asker::Asker;
use crate::counts;
use crate::fault::{Fault, KINDS};
use crate::held::Resets;
use crate::mutant::Mutant;
use crate::mutation::Mutation;
use crate::notes;
use crate::oracle;
use crate::prefaces::{self, Readings};
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::{Access, Scenario, Steer, Stop};
use crate::tally::Tally;
use crate::world::{Change, World};

/// How long nothing may move once nothing goes wrong any more, in virtual time, and how many turns
/// everything may take.
const PATIENCE_MILLIS: u64 = 120_000;
const MOST_TURNS: u64 = 40_000;
/// How long a stop may take, however its peers behave.
const STOP_MILLIS: u64 = 10_000;
/// How long the connections of what leaves the topology have.
const REMOVAL: Duration = Duration::from_secs(20);
/// For how long nothing moves before what is still here counts as held by its peers.
const HELD_MILLIS: u64 = 25_000;
/// Turns with completions and without progress.
const MOST_IDLE_TURNS: u64 = 500;

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub fired: [u64; KINDS],
    pub turns: u64,
    pub millis: u64,
    pub clients: u64,
    /// Counts of what goes wrong.
    pub rare: [u64; counts::RARE],
}

struct Run {
    scenario: Scenario,
    mutation: Mutation,
    clock: Arc<AtomicU64>,
    budget: Arc<Budget>,
    world: World,
    workers: Vec<Worker<Mutant>>,
    /// By worker.
    tallies: Vec<Tally>,
    /// By worker: turns since it has been quiet and knows of every change.
    settled: Vec<u32>,
    /// By worker.
    notes: Vec<Arc<AccessQueue>>,
    orders: Vec<Sender<Order>>,
    running: Vec<bool>,
    random: Random,
    calm: bool,
    asker: Asker,
    /// By worker.
    resets: Vec<Resets>,
    /// By worker.
    readings: Vec<Readings>,
    /// What had moved, and since when nothing more, jumps of the clock left out.
    still_since: (u64, u64),
    /// Some were here when the run was stopped.
    held: bool,
    /// When the stop order came, jumps of the clock left out.
    stopped: Option<u64>,
    turns: u64,
}

/// Runs a seed. `Err` says what did not hold.
pub fn run(seed: u64, mutation: Mutation, trace: bool) -> Result<Report, String> {
    quiet_panics();
    SILENT.with_borrow_mut(|message| *message = Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(seed, mutation, trace);
        run.until_over();
        run.judge()
    }));
    let message = SILENT.with_borrow_mut(Option::take).unwrap_or_default();
    result.map_err(|_| message)
}

thread_local! {
    /// While a run is on: what its panic said.
    static SILENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of runs are findings, not noise.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let silent = SILENT.with_borrow_mut(|message| match message {
                Some(message) => {
                    *message = info.to_string();
                    true
                }
                None => false,
            });
            if !silent {
                before(info);
            }
        }));
    });
}

impl Run {
    fn new(seed: u64, mutation: Mutation, trace: bool) -> Run {
        let mut scenario = Scenario::new(seed);
        let mut random = Random::new(scenario.random.next());
        let clock = Arc::new(AtomicU64::new(random.below(100_000)));
        let start = clock.load(std::sync::atomic::Ordering::Relaxed);
        scenario.calm_at += start;
        scenario.steers.iter_mut().for_each(|(at, _)| *at += start);
        if let Stop::At(at) = &mut scenario.stop {
            *at += start;
        }
        let balance = random.pick(&[Balance::RoundRobin, Balance::LeastConnections]);
        let asker = Asker::new(&mut scenario);
        let mut run = Run {
            asker,
            budget: Arc::new(Budget::new(scenario.budget, scenario.workers)),
            world: World::new(&scenario, balance),
            workers: Vec::new(),
            tallies: Vec::new(),
            settled: vec![0; scenario.workers],
            notes: Vec::new(),
            orders: Vec::new(),
            running: vec![true; scenario.workers],
            random,
            calm: false,
            resets: (0..scenario.workers).map(|_| Resets::default()).collect(),
            readings: (0..scenario.workers).map(|_| Readings::default()).collect(),
            still_since: (0, 0),
            held: false,
            stopped: None,
            turns: 0,
            mutation,
            clock,
            scenario,
        };
        for worker in 0..run.scenario.workers {
            run.add_worker(worker, start, trace);
        }
        if run.scenario.workers > 2 {
            run.workers[0].ring().inner.faults.note(Fault::ManyWorkers);
        }
        run
    }

    fn add_worker(&mut self, worker: usize, start: u64, trace: bool) {
        let scenario = &self.scenario;
        let random = Random::new(self.random.next());
        let faults = scenario.faults.clone();
        let mut ring = SimRing::new(scenario.shape.clone(), random, faults, self.clock.clone());
        ring.trace = trace.then_some(worker);
        ring.listeners.resize_with(scenario.wirings.len(), Listener::default);
        ring.wirings = scenario.wirings.clone();
        ring.prefaces = scenario.prefaces.clone();
        if scenario.workers > 1 {
            ring.longest_nap = 10;
        }
        for knock in scenario.knocks.iter().filter(|knock| knock.worker == worker) {
            let mut knock = knock.clone();
            knock.at += start;
            ring.insert_knock(knock);
        }
        let topology = Arc::new(self.world.of_worker(worker));
        ring.take_over(&topology);
        let mut tally = Tally::default();
        let counters = tally.adopt(&self.world);
        ring.ends.tally = tally.clone();
        let (sender, mailbox) = mailbox();
        let notes = Arc::new(AccessQueue::new(scenario.access.map_or(1, |access| access.notes)));
        let mutant = Mutant::new(ring, self.mutation, Random::new(self.random.next()));
        self.workers.push(Worker::new(
            mutant,
            Clock::Simulated(self.clock.clone()),
            mailbox,
            Plan {
                worker: WorkerId::at(worker),
                topology,
                logged: scenario.logged,
                access: access_plan(scenario, &notes),
                quiet: scenario.quiet.clone(),
                prefaces: prefaces::plan(scenario, self.mutation),
            },
            self.budget.clone(),
            counters,
        ));
        self.tallies.push(tally);
        self.notes.push(notes);
        self.orders.push(sender);
    }

    fn now(&self) -> u64 {
        self.clock.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn rings(&mut self) -> impl Iterator<Item = &mut SimRing> {
        self.workers.iter_mut().map(|worker| &mut worker.ring().inner)
    }

    fn until_over(&mut self) {
        let mut idle_turns = vec![0; self.workers.len()];
        while self.running.contains(&true) {
            self.direct();
            self.steer();
            let worker = self.random.below(self.workers.len() as u64) as usize;
            if !self.running[worker] {
                continue;
            }
            let ring = &mut self.workers[worker].ring().inner;
            self.asker.ask(worker, &self.orders[worker], ring);
            let before = self.standing(worker);
            self.turns += 1;
            self.running[worker] = self.workers[worker].turn().expect("the ring goes on");
            let ring = &mut self.workers[worker].ring().inner;
            ring.ends.take_count();
            self.asker.hear(worker, ring, self.running[worker]);
            let after = self.standing(worker);
            let idle = after.0 == before.0 && after.1 > before.1;
            idle_turns[worker] = if idle { idle_turns[worker] + 1 } else { 0 };
            let turns = idle_turns[worker];
            assert!(turns < MOST_IDLE_TURNS, "{turns} turns for nothing: {}", self.dump());
            let steady = self.steady();
            let ring = &mut self.workers[worker].ring().inner;
            self.resets[worker].check(ring, steady);
            oracle::check_quiet(&self.workers[worker].ring().inner, self.scenario.quiet.after);
            let (budget, quotas) = (self.budget.clone(), self.quotas());
            let at_limit = self.scenario.at_limit;
            let rings: Vec<&SimRing> = self.rings().map(|ring| &*ring).collect();
            oracle::check_permits(&rings, &budget, &quotas, at_limit);
            self.check_still();
            self.check_topology(worker);
            self.check_prefaces(worker);
        }
    }

    /// By listener: its bound.
    fn quotas(&self) -> Vec<Option<Arc<Budget>>> {
        (0..self.scenario.wirings.len()).map(|listener| self.world.quota(listener)).collect()
    }

    fn check_still(&mut self) {
        for listener in 0..self.scenario.wirings.len() {
            let still = self.world.still(listener) as usize;
            let rings: Vec<&SimRing> = self.rings().map(|ring| &*ring).collect();
            if still == rings.len() && rings[0].listeners[listener].paused {
                oracle::check_still(&rings, listener);
                let mut rings = self.rings();
                if let Some(ring) = rings.find(|ring| !ring.listeners[listener].queue.is_empty()) {
                    ring.faults.note(Fault::PausedWithClients);
                }
            }
        }
    }

    /// Does what an operator does whose time has come.
    fn steer(&mut self) {
        let now = self.now();
        while self.scenario.steers.front().is_some_and(|(at, _)| *at <= now) {
            let (_, steer) = self.scenario.steers.pop_front().expect("the front was looked at");
            let (listener, paused) = match steer {
                Steer::Weigh(server, weight) => {
                    let Some(servers) = self.world.servers() else { continue };
                    servers.set_weight(server % servers.count(), weight);
                    let weighs = |server| servers.weight(server) > 0;
                    if servers.any_open() && !(0..servers.count()).any(weighs) {
                        let ring = self.rings().next().expect("there is a worker");
                        ring.faults.note(Fault::AllServersDrained);
                    }
                    continue;
                }
                Steer::Change(change) => {
                    self.change(change);
                    continue;
                }
                Steer::Pause(listener) => (listener, true),
                Steer::Resume(listener) => (listener, false),
            };
            let Some(id) = self.world.id_of(listener) else { continue };
            self.rings().for_each(|ring| ring.listeners[listener].paused = paused);
            let order = if paused { Order::Pause } else { Order::Resume };
            for orders in &self.orders {
                orders.send(order(id)).expect("a worker listens");
            }
        }
    }

    /// Every worker is told of another topology, if this makes one.
    fn change(&mut self, change: Change) {
        if let Change::Open(listener) = change
            && self.rings().any(|ring| ring.listeners[listener].gate.is_some())
        {
            // Its old sockets are not gone yet.
            let again = (self.now() + 5, Steer::Change(change));
            let steers = &mut self.scenario.steers;
            let at = steers.partition_point(|(at, _)| *at <= again.0);
            return steers.insert(at, again);
        }
        // Who stops takes no change any more.
        if self.stopped.is_some() || !self.world.change(change) {
            return;
        }
        let now = self.now();
        self.rings().for_each(|ring| ring.ends.note_change(change, now));
        for worker in 0..self.workers.len() {
            let topology = Arc::new(self.world.of_worker(worker));
            let counters = self.tallies[worker].adopt(&self.world);
            let tally = self.tallies[worker].clone();
            let listeners = 0..self.scenario.wirings.len();
            let gates: Vec<_> =
                listeners.map(|listener| self.world.gate_of(worker, listener)).collect();
            self.settled[worker] = 0;
            let ring = &mut self.workers[worker].ring().inner;
            ring.ends.tally = tally;
            ring.hand_over(change, &topology, &gates);
            let adoption = Adoption { topology, counters, generation: 0, within: REMOVAL };
            let order = Order::Adopt(adoption);
            self.orders[worker].send(order).expect("a worker listens");
        }
    }

    /// A worker that has heard of everything and serves nobody has what the topology has, a few
    /// turns later.
    fn check_topology(&mut self, worker: usize) {
        const SETTLED: u32 = 4;
        let is_told = self.orders[worker].is_empty() && self.stopped.is_none();
        let ring = &mut self.workers[worker].ring().inner;
        let is_settled = is_told && ring.is_quiet() && ring.posted.is_empty();
        let settled = if is_settled && !ring.is_closing() { self.settled[worker] + 1 } else { 0 };
        self.settled[worker] = settled;
        if settled >= SETTLED {
            let topology = self.world.of_worker(worker);
            self.workers[worker].ring().inner.check_topology(&topology);
        }
    }

    fn check_prefaces(&mut self, worker: usize) {
        let Some(asked) = &self.scenario.prefaces else { return };
        let waiting = self.workers[worker].prefaces().waiting();
        let ring = &mut self.workers[worker].ring().inner;
        if waiting > 0 {
            ring.faults.note(Fault::PlaceAwaited);
        }
        self.readings[worker].check(ring, asked.within);
    }

    /// Progress and completions so far.
    fn standing(&mut self, worker: usize) -> (u64, u64) {
        let ring = &self.workers[worker].ring().inner;
        (ring.progress(), ring.shown)
    }

    /// Calms the run down and stops it when it is time, and sees to it that it ends.
    fn direct(&mut self) {
        let now = self.now();
        let steady = self.steady();
        let moved = self.rings().map(|ring| ring.progress()).sum();
        if moved != self.still_since.0 {
            self.still_since = (moved, steady);
        }
        let patient_until = self.still_since.1 + PATIENCE_MILLIS;
        let late = self.calm && steady > patient_until;
        assert!(!late && self.turns < MOST_TURNS, "still going: {}", self.dump());
        if !self.calm && now >= self.scenario.calm_at {
            self.calm = true;
            self.still_since.1 = steady;
            self.rings().for_each(SimRing::calm_down);
        }
        if let Some(since) = self.stopped {
            let drain = self.scenario.drain.map_or(0, |within| within.as_millis() as u64);
            assert!(steady <= since + drain + STOP_MILLIS, "still stopping: {}", self.dump());
            return;
        }
        let quiet = self.rings().all(|ring| ring.is_quiet());
        let stops = match self.scenario.stop {
            Stop::WhenQuiet => self.calm && (quiet || self.is_held()),
            Stop::At(at) => now >= at,
            Stop::After(fault) => {
                let happened = self.rings().any(|ring| ring.faults.fired[fault as usize] > 0);
                happened || quiet || (self.calm && self.is_held())
            }
        };
        if stops {
            if !quiet {
                let drains = self.scenario.drain.is_some();
                let fault = if drains { Fault::DrainInFlight } else { Fault::StopInFlight };
                let ring = self.rings().next().expect("there is a worker");
                ring.faults.note(fault);
            }
            self.stopped = Some(steady);
            self.rings().for_each(|ring| ring.ends.ordered = Some(now));
            for orders in &self.orders {
                let order = self.scenario.drain.map_or(Order::Stop, Order::Drain);
                orders.send(order).expect("a worker listens");
            }
        }
    }

    /// The clock, but for what no worker could use.
    fn steady(&mut self) -> u64 {
        self.now() - self.rings().map(|ring| ring.jumped).sum::<u64>()
    }

    /// What is still here is held by its peers.
    fn is_held(&mut self) -> bool {
        if self.scenario.shape.holders == 0 {
            return false;
        }
        let steady = self.steady();
        let scenario = self.scenario.clone();
        let still = steady > self.still_since.1 + HELD_MILLIS;
        let held = |run: &mut Run| {
            let rings = run.rings();
            let held: Vec<bool> = rings.map(|ring| ring.check_held(&scenario)).collect();
            held.contains(&true)
        };
        self.held = still && held(self);
        self.held
    }

    fn dump(&mut self) -> String {
        self.rings().map(|ring| ring.dump()).collect::<Vec<_>>().join("\n")
    }

    /// Everything is over: were the books kept?
    fn judge(&mut self) -> Report {
        let turns = self.turns;
        let millis = self.now();
        self.rings().for_each(SimRing::give_in);
        self.rings().for_each(SimRing::calm_down);
        self.rings().for_each(SimRing::settle);
        let (scenario, held) = (self.scenario.clone(), self.held);
        for ring in self.rings() {
            ring.note_prefaces();
            oracle::judge(ring, &scenario, held);
            oracle::check_home(ring);
        }
        if self.mutation == Mutation::LeaksPlace {
            self.workers[0].prefaces().ask(ConnIndex(0));
        }
        let is_home = |worker: &mut Worker<Mutant>| worker.prefaces().is_empty();
        assert!(self.workers.iter_mut().all(is_home), "places did not come home");
        if self.mutation == Mutation::LeaksPermit {
            self.budget.lease(1);
        }
        if self.mutation == Mutation::LeaksServer {
            self.world.servers().iter().for_each(|servers| servers.opened(0));
        }
        for permits in self.quotas().iter().flatten().chain([&self.budget]) {
            assert_eq!(permits.free(), permits.limit(), "permits did not come home");
            assert_eq!(permits.limit() == 0, permits.is_used_up(), "used permits were miscounted");
        }
        assert!(!self.world.any_open(), "a server's connections did not come home");
        let mut report =
            Report { fired: [0; KINDS], turns, millis, clients: 0, rare: [0; counts::RARE] };
        for worker in 0..self.workers.len() {
            let ring = &mut self.workers[worker].ring().inner;
            let counters = &self.tallies[worker];
            counts::judge(ring, counters, &scenario);
            let rare = counts::rare(counters).into_iter();
            report.rare.iter_mut().zip(rare).for_each(|(sum, (_, one))| *sum += one);
            if let Some(access) = &scenario.access {
                notes::judge(access, &self.notes[worker], counters, &mut ring.faults);
            }
            let killed = counters.over_listeners(|one| one.closed[Reason::Killed as usize].get());
            assert!(killed <= self.asker.killed[worker], "connections killed were miscounted");
            report.clients += ring.origin.len() as u64;
            for (sum, fired) in report.fired.iter_mut().zip(ring.faults.fired) {
                *sum += fired;
            }
        }
        report
    }
}

fn access_plan(scenario: &Scenario, notes: &Arc<AccessQueue>) -> Option<AccessPlan> {
    let notes = notes.clone();
    scenario.access.map(|Access { openings, empty, .. }| AccessPlan { notes, openings, empty })
}
