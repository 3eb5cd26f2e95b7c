//! How one server stands: three things kept apart, and the numbers that all workers share.
//!
//! - The line of the config or of a set says its weight.
//! - An operator says whether it is to get new connections ([`AdminState`]).
//! - The gateway observes whether it serves ([`Observed`]): workers by their connects, the control
//!   thread by its checks.
//!
//! All of it is in one word, so that a worker sees no mixture, and every change of it counts in the
//! [`Fleet`] of the upstream, by which views know that they are to look again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::connections::Connections;
use super::fleet::Fleet;
use crate::base::{Errno, Millis, SELF_CONNECT, TlsFault};
use crate::config::Terms;

/// What an operator says about a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum AdminState {
    /// It gets its share.
    #[default]
    Ready,
    /// It gets no new connections; it is checked on.
    Drain,
    /// It gets no new connections, and nobody checks on it.
    Maintenance,
}

/// What is observed of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Observed {
    /// It serves.
    #[default]
    Up,
    /// Checks say that it does not.
    Down,
    /// Clients found that it does not: it rests.
    Ejected,
    /// Its rest is over: one client at a time tries it.
    Trial,
}

impl Observed {
    /// It is spared, and counts among those that rest.
    fn rests(self) -> bool {
        matches!(self, Observed::Ejected | Observed::Trial)
    }
}

/// Why a client found a server wanting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connect failed.
    Connect(Errno),
    /// There was no answer to the connect in time.
    Silence,
    /// It ended a connection early, without a byte.
    EarlyEnd,
    /// Its answer to a client's request for TLS was not the one by which it gets the hello.
    NoTls,
    /// The handshake with it failed, where it is spoken to in TLS.
    Tls(TlsFault),
    /// It broke its session of TLS off early, without a byte.
    EarlyTls(TlsFault),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(SELF_CONNECT) => {
                write!(out, "the connect came back to itself: nobody listens there")
            }
            Failure::Connect(errno) => write!(out, "{} ({errno:?})", errno.desc()),
            Failure::Silence => write!(out, "no answer to a connect in time"),
            Failure::NoTls => {
                write!(out, "it answers an SSLRequest with something else than S: it has no TLS")
            }
            Failure::Tls(fault) | Failure::EarlyTls(fault) => {
                write!(out, "TLS failed: it {}", fault.said())
            }
            Failure::EarlyEnd => write!(out, "it ends connections at once, without a byte"),
        }
    }
}

/// One unit of weight: shares are finer, for a server that starts slowly.
const WHOLE: u32 = 256;

/// Share, admin, observed and tier of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u32);

impl Word {
    const SHARE: u32 = 0xffff;
    const ADMIN: u32 = 16;
    const OBSERVED: u32 = 18;
    const BACKUP: u32 = 1 << 20;

    fn admin(self) -> AdminState {
        match (self.0 >> Word::ADMIN) & 3 {
            0 => AdminState::Ready,
            1 => AdminState::Drain,
            _ => AdminState::Maintenance,
        }
    }

    fn observed(self) -> Observed {
        match (self.0 >> Word::OBSERVED) & 3 {
            0 => Observed::Up,
            1 => Observed::Down,
            2 => Observed::Ejected,
            _ => Observed::Trial,
        }
    }

    fn share(self) -> u32 {
        self.0 & Word::SHARE
    }

    fn with_share(self, share: u32) -> Word {
        Word(self.0 & !Word::SHARE | share)
    }

    fn with_backup(self, backup: bool) -> Word {
        Word(self.0 & !Word::BACKUP | if backup { Word::BACKUP } else { 0 })
    }

    fn with_admin(self, admin: AdminState) -> Word {
        Word(self.0 & !(3 << Word::ADMIN) | (admin as u32) << Word::ADMIN)
    }

    fn with_observed(self, observed: Observed) -> Word {
        Word(self.0 & !(3 << Word::OBSERVED) | (observed as u32) << Word::OBSERVED)
    }
}

/// How one server stands, over all workers.
#[derive(Debug)]
pub struct Standing {
    numbers: CachePadded<Numbers>,
    fleet: Arc<Fleet>,
}

#[derive(Debug)]
struct Numbers {
    /// Connections to it.
    connections: Connections,
    /// See [`Word`].
    word: AtomicU32,
    /// Its weight; 0: none.
    weight: AtomicU32,
    /// How many of [`WHOLE`] parts of its weight it gets.
    part: AtomicU32,
    /// The last weight that was not 0.
    full_weight: AtomicU32,
    /// Connects that failed, one after the other.
    failed_in_a_row: AtomicU32,
    /// Connections that it ended early, without one between them that it did not.
    early_in_a_row: AtomicU32,
    /// Clients that were joined to it, modulo 2³², and as many as there were before the row above.
    joined: AtomicU32,
    joined_before: AtomicU32,
    /// Clients that may try it.
    trials: AtomicU32,
    /// How often it was ejected, modulo 2³².
    ejections: AtomicU32,
    /// When it was found wanting last, in milliseconds from 1 on, and why; 0: never.
    last_failure: AtomicU64,
}

/// In the low bits of `last_failure`, beside numbers of errors.
const NO_TLS: u64 = 0xfffd;
/// The faults of a handshake follow this one.
const TLS: u64 = NO_TLS - TlsFault::ALL.len() as u64;
/// And those of a session this one.
const EARLY_TLS: u64 = TLS - TlsFault::ALL.len() as u64;
const SILENCE: u64 = 0xfffe;
const EARLY_END: u64 = 0xffff;

impl Standing {
    /// Of a server of these terms, without connections.
    pub fn new(terms: Terms, fleet: Arc<Fleet>) -> Standing {
        let Terms { weight, max_connections, backup } = terms;
        let word = Word(0).with_share(weight * WHOLE).with_backup(backup);
        let numbers = Numbers {
            connections: Connections::new(max_connections),
            word: AtomicU32::new(word.0),
            weight: AtomicU32::new(weight),
            part: AtomicU32::new(WHOLE),
            full_weight: AtomicU32::new(weight.max(1)),
            failed_in_a_row: AtomicU32::new(0),
            early_in_a_row: AtomicU32::new(0),
            joined: AtomicU32::new(0),
            joined_before: AtomicU32::new(0),
            trials: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            last_failure: AtomicU64::new(0),
        };
        Standing { numbers: CachePadded::new(numbers), fleet }
    }

    /// What it has in common with the other servers of its upstream.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Connections to it, over all workers.
    pub fn connections(&self) -> &Connections {
        &self.numbers.connections
    }

    /// Connections to it now.
    pub fn open(&self) -> u32 {
        self.connections().open()
    }

    /// Its weight in relation to the others'; 0: it gets no new connections.
    pub fn weight(&self) -> u32 {
        self.numbers.weight.load(Ordering::Relaxed)
    }

    /// Gives it another weight. Only one thread may.
    pub fn set_weight(&self, weight: u32) {
        self.numbers.weight.store(weight, Ordering::Relaxed);
        if weight > 0 {
            self.numbers.full_weight.store(weight, Ordering::Relaxed);
        }
        self.share_out();
    }

    /// Gives it this part of its weight, 0 to 1; of 0 the least that is something. Only one thread
    /// may.
    pub fn set_part(&self, part: f64) {
        let part = ((part * f64::from(WHOLE)) as u32).clamp(1, WHOLE);
        if self.numbers.part.swap(part, Ordering::Relaxed) != part {
            self.share_out();
        }
    }

    /// Whether it gets less than its weight, because it starts slowly.
    pub fn is_slow(&self) -> bool {
        self.numbers.part.load(Ordering::Relaxed) < WHOLE
    }

    fn share_out(&self) {
        let share = self.weight() * self.numbers.part.load(Ordering::Relaxed);
        self.change(|word| Some(word.with_share(share)));
    }

    /// Gives it the weight back that it had before it had none. Only one thread may.
    pub fn restore_weight(&self) {
        self.set_weight(self.numbers.full_weight.load(Ordering::Relaxed));
    }

    /// Its line bounds its connections so, and calls it a backup or not. Only one thread may.
    pub fn set_bounds(&self, Terms { weight: _, max_connections, backup }: Terms) {
        let most = self.connections().most();
        self.connections().set_most(max_connections);
        if (most, self.is_backup()) != (max_connections, backup) {
            self.change(|word| Some(word.with_backup(backup)));
        }
    }

    /// What an operator says.
    pub fn admin(&self) -> AdminState {
        self.word().admin()
    }

    /// An operator says something else.
    pub fn set_admin(&self, admin: AdminState) {
        self.change(|word| Some(word.with_admin(admin)));
    }

    /// What is observed.
    pub fn observed(&self) -> Observed {
        self.word().observed()
    }

    /// Its state in a word: what an operator says, or what is observed where that says nothing.
    pub fn state(&self) -> &'static str {
        match (self.admin(), self.observed()) {
            (AdminState::Drain, _) => "drain",
            (AdminState::Maintenance, _) => "maintenance",
            (AdminState::Ready, Observed::Up) if self.is_slow() => "slow-start",
            (AdminState::Ready, Observed::Up) => "up",
            (AdminState::Ready, Observed::Down) => "down",
            (AdminState::Ready, Observed::Ejected) => "ejected",
            (AdminState::Ready, Observed::Trial) => "trial",
        }
    }

    /// Whether it takes clients only while no other server of its upstream serves.
    pub fn is_backup(&self) -> bool {
        self.word().0 & Word::BACKUP != 0
    }

    /// What it gets of new connections when all is well, in parts of a weight; 0: none, whatever is
    /// observed.
    pub(super) fn claim(&self) -> u32 {
        let word = self.word();
        if word.admin() == AdminState::Ready { word.share() } else { 0 }
    }

    /// What it gets of new connections now, in parts of a weight.
    pub(super) fn share(&self) -> u32 {
        if self.observed() == Observed::Up { self.claim() } else { 0 }
    }

    /// Whether clients may be sent to it that try it.
    pub(super) fn is_on_trial(&self) -> bool {
        self.claim() > 0 && self.observed() == Observed::Trial
    }

    /// Takes the place of a client that tries it, if there is one.
    pub(super) fn take_trial(&self) -> bool {
        let trials = &self.numbers.trials;
        trials.load(Ordering::Relaxed) > 0
            && trials
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
    }

    fn word(&self) -> Word {
        Word(self.numbers.word.load(Ordering::Relaxed))
    }

    /// Makes another word of it where `change` wants one, and says what it was before.
    fn change(&self, change: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let other = |word| change(Word(word)).map(|Word(other)| other);
        let changed = self.numbers.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, other);
        self.fleet.note_change();
        changed.ok().map(Word)
    }

    /// Goes from one observation to another, and says which the one was.
    fn observe(&self, from: &[Observed], to: Observed) -> Option<Observed> {
        let other = |word: Word| from.contains(&word.observed()).then(|| word.with_observed(to));
        let before = self.change(other)?.observed();
        if before.rests() && !to.rests() {
            self.fleet.back();
        }
        Some(before)
    }

    /// A client was joined to it.
    pub fn joined(&self) {
        let numbers = &*self.numbers;
        numbers.joined.fetch_add(1, Ordering::Relaxed);
        if numbers.failed_in_a_row.load(Ordering::Relaxed) > 0 {
            numbers.failed_in_a_row.store(0, Ordering::Relaxed);
        }
        if self.fleet.early_end().is_zero() {
            self.passed();
        }
    }

    /// A connection came beyond what counts as an early end.
    pub fn passed(&self) {
        if self.numbers.early_in_a_row.load(Ordering::Relaxed) > 0 {
            self.numbers.early_in_a_row.store(0, Ordering::Relaxed);
        }
        // Where no server serves, clients come to one that rests.
        let rests = [Observed::Ejected, Observed::Trial];
        if rests.contains(&self.observed()) {
            self.observe(&rests, Observed::Up);
        }
    }

    /// A connection that began then came beyond what counts as an early end. One from before its
    /// last failure says nothing of a server that rests.
    pub fn outlived(&self, began: Millis) {
        let is_after = |(failed, _): (Millis, Failure)| began >= failed;
        if !self.observed().rests() || self.last_failure().is_none_or(is_after) {
            self.passed();
        }
    }

    /// A client found it wanting. It is ejected where that happened too often one after the other,
    /// and not too many others are.
    pub fn failed(&self, failure: Failure, now: Millis) {
        let numbers = &*self.numbers;
        let code = match failure {
            Failure::Connect(errno) => errno as i32 as u64 & 0xffff,
            Failure::Silence => SILENCE,
            Failure::EarlyEnd => EARLY_END,
            Failure::NoTls => NO_TLS,
            Failure::Tls(fault) => TLS + fault as u64,
            Failure::EarlyTls(fault) => EARLY_TLS + fault as u64,
        };
        numbers.last_failure.store((now.0 + 1) << 16 | code, Ordering::Relaxed);
        let Some(most) = self.fleet.failures() else { return };
        let is_too_often = match failure {
            Failure::EarlyEnd | Failure::EarlyTls(_) => {
                let row = numbers.early_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                let joined = numbers.joined.load(Ordering::Relaxed);
                if row == 1 {
                    numbers.joined_before.store(joined.wrapping_sub(1), Ordering::Relaxed);
                }
                // Connections whose end is not known yet may be good ones.
                let since = joined.wrapping_sub(numbers.joined_before.load(Ordering::Relaxed));
                row >= most && since <= 2 * row
            }
            _ => numbers.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= most,
        };
        match self.observed() {
            Observed::Trial => self.eject(Observed::Trial),
            Observed::Up if is_too_often && self.fleet.go() => self.eject(Observed::Up),
            _ => {}
        }
    }

    /// Ejects it; from `Up` with a place among those that rest.
    fn eject(&self, from: Observed) {
        self.numbers.ejections.fetch_add(1, Ordering::Relaxed);
        if self.observe(&[from], Observed::Ejected).is_none() && from == Observed::Up {
            self.fleet.back();
        }
    }

    /// How often it was ejected, modulo 2³².
    pub fn ejections(&self) -> u32 {
        self.numbers.ejections.load(Ordering::Relaxed)
    }

    /// Clients that were joined to it so far, modulo 2³².
    pub fn joined_count(&self) -> u32 {
        self.numbers.joined.load(Ordering::Relaxed)
    }

    /// Whether connects have failed as often as a server is ejected for, one after the other.
    pub fn is_failing(&self) -> bool {
        let failed = self.numbers.failed_in_a_row.load(Ordering::Relaxed);
        self.fleet.failures().is_some_and(|most| failed >= most)
    }

    /// Its rest is over, or another client may try it.
    pub fn try_again(&self) {
        self.numbers.trials.store(1, Ordering::Relaxed);
        self.observe(&[Observed::Ejected], Observed::Trial);
    }

    /// Checks say that it does not serve.
    pub fn set_down(&self) {
        let others = [Observed::Up, Observed::Ejected, Observed::Trial];
        self.observe(&others, Observed::Down);
    }

    /// It serves, whatever clients or checks found before.
    pub fn set_up(&self) {
        self.numbers.failed_in_a_row.store(0, Ordering::Relaxed);
        self.numbers.early_in_a_row.store(0, Ordering::Relaxed);
        let others = [Observed::Down, Observed::Ejected, Observed::Trial];
        self.observe(&others, Observed::Up);
    }

    /// When a client found it wanting last, and why.
    pub fn last_failure(&self) -> Option<(Millis, Failure)> {
        let last = self.numbers.last_failure.load(Ordering::Relaxed);
        let failure = match last & 0xffff {
            SILENCE => Failure::Silence,
            EARLY_END => Failure::EarlyEnd,
            NO_TLS => Failure::NoTls,
            code @ TLS..NO_TLS => Failure::Tls(TlsFault::ALL[(code - TLS) as usize]),
            code @ EARLY_TLS..TLS => Failure::EarlyTls(TlsFault::ALL[(code - EARLY_TLS) as usize]),
            errno => Failure::Connect(Errno::from_raw(errno as i32)),
        };
        (last >> 16).checked_sub(1).map(|millis| (Millis(millis), failure))
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.observed().rests() {
            self.fleet.back();
        }
    }
}
