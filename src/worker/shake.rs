//! Handshakes of TLS that a worker has under way, and their turns.
//!
//! A handshake costs 65 to 200 us of a core, so only a few begin or go on in a turn: those who are
//! joined must not wait for a crowd that comes back. Only so many are under way at once; the longer
//! others wait, the sooner one in which nothing is heard makes way.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::base::{ConnIndex, Millis};
use crate::tls::{Established, Handshake, HandshakeFault, State};

/// Handshakes that begin or go on in a turn, at most.
const PER_TURN: usize = 4;
/// A handshake makes way when the time without a byte in it, and the time for which somebody waits,
/// are so long together. In a crowd of honest clients places come free before that.
const PATIENCE_MILLIS: u64 = 3_000;
/// It has so long in any case: a client may be far away, or lose a packet.
const SILENT_MIN: Duration = Duration::from_secs(1);

/// A handshake, and what is still to be said in it.
pub(super) struct Shake {
    handshake: Handshake,
    words: Vec<u8>,
    end: Option<Result<Box<Established>, HandshakeFault>>,
    /// What was said behind the end.
    rest: Vec<u8>,
}

impl fmt::Debug for Shake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shake({} bytes to say)", self.words.len())
    }
}

impl Shake {
    /// Begins, after these words of ours.
    pub(super) fn begin(mut handshake: Handshake, before: &[u8]) -> Shake {
        let words = [before, &handshake.words()].concat();
        Shake { handshake, words, end: None, rest: Vec::new() }
    }

    /// Takes what the peer has said, all of it unless this is the end: what follows it is the
    /// session's.
    pub(super) fn hear(&mut self, said: &mut Vec<u8>) {
        let taken = self.handshake.take(said);
        said.drain(..taken.used_bytes);
        if said.is_empty() {
            *said = Vec::new();
        }
        self.words.extend(self.handshake.words());
        self.end = match taken.state {
            State::More => None,
            State::Done(established) => Some(Ok(established)),
            State::Failed(fault) => Some(Err(fault)),
        };
    }

    /// The same for a peer of which nobody else keeps what follows.
    pub(super) fn hear_last(&mut self, mut said: Vec<u8>) {
        match self.is_over() {
            true => self.rest.append(&mut said),
            false => {
                self.hear(&mut said);
                self.rest = said;
            }
        }
    }

    /// How it ended, and what was said behind that.
    ///
    /// # Panics
    /// When it has not.
    pub(super) fn into_end(self) -> (Result<Box<Established>, HandshakeFault>, Vec<u8>) {
        (self.end.expect("it has ended"), self.rest)
    }

    /// What is to be said.
    pub(super) fn words(&self) -> &[u8] {
        &self.words
    }

    /// So much of it is on its way.
    pub(super) fn spoke(&mut self, bytes: usize) {
        self.words.drain(..bytes);
        if self.words.is_empty() {
            // Nothing may come for a while.
            self.words = Vec::new();
        }
    }

    /// It has ended.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }
}

/// Who shakes hands, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct Shakes {
    /// The most at once.
    most: usize,
    steps_in_turn: usize,
    clients: HashMap<ConnIndex, Standing>,
    /// By number, with when they began to wait.
    waiting: BTreeMap<u64, (ConnIndex, Millis)>,
    /// By number: those under way that have said more.
    paused: BTreeMap<u64, ConnIndex>,
    /// By the number of when they were last heard.
    running: BTreeMap<u64, (ConnIndex, Millis)>,
    next_number: u64,
}

#[derive(Clone, Copy, Debug)]
enum Standing {
    Waiting(u64),
    Paused(u64),
    /// Its turn has come.
    Called,
    Running(u64),
}

impl Shakes {
    /// At most so many are under way from here on.
    pub(super) fn allow(&mut self, most: usize) {
        self.most = most;
    }

    pub(super) fn running(&self) -> usize {
        self.running.len() + self.paused.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn can_begin(&self) -> bool {
        self.running() < self.most && self.steps_in_turn < PER_TURN
    }

    fn is_called(&self, index: ConnIndex) -> bool {
        matches!(self.clients.get(&index), Some(Standing::Called))
    }

    /// A client's handshake is to begin; `false`: it stands by until it is called.
    pub(super) fn begin(&mut self, index: ConnIndex, now: Millis) -> bool {
        if self.is_called(index) || self.waiting.is_empty() && self.can_begin() {
            self.run(index, now);
            return true;
        }
        let number = self.number();
        self.waiting.insert(number, (index, now));
        self.clients.insert(index, Standing::Waiting(number));
        false
    }

    /// A client has said more in its handshake, which goes on; `false`: when it is called.
    pub(super) fn go_on(&mut self, index: ConnIndex, now: Millis) -> bool {
        let is_free = self.paused.is_empty() && self.steps_in_turn < PER_TURN;
        if self.is_called(index) || is_free {
            self.run(index, now);
            return true;
        }
        self.leave(index);
        let number = self.number();
        self.paused.insert(number, index);
        self.clients.insert(index, Standing::Paused(number));
        false
    }

    fn run(&mut self, index: ConnIndex, now: Millis) {
        self.steps_in_turn += 1;
        self.leave(index);
        let number = self.number();
        self.running.insert(number, (index, now));
        self.clients.insert(index, Standing::Running(number));
    }

    /// A client's handshake is over, or the client is gone.
    pub(super) fn leave(&mut self, index: ConnIndex) {
        match self.clients.remove(&index) {
            Some(Standing::Waiting(number)) => drop(self.waiting.remove(&number)),
            Some(Standing::Paused(number)) => drop(self.paused.remove(&number)),
            Some(Standing::Running(number)) => drop(self.running.remove(&number)),
            Some(Standing::Called) | None => {}
        }
    }

    /// A turn is over.
    pub(super) fn turn(&mut self) {
        self.steps_in_turn = 0;
    }

    /// The next whose handshake may go on, or begin.
    pub(super) fn call(&mut self) -> Option<ConnIndex> {
        if self.steps_in_turn >= PER_TURN {
            return None;
        }
        let index = match self.paused.pop_first() {
            Some((_, index)) => index,
            None if self.can_begin() => {
                let (_, (index, _)) = self.waiting.pop_first()?;
                index
            }
            None => return None,
        };
        self.clients.insert(index, Standing::Called);
        Some(index)
    }

    /// One that makes way for somebody who waits.
    pub(super) fn stalled(&self, now: Millis) -> Option<ConnIndex> {
        let (index, due) = self.next_stalled().filter(|_| self.running() >= self.most)?;
        (now >= due).then_some(index)
    }

    /// The one that was heard the longest ago, and when it makes way for who waits the longest.
    fn next_stalled(&self) -> Option<(ConnIndex, Millis)> {
        let (_, (_, since)) = self.waiting.first_key_value()?;
        let (_, (index, heard)) = self.running.first_key_value()?;
        let together = Millis((heard.0 + since.0 + PATIENCE_MILLIS).div_ceil(2));
        Some((*index, together.max(heard.after(SILENT_MIN))))
    }

    /// When somebody may be called.
    pub(super) fn next(&self, now: Millis) -> Option<Millis> {
        if !self.paused.is_empty() {
            return Some(now);
        }
        if self.waiting.is_empty() {
            return None;
        }
        match self.next_stalled() {
            Some((_, due)) if self.running.len() >= self.most => Some(due),
            _ => Some(now),
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_begin_in_a_turn_and_few_are_under_way() {
        let (mut shakes, now) = (Shakes::default(), Millis(0));
        shakes.allow(PER_TURN + 1);
        let begun = (0..20).filter(|index| shakes.begin(ConnIndex(*index), now)).count();
        assert_eq!((begun, shakes.waiting(), shakes.call()), (PER_TURN, 20 - PER_TURN, None));
        shakes.turn();
        let called = shakes.call().expect("one more has room");
        assert!(called == ConnIndex(PER_TURN as u32) && shakes.begin(called, now));
        assert_eq!((shakes.running(), shakes.call()), (PER_TURN + 1, None));
        // Silent for as long as the others have waited: each for half of the time.
        let late = now.after(Duration::from_millis(PATIENCE_MILLIS / 2));
        assert_eq!((shakes.stalled(now), shakes.stalled(late)), (None, Some(ConnIndex(0))));
        assert_eq!(shakes.next(now), Some(late));
        shakes.run(ConnIndex(0), late);
        assert_eq!(shakes.stalled(late), Some(ConnIndex(1)), "the first was heard again");
        shakes.leave(ConnIndex(1));
        assert_eq!((shakes.stalled(late), shakes.next(late)), (None, Some(late)));
        // The first has said more, and no more may go on in this turn.
        shakes.steps_in_turn = PER_TURN;
        assert!(!shakes.go_on(ConnIndex(0), late) && shakes.call().is_none());
        assert_eq!(shakes.running(), PER_TURN, "it is under way");
        shakes.turn();
        assert_eq!(shakes.call(), Some(ConnIndex(0)), "before any that begins");
        assert!(shakes.go_on(ConnIndex(0), late));
        // The others have waited for long, and it has its time all the same.
        let later = late.after(Duration::from_secs(60));
        shakes.run(ConnIndex(0), later);
        (1..=PER_TURN as u32).for_each(|index| shakes.run(ConnIndex(index), later));
        assert_eq!(shakes.stalled(later), None);
        assert_eq!(shakes.stalled(later.after(SILENT_MIN)), Some(ConnIndex(0)));
        (0..20).for_each(|index| shakes.leave(ConnIndex(index)));
        assert!(shakes.clients.is_empty() && shakes.next(late).is_none());
    }
}
