//! The sessions of a worker's connections, by side. Most sleep: they are 136 bytes each.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::gathered::{End, Gathered};
use super::keyring::{Keyring, Whose};
use super::keys::Awake;
use super::session::Session;
use crate::base::limits::{TLS_GATHERED_MAX, TLS_SESSION_BYTES};
use crate::base::{Buffer, BySide, Chunk, ConnIndex, Side, Sparse};
use crate::ring::Token;

/// How long a record may take to be whole, in seconds.
const RECORD_SECONDS: u64 = 30;

/// Its receive was cancelled.
pub(super) const CANCELLED: u8 = 1;
/// What it was being sent was cut off in a record: nothing can follow.
pub(super) const BROKEN: u8 = 1 << 1;
/// The end of its direction was cancelled.
pub(super) const END_CANCELLED: u8 = 1 << 2;

/// Its next bytes are asked for below.
pub(super) const AWAITED: u8 = 1 << 3;
/// There was no memory for what it is to be sent.
pub(super) const HUNGRY: u8 = 1 << 4;
/// Another process may have it, and says what its peer hears.
pub(super) const AWAY: u8 = 1 << 5;

/// A session in use by a connection.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) session: Session,
    /// Where its keys last were.
    place: u32,
    marks: u8,
    /// The lowest bits of its connection's generation.
    life: u8,
    pub(super) fault: Option<Fault>,
    /// Only while bytes of it are here.
    work: Option<Box<Work>>,
}

const _: () = assert!(size_of::<Option<Live>>() <= TLS_SESSION_BYTES);

/// What is under way in a session.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) input: Gathered,
    /// Its place in the order of those that wait for the rest of a record.
    number: Option<u64>,
    pub(super) output: Option<Output>,
    /// Its slot is closed in this second at the latest, whether there is memory for close_notify or
    /// not.
    pub(super) closes_by: Option<u64>,
}

/// Sealed bytes on their way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) sealed: Chunk,
    /// Bytes of data in it of which the worker does not know yet that they are sent.
    pub(super) plain_bytes: u32,
    /// What the worker has for these bytes.
    pub(super) from: Buffer,
    /// That is the sealed bytes' own buffer by now.
    pub(super) is_given: bool,
    pub(super) then: Then,
}

/// What follows when sealed bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The worker hears of it.
    Tell,
    /// They are close_notify: the direction is ended.
    End,
    /// They are a fatal alert: this receive fails.
    Fail(Token),
    /// They are close_notify: the slot is closed, whether they were sent or not.
    Close,
}

impl Live {
    pub(super) fn new(session: Session, generation: u32, received: &[u8]) -> Live {
        let (place, marks, life) = (u32::MAX, 0, generation as u8);
        let mut live = Live { session, place, marks, life, fault: None, work: None };
        if !received.is_empty() {
            live.work().input.push(received);
        }
        live
    }

    pub(super) fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    pub(super) fn set(&mut self, mark: u8, is: bool) {
        self.marks = if is { self.marks | mark } else { self.marks & !mark };
    }

    /// What is under way.
    pub(super) fn work(&mut self) -> &mut Work {
        self.work.get_or_insert_default()
    }

    /// What is being sent.
    pub(super) fn output(&self) -> Option<Output> {
        self.working()?.output
    }

    /// Nothing received waits here.
    pub(super) fn is_read(&self) -> bool {
        self.work.as_ref().is_none_or(|work| work.input.is_empty())
    }

    /// What is under way, if anything is.
    pub(super) fn working(&self) -> Option<&Work> {
        self.work.as_deref()
    }

    /// Takes note of how a pass over records ended.
    pub(super) fn note(&mut self, end: Option<End>) {
        if let Some(End::Fault(fault)) = end {
            self.fault = Some(fault);
        }
    }

    /// Opens what is gathered and whole, and says how much data there is.
    pub(super) fn open_gathered(&mut self, awake: &mut Awake) -> usize {
        let Some(work) = &mut self.work else { return 0 };
        let end = work.input.open(&mut self.session, awake);
        let plain_bytes = work.input.plain_bytes();
        self.note(end);
        plain_bytes
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_side: BySide<Sparse<Live>>,
    pub(super) keys: Keyring,
    /// Those that wait for the rest of a record, longest first, with the second it began in.
    pub(super) cut: BTreeMap<u64, (Whose, u64)>,
    next_number: u64,
    /// Bytes that all of them have gathered.
    pub(super) gathered_bytes: usize,
    /// Seconds, as far as they were told.
    pub(super) seconds: u64,
}

impl Sessions {
    pub(super) fn count(&self) -> usize {
        self.by_side[Side::Client].count() + self.by_side[Side::Upstream].count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn has(&self, (conn, side): Whose) -> bool {
        self.by_side[side].get(conn).is_some()
    }

    /// Whether a completion is of a side that is secured, and not of one that was there before.
    pub(super) fn is_of(&self, token: Token) -> bool {
        let live = self.get((token.conn, token.side));
        live.is_some_and(|live| live.life == token.generation as u8)
    }

    pub(super) fn has_any(&self, conn: ConnIndex) -> bool {
        Side::BOTH.iter().any(|side| self.has((conn, *side)))
    }

    /// A side's session.
    ///
    /// # Panics
    /// When it has none.
    pub(super) fn at(&mut self, (conn, side): Whose) -> &mut Live {
        self.by_side[side].get_mut(conn).expect("somebody looked whether it has a session")
    }

    pub(super) fn get(&self, (conn, side): Whose) -> Option<&Live> {
        self.by_side[side].get(conn)
    }

    /// A side's session, and its keys.
    pub(super) fn awake(&mut self, whose: Whose) -> (&mut Live, &mut Awake) {
        let live = self.by_side[whose.1].get_mut(whose.0);
        let live = live.expect("somebody looked whether it has a session");
        let keys = self.keys.of(whose, &mut live.place);
        (live, keys)
    }

    pub(super) fn put(&mut self, whose: Whose, live: Live) {
        self.by_side[whose.1].put(whose.0, live);
        self.count_gathered(whose, 0, true);
    }

    /// A side's session is over. Says what was being sent.
    pub(super) fn take(&mut self, whose: Whose) -> Option<Output> {
        let live = self.by_side[whose.1].take(whose.0)?;
        self.keys.sleep(whose, live.place);
        let work = live.work?;
        if live.marks & AWAY == 0 {
            self.gathered_bytes -= work.input.held_bytes();
        }
        work.number.and_then(|number| self.cut.remove(&number));
        work.output
    }

    /// Another process has a side: what it has gathered waits there.
    pub(super) fn go_away(&mut self, whose: Whose) {
        let held_bytes = self.gathered_by(whose);
        let live = self.at(whose);
        live.set(AWAY, true);
        let number = live.work.as_mut().and_then(|work| work.number.take());
        number.and_then(|number| self.cut.remove(&number));
        self.gathered_bytes -= held_bytes;
    }

    /// A side is this process's again, if it was away.
    pub(super) fn come_back(&mut self, whose: Whose) {
        if self.get(whose).is_some_and(|live| live.has(AWAY)) {
            self.at(whose).set(AWAY, false);
            self.count_gathered(whose, 0, true);
        }
    }

    /// Nothing more is expected of a side soon: its keys are wiped.
    pub(super) fn sleep(&mut self, whose: Whose) {
        let live = self.at(whose);
        let place = std::mem::replace(&mut live.place, u32::MAX);
        let is_idle = |work: &Work| work.input.is_empty() && work.output.is_none();
        if live.work.as_deref().is_some_and(is_idle) {
            live.work = None;
        }
        self.keys.sleep(whose, place);
    }

    /// The next connection that is to end, as [`Secured::overdue`](super::Secured::overdue) has it.
    pub(super) fn overdue(&mut self) -> Option<ConnIndex> {
        loop {
            let (&number, &(whose, since)) = self.cut.first_key_value()?;
            let is_late = self.seconds.saturating_sub(since) > RECORD_SECONDS;
            let is_full = self.gathered_bytes > TLS_GATHERED_MAX;
            if !is_late && !is_full {
                return None;
            }
            self.cut.remove(&number);
            if is_full || self.at(whose).has(AWAITED) {
                return Some(whose.0);
            }
            // Nobody asks it for more: the other side does not take what it has sent before.
            self.wait_from_now(whose);
        }
    }

    /// A side waits for the rest of a record from now on.
    pub(super) fn wait_from_now(&mut self, whose: Whose) {
        let number = self.next_number;
        self.next_number += 1;
        self.at(whose).work().number = Some(number);
        self.cut.insert(number, (whose, self.seconds));
    }

    /// Bytes that a side has gathered.
    pub(super) fn gathered_by(&self, whose: Whose) -> usize {
        let work = self.get(whose).and_then(|live| live.work.as_ref());
        work.map_or(0, |work| work.input.held_bytes())
    }

    /// Counts what a side has gathered, of which so many bytes were counted before. `renew`: a
    /// record was whole meanwhile, so that it waits for another one from now on.
    pub(super) fn count_gathered(&mut self, whose: Whose, before_bytes: usize, renew: bool) {
        let now_bytes = self.gathered_by(whose);
        if now_bytes == 0 && before_bytes == 0 {
            return;
        }
        self.gathered_bytes = self.gathered_bytes - before_bytes + now_bytes;
        let number = self.at(whose).work().number;
        if now_bytes > 0 && number.is_some() && !renew {
            return;
        }
        self.at(whose).work().number = None;
        number.and_then(|number| self.cut.remove(&number));
        if now_bytes > 0 {
            self.wait_from_now(whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::Suite;
    use super::*;

    const FIRST: Whose = (ConnIndex(1), Side::Client);
    const SECOND: Whose = (ConnIndex(2), Side::Client);

    /// Two sides that have sent a part of a record.
    fn cut() -> Sessions {
        let mut sessions = Sessions::default();
        for whose in [FIRST, SECOND] {
            let secret = [7; 32];
            let session = Session::tls13(Suite::Aes128GcmSha256, (&secret, 0), (&secret, 0));
            sessions.put(whose, Live::new(session, 3, &[23, 3, 3, 0, 40, 1]));
        }
        sessions
    }

    #[test]
    fn a_record_is_late_while_it_is_awaited_and_no_peer_keeps_it_back() {
        let mut sessions = cut();
        sessions.at(SECOND).set(AWAITED, true);
        sessions.seconds += RECORD_SECONDS;
        assert_eq!(sessions.overdue(), None);
        sessions.seconds += 1;
        assert_eq!(sessions.overdue(), Some(SECOND.0), "nobody asks the first for more");
        assert_eq!(sessions.overdue(), None, "each is named once");
        sessions.at(FIRST).set(AWAITED, true);
        sessions.seconds += RECORD_SECONDS + 1;
        assert_eq!(sessions.overdue(), Some(FIRST.0));
        assert!([FIRST, SECOND].iter().all(|whose| sessions.take(*whose).is_none()));
        assert_eq!((sessions.gathered_bytes, sessions.cut.len()), (0, 0));
    }

    #[test]
    fn beyond_the_bound_of_what_is_not_whole_the_longest_that_waits_ends() {
        let mut sessions = cut();
        // A record of which ever more comes, as no record can: the bound is of all of them.
        let before = sessions.gathered_by(SECOND);
        sessions.at(SECOND).work().input.push(&vec![0; TLS_GATHERED_MAX]);
        sessions.count_gathered(SECOND, before, false);
        assert_eq!(sessions.overdue(), Some(FIRST.0));
        assert!(sessions.take(FIRST).is_none());
        assert_eq!(sessions.overdue(), Some(SECOND.0), "one is not enough");
        assert!(sessions.take(SECOND).is_none());
        assert_eq!((sessions.overdue(), sessions.gathered_bytes), (None, 0));
    }

    #[test]
    fn a_completion_of_an_earlier_life_is_no_sessions() {
        let sessions = cut();
        let kind = crate::base::OpKind::Receive;
        let token = |generation| Token { conn: FIRST.0, generation, side: FIRST.1, kind };
        assert!(sessions.is_of(token(3)) && !sessions.is_of(token(2)));
    }
}
