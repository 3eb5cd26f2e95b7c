//! Who may come and how many of one source, over all workers of a run.

use std::net::IpAddr;

use portcullis::base::{Bar, ListenerId, Millis};
use portcullis::conn::{Phase, Reason};
use portcullis::source::{Limits, Networks, Prefixes};

use super::Run;
use crate::fault::Fault;
use crate::mutation::Mutation;

/// For how many turns a place may be free and awaited: those who leave free others meanwhile.
const MOST_UNSEATED: u32 = 20;

impl Run {
    /// A worker has turned.
    pub(super) fn check_sources(&mut self, worker: usize) {
        if self.scenario.keepings.is_none() {
            return;
        }
        let its = &mut self.workers[worker];
        let clients: Vec<_> = its.ring().inner.clients_here().collect();
        let stands = clients.into_iter().map(|(client, conn)| (client, its.phase(conn)));
        let stands: Vec<_> = stands.collect();
        self.book.turned(worker, &mut its.ring().inner, &stands);
        self.book.check_tables(self.world.topology().sources.sources());
        let is_read = |(_, phase): &&(usize, Phase)| *phase == Phase::Held { is_read: true };
        let held = stands.iter().filter(is_read).count();
        self.check_places(worker, held);
    }

    /// Those that are held once they were read have no place: others are read meanwhile.
    fn check_places(&mut self, worker: usize, held: usize) {
        let places = match &self.scenario.prefaces {
            Some(asked) => asked.places,
            None => self.scenario.tellings.places,
        };
        let prefaces = self.workers[worker].prefaces();
        let (known, waiting) = (prefaces.known(), prefaces.waiting());
        let ring = &mut self.workers[worker].ring().inner;
        let seated = known - waiting - held;
        if held > 0 && seated >= places {
            ring.faults.note(Fault::PlaceLeft);
        }
        let is_unseated = waiting > 0 && seated < places;
        ring.gate.unseated = if is_unseated { ring.gate.unseated + 1 } else { 0 };
        let turns = ring.gate.unseated;
        assert!(turns < MOST_UNSEATED, "a place is free for {turns} turns, and {waiting} wait");
    }

    /// All have left.
    pub(super) fn judge_sources(&mut self) {
        let tables = &self.world.topology().sources;
        if self.mutation == Mutation::LeaksSource {
            let (prefixes, exempt) = (Prefixes { v4: 32, v6: 64 }, Networks::new([]));
            let limits = Limits { prefixes, exempt, connections: Some(1), rate: None };
            tables.enter(ListenerId(0), &limits, IpAddr::from([127, 0, 0, 1]), Millis(0));
        }
        assert_eq!(tables.sources(), 0, "sources did not come home");
        let Some(keepings) = self.scenario.keepings.clone() else { return };
        if keepings.is_steady {
            self.book.judge_rates(&keepings.first);
        }
        for worker in 0..self.workers.len() {
            let counters = &self.tallies[worker];
            assert_eq!(counters.held.get(), 0, "clients are held that are gone");
            let barred = |bars: &[Bar]| {
                let of = |bar: &Bar| counters.over_listeners(|one| one.barred[*bar as usize].get());
                bars.iter().map(of).sum::<u64>()
            };
            let ended =
                |reason: Reason| counters.over_listeners(|one| one.closed[reason as usize].get());
            let denied = barred(&[Bar::Denied, Bar::NotAllowed]);
            assert_eq!(denied, ended(Reason::Denied), "clients denied were miscounted");
            let refused = barred(&[Bar::Connections, Bar::Rate]);
            let ring = &mut self.workers[worker].ring().inner;
            let [least, most] = self.book.judge(worker, ring, &self.scenario);
            let limited = ended(Reason::SourceLimit);
            let may = limited + least..=limited + most;
            assert!(may.contains(&refused), "clients beyond limits were miscounted: {refused}");
        }
    }
}
