//! What became of every client of a run that is over.

use portcullis::config::ConnectWhen;
use portcullis::conn::{Reason, Wiring};

use super::run::Run;
use super::seen::{Report, Sight};
use crate::ends::End;
use crate::link::Link;
use crate::oracle::{self, Cut};

impl Run {
    /// Everything is over: were the books kept?
    pub fn judge(&mut self) -> Report {
        let owner = self.owner;
        self.with(owner, |process| {
            let ring = process.ring();
            ring.calm_down();
            ring.settle();
            oracle::check_home(ring);
        });
        let process = &self.processes[&owner];
        let budget = &process.budget;
        assert_eq!(budget.free(), budget.limit(), "permits did not come home");
        assert_eq!(budget.used(), 0, "used permits were miscounted");
        assert!(!process.world.any_open(), "a server's connections did not come home");
        self.end(owner, false);
        for (index, link) in self.shared.links.iter().enumerate() {
            let count = link.holds.count();
            assert_eq!(count, 0, "link {index} is held by {count}: it leaks");
        }
        self.judge_counts();
        // What a lane has starved of is not known any more once it was asked to depart.
        self.shared.links.iter_mut().for_each(|link| link.waits = false);
        for (client, listener) in self.shared.origin.clone() {
            self.judge_client(client, listener);
        }
        let lost = self.past.values().flat_map(|past| past.ends.all());
        let lost: Vec<usize> = lost
            .filter(|(_, end)| end.reason == Reason::LostWithSuccessor)
            .map(|(client, _)| client)
            .collect();
        for client in lost {
            let may = self.books.may_be_lost.contains(&client);
            assert!(may, "client {client} was lost, and nobody had bytes of it in hand");
        }
        let clients = self.shared.origin.len() as u64;
        Report { seen: self.seen.0, turns: self.turns, clients }
    }

    /// Each connection was counted at its beginning and at its end, by those that did not fail.
    fn judge_counts(&self) {
        let well = || self.past.values().filter(|past| !past.is_killed);
        let accepted: u64 = well().map(|past| past.accepted).sum();
        let closed: u64 = well().map(|past| past.closed).sum();
        let is_whole = !self.seen.has(Sight::PredecessorDied);
        assert!(!is_whole || accepted == closed, "{accepted} were accepted, {closed} closed");
    }

    fn ends_of(&self, client: usize) -> Vec<End> {
        self.past.values().filter_map(|past| past.ends.of(client)).collect()
    }

    /// The last bytes before a reset may have been cut off by an end from outside.
    fn ends_early(&self) -> bool {
        let timeouts = &self.plan.scenario.timeouts;
        let is_timed = timeouts.idle.or(timeouts.half_close).or(timeouts.max_lifetime).is_some();
        is_timed || self.is_stopped_early || self.seen.has(Sight::RestEnded)
    }

    /// A client may end without a word of the gateway's: it has ended in its silence.
    fn may_leave(&self, client: usize, listener: usize) -> bool {
        let scenario = &self.plan.scenario;
        let link = &self.shared.links[client];
        let asked = scenario.prefaces.as_ref();
        let taken = asked.and_then(|asked| asked.taken_bytes(listener));
        let is_lazy = scenario.tellings.pools.iter().any(|way| way.connect == ConnectWhen::Lazy);
        let is_read = taken.is_some() && link.sent_bytes == 0;
        link.fin_in && (is_read || is_lazy && link.sent_bytes <= taken.unwrap_or(0))
    }

    /// Only a successor had joined a client with this server, and it died before a byte went either
    /// way. The client was joined with no other.
    fn has_left(&self, client: usize, server: usize) -> bool {
        let got_nothing = |link: usize| {
            let link = &self.shared.links[link];
            link.delivered_bytes <= link.heading.own_bytes()
        };
        self.books.left.contains(&(client, server)) && got_nothing(client) && got_nothing(server)
    }

    fn judge_client(&self, client: usize, listener: usize) {
        let link = &self.shared.links[client];
        let name = format!("client {client}");
        assert!(link.closed, "{name} was accepted and neither served nor reset");
        let ends = self.ends_of(client);
        let outside =
            self.books.touched.contains(&client) || ends.iter().any(|end| end.is_from_outside());
        if self.books.cut.contains(&client) {
            return;
        }
        let server = self.shared.joined.get(&client).copied();
        if ends.iter().any(|end| end.reason == Reason::LostWithSuccessor) {
            let server = server.filter(|server| !self.books.cut_servers.contains(server));
            let client = &self.shared.links[client];
            judge_lost(&name, client, None);
            if let Some(server) = server.map(|server| &self.shared.links[server]) {
                judge_lost(&format!("{name}'s server"), server, Some(client));
            }
            return;
        }
        assert!(!ends.is_empty(), "{name} has no end in its slot");
        let is_before_join = ends.iter().any(|end| end.is_before_join());
        let cut = if outside { Cut::Anywhere } else { Cut::Nowhere };
        match self.plan.scenario.wirings[listener] {
            _ if !link.served => oracle::judge_told(&name, link),
            Wiring::Pair => match server.filter(|it| !self.has_left(client, *it)) {
                Some(server) => {
                    let name = format!("{name} with server link {server}");
                    let server = &self.shared.links[server];
                    let given_up = link.given_up || server.given_up || self.ends_early();
                    let cut = if given_up && !outside { Cut::LastBytes } else { cut };
                    oracle::judge_direction(&format!("{name}, up"), link, server, cut);
                    oracle::judge_direction(&format!("{name}, down"), server, link, cut);
                }
                None => {
                    let may_leave = outside || self.may_leave(client, listener);
                    oracle::judge_unjoined(&name, link, may_leave);
                }
            },
            Wiring::Echo | Wiring::Discard | Wiring::Hold if is_before_join => {
                let may_leave = outside || self.may_leave(client, listener);
                oracle::judge_unjoined(&name, link, may_leave);
            }
            Wiring::Echo => oracle::judge_direction(&name, link, link, cut),
            Wiring::Discard => oracle::judge_discarded(&name, link, outside),
            Wiring::Hold => oracle::judge_told(&name, link),
        }
    }
}

/// Both streams of what was lost are cut, unless they had ended before, as one does with the close
/// of its socket that has all of its source.
fn judge_lost(name: &str, link: &Link, source: Option<&Link>) {
    let [_, delivered_bytes] = link.passed_bytes();
    let is_whole = source.is_some_and(|one| one.fin_in && delivered_bytes == one.sent_bytes);
    let had_ended = link.is_shut() || link.peer_aborted || is_whole;
    assert!(had_ended || link.was_reset, "{name} was lost, and that looks like a FIN");
}
