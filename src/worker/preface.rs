//! Clients that are read before a server is chosen for them: the few that a worker reads at once,
//! what they have said so far, and what their servers are still to get of that.
//!
//! A listener's [`Preface`] says how its clients are read.

mod withdrawal;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::Worker;
use super::decoder::{Judgement, Preface, Request};
use super::keep::Course;
use super::shake::Shake;
use super::tls_in::Termination;
use crate::base::{Chunk, ConnIndex, PreambleFault, Side};
use crate::conn::{Event, Onward, Phase, Wiring};
use crate::ring::{Buffers, Ring};

/// Which clients are read before a server is chosen.
#[derive(Clone, Debug, Default)]
pub struct PrefacePlan {
    /// By the name of their listener.
    pub listeners: BTreeMap<String, Arc<Preface>>,
    /// How many of a worker's clients have a place at once: from their first byte until their
    /// server has what is its. The others wait in order, and their sockets keep what they say.
    pub places: usize,
}

/// The clients of a worker that have a place, and those that wait for one.
#[derive(Debug)]
pub struct Prefaces {
    places: usize,
    pub(super) clients: HashMap<ConnIndex, Client>,
    /// By number: those that wait. They are in the other list, too.
    waiting: BTreeMap<u64, ConnIndex>,
    /// How many of the clients are aside.
    aside: usize,
    /// Those that were met: how they are read, and how many decoders are not for them, as a header
    /// that others send. A change of their listener changes neither.
    met: HashMap<ConnIndex, (Arc<Preface>, usize)>,
    next_number: u64,
}

#[derive(Debug)]
pub(super) enum Client {
    /// It waits for a place, with this number.
    Waiting(u64),
    /// It has one.
    Read(Read),
    /// It has none while its source is at a limit, which may last; what it has said is kept.
    Aside(Read),
    /// The server is to get this.
    Kept(Kept),
}

/// What a client has said so far.
#[derive(Debug)]
pub(super) struct Read {
    /// Without what was taken of it.
    pub(super) bytes: Vec<u8>,
    /// What decoders have taken of it.
    taken: Vec<u8>,
    /// It was answered.
    is_answered: bool,
    /// How it is read to the end, whatever a change makes of its listener meanwhile.
    preface: Option<Arc<Preface>>,
    /// How many of the decoders have had theirs.
    decoded: usize,
    /// It was met: its opening is noted when it was read, as who it is was not known before.
    is_met: bool,
    /// What was last answered, and whether it was said.
    pub(super) answer: &'static [u8],
    pub(super) is_said: bool,
    /// What the server is to be asked.
    request: Option<Request>,
    /// How a handshake is done with it behind its preface, if one is.
    pub(super) tls: Option<Rc<Termination>>,
    pub(super) shake: Option<Box<Shake>>,
}

/// What a server is to get of a client's first bytes.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// The first that lies in no buffer yet.
    pub(super) from: usize,
    /// The piece before that. It has the buffer that the client's last bytes came in: the pool may
    /// have no other, and what it has may be full of what the same clients say next.
    pub(super) ready: Option<Chunk>,
    /// What its server is asked before it gets any of it, and how much of that and of its header
    /// before it the server has.
    pub(super) request: Option<Request>,
    pub(super) asked_bytes: usize,
}

impl Prefaces {
    pub(super) fn new(places: usize) -> Prefaces {
        let (clients, waiting) = (HashMap::new(), BTreeMap::new());
        Prefaces { places, clients, waiting, aside: 0, met: HashMap::new(), next_number: 0 }
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.met.is_empty()
    }

    /// How many wait for a place.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many are here in all: with a place, for one, or aside.
    pub fn known(&self) -> usize {
        self.clients.len()
    }

    fn has_place(&self) -> bool {
        self.clients.len() - self.waiting.len() - self.aside < self.places
    }

    /// A client that is read is held: its place is free for others meanwhile.
    pub(super) fn set_aside(&mut self, index: ConnIndex) {
        if let Some(client @ Client::Read(_)) = self.clients.get_mut(&index) {
            let Client::Read(read) = std::mem::replace(client, Client::Waiting(0)) else { return };
            *client = Client::Aside(read);
            self.aside += 1;
        }
    }

    /// It goes on being read: one more than there are places for, if need be. What it has said is
    /// here in any case.
    pub(super) fn bring_back(&mut self, index: ConnIndex) {
        if let Some(Client::Aside(read)) = self.clients.remove(&index) {
            self.aside -= 1;
            self.clients.insert(index, Client::Read(read));
        }
    }

    /// Gives a client a place; `false`: it waits for one.
    pub fn ask(&mut self, index: ConnIndex) -> bool {
        if let Some(client) = self.clients.get(&index) {
            return !matches!(client, Client::Waiting(_));
        }
        let is_seated = self.waiting.is_empty() && self.has_place();
        let client = if is_seated {
            self.seat(index)
        } else {
            self.next_number += 1;
            self.waiting.insert(self.next_number, index);
            Client::Waiting(self.next_number)
        };
        self.clients.insert(index, client);
        is_seated
    }

    /// A client was met, and so many decoders are not for it: headers, if it sends none.
    pub(super) fn meet(&mut self, at: ConnIndex, preface: Arc<Preface>, headers: usize) {
        self.met.insert(at, (preface, headers));
    }

    /// A client's first moment at its place.
    fn seat(&mut self, index: ConnIndex) -> Client {
        let met = self.met.remove(&index);
        let is_met = met.is_some();
        let (preface, decoded) =
            met.map_or((None, 0), |(preface, headers)| (Some(preface), headers));
        Client::Read(Read {
            bytes: Vec::new(),
            taken: Vec::new(),
            is_answered: false,
            preface,
            decoded,
            is_met,
            answer: &[],
            is_said: true,
            request: None,
            tls: None,
            shake: None,
        })
    }

    /// Whether there is a place for somebody who waits.
    pub(super) fn can_call(&self) -> bool {
        !self.waiting.is_empty() && self.has_place()
    }

    /// Gives a place to the client that has waited longest.
    fn call(&mut self) -> Option<ConnIndex> {
        if !self.can_call() {
            return None;
        }
        let (_, index) = self.waiting.pop_first()?;
        let client = self.seat(index);
        self.clients.insert(index, client);
        Some(index)
    }

    /// A client is gone, or needs its place no more. Says what it leaves behind.
    fn leave(&mut self, index: ConnIndex) -> Option<Chunk> {
        self.met.remove(&index);
        match self.clients.remove(&index)? {
            Client::Waiting(number) => {
                self.waiting.remove(&number);
                None
            }
            Client::Read(_) => None,
            Client::Aside(_) => {
                self.aside -= 1;
                None
            }
            Client::Kept(kept) => kept.ready,
        }
    }

    /// What a client has said, which has a place.
    pub(super) fn read(&mut self, index: ConnIndex) -> &mut Read {
        match self.clients.get_mut(&index) {
            Some(Client::Read(read)) => read,
            other => panic!("slot {} is read without a place: {other:?}", index.0),
        }
    }

    /// Takes what a client has said, and says how it is read: so, unless it has begun otherwise.
    /// One that was not met sends no header, even where a change has asked for one since it came:
    /// nobody has looked whether it may.
    fn take(&mut self, at: ConnIndex, said: &[u8], now: Arc<Preface>) -> Arc<Preface> {
        let read = self.read(at);
        read.bytes.reserve_exact(said.len());
        read.bytes.extend_from_slice(said);
        if read.preface.is_none() {
            read.decoded = usize::from(now.trust.is_some());
        }
        read.preface.get_or_insert(now).clone()
    }

    /// What is left of a client's words is kept for its server. Says whether anything is; if not,
    /// it has left.
    fn keep(&mut self, index: ConnIndex) -> bool {
        if let Some(Client::Read(Read { bytes, request, .. })) = self.clients.remove(&index)
            && !bytes.is_empty()
        {
            self.clients.insert(index, Client::Kept(Kept { request, ..Kept::new(bytes) }));
            return true;
        }
        false
    }

    /// A server gets these bytes before all else. Where the client has no place, it is one more
    /// than there are, until the server has them. Says what this leaves behind.
    fn put_before(&mut self, index: ConnIndex, first: &[u8]) -> Option<Chunk> {
        let (bytes, left) = match self.clients.remove(&index) {
            Some(Client::Kept(Kept { bytes, ready, .. })) => (bytes, ready),
            Some(Client::Read(Read { bytes, .. })) => (bytes, None),
            Some(Client::Waiting(_) | Client::Aside(_)) | None => (Vec::new(), None),
        };
        let bytes = [first, &bytes].concat();
        self.clients.insert(index, Client::Kept(Kept::new(bytes)));
        left
    }

    /// What is kept of a client.
    fn kept(&mut self, index: ConnIndex) -> Option<&mut Kept> {
        match self.clients.get_mut(&index)? {
            Client::Kept(kept) => Some(kept),
            Client::Waiting(_) | Client::Read(_) | Client::Aside(_) => None,
        }
    }

    /// Whether more of a client's is kept than it has in buffers.
    pub(super) fn keeps_more(&mut self, index: ConnIndex) -> bool {
        self.kept(index).is_some_and(|kept| kept.from < kept.bytes.len())
    }
}

impl Read {
    /// What it comes to for the decoder whose turn it is; `None`: all have had theirs.
    fn judge(&mut self, preface: &Preface) -> Option<Judgement> {
        let decoder = preface.decoders.get(self.decoded)?;
        if self.bytes.is_empty() {
            return Some(Judgement::More);
        }
        let judgement = decoder.judge(&self.bytes, self.answer);
        match &judgement {
            Judgement::More if self.bytes.len() >= decoder.most_bytes() => {
                return Some(Judgement::Bad(PreambleFault::TooLong));
            }
            Judgement::Answer { taken_bytes, say } => {
                self.bytes.drain(..*taken_bytes);
                (self.answer, self.is_said) = (say, false);
                self.is_answered = true;
            }
            Judgement::Done { taken_bytes, told } => {
                self.taken.extend(self.bytes.drain(..*taken_bytes));
                self.decoded += 1;
                (self.answer, self.request) = (&[], self.request.or(told.request));
            }
            _ => {}
        }
        Some(judgement)
    }
}

impl Kept {
    fn new(bytes: Vec<u8>) -> Kept {
        Kept { bytes, from: 0, ready: None, request: None, asked_bytes: 0 }
    }

    /// Puts the next piece, as much as a buffer holds, into one that is free.
    fn fill<R: Buffers>(&mut self, ring: &mut R) -> Option<Chunk> {
        let left = &self.bytes[self.from..];
        let piece = &left[..left.len().min(ring.buffer_bytes() as usize)];
        let chunk = ring.fill(piece.len() as u32, |bytes| bytes.copy_from_slice(piece))?;
        self.from += piece.len();
        Some(chunk)
    }
}

impl<R: Ring> Worker<R> {
    /// The clients that are read before a server is chosen, for a simulation to look into.
    pub fn prefaces(&mut self) -> &mut Prefaces {
        &mut self.prefaces
    }

    /// A client has something to say.
    pub(super) fn await_place(&mut self, index: ConnIndex) {
        let has_place = self.prefaces.ask(index);
        self.apply(index, if has_place { Event::PrefaceMore } else { Event::StandBy });
    }

    /// Gives every place that is free to somebody who waits.
    pub(super) fn call_waiting(&mut self) {
        while let Some(index) = self.prefaces.call() {
            self.apply(index, Event::PrefaceMore);
        }
    }

    /// Bytes of a client's preface, or the first ones of a client that was silent.
    pub(super) fn judge(&mut self, index: ConnIndex, chunk: Chunk) {
        let entry = self.lives.entry(index);
        let line = self.routes.line(entry.route);
        if self.unserved.is_away(index) {
            return self.hear_last(index, chunk);
        }
        if let Phase::Silent { .. } = entry.conn.phase() {
            let read = self.prefaces.read(index);
            read.bytes = self.ring.bytes(chunk).to_vec();
            self.ring.release(chunk.buffer);
            return self.preface_done(index);
        }
        let now = line.preface.clone().expect("its route asks for one");
        let read = self.prefaces.read(index);
        if read.bytes.is_empty() && read.shake.is_none() {
            // It goes by what there was when it began to speak.
            read.tls = line.tls.clone();
        }
        self.prefaces.take(index, self.ring.bytes(chunk), now);
        self.ring.release(chunk.buffer);
        self.decode_on(index);
    }

    /// A client that was held, or has its answer, goes on being read.
    pub(super) fn decode_on(&mut self, index: ConnIndex) {
        let read = self.prefaces.read(index);
        let preface = read.preface.clone().expect("it was being read");
        match read.judge(&preface) {
            Some(judgement) => self.decode(index, &preface, judgement),
            None => self.read_through(index),
        }
    }

    /// All of it is there.
    pub(super) fn read_through(&mut self, index: ConnIndex) {
        let read = self.prefaces.read(index);
        if read.tls.is_some() {
            return self.shake(index);
        }
        let is_met = read.is_met;
        self.preface_done(index);
        if is_met {
            self.ask_for_opening(index);
        }
    }

    /// What a client has said comes to this.
    fn decode(&mut self, index: ConnIndex, preface: &Preface, mut judgement: Judgement) {
        loop {
            match judgement {
                Judgement::More => return self.read_on(index),
                Judgement::Bad(fault) => return self.refuse(index, fault),
                Judgement::Answer { .. } => return self.say(index, Side::Client),
                Judgement::Done { told, .. } => {
                    if self.hear(index, told) == Course::Stopped {
                        return;
                    }
                }
            }
            match self.prefaces.read(index).judge(preface) {
                Some(next) => judgement = next,
                None => return self.read_through(index),
            }
        }
    }

    /// All of a client's preface is there: a server may be chosen.
    fn preface_done(&mut self, index: ConnIndex) {
        let entry = self.lives.entry(index);
        let onward = self.routes.line(entry.route).onward();
        self.unserved.settle(index);
        if !onward.is_headed && !matches!(entry.conn.phase(), Phase::Silent { .. }) {
            self.headers.forget(index);
        }
        let keeps = onward.wiring != Wiring::Hold && self.prefaces.keep(index);
        match self.prefaces.kept(index) {
            Some(kept) => kept.ready = kept.fill(&mut self.ring),
            None => self.leave_place(index),
        }
        let is_asked = onward.is_asked || self.prefaces.request(index).is_some();
        let onward = Onward { is_asked, ..onward };
        self.apply(index, Event::PrefaceDone { keeps, onward });
    }

    /// Hands the next of the kept bytes of a client over, as much as a buffer holds.
    pub(super) fn recall(&mut self, index: ConnIndex) {
        let own_bytes = self.put_header(index);
        let kept = self.prefaces.kept(index).expect("only what is kept is recalled");
        let chunk = kept.ready.take().or_else(|| kept.fill(&mut self.ring));
        let more = self.prefaces.keeps_more(index);
        if !more {
            self.leave_place(index);
        }
        self.apply(index, Event::Kept { chunk, more, own_bytes });
    }

    /// The header that a client's server gets, if it was made, goes before what is kept. Says how
    /// long it is.
    fn put_header(&mut self, index: ConnIndex) -> u32 {
        let Some(header) = self.headers.take(index) else { return 0 };
        if let Some(chunk) = self.prefaces.put_before(index, &header) {
            self.ring.release(chunk.buffer);
        }
        header.len() as u32
    }

    /// The server's header is due, before these first bytes of a client's or before any.
    pub(super) fn head(&mut self, index: ConnIndex, first: Option<Chunk>) {
        if let Some(chunk) = first {
            let left = self.prefaces.put_before(index, self.ring.bytes(chunk));
            debug_assert!(left.is_none(), "who is received from has nothing kept");
            self.ring.release(chunk.buffer);
        }
        self.recall(index);
    }

    /// A client is gone, or needs its place no more.
    pub(super) fn leave_place(&mut self, index: ConnIndex) {
        self.shakes.leave(index);
        if !self.prefaces.is_empty()
            && let Some(chunk) = self.prefaces.leave(index)
        {
            self.ring.release(chunk.buffer);
        }
    }
}

#[cfg(test)]
mod tests;
