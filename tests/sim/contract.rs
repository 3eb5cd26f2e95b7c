//! The contract over the simulated kernel, with the checks at that border.

use std::time::Duration;

use portcullis::base::{Buffer, Chunk, Errno, OpKind, Side};
use portcullis::ring::{
    AcceptMode, Accepts, Buffers, Completion, ConnIndex, FourTuple, GateId, Operation, Operations,
    Ring, RingCounters, ServerId, Token,
};

use crate::border::address_of;
use crate::fault::Fault;
use crate::ring::{Op, QUIETS, SimRing, Submitted};

impl Accepts for SimRing {
    fn slots(&self) -> u32 {
        self.shape.slots
    }

    fn accept_room(&self) -> u32 {
        self.room(self.target)
    }

    fn best_accept_room(&self) -> u32 {
        (0..self.shape.parts).map(|part| self.room(part)).max().unwrap_or(0)
    }

    fn accept_burst(&self) -> u32 {
        self.shape.burst
    }

    fn retarget_accepts(&mut self) {
        assert!(self.accepts.is_empty(), "accepts were pointed elsewhere while armed");
        let best = (0..self.shape.parts).max_by_key(|&part| self.room(part));
        self.target = best.unwrap_or(0);
    }

    fn accept(&mut self, gate: GateId, mode: AcceptMode) {
        self.note(|| format!("accept {mode:?} on {gate:?}"));
        self.arm_accept(self.listener_of(gate), mode);
    }

    fn cancel_accepts(&mut self, gate: GateId) {
        self.note(|| format!("cancel accepts of {gate:?}"));
        self.submitted.push(Submitted::CancelAccepts(self.listener_of(gate)));
    }

    fn accept_queue(&self, gate: GateId) -> Result<u32, Errno> {
        Ok(self.listeners[self.listener_of(gate)].queue.len() as u32)
    }

    fn watch_queue(&mut self, gate: GateId) {
        self.note(|| format!("watch {gate:?}"));
        self.arm_watch(self.listener_of(gate));
    }

    fn add_gate(&mut self, gate: GateId) {
        self.note(|| format!("add gate {gate:?}"));
        self.take_gate_in(gate);
    }

    fn remove_gate(&mut self, gate: GateId) {
        self.note(|| format!("remove gate {gate:?}"));
        self.give_gate_up(gate);
    }
}

impl Buffers for SimRing {
    fn bytes(&self, chunk: Chunk) -> &[u8] {
        assert!(!chunk.buffer.is_pipe(), "{chunk:?} lies in a pipe");
        self.buffers.bytes(chunk)
    }

    fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8] {
        assert!(!chunk.buffer.is_pipe(), "{chunk:?} lies in a pipe");
        assert!(!self.sending(chunk.buffer), "{chunk:?} was changed while a send uses it");
        self.buffers.bytes_mut(chunk)
    }

    fn fill(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Option<Chunk> {
        if !self.buffers.any_free() {
            self.faults.note(Fault::PoolExhausted);
            return None;
        }
        Some(self.buffers.fill_by(length_bytes, write))
    }

    fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        assert!(!self.sending(chunk.buffer), "{chunk:?} was parked while a send uses it");
        let parked = match chunk.buffer.is_pipe() {
            true => self.park_piped(chunk),
            false => self.buffers.park(chunk),
        };
        self.note(|| format!("park {chunk:?}: {parked:?}"));
        if parked.is_none() {
            self.faults.note(Fault::ParkRefused);
        }
        parked
    }

    fn place(&mut self, bytes: &[u8]) -> Option<Chunk> {
        let placed = self.buffers.place(bytes);
        self.note(|| format!("place {} bytes: {placed:?}", bytes.len()));
        if placed.is_none() {
            self.faults.note(Fault::ParkRefused);
        }
        placed
    }

    fn widen(&mut self, chunk: Chunk, before_bytes: u32, after_bytes: u32) -> Option<Chunk> {
        let wide = self.buffers.widen(chunk, before_bytes, after_bytes);
        self.note(|| format!("widen {chunk:?}: {wide:?}"));
        if wide.is_none() {
            self.faults.note(Fault::ParkRefused);
        }
        wide
    }

    fn stretch(&self, chunk: Chunk, before_bytes: u32, behind_bytes: u32) -> Option<Chunk> {
        self.buffers.stretch(chunk, before_bytes, behind_bytes)
    }

    fn release(&mut self, buffer: Buffer) {
        self.note(|| format!("release {buffer:?}"));
        assert!(!self.sending(buffer), "{buffer:?} was released while a send uses it");
        self.beat_quiet.remove(&buffer.0);
        if buffer.is_pipe() {
            return self.pipes.release(buffer);
        }
        self.buffers.release(buffer);
    }

    fn buffer_bytes(&self) -> u32 {
        self.buffers.buffer_bytes
    }

    fn pool_buffers(&self) -> u32 {
        self.buffers.all()
    }

    fn free_buffers(&self) -> u32 {
        self.buffers.free()
    }

    fn returned_buffers(&mut self) -> u32 {
        self.buffers.take_returned()
    }

    fn trim(&mut self) {}
}

impl Operations for SimRing {
    fn add_server(&mut self, server: ServerId) {
        self.note(|| format!("add server {server:?}"));
        self.take_server_in(server);
    }

    fn remove_server(&mut self, server: ServerId) {
        self.note(|| format!("remove server {server:?}"));
        self.give_server_up(server);
    }

    fn start(&mut self, token: Token, operation: Operation) {
        self.note(|| {
            let Token { conn, side, .. } = token;
            format!("start {operation:?} on {side:?} of {}", conn.0)
        });
        self.check_start(token, operation);
        self.note_end(token, operation);
        self.check_telling(token, operation);
        self.join_before_reading(token, operation);
        self.check_words(token, operation);
        let key = self.key();
        let op = Op {
            token,
            operation,
            key,
            runs_at: u64::MAX,
            escaped: false,
            over: false,
            bits: 0,
            cancelled: Vec::new(),
            started: self.patient,
            asked: self.now(),
        };
        self.ops.push(op);
        let now = self.now();
        if let Some(link) = self.link_at(token.conn, token.side) {
            let link = &mut self.links[link];
            match operation {
                Operation::Cancel(_) | Operation::Reset | Operation::Close => {
                    link.abandoned = true;
                    link.quieted = operation == QUIETS;
                    if operation == Operation::Reset {
                        link.give_up(now);
                    }
                }
                // Nobody asks for a server's before it is joined, but at the end.
                Operation::Addresses => link.abandoned |= !link.joined,
                _ => link.served = true,
            }
            let quieted = link.quieted;
            link.quieted &= !matches!(token.kind, OpKind::WaitReadable | OpKind::Receive);
            if quieted && token.kind == OpKind::WaitReadable {
                self.faults.note(Fault::WentQuiet);
            }
        }
        if let Operation::Send(chunk) = operation
            && self.beat_quiet.remove(&chunk.buffer.0)
        {
            self.faults.note(Fault::DataBeatsQuiet);
        }
        if token.side == Side::Upstream
            && matches!(token.kind, OpKind::WaitReadable | OpKind::Receive)
        {
            self.join(token.conn);
        }
        self.submitted.push(Submitted::Start(token));
    }

    fn addresses(&mut self, token: Token) -> Option<FourTuple> {
        let found = self.addresses.remove(&token.pack());
        let found = found.unwrap_or_else(|| panic!("addresses of {token:?} were not asked for"));
        let link = self.link_at(token.conn, token.side).expect("a side that is named has a socket");
        found.then(|| address_of(link))
    }

    fn end_splices(&mut self, conn: ConnIndex) {
        self.note(|| format!("end splices of {}", conn.0));
        self.end_splices_of(conn);
    }
}

impl Ring for SimRing {
    fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        let wait = wait.map_or(u64::MAX, |wait| wait.as_millis() as u64);
        self.work(wait);
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.ends.take_count();
        let posted = self.out.pop_front()?;
        Some(self.show(posted))
    }

    fn counters(&self) -> RingCounters {
        RingCounters { chunks_parked: self.buffers.chunks_parked, ..RingCounters::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::mutant::Mutant;
    use crate::mutation::Mutation;
    use crate::random::Random;
    use crate::scenario::Scenario;

    use super::*;

    /// A ring over a simulated one, in which nothing is broken.
    fn ring() -> Mutant {
        let scenario = Scenario::new(7);
        let random = Random::new(7);
        let ring = SimRing::new(scenario.shape, Random::new(7), scenario.faults, Arc::default());
        Mutant::new(ring, Mutation::None, random)
    }

    fn fill<R: Buffers>(ring: &mut R, byte: u8) -> Option<Chunk> {
        ring.fill(ring.buffer_bytes(), |bytes| bytes.fill(byte))
    }

    fn change<R: Buffers>(ring: &mut R, chunk: Chunk) {
        ring.bytes_mut(Chunk { length_bytes: 1, ..chunk })[0] += 1;
        assert_eq!(ring.bytes(chunk)[0], 8);
        assert!(ring.bytes(chunk)[1..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn bytes_are_made_and_changed_until_the_pool_is_empty() {
        let mut ring = ring();
        let held: Vec<Chunk> = std::iter::from_fn(|| fill(&mut ring, 7)).collect();
        assert_eq!(held.len() as u32, ring.inner.pool_buffers());
        for chunk in held {
            change(&mut ring, chunk);
            ring.inner.release(chunk.buffer);
        }
        assert_eq!(ring.inner.free_buffers(), ring.inner.pool_buffers());
    }

    #[test]
    #[should_panic(expected = "lies in a pipe")]
    fn a_pipe_has_no_bytes() {
        let mut ring = ring();
        let buffer = ring.inner.pipes.fill(ConnIndex(0), vec![1, 2]);
        ring.inner.pipes.hand_over(buffer);
        ring.inner.bytes(Chunk { buffer, start_bytes: 0, length_bytes: 2 });
    }
}
