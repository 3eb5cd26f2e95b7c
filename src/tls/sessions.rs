//! The sessions of a worker's connections, by side. Most sleep: they are 96 bytes each, or 128 with
//! secrets that are longer than 32.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::gathered::End;
use super::keyring::{Keyring, NO_KEYS, Whose};
use super::keys::Awake;
use super::session::{Long, Secrets, Session, Short};
use super::work::{NO_WORK, Output, Work, Works};
use crate::base::limits::{TLS_GATHERED_MAX, TLS_SESSION_BYTES};
use crate::base::{BySide, ConnIndex, Side, Sparse};
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

/// A session in use by a connection, as it is kept.
#[derive(Debug)]
pub(super) struct Kept<S: Secrets + ?Sized = [u8]> {
    stand: Stand,
    pub(super) session: Session<S>,
}

const _: () = assert!(size_of::<Option<Kept<Long>>>() <= TLS_SESSION_BYTES);
const _: () = assert!(size_of::<Option<Kept<Short>>>() <= TLS_SESSION_BYTES - 32);

/// What is known of it beside the session.
#[derive(Clone, Copy, Debug)]
struct Stand {
    /// Where its work is.
    work: u32,
    /// Where its keys last were.
    keys: u16,
    marks: u8,
    /// The lowest bits of its connection's generation.
    life: u8,
}

impl Kept {
    pub(super) fn has(&self, mark: u8) -> bool {
        self.stand.marks & mark != 0
    }
}

/// A session that is looked after.
pub(super) struct Live<'a> {
    pub(super) session: &'a mut Session<[u8]>,
    stand: &'a mut Stand,
    works: &'a mut Works,
}

impl Live<'_> {
    pub(super) fn has(&self, mark: u8) -> bool {
        self.stand.marks & mark != 0
    }

    pub(super) fn set(&mut self, mark: u8, is: bool) {
        let marks = &mut self.stand.marks;
        *marks = if is { *marks | mark } else { *marks & !mark };
    }

    /// What is under way, if anything is.
    fn working(&self) -> Option<&Work> {
        self.works.get(self.stand.work)
    }

    /// What is under way.
    pub(super) fn work(&mut self) -> &mut Work {
        self.works.of(&mut self.stand.work)
    }

    /// What is being sent.
    pub(super) fn output(&self) -> Option<Output> {
        self.working()?.output
    }

    /// Nothing is being sent any more. Says what was.
    pub(super) fn take_output(&mut self) -> Option<Output> {
        self.working()?;
        let output = self.work().output.take();
        self.works.settle(&mut self.stand.work);
        output
    }

    /// What was wrong with its records.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.working()?.fault
    }

    /// Nothing received waits here.
    pub(super) fn is_read(&self) -> bool {
        self.working().is_none_or(|work| work.input.is_empty())
    }

    /// Takes note of how a pass over records ended.
    pub(super) fn note(&mut self, end: Option<End>) {
        if let Some(End::Fault(fault)) = end {
            self.work().fault = Some(fault);
        }
    }

    /// Opens what is gathered and whole, and says how much data there is.
    pub(super) fn open_gathered(&mut self, awake: &mut Awake) -> usize {
        if self.is_read() {
            return 0;
        }
        let work = self.works.of(&mut self.stand.work);
        let end = work.input.open(self.session, awake);
        let plain_bytes = work.input.plain_bytes();
        self.note(end);
        plain_bytes
    }
}

/// Each side's, by the length of its secrets.
#[derive(Debug, Default)]
struct Table {
    short: BySide<Sparse<Kept<Short>>>,
    long: BySide<Sparse<Kept<Long>>>,
}

impl Table {
    fn count(&self) -> usize {
        let count = |side: &Side| self.short[*side].count() + self.long[*side].count();
        Side::BOTH.iter().map(count).sum()
    }

    fn get(&self, (conn, side): Whose) -> Option<&Kept> {
        match self.short[side].get(conn) {
            Some(kept) => Some(kept),
            None => Some(self.long[side].get(conn)?),
        }
    }

    fn get_mut(&mut self, (conn, side): Whose) -> Option<&mut Kept> {
        match self.short[side].get_mut(conn) {
            Some(kept) => Some(kept),
            None => Some(self.long[side].get_mut(conn)?),
        }
    }

    fn put(&mut self, (conn, side): Whose, stand: Stand, session: Session) {
        match session.shorten() {
            Ok(session) => self.short[side].put(conn, Kept { stand, session }),
            Err(session) => self.long[side].put(conn, Kept { stand, session }),
        }
    }

    fn take(&mut self, (conn, side): Whose) -> Option<Stand> {
        let stand = self.wipe((conn, side))?;
        self.short[side].take(conn);
        self.long[side].take(conn);
        Some(stand)
    }

    /// Zeroes the secrets of a session in its place: what is taken is moved away, and what was
    /// moved stays readable where it was.
    fn wipe(&mut self, whose: Whose) -> Option<Stand> {
        let kept = self.get_mut(whose)?;
        kept.session.wipe();
        Some(kept.stand)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    table: Table,
    works: Works,
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
        self.table.count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn has(&self, whose: Whose) -> bool {
        self.table.get(whose).is_some()
    }

    /// Whether a completion is of a side that is secured, and not of one that was there before.
    pub(super) fn is_of(&self, token: Token) -> bool {
        let kept = self.get((token.conn, token.side));
        kept.is_some_and(|kept| kept.stand.life == token.generation as u8)
    }

    pub(super) fn has_any(&self, conn: ConnIndex) -> bool {
        Side::BOTH.iter().any(|side| self.has((conn, *side)))
    }

    /// A side's session.
    ///
    /// # Panics
    /// When it has none.
    pub(super) fn at(&mut self, whose: Whose) -> Live<'_> {
        let kept = self.table.get_mut(whose).expect("somebody looked whether it has a session");
        Live { session: &mut kept.session, stand: &mut kept.stand, works: &mut self.works }
    }

    pub(super) fn get(&self, whose: Whose) -> Option<&Kept> {
        self.table.get(whose)
    }

    /// What is under way in a side's session, if anything is.
    pub(super) fn working(&self, whose: Whose) -> Option<&Work> {
        self.works.get(self.get(whose)?.stand.work)
    }

    /// What is under way in a side's session.
    ///
    /// # Panics
    /// As [`Sessions::at`].
    pub(super) fn work(&mut self, whose: Whose) -> &mut Work {
        let kept = self.table.get_mut(whose).expect("somebody looked whether it has a session");
        self.works.of(&mut kept.stand.work)
    }

    /// A side's session, and its keys.
    pub(super) fn awake(&mut self, whose: Whose) -> (Live<'_>, &mut Awake) {
        let kept = self.table.get_mut(whose).expect("somebody looked whether it has a session");
        let keys = self.keys.of(whose, &mut kept.stand.keys);
        let (session, stand) = (&mut kept.session, &mut kept.stand);
        (Live { session, stand, works: &mut self.works }, keys)
    }

    /// A side has a session from now on, in this generation of its slot.
    ///
    /// # Panics
    /// When it has one.
    pub(super) fn put(&mut self, whose: Whose, generation: u32, session: Session, work: Work) {
        let (keys, marks, life) = (NO_KEYS, 0, generation as u8);
        self.table.put(whose, Stand { work: NO_WORK, keys, marks, life }, session);
        *self.work(whose) = work;
        self.count_gathered(whose, 0, true);
    }

    /// A side's session is over. Says what was being sent.
    pub(super) fn take(&mut self, whose: Whose) -> Option<Output> {
        let mut stand = self.table.take(whose)?;
        self.keys.sleep(whose, stand.keys);
        let work = self.works.take(&mut stand.work)?;
        if stand.marks & AWAY == 0 {
            self.gathered_bytes -= work.input.held_bytes();
        }
        work.number.and_then(|number| self.cut.remove(&number));
        work.output
    }

    /// Another process has a side: what it has gathered waits there.
    pub(super) fn go_away(&mut self, whose: Whose) {
        let held_bytes = self.gathered_by(whose);
        self.at(whose).set(AWAY, true);
        let number = self.working(whose).and_then(|work| work.number);
        if number.is_some() {
            self.work(whose).number = None;
        }
        number.and_then(|number| self.cut.remove(&number));
        self.gathered_bytes -= held_bytes;
    }

    /// A side is this process's again, if it was away.
    pub(super) fn come_back(&mut self, whose: Whose) {
        if self.get(whose).is_some_and(|kept| kept.has(AWAY)) {
            self.at(whose).set(AWAY, false);
            self.count_gathered(whose, 0, true);
        }
    }

    /// Nothing more is expected of a side soon: its keys are wiped.
    pub(super) fn sleep(&mut self, whose: Whose) {
        let stand = self.at(whose).stand;
        let keys = std::mem::replace(&mut stand.keys, NO_KEYS);
        self.keys.sleep(whose, keys);
    }

    /// Gives memory back that nobody needed lately. Called once a second.
    pub(super) fn trim(&mut self) {
        self.seconds += 1;
        self.keys.trim();
        self.works.trim();
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
        self.work(whose).number = Some(number);
        self.cut.insert(number, (whose, self.seconds));
    }

    /// Bytes that a side has gathered.
    pub(super) fn gathered_by(&self, whose: Whose) -> usize {
        self.working(whose).map_or(0, |work| work.input.held_bytes())
    }

    /// Counts what a side has gathered, of which so many bytes were counted before. `renew`: a
    /// record was whole meanwhile, so that it waits for another one from now on.
    pub(super) fn count_gathered(&mut self, whose: Whose, before_bytes: usize, renew: bool) {
        let now_bytes = self.gathered_by(whose);
        if now_bytes > 0 || before_bytes > 0 {
            self.gathered_bytes = self.gathered_bytes - before_bytes + now_bytes;
            let work = self.work(whose);
            if now_bytes == 0 || work.number.is_none() || renew {
                let number = work.number.take();
                number.and_then(|number| self.cut.remove(&number));
                if now_bytes > 0 {
                    self.wait_from_now(whose);
                }
            }
        }
        let live = self.at(whose);
        live.works.settle(&mut live.stand.work);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gathered::Gathered;
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
            let input = Gathered::of(&[], &[23, 3, 3, 0, 40, 1]);
            sessions.put(whose, 3, session, Work { input, ..Work::default() });
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
        sessions.work(SECOND).input.push(&vec![0; TLS_GATHERED_MAX]);
        sessions.count_gathered(SECOND, before, false);
        assert_eq!(sessions.overdue(), Some(FIRST.0));
        assert!(sessions.take(FIRST).is_none());
        assert_eq!(sessions.overdue(), Some(SECOND.0), "one is not enough");
        assert!(sessions.take(SECOND).is_none());
        assert_eq!((sessions.overdue(), sessions.gathered_bytes), (None, 0));
    }

    #[test]
    fn the_secrets_of_a_session_are_zeroed_in_its_place_before_it_is_taken() {
        let mut sessions = cut();
        let secret = [9; 48];
        let session = Session::tls13(Suite::Aes256GcmSha384, (&secret, 0), (&secret, 0));
        let third = (FIRST.0, Side::Upstream);
        sessions.put(third, 3, session, Work::default());
        for (whose, bytes) in [(FIRST, 32), (third, 48)] {
            let secrets = |sessions: &mut Sessions| {
                let session = sessions.at(whose).session;
                [session.read_secret().to_vec(), session.write_secret().to_vec()]
            };
            assert!(secrets(&mut sessions).concat().iter().all(|byte| *byte != 0));
            assert!(sessions.table.wipe(whose).is_some());
            assert_eq!(secrets(&mut sessions), [vec![0; bytes], vec![0; bytes]]);
            sessions.take(whose);
            assert!(sessions.get(whose).is_none());
        }
    }

    #[test]
    fn a_completion_of_an_earlier_life_is_no_sessions() {
        let sessions = cut();
        let kind = crate::base::OpKind::Receive;
        let token = |generation| Token { conn: FIRST.0, generation, side: FIRST.1, kind };
        assert!(sessions.is_of(token(3)) && !sessions.is_of(token(2)));
    }
}
