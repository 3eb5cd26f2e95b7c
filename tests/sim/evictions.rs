//! Who is evicted at a limit: as many as wait there, and whoever may be while one waits.

use std::sync::Arc;
use std::time::Duration;

use portcullis::base::{ConnIndex, OpKind, Side};
use portcullis::budget::Budget;
use portcullis::config::AtLimit;
use portcullis::conn::Wiring;

use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::ring::SimRing;
use crate::scenario::Scenario;

/// How long a connection has been idle that makes way, as workers are told.
pub fn idle_after(scenario: &Scenario, mutation: Mutation) -> Duration {
    let asked = scenario.evict.unwrap_or(Duration::from_secs(60));
    match mutation {
        Mutation::EvictsEarly => asked / 4,
        Mutation::EvictsNever => Duration::from_secs(3600),
        _ => asked,
    }
}

/// The limits of a run: the gateway's, and by listener its own.
#[derive(Debug)]
pub struct Limits {
    gateway: Arc<Budget>,
    quotas: Vec<Option<Arc<Budget>>>,
}

/// How things stood before a turn.
#[derive(Debug)]
pub struct Before {
    limits: Limits,
    /// By listener: clients in the queues of all workers.
    queued: Vec<usize>,
    /// Evictions ever begun, by limit: the gateway's, then each listener's.
    begun: Vec<u32>,
}

impl Limits {
    pub fn new(gateway: Arc<Budget>, quotas: Vec<Option<Arc<Budget>>>) -> Limits {
        Limits { gateway, quotas }
    }

    /// Each limit with the listener that it is of.
    fn all(&self) -> impl Iterator<Item = (Option<usize>, &Budget)> {
        let quotas = self.quotas.iter().enumerate();
        let quotas =
            quotas.filter_map(|(listener, quota)| Some((Some(listener), &**quota.as_ref()?)));
        [(None, &*self.gateway)].into_iter().chain(quotas)
    }

    /// The limit that keeps the clients of a listener waiting, if one does.
    fn reached(&self, listener: usize) -> Option<Option<usize>> {
        let is_used_up = |bound: &Budget| bound.unused() == 0;
        if self.quotas[listener].as_deref().is_some_and(is_used_up) {
            return Some(Some(listener));
        }
        is_used_up(&self.gateway).then_some(None)
    }

    /// Nobody waits at a limit while a connection may make way: nothing has moved for long.
    pub fn check_nobody_waits(&self, scenario: &Scenario, rings: &[&SimRing]) {
        if scenario.at_limit != AtLimit::Evict {
            return;
        }
        for ring in rings {
            for (nth, listener) in ring.listeners.iter().enumerate() {
                let waits = !listener.queue.is_empty() && !listener.paused;
                let Some(of) = self.reached(nth).filter(|_| waits && listener.gate.is_some())
                else {
                    continue;
                };
                let idle = rings.iter().find_map(|ring| ring.idle_of(of));
                let dump = || rings.iter().map(|ring| ring.dump()).collect::<Vec<_>>().join("\n");
                assert!(
                    idle.is_none(),
                    "a client of listener {nth} waits beside an idle connection, {idle:?}: {}",
                    dump()
                );
            }
        }
    }
}

impl Before {
    pub fn new<'a>(limits: Limits, rings: impl Iterator<Item = &'a mut SimRing>) -> Before {
        let mut queued = vec![0; limits.quotas.len()];
        for ring in rings {
            let here = ring.listeners.iter().map(|listener| listener.queue.len());
            queued.iter_mut().zip(here).for_each(|(sum, here)| *sum += here);
        }
        let begun = limits.all().map(|(_, bound)| bound.evictions().0).collect();
        Before { limits, queued, begun }
    }

    /// The turn of a worker is over: with what it has begun, no more evictions are under way than
    /// clients waited.
    pub fn check(&self, ring: &mut SimRing) {
        for ((of, bound), before) in self.limits.all().zip(&self.begun) {
            let (begun, under_way) = bound.evictions();
            if begun == *before {
                continue;
            }
            let is_meant = |listener: usize| of.is_none_or(|of| of == listener);
            let queued = self.queued.iter().enumerate();
            let queued: usize = queued.filter(|(at, _)| is_meant(*at)).map(|(_, one)| one).sum();
            assert!(
                under_way as usize <= queued,
                "{under_way} are evicted for clients that are not there: {queued} waited"
            );
            let fault = if of.is_some() { Fault::EvictedByQuota } else { Fault::Evicted };
            ring.faults.note(fault);
            let mut own = ring.listeners.iter().enumerate().filter(|(at, _)| is_meant(*at));
            if own.all(|(_, listener)| listener.queue.is_empty()) {
                ring.faults.note(Fault::EvictedElsewhere);
            }
        }
    }
}

impl SimRing {
    /// A client of a listener, or of any, whose connection is joined and does nothing.
    fn idle_of(&self, of: Option<usize>) -> Option<usize> {
        let is_idle = |client: usize, listener: usize| {
            let Some(slot) =
                self.slots[Side::Client as usize].iter().position(|s| *s == Some(client))
            else {
                return false;
            };
            let conn = ConnIndex(slot as u32);
            let is_joined = match self.wirings[listener] {
                Wiring::Pair => self.joined.contains_key(&client),
                Wiring::Echo | Wiring::Discard | Wiring::Hold => self.preface_of(client).is_none(),
            };
            let is_step = |kind| {
                use OpKind::{Close, Connect, Open, Reset, Send, Shutdown, Unacknowledged};
                matches!(kind, Close | Connect | Open | Reset | Send | Shutdown | Unacknowledged)
            };
            let acts = self.ops.iter().any(|op| op.token.conn == conn && is_step(op.token.kind));
            is_joined && !acts && !self.is_ending(conn)
        };
        let meant = self.origin.iter().filter(|(_, listener)| of.is_none_or(|of| of == **listener));
        let mut there = meant.filter(|(client, _)| !self.links[**client].closed);
        there.find(|(client, listener)| is_idle(**client, **listener)).map(|(client, _)| *client)
    }
}
