//! One run: workers over simulated rings, from the first knock to the last permit.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crossbeam::channel::Sender;
use portcullis::base::{Clock, ConnIndex, Id, WorkerId};
use portcullis::budget::Budget;
use portcullis::config::Balance;
use portcullis::conn::{Phase, Reason};
use portcullis::topology::Gone;
use portcullis::worker::{AccessQueue, Order, Plan, Worker, mailbox};

use crate::accepts::Listener;
use crate::asker::Asker;
use crate::counts;
use crate::drains::Drains;
use crate::evictions::{Before, Limits};
use crate::fault::{Fault, KINDS};
use crate::forwarding::Dues;
use crate::guards;
use crate::held::Resets;
use crate::moves::SimOrder;
use crate::mutant::Mutant;
use crate::mutation::Mutation;
use crate::notes;
use crate::oracle;
use crate::panics;
use crate::postgres;
use crate::prefaces::{self, Readings};
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::{Scenario, Stop};
use crate::secure::{self, Seen};
use crate::sources::{Book, Gate};
use crate::tally::Tally;
use crate::world::World;

mod gate;
mod steers;

/// How long nothing may move once nothing goes wrong any more, in virtual time, and how many turns
/// everything may take, beside the tries of clients that wait for room: by the clock ten a second.
const PATIENCE_MILLIS: u64 = 120_000;
const MOST_TURNS: u64 = 40_000;
const TRY_MILLIS: u64 = 100;
/// How long a stop may take, however its peers behave.
const STOP_MILLIS: u64 = 10_000;
/// How long the connections of what leaves the topology have.
const REMOVAL: Duration = Duration::from_secs(20);
/// For how long nothing moves before what is still here counts as held by its peers, beyond the
/// time for which a client may wait for room that these take.
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
    /// What peers that speak TLS did.
    pub seen: [u64; Seen::ALL.len()],
    /// What became of clients of PostgreSQL, and of their servers.
    pub asked: [u64; postgres::Seen::ALL.len()],
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
    /// What was taken away, and whose connections nobody has ordered to end.
    leaving: Vec<Gone>,
    /// By worker: turns since it has been quiet and knows of every change.
    settled: Vec<u32>,
    /// By worker.
    notes: Vec<Arc<AccessQueue>>,
    orders: Vec<Sender<SimOrder>>,
    running: Vec<bool>,
    random: Random,
    calm: bool,
    asker: Asker,
    drains: Drains,
    /// By worker.
    resets: Vec<Resets>,
    /// By worker.
    readings: Vec<Readings>,
    /// By worker.
    dues: Vec<Dues>,
    book: Book,
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
    panics::caught(|| {
        let mut run = Run::new(seed, mutation, trace);
        run.until_over();
        run.judge()
    })
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
        // Apart, so that other seeds mean what they meant before there were these.
        let balance = match seed % 9 {
            2 => Balance::RandomTwo,
            4 | 6 => Balance::Source,
            _ => balance,
        };
        let asker = Asker::new(&mut scenario);
        let mut run = Run {
            asker,
            drains: Drains::default(),
            budget: Arc::new(Budget::new(scenario.budget, scenario.workers)),
            world: World::new(&scenario, balance, mutation),
            workers: Vec::new(),
            tallies: Vec::new(),
            leaving: Vec::new(),
            settled: vec![0; scenario.workers],
            notes: Vec::new(),
            orders: Vec::new(),
            running: vec![true; scenario.workers],
            random,
            calm: false,
            resets: (0..scenario.workers).map(|_| Resets::default()).collect(),
            readings: (0..scenario.workers).map(|_| Readings::default()).collect(),
            dues: (0..scenario.workers).map(|_| Dues::default()).collect(),
            book: Book::default(),
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
        ring.speech = scenario.speech;
        ring.tls = scenario.tls.clone();
        ring.gate = scenario.keepings.as_ref().map(Gate::new).unwrap_or_default();
        if scenario.workers > 1 {
            ring.longest_nap = 10;
        }
        for knock in scenario.knocks.iter().filter(|knock| knock.worker == worker) {
            let mut knock = knock.clone();
            knock.at += start;
            ring.insert_knock(knock);
        }
        let topology = Arc::new(self.world.of_worker(worker));
        ring.telling.later.clone_from(&scenario.tellings.later);
        ring.take_over(&topology, &scenario.tellings.pools);
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
                settings: scenario.settings(&notes),
                prefaces: prefaces::plan(scenario, &self.world, self.mutation),
                opens_doors: true,
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
            let limits = Before::new(self.limits(), self.rings());
            self.turns += 1;
            self.running[worker] = self.workers[worker].turn().expect("the ring goes on");
            let ring = &mut self.workers[worker].ring().inner;
            ring.ends.take_count();
            limits.check(ring);
            self.asker.hear(worker, ring, self.running[worker]);
            let after = self.standing(worker);
            let idle = after.0 == before.0 && after.1 > before.1;
            idle_turns[worker] = if idle { idle_turns[worker] + 1 } else { 0 };
            let turns = idle_turns[worker];
            assert!(turns < MOST_IDLE_TURNS, "{turns} turns for nothing: {}", self.dump());
            let steady = self.steady();
            let ring = &mut self.workers[worker].ring().inner;
            self.resets[worker].check(ring, steady);
            let ring = &self.workers[worker].ring().inner;
            oracle::check_quiet(ring, self.scenario.quiet.after);
            guards::check_probed(ring, self.scenario.guards.keepalive);
            let (budget, quotas) = (self.budget.clone(), self.quotas());
            let at_limit = self.scenario.at_limit;
            let rings: Vec<&SimRing> = self.rings().map(|ring| &*ring).collect();
            oracle::check_permits(&rings, &budget, &quotas, at_limit);
            self.check_still();
            self.world.check_bounds();
            self.check_topology(worker);
            self.check_sources(worker);
            self.check_prefaces(worker);
            let ring = &mut self.workers[worker].ring().inner;
            self.dues[worker].check(ring, &self.scenario);
        }
    }

    /// By listener: its bound.
    fn quotas(&self) -> Vec<Option<Arc<Budget>>> {
        (0..self.scenario.wirings.len()).map(|listener| self.world.quota(listener)).collect()
    }

    fn limits(&self) -> Limits {
        Limits::new(self.budget.clone(), self.quotas())
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
        let its = &mut self.workers[worker];
        let waiting = its.prefaces().waiting();
        let mut clients: Vec<_> = its.ring().inner.clients_here().collect();
        clients.retain(|(_, conn)| matches!(its.phase(*conn), Phase::Standby { .. }));
        let stand_by = clients.into_iter().map(|(client, _)| client).collect();
        let ring = &mut its.ring().inner;
        if waiting > 0 {
            ring.faults.note(Fault::PlaceAwaited);
        }
        self.readings[worker].check(ring, asked.within, &stand_by);
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
        let most_turns = MOST_TURNS + self.waiting_turns();
        assert!(!late && self.turns < most_turns, "still going: {}", self.dump());
        if !self.calm && now >= self.scenario.calm_at {
            self.calm = true;
            self.still_since.1 = steady;
            self.rings().for_each(SimRing::calm_down);
        }
        if let Some(since) = self.stopped {
            let drain = self.scenario.drain.map_or(0, |within| within.as_millis() as u64);
            assert!(steady <= since + drain + STOP_MILLIS, "still stopping: {}", self.dump());
            return self.direct_drain(now);
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
            self.rings().for_each(|ring| ring.ends.note_order(now));
            match self.scenario.drain {
                Some(within) => self.drains.begin_farewell(&self.orders, within, now),
                None => {
                    let stop = |worker: &Sender<SimOrder>| worker.send(Order::Stop);
                    self.orders.iter().for_each(|worker| stop(worker).expect("a worker listens"));
                }
            }
        }
    }

    /// Turns that workers take for clients that wait for room, where each waits to the end.
    fn waiting_turns(&self) -> u64 {
        let Scenario { timeouts, knocks, workers, .. } = &self.scenario;
        let tries = timeouts.queue.as_millis() as u64 / TRY_MILLIS;
        tries * knocks.len() as u64 * *workers as u64
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
        let waits_millis = scenario.timeouts.queue.as_millis() as u64;
        let still = steady > self.still_since.1 + HELD_MILLIS + waits_millis;
        let held = |run: &mut Run| {
            let rings = run.rings();
            let held: Vec<bool> = rings.map(|ring| ring.check_held(&scenario)).collect();
            held.contains(&true)
        };
        self.held = still && held(self);
        if self.held {
            let limits = self.limits();
            let rings: Vec<&SimRing> = self.rings().map(|ring| &*ring).collect();
            limits.check_nobody_waits(&scenario, &rings);
        }
        self.held
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
            ring.note_tellings();
            oracle::judge(ring, &scenario, held);
            oracle::check_home(ring);
        }
        self.judge_sources();
        if self.mutation == Mutation::CountsHeader {
            self.count_headers();
        }
        if self.mutation == Mutation::LeaksPlace {
            self.workers[0].prefaces().ask(ConnIndex(0));
        }
        let is_home = |worker: &mut Worker<Mutant>| worker.prefaces().is_empty();
        assert!(self.workers.iter_mut().all(is_home), "places did not come home");
        self.workers.iter().for_each(secure::check_home);
        if self.mutation == Mutation::LeaksPermit {
            self.budget.lease(1);
        }
        if self.mutation == Mutation::LeaksServer {
            self.world
                .servers()
                .iter()
                .for_each(|servers| assert!(servers.standing(0).connections().enter()));
        }
        for permits in self.quotas().iter().flatten().chain([&self.budget]) {
            assert_eq!(permits.free(), permits.limit(), "permits did not come home");
            assert_eq!(permits.limit() == 0, permits.is_used_up(), "used permits were miscounted");
            assert_eq!(permits.evictions().1, 0, "evictions did not come home");
            assert!(!permits.anyone_waits(), "clients are counted that are gone");
        }
        assert!(!self.world.any_open(), "a server's connections did not come home");
        let mut report = Report {
            fired: [0; KINDS],
            turns,
            millis,
            clients: 0,
            rare: [0; counts::RARE],
            seen: Default::default(),
            asked: Default::default(),
        };
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
            secure::count(ring, &mut report.seen);
            postgres::judge(ring, counters, &scenario, &mut report.asked);
            for (sum, fired) in report.fired.iter_mut().zip(ring.faults.fired) {
                *sum += fired;
            }
        }
        report
    }

    /// The bytes of headers are counted as clients'.
    fn count_headers(&mut self) {
        for worker in 0..self.workers.len() {
            let ring = &self.workers[worker].ring().inner;
            for (client, server) in &ring.joined {
                let listener = ring.origin[client];
                let mut counters = self.tallies[worker].listeners.iter();
                let its = counters.find(|(of, _)| *of == listener).expect("it was counted there");
                its.1.to_upstream_bytes.add(ring.links[*server].heading.own_bytes());
            }
        }
    }
}
