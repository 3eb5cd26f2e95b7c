//! Receives that go on by themselves, and what they bring before anybody asks for it.
//!
//! A worker asks for each receive. The kernel's goes on once it is armed (multishot), so most of
//! them take no request: what comes next is here already, or is the next completion of the one that
//! is armed. A message took 6 to 11 % less CPU than with a request for each receive
//! (`portcullis-bench pingpong --connections 100`, and 1000, Linux 6.18, 2 cores).
//!
//! What comes while nobody asks waits here, a few pieces at most: then the request is cancelled. It
//! is armed anew when somebody asks who finds nothing. Whoever reads the socket by other means or
//! closes it comes after the pieces and after the request.
//!
//! A kernel before Linux 6.17 cannot bound what such a receive takes in one go, and some later ones
//! miss an end: `probe` tries both. There each receive is a request of its own, and nothing comes
//! ahead.

use std::collections::{HashMap, VecDeque};

use io_uring::cqueue;
use nix::libc;

use super::KernelRing;
use super::completions::{done_of, result_of};
use super::entries::{self, Tag};
use crate::base::{Buffer, Chunk, Errno, OpKind};
use crate::ring::contract::{Buffers, Completion, Done};
use crate::ring::token::Token;

/// Pieces that wait for somebody to ask before their receive is cancelled. It may bring more until
/// that is done.
const AHEAD_MAX: usize = 2;

/// Buffers full of bytes that one receive takes at most before it is armed anew: as many as may
/// wait, where they come full.
pub(super) const RECEIVE_BUFFERS: u32 = 2;

/// What a slot's receive is doing, in one byte, since every connection has two slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State(u8);

impl State {
    /// The worker's operation that hears what comes next: 1 + its place among [`HEARERS`]; 0: none,
    /// so it waits.
    const HEARER: u8 = 0b111;
    /// A request is in flight.
    const ARMED: u8 = 1 << 3;
    /// The ring itself cancels it.
    const STOPPING: u8 = 1 << 4;
    /// The worker began to cancel what waits, and nothing has begun to wait since.
    const CANCELLED: u8 = 1 << 5;
    /// Bytes that nobody asked for were discarded.
    const CUT: u8 = 1 << 6;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn set(&mut self, bit: u8) {
        self.0 |= bit;
    }

    fn clear(&mut self, bits: u8) {
        self.0 &= !bits;
    }

    fn hearer(self) -> Option<OpKind> {
        let place = usize::from(self.0 & State::HEARER).checked_sub(1)?;
        Some(HEARERS[place])
    }

    /// # Panics
    /// When it is not among [`HEARERS`].
    fn hears(&mut self, kind: Option<OpKind>) {
        let place = |kind| HEARERS.iter().position(|one| *one == kind).expect("one that hears");
        self.0 = self.0 & !State::HEARER | kind.map_or(0, |kind| place(kind) as u8 + 1);
    }
}

/// Operations that hear what a receive brings. The first does whatever it is; the others begin, or
/// end, once the receive is over.
const HEARERS: [OpKind; 4] = [OpKind::Receive, OpKind::Splice, OpKind::WaitReadable, OpKind::Close];

/// What a receive brought: bytes in a buffer, an end, or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    result: Result<u32, Errno>,
    buffer: Option<Buffer>,
}

impl Piece {
    /// What poll(2) would have said before it was taken.
    fn bits(self) -> u32 {
        let bits = match self.result {
            Ok(1..) => libc::POLLIN,
            Ok(0) => libc::POLLIN | libc::POLLRDHUP,
            Err(_) => libc::POLLIN | libc::POLLERR | libc::POLLHUP,
        };
        bits as u32
    }

    /// It tells of the request alone, and nothing of the socket.
    fn is_of_the_request(self) -> bool {
        use Errno::{EAGAIN, ECANCELED, EINTR, ENOBUFS};
        matches!(self.result, Err(EAGAIN | ECANCELED | EINTR | ENOBUFS))
    }
}

/// The receives of one table.
pub(super) struct Receives {
    states: Box<[State]>,
    /// By slot, in their order: what nobody has asked for yet.
    ahead: HashMap<u32, VecDeque<Piece>>,
    armed: u32,
}

impl Receives {
    /// For slots below `slots`.
    pub(super) fn new(slots: u32) -> Receives {
        let states = vec![State::default(); slots as usize].into_boxed_slice();
        Receives { states, ahead: HashMap::new(), armed: 0 }
    }

    /// Requests in flight.
    pub(super) fn armed(&self) -> u32 {
        self.armed
    }

    /// Notes that the worker cancels what waits on a slot.
    pub(super) fn cancel(&mut self, slot: u32) {
        self.at(slot).set(State::CANCELLED);
    }

    fn at(&mut self, slot: u32) -> &mut State {
        &mut self.states[slot as usize]
    }

    fn take_ahead(&mut self, slot: u32) -> Option<Piece> {
        let pieces = self.ahead.get_mut(&slot)?;
        let piece = pieces.pop_front();
        if pieces.is_empty() {
            self.ahead.remove(&slot);
        }
        piece
    }
}

impl KernelRing {
    /// The worker asks for what comes next.
    pub(super) fn start_receive(&mut self, table: usize, slot: u32, token: Token) {
        let receives = &mut self.tables[table].receives;
        receives.at(slot).clear(State::CANCELLED);
        if let Some(piece) = receives.take_ahead(slot) {
            let done = self.done_with(token, piece);
            return self.told.push_back(done);
        }
        let state = receives.at(slot);
        state.hears(Some(OpKind::Receive));
        if !state.has(State::ARMED) {
            self.arm_receive(table, slot, token);
        }
    }

    /// The worker starts what reads the socket itself, or closes it: not before what was received
    /// is taken, nor while more may be.
    pub(super) fn start_after_receives(&mut self, table: usize, slot: u32, token: Token) {
        let receives = &mut self.tables[table].receives;
        let state = receives.at(slot);
        state.clear(State::CANCELLED);
        let is_armed = state.has(State::ARMED);
        match token.kind {
            OpKind::Close => {
                while let Some(piece) = self.tables[table].receives.take_ahead(slot) {
                    self.discard(table, slot, piece);
                }
            }
            OpKind::WaitReadable => {
                let first = receives.ahead.get(&slot).and_then(|pieces| pieces.front());
                if let Some(bits) = first.map(|piece| piece.bits()) {
                    return self.told.push_back(done_of(token, Ok(bits)));
                }
            }
            _ => {
                if let Some(piece) = receives.take_ahead(slot) {
                    let done = self.done_with(token, piece);
                    return self.told.push_back(done);
                }
            }
        }
        if !is_armed {
            return self.begin_after_receives(table, slot, token);
        }
        self.tables[table].receives.at(slot).hears(Some(token.kind));
        self.stop_receive(table, slot, token);
    }

    /// No receive is armed and nothing waits that one took.
    fn begin_after_receives(&mut self, table: usize, slot: u32, token: Token) {
        let entry = match token.kind {
            OpKind::Splice => return self.start_splice(token),
            OpKind::WaitReadable => entries::wait_readable(slot),
            kind => {
                debug_assert_eq!(kind, OpKind::Close);
                let state = std::mem::take(self.tables[table].receives.at(slot));
                if state.has(State::CUT) {
                    // As the kernel does at a close for bytes that it still has.
                    self.push(table, entries::reset(slot), Tag::Swallowed.with(0));
                }
                entries::close(slot)
            }
        };
        self.push(table, entry, token.pack());
    }

    /// The worker waits until one side of a connection takes bytes again: until then nobody will
    /// ask for those that go there, so they stay in their socket. They come from the other side, or
    /// in an echo from the same.
    pub(super) fn hold_receives(&mut self, token: Token) {
        let (table, local) = self.locate(token.conn);
        for side in [token.side.other(), token.side] {
            let slot = self.slot(table, local, side);
            let state = self.tables[table].receives.states.get(slot as usize);
            if state.is_some_and(|one| one.has(State::ARMED) && one.hearer().is_none()) {
                return self.stop_receive(table, slot, Token { side, ..token });
            }
        }
    }

    fn arm_receive(&mut self, table: usize, slot: u32, token: Token) {
        let receives = &mut self.tables[table].receives;
        receives.at(slot).set(State::ARMED);
        receives.armed += 1;
        self.push(table, entries::receive(slot, self.receive_bytes), token.pack());
    }

    fn stop_receive(&mut self, table: usize, slot: u32, token: Token) {
        let state = self.tables[table].receives.at(slot);
        if !state.has(State::STOPPING) {
            state.set(State::STOPPING);
            self.push_stop(table, Token { kind: OpKind::Receive, ..token });
        }
    }

    fn push_stop(&mut self, table: usize, token: Token) {
        let target = token.pack();
        self.push(table, entries::cancel_request(target), Tag::StopReceive.with(target));
    }

    /// A cancel of the ring's own is answered. One that met its receive between two states is sent
    /// again, once a turn, until the receive has ended.
    pub(super) fn receive_stopped(
        &mut self,
        table: usize,
        payload: u64,
        result: Result<u32, Errno>,
    ) {
        let Some(token) = Token::unpack(payload) else { return };
        let (_, local) = self.locate(token.conn);
        let slot = self.slot(table, local, token.side);
        if result.is_err() && self.tables[table].receives.at(slot).has(State::STOPPING) {
            self.push_stop(table, token);
        }
    }

    /// A receive brought something or is over: what that tells the worker.
    pub(super) fn received(
        &mut self,
        table: usize,
        token: Token,
        completion: &cqueue::Entry,
    ) -> Option<Completion> {
        let buffer = self.take_buffer(table, completion);
        let piece = Piece { result: result_of(completion), buffer };
        let (_, local) = self.locate(token.conn);
        let slot = self.slot(table, local, token.side);
        let receives = &mut self.tables[table].receives;
        let state = receives.at(slot);
        let before = *state;
        let is_over = !cqueue::more(completion.flags());
        if is_over {
            state.clear(State::ARMED | State::STOPPING);
            receives.armed -= 1;
        }
        let Some(kind) = before.hearer() else {
            self.keep_ahead(table, slot, token, piece);
            return None;
        };
        let hearer = Token { kind, ..token };
        let told = match kind {
            OpKind::Receive if self.receives_again(table, slot, token, before, piece) => {
                return None;
            }
            OpKind::Receive => self.done_with(hearer, piece),
            OpKind::Splice if !piece.is_of_the_request() => self.done_with(hearer, piece),
            OpKind::WaitReadable if !piece.is_of_the_request() => {
                self.keep_ahead(table, slot, token, piece);
                done_of(hearer, Ok(piece.bits()))
            }
            OpKind::WaitReadable if is_over && before.has(State::CANCELLED) => {
                done_of(hearer, Err(Errno::ECANCELED))
            }
            _ => {
                self.discard(table, slot, piece);
                if is_over {
                    self.tables[table].receives.at(slot).hears(None);
                    self.begin_after_receives(table, slot, hearer);
                }
                return None;
            }
        };
        self.tables[table].receives.at(slot).hears(None);
        Some(Completion::Done(told))
    }

    fn keep_ahead(&mut self, table: usize, slot: u32, token: Token, mut piece: Piece) {
        if piece.result == Err(Errno::ENOBUFS) {
            self.memory.groups[table].widen();
        }
        if piece.is_of_the_request() {
            return;
        }
        if let (Ok(length_bytes), Some(buffer)) = (piece.result, piece.buffer)
            && self.is_scarce()
            && let Some(parked) = self.park(Chunk { buffer, start_bytes: 0, length_bytes })
        {
            piece.buffer = Some(parked.buffer);
        }
        let receives = &mut self.tables[table].receives;
        let pieces = receives.ahead.entry(slot).or_default();
        pieces.push_back(piece);
        if pieces.len() >= AHEAD_MAX && receives.at(slot).has(State::ARMED) {
            self.stop_receive(table, slot, token);
        }
    }

    /// Arms a receive again that ended for a reason which is no longer one: the ring had cancelled
    /// it before the worker asked, or it found its group empty and the group can be stocked. The
    /// worker hears of ENOBUFS only when connections hold the buffers and will release them.
    ///
    /// Not when the worker has begun to cancel it: that cancel has passed, or will find only the
    /// receive that just ended, so a new one would stay armed with nobody to cancel it.
    fn receives_again(
        &mut self,
        table: usize,
        slot: u32,
        token: Token,
        before: State,
        piece: Piece,
    ) -> bool {
        if before.has(State::CANCELLED) {
            return false;
        }
        match piece.result {
            Err(Errno::ECANCELED) if before.has(State::STOPPING) => {}
            Err(Errno::ENOBUFS)
                if self.memory.stock_for_one_more(table, self.tables[table].receives.armed) =>
            {
                self.counters.receive_retries += 1;
            }
            _ => return false,
        }
        self.arm_receive(table, slot, token);
        true
    }

    fn done_with(&self, token: Token, Piece { result, buffer }: Piece) -> Done {
        let full = buffer.is_some() && result == Ok(self.memory.pool.buffer_bytes());
        Done { token, result, buffer, full, more: false }
    }

    fn discard(&mut self, table: usize, slot: u32, piece: Piece) {
        if let Some(buffer) = piece.buffer {
            self.tables[table].receives.at(slot).set(State::CUT);
            self.release(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_keeps_its_hearer_and_its_bits_apart() {
        let mut state = State::default();
        for hearer in HEARERS.map(Some).into_iter().chain([None]) {
            state.set(State::ARMED | State::CANCELLED);
            state.hears(hearer);
            assert_eq!(state.hearer(), hearer);
            assert!(state.has(State::ARMED) && state.has(State::CANCELLED));
            state.clear(State::ARMED);
            assert_eq!((state.hearer(), state.has(State::ARMED)), (hearer, false));
        }
    }

    #[test]
    fn what_came_first_is_taken_first() {
        let mut receives = Receives::new(2);
        let piece = |bytes| Piece { result: Ok(bytes), buffer: Some(Buffer(bytes)) };
        receives.ahead.entry(1).or_default().extend([piece(1), piece(2)]);
        assert_eq!(receives.take_ahead(0), None);
        let taken: Vec<_> = std::iter::from_fn(|| receives.take_ahead(1)).collect();
        assert_eq!(taken, [piece(1), piece(2)]);
        assert!(receives.ahead.is_empty());
    }
}
