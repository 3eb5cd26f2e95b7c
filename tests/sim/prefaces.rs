//! Clients that are read before a server is chosen: a preface of the simulator's own, so many bytes
//! long as the seed says, and what must hold while it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::base::PreambleFault;
use portcullis::config::{AcceptProxy, Preamble};
use portcullis::conn::{Reason, Wiring};
use portcullis::wire::Ends;
use portcullis::worker::{Decoder, Judgement, Preface, PrefacePlan, Told};

use crate::fault::Fault;
use crate::heading::RECEIVED;
use crate::keepers;
use crate::mutation::Mutation;
use crate::postgres;
use crate::random::{Random, pattern};
use crate::ring::SimRing;
use crate::scenario::Scenario;
use crate::world::{OtherRoute, World, name_of};

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
    /// But for those from this link on: the first decoder is not for them.
    pub directs: Option<usize>,
    /// By listener: what a second decoder reads.
    pub seconds: Vec<Option<Count>>,
    /// The first decoder says whose connection it is, of some.
    pub tells_ends: bool,
    /// By listener: the last one says of some that they go by its other route.
    pub named: Vec<bool>,
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

/// A decoder of it.
#[derive(Debug)]
struct Reader {
    count: Count,
    tells_ends: bool,
    /// The route of those that ask for one.
    other: Option<Arc<OtherRoute>>,
}

impl Decoder for Reader {
    fn judge(&self, bytes: &[u8], _: &[u8]) -> Judgement {
        let Count { bytes: most, taken, is_bad } = self.count;
        match bytes.len() < most {
            true => Judgement::More,
            false if is_bad => Judgement::Bad(PreambleFault::NoHeader),
            false => Judgement::Done { taken_bytes: taken, told: self.told(bytes[0]) },
        }
    }

    fn most_bytes(&self) -> usize {
        self.count.bytes
    }
}

impl Reader {
    /// What a client says that begins with this byte.
    fn told(&self, first: u8) -> Told {
        let ends = self.tells_ends.then(|| ends_by(first)).flatten();
        let other = self.other.as_ref().filter(|_| asks_by(first));
        let field = ends.is_some().then_some([RECEIVED, 0, 1, first]);
        Told {
            ends,
            fields: field.map_or_else(Box::default, Box::from),
            route: other.and_then(|other| other.id()),
            name: other.map(|_| NAME.into()),
            ..Told::default()
        }
    }
}

/// The name that clients ask for that go by another route.
const NAME: &str = "other.example.com";

/// Whose connection a header is about that begins with this byte.
fn ends_by(first: u8) -> Option<Ends> {
    let source = SocketAddr::from(([192, 0, 2, first], 1000 + u16::from(first)));
    let destination = SocketAddr::from(([198, 51, 100, 1], 443));
    first.is_multiple_of(2).then_some(Ends { source, destination })
}

fn asks_by(first: u8) -> bool {
    first % 4 < 2
}

/// What the decoders of a client have said of it.
#[derive(Debug, Default)]
pub struct Heard {
    pub ends: Option<Ends>,
    pub field: Option<Vec<u8>>,
    pub name: Option<&'static str>,
}

/// Drawn apart, and not in the runs of `regressions`.
pub fn asked(seed: u64, wirings: &[Wiring]) -> Option<Asked> {
    if ![2, 7, 13, 15].contains(&(seed % 17)) || postgres::are_drawn(seed) {
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
    let mut asked = Asked {
        prefaces: prefaces.collect(),
        within: Duration::from_millis(random.pick(&[30, 200, 1500])),
        places: random.pick(&[1, 2, 3, 100]),
        meets: random.percent(50) || keepers::are_drawn(seed),
        directs: None,
        seconds: vec![None; wirings.len()],
        tells_ends: false,
        named: vec![false; wirings.len()],
    };
    asked.add(seed, wirings);
    Some(asked)
}

/// What the prefaces are like of runs in which clients move: a header, and what follows it.
pub fn moving(random: &mut Random, wirings: &[Wiring]) -> Asked {
    let none = vec![None; wirings.len()];
    let mut asked = Asked {
        prefaces: none.clone(),
        within: Duration::from_millis(random.pick(&[200, 800, 1500])),
        places: random.pick(&[1, 2, 100]),
        meets: random.percent(60),
        directs: None,
        seconds: none,
        tells_ends: random.percent(50),
        named: vec![false; wirings.len()],
    };
    for (listener, wiring) in wirings.iter().enumerate() {
        let bytes = random.pick(&[1, 5, 20, 60]);
        let is_header = *wiring == Wiring::Pair && random.percent(50);
        let taken = if is_header { bytes } else { 0 };
        let first = Count { bytes, taken, is_bad: random.percent(5) };
        asked.prefaces[listener] = random.percent(80).then_some(first);
        if is_header && asked.prefaces[listener].is_some() && random.percent(60) {
            let bytes = random.pick(&[1, 3, 20]);
            asked.seconds[listener] = Some(Count { bytes, taken: 0, is_bad: false });
        }
    }
    asked
}

impl Asked {
    /// What its decoders say, and second ones. Drawn apart, too.
    fn add(&mut self, seed: u64, wirings: &[Wiring]) {
        let mut random = Random::new(seed.rotate_left(60));
        self.tells_ends = random.percent(60);
        let directs = (self.meets && random.percent(40)).then(|| random.pick(&[2, 8, 16]));
        self.directs = directs;
        for (listener, wiring) in wirings.iter().enumerate() {
            let bytes = random.pick(&[1, 3, 20]);
            let taken = if random.percent(20) { random.pick(&[1, bytes]) } else { 0 };
            let is_bad = random.percent(5);
            let (is_second, is_named) = (random.percent(50), random.percent(60));
            let is_pair = *wiring == Wiring::Pair;
            let Some(first) = self.prefaces[listener].filter(|_| is_pair) else { continue };
            // A header is nobody's but ours.
            let header = Count { taken: first.bytes, ..first };
            if is_second {
                self.prefaces[listener] = Some(header);
                self.seconds[listener] = Some(Count { bytes, taken, is_bad });
            }
            self.named[listener] = is_named;
        }
    }

    /// How many bytes of a client of this listener no server gets, if it is read.
    pub fn taken_bytes(&self, listener: usize) -> Option<u64> {
        self.prefaces[listener]?;
        Some(self.decoders(listener, 0).map(|count| count.taken as u64).sum())
    }

    fn is_direct(&self, client: usize) -> bool {
        self.directs.is_some_and(|from| client >= from)
    }

    /// What a client of this listener is read by, one after the other.
    fn decoders(&self, listener: usize, client: usize) -> impl Iterator<Item = Count> {
        let first = self.prefaces[listener].filter(|_| !self.is_direct(client));
        first.into_iter().chain(self.seconds[listener])
    }
}

/// What a worker is told of it.
pub fn plan(scenario: &Scenario, world: &World, mutation: Mutation) -> PrefacePlan {
    let Some(asked) = &scenario.prefaces else {
        return PrefacePlan { places: scenario.tellings.places, ..PrefacePlan::default() };
    };
    let within = match mutation {
        Mutation::ForgetsPreface => Duration::from_secs(3600),
        _ => asked.within,
    };
    let listeners = asked.prefaces.iter().enumerate().filter_map(|(listener, count)| {
        let mut count = (*count)?;
        if mutation == Mutation::DropsKept {
            count.taken = count.bytes;
        }
        let trust = asked.meets.then(|| trusted(asked.directs));
        let named = asked.named[listener] && mutation != Mutation::ForgetsRoute;
        let other = named.then(|| world.names[listener].clone());
        let mut counts = vec![count];
        counts.extend(asked.seconds[listener]);
        let last = counts.len() - 1;
        let reader = |(nth, count)| {
            let other = other.clone().filter(|_| nth == last);
            let tells_ends = asked.tells_ends && nth == 0;
            Box::new(Reader { count, tells_ends, other }) as Box<dyn Decoder>
        };
        let decoders = counts.into_iter().enumerate().map(reader).collect();
        let preface = Preface { decoders, within, trust };
        Some((name_of(listener), Arc::new(preface)))
    });
    PrefacePlan { listeners: listeners.collect(), places: asked.places }
}

/// All clients, or those before a link.
fn trusted(directs: Option<usize>) -> Preamble {
    let bits = directs.map_or(0, |from| 32 - from.ilog2());
    let network = format!("10.0.0.0/{bits}").parse().expect("a network");
    let accept_proxy = match directs {
        None => AcceptProxy::Required,
        Some(_) => AcceptProxy::FromTrusted,
    };
    let proxy_trusted = vec![network];
    Preamble { accept_proxy, proxy_trusted, ..Preamble::default() }
}

impl SimRing {
    /// What the worker reads of a client before it chooses a server, if it does.
    pub fn preface_of(&self, client: usize) -> Option<Count> {
        let listener = *self.origin.get(&client)?;
        let decoders = self.prefaces.as_ref()?.decoders(listener, client);
        decoders.reduce(|one, next| Count {
            bytes: one.bytes.max(one.taken + next.bytes),
            taken: one.taken + next.taken,
            is_bad: one.is_bad || next.is_bad,
        })
    }

    /// What a client has said of itself when all of it was read.
    pub fn told_of(&self, client: usize) -> Option<Heard> {
        let listener = *self.origin.get(&client)?;
        let asked = self.prefaces.as_ref()?;
        let key = self.links[client].key;
        let (mut at, mut heard) = (0, Heard::default());
        let last = asked.decoders(listener, client).count();
        for (nth, count) in asked.decoders(listener, client).enumerate() {
            let first = pattern(key, at as u64);
            if nth == 0 && asked.tells_ends && !asked.is_direct(client) {
                heard.ends = ends_by(first);
                heard.field = heard.ends.map(|_| vec![first]);
            }
            // A client that is not trusted is read by the last decoder, unless that is the first.
            if nth + 1 == last && asked.named[listener] && asks_by(first) {
                heard.name = Some(NAME);
            }
            at += count.taken;
        }
        Some(heard)
    }

    /// How long the header is that says for whom a client comes, if it sends one.
    pub fn header_bytes(&self, client: usize) -> Option<u64> {
        let asked = self.prefaces.as_ref().filter(|asked| !asked.is_direct(client))?;
        asked.prefaces[*self.origin.get(&client)?].map(|count| count.bytes as u64)
    }

    /// Whether a client asks for another route than its listener's own.
    pub fn asks_for_route(&self, client: usize) -> bool {
        self.told_of(client).is_some_and(|heard| heard.name.is_some())
    }

    /// Whether a client was read by one decoder, and not to the end of the next.
    fn is_between(&self, client: usize) -> bool {
        let listener = self.origin[&client];
        let asked = self.prefaces.as_ref().expect("it is read");
        let first = asked.prefaces[listener].filter(|_| !asked.is_direct(client));
        let received_bytes = self.links[client].received_bytes as usize;
        asked.seconds[listener].is_some() && first.is_some_and(|it| received_bytes >= it.bytes)
    }

    /// Whether a client's address is looked at before it is read.
    pub fn meets(&self, client: usize) -> bool {
        let asked = self.prefaces.as_ref().is_some_and(|asked| asked.meets);
        let is_kept = |listener| self.gate.ever.contains(listener);
        if self.says_hello(client) || self.origin.get(&client).is_some_and(is_kept) {
            return true;
        }
        let listener = self.origin.get(&client);
        asked && listener.is_some_and(|it| self.prefaces.as_ref().unwrap().prefaces[*it].is_some())
    }

    /// How many of a client's bytes no server gets.
    pub fn taken_of(&self, client: usize) -> u64 {
        let of_preface = self.preface_of(client).map_or(0, |count| count.taken as u64);
        of_preface + self.answered_bytes(client)
    }

    fn is_in_preface(&self, client: usize) -> bool {
        let received_bytes = self.links[client].received_bytes;
        self.preface_of(client).is_some_and(|count| received_bytes < count.bytes as u64)
    }

    /// Notes what became of the clients that were read.
    pub fn note_prefaces(&mut self) {
        let clients: Vec<usize> = self.origin.keys().copied().collect();
        for client in clients {
            let is_direct = self.prefaces.as_ref().is_some_and(|asked| asked.is_direct(client));
            if is_direct && self.meets(client) && self.joined.contains_key(&client) {
                self.faults.note(Fault::CameDirectly);
            }
            let Some(count) = self.preface_of(client) else { continue };
            let reason = self.ends.of(client).map(|end| end.reason);
            let fault = match reason {
                _ if self.joined.contains_key(&client) => Fault::ReadBeforeServer,
                Some(Reason::BadPreamble) if count.is_bad => Fault::PrefaceRefused,
                Some(Reason::BadPreamble) if self.meets(client) => Fault::Unmet,
                _ if !self.is_in_preface(client) => continue,
                Some(Reason::ClientGone) if self.is_between(client) => Fault::GoneBetween,
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
    /// The same for those that stand by.
    aside: BTreeMap<usize, u64>,
}

impl Readings {
    /// No client holds a place for longer than its preface may take; those who stand by hold none.
    pub fn check(&mut self, ring: &mut SimRing, within: Duration, stand_by: &BTreeSet<usize>) {
        let within = within.as_millis() as u64;
        let most = within + SLACK_MILLIS;
        for &client in stand_by {
            let since = *self.aside.entry(client).or_insert(ring.patient);
            if ring.patient > since + within {
                ring.faults.note(Fault::StoodByForLong);
            }
        }
        for &client in ring.origin.keys() {
            let is_held = ring.gate.held.contains(&client) || stand_by.contains(&client);
            if ring.links[client].closed || is_held || !ring.is_in_preface(client) {
                self.since.remove(&client);
                continue;
            }
            let since = *self.since.entry(client).or_insert(ring.patient);
            let is_late = ring.patient > since + most;
            assert!(!is_late, "client {client} has a preface without an end: {}", ring.dump());
        }
    }
}
