//! Clients that are read before a server is chosen: a preface of the simulator's own, so many bytes
//! long as the seed says, and what must hold while it is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis::base::PreambleFault;
use portcullis::config::{AcceptProxy, Preamble};
use portcullis::conn::{Reason, Wiring};
use portcullis::worker::{Decoder, Judgement, Preface, PrefacePlan, Told};

use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::Scenario;
use crate::world::name_of;

/// How long a preface may take beyond its time: the clock of the worker may stand, and a cancel may
/// have to be repeated.
const SLACK_MILLIS: u64 = 5000;

/// What the prefaces of a run are like.
#[derive(Clone, Debug)]
pub struct Asked {
    /// By listener.
    pub prefaces: Vec<Option<Count>>,
    pub within: Duration,
    pub places: usize,
    /// The worker looks at a client's address before it reads it. All are trusted.
    pub meets: bool,
}

/// The simulator's preface.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// So many bytes.
    pub bytes: usize,
    /// Of which so many are nobody's but ours.
    pub taken: usize,
    /// They never are one.
    pub is_bad: bool,
}

impl Decoder for Count {
    fn judge(&self, bytes: &[u8]) -> Judgement {
        match bytes.len() < self.bytes {
            true => Judgement::More,
            false if self.is_bad => Judgement::Bad(PreambleFault::NoHeader),
            false => Judgement::Done { taken_bytes: self.taken, told: Told::default() },
        }
    }

    fn most_bytes(&self) -> usize {
        self.bytes
    }
}

/// Drawn apart, and not in the runs of `regressions`.
pub fn asked(seed: u64, wirings: &[Wiring]) -> Option<Asked> {
    if ![2, 7, 13, 15].contains(&(seed % 17)) {
        return None;
    }
    let mut random = Random::new(seed.rotate_left(12));
    let prefaces = wirings.iter().map(|wiring| {
        let bytes = random.pick(&[1, 5, 20, 60]);
        let takes = *wiring == Wiring::Pair && random.percent(40);
        let taken = if takes { random.pick(&[1, bytes]) } else { 0 };
        let is_bad = random.percent(5);
        random.percent(80).then_some(Count { bytes, taken, is_bad })
    });
    Some(Asked {
        prefaces: prefaces.collect(),
        within: Duration::from_millis(random.pick(&[30, 200, 1500])),
        places: random.pick(&[1, 2, 3, 100]),
        meets: random.percent(50),
    })
}

/// What a worker is told of it.
pub fn plan(scenario: &Scenario, mutation: Mutation) -> PrefacePlan {
    let Some(asked) = &scenario.prefaces else { return PrefacePlan::default() };
    let within = match mutation {
        Mutation::ForgetsPreface => Duration::from_secs(3600),
        _ => asked.within,
    };
    let listeners = asked.prefaces.iter().enumerate().filter_map(|(listener, count)| {
        let mut count = (*count)?;
        if mutation == Mutation::DropsKept {
            count.taken = count.bytes;
        }
        let trust = asked.meets.then(everybody);
        let preface = Preface { decoders: vec![Box::new(count)], within, trust };
        Some((name_of(listener), Arc::new(preface)))
    });
    PrefacePlan { listeners: listeners.collect(), places: asked.places }
}

fn everybody() -> Preamble {
    let network = "0.0.0.0/0".parse().expect("a network");
    let (accept_proxy, proxy_trusted) = (AcceptProxy::Required, vec![network]);
    Preamble { accept_proxy, proxy_trusted, ..Preamble::default() }
}

impl SimRing {
    /// What the worker reads of a client before it chooses a server, if it does.
    pub fn preface_of(&self, client: usize) -> Option<Count> {
        let listener = *self.origin.get(&client)?;
        self.prefaces.as_ref()?.prefaces[listener]
    }

    /// Whether a client's address is looked at before it is read.
    pub fn meets(&self, client: usize) -> bool {
        let asked = self.prefaces.as_ref().is_some_and(|asked| asked.meets);
        asked && self.preface_of(client).is_some()
    }

    /// How many of a client's bytes no server gets.
    pub fn taken_of(&self, client: usize) -> u64 {
        self.preface_of(client).map_or(0, |count| count.taken as u64)
    }

    fn is_in_preface(&self, client: usize) -> bool {
        let received_bytes = self.links[client].received_bytes;
        self.preface_of(client).is_some_and(|count| received_bytes < count.bytes as u64)
    }

    /// Notes what became of the clients that were read.
    pub fn note_prefaces(&mut self) {
        let clients: Vec<usize> = self.origin.keys().copied().collect();
        for client in clients {
            let Some(count) = self.preface_of(client) else { continue };
            let reason = self.ends.of(client).map(|end| end.reason);
            let fault = match reason {
                _ if self.joined.contains_key(&client) => Fault::ReadBeforeServer,
                Some(Reason::BadPreamble) if count.is_bad => Fault::PrefaceRefused,
                Some(Reason::BadPreamble) if self.meets(client) => Fault::Unmet,
                _ if !self.is_in_preface(client) => continue,
                Some(Reason::ClientGone) => Fault::GoneInPreface,
                Some(Reason::PreambleTimeout) => Fault::PrefaceTooLate,
                Some(Reason::Drained | Reason::Stopped | Reason::Killed) => Fault::EndedInPreface,
                _ => continue,
            };
            self.faults.note(fault);
        }
    }
}

/// Clients that are read.
#[derive(Debug, Default)]
pub struct Readings {
    /// By client link: since when, by the clock of patience.
    since: BTreeMap<usize, u64>,
}

impl Readings {
    /// No client holds a place for longer than its preface may take.
    pub fn check(&mut self, ring: &SimRing, within: Duration) {
        let most = within.as_millis() as u64 + SLACK_MILLIS;
        for &client in ring.origin.keys() {
            if ring.links[client].closed || !ring.is_in_preface(client) {
                self.since.remove(&client);
                continue;
            }
            let since = *self.since.entry(client).or_insert(ring.patient);
            let is_late = ring.patient > since + most;
            assert!(!is_late, "client {client} has a preface without an end: {}", ring.dump());
        }
    }
}
