//! What a peer that never reads, ends or answers may hold, and what ends all the same.

use std::collections::BTreeMap;

use portcullis::base::Side;

use crate::ends::LAST_BYTES_MILLIS;
use crate::fault::Fault;
use crate::link::Link;
use crate::ring::SimRing;
use crate::scenario::Scenario;

/// How long a connection may stay of which one side was reset: without a byte of what was sent
/// before, and then for its ending.
const RESET_MILLIS: u64 = LAST_BYTES_MILLIS + 10_000;

/// Sides that were reset and whose connection is there.
#[derive(Debug, Default)]
pub struct Resets {
    /// By link: what of it had made its way, and since when no more.
    since: BTreeMap<usize, (u64, u64)>,
}

impl Resets {
    /// A connection ends of which one side was reset, whatever the other side does. `steady` is the
    /// clock, but for what a worker could not use.
    pub fn check(&mut self, ring: &mut SimRing, steady: u64) {
        for index in 0..ring.links.len() {
            let link = &ring.links[index];
            let is_there = link.server || ring.origin.contains_key(&index);
            if !link.rst_in || link.closed || !is_there {
                self.since.remove(&index);
                continue;
            }
            let across = ring.across(index);
            let passed = across.map_or(0, |at| {
                let Link { taken_bytes, delivered_bytes, .. } = ring.links[at];
                taken_bytes + delivered_bytes
            });
            let moved = link.received_bytes + passed;
            let holds = across.is_some_and(|at| ring.links[at].peer.never.is_some());
            let (before, since) = *self.since.entry(index).or_insert_with(|| {
                if holds && link.joined {
                    ring.faults.note(Fault::ResetAcrossHolder);
                }
                (moved, steady)
            });
            if moved != before {
                self.since.insert(index, (moved, steady));
            } else if steady > since + RESET_MILLIS {
                panic!("link {index} was reset and its connection is held: {}", ring.dump());
            }
        }
    }
}

impl SimRing {
    /// The slot that a link lies in, and its side.
    fn place_of(&self, link: usize) -> Option<(usize, Side)> {
        Side::BOTH.into_iter().find_map(|side| {
            let slots = &self.slots[side as usize];
            slots.iter().position(|slot| *slot == Some(link)).map(|slot| (slot, side))
        })
    }

    /// The link of the other side.
    fn across(&self, link: usize) -> Option<usize> {
        let (slot, side) = self.place_of(link)?;
        self.slots[side.other() as usize][slot]
    }

    /// A side has sent FIN and all before it is with the other side.
    fn is_half_closed(&self, client: usize, server: usize) -> bool {
        [(client, server), (server, client)].iter().any(|&(source, sink)| {
            let (source, sink) = (&self.links[source], &self.links[sink]);
            let told_bytes = source.told_bytes();
            let [taken_bytes, _] = sink.passed_bytes();
            source.fin_in && source.sent_bytes == told_bytes && taken_bytes == told_bytes
        })
    }

    /// Every peer brings its connection to an end, whatever it never did before.
    pub fn give_in(&mut self) {
        self.links.iter_mut().for_each(|link| link.peer.give_in());
        self.knocks.iter_mut().for_each(|knock| knock.peer.give_in());
    }

    /// Nothing has moved for long: what is still here is held by its peer, and no timeout bounds
    /// it. Says whether anything is here.
    pub fn check_held(&mut self, scenario: &Scenario) -> bool {
        let clients: Vec<usize> = self.origin.keys().copied().collect();
        let mut held = false;
        for client in clients.into_iter().filter(|&client| !self.links[client].closed) {
            let server = self.across(client);
            let sides = || [Some(client), server].into_iter().flatten().map(|at| &self.links[at]);
            let says =
                |what: &str| format!("client {client} is held beyond {what}: {}", self.dump());
            // A pool that holders use up starves others, as its size allows.
            let holds = sides().any(|link| link.peer.never.is_some());
            assert!(holds || !self.buffers.any_free(), "{}", says("its peers' ends"));
            let timeouts = &scenario.timeouts;
            let half = server.is_some_and(|server| self.is_half_closed(client, server));
            assert!(timeouts.max_lifetime.is_none(), "{}", says("its lifetime"));
            assert!(timeouts.idle.is_none(), "{}", says("its idle timeout"));
            assert!(!half || timeouts.half_close.is_none(), "{}", says("its half-close timeout"));
            held = true;
        }
        if held {
            self.faults.note(Fault::HeldForEver);
            if self.listeners.iter().any(|listener| !listener.queue.is_empty()) {
                self.faults.note(Fault::HeldUp);
            }
        }
        held
    }
}
