//! What a seed of these runs means.

use std::collections::VecDeque;
use std::time::Duration;

use portcullis::config::{AllDown, AtLimit, ConnectWhen, Forwarding, Guards, Terms};
use portcullis::wire::handover::MESSAGE_MAX;

use super::courier::Rates;
use crate::fault::Fault;
use crate::forwarding::Tellings;
use crate::peer::{Peer, Reading, Step as Act};
use crate::prefaces::{self, Asked};
use crate::random::Random;
use crate::scenario::{Knock, Scenario, Shape, Stop};

/// The steps of a handover, as the control planes take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Connections depart.
    Moving,
    /// The doors of the predecessor are being shut.
    Shutting,
    /// The successor is to accept.
    Switching,
    /// What could not go is tried again.
    Resting,
    /// What cannot go is ended.
    Ending,
    /// The successor is on probation.
    Proving,
    /// It is to stand on its own.
    Committing,
    /// Everything is taken back.
    TakingBack,
    /// The predecessor is gone, and the successor has not heard of that.
    Orphaned,
}

impl Step {
    const ALL: [Step; 7] = [
        Step::Moving,
        Step::Shutting,
        Step::Switching,
        Step::Resting,
        Step::Ending,
        Step::Proving,
        Step::Committing,
    ];
}

/// A moment of a handover: so many turns after a step has begun.
#[derive(Clone, Copy, Debug)]
pub struct When {
    pub step: Step,
    pub turns: u64,
}

/// What becomes of a handover.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It is committed, if it can be.
    Commit,
    SuccessorDies(When),
    PredecessorDies(When),
    /// It is aborted.
    Abort(When),
    /// The successor stands still for so long.
    Hangs(When, u64),
    /// It is aborted because the gateway is to end; whether the stop waits for the takeback.
    Stops(When, bool),
    /// The worker drains when the handover begins.
    Drains,
}

/// One handover.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// How long after the last one it begins.
    pub after: u64,
    /// How long passes over many connections would take, at least.
    pub passes: u64,
    /// How long what cannot go is tried again, and how long the successor is on probation.
    pub rest: u64,
    pub probation: u64,
    pub fate: Fate,
    /// Ways between both workers.
    pub ways: usize,
    /// How large the successor is.
    pub shape: Shape,
    /// In how many of a hundred its kernel refuses a socket.
    pub refuses: u64,
    /// It takes clients that have no server yet.
    pub takes_unserved: bool,
    /// The successor lacks a route, and a server.
    pub lacks: [bool; 2],
    pub rates: Rates,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub scenario: Scenario,
    pub upgrades: VecDeque<Upgrade>,
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let mut scenario = scenario(seed);
        let mut random = Random::new(!seed.rotate_left(12));
        let count = random.between(1, 3);
        let shape = scenario.shape.clone();
        let upgrades = (0..count).map(|_| upgrade(&mut random, &shape)).collect();
        scenario.knocks = knocks(&mut random, &scenario);
        Plan { scenario, upgrades }
    }
}

/// What goes before a join is lazy clients, prefaces that are answered nothing, and waits for a
/// server.
fn scenario(seed: u64) -> Scenario {
    let mut scenario = Scenario::new(seed);
    let mut random = Random::new(seed.rotate_left(3));
    let early = Early::new(seed, &scenario);
    let clocks = [Fault::ClockJump, Fault::TurnLate, Fault::Paused];
    for clock in clocks {
        if random.percent(85) {
            scenario.faults = scenario.faults.with(clock, 0);
        }
    }
    if random.percent(50) {
        scenario.faults = scenario.faults.with(Fault::TakenAhead, random.pick(&[20, 60, 100]));
    }
    let slots = scenario.shape.slots.clamp(4, 60);
    let is_timed = random.percent(25);
    let timeouts = &mut scenario.timeouts;
    if !is_timed {
        (timeouts.first_byte, timeouts.idle) = (None, None);
        (timeouts.half_close, timeouts.max_lifetime) = (None, None);
    }
    timeouts.queue = Duration::from_secs(10);
    let places = scenario.wirings.len();
    // Drawn apart.
    let bounds_listeners = Random::new(seed.rotate_left(41)).percent(60);
    Scenario {
        shape: Shape {
            slots,
            holders: 0,
            parts: scenario.shape.parts.min(slots),
            ..scenario.shape
        },
        workers: 1,
        quotas: if bounds_listeners { scenario.quotas } else { vec![None; places] },
        at_limit: if random.percent(15) { AtLimit::Reset } else { AtLimit::Queue },
        evict: None,
        terms: early.terms,
        all_down: early.all_down,
        guards: Guards::default(),
        stop: Stop::WhenQuiet,
        drain: None,
        returns: VecDeque::new(),
        drains_parts: false,
        calm_at: u64::MAX,
        asks: 0,
        kills: false,
        access: None,
        prefaces: early.prefaces,
        speech: None,
        keepings: None,
        tls: None,
        tellings: early.tellings,
        is_steered: false,
        steers: VecDeque::new(),
        ..scenario
    }
}

/// What keeps clients from a server.
struct Early {
    prefaces: Option<Asked>,
    tellings: Tellings,
    terms: Vec<Terms>,
    all_down: AllDown,
}

impl Early {
    /// Drawn apart. In half of the runs there is none.
    fn new(seed: u64, scenario: &Scenario) -> Early {
        let mut random = Random::new(seed.rotate_left(29));
        let mut early = Early {
            prefaces: None,
            tellings: Tellings::default(),
            terms: vec![Terms::default(); scenario.servers],
            all_down: AllDown::TryAll,
        };
        if random.percent(50) {
            return early;
        }
        if random.percent(50) {
            early.prefaces = Some(prefaces::moving(&mut random, &scenario.wirings));
        }
        if random.percent(50) {
            let wait = random.pick(&[None, Some(40), Some(300), Some(3000)]);
            let lazy_wait = wait.map(Duration::from_millis);
            let way = Forwarding { connect: ConnectWhen::Lazy, lazy_wait, ..Forwarding::default() };
            early.tellings = Tellings { pools: [way.clone(), way], later: vec![], places: 2 };
        }
        if random.percent(40) {
            early.all_down = AllDown::Wait;
            let most = Some(random.between(1, 4) as u32);
            early.terms.iter_mut().for_each(|terms| terms.max_connections = most);
        }
        early
    }
}

fn upgrade(random: &mut Random, own: &Shape) -> Upgrade {
    let when = |random: &mut Random| When {
        step: random.pick(&Step::ALL),
        turns: random.pick(&[0, 1, 2, 3, 5, 8, 13, 30, 80]),
    };
    let fate = match random.below(14) {
        0..=3 => Fate::Commit,
        4..=7 => Fate::SuccessorDies(when(random)),
        8 => Fate::PredecessorDies(when(random)),
        9 | 10 => Fate::Abort(when(random)),
        11 => Fate::Hangs(when(random), random.pick(&[100, 1000, 3000])),
        12 => Fate::Stops(when(random), random.percent(50)),
        _ => Fate::Drains,
    };
    let mut shape = own.clone();
    if random.percent(30) {
        shape.slots = random.between(2, u64::from(own.slots)) as u32;
        shape.parts = random.pick(&[1, 1, 2]);
    }
    if random.percent(30) {
        shape.parked_bytes = random.pick(&[0, 8, 4096]);
        shape.buffers = random.pick(&[1, 4, 16]);
    }
    let mut some = |rates: &[u64]| if random.percent(25) { random.pick(rates) } else { 0 };
    let (full, late) = (some(&[5, 40]), some(&[5, 60]));
    let (strange, refuses) = (some(&[5, 50]), some(&[3, 30]));
    let (lost, spoilt) = (some(&[0, 0, 2, 20]), some(&[0, 0, 2, 20]));
    let lacks = [some(&[0, 0, 1]) > 0, some(&[0, 0, 1]) > 0];
    Upgrade {
        after: random.pick(&[0, 20, 100, 400, 1500]),
        passes: random.pick(&[0, 0, 0, 500, 2000]),
        rest: random.pick(&[300, 2000, 8000]),
        probation: random.pick(&[0, 50, 600]),
        fate,
        ways: random.pick(&[1, 1, 2, 3]),
        shape,
        refuses,
        takes_unserved: random.percent(90),
        lacks,
        rates: {
            let room = random.pick(&[1, 2, 4, 16]);
            // Some batches have to go in pieces.
            let most_bytes = if room == 4 { 400 } else { MESSAGE_MAX };
            Rates { full, late, lost, spoilt, strange, room, most_bytes }
        },
    }
}

/// Clients that come before, while and after connections move.
fn knocks(random: &mut Random, scenario: &Scenario) -> Vec<Knock> {
    let clients = random.between(1, 40);
    let spread = random.pick(&[0, 300, 1500, 4000]);
    let knock = |_| {
        let at = random.between(0, spread);
        let listener = random.below(scenario.wirings.len() as u64) as usize;
        Knock { at, worker: 0, listener, peer: peer(random, scenario, at), begin: None }
    };
    (0..clients).map(knock).collect()
}

fn peer(random: &mut Random, scenario: &Scenario, at: u64) -> Peer {
    let largest = scenario.shape.largest_send;
    let mut peer = Peer::new(random, largest, at, false);
    let some = Act::Send(random.between(1, largest));
    let long = Act::Pause(random.between(500, 6000));
    let end = [Act::Fin, Act::AwaitEnd, Act::Close];
    let script = match random.below(8) {
        // Idle, with a word now and then.
        0 | 1 => vec![some, long, some, long, some],
        // Nothing at all for long.
        2 => vec![long],
        // Bulk.
        3 => vec![Act::Send(largest * 20), some],
        // Half-closed for long, with bulk from the other side perhaps.
        4 => vec![some, Act::Fin, long, Act::AwaitEnd],
        // A reset in mid-flight.
        5 => vec![Act::Send(largest * 4), Act::Pause(random.between(1, 300)), Act::Rst],
        _ => return peer,
    };
    peer.script = script.into();
    peer.script.extend(end);
    if random.percent(30) {
        peer.reading = Reading::Slow { bytes: random.between(1, 9), every_millis: 20 };
    }
    peer
}
