//! What a seed means: how large everything is, who comes when, and what may go wrong.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use portcullis::config::{AllDown, AtLimit, Guards, Terms};
use portcullis::conn::Wiring;
use portcullis::worker::{AccessPlan, AccessQueue, QuietPlan, Settings, Timeouts};

use crate::drains::{self, PartDrain};
use crate::fault::{Fault, Faults};
use crate::forwarding::{self, Tellings};
use crate::guards;
use crate::hellos::{self, Speech};
use crate::keepers::{self, Keepings};
use crate::peer::Peer;
use crate::ports;
use crate::postgres;
use crate::prefaces::{self, Asked};
use crate::random::Random;
use crate::secure::{self, Securing};
use crate::world::Change;

/// How large a ring is.
#[derive(Clone, Debug)]
pub struct Shape {
    pub slots: u32,
    /// Parts of the table, as several kernel rings make them: accepts land in one at a time.
    pub parts: u32,
    pub burst: u32,
    pub buffers: u32,
    pub buffer_bytes: u32,
    pub parked_bytes: u64,
    /// Pipes, and connections that splice.
    pub pipes: u32,
    pub pipe_bytes: u64,
    pub backlog: usize,
    pub completions: usize,
    pub largest_send: u64,
    /// How many of a hundred peers hold their connection for ever.
    pub holders: u64,
}

/// When the stop order comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// When everybody has left.
    WhenQuiet,
    /// In mid-flight, at this moment.
    At(u64),
    /// In mid-flight, as soon as such a fault has happened.
    After(Fault),
}

/// What an operator will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    Pause(usize),
    Resume(usize),
    /// A server and its new weight.
    Weigh(usize, u32),
    /// The config changes.
    Change(Change),
    /// The connections of a part are drained.
    Drain(PartDrain),
    /// That is cancelled.
    Cancel,
}

/// What the access log is told, and how much of it waits.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub notes: usize,
    pub openings: bool,
    pub empty: bool,
}

/// A client that will knock.
#[derive(Clone, Debug)]
pub struct Knock {
    pub at: u64,
    pub worker: usize,
    pub listener: usize,
    pub peer: Peer,
    /// How it begins that speaks PostgreSQL.
    pub begin: Option<usize>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub shape: Shape,
    pub workers: usize,
    /// By listener.
    pub wirings: Vec<Wiring>,
    /// By listener: its bound, over all workers.
    pub quotas: Vec<Option<u32>>,
    pub at_limit: AtLimit,
    /// How long a connection has been idle that makes way, if any does.
    pub evict: Option<Duration>,
    pub servers: usize,
    /// How many of them a connection may try in vain; 0: each.
    pub attempts: u32,
    /// By server: its bound, and whether it is a backup.
    pub terms: Vec<Terms>,
    /// What is done with clients when no server serves.
    pub all_down: AllDown,
    pub budget: u32,
    pub logged: bool,
    pub timeouts: Timeouts,
    pub quiet: QuietPlan,
    /// What shows that a server is gone.
    pub guards: Guards,
    pub stop: Stop,
    /// The order is to drain within this time, instead of to stop.
    pub drain: Option<Duration>,
    /// After so many milliseconds the drain is cancelled, and so long after that it begins again.
    pub returns: VecDeque<(u64, u64)>,
    /// Parts are drained.
    pub drains_parts: bool,
    /// From this moment on nothing goes wrong any more and peers finish what they do.
    pub calm_at: u64,
    pub knocks: Vec<Knock>,
    /// In how many of a hundred turns somebody asks for connections.
    pub asks: u64,
    /// And ends some.
    pub kills: bool,
    /// What the access log is told.
    pub access: Option<Access>,
    /// What clients are read for before a server is chosen.
    pub prefaces: Option<Asked>,
    /// What clients begin with, which workers read themselves.
    pub speech: Option<Speech>,
    /// Who may come, and how many of one source.
    pub keepings: Option<Keepings>,
    /// Who speaks TLS.
    pub tls: Option<Securing>,
    /// How servers are told of clients.
    pub tellings: Tellings,
    /// Some happen.
    pub is_steered: bool,
    /// In the order of their moments.
    pub steers: VecDeque<(u64, Steer)>,
    pub faults: Faults,
    pub random: Random,
}

impl Scenario {
    pub fn new(seed: u64) -> Scenario {
        let mut random = Random::new(seed);
        let workers = if random.percent(25) { many_workers(seed) } else { 1 };
        let shape = Shape { holders: holders(seed), ..shape(&mut random) };
        let wirings: Vec<Wiring> = (0..random.between(1, 3)).map(|_| wiring(&mut random)).collect();
        let outside = random.percent(50);
        let timeouts = Timeouts { queue: ports::queue(seed), ..timeouts(&mut random, outside) };
        let (stop, drain, calm_at) = ending(&mut random, outside);
        let clients = random.between(1, 24);
        let spread = random.pick(&[0, 50, 400, 1200]);
        let knock = |_| {
            let at = random.between(0, spread);
            let worker = random.below(workers as u64) as usize;
            let listener = random.below(wirings.len() as u64) as usize;
            let mut peer = Peer::new(&mut random, shape.largest_send, at, false);
            peer.hold(shape.holders, Random::new(seed ^ random.peek()), at);
            Knock { at, worker, listener, peer, begin: None }
        };
        let mut knocks: Vec<Knock> = (0..clients).map(knock).collect();
        forwarding::cut_short(seed, &mut knocks);
        let prefaces = prefaces::asked(seed, &wirings);
        let speech = Speech::of_run(seed).filter(|_| prefaces.is_none());
        if let Some(speech) = speech {
            speech.begin(seed, &mut knocks, &wirings);
        }
        let quotas = wirings.iter().map(|_| quota(&mut random)).collect();
        let resets = random.percent(15);
        let evict = evict(seed).filter(|_| !resets);
        let otherwise = if evict.is_some() { AtLimit::Evict } else { AtLimit::Queue };
        let at_limit = if resets { AtLimit::Reset } else { otherwise };
        let servers = random.between(1, 3) as usize;
        let steers = steers(seed, wirings.len(), servers);
        let mut scenario = Scenario {
            tls: None,
            is_steered: !steers.is_empty(),
            steers,
            returns: drains::returns(seed),
            drains_parts: !drains::of_parts(seed, wirings.len()).is_empty(),
            keepings: keepers::keepings(seed, wirings.len(), prefaces.is_some()),
            access: access(seed),
            prefaces,
            speech,
            tellings: forwarding::tellings(seed, speech.is_some()),
            workers,
            quotas,
            at_limit,
            evict,
            wirings,
            servers,
            terms: terms(seed, servers),
            all_down: all_down(seed),
            attempts: Random::new(seed.rotate_left(52)).pick(&[0, 1, 2, 3]),
            budget: random.pick(&[1, 2, 3, 5, 8, 13, 30, 60]).max(workers as u32),
            logged: random.percent(30),
            timeouts,
            quiet: quiet(&mut random),
            guards: guards::guards(seed),
            stop,
            drain,
            calm_at,
            knocks,
            faults: faults(seed, &mut random),
            asks: if random.percent(40) { random.between(1, 25) } else { 0 },
            kills: outside && random.percent(40),
            shape,
            random,
        };
        secure::obey(seed, &mut scenario);
        scenario
    }

    /// How long the preface of a listener's clients may take, if they have one.
    pub fn preface_within(&self, listener: usize) -> Option<Duration> {
        if self.speech.is_some() && self.wirings[listener] == Wiring::Pair {
            return Some(hellos::WITHIN);
        }
        if self.is_secured(listener) {
            return self.tls.as_ref().map(|tls| tls.within);
        }
        let asked = self.prefaces.as_ref()?;
        asked.prefaces[listener].map(|_| asked.within)
    }

    /// Clients of a listener may ask for another route of it.
    pub fn is_named(&self, listener: usize) -> bool {
        let says_hello = self.speech.is_some() && self.wirings[listener] == Wiring::Pair;
        says_hello || self.prefaces.as_ref().is_some_and(|asked| asked.named[listener])
    }

    /// What a worker is told of all connections.
    pub fn settings(&self, notes: &Arc<AccessQueue>) -> Settings {
        let notes = notes.clone();
        let plan = |Access { openings, empty, .. }| AccessPlan { notes, openings, empty };
        Settings {
            logged: self.logged,
            access: self.access.map(plan),
            quiet: self.quiet.clone(),
            batch_wait: Duration::ZERO,
        }
    }

    /// A connection may be ended by more than its peers: a timeout, an order.
    pub fn ends_from_outside(&self) -> bool {
        let Timeouts { connect: _, queue: _, first_byte, idle, half_close, max_lifetime } =
            self.timeouts;
        let timed = [first_byte, idle, half_close, max_lifetime].iter().any(Option::is_some);
        timed
            || self.prefaces.is_some()
            || self.speech.is_some()
            || self.tls.is_some()
            || self.keepings.is_some()
            || self.evict.is_some()
            || self.drains_parts
            || self.stop != Stop::WhenQuiet
            || (self.asks > 0 && self.kills)
    }
}

/// When the stop order comes, in which time it drains, if it does, and when all is calm.
fn ending(random: &mut Random, outside: bool) -> (Stop, Option<Duration>, u64) {
    let stop = match random.below(10) {
        0..=3 if outside => Stop::At(random.between(0, 1500)),
        4 if outside => Stop::After(Fault::AcceptOvertakesClose),
        5 if outside => Stop::After(random.pick(Fault::DRAWN)),
        _ => Stop::WhenQuiet,
    };
    let drain = random.percent(40).then(|| Duration::from_millis(random.between(0, 5000)));
    let calm_at = match stop {
        // A stop ends everything by itself.
        Stop::At(at) if random.percent(70) => at + 60_000,
        Stop::After(_) if random.percent(70) => 60_000,
        _ => random.between(500, 4000),
    };
    (stop, drain, calm_at)
}

fn shape(random: &mut Random) -> Shape {
    let slots = match random.below(10) {
        0 => 3000,
        1..=4 => random.between(2, 8) as u32,
        _ => random.between(9, 40) as u32,
    };
    let largest_send = random.pick(&[5, 60, 250, 600]);
    Shape {
        slots,
        parts: random.pick(&[1, 1, 2, 3]).min(slots),
        burst: random.pick(&[1, 1, 2, 3, 6]),
        buffers: random.pick(&[1, 2, 3, 4, 8, 16]),
        buffer_bytes: random.pick(&[4, 16, 64, 256]),
        parked_bytes: random.pick(&[0, 8, 64, 4096]),
        pipes: random.pick(&[0, 1, 2, 3, 64]),
        pipe_bytes: random.pick(&[8, 64, 256]),
        backlog: random.pick(&[1, 4, 16, 64]),
        completions: random.pick(&[1, 3, 16, 64, 64]),
        largest_send,
        holders: 0,
    }
}

fn wiring(random: &mut Random) -> Wiring {
    match random.below(10) {
        0 => Wiring::Echo,
        1 => random.pick(&[Wiring::Discard, Wiring::Hold]),
        _ => Wiring::Pair,
    }
}

fn timeouts(random: &mut Random, outside: bool) -> Timeouts {
    let mut some = |low: u64, high: u64| {
        let millis = random.between(low, high);
        (outside && random.percent(40)).then(|| Duration::from_millis(millis))
    };
    Timeouts {
        first_byte: some(20, 600),
        idle: some(50, 1000),
        half_close: some(30, 800),
        max_lifetime: some(100, 3000),
        connect: Duration::from_millis(random.between(20, 1000)),
        ..Timeouts::default()
    }
}

fn quiet(random: &mut Random) -> QuietPlan {
    let longest = random.pick(&[100, 400, 5000]);
    let after = Duration::from_millis(random.between(20, longest));
    QuietPlan { after, per_turn: random.pick(&[1, 2, 100]) }
}

fn quota(random: &mut Random) -> Option<u32> {
    random.percent(20).then(|| random.between(1, 6) as u32)
}

/// Drawn apart, too.
fn evict(seed: u64) -> Option<Duration> {
    let evicts = [2, 6, 7, 13, 15, 16].contains(&(seed % 17));
    let mut random = Random::new(seed.rotate_left(20));
    evicts.then(|| Duration::from_millis(random.pick(&[30, 150, 600, 2000])))
}

/// Drawn apart, as [`steers`] are.
fn access(seed: u64) -> Option<Access> {
    let mut random = Random::new(seed.rotate_left(32));
    random.percent(30).then(|| Access {
        notes: random.pick(&[1, 8, 4096]),
        openings: random.percent(50),
        empty: random.percent(50),
    })
}

/// What is drawn apart has its own rates, and not in the runs of `regressions`: they mean what they
/// meant before there was any.
fn faults(seed: u64, random: &mut Random) -> Faults {
    let mut apart = Random::new(seed.rotate_left(40));
    let mut rate = |some: bool, rates: &[u8]| if some { apart.pick(rates) } else { 0 };
    let stops = [2, 6, 7, 11].contains(&(seed % 13));
    let unkind = [2, 3, 4, 8, 11, 15].contains(&(seed % 16));
    Faults::new(random)
        .with(Fault::TakenAhead, ahead(seed))
        .with(Fault::Paused, rate(stops, &[0, 1, 4]))
        .with(Fault::TurnLate, rate(stops, &[0, 2, 10]))
        .with(Fault::WritableForNothing, rate(unkind, &[0, 5, 30]))
        .with(Fault::ReadableForNothing, rate(unkind, &[0, 5, 30]))
        .with(Fault::GuardRefused, guards::refusals(seed))
        .with(Fault::OutOfPorts, ports::shortage(seed))
        .with(Fault::NoSourceAddress, ports::foreign(seed))
}

/// What the config says of each server. Drawn apart, too.
fn terms(seed: u64, servers: usize) -> Vec<Terms> {
    let is_bounded = [4, 8, 13].contains(&(seed % 15));
    let mut random = Random::new(seed.rotate_left(28));
    let terms = |_| Terms {
        max_connections: random.percent(70).then(|| random.between(1, 4) as u32),
        backup: random.percent(30),
        ..Terms::default()
    };
    let terms: Vec<Terms> = (0..servers).map(terms).collect();
    if is_bounded { terms } else { vec![Terms::default(); servers] }
}

/// Drawn apart, too.
fn all_down(seed: u64) -> AllDown {
    match seed % 23 {
        2 | 11 | 17 => AllDown::Wait,
        _ => AllDown::TryAll,
    }
}

/// How many of a hundred peers hold their connection for ever.
fn holders(seed: u64) -> u64 {
    let held = [7, 8].contains(&(seed % 9));
    if held { Random::new(seed.rotate_left(8)).pick(&[10, 30, 60]) } else { 0 }
}

/// How many workers there are where there are several.
fn many_workers(seed: u64) -> usize {
    let many = [3, 4, 7].contains(&(seed % 12));
    if many { Random::new(seed.rotate_left(24)).between(3, 5) as usize } else { 2 }
}

/// In how many of a hundred receives with bytes one goes on by itself. Not in the runs of
/// `regressions`.
fn ahead(seed: u64) -> u8 {
    let goes_on = [2, 5, 7, 9].contains(&(seed % 11));
    if goes_on { Random::new(seed.rotate_left(16)).pick(&[20, 60, 100]) } else { 0 }
}

/// Pauses, each with its end, and changes of weights. They are drawn apart from everything else, so
/// that seeds without them mean what they meant before there were any.
fn steers(seed: u64, listeners: usize, servers: usize) -> VecDeque<(u64, Steer)> {
    let mut random = Random::new(!seed);
    let mut steers = changes(seed, listeners, servers);
    steers.extend(drains::of_parts(seed, listeners));
    steers.extend(forwarding::changes(seed));
    steers.extend(hellos::changes(seed, listeners));
    steers.extend(postgres::changes(seed, listeners));
    steers.extend(keepers::changes(seed, listeners));
    if ![2, 4, 6].contains(&(seed % 7)) {
        steers.sort_by_key(|(at, _)| *at);
        return steers.into();
    }
    for _ in 0..random.between(0, 4) {
        let listener = random.below(listeners as u64) as usize;
        let at = random.between(0, 1000);
        steers.push((at, Steer::Pause(listener)));
        steers.push((at + random.pick(&[0, 5, 300, 2000]), Steer::Resume(listener)));
    }
    for _ in 0..random.between(0, 6) {
        let server = random.below(servers as u64) as usize;
        let weight = random.pick(&[0, 0, 1, 2, 5]);
        steers.push((random.between(0, 1000), Steer::Weigh(server, weight)));
    }
    steers.sort_by_key(|(at, _)| *at);
    steers.into()
}

/// Changes of the config, each listener that goes with its return. Drawn apart, too.
fn changes(seed: u64, listeners: usize, servers: usize) -> Vec<(u64, Steer)> {
    let mut changes = Vec::new();
    if ![3, 5, 9].contains(&(seed % 10)) {
        return changes;
    }
    let mut random = Random::new(!seed.rotate_left(48));
    for _ in 0..random.between(1, 8) {
        let at = random.between(0, 1200);
        let listener = random.below(listeners as u64) as usize;
        let server = random.below(servers as u64) as usize;
        let mut change = |at, change| changes.push((at, Steer::Change(change)));
        match random.below(6) {
            0 => {
                change(at, Change::Close(listener));
                change(at + random.pick(&[5, 100, 500]), Change::Open(listener));
            }
            1 | 2 => change(at, Change::Redirect(listener)),
            3 => change(at, Change::DropServer(server)),
            4 => change(at, Change::AddServer(server)),
            _ => change(at, Change::Rename(server)),
        }
    }
    changes
}
