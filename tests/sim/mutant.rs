//! A ring that does not quite do what the worker asked: each mutation breaks what one invariant
//! protects, and the oracle must see it.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use portcullis::base::{Buffer, Chunk, Errno, OpKind, Side};
use portcullis::ring::{
    AcceptMode, Accepts, Buffers, Completion, ConnIndex, Done, FourTuple, GateId, Layer, Moves,
    Operation, Operations, Ring, ServerId, Token,
};

use crate::link::{OUT, RDHUP};
use crate::moves::Reference;
use crate::mutation::Mutation;
use crate::random::Random;
use crate::ring::{QUIETS, SimRing};

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
        if chunk.buffer.is_pipe() && self.breaks(Mutation::DropsPipe) {
            return self.fake(token, Ok(chunk.length_bytes));
        }
        if self.breaks(Mutation::DropsTail) {
            return self.fake(token, Ok(chunk.length_bytes));
        }
        if self.is_close_notify(token, chunk) && self.breaks(Mutation::DropsCloseNotify) {
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

    /// Whether this looks like the alert that ends a side's TLS.
    fn is_close_notify(&self, token: Token, chunk: Chunk) -> bool {
        const BYTES: u32 = 5 + 2 + 1 + 16;
        chunk.length_bytes == BYTES && self.is_secured(token)
    }

    /// Whether a side has a session.
    fn is_secured(&self, token: Token) -> bool {
        let link = self.inner.link_at(token.conn, token.side);
        let end = link.and_then(|link| self.inner.links[link].secure.as_ref());
        end.is_some_and(|end| !end.is_shaking())
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
            Operation::Guard(_) if self.breaks(Mutation::SkipsGuard) => Some(Ok(0)),
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

    /// Whether a send was of a header, all of it, and is to be made again.
    fn repeats_header(&self, token: Token, sent_bytes: u32) -> bool {
        let link = self.inner.link_at(token.conn, token.side);
        let is_its = link.is_some_and(|link| {
            let link = &self.inner.links[link];
            let all = [link.heading.own_bytes(), link.taken_bytes];
            link.heading.is_whole() && all == [u64::from(sent_bytes); 2]
        });
        is_its && self.mutation == Mutation::RepeatsHeader
    }

    /// Whether to lose the data of a receive that was being cancelled for quiet.
    fn is_beaten(&self, token: Token) -> bool {
        let link = self.inner.link_at(token.conn, token.side);
        let quieted = link.is_some_and(|link| self.inner.links[link].quieted);
        quieted && self.mutation == Mutation::DropsBeaten
    }

    /// The completion as the worker sees it; `None` hides it.
    fn seen(&mut self, completion: Completion) -> Option<Completion> {
        if matches!(completion, Completion::Lent { .. }) && self.breaks(Mutation::DropsLent) {
            return None;
        }
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
            (OpKind::Receive, Ok(bytes @ 2..))
                if self.is_secured(done.token) && self.breaks(Mutation::ForgetsGathered) =>
            {
                done.result = Ok(bytes - 1);
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
            (OpKind::Send, Ok(sent)) if self.repeats_header(done.token, sent) => {
                done.result = Ok(0);
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

impl Layer for Mutant {
    type Below = SimRing;

    fn below(&self) -> &SimRing {
        &self.inner
    }

    fn below_mut(&mut self) -> &mut SimRing {
        &mut self.inner
    }

    fn accept_room(&self) -> u32 {
        let lie = if self.mutation == Mutation::LiesAboutRoom { 100 } else { 0 };
        self.inner.accept_room() + lie
    }

    fn best_accept_room(&self) -> u32 {
        let lie = if self.mutation == Mutation::LiesAboutRoom { 100 } else { 0 };
        self.inner.best_accept_room() + lie
    }

    fn accept(&mut self, gate: GateId, mode: AcceptMode) {
        if self.mutation == Mutation::DropsAccept {
            return;
        }
        self.inner.accept(gate, mode);
        if mode == AcceptMode::Single && self.breaks(Mutation::AcceptsTwice) {
            self.inner.accept(gate, mode);
        }
    }

    fn cancel_accepts(&mut self, gate: GateId) {
        if self.mutation != Mutation::KeepsAccepting {
            self.inner.cancel_accepts(gate);
        }
    }

    fn accept_queue(&self, gate: GateId) -> Result<u32, Errno> {
        let invents = self.mutation == Mutation::InventsClients;
        let clients = self.inner.accept_queue(gate)?;
        Ok(if invents && clients > 0 { clients + 2 } else { clients })
    }

    fn remove_gate(&mut self, gate: GateId) {
        if self.mutation != Mutation::KeepsGate {
            self.inner.remove_gate(gate);
        }
    }

    fn fill(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Option<Chunk> {
        let swaps = self.mutation == Mutation::SwapsKept;
        self.inner.fill(length_bytes, |bytes| {
            write(bytes);
            bytes.rotate_left(usize::from(swaps));
        })
    }

    fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        let parked = self.inner.park(chunk);
        if self.breaks(Mutation::UsesOldChunk) { parked.map(|_| chunk) } else { parked }
    }

    fn release(&mut self, buffer: Buffer) {
        let pipe = buffer.is_pipe();
        if pipe && self.breaks(Mutation::KeepsPipe) || !pipe && self.breaks(Mutation::KeepsBuffer) {
            return;
        }
        self.inner.release(buffer);
        if self.breaks(Mutation::ReleasesTwice) {
            self.inner.release(buffer);
        }
    }

    fn add_server(&mut self, server: ServerId) {
        if self.mutation != Mutation::MissesServer {
            self.inner.add_server(server);
        }
    }

    fn remove_server(&mut self, server: ServerId) {
        if self.mutation != Mutation::KeepsServer {
            self.inner.remove_server(server);
        }
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

    fn addresses(&mut self, token: Token) -> Option<FourTuple> {
        let mut found = self.inner.addresses(token)?;
        if self.mutation == Mutation::SwapsPorts {
            found.local.set_port(1);
        }
        Some(found)
    }

    fn end_splices(&mut self, conn: ConnIndex) {
        if self.mutation != Mutation::KeepsDescriptors {
            self.inner.end_splices(conn);
        }
    }

    fn lend(&mut self, conn: ConnIndex, generation: u32, side: Side) {
        self.inner.moving.reads_on = self.mutation == Mutation::ReadsOn;
        self.inner.lend(conn, generation, side);
    }

    fn lent(&mut self, conn: ConnIndex, side: Side) -> Option<Reference> {
        if self.breaks(Mutation::ShutsLent)
            && let Some(link) = self.inner.link_at(conn, side)
        {
            let now = self.inner.now();
            let _ = self.inner.links[link].shut_down(now);
        }
        self.inner.lent(conn, side)
    }

    fn ahead(&self, conn: ConnIndex, side: Side, into: &mut Vec<u8>) -> Result<(), Errno> {
        match self.mutation {
            Mutation::LosesAhead => Ok(()),
            _ => self.inner.ahead(conn, side, into),
        }
    }

    fn forget(&mut self, conn: ConnIndex, side: Side) {
        if self.mutation != Mutation::SkipsForget {
            self.inner.forget(conn, side);
        }
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
