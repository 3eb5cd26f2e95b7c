//! A ring in memory whose peers answer at once: behind it only the worker's own code takes time.
//!
//! The simulated ring of `tests/sim` looks for what goes wrong, and its checks would be most of
//! what is measured. This one checks nothing and makes nothing go wrong.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use portcullis::base::{Buffer, BySide, Chunk, Errno, OpKind, Side};
use portcullis::ring::{
    AcceptMode, Accepts, Buffers, Completion, ConnIndex, Done, FourTuple, GateId, Moves, Operation,
    Operations, Ring, RingCounters, ServerId, Token,
};

/// poll(2): there is something to read.
const READABLE: u32 = 1;
/// poll(2): a send goes on.
const WRITABLE: u32 = 4;

/// What one socket waits for, and what waits for it.
#[derive(Clone, Copy, Debug, Default)]
struct Socket {
    readable: Option<Token>,
    receive: Option<Token>,
    hangup: Option<Token>,
    unread_bytes: u32,
    /// The peer has said FIN.
    ended: bool,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct InstantRing {
    /// By slot and side.
    sockets: Vec<[Socket; 2]>,
    free: Vec<ConnIndex>,
    buffers: Vec<Buffer>,
    pool: u32,
    multishot: bool,
    credits: u32,
    queue: u32,
    watched: bool,
    /// What completes in the next turn, and what completed in this one.
    later: VecDeque<Completion>,
    now: VecDeque<Completion>,
    /// Bytes that clients got back.
    pub(crate) answered_bytes: u64,
    /// Lives that are over.
    pub(crate) closed: u64,
}

impl InstantRing {
    pub(crate) fn new(slots: u32, buffers: u32) -> InstantRing {
        InstantRing {
            sockets: vec![[Socket::default(); 2]; slots as usize],
            free: (0..slots).rev().map(ConnIndex).collect(),
            buffers: (0..buffers).map(Buffer).collect(),
            pool: buffers,
            multishot: false,
            credits: 0,
            queue: 0,
            watched: false,
            later: VecDeque::new(),
            now: VecDeque::new(),
            answered_bytes: 0,
            closed: 0,
        }
    }

    /// A client comes.
    pub(crate) fn knock(&mut self) {
        self.queue += 1;
        self.take();
    }

    /// A client sends so many bytes.
    pub(crate) fn say(&mut self, conn: ConnIndex, bytes: u32) {
        self.socket(conn, Side::Client).unread_bytes += bytes;
        self.wake(conn, Side::Client);
    }

    /// A client says FIN.
    pub(crate) fn leave(&mut self, conn: ConnIndex) {
        self.socket(conn, Side::Client).ended = true;
        self.wake(conn, Side::Client);
    }

    fn socket(&mut self, conn: ConnIndex, side: Side) -> &mut Socket {
        &mut self.sockets[conn.0 as usize][side as usize]
    }

    /// Tells who waits, and lets them in.
    fn take(&mut self) {
        if self.queue > 0 && std::mem::take(&mut self.watched) {
            self.later.push_back(Completion::QueueReady { gate: GateId(0) });
        }
        while self.queue > 0 && (self.multishot || self.credits > 0) {
            let Some(conn) = self.free.pop() else { return };
            self.queue -= 1;
            self.credits -= u32::from(!self.multishot);
            let (listener, more) = (GateId(0), self.multishot);
            self.later.push_back(Completion::Accepted { gate: listener, conn, more });
        }
    }

    /// Completes what waits for what has come.
    fn wake(&mut self, conn: ConnIndex, side: Side) {
        let socket = &mut self.sockets[conn.0 as usize][side as usize];
        if socket.unread_bytes == 0 && !socket.ended {
            return;
        }
        if let Some(token) = socket.readable.take() {
            self.later.push_back(done(token, Ok(READABLE)));
        }
        if let Some(token) = socket.receive.take() {
            let bytes = std::mem::take(&mut socket.unread_bytes);
            let (result, buffer) = match self.buffers.pop() {
                _ if bytes == 0 => (Ok(0), None),
                Some(buffer) => (Ok(bytes), Some(buffer)),
                None => (Err(Errno::ENOBUFS), None),
            };
            self.later.push_back(Completion::Done(Done {
                token,
                result,
                buffer,
                full: false,
                more: false,
            }));
        }
    }

    /// A server sends everything back; a client has got its answer.
    fn sent(&mut self, conn: ConnIndex, side: Side, bytes: u32) {
        match side {
            Side::Client => self.answered_bytes += u64::from(bytes),
            Side::Upstream => {
                self.socket(conn, side).unread_bytes += bytes;
                self.wake(conn, side);
            }
        }
    }
}

fn done(token: Token, result: Result<u32, Errno>) -> Completion {
    Completion::Done(Done { token, result, buffer: None, full: false, more: false })
}

impl Accepts for InstantRing {
    fn slots(&self) -> u32 {
        self.sockets.len() as u32
    }

    fn accept_room(&self) -> u32 {
        self.free.len() as u32
    }

    fn best_accept_room(&self) -> u32 {
        self.accept_room()
    }

    fn accept_burst(&self) -> u32 {
        1
    }

    fn retarget_accepts(&mut self) {}

    fn accept(&mut self, _: GateId, mode: AcceptMode) {
        match mode {
            AcceptMode::Multishot => self.multishot = true,
            AcceptMode::Single => self.credits += 1,
        }
        self.take();
    }

    fn cancel_accepts(&mut self, listener: GateId) {
        let armed = std::mem::take(&mut self.credits) + u32::from(self.multishot);
        self.multishot = false;
        let ended = Completion::AcceptEnded { gate: listener, error: Errno::ECANCELED };
        self.later.extend(std::iter::repeat_n(ended, armed as usize));
    }

    fn accept_queue(&self, _: GateId) -> Result<u32, Errno> {
        Ok(self.queue)
    }

    fn watch_queue(&mut self, _: GateId) {
        self.watched = true;
        self.take();
    }

    fn add_gate(&mut self, gate: GateId) {
        panic!("{gate:?} in a ring whose gates stay");
    }

    fn remove_gate(&mut self, gate: GateId) {
        panic!("{gate:?} in a ring whose gates stay");
    }
}

impl Buffers for InstantRing {
    fn bytes(&self, chunk: Chunk) -> &[u8] {
        panic!("{chunk:?} has no bytes here: only their number passes");
    }

    fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8] {
        panic!("{chunk:?} has no bytes here: only their number passes");
    }

    fn fill(&mut self, _: u32, _: impl FnOnce(&mut [u8])) -> Option<Chunk> {
        None
    }

    fn park(&mut self, _: Chunk) -> Option<Chunk> {
        None
    }

    fn place(&mut self, _: &[u8]) -> Option<Chunk> {
        None
    }

    fn widen(&mut self, _: Chunk, _: u32, _: u32) -> Option<Chunk> {
        None
    }

    fn stretch(&self, _: Chunk, _: u32, _: u32) -> Option<Chunk> {
        None
    }

    fn release(&mut self, buffer: Buffer) {
        self.buffers.push(buffer);
    }

    fn buffer_bytes(&self) -> u32 {
        u32::MAX
    }

    fn pool_buffers(&self) -> u32 {
        self.pool
    }

    fn free_buffers(&self) -> u32 {
        self.buffers.len() as u32
    }

    fn returned_buffers(&mut self) -> u32 {
        0
    }

    fn trim(&mut self) {}
}

impl Operations for InstantRing {
    fn add_server(&mut self, server: ServerId) {
        panic!("{server:?} in a ring whose servers stay");
    }

    fn remove_server(&mut self, server: ServerId) {
        panic!("{server:?} in a ring whose servers stay");
    }

    fn start(&mut self, token: Token, operation: Operation) {
        let Token { conn, side, .. } = token;
        let result = match operation {
            Operation::WaitReadable => {
                self.socket(conn, side).readable = Some(token);
                return self.wake(conn, side);
            }
            Operation::Receive => {
                self.socket(conn, side).receive = Some(token);
                return self.wake(conn, side);
            }
            Operation::WatchHangup => {
                self.socket(conn, side).hangup = Some(token);
                return;
            }
            Operation::Send(chunk) => {
                self.sent(conn, side, chunk.length_bytes);
                Ok(chunk.length_bytes)
            }
            Operation::WaitWritable => Ok(WRITABLE),
            Operation::Shutdown => {
                // Who hears a FIN says one.
                self.socket(conn, side).ended = true;
                self.wake(conn, side);
                Ok(0)
            }
            Operation::Cancel(kinds) => {
                let socket = self.socket(conn, side);
                let waiting = [&mut socket.readable, &mut socket.receive, &mut socket.hangup];
                let cancelled: Vec<Token> = waiting
                    .into_iter()
                    .filter_map(|token| token.take_if(|token| kinds.has(token.kind)))
                    .collect();
                let ended = cancelled.into_iter().map(|token| done(token, Err(Errno::ECANCELED)));
                self.later.extend(ended);
                Ok(0)
            }
            Operation::Close => {
                *self.socket(conn, side) = Socket::default();
                if side == Side::Client {
                    self.free.push(conn);
                    self.closed += 1;
                }
                Ok(0)
            }
            _ => Ok(0),
        };
        self.later.push_back(done(token, result));
        if token.kind == OpKind::Close {
            self.take();
        }
    }

    fn addresses(&mut self, _: Token) -> Option<FourTuple> {
        None
    }

    fn end_splices(&mut self, _: ConnIndex) {}
}

impl Moves for InstantRing {
    type Socket = Infallible;

    fn lend(&mut self, conn: ConnIndex, _: u32, _: Side) {
        panic!("{conn:?} is lent by a ring whose sockets stay");
    }

    fn lent(&mut self, _: ConnIndex, _: Side) -> Option<Infallible> {
        None
    }

    fn four_tuple(&self, socket: &Infallible) -> Option<FourTuple> {
        match *socket {}
    }

    fn ahead(&self, _: ConnIndex, _: Side, _: &mut Vec<u8>) -> Result<(), Errno> {
        Ok(())
    }

    fn forget(&mut self, _: ConnIndex, _: Side) {}

    fn adopt(&mut self, key: u32, _: BySide<Option<Infallible>>) {
        panic!("{key} is adopted by a ring to which no socket comes");
    }
}

impl Ring for InstantRing {
    fn turn(&mut self, _: Option<Duration>) -> Result<(), Errno> {
        std::mem::swap(&mut self.now, &mut self.later);
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.now.pop_front()
    }

    fn counters(&self) -> RingCounters {
        RingCounters::default()
    }
}
