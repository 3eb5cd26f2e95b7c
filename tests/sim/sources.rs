//! Who is past the gate and who is held, as the run itself keeps count of it: by what its rings
//! have shown, in which phase each client stands, and what the config says of its address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use portcullis::base::Side;
use portcullis::config::SourceAction;
use portcullis::conn::{Phase, Reason};
use portcullis::ring::ConnIndex;

use crate::border::address_of;
use crate::ends::End;
use crate::fault::Fault;
use crate::keepers::{Keeping, Keepings, Limit, Verdict};
use crate::ring::SimRing;
use crate::scenario::Scenario;
use crate::world::Change;

/// How long a client that waits may wait on where its source has room, and how long one that is
/// held may stay beyond its time, by the clock of patience.
const GOES_ON_MILLIS: u64 = 1000;
const SLACK_MILLIS: u64 = 3000;
/// A worker holds so many at least.
const HELD_LEAST: usize = 16;

/// What a ring knows of its listeners' keepers.
#[derive(Debug, Default)]
pub struct Gate {
    /// By listener: what holds now.
    pub now: Vec<Keeping>,
    pub later: Vec<Keeping>,
    /// Listeners that ever had a keeper.
    pub ever: BTreeSet<usize>,
    /// By client: bytes of its that the worker was shown.
    pub shown: BTreeMap<usize, u64>,
    /// Clients that are held.
    pub held: BTreeSet<usize>,
    /// Clients whose slots the worker has just heard to be empty.
    pub left: Vec<usize>,
    /// For how many turns somebody has waited for a place while one was free.
    pub unseated: u32,
}

impl Gate {
    pub fn new(keepings: &Keepings) -> Gate {
        let Keepings { first, later, .. } = keepings.clone();
        let mut gate = Gate { now: first, later, ..Gate::default() };
        gate.note_ever();
        gate
    }

    /// The topology is another.
    pub fn adopt(&mut self, change: Change) {
        if let Change::Rekeep(listener, nth) = change {
            self.now[listener] = self.later[nth].clone();
            self.note_ever();
        }
    }

    fn note_ever(&mut self) {
        let kept = self.now.iter().enumerate().filter(|(_, keeping)| !keeping.is_open());
        self.ever.extend(kept.map(|(listener, _)| listener));
    }
}

/// A client by its worker and its link.
type Who = (usize, usize);
/// A listener and a source of its clients.
type Whose = (usize, IpNet);

/// The clients of all workers.
#[derive(Debug, Default)]
pub struct Book {
    clients: BTreeMap<Who, Entry>,
    /// Moments at which clients went past the gate, by source.
    passed: BTreeMap<Whose, Vec<u64>>,
}

#[derive(Debug)]
struct Entry {
    listener: usize,
    /// Its address was asked for at its begin.
    is_met: bool,
    stand: Stand,
    verdict: Option<Verdict>,
    /// Its source was at a limit when it was judged.
    was_full: bool,
    /// Others were held then, as many as may be.
    was_crowded: bool,
    held: Option<Held>,
    /// When it went on that had been held.
    went_on: Option<u64>,
    /// Its source, if it is counted for it, and whether that is certain.
    counted: Option<(Whose, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Nothing is known of its address.
    Before,
    Held,
    Past,
    /// It is ending.
    Over,
    /// Its slot is empty.
    Left,
}

#[derive(Clone, Debug)]
struct Held {
    since: u64,
    patient: u64,
    limit: Limit,
    is_read: bool,
    /// Since when its source has had room, by the clock of patience.
    room: Option<u64>,
    /// It has ended its direction.
    ended: bool,
}

impl Book {
    /// A worker has turned.
    pub fn turned(&mut self, worker: usize, ring: &mut SimRing, stands: &[(usize, Phase)]) {
        let mut left = Vec::new();
        for client in std::mem::take(&mut ring.gate.left) {
            let Some(entry) = self.clients.get_mut(&(worker, client)) else { continue };
            entry.stand = Stand::Left;
            left.extend(entry.counted.take().map(|(whose, _)| whose));
        }
        let mut begun = Vec::new();
        for &(client, phase) in stands {
            let listener = ring.origin[&client];
            let entry = self.clients.entry((worker, client)).or_insert_with(|| Entry {
                listener,
                is_met: phase == Phase::Meeting,
                stand: Stand::Before,
                verdict: None,
                was_full: false,
                was_crowded: false,
                held: None,
                went_on: None,
                counted: None,
            });
            let is_over = matches!(phase, Phase::Ending(_) | Phase::Vacant);
            let from = ring.judged_by(client, entry.is_met, phase);
            let to = match (phase, from) {
                _ if is_over => Stand::Over,
                (Phase::Held { .. }, _) => Stand::Held,
                (_, Some(_)) => Stand::Past,
                _ => Stand::Before,
            };
            let may_be_judged = from.or_else(|| ring.named_or_own(client, entry.is_met));
            if entry.stand != to {
                begun.push((client, entry.stand, to, may_be_judged, phase));
                entry.stand = to;
            }
        }
        // Those first that were past the gate already, or are by now.
        for &(client, from, to, address, phase) in &begun {
            self.step((worker, client), ring, (from, to), address, phase);
        }
        for (client, from, to, ..) in begun {
            self.check_step((worker, client), ring, (from, to), &left);
        }
        self.check_held(worker, ring);
    }

    /// A client stands elsewhere than before.
    fn step(
        &mut self,
        who: Who,
        ring: &mut SimRing,
        (from, to): (Stand, Stand),
        address: Option<IpAddr>,
        phase: Phase,
    ) {
        let now = ring.now();
        let entry = self.clients.get_mut(&who).expect("it is here");
        let listener = entry.listener;
        // It may have gone past the gate on its way.
        let is_certain = to == Stand::Past;
        if from == Stand::Past || to == Stand::Before {
            return;
        }
        let Some(address) = address else { return };
        let is_new = from == Stand::Before;
        let keeping = &ring.gate.now[listener];
        // Who is held may come, whatever a change says of others.
        let verdict = if is_new { keeping.verdict(address) } else { keeping.limit(address) };
        if is_new {
            entry.verdict = Some(verdict.clone());
        }
        if to == Stand::Held {
            let Verdict::Limited(limit) = &verdict else {
                panic!("client {} is held without a limit: {verdict:?}", who.1);
            };
            let is_read = phase == Phase::Held { is_read: true };
            let (patient, limit) = (ring.patient, limit.clone());
            let held = Held { since: now, patient, limit, is_read, room: None, ended: false };
            return entry.held = Some(held);
        }
        entry.went_on = (from == Stand::Held && is_certain).then_some(now);
        if let Verdict::Limited(Limit { source, most, rate, .. }) = verdict {
            let whose = (listener, source);
            entry.counted = most.is_some().then_some((whose, is_certain));
            if rate.is_some() && is_certain {
                self.passed.entry(whose).or_default().push(now);
            }
        }
    }

    fn check_step(
        &mut self,
        who: Who,
        ring: &mut SimRing,
        (from, to): (Stand, Stand),
        left: &[Whose],
    ) {
        let entry = &self.clients[&who];
        let (client, listener) = (who.1, entry.listener);
        let Some(verdict) = entry.verdict.clone() else { return };
        let is_limited = |limit: &Limit| {
            let whose = (listener, limit.source);
            let own = usize::from(to == Stand::Over && entry.counted.is_some());
            let at_most = self.count(whose, false) - own;
            let full = at_most + left.iter().filter(|its| **its == whose).count();
            limit.rate.is_some() || limit.most.is_some_and(|most| full >= most as usize)
        };
        match (from, to) {
            (Stand::Before, Stand::Past) => {
                let is_denied = verdict == Verdict::Denied;
                assert!(
                    !is_denied,
                    "client {client}, which is denied, was let in: {}",
                    ring.dump()
                );
                if verdict == Verdict::Exempt {
                    ring.faults.note(Fault::CameExempt);
                }
            }
            (Stand::Before, Stand::Held | Stand::Over) => {
                let held = self.held_of(who.0);
                let was_full = matches!(&verdict, Verdict::Limited(limit) if is_limited(limit));
                let entry = self.clients.get_mut(&who).expect("it is here");
                (entry.was_full, entry.was_crowded) = (was_full, held >= HELD_LEAST);
                let is_held = to == Stand::Held;
                assert!(!is_held || was_full, "client {client} is held within its limits");
            }
            (Stand::Held, Stand::Past) => {
                let held = entry.held.as_ref().expect("it was held");
                let waited = held.limit.action == SourceAction::Wait;
                assert!(waited, "client {client} has left its tarpit");
                ring.faults.note(Fault::WentOn);
                if held.is_read {
                    ring.faults.note(Fault::WentOnRead);
                }
                if held.ended {
                    ring.faults.note(Fault::WentOnEnded);
                }
            }
            _ => {}
        }
        let Some((whose, true)) = self.clients[&who].counted.filter(|_| to == Stand::Past) else {
            return;
        };
        let keeping = &ring.gate.now[listener];
        let most = keeping.per_source.as_ref().and_then(|limits| limits.max_connections);
        let count = self.count(whose, true);
        let is_within = most.is_none_or(|most| count <= most as usize);
        assert!(is_within, "{count} clients of one source, {most:?} may be: {}", ring.dump());
        let elsewhere = |(of, its): (&Who, &Entry)| {
            of.0 != who.0 && its.counted.is_some_and(|(its, _)| its == whose)
        };
        if self.clients.iter().any(elsewhere) {
            ring.faults.note(Fault::SourceElsewhere);
        }
    }

    /// Clients that are counted for a source; `certain`: without those of which it is not known.
    fn count(&self, whose: Whose, certain: bool) -> usize {
        let counted = self.clients.values().filter_map(|entry| entry.counted);
        counted.filter(|(its, is_certain)| *its == whose && (*is_certain || !certain)).count()
    }

    /// Those that a worker holds, or held until their ends began.
    fn held_of(&self, worker: usize) -> usize {
        let is_held = |(who, entry): &(&Who, &Entry)| {
            let stays = matches!(entry.stand, Stand::Held | Stand::Over);
            who.0 == worker && entry.held.is_some() && stays
        };
        self.clients.iter().filter(is_held).count()
    }

    /// Who is held goes on when its source has room, or ends in time.
    fn check_held(&mut self, worker: usize, ring: &mut SimRing) {
        let of_worker = (worker, 0)..(worker + 1, 0);
        let own = self.clients.range(of_worker);
        let held = own.filter(|(_, entry)| entry.stand == Stand::Held);
        let held: Vec<_> = held.map(|(who, entry)| (*who, entry.listener)).collect();
        ring.gate.held = held.iter().map(|((_, client), _)| *client).collect();
        for (who, listener) in held {
            let client = who.1;
            let entry = &self.clients[&who];
            let one = entry.held.as_ref().expect("it is held");
            let address = ring.named_or_own(client, entry.is_met).expect("it was judged by it");
            let has_room = match ring.gate.now[listener].limit(address) {
                Verdict::Limited(Limit { source, most, rate: None, .. }) => {
                    most.is_none_or(|most| self.count((listener, source), false) < most as usize)
                }
                Verdict::Limited(_) => false,
                Verdict::Free | Verdict::Exempt | Verdict::Denied => true,
            };
            let waits = one.limit.action == SourceAction::Wait;
            let link = &ring.links[client];
            let room =
                (has_room && waits && !link.rst_in).then(|| one.room.unwrap_or(ring.patient));
            let is_late = room.is_some_and(|since| ring.patient > since + GOES_ON_MILLIS);
            assert!(!is_late, "client {client} waits though its source has room: {}", ring.dump());
            let most = one.limit.wait.as_millis() as u64 + SLACK_MILLIS;
            let is_over = ring.patient > one.patient + most;
            assert!(!is_over, "client {client} is held beyond its time: {}", ring.dump());
            let ended = link.fin_in;
            let one = self.clients.get_mut(&who).and_then(|entry| entry.held.as_mut());
            let one = one.expect("it is held");
            (one.room, one.ended) = (room, ended);
        }
    }

    /// The tables have the sources that the run has counted, and no others.
    pub fn check_tables(&self, sources: u64) {
        let counted = || self.clients.values().filter_map(|entry| entry.counted);
        let least: BTreeSet<_> = counted().filter(|(_, certain)| *certain).collect();
        let least: BTreeSet<_> = least.into_iter().map(|(whose, _)| whose).collect();
        let most: BTreeSet<_> = counted().map(|(whose, _)| whose).collect();
        let is_right = (least.len() as u64..=most.len() as u64).contains(&sources);
        assert!(is_right, "{sources} sources are counted: {self:?}");
    }

    /// All is over: each end was due. Says how many have left a tarpit by themselves, for certain
    /// and perhaps.
    pub fn judge(&self, worker: usize, ring: &mut SimRing, scenario: &Scenario) -> [u64; 2] {
        let mut left = [0; 2];
        for (&(_, client), entry) in self.clients.range((worker, 0)..(worker + 1, 0)) {
            let Some(end) = ring.ends.of(client) else { continue };
            entry.judge(client, &end, ring);
            let within = scenario.preface_within(entry.listener);
            if let (Reason::PreambleTimeout, Some(at), Some(within)) =
                (end.reason, entry.went_on, within)
            {
                let due = at + within.as_millis() as u64;
                let is_due = end.begun.at >= due;
                assert!(is_due, "client {client} had no time for its preface: {end:?}, {entry:?}");
            }
            let is_early = end.reason != Reason::SourceLimit;
            let tarpit = |limit: &Limit| limit.action == SourceAction::Tarpit;
            let sat = entry.held.as_ref().is_some_and(|held| tarpit(&held.limit));
            let may_sit = matches!(&entry.verdict, Some(Verdict::Limited(limit)) if tarpit(limit));
            left[0] += u64::from(is_early && sat);
            left[1] += u64::from(is_early && (sat || may_sit));
        }
        left
    }

    /// No source came faster than its rate, where that was the same all the time.
    pub fn judge_rates(&self, keepings: &[Keeping]) {
        for (&(listener, source), moments) in &self.passed {
            let Verdict::Limited(Limit { rate: Some((each, burst)), .. }) =
                keepings[listener].verdict(source.addr())
            else {
                continue;
            };
            for (first, from) in moments.iter().enumerate() {
                for (last, until) in moments.iter().enumerate().skip(first) {
                    let time = u128::from(until - from) * 1000 + 1000;
                    let may = u128::from(burst) + time / each.as_micros();
                    let came = (last - first + 1) as u128;
                    assert!(came <= may, "{came} clients of {source} came where {may} may");
                }
            }
        }
    }
}

impl Entry {
    fn judge(&self, client: usize, end: &End, ring: &mut SimRing) {
        let name = format!("client {client}");
        let Entry { verdict, held, was_full, was_crowded, .. } = self;
        let was_held = held.is_some();
        let is_joined = ring.joined.contains_key(&client);
        let sends_header = ring.header_bytes(client).is_some();
        let fault = match (end.reason, verdict) {
            (Reason::Denied, Some(Verdict::Denied)) if sends_header => Fault::DeniedByHeader,
            (Reason::Denied, Some(Verdict::Denied)) => Fault::DeniedMet,
            (Reason::SourceLimit, Some(Verdict::Limited(limit))) => {
                let waits = limit.action != SourceAction::Reset;
                if let Some(Held { since, limit, .. }) = held {
                    let due = since + limit.wait.as_millis() as u64;
                    let is_due = end.begun.at >= due;
                    assert!(is_due, "{name} was held for less than its time: {end:?}, {self:?}");
                    match limit.action {
                        SourceAction::Wait => Fault::WaitedInVain,
                        _ => Fault::SatInTarpit,
                    }
                } else {
                    assert!(*was_full, "{name} was refused within its limits: {self:?}");
                    assert!(!waits || *was_crowded, "{name} was not held: {self:?}");
                    Fault::RefusedBySource
                }
            }
            (Reason::Denied | Reason::SourceLimit, _) => {
                panic!("{name} ended as {end:?} and was judged otherwise: {self:?}")
            }
            (Reason::ClientGone, _) if was_held && ring.links[client].rst_in => {
                Fault::ResetWhileHeld
            }
            _ if was_held && end.is_from_outside() => Fault::EndedWhileHeld,
            _ => return,
        };
        let is_barred = matches!(end.reason, Reason::Denied | Reason::SourceLimit);
        assert!(!(is_barred && is_joined), "{name} was kept out and has a server");
        ring.faults.note(fault);
    }
}

impl SimRing {
    /// Clients that their worker has begun with, and their slots.
    pub fn clients_here(&self) -> impl Iterator<Item = (usize, ConnIndex)> {
        let slots = self.slots[Side::Client as usize].iter().enumerate();
        let filled = slots.filter_map(|(slot, link)| Some(((*link)?, ConnIndex(slot as u32))));
        filled.filter(|(client, _)| self.has_begun(*client))
    }

    /// The address that a client is judged by, if it ever is.
    fn named_or_own(&self, client: usize, is_met: bool) -> Option<IpAddr> {
        if self.header_bytes(client).is_some() {
            return self.told_of(client)?.ends.map(|ends| ends.source.ip());
        }
        let own = address_of(client).peer.map(|peer| peer.ip());
        own.filter(|_| is_met)
    }

    /// The same, once it was judged: a client that stands in this phase and is not on its way out.
    fn judged_by(&self, client: usize, is_met: bool, phase: Phase) -> Option<IpAddr> {
        let is_known = match self.header_bytes(client) {
            Some(bytes) if matches!(phase, Phase::Preface { .. } | Phase::Standby { .. }) => {
                self.gate.shown.get(&client).is_some_and(|shown| *shown >= bytes)
            }
            Some(_) | None => phase != Phase::Meeting,
        };
        self.named_or_own(client, is_met).filter(|_| is_known)
    }

    /// A listener goes by another keeper.
    pub fn note_rekept(&mut self, listener: usize) {
        if self.gate.held.iter().any(|client| self.origin[client] == listener) {
            self.faults.note(Fault::RekeptWhileHeld);
        }
    }
}
