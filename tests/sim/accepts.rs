//! The simulated listeners: accept queues, armed accepts and what the kernel makes of them.

use std::collections::VecDeque;

use portcullis::base::Errno;
use portcullis::base::{ConnIndex, GateId};
use portcullis::conn::Wiring;
use portcullis::ring::{AcceptMode, Completion};

use crate::fault::Fault;
use crate::heading::Heading;
use crate::hellos::{self, Speech};
use crate::link::Link;
use crate::postgres;
use crate::random::mix;
use crate::ring::SimRing;
use crate::scenario::Knock;

/// A passive socket.
#[derive(Debug, Default)]
pub struct Listener {
    /// What the worker knows it by, if it does.
    pub gate: Option<GateId>,
    /// Links whose handshake is done.
    pub queue: VecDeque<usize>,
    /// The worker is told when a client waits.
    pub watched: bool,
    /// An operator wants no client of it served.
    pub paused: bool,
}

/// An armed accept.
#[derive(Debug)]
pub struct Accept {
    pub listener: usize,
    pub mode: AcceptMode,
    /// Names it among what is posted.
    pub key: u64,
    /// It hears nothing until it is cancelled.
    pub silent: bool,
    /// Its last completion is posted.
    pub over: bool,
}

impl SimRing {
    /// The listener of a gate that the worker knows.
    pub fn listener_of(&self, gate: GateId) -> usize {
        let found = self.listeners.iter().position(|listener| listener.gate == Some(gate));
        found.unwrap_or_else(|| panic!("the worker means {gate:?}, which is not there"))
    }

    fn gate_of(&self, listener: usize) -> GateId {
        self.listeners[listener].gate.expect("the worker knows it")
    }

    /// Client slots that the kernel has filled.
    pub fn live_clients(&self) -> u32 {
        self.live
    }

    /// Clients in their slots that the worker has begun to serve, of one listener or of all.
    pub fn served(&self, listener: Option<usize>) -> u32 {
        let accepted = self.origin.iter().filter(|&(&link, &from)| {
            let Link { served, closed, .. } = self.links[link];
            served && !closed && listener.is_none_or(|listener| listener == from)
        });
        accepted.count() as u32
    }

    /// Single accepts that can still bring a client.
    pub fn armed_credits(&self) -> u32 {
        let credits = self.accepts.iter().filter(|a| a.mode == AcceptMode::Single && !a.over);
        credits.count() as u32
    }

    /// Lets clients knock whose time has come.
    pub fn step_knocks(&mut self) {
        let now = self.now();
        while self.knocks.front().is_some_and(|knock| knock.at <= now) {
            let mut knock = self.knocks.pop_front().expect("the front was looked at");
            if self.listeners[knock.listener].gate.is_none() {
                continue; // Nobody listens there: it is refused.
            }
            if self.listeners[knock.listener].queue.len() >= self.shape.backlog {
                // Its SYN is dropped; it tries again.
                self.faults.note(Fault::BacklogFull);
                knock.at = now + 200;
                self.insert_knock(knock);
                continue;
            }
            if self.listeners[knock.listener].paused {
                self.faults.note(Fault::KnockWhilePaused);
            }
            let link = self.links.len();
            let mut key = mix(self.key());
            if self.wirings[knock.listener] == Wiring::Pair {
                key = match (self.speech, knock.begin) {
                    (Some(Speech::Tls), _) => hellos::key_of(key),
                    (Some(Speech::Postgres), Some(begin)) => postgres::key_of(key, begin),
                    _ => key,
                };
            }
            let mut new = Link::new(key, knock.peer, &mut self.random, now);
            new.established = true;
            new.heading = Heading::answering(postgres::answers(key));
            if let Some(tls) = &self.tls {
                new.widen(tls.width);
                new.secure = tls.client(key, knock.listener).map(Box::new);
            }
            match self.wirings[knock.listener] {
                Wiring::Echo => new.expects = Some(key),
                Wiring::Hold => new.heeded = false,
                Wiring::Pair | Wiring::Discard => {}
            }
            self.links.push(new);
            self.listeners[knock.listener].queue.push_back(link);
            self.note(|| format!("client {link} waits at listener {}", knock.listener));
        }
    }

    pub fn insert_knock(&mut self, knock: Knock) {
        let at = self.knocks.partition_point(|other| other.at <= knock.at);
        self.knocks.insert(at, knock);
    }

    pub fn arm_accept(&mut self, listener: usize, mode: AcceptMode) {
        let key = self.key();
        let silent = self.faults.roll(Fault::AcceptSilent, &mut self.random);
        let armed = self.accepts.iter().filter(|accept| accept.listener == listener);
        let alone = mode == AcceptMode::Single || armed.count() == 0;
        assert!(alone, "a multishot accept beside another one");
        self.accepts.push(Accept { listener, mode, key, silent, over: false });
    }

    pub fn arm_watch(&mut self, listener: usize) {
        let twice = std::mem::replace(&mut self.listeners[listener].watched, true);
        assert!(!twice, "the queue of listener {listener} is watched twice");
    }

    /// Tells of clients that wait where they are watched for.
    fn step_watches(&mut self) {
        for index in 0..self.listeners.len() {
            let Listener { queue, watched, .. } = &mut self.listeners[index];
            if *watched && !queue.is_empty() {
                *watched = false;
                let (key, gate) = (self.key(), self.gate_of(index));
                self.post(key, Completion::QueueReady { gate }, true);
            }
        }
    }

    /// Lets armed accepts take what is queued.
    pub fn step_accepts(&mut self) {
        self.step_watches();
        for index in 0..self.accepts.len() {
            while self.can_accept(index) {
                if !self.faults.calm && self.random.percent(20) {
                    self.hurry();
                    break;
                }
                self.accept_one(index);
            }
        }
    }

    fn can_accept(&mut self, index: usize) -> bool {
        let Accept { listener, mode, silent, over, .. } = self.accepts[index];
        if over || self.listeners[listener].queue.is_empty() {
            return false;
        }
        if silent {
            self.faults.note(Fault::AcceptSilent);
            return false;
        }
        mode == AcceptMode::Single || self.accepted_unseen() < self.shape.burst as usize
    }

    /// Clients that accepts brought and the worker has not seen: what a full completion queue
    /// bounds.
    pub fn accepted_unseen(&self) -> usize {
        let accepted = |c: &Completion| matches!(c, Completion::Accepted { .. });
        self.posted.iter().filter(|posted| accepted(&posted.completion)).count()
            + self.out.iter().filter(|shown| accepted(&shown.completion)).count()
    }

    fn accept_one(&mut self, index: usize) {
        let Accept { listener, mode, key, .. } = self.accepts[index];
        let id = self.gate_of(listener);
        if self.faults.strikes(Fault::AcceptNoFile, &mut self.random) {
            self.accepts[index].over = true;
            return self.post(
                key,
                Completion::AcceptEnded { gate: id, error: Errno::ENFILE },
                true,
            );
        }
        if self.listeners[listener].paused {
            self.faults.note(Fault::AcceptAfterPause);
        }
        self.note_late(listener);
        let link = self.listeners[listener].queue.pop_front().expect("it was looked at");
        let slot = self.free_slot().unwrap_or_else(|| {
            panic!("an accept was armed without a slot for its client: {mode:?}")
        });
        self.slots[0][slot as usize] = Some(link);
        self.links[link].holds.fill();
        self.live += 1;
        self.origin.insert(link, listener);
        let ended = mode == AcceptMode::Multishot
            && self.faults.strikes(Fault::AcceptEnded, &mut self.random);
        let more = mode == AcceptMode::Multishot && !ended;
        self.accepts[index].over = !more;
        self.note(|| format!("client {link} is accepted into slot {slot}"));
        let conn = ConnIndex(slot);
        self.post(key, Completion::Accepted { gate: id, conn, more }, !more);
    }

    /// A free client slot where accepts land; by preference one whose close the worker has not
    /// heard of.
    fn free_slot(&mut self) -> Option<u32> {
        self.free_slot_of(self.target)
    }

    /// The same in any part.
    pub fn free_slot_of(&mut self, part: u32) -> Option<u32> {
        let (from, until) = self.part(part);
        let free = |slot: u32| self.slots[0][slot as usize].is_none();
        let unheard =
            self.unheard_closes.iter().copied().find(|&s| (from..until).contains(&s) && free(s));
        if let Some(slot) = unheard.filter(|_| self.random.percent(80)) {
            self.faults.note(Fault::AcceptOvertakesClose);
            return Some(slot);
        }
        let start = self.random.between(u64::from(from), u64::from(until) - 1) as u32;
        (start..until)
            .chain(from..start)
            .find(|&slot| {
                self.slots[0][slot as usize].is_none() && !self.unheard_closes.contains(&slot)
            })
            .or(unheard)
    }

    /// The client slots of a part of the table.
    pub fn part(&self, part: u32) -> (u32, u32) {
        let Self { shape, .. } = self;
        (part * shape.slots / shape.parts, (part + 1) * shape.slots / shape.parts)
    }

    /// Free client slots of a part, as the worker's side of the ring counts them.
    pub fn room(&self, part: u32) -> u32 {
        let (from, until) = self.part(part);
        (until - from).saturating_sub(self.seen_clients[part as usize])
    }

    pub fn part_of(&self, slot: u32) -> usize {
        (0..self.shape.parts)
            .find(|&part| slot < self.part(part).1)
            .expect("a slot lies in some part") as usize
    }

    /// Carries a cancel of a listener's accepts out.
    pub fn run_accept_cancel(&mut self, listener: usize) {
        for index in 0..self.accepts.len() {
            if self.accepts[index].listener != listener || self.accepts[index].over {
                continue;
            }
            // What the kernel had begun before the cancel ran.
            while self.can_accept(index) && self.random.percent(40) {
                self.faults.note(Fault::AcceptAfterCancel);
                self.accept_one(index);
            }
            if self.accepts[index].over {
                continue;
            }
            let key = self.accepts[index].key;
            self.accepts[index].over = true;
            let id = self.gate_of(listener);
            let ended = Completion::AcceptEnded { gate: id, error: Errno::ECANCELED };
            self.post(key, ended, true);
        }
    }
}
