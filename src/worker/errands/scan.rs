//! Scans for the connections that match a filter, and then asks for their addresses.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::reach::Reach;
use super::step::{Step, VISITED_PER_STEP};
use crate::base::{BySide, ConnIndex, Millis, Side};
use crate::query::{By, ConnId};
use crate::ring::{FourTuple, Token};
use crate::worker::question::{Answer, Candidate, Purpose, Reply, Row, Task};

/// Sides whose addresses are asked for at one time: each is an ordinary descriptor for a moment.
const ASKED_AT_ONCE: usize = 64;

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    task: Task,
    /// Completions that arrived before it are read before a connection is visited.
    began: Millis,
    stage: Stage,
    answer: Answer,
    /// The best so far, the least of them on top.
    best: BinaryHeap<Reverse<Candidate>>,
    asked: Vec<Asked>,
    /// Their client's side is as it must be; the other side is asked for in the next step. They
    /// are as few as were asked for at one time.
    half_known: Vec<Candidate>,
}

/// How far a scan is.
#[derive(Debug)]
enum Stage {
    /// Visiting connections: from this slot on, or from this place in the list of ids.
    Scanning(u32),
    /// Asking for the addresses of the chosen; the number counts sides.
    Addresses(Vec<Candidate>, usize),
    /// The asker is gone. Completions of open operations are dropped.
    Deserted,
    /// All is known.
    Over,
}

/// A question to the kernel that is open.
#[derive(Debug)]
struct Asked {
    id: ConnId,
    side: Side,
    about: About,
}

#[derive(Debug)]
enum About {
    /// Its client's address decides whether it matches.
    Candidate(Candidate),
    /// The row at this place.
    Row(usize),
}

/// Connections that a scan has chosen to be ended.
#[derive(Debug)]
pub struct Chosen {
    /// The question.
    pub task: Task,
    /// The answer as far as it is known.
    pub answer: Answer,
    /// Connections to be ended if they still match when they are reached.
    pub ids: VecDeque<ConnId>,
}

impl Scan {
    /// A scan at its begin.
    pub fn new(task: Task, began: Millis) -> Scan {
        Scan {
            task,
            began,
            stage: Stage::Scanning(0),
            answer: Answer::default(),
            best: BinaryHeap::new(),
            asked: Vec::new(),
            half_known: Vec::new(),
        }
    }

    /// Visits a bounded number of connections, or asks for a bounded number of addresses.
    pub fn step<R: Reach>(&mut self, reach: &mut R) -> Step {
        if self.task.reply.is_closed() {
            self.stage = if self.is_asking() { Stage::Deserted } else { Stage::Over };
        }
        let goes_on = match self.stage {
            // Until then the state of connections is older than the question.
            Stage::Scanning(_) if reach.heard() < self.began => true,
            Stage::Scanning(from) => self.scan_slots(reach, from),
            Stage::Addresses(..) => self.ask_row_addresses(reach),
            Stage::Deserted | Stage::Over => false,
        };
        match self.stage {
            Stage::Over => Step::Over,
            _ if goes_on => Step::At(reach.now()),
            _ => Step::Waits,
        }
    }

    /// Ends a scan that is over: a kill gets the chosen connections, any other asker its answer.
    pub fn finish(self) -> Option<Chosen> {
        let Scan { task, answer, best, .. } = self;
        if task.purpose == Purpose::Kill && !task.reply.is_closed() {
            let ids = best.into_iter().map(|Reverse(candidate)| candidate.row.id).collect();
            return Some(Chosen { task, answer, ids });
        }
        let _ = task.reply.send(Reply::Done(answer));
        None
    }

    /// Addresses were found, or could not be: perhaps this scan asked for them.
    pub fn addresses_found(&mut self, token: Token, found: Option<FourTuple>) {
        let is_about = |asked: &Asked| {
            let Asked { id, side, .. } = asked;
            (id.slot, id.generation, *side) == (token.conn.0, token.generation, token.side)
        };
        // An id that was named twice waits twice for the one answer.
        while let Some(place) = self.asked.iter().position(is_about) {
            let asked = self.asked.swap_remove(place);
            self.hear(asked, found);
        }
    }

    /// Visits a bounded number of connections from `from` on. Says whether it can go on before the
    /// kernel answers.
    fn scan_slots<R: Reach>(&mut self, reach: &mut R, mut from: u32) -> bool {
        for candidate in std::mem::take(&mut self.half_known) {
            if reach.is_there(candidate.row.id) {
                self.ask_about(reach, candidate, Side::Upstream);
            }
        }
        for _ in 0..VISITED_PER_STEP {
            if self.asked.len() == ASKED_AT_ONCE {
                self.stage = Stage::Scanning(from);
                return false;
            }
            let place = match &self.task.only {
                Some(ids) => ids.get(from as usize).map(|_| from),
                None => reach.next_slot(from).map(|index| index.0),
            };
            let Some(place) = place else {
                self.stage = Stage::Scanning(from);
                return self.end_scanning();
            };
            from = place + 1;
            match self.task.only.as_ref().map(|ids| ids[place as usize]) {
                None => self.consider(reach, ConnIndex(place)),
                Some(id) if reach.is_living(id) => self.consider(reach, ConnIndex(id.slot)),
                Some(id) => self.answer.stale.push(id),
            }
        }
        self.stage = Stage::Scanning(from);
        true
    }

    /// Every connection was visited. Goes on to the next stage unless an answer is missing; says
    /// whether it did.
    fn end_scanning(&mut self) -> bool {
        if self.is_asking() {
            return false;
        }
        self.stage = match self.task.purpose {
            Purpose::Show => {
                let best = std::mem::take(&mut self.best).into_iter();
                Stage::Addresses(best.map(|Reverse(candidate)| candidate).collect(), 0)
            }
            Purpose::Kill | Purpose::Count(_) => Stage::Over,
        };
        true
    }

    fn consider<R: Reach>(&mut self, reach: &mut R, index: ConnIndex) {
        let Some(facts) = reach.facts(index) else { return };
        if !self.task.query.admits(&facts) {
            return;
        }
        let sort_key = self.task.query.sort_key(&facts);
        let first_asked = Side::BOTH.into_iter().find(|side| self.asks(*side));
        match (first_asked, self.task.purpose) {
            (None, Purpose::Count(by)) => {
                self.answer.matched += 1;
                self.answer.tally.count(by, &facts, None, || reach.parties(index));
                return;
            }
            (None, _) if self.has_better_than(sort_key) => {
                self.answer.matched += 1;
                return;
            }
            _ => {}
        }
        let Some(parties) = reach.parties(index) else { return };
        let id = reach.id(index);
        let (addresses, tls) = (BySide([None; 2]), reach.tls(index));
        let row = Box::new(Row { id, facts, parties, addresses, tls });
        let candidate = Candidate { sort_key, row };
        match first_asked {
            Some(side) => self.ask_about(reach, candidate, side),
            None => self.take(candidate),
        }
    }

    /// Whether the addresses of a side are needed to judge a connection, or to count it.
    fn asks(&self, side: Side) -> bool {
        let by = [By::Source, By::Pair].map(Purpose::Count);
        let counts = by.contains(&self.task.purpose) && side == Side::Client;
        counts || self.task.query.asks(side)
    }

    /// Asks for the addresses of a side of a candidate. Of a connection that is ending no address
    /// is asked any more, so it matches none.
    fn ask_about<R: Reach>(&mut self, reach: &mut R, candidate: Candidate, side: Side) {
        let id = candidate.row.id;
        if reach.has_addresses(ConnIndex(id.slot), side) {
            self.ask(reach, id, side, About::Candidate(candidate));
        } else if !self.task.query.asks(side) {
            self.take(candidate);
        }
    }

    /// Asks for the addresses of the chosen, a bounded number at a time. Says whether it can go on
    /// before the kernel answers.
    fn ask_row_addresses<R: Reach>(&mut self, reach: &mut R) -> bool {
        for _ in 0..VISITED_PER_STEP {
            let Stage::Addresses(rows, next) = &mut self.stage else { return true };
            let (place, side) = (*next / 2, Side::BOTH[*next % 2]);
            let Some(Candidate { row, .. }) = rows.get(place) else {
                if !self.asked.is_empty() {
                    return false;
                }
                self.answer.rows = std::mem::take(rows);
                self.stage = Stage::Over;
                return true;
            };
            let (id, known) = (row.id, row.addresses[side].is_some());
            if side == Side::BOTH[0] && !reach.is_there(id) {
                // It has ended meanwhile. Of the one that takes its place nothing was asked yet.
                rows.swap_remove(place);
                continue;
            }
            if self.asked.len() == ASKED_AT_ONCE {
                return false;
            }
            *next += 1;
            if !known && reach.is_there(id) && reach.has_addresses(ConnIndex(id.slot), side) {
                self.ask(reach, id, side, About::Row(place));
            }
        }
        true
    }

    /// Asks for addresses, or listens to the answer to a question that is open already.
    fn ask<R: Reach>(&mut self, reach: &mut R, id: ConnId, side: Side, about: About) {
        self.asked.push(Asked { id, side, about });
        reach.ask_addresses(ConnIndex(id.slot), side);
    }

    /// Whether a candidate of this sort key need only be counted: enough others come before it.
    fn has_better_than(&self, sort_key: u64) -> bool {
        let limit = self.task.query.limit as usize;
        let is_better = |Reverse(least): &Reverse<Candidate>| least.sort_key > sort_key;
        self.best.len() >= limit && self.best.peek().is_none_or(is_better)
    }

    fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// A connection that matches; it is kept while no `limit` others come before it.
    fn take(&mut self, candidate: Candidate) {
        self.answer.matched += 1;
        if let Purpose::Count(by) = self.task.purpose {
            let Row { facts, parties, addresses, .. } = &*candidate.row;
            let found = addresses[Side::Client];
            self.answer.tally.count(by, facts, found, || Some(parties.clone()));
            return;
        }
        let limit = self.task.query.limit as usize;
        if self.best.len() < limit {
            return self.best.push(Reverse(candidate));
        }
        if let Some(mut least) = self.best.peek_mut()
            && least.0 < candidate
        {
            *least = Reverse(candidate);
        }
    }

    /// The kernel's answer about a candidate or a row.
    fn hear(&mut self, asked: Asked, found: Option<FourTuple>) {
        self.answer.addresses_missing += u64::from(found.is_none());
        match (asked.about, &mut self.stage) {
            (About::Candidate(mut candidate), Stage::Scanning(_)) => {
                let query = &self.task.query;
                let is_meant = match found {
                    Some(FourTuple { local, peer, .. }) => {
                        query.admits_addresses(asked.side, local, peer)
                    }
                    None => !query.asks(asked.side),
                };
                candidate.row.addresses[asked.side] = found;
                match (is_meant, asked.side) {
                    (false, _) => {}
                    (true, Side::Client) if self.asks(Side::Upstream) => {
                        self.half_known.push(candidate);
                    }
                    (true, _) => self.take(candidate),
                }
            }
            (About::Row(place), Stage::Addresses(rows, _)) => {
                rows[place].row.addresses[asked.side] = found
            }
            // Its asker is gone.
            _ => {}
        }
    }
}
