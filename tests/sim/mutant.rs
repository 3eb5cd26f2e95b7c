//! A ring that does not quite do what the worker asked: each mutation breaks what one invariant
//! protects, and the oracle must see it.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use portcullis::base::{Buffer, Chunk, Errno, OpKind, Side};
use portcullis::ring::{
    AcceptMode, Completion, ConnIndex, Done, FourTuple, GateId, Operation, Ring, RingCounters,
    ServerId, Token,
};

use crate::link::{OUT, RDHUP};
use crate::pipes::is_pipe;
use crate::random::Random;
use crate::ring::{QUIETS, SimRing};

/// What is broken, by the invariant that is to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing: the ring as it is.
    None,
    /// Buffers come home: a release is forgotten.
    KeepsBuffer,
    /// Buffers come home: the data of a completion is forgotten.
    LosesData,
    /// No buffer is released twice.
    ReleasesTwice,
    /// No buffer is released under a send.
    ReleasesEarly,
    /// A parked chunk is not used by its old name.
    UsesOldChunk,
    /// Never two of a kind in flight: sends.
    SendsTwice,
    /// Never two of a kind in flight: receives.
    ReceivesTwice,
    /// Bytes are a prefix: one is left out.
    SkipsByte,
    /// Bytes are a prefix: one is sent again.
    RepeatsByte,
    /// A clean end follows all bytes: the last ones are not sent.
    DropsTail,
    /// RST is RST: the reset is left out and the close sends FIN.
    FinForReset,
    /// RST is RST: a receive's error reads as an end.
    HidesReset,
    /// FIN is FIN: a shutdown becomes a reset.
    ResetForFin,
    /// FIN arrives: a shutdown is left out.
    SkipsShutdown,
    /// What was received is delivered before a reset is passed on.
    AcknowledgesEarly,
    /// Close only when nothing is in flight.
    ClosesEarly,
    /// No operation on an empty slot.
    StartsOnEmpty,
    /// Slots come home: a close is left out.
    KeepsSlot,
    /// Never an accept beyond the permits.
    AcceptsTwice,
    /// Never an accept beyond the slots.
    LiesAboutRoom,
    /// A stop ends: cancels of accepts are left out.
    KeepsAccepting,
    /// No client is left without service.
    LosesClient,
    /// A reset is passed on in time: bytes that are not acknowledged seem to make way for ever.
    DeliversForEver,
    /// No client waits for ever: accepts are not armed.
    DropsAccept,
    /// All ends: cancels are left out.
    DropsCancel,
    /// All ends: a readiness is forgotten.
    DropsReadiness,
    /// What the gateway cuts looks cut: its reset is left out.
    FinAtOurEnd,
    /// All ends: a question for addresses stays open.
    DropsName,
    /// No turn for nothing: a wait for room ends at once.
    Spins,
    /// No turn for nothing: a wait for room ends at once where the peer has sent FIN.
    SpinsOnFin,
    /// A quiet connection waits without a receive: its cancel is left out.
    StaysAlert,
    /// Bytes that beat the cancel of a quiet receive are delivered.
    DropsBeaten,
    /// Pipes come home: a release is forgotten.
    KeepsPipe,
    /// A clean end follows all bytes: those of a pipe are dropped.
    DropsPipe,
    /// A pipe holds what its splice said: one more is said.
    MiscountsPipe,
    /// What a quiet connection's splices took comes home.
    KeepsDescriptors,
    /// Bytes are a prefix: a splice begins without what was received ahead.
    ForgetsAhead,
    /// Bytes are a prefix: of what was received ahead, the first is told last.
    SwapsAhead,
    /// Bytes sent are counted, each once: some are reported as none (and an error).
    HidesSent,
    /// Completions of an earlier life are counted.
    HidesStale,
    /// Permits come home (broken by the run, not here).
    LeaksPermit,
    /// Connections per server come home (broken by the run, not here).
    LeaksServer,
}

impl Mutation {
    /// Everything that the oracle must notice.
    pub const BROKEN: [Mutation; 42] = [
        Mutation::KeepsBuffer,
        Mutation::LosesData,
        Mutation::ReleasesTwice,
        Mutation::ReleasesEarly,
        Mutation::UsesOldChunk,
        Mutation::SendsTwice,
        Mutation::ReceivesTwice,
        Mutation::SkipsByte,
        Mutation::RepeatsByte,
        Mutation::DropsTail,
        Mutation::FinForReset,
        Mutation::HidesReset,
        Mutation::ResetForFin,
        Mutation::SkipsShutdown,
        Mutation::AcknowledgesEarly,
        Mutation::ClosesEarly,
        Mutation::StartsOnEmpty,
        Mutation::KeepsSlot,
        Mutation::AcceptsTwice,
        Mutation::LiesAboutRoom,
        Mutation::KeepsAccepting,
        Mutation::LosesClient,
        Mutation::DeliversForEver,
        Mutation::DropsAccept,
        Mutation::DropsCancel,
        Mutation::DropsReadiness,
        Mutation::FinAtOurEnd,
        Mutation::DropsName,
        Mutation::Spins,
        Mutation::SpinsOnFin,
        Mutation::StaysAlert,
        Mutation::DropsBeaten,
        Mutation::KeepsPipe,
        Mutation::DropsPipe,
        Mutation::MiscountsPipe,
        Mutation::KeepsDescriptors,
        Mutation::ForgetsAhead,
        Mutation::SwapsAhead,
        Mutation::HidesSent,
        Mutation::HidesStale,
        Mutation::LeaksPermit,
        Mutation::LeaksServer,
    ];

    /// What a failure must say, so that the invariant itself has noticed.
    pub fn symptom(self) -> &'static str {
        match self {
            Mutation::None => "nothing",
            Mutation::KeepsBuffer => "did not come home",
            Mutation::LosesData => "clean end",
            Mutation::ReleasesTwice => "released",
            Mutation::ReleasesEarly => "was released while a send uses it",
            Mutation::UsesOldChunk => "released",
            Mutation::SendsTwice | Mutation::ReceivesTwice => "two of a kind",
            Mutation::SkipsByte | Mutation::RepeatsByte => "is not byte",
            Mutation::ForgetsAhead | Mutation::SwapsAhead => "is not byte",
            Mutation::DropsTail => "a clean end after",
            Mutation::FinForReset => "reset",
            Mutation::HidesReset => "clean end that the source did not send",
            Mutation::ResetForFin => "reset",
            Mutation::SkipsShutdown => "still going",
            Mutation::AcknowledgesEarly => "the reset overtook bytes",
            Mutation::ClosesEarly => "is in flight",
            Mutation::StartsOnEmpty => "on a slot that is filled: false",
            Mutation::KeepsSlot => "slot",
            Mutation::AcceptsTwice => "permits",
            Mutation::LiesAboutRoom => "without a slot",
            Mutation::KeepsAccepting => "still stopping",
            Mutation::LosesClient => "still going",
            Mutation::DeliversForEver => "was reset and its connection is held",
            Mutation::DropsAccept => "still going",
            Mutation::DropsCancel => "still going",
            Mutation::DropsReadiness => "still going",
            Mutation::FinAtOurEnd => "our own end in mid-stream looks like a FIN",
            Mutation::DropsName => "still going",
            Mutation::Spins | Mutation::SpinsOnFin => "turns for nothing",
            Mutation::StaysAlert => "a receive waits on a quiet connection",
            Mutation::DropsBeaten => "clean end",
            Mutation::KeepsPipe => "while a pipe holds bytes",
            Mutation::DropsPipe => "a clean end after",
            Mutation::MiscountsPipe => "the pipe holds",
            Mutation::KeepsDescriptors => "descriptors on a quiet connection",
            Mutation::HidesSent => "were miscounted",
            Mutation::HidesStale => "stale",
            Mutation::LeaksPermit => "permits did not come home",
            Mutation::LeaksServer => "connections did not come home",
        }
    }
}

/// A simulated ring between which and the worker something may be broken.
#[derive(Debug)]
pub struct Mutant {
    pub inner: SimRing,
    mutation: Mutation,
    random: Random,
    /// Completions that no kernel posted.
    fakes: VecDeque<Completion>,
    /// Resets that the worker asked for as shutdowns.
    bent_shutdowns: HashSet<u64>,
    /// What was last said to be unacknowledged.
    left_bytes: u32,
}

impl Mutant {
    pub fn new(inner: SimRing, mutation: Mutation, random: Random) -> Mutant {
        Mutant {
            inner,
            mutation,
            random,
            fakes: VecDeque::new(),
            bent_shutdowns: HashSet::new(),
            left_bytes: u32::MAX,
        }
    }

    /// Whether it breaks `mutation` here; not always, so that some things go well.
    fn breaks(&mut self, mutation: Mutation) -> bool {
        self.mutation == mutation && self.random.percent(30)
    }

    fn fake(&mut self, token: Token, result: Result<u32, Errno>) {
        self.fakes.push_back(Completion::Done(Done {
            token,
            result,
            buffer: None,
            full: false,
            more: false,
        }));
    }

    /// A chunk that misses its first byte, or its last.
    fn bent(&mut self, chunk: Chunk) -> Chunk {
        let Chunk { buffer, start_bytes, length_bytes } = chunk;
        if length_bytes > 1 && self.breaks(Mutation::SkipsByte) {
            let (start_bytes, length_bytes) = (start_bytes + 1, length_bytes - 1);
            return Chunk { buffer, start_bytes, length_bytes };
        }
        chunk
    }

    fn start_send(&mut self, token: Token, chunk: Chunk) {
        if is_pipe(chunk.buffer) && self.breaks(Mutation::DropsPipe) {
            return self.fake(token, Ok(chunk.length_bytes));
        }
        if self.breaks(Mutation::DropsTail) {
            return self.fake(token, Ok(chunk.length_bytes));
        }
        let chunk = self.bent(chunk);
        self.inner.start(token, Operation::Send(chunk));
        if self.breaks(Mutation::SendsTwice) {
            self.inner.start(token, Operation::Send(chunk));
        }
        if self.breaks(Mutation::ReleasesEarly) {
            self.inner.release(chunk.buffer);
        }
    }

    /// Whether `operation` is left out and answered by nobody but us.
    fn left_out(&mut self, token: Token, operation: Operation) -> Option<Result<u32, Errno>> {
        match operation {
            Operation::Reset if self.breaks(Mutation::FinForReset) => Some(Ok(0)),
            Operation::Reset if self.breaks(Mutation::FinAtOurEnd) => Some(Ok(0)),
            Operation::Shutdown if self.breaks(Mutation::SkipsShutdown) => Some(Ok(0)),
            Operation::Unacknowledged if self.breaks(Mutation::AcknowledgesEarly) => Some(Ok(0)),
            Operation::Close if self.breaks(Mutation::KeepsSlot) => Some(Ok(0)),
            Operation::Cancel(_) if self.mutation == Mutation::DropsCancel => {
                Some(Err(Errno::ENOENT))
            }
            QUIETS if self.mutation == Mutation::StaysAlert => Some(Err(Errno::ENOENT)),
            Operation::WaitWritable if self.mutation == Mutation::Spins => Some(Ok(OUT)),
            Operation::WaitWritable if self.spins_on_fin(token) => Some(Ok(RDHUP)),
            _ => None,
        }
    }

    /// Whether a wait for room is to be answered by a FIN, as poll(2) at its level would.
    fn spins_on_fin(&self, token: Token) -> bool {
        let link = self.inner.link_at(token.conn, token.side);
        let finished = link.is_some_and(|link| self.inner.links[link].fin_in);
        finished && self.mutation == Mutation::SpinsOnFin
    }

    /// Whether to lose the data of a receive that was being cancelled for quiet.
    fn is_beaten(&self, token: Token) -> bool {
        let link = self.inner.link_at(token.conn, token.side);
        let quieted = link.is_some_and(|link| self.inner.links[link].quieted);
        quieted && self.mutation == Mutation::DropsBeaten
    }

    /// The completion as the worker sees it; `None` hides it.
    fn seen(&mut self, completion: Completion) -> Option<Completion> {
        let Completion::Done(mut done) = completion else {
            let accepted = matches!(completion, Completion::Accepted { more: true, .. });
            return (!accepted || !self.breaks(Mutation::LosesClient)).then_some(completion);
        };
        let Token { conn, generation, side, kind } = done.token;
        let stale = self.inner.lives[conn.0 as usize] != generation;
        match (kind, done.result) {
            (OpKind::Close, _) if side == Side::Client && self.breaks(Mutation::StartsOnEmpty) => {
                let generation = self.inner.lives[conn.0 as usize];
                let token = Token { generation, kind: OpKind::WaitReadable, ..done.token };
                self.inner.start(token, Operation::WaitReadable);
            }
            (OpKind::Close, _) => {}
            _ if stale && self.breaks(Mutation::HidesStale) => return None,
            (OpKind::Unacknowledged, Ok(1..)) if self.mutation == Mutation::DeliversForEver => {
                self.left_bytes -= 1;
                done.result = Ok(self.left_bytes);
            }
            (OpKind::Receive, Err(Errno::ECONNRESET)) if self.breaks(Mutation::HidesReset) => {
                done.result = Ok(0);
            }
            (OpKind::Receive, Ok(1..)) if self.breaks(Mutation::LosesData) => {
                (done.result, done.buffer) = (Err(Errno::EAGAIN), None);
            }
            (OpKind::Receive, Ok(1..)) if self.is_beaten(done.token) => {
                (done.result, done.buffer) = (Err(Errno::ECANCELED), None);
            }
            (OpKind::Splice, Ok(bytes @ 1..)) if self.breaks(Mutation::MiscountsPipe) => {
                done.result = Ok(bytes + 1);
            }
            (OpKind::Send, Ok(1..)) if self.breaks(Mutation::HidesSent) => {
                done.result = Err(Errno::ECONNRESET);
            }
            (OpKind::Send, Ok(sent @ 1..)) if self.breaks(Mutation::RepeatsByte) => {
                done.result = Ok(sent - 1);
            }
            (OpKind::Addresses, _) if self.breaks(Mutation::DropsName) => return None,
            (OpKind::WaitReadable, Ok(_)) if self.breaks(Mutation::DropsReadiness) => return None,
            (OpKind::Reset, _) if self.bent_shutdowns.remove(&done.token.pack()) => {
                done.token.kind = OpKind::Shutdown;
            }
            _ => {}
        }
        Some(Completion::Done(done))
    }
}

impl Ring for Mutant {
    fn slots(&self) -> u32 {
        self.inner.slots()
    }

    fn accept_room(&self) -> u32 {
        let lie = if self.mutation == Mutation::LiesAboutRoom { 100 } else { 0 };
        self.inner.accept_room() + lie
    }

    fn best_accept_room(&self) -> u32 {
        let lie = if self.mutation == Mutation::LiesAboutRoom { 100 } else { 0 };
        self.inner.best_accept_room() + lie
    }

    fn accept_burst(&self) -> u32 {
        self.inner.accept_burst()
    }

    fn retarget_accepts(&mut self) {
        self.inner.retarget_accepts();
    }

    fn accept(&mut self, listener: GateId, mode: AcceptMode) {
        if self.mutation == Mutation::DropsAccept {
            return;
        }
        self.inner.accept(listener, mode);
        if mode == AcceptMode::Single && self.breaks(Mutation::AcceptsTwice) {
            self.inner.accept(listener, mode);
        }
    }

    fn cancel_accepts(&mut self, listener: GateId) {
        if self.mutation != Mutation::KeepsAccepting {
            self.inner.cancel_accepts(listener);
        }
    }

    fn accept_queue(&self, listener: GateId) -> Result<u32, Errno> {
        self.inner.accept_queue(listener)
    }

    fn watch_queue(&mut self, listener: GateId) {
        self.inner.watch_queue(listener);
    }

    fn add_gate(&mut self, gate: GateId) {
        self.inner.add_gate(gate);
    }
    fn remove_gate(&mut self, gate: GateId) {
        self.inner.remove_gate(gate);
    }
    fn add_server(&mut self, server: ServerId) {
        self.inner.add_server(server);
    }
    fn remove_server(&mut self, server: ServerId) {
        self.inner.remove_server(server);
    }
    fn start(&mut self, token: Token, operation: Operation) {
        let Token { conn, side, kind, .. } = token;
        if kind == OpKind::Splice && self.breaks(Mutation::ForgetsAhead) {
            self.inner.discard_ahead(conn, side);
        }
        if kind == OpKind::Receive && self.breaks(Mutation::SwapsAhead) {
            self.inner.swap_ahead(conn, side);
        }
        if let Some(result) = self.left_out(token, operation) {
            return self.fake(token, result);
        }
        match operation {
            Operation::Send(chunk) => return self.start_send(token, chunk),
            Operation::Shutdown if self.breaks(Mutation::ResetForFin) => {
                let token = Token { kind: OpKind::Reset, ..token };
                self.bent_shutdowns.insert(token.pack());
                return self.inner.start(token, Operation::Reset);
            }
            Operation::Cancel(_) if self.breaks(Mutation::ClosesEarly) => {
                let token = Token { kind: OpKind::Close, ..token };
                return self.inner.start(token, Operation::Close);
            }
            _ => self.inner.start(token, operation),
        }
        if operation == Operation::Receive && self.breaks(Mutation::ReceivesTwice) {
            self.inner.start(token, operation);
        }
    }

    fn release(&mut self, buffer: Buffer) {
        let pipe = is_pipe(buffer);
        if pipe && self.breaks(Mutation::KeepsPipe) || !pipe && self.breaks(Mutation::KeepsBuffer) {
            return;
        }
        self.inner.release(buffer);
        if self.breaks(Mutation::ReleasesTwice) {
            self.inner.release(buffer);
        }
    }

    fn end_splices(&mut self, conn: ConnIndex) {
        if self.mutation != Mutation::KeepsDescriptors {
            self.inner.end_splices(conn);
        }
    }

    fn free_buffers(&self) -> u32 {
        self.inner.free_buffers()
    }

    fn returned_buffers(&mut self) -> u32 {
        self.inner.returned_buffers()
    }

    fn pool_buffers(&self) -> u32 {
        self.inner.pool_buffers()
    }

    fn trim(&mut self) {
        self.inner.trim();
    }

    fn counters(&self) -> RingCounters {
        self.inner.counters()
    }

    fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        let parked = self.inner.park(chunk);
        if self.breaks(Mutation::UsesOldChunk) { parked.map(|_| chunk) } else { parked }
    }

    fn addresses(&mut self, token: Token) -> Option<FourTuple> {
        self.inner.addresses(token)
    }

    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        let wait = if self.fakes.is_empty() { wait } else { Some(Duration::ZERO) };
        self.inner.turn(wait)
    }

    fn next(&mut self) -> Option<Completion> {
        while let Some(completion) = self.inner.next() {
            if let Some(seen) = self.seen(completion) {
                return Some(seen);
            }
        }
        self.fakes.pop_front()
    }
}
