//! Connections of one thread on its ring: what scripts ask for, and the events that they hear.

mod accepts;
mod link;
mod secure;
mod translate;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use portcullis::base::{Chunk, Errno, OpKind, Side, Source};
use portcullis::ring::{
    Buffers, ConnIndex, GateId, KernelRing, Operation, Operations, PassiveSocket, Ring, RingSetup,
    ServerId, ServerSocket, Token,
};
use portcullis::tls::{HandshakeFault, Secured};

use accepts::Accepts;
use link::{Deadline, Link, Stage};
use secure::Shakes;

pub(crate) use secure::Towards;

/// Links looked at for answers that are overdue, and how often: not in each turn, of which there
/// are thousands in a second.
const SWEEP: usize = 4_096;
const SWEEP_EVERY_MILLIS: u32 = 10;

/// The most that one turn adds to the clock of patience: while this thread did not run, nobody's
/// answer was late.
const TURN_MAX: Duration = Duration::from_millis(100);

/// The most bytes of unsent remainders that peers who do not read may leave with us.
const PARKED_BYTES_MAX: usize = 1 << 30;
/// Ordinary descriptors for FINs on their way.
const DESCRIPTORS_MAX: u32 = 128;

/// How often the ring gives back what was not needed meanwhile.
const TRIM: Duration = Duration::from_secs(1);

/// What a thread's connections are made from.
pub(crate) struct NetSetup {
    pub(crate) connections: u32,
    pub(crate) buffer_bytes: u32,
    pub(crate) buffer_count: u32,
    pub(crate) listeners: Vec<PassiveSocket>,
    pub(crate) servers: Vec<ServerSocket>,
    /// After which an answer that is waited for is overdue.
    pub(crate) patience: Duration,
    /// Connections that we open speak TLS.
    pub(crate) towards: Option<Towards>,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A client came.
    Accepted(GateId),
    /// It is connected.
    Opened,
    /// Bytes came. They are given back when the script has seen the event.
    Received(Chunk),
    /// What was sent has gone out.
    Sent,
    /// There is a buffer again for a send that found none.
    MaySend,
    /// Nothing more will come.
    Ended(End),
    /// What was expected has not come in time.
    Overdue,
    /// Its slot is free.
    Closed,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The kernel gave no socket, or not from that source.
    NotOpened(Errno),
    /// Nobody answered.
    NotConnected(Errno),
    /// There is no session of TLS.
    NotSecured(HandshakeFault),
    /// The peer is done sending.
    Fin,
    /// The peer is done without having said so in its session (close_notify).
    CutOff,
    /// The peer aborted.
    Reset,
    /// Anything else.
    Error(Errno),
}

/// The connections.
pub(crate) struct Net {
    ring: Secured<KernelRing>,
    /// Where connections that we open speak TLS.
    shakes: Option<Shakes>,
    links: Box<[Link]>,
    accepts: Accepts,
    /// Events that did not come from a completion, with the generation that they are for.
    ready: VecDeque<(ConnIndex, u32, Event)>,
    starved_receives: VecDeque<(ConnIndex, u32)>,
    starved_sends: VecDeque<(ConnIndex, u32)>,
    escaped: Vec<ConnIndex>,
    started: Instant,
    /// The chunk that the script sees has been sent back.
    kept: bool,
    patience_millis: u32,
    /// The clock of patience, and the same in milliseconds.
    patient: Duration,
    now_millis: u32,
    turned: Instant,
    trimmed: Instant,
    swept: usize,
    swept_millis: u32,
    /// Connections that are open, and those that were ever established.
    pub(crate) open: u32,
    pub(crate) established: u64,
}

impl Net {
    pub(crate) fn new(setup: NetSetup) -> io::Result<Net> {
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?.0;
        let listeners = setup.listeners.len();
        let ring = KernelRing::new(RingSetup {
            connections: setup.connections,
            with_upstream: false,
            table_entries: u32::try_from(limit).unwrap_or(u32::MAX),
            submission_entries: 4_096,
            completion_entries: 16_384,
            buffer_bytes: setup.buffer_bytes,
            buffer_count: setup.buffer_count,
            receive_ahead: true,
            batch_wait: Duration::ZERO,
            parked_bytes_max: PARKED_BYTES_MAX,
            splice_pipes: 0,
            ephemeral_ports: None,
            descriptors: DESCRIPTORS_MAX,
            gates: (0..).map(GateId).zip(setup.listeners).collect(),
            servers: (0..).map(ServerId).zip(setup.servers).collect(),
        })
        .map_err(io::Error::other)?;
        Ok(Net {
            ring: Secured::new(ring),
            shakes: setup.towards.as_ref().map(Shakes::new).transpose()?,
            links: (0..setup.connections).map(|_| Link::default()).collect(),
            accepts: Accepts::new(listeners),
            ready: VecDeque::new(),
            starved_receives: VecDeque::new(),
            starved_sends: VecDeque::new(),
            escaped: Vec::new(),
            started: Instant::now(),
            kept: false,
            patience_millis: u32::try_from(setup.patience.as_millis()).unwrap_or(u32::MAX),
            patient: Duration::ZERO,
            now_millis: 0,
            turned: Instant::now(),
            trimmed: Instant::now(),
            swept: 0,
            swept_millis: 0,
            open: 0,
            established: 0,
        })
    }

    /// Opens a connection in a vacant slot; `Opened` or `Ended` follows.
    ///
    /// # Panics
    /// When the slot is not vacant.
    pub(crate) fn open(&mut self, conn: ConnIndex, server: ServerId) {
        let link = &mut self.links[conn.0 as usize];
        assert_eq!(link.stage, Stage::Vacant, "{conn:?} is opened");
        link.stage = Stage::Opening;
        link.server = server;
        self.expect(conn);
        self.start(conn, OpKind::Open, Operation::Open(server, Source::default()));
    }

    /// Sends bytes that `write` makes. False, and nothing is made, while the last ones are on their
    /// way (`Sent` follows) or no buffer is free (`MaySend` follows).
    pub(crate) fn send(
        &mut self,
        conn: ConnIndex,
        length_bytes: u32,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let link = &mut self.links[conn.0 as usize];
        if link.stage != Stage::Open || link.sending.is_some() || link.finished {
            return false;
        }
        let Some(chunk) = self.ring.fill(length_bytes, write) else {
            self.starved_sends.push_back((conn, link.generation));
            return false;
        };
        link.sending = Some(chunk);
        self.start(conn, OpKind::Send, Operation::Send(chunk));
        true
    }

    /// Waits for bytes with a buffer at hand.
    pub(crate) fn receive(&mut self, conn: ConnIndex) {
        let link = &self.links[conn.0 as usize];
        let waits = link.in_flight.has(OpKind::Receive) || link.in_flight.has(OpKind::WaitReadable);
        if matches!(link.stage, Stage::Open | Stage::Shaking) && !waits {
            self.start(conn, OpKind::Receive, Operation::Receive);
        }
    }

    /// Waits for bytes without a buffer: cheaper while nothing comes.
    pub(crate) fn idle(&mut self, conn: ConnIndex) {
        let link = &self.links[conn.0 as usize];
        let waits = link.in_flight.has(OpKind::Receive) || link.in_flight.has(OpKind::WaitReadable);
        if link.stage == Stage::Open && !waits {
            self.start(conn, OpKind::WaitReadable, Operation::WaitReadable);
        }
    }

    /// Sends FIN, once, behind what is on its way; bytes still come.
    pub(crate) fn finish(&mut self, conn: ConnIndex) {
        let link = &mut self.links[conn.0 as usize];
        let again = std::mem::replace(&mut link.finished, true);
        if link.stage == Stage::Open && !again && link.sending.is_none() {
            self.start(conn, OpKind::Shutdown, Operation::Shutdown);
        }
    }

    /// Sends RST and closes; `Closed` follows.
    pub(crate) fn reset(&mut self, conn: ConnIndex) {
        let link = &mut self.links[conn.0 as usize];
        if link.stage == Stage::Open {
            link.stage = Stage::Closing;
            self.open -= 1;
            self.start(conn, OpKind::Reset, Operation::Reset);
        } else {
            self.close(conn);
        }
    }

    /// Closes; `Closed` follows.
    pub(crate) fn close(&mut self, conn: ConnIndex) {
        let link = &mut self.links[conn.0 as usize];
        match link.stage {
            Stage::Vacant | Stage::Closing => return,
            Stage::Failed => {
                link.stage = Stage::Closing;
                let generation = link.generation;
                return self.ready.push_back((conn, generation, Event::Closed));
            }
            Stage::Opening => {}
            Stage::Shaking => self.shakes.iter_mut().for_each(|shakes| shakes.forget(conn)),
            Stage::Open => self.open -= 1,
        }
        link.stage = Stage::Closing;
        self.cancel(conn);
        self.close_when_quiet(conn);
    }

    /// `Overdue` comes if nothing relaxes this in time.
    pub(crate) fn expect(&mut self, conn: ConnIndex) {
        self.links[conn.0 as usize].deadline = Deadline::at(self.now_millis, self.patience_millis);
    }

    /// Takes `expect` back.
    pub(crate) fn relax(&mut self, conn: ConnIndex) {
        self.links[conn.0 as usize].deadline = Deadline::NEVER;
    }

    /// The bytes of a received chunk.
    pub(crate) fn bytes(&self, chunk: Chunk) -> &[u8] {
        self.ring.bytes(chunk)
    }

    /// Sends a received chunk as it is. Not while something else is on its way.
    ///
    /// # Panics
    /// When something is.
    pub(crate) fn send_back(&mut self, conn: ConnIndex, chunk: Chunk) {
        let link = &mut self.links[conn.0 as usize];
        assert!(link.sending.is_none(), "{conn:?} sends twice");
        if link.stage == Stage::Open {
            link.sending = Some(chunk);
            self.kept = true;
            self.start(conn, OpKind::Send, Operation::Send(chunk));
        }
    }

    /// Gives a received chunk back, unless it is being sent.
    pub(crate) fn release(&mut self, chunk: Chunk) {
        if !std::mem::take(&mut self.kept) {
            self.ring.release(chunk.buffer);
        }
    }

    /// Whether something is still on its way out.
    pub(crate) fn is_sending(&self, conn: ConnIndex) -> bool {
        self.links[conn.0 as usize].sending.is_some()
    }

    /// Whether nothing is in the slot.
    pub(crate) fn is_vacant(&self, conn: ConnIndex) -> bool {
        self.links[conn.0 as usize].stage == Stage::Vacant
    }

    /// Slots in all.
    pub(crate) fn slots(&self) -> u32 {
        self.links.len() as u32
    }

    /// Nanoseconds since the thread began, now.
    pub(crate) fn nanos(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Submits what was asked for and waits, at most so long, until something happens. Says by
    /// how much more than that the turn before lies back.
    pub(crate) fn turn(&mut self, wait: Duration) -> io::Result<Duration> {
        self.accepts.arm(self.ring.below_ring());
        for conn in std::mem::take(&mut self.escaped) {
            self.cancel(conn);
        }
        let fed = self.feed();
        let wait = if self.ready.is_empty() && !fed { wait } else { Duration::ZERO };
        self.ring.turn(Some(wait)).map_err(io::Error::from)?;
        let passed = self.turned.elapsed();
        self.turned += passed;
        self.patient += passed.min(TURN_MAX);
        self.now_millis = self.patient.as_millis() as u32;
        if self.now_millis >= self.swept_millis + SWEEP_EVERY_MILLIS {
            self.swept_millis = self.now_millis;
            self.sweep();
        }
        self.trim();
        Ok(passed.saturating_sub(wait))
    }

    /// The next event of this turn.
    pub(crate) fn next(&mut self) -> Option<(ConnIndex, Event)> {
        while let Some((conn, generation, event)) = self.ready.pop_front() {
            let link = &mut self.links[conn.0 as usize];
            if link.generation != generation {
                continue;
            }
            match event {
                Event::Closed => link.vacate(),
                _ if link.stage == Stage::Closing => continue,
                Event::MaySend if link.stage == Stage::Shaking => match self.speak(conn) {
                    Some(event) => return Some((conn, event)),
                    None => continue,
                },
                _ => {}
            }
            return Some((conn, event));
        }
        while let Some(completion) = self.ring.next() {
            if let Some(event) = self.translate(completion) {
                return Some(event);
            }
        }
        None
    }

    /// Gives the buffers that came back to those who wait for one; whether anybody got one.
    fn feed(&mut self) -> bool {
        let mut free = self.ring.free_buffers();
        let mut fed = false;
        while free > 0 {
            let Some((conn, generation)) = self.starved_receives.pop_front() else { break };
            if self.links[conn.0 as usize].generation == generation {
                self.receive(conn);
                free -= 1;
            }
        }
        while free > 0 {
            let Some((conn, generation)) = self.starved_sends.pop_front() else { break };
            self.ready.push_back((conn, generation, Event::MaySend));
            (free, fed) = (free - 1, true);
        }
        fed
    }

    /// Has keys of sessions in which nothing moves put away.
    fn trim(&mut self) {
        if self.shakes.is_some() && self.turned - self.trimmed >= TRIM {
            self.trimmed = self.turned;
            self.ring.trim();
        }
    }

    /// Looks at some of the links for what is overdue.
    fn sweep(&mut self) {
        for _ in 0..SWEEP.min(self.links.len()) {
            self.swept = if self.swept + 1 < self.links.len() { self.swept + 1 } else { 0 };
            let link = &mut self.links[self.swept];
            if link.deadline.is_past(self.now_millis) {
                link.deadline = Deadline::NEVER;
                let conn = ConnIndex(self.swept as u32);
                self.ready.push_back((conn, link.generation, Event::Overdue));
            }
        }
    }

    fn start(&mut self, conn: ConnIndex, kind: OpKind, operation: Operation) {
        let link = &mut self.links[conn.0 as usize];
        link.in_flight.start(kind);
        let token = Token { conn, generation: link.generation, side: Side::Client, kind };
        self.ring.start(token, operation);
    }
}
