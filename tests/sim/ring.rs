//! The simulated ring: all that its kernel knows, and the books about what its worker sees.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis::base::{Buffer, Errno, InFlight, OpKind, Side};
use portcullis::conn::Wiring;
use portcullis::ring::{Completion, ConnIndex, Done, Operation, Token};

use crate::accepts::{Accept, Listener};
use crate::buffers::Buffers;
use crate::ends::Ends;
use crate::fault::{Fault, Faults};
use crate::forwarding::Telling;
use crate::gates::Supplies;
use crate::hellos::Speech;
use crate::link::Link;
use crate::moves::Moving;
use crate::pipes::Pipes;
use crate::prefaces::Asked;
use crate::random::Random;
use crate::scenario::{Knock, Shape};
use crate::secure::Securing;
use crate::sources::Gate;
use crate::unkind::Repeats;

/// The cancel that makes a side quiet; one that ends a connection may look the same.
pub const QUIETS: Operation = Operation::Cancel(InFlight::only(OpKind::Receive));

/// An operation in flight: from its start until the worker sees its last completion.
#[derive(Clone, Debug)]
pub struct Op {
    pub token: Token,
    pub operation: Operation,
    /// Names it among what is posted.
    pub key: u64,
    /// It does not run before this moment.
    pub runs_at: u64,
    /// It was cancelled once and went on.
    pub escaped: bool,
    /// Its last completion is posted.
    pub over: bool,
    /// A watch's bits when it last completed.
    pub bits: u32,
    /// What a cancel has cancelled, by key.
    pub cancelled: Vec<u64>,
    /// When it was started, by the clock of patience.
    pub started: u64,
    /// The same by the worker's clock.
    pub asked: u64,
}

/// A completion that the worker has not seen.
#[derive(Clone, Debug)]
pub struct Posted {
    pub completion: Completion,
    pub key: u64,
    pub order: u64,
    pub at: u64,
    /// The last of its operation.
    pub last: bool,
}

/// What the worker asked for since the last turn.
#[derive(Clone, Debug)]
pub enum Submitted {
    Start(Token),
    Lend(ConnIndex, Side),
    /// By its call's number.
    Adopt(u64),
    CancelAccepts(usize),
}

/// A ring over a simulated kernel with its own network.
#[derive(Debug)]
pub struct SimRing {
    pub shape: Shape,
    pub random: Random,
    pub faults: Faults,
    pub clock: Arc<AtomicU64>,
    /// The longest that a turn moves the clock, when other workers share it.
    pub longest_nap: u64,
    /// What is received ahead leaves the last buffer, unless it can be parked.
    pub spares_last: bool,
    pub trace: Option<usize>,
    pub links: Vec<Link>,
    /// By side and slot: the link in it.
    pub slots: [Vec<Option<usize>>; 2],
    pub lives: Vec<u32>,
    pub live: u32,
    /// By part: client slots that the worker knows to be taken.
    pub seen_clients: Vec<u32>,
    /// Client slots whose close ran and was not seen.
    pub unheard_closes: BTreeSet<u32>,
    pub target: u32,
    pub listeners: Vec<Listener>,
    pub supplies: Supplies,
    /// By listener: what its clients are joined to.
    pub wirings: Vec<Wiring>,
    /// What its clients are read for before a server is chosen.
    pub prefaces: Option<Asked>,
    /// Who of its clients may come.
    pub gate: Gate,
    /// How servers are told of its clients.
    pub telling: Telling,
    /// What clients begin with.
    pub speech: Option<Speech>,
    /// Who speaks TLS.
    pub tls: Option<Securing>,
    /// Accepted links and their listener.
    pub origin: BTreeMap<usize, usize>,
    /// Client links and the upstream link that each was joined to.
    pub joined: BTreeMap<usize, usize>,
    pub knocks: VecDeque<Knock>,
    pub accepts: Vec<Accept>,
    pub submitted: Vec<Submitted>,
    pub ops: Vec<Op>,
    pub posted: Vec<Posted>,
    pub out: VecDeque<Posted>,
    pub buffers: Buffers,
    pub pipes: Pipes,
    /// Addresses that may be taken, and whether they were found.
    pub addresses: BTreeMap<u64, bool>,
    /// Buffers of data that came although the receive was being cancelled.
    pub beat_quiet: BTreeSet<u32>,
    /// Why its connections ended.
    pub ends: Ends,
    pub repeats: Repeats,
    pub moving: Moving,
    /// By slot: when the worker last heard of it, by the clock of patience.
    pub heard: Vec<u64>,
    /// The clock of patience: milliseconds in which this worker could have done something.
    pub patient: u64,
    pub turned_at: u64,
    pub keys: u64,
    last_order_shown: u64,
    pub stale: u64,
    /// By how much the clock jumped.
    pub jumped: u64,
    /// Something could go on at once and was left for later.
    pub hurried: bool,
    /// Completions shown, to tell standstill from spinning.
    pub shown: u64,
}

impl SimRing {
    pub fn new(shape: Shape, random: Random, faults: Faults, clock: Arc<AtomicU64>) -> SimRing {
        let slots = shape.slots as usize;
        SimRing {
            longest_nap: u64::MAX,
            spares_last: false,
            trace: None,
            links: Vec::new(),
            slots: [vec![None; slots], vec![None; slots]],
            lives: vec![0; slots],
            live: 0,
            seen_clients: vec![0; shape.parts as usize],
            unheard_closes: BTreeSet::new(),
            target: 0,
            listeners: Vec::new(),
            supplies: Supplies::default(),
            wirings: Vec::new(),
            prefaces: None,
            gate: Gate::default(),
            telling: Telling::default(),
            speech: None,
            tls: None,
            origin: BTreeMap::new(),
            joined: BTreeMap::new(),
            knocks: VecDeque::new(),
            accepts: Vec::new(),
            submitted: Vec::new(),
            ops: Vec::new(),
            posted: Vec::new(),
            out: VecDeque::new(),
            buffers: Buffers::new(shape.buffers, shape.buffer_bytes, shape.parked_bytes),
            pipes: Pipes::default(),
            addresses: BTreeMap::new(),
            beat_quiet: BTreeSet::new(),
            ends: Ends::new(),
            repeats: Repeats::default(),
            moving: Moving::new(),
            heard: vec![0; slots],
            patient: 0,
            turned_at: 0,
            keys: 0,
            last_order_shown: 0,
            stale: 0,
            jumped: 0,
            hurried: false,
            shown: 0,
            shape,
            random,
            faults,
            clock,
        }
    }

    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// A number that nothing else has.
    pub fn key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        if let Some(worker) = self.trace {
            println!("{:>7} ms  worker {worker}  {}", self.now(), what());
        }
    }

    /// The link in a side's slot.
    pub fn link_at(&self, conn: ConnIndex, side: Side) -> Option<usize> {
        self.slots[side as usize][conn.0 as usize]
    }

    /// Shows the worker one completion and keeps the books about it.
    pub fn show(&mut self, posted: Posted) -> Completion {
        self.shown += 1;
        if posted.order < self.last_order_shown {
            self.faults.note(Fault::Permuted);
        }
        self.last_order_shown = self.last_order_shown.max(posted.order);
        self.note(|| format!("shows {:?}", posted.completion));
        match posted.completion {
            Completion::Accepted { conn, more, .. } => {
                self.note_life(conn);
                self.note_client(self.link_at(conn, Side::Client).expect("it was accepted"));
                let part = self.part_of(conn.0);
                self.seen_clients[part] += 1;
                if !more {
                    self.accepts.retain(|accept| accept.key != posted.key);
                }
            }
            Completion::AcceptEnded { .. } => {
                self.accepts.retain(|accept| accept.key != posted.key);
            }
            Completion::QueueReady { .. }
            | Completion::GateRemoved { .. }
            | Completion::Lent { .. } => {}
            Completion::Adopted { key, result } => self.show_adopted(key, result),
            Completion::Done(done) => self.show_done(done, &posted),
        }
        posted.completion
    }

    fn show_done(&mut self, done: Done, posted: &Posted) {
        match done.buffer {
            Some(pipe) if pipe.is_pipe() => self.pipes.hand_over(pipe),
            Some(buffer) => self.buffers.hand_over(buffer),
            None => {}
        }
        let Some(at) = self.ops.iter().position(|op| op.key == posted.key) else {
            self.stale += 1;
            return;
        };
        let Token { conn, side, kind, .. } = done.token;
        let slot = conn.0 as usize;
        self.note_heard(&done);
        self.check_repeats(&done);
        if !matches!(kind, OpKind::Cancel | OpKind::Guard | OpKind::WaitWritable) {
            self.heard[slot] = self.patient;
        }
        match kind {
            OpKind::Cancel if !self.ops[at].cancelled.is_empty() => {
                let cancelled = &self.ops[at].cancelled;
                let first = self.ops.iter().any(|op| cancelled.contains(&op.key));
                let order =
                    if first { Fault::CancelAnsweredFirst } else { Fault::CancelAnsweredLast };
                self.faults.note(order);
            }
            OpKind::Connect if done.result.is_ok() && self.is_abandoned(conn, side) => {
                self.faults.note(Fault::ConnectBeatsCancel);
            }
            OpKind::Receive => {
                if let Some(link) = self.link_at(conn, side) {
                    *self.gate.shown.entry(link).or_default() +=
                        u64::from(done.result.unwrap_or(0));
                    let link = &mut self.links[link];
                    link.waits = done.result == Err(Errno::ENOBUFS);
                    if let Some(Buffer(id)) = done.buffer.filter(|_| link.quieted) {
                        self.beat_quiet.insert(id);
                    }
                }
            }
            OpKind::Addresses => {
                self.addresses.insert(done.token.pack(), done.result.is_ok());
                if let Some(link) = self.link_at(conn, side) {
                    self.links[link].unnamed |= done.result.is_err();
                }
                if self.link_at(conn, side).is_some_and(|at| self.links[at].peer_aborted) {
                    self.faults.note(Fault::NameOfTheDeparted);
                }
            }
            OpKind::Close if side == Side::Client => {
                self.lives[slot] = (self.lives[slot] + 1) % Token::GENERATIONS;
                self.unheard_closes.remove(&conn.0);
                let part = self.part_of(conn.0);
                self.seen_clients[part] -= 1;
            }
            _ => {}
        }
        if posted.last {
            self.ops.remove(at);
        }
    }

    fn is_abandoned(&self, conn: ConnIndex, side: Side) -> bool {
        self.link_at(conn, side).is_some_and(|link| self.links[link].abandoned)
    }

    /// What came with a server's Finished, which in TLS 1.2 is the last of its handshake, may go to
    /// the client before more is read.
    pub fn join_before_reading(&mut self, token: Token, operation: Operation) {
        let (Operation::Send(_), Side::Client) = (operation, token.side) else { return };
        let Some(upstream) = self.link_at(token.conn, Side::Upstream) else { return };
        if self.links[upstream].secure.as_ref().is_some_and(|end| end.may_speak_with_finished()) {
            self.join(token.conn);
        }
    }

    /// The worker begins to read what its server sends: from here on the pair is joined. That it
    /// heard of the connect alone means nothing, because it may have begun to give the pair up.
    pub fn join(&mut self, conn: ConnIndex) {
        let (Some(client), Some(upstream)) =
            (self.link_at(conn, Side::Client), self.link_at(conn, Side::Upstream))
        else {
            return;
        };
        // What comes before it is its handshake.
        let Link { secure, received_bytes, .. } = &self.links[upstream];
        if secure.as_ref().is_some_and(|end| !end.is_shaken_with(*received_bytes)) {
            return;
        }
        // And this is what it was asked for TLS, and says to that.
        if !self.has_agreed(upstream) {
            return;
        }
        self.links[upstream].joined = true;
        self.links[client].joined = true;
        self.links[client].begins_at = u64::from(self.links[upstream].heading.has_request());
        self.links[client].heading.end_words();
        if self.speech.is_some() {
            let now = self.now();
            self.links[client].wake_by(now);
        }
        self.links[client].expects = Some(self.links[upstream].key);
        self.joined.insert(client, upstream);
    }
}
