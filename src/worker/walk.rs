//! Walks over the connections in small steps: who matches, and then their addresses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Worker;
use super::kill::Kill;
use super::question::{Answer, Candidate, Purpose, Reply, Row, Task};
use super::table::CountedServer;
use crate::base::{BySide, ConnIndex, Millis, Side};
use crate::conn::{Event, Phase};
use crate::query::{ConnId, Facts, State};
use crate::ring::{FourTuple, Ring, Token};

/// Entries looked at per turn: at two cache misses each, 100 ns or so, that is 0.05 ms. Messages of
/// other connections wait for so long, at each turn of a walk.
const LOOKED_AT_PER_TURN: u32 = 512;
/// Sides whose addresses are asked for at one time: each is an ordinary descriptor for a moment.
const ASKED_AT_ONCE: usize = 64;

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    task: Task,
    /// What arrived before it is read before anybody is looked at.
    began: Millis,
    stage: Stage,
    answer: Answer,
    /// The best so far, the least of them on top.
    best: BinaryHeap<Reverse<Candidate>>,
    asked: Vec<Asked>,
    /// Nothing can be done before an answer of the kernel comes.
    waits: bool,
}

/// How far a walk is.
#[derive(Debug)]
enum Stage {
    /// Looking for connections: from this slot on, or this place among those named.
    Looking(u32),
    /// Asking for the addresses of the chosen; the number counts sides.
    Naming(Vec<Candidate>, usize),
    /// The asker is gone; questions to the kernel are still open.
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

impl Walk {
    fn new(task: Task, began: Millis) -> Walk {
        Walk {
            task,
            began,
            stage: Stage::Looking(0),
            answer: Answer::default(),
            best: BinaryHeap::new(),
            asked: Vec::new(),
            waits: false,
        }
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
    fn named(&mut self, asked: Asked, found: Option<FourTuple>) {
        self.answer.nameless += u64::from(found.is_none());
        match (asked.about, &mut self.stage) {
            (About::Candidate(mut candidate), Stage::Looking(_)) => {
                let source = found.and_then(|found| found.peer);
                if source.is_some_and(|source| self.task.query.admits_source(source.ip())) {
                    candidate.row.names[asked.side] = found;
                    self.take(candidate);
                }
            }
            (About::Row(place), Stage::Naming(rows, _)) => {
                rows[place].row.names[asked.side] = found
            }
            // Nobody wants to know any more.
            _ => {}
        }
    }
}

impl<R: Ring> Worker<R> {
    /// Begins a walk, unless another one is under way, or a kill while this is for another.
    pub(super) fn begin_walk(&mut self, task: Task) {
        if self.walk.is_some() || (task.purpose == Purpose::Kill && self.kill.is_some()) {
            // The asker may be gone; then nobody needs the answer.
            let _ = task.reply.send(Reply::Busy);
            return;
        }
        self.walk = Some(Box::new(Walk::new(task, self.now)));
    }

    /// Carries the walk on by one step, and answers when that was the last.
    pub(super) fn walk_on(&mut self) {
        let Some(mut walk) = self.walk.take() else { return };
        walk.waits = false;
        if walk.task.reply.is_closed() {
            walk.stage = if walk.is_asking() { Stage::Deserted } else { Stage::Over };
        }
        match walk.stage {
            Stage::Looking(_) if self.heard < walk.began => {}
            Stage::Looking(from) => self.look(&mut walk, from),
            Stage::Naming(..) => self.name_rows(&mut walk),
            Stage::Deserted => walk.waits = true,
            Stage::Over => {}
        }
        if !matches!(walk.stage, Stage::Over) {
            self.walk = Some(walk);
            return;
        }
        let Walk { task, answer, best, .. } = *walk;
        if task.purpose == Purpose::Kill && !task.reply.is_closed() {
            let chosen = best.into_iter().map(|Reverse(candidate)| candidate.row.id);
            self.kill = Some(Box::new(Kill::new(task, answer, chosen.collect(), self.now)));
        } else {
            let _ = task.reply.send(Reply::Done(answer));
        }
    }

    /// When the walk wants to go on though nothing completes.
    pub(super) fn next_step(&self) -> Option<Millis> {
        match &**self.walk.as_ref()? {
            Walk { waits: true, .. } => None,
            _ => Some(self.now),
        }
    }

    /// Looks at a bounded number of connections from `from` on.
    fn look(&mut self, walk: &mut Walk, mut from: u32) {
        for _ in 0..LOOKED_AT_PER_TURN {
            if walk.asked.len() == ASKED_AT_ONCE {
                walk.waits = true;
                break;
            }
            let place = match &walk.task.only {
                Some(ids) => ids.get(from as usize).map(|_| from),
                None => self.table.used_from(from).map(|index| index.0),
            };
            let Some(place) = place else {
                if walk.is_asking() {
                    walk.waits = true;
                    break;
                }
                walk.stage = match walk.task.purpose {
                    Purpose::Show => {
                        let best = std::mem::take(&mut walk.best).into_iter();
                        Stage::Naming(best.map(|Reverse(candidate)| candidate).collect(), 0)
                    }
                    Purpose::Kill => Stage::Over,
                };
                return;
            };
            from = place + 1;
            match walk.task.only.as_ref().map(|ids| ids[place as usize]) {
                None => self.consider(walk, ConnIndex(place)),
                Some(id) if self.is_living(id) => self.consider(walk, ConnIndex(id.slot)),
                Some(id) => walk.answer.stale.push(id),
            }
        }
        walk.stage = Stage::Looking(from);
    }

    fn consider(&mut self, walk: &mut Walk, index: ConnIndex) {
        let Some(facts) = self.facts(index) else { return };
        if !walk.task.query.admits(&facts) {
            return;
        }
        let sort_key = walk.task.query.sort_key(&facts);
        let asks_source = walk.task.query.asks_source();
        if !asks_source && walk.has_better_than(sort_key) {
            walk.answer.matched += 1;
            return;
        }
        let generation = self.table.entry(index).generation;
        let id = ConnId { worker: facts.worker, slot: index.0, generation };
        let row = Box::new(Row { id, facts, names: BySide([None; 2]) });
        let candidate = Candidate { sort_key, row };
        if !asks_source {
            walk.take(candidate);
        } else if self.table.entry(index).conn.has_name(Side::Client) {
            self.ask(walk, id, Side::Client, About::Candidate(candidate));
        }
        // Who is on its way out is not asked any more, and matches no address.
    }

    /// Asks for the addresses of the chosen, a bounded number at a time.
    fn name_rows(&mut self, walk: &mut Walk) {
        for _ in 0..LOOKED_AT_PER_TURN {
            let Stage::Naming(rows, next) = &mut walk.stage else { return };
            let (place, side) = (*next / 2, Side::BOTH[*next % 2]);
            let Some(Candidate { row, .. }) = rows.get(place) else {
                if !walk.asked.is_empty() {
                    walk.waits = true;
                } else {
                    walk.answer.rows = std::mem::take(rows);
                    walk.stage = Stage::Over;
                }
                return;
            };
            let (id, known) = (row.id, row.names[side].is_some());
            if side == Side::BOTH[0] && !self.is_there(id) {
                // It has ended meanwhile. Of the one that takes its place nothing was asked yet.
                rows.swap_remove(place);
                continue;
            }
            if walk.asked.len() == ASKED_AT_ONCE {
                walk.waits = true;
                return;
            }
            *next += 1;
            if !known && self.is_there(id) && self.has_name(id, side) {
                self.ask(walk, id, side, About::Row(place));
            }
        }
    }

    /// Asks for addresses, or listens to the answer where somebody has asked.
    fn ask(&mut self, walk: &mut Walk, id: ConnId, side: Side, about: About) {
        walk.asked.push(Asked { id, side, about });
        let index = ConnIndex(id.slot);
        if self.table.entry(index).conn.can_name(side) {
            self.apply(index, Event::NameWanted(side));
        }
    }

    /// Addresses were found, or could not be: perhaps the walk asked for them.
    pub(super) fn walk_named(&mut self, token: Token, found: Option<FourTuple>) {
        let Some(walk) = &mut self.walk else { return };
        let is_about = |asked: &Asked| {
            let Asked { id, side, .. } = asked;
            (id.slot, id.generation, *side) == (token.conn.0, token.generation, token.side)
        };
        // An id that was named twice waits twice for the one answer.
        while let Some(place) = walk.asked.iter().position(is_about) {
            let asked = walk.asked.swap_remove(place);
            walk.named(asked, found);
        }
    }

    fn has_name(&mut self, id: ConnId, side: Side) -> bool {
        self.table.entry(ConnIndex(id.slot)).conn.has_name(side)
    }

    /// The connection is not gone.
    fn is_there(&mut self, id: ConnId) -> bool {
        let index = ConnIndex(id.slot);
        let ours = id.worker == self.plan.worker.0;
        // An id may name a slot that never was, and none is made for it.
        ours && self.table.used_from(id.slot) == Some(index) && {
            let entry = self.table.entry(index);
            entry.generation == id.generation && entry.conn.phase() != Phase::Vacant
        }
    }

    /// The connection is there, and not on its way out.
    pub(super) fn is_living(&mut self, id: ConnId) -> bool {
        let index = ConnIndex(id.slot);
        self.is_there(id) && !matches!(self.table.entry(index).conn.phase(), Phase::Ending(_))
    }

    /// What is known of the connection in this slot, if there is one.
    pub(super) fn facts(&mut self, index: ConnIndex) -> Option<Facts> {
        let entry = self.table.entry(index);
        let state = match entry.conn.phase() {
            Phase::Vacant => return None,
            Phase::Opening => State::Opening,
            Phase::Connecting => State::Connecting,
            Phase::Pressed => State::Pressed,
            Phase::Retrying => State::Retrying,
            Phase::Joined => State::Joined,
            Phase::Delivering { .. } => State::Delivering,
            Phase::Ending(_) => State::Ending,
        };
        let route = &self.routes.line(entry.route).route;
        let server = self.routes.within(entry.server.map(CountedServer::id));
        let moved = entry.conn.moved_bytes();
        Some(Facts {
            worker: self.plan.worker.0,
            listener: route.listener.0,
            upstream: route.upstream.0,
            server,
            state,
            seen: self.heard,
            opened: entry.opened.millis(),
            active: entry.active.begins(),
            to_upstream_bytes: moved[Side::Client],
            to_client_bytes: moved[Side::Upstream],
        })
    }
}
