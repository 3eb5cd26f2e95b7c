//! The receives of a table: which is armed, which operation waits for it, and what came ahead.
//!
//! Unrequested data is queued, a few pieces at most; then the receive is cancelled. It is armed
//! again when the worker asks and the queue is empty. A splice, a poll and a close wait until the
//! queue is empty and the receive is over.
//!
//! Everything here is a decision about one slot. `receive_ahead` carries it out.

use std::collections::{HashMap, VecDeque};

use nix::libc;

use crate::base::{Buffer, Errno, OpKind};

/// Pieces that wait for the worker to ask before their receive is cancelled. It may bring more
/// until that is done.
const AHEAD_MAX: usize = 2;

/// Buffers full of bytes that one receive takes at most before it is armed again: as many full
/// pieces as may wait.
pub(super) const RECEIVE_BUFFERS: u32 = 2;

/// The state of a slot's receive, in one byte, since every connection has two slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State(u8);

impl State {
    /// The worker's operation that waits for what comes next: 1 + its place among [`WAITERS`]; 0:
    /// none, so what comes is kept.
    const WAITING: u8 = 0b111;
    /// A request is in flight.
    const ARMED: u8 = 1 << 3;
    /// The ring itself cancels it.
    const STOPPING: u8 = 1 << 4;
    /// The worker began to cancel what waits, and nothing has begun to wait since.
    const CANCELLED: u8 = 1 << 5;
    /// Bytes that the worker had not asked for were discarded.
    const CUT: u8 = 1 << 6;
    /// A wait for bytes began, and the worker has got none since. Not while a request is in flight,
    /// unless it was queued behind the wait: it is for one piece.
    const WAITED: u8 = 1 << 7;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn set(&mut self, bit: u8) {
        self.0 |= bit;
    }

    fn clear(&mut self, bits: u8) {
        self.0 &= !bits;
    }

    fn waiting(self) -> Option<OpKind> {
        let place = usize::from(self.0 & State::WAITING).checked_sub(1)?;
        Some(WAITERS[place])
    }

    /// # Panics
    /// When it is not among [`WAITERS`].
    fn set_waiting(&mut self, kind: Option<OpKind>) {
        let place = |kind| WAITERS.iter().position(|one| *one == kind).expect("one that waits");
        self.0 = self.0 & !State::WAITING | kind.map_or(0, |kind| place(kind) as u8 + 1);
    }
}

/// Operations that wait for what a receive brings. The first completes with it, whatever it is; the
/// others begin, or end, once the receive is over.
const WAITERS: [OpKind; 4] = [OpKind::Receive, OpKind::Splice, OpKind::WaitReadable, OpKind::Close];

/// The result of a receive: bytes in a buffer, an end, or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) result: Result<u32, Errno>,
    pub(super) buffer: Option<Buffer>,
}

impl Piece {
    /// The bits that poll(2) would have returned before it was taken.
    pub(super) fn bits(self) -> u32 {
        let bits = match self.result {
            Ok(1..) => libc::POLLIN,
            Ok(0) => libc::POLLIN | libc::POLLRDHUP,
            Err(_) => libc::POLLIN | libc::POLLERR | libc::POLLHUP,
        };
        bits as u32
    }

    /// It tells of the request alone, and nothing of the socket.
    pub(super) fn is_of_the_request(self) -> bool {
        use Errno::{EAGAIN, ECANCELED, EINTR, ENOBUFS};
        matches!(self.result, Err(EAGAIN | ECANCELED | EINTR | ENOBUFS))
    }
}

/// The next step of a receive that the worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It completes with a piece that came ahead.
    Ready(Piece),
    /// A request for it is to be queued.
    Arm,
    /// The request that is armed will complete it.
    Waits,
}

/// The next step of an operation that comes after the receives of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It completes with a piece that came ahead.
    Ready(Piece),
    /// It completes with the bits of such a piece.
    Readable(u32),
    /// It begins.
    Begin,
    /// It begins when the request is over, which is to be cancelled.
    Stop,
    /// It begins when the request is over, which is being cancelled.
    Waits,
}

/// The next step of a piece that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The worker did not ask for it: it is queued.
    Ahead,
    /// The operation of this kind completes with it.
    Complete(OpKind),
    /// It is to be kept, and the worker's poll completes with its bits.
    Readable,
    /// The worker's poll is cancelled.
    Cancelled,
    /// The ring had cancelled the request before the worker asked: another is to be queued.
    Arm,
    /// The request found its group empty. Another is to be queued if the group can be stocked
    /// ([`Receives::arm`]); else the receive completes ([`Receives::give_up`]): connections hold
    /// the buffers then, and will release them.
    Starved,
    /// It is of no use to what waits, which begins now if the request is over.
    Discard(Option<OpKind>),
}

/// The receives of one table. A slot has one request in flight at most; an operation that waits for
/// it is completed or begun exactly once.
pub(super) struct Receives {
    states: Box<[State]>,
    /// By slot, in their order: data that the worker has not asked for yet.
    ahead: HashMap<u32, VecDeque<Piece>>,
    armed: u32,
    /// Those of them that end with their first piece, and how many of these the kernel cannot
    /// have yet.
    singles: u32,
    queued_singles: u32,
    /// The most bytes of one receive; `None` where each is a request of its own.
    most_bytes: Option<u32>,
}

impl Receives {
    /// For slots below `slots`.
    pub(super) fn new(slots: u32, most_bytes: Option<u32>) -> Receives {
        let states = vec![State::default(); slots as usize].into_boxed_slice();
        let (armed, singles, queued_singles) = (0, 0, 0);
        Receives { states, ahead: HashMap::new(), armed, singles, queued_singles, most_bytes }
    }

    /// Requests in flight.
    pub(super) fn armed(&self) -> u32 {
        self.armed
    }

    /// What is queued is handed to the kernel now: so many requests are in flight.
    pub(super) fn submit(&mut self) -> u32 {
        self.queued_singles = 0;
        self.armed
    }

    /// The kernel has a request that ends with its first piece, which a thread of its own may run.
    pub(super) fn may_run_elsewhere(&self) -> bool {
        self.singles > self.queued_singles
    }

    /// The most bytes of a slot's next request before it ends; `None`: it ends with its first
    /// piece. So it does behind a wait: a worker that waits before each receive would cancel it
    /// each time, and one that does not asks again.
    pub(super) fn most_bytes(&mut self, slot: u32) -> Option<u32> {
        let has_waited = self.at(slot).has(State::WAITED);
        self.most_bytes.filter(|_| !has_waited)
    }

    /// The worker asks for what comes next.
    pub(super) fn ask(&mut self, slot: u32) -> Asked {
        self.at(slot).clear(State::CANCELLED);
        if let Some(piece) = self.take_ahead(slot) {
            self.at(slot).clear(State::WAITED);
            return Asked::Ready(piece);
        }
        let state = self.at(slot);
        state.set_waiting(Some(OpKind::Receive));
        if state.has(State::ARMED) {
            return Asked::Waits;
        }
        self.arm(slot);
        Asked::Arm
    }

    /// The worker starts what reads the socket itself, or closes it. Before a close, what came
    /// ahead is taken.
    pub(super) fn ask_after(&mut self, slot: u32, kind: OpKind) -> After {
        self.at(slot).clear(State::CANCELLED);
        if kind == OpKind::WaitReadable {
            let first = self.ahead.get(&slot).and_then(|pieces| pieces.front());
            if let Some(piece) = first {
                return After::Readable(piece.bits());
            }
        } else if let Some(piece) = self.take_ahead(slot) {
            assert_eq!(kind, OpKind::Splice, "what came ahead is lost");
            return After::Ready(piece);
        }
        let state = self.at(slot);
        if !state.has(State::ARMED) {
            self.note_begin(slot, kind);
            return After::Begin;
        }
        state.set_waiting(Some(kind));
        if self.stop(slot) { After::Stop } else { After::Waits }
    }

    /// A piece came, with which the request may be over.
    ///
    /// A request is not armed again when the worker has begun to cancel it: that cancel has passed,
    /// or will find only the receive that just ended, so a new one would stay armed with nobody to
    /// cancel it.
    pub(super) fn came(&mut self, slot: u32, piece: Piece, is_over: bool) -> Came {
        let state = self.at(slot);
        let before = *state;
        if is_over {
            state.clear(State::ARMED | State::STOPPING);
            self.armed -= 1;
            self.singles -= u32::from(self.most_bytes(slot).is_none());
        }
        let Some(kind) = before.waiting() else { return Came::Ahead };
        let is_cancelled = before.has(State::CANCELLED);
        let came = match (kind, piece.result) {
            (OpKind::Receive, Err(Errno::ECANCELED))
                if before.has(State::STOPPING) && !is_cancelled =>
            {
                self.arm(slot);
                return Came::Arm;
            }
            (OpKind::Receive, Err(Errno::ENOBUFS)) if !is_cancelled => return Came::Starved,
            (OpKind::Receive, _) => {
                self.at(slot).clear(State::WAITED);
                Came::Complete(kind)
            }
            (OpKind::Splice, _) if !piece.is_of_the_request() => Came::Complete(kind),
            (OpKind::WaitReadable, _) if !piece.is_of_the_request() => Came::Readable,
            (OpKind::WaitReadable, _) if is_over && is_cancelled => Came::Cancelled,
            _ if is_over => {
                self.note_begin(slot, kind);
                Came::Discard(Some(kind))
            }
            _ => return Came::Discard(None),
        };
        self.at(slot).set_waiting(None);
        came
    }

    /// Notes that an operation begins on the socket: behind a wait, a request is for one piece.
    fn note_begin(&mut self, slot: u32, kind: OpKind) {
        if kind == OpKind::WaitReadable {
            self.at(slot).set(State::WAITED);
        }
    }

    /// Notes that a request is in flight from here on.
    pub(super) fn arm(&mut self, slot: u32) {
        self.at(slot).set(State::ARMED);
        self.armed += 1;
        let is_single = u32::from(self.most_bytes(slot).is_none());
        self.singles += is_single;
        self.queued_singles += is_single;
    }

    /// No operation waits any more.
    pub(super) fn give_up(&mut self, slot: u32) {
        self.at(slot).set_waiting(None);
    }

    /// Queues unrequested data. True when the receive is to be cancelled.
    pub(super) fn keep_ahead(&mut self, slot: u32, piece: Piece) -> bool {
        let pieces = self.ahead.entry(slot).or_default();
        pieces.push_back(piece);
        pieces.len() >= AHEAD_MAX && self.at(slot).has(State::ARMED) && self.stop(slot)
    }

    /// Takes the first piece that came ahead.
    pub(super) fn take_ahead(&mut self, slot: u32) -> Option<Piece> {
        let pieces = self.ahead.get_mut(&slot)?;
        let piece = pieces.pop_front();
        if pieces.is_empty() {
            self.ahead.remove(&slot);
        }
        piece
    }

    /// What came ahead, in its order.
    pub(super) fn ahead(&self, slot: u32) -> impl Iterator<Item = Piece> {
        self.ahead.get(&slot).into_iter().flatten().copied()
    }

    /// A request is in flight for which no operation waits. A slot that is not there has none.
    pub(super) fn is_unasked(&self, slot: u32) -> bool {
        let state = self.states.get(slot as usize);
        state.is_some_and(|state| state.has(State::ARMED) && state.waiting().is_none())
    }

    /// A request is in flight.
    pub(super) fn is_armed(&self, slot: u32) -> bool {
        self.states.get(slot as usize).is_some_and(|state| state.has(State::ARMED))
    }

    /// The ring no longer wants the request. True when it is to be cancelled; false when it is
    /// being cancelled.
    pub(super) fn stop(&mut self, slot: u32) -> bool {
        let state = self.at(slot);
        let begins = !state.has(State::STOPPING);
        state.set(State::STOPPING);
        begins
    }

    /// The ring cancels the request.
    pub(super) fn is_stopping(&mut self, slot: u32) -> bool {
        self.at(slot).has(State::STOPPING)
    }

    /// Notes that the worker cancels what waits on a slot.
    pub(super) fn cancel(&mut self, slot: u32) {
        self.at(slot).set(State::CANCELLED);
    }

    /// Notes that bytes of a slot were discarded.
    pub(super) fn cut(&mut self, slot: u32) {
        self.at(slot).set(State::CUT);
    }

    /// The slot is closed. True when bytes of it were discarded.
    pub(super) fn close(&mut self, slot: u32) -> bool {
        std::mem::take(self.at(slot)).has(State::CUT)
    }

    fn at(&mut self, slot: u32) -> &mut State {
        &mut self.states[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: Piece = Piece { result: Ok(1), buffer: Some(Buffer(0)) };

    fn failed(errno: Errno) -> Piece {
        Piece { result: Err(errno), buffer: None }
    }

    /// The receives of two slots; the second has one armed that no operation waits for.
    fn unasked() -> Receives {
        let mut receives = Receives::new(2, Some(8192));
        assert_eq!(receives.ask(1), Asked::Arm);
        assert_eq!(receives.came(1, RECEIVED, false), Came::Complete(OpKind::Receive));
        assert!(receives.is_unasked(1) && !receives.is_unasked(0) && !receives.is_unasked(2));
        receives
    }

    #[test]
    fn a_state_keeps_what_waits_and_its_bits_apart() {
        let mut state = State::default();
        for waiting in WAITERS.map(Some).into_iter().chain([None]) {
            state.set(State::ARMED | State::CANCELLED);
            state.set_waiting(waiting);
            assert_eq!(state.waiting(), waiting);
            assert!(state.has(State::ARMED) && state.has(State::CANCELLED));
            state.clear(State::ARMED);
            assert_eq!((state.waiting(), state.has(State::ARMED)), (waiting, false));
        }
    }

    #[test]
    fn what_came_first_is_taken_first_and_the_request_is_cancelled_once() {
        let mut receives = unasked();
        let piece = |bytes| Piece { result: Ok(bytes), buffer: Some(Buffer(bytes)) };
        let stops = [1, 2, 3].map(|bytes| {
            assert_eq!(receives.came(1, piece(bytes), false), Came::Ahead);
            receives.keep_ahead(1, piece(bytes))
        });
        assert_eq!(stops, [false, true, false]);
        assert_eq!(receives.take_ahead(0), None);
        for bytes in [1, 2, 3] {
            assert_eq!(receives.ask(1), Asked::Ready(piece(bytes)));
        }
        assert!(receives.ahead.is_empty());
        assert_eq!(receives.ask(1), Asked::Waits);
        // The ring's own cancel is no answer to the worker, who asked after it.
        assert_eq!(receives.came(1, failed(Errno::ECANCELED), true), Came::Arm);
        assert_eq!(receives.armed(), 1);
    }

    #[test]
    fn a_receive_that_the_worker_cancels_is_never_armed_again() {
        for errno in [Errno::ECANCELED, Errno::ENOBUFS] {
            let mut receives = unasked();
            assert!(receives.stop(1));
            assert_eq!(receives.ask(1), Asked::Waits);
            receives.cancel(1);
            let came = receives.came(1, failed(errno), true);
            assert_eq!((came, receives.armed()), (Came::Complete(OpKind::Receive), 0));
        }
    }

    #[test]
    fn a_splice_begins_when_the_request_is_over_or_takes_what_it_brought() {
        let mut receives = unasked();
        assert_eq!(receives.ask_after(1, OpKind::Splice), After::Stop);
        let came = receives.came(1, failed(Errno::ECANCELED), true);
        assert_eq!(came, Came::Discard(Some(OpKind::Splice)));
        assert_eq!(receives.ask_after(1, OpKind::Splice), After::Begin);
        let mut receives = unasked();
        assert_eq!(receives.ask_after(1, OpKind::Splice), After::Stop);
        assert_eq!(receives.came(1, RECEIVED, true), Came::Complete(OpKind::Splice));
    }

    #[test]
    fn a_poll_is_answered_by_what_came_ahead_and_leaves_it_there() {
        let mut receives = unasked();
        assert_eq!(receives.ask_after(1, OpKind::WaitReadable), After::Stop);
        assert_eq!(receives.came(1, RECEIVED, false), Came::Readable);
        receives.keep_ahead(1, RECEIVED);
        let bits = RECEIVED.bits();
        assert_eq!(receives.ask_after(1, OpKind::WaitReadable), After::Readable(bits));
        assert_eq!(receives.ask(1), Asked::Ready(RECEIVED));
        let mut receives = unasked();
        assert_eq!(receives.ask_after(1, OpKind::WaitReadable), After::Stop);
        receives.cancel(1);
        assert_eq!(receives.came(1, failed(Errno::ECANCELED), true), Came::Cancelled);
    }

    #[test]
    fn a_request_behind_a_wait_is_for_one_piece() {
        let mut receives = Receives::new(2, Some(8192));
        assert_eq!(receives.ask_after(1, OpKind::WaitReadable), After::Begin);
        assert_eq!((receives.ask(1), receives.most_bytes(1)), (Asked::Arm, None));
        assert_eq!((receives.may_run_elsewhere(), receives.submit()), (false, 1));
        assert!(receives.may_run_elsewhere());
        // So is the one in its place, where it found no buffer.
        assert_eq!(receives.came(1, failed(Errno::ENOBUFS), true), Came::Starved);
        receives.arm(1);
        assert_eq!(receives.most_bytes(1), None);
        assert_eq!(receives.came(1, RECEIVED, true), Came::Complete(OpKind::Receive));
        assert_eq!((receives.ask(1), receives.most_bytes(1)), (Asked::Arm, Some(8192)));
        assert_eq!((receives.submit(), receives.may_run_elsewhere()), (1, false));
        // A wait begins when that one is over, which stays what it is.
        assert_eq!(receives.came(1, RECEIVED, false), Came::Complete(OpKind::Receive));
        assert_eq!(receives.ask_after(1, OpKind::WaitReadable), After::Stop);
        let came = receives.came(1, failed(Errno::ECANCELED), true);
        assert_eq!(came, Came::Discard(Some(OpKind::WaitReadable)));
        assert_eq!((receives.ask(1), receives.submit()), (Asked::Arm, 1));
        assert!(receives.may_run_elsewhere());
    }

    #[test]
    fn a_close_waits_for_the_request_and_tells_of_bytes_that_were_cut() {
        let mut receives = unasked();
        assert_eq!(receives.ask_after(1, OpKind::Close), After::Stop);
        assert_eq!(receives.came(1, RECEIVED, false), Came::Discard(None));
        receives.cut(1);
        let came = receives.came(1, failed(Errno::ECANCELED), true);
        assert_eq!(came, Came::Discard(Some(OpKind::Close)));
        assert!(receives.close(1));
        assert!(!receives.close(1), "a slot's next life begins without a past");
    }
}
