//! The way between workers of two processes, and the flags that both have.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use portcullis::base::Errno;
use portcullis::courier::{Flag, Link};
use portcullis::wire::handover::{Extra, Message, RECORD_BYTES};

use crate::moves::Reference;
use crate::mutation::Mutation;
use crate::random::Random;

/// A kind of extra that no process knows, and a bit that every process must.
const STRANGE_EXTRA: u8 = 200;
const STRANGE_FLAG: u16 = 1 << 15;

/// How often in a hundred what goes wrong between two workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A message finds no room, or too many descriptors on their way.
    pub full: u64,
    /// It is there and is not found yet.
    pub late: u64,
    /// Its descriptors are lost, as their process has as many as it may.
    pub lost: u64,
    /// It is not as it was sent.
    pub spoilt: u64,
    /// A record has more than the successor knows.
    pub strange: u64,
    /// Messages that may lie unread.
    pub room: usize,
    /// Bytes of a message, at most.
    pub most_bytes: usize,
}

/// How the last piece of a batch begins.
const PIECE: u8 = 4;
const LAST: u8 = 0;

/// What happened between the workers of a handover.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    pub full: u64,
    pub lost: u64,
    pub spoilt: u64,
    pub strange: u64,
    /// Batches that came in pieces.
    pub pieces: u64,
}

type Letter = (Vec<u8>, Vec<Reference>);

#[derive(Debug, Default)]
struct Line {
    /// By the end that reads.
    unread: [VecDeque<Letter>; 2],
    closed: [bool; 2],
}

/// The flags of a handover.
#[derive(Clone, Debug)]
pub struct Flags(Arc<Mutex<Vec<Flag>>>);

impl Flags {
    pub fn new(count: u32) -> Flags {
        Flags(Arc::new(Mutex::new(vec![Flag::Idle; count as usize])))
    }

    pub fn of(&self, slot: u32) -> Flag {
        self.0.lock().unwrap()[slot as usize]
    }
}

/// One end.
#[derive(Debug)]
pub struct End {
    line: Arc<Mutex<Line>>,
    flags: Flags,
    /// 0: the predecessor's.
    own: usize,
    rates: Rates,
    happened: Arc<Mutex<Happened>>,
    random: Random,
    mutation: Mutation,
}

/// Both ends.
pub fn pair(
    flags: &Flags,
    rates: Rates,
    happened: &Arc<Mutex<Happened>>,
    mut random: Random,
    mutation: Mutation,
) -> [End; 2] {
    let line = Arc::new(Mutex::new(Line::default()));
    [0, 1].map(|own| End {
        line: line.clone(),
        flags: flags.clone(),
        own,
        rates,
        happened: happened.clone(),
        random: Random::new(random.next()),
        mutation,
    })
}

impl Drop for End {
    fn drop(&mut self) {
        let mut line = self.line.lock().unwrap();
        line.closed[self.own] = true;
        let unread = std::mem::take(&mut line.unread[self.own]);
        drop(line);
        drop(unread);
    }
}

impl End {
    fn is_predecessors(&self) -> bool {
        self.own == 0
    }

    /// What another version would send.
    fn strange(&mut self, message: &[u8]) -> Vec<u8> {
        let mut bytes = message.to_vec();
        let Ok(Message::Batch(mut batch)) = Message::decode(message, RECORD_BYTES) else {
            return bytes;
        };
        for departure in &mut batch.records {
            if !self.random.percent(self.rates.strange) {
                continue;
            }
            self.happened.lock().unwrap().strange += 1;
            match self.random.percent(50) {
                true => departure.extras.push(Extra::new(STRANGE_EXTRA, vec![1, 2, 3])),
                false => departure.record.flags |= STRANGE_FLAG,
            }
        }
        bytes.clear();
        batch.encode(RECORD_BYTES, &mut bytes);
        bytes
    }

    /// Whether a message is to be left out, and nobody knows.
    fn is_hidden(&self, message: &[u8]) -> bool {
        let is_end = matches!(Message::decode(message, RECORD_BYTES), Ok(Message::Ended(_)));
        is_end && self.mutation == Mutation::HidesEnded
    }

    /// An answer that takes all.
    fn bent(&self, message: Vec<u8>) -> Vec<u8> {
        match Message::decode(&message, RECORD_BYTES) {
            Ok(Message::Taken(mut taken)) if self.mutation == Mutation::TakesAll => {
                let mut bytes = Vec::new();
                taken.taken = u64::MAX;
                taken.encode(&mut bytes);
                bytes
            }
            _ => message,
        }
    }
}

impl Link<Reference> for End {
    fn send(&mut self, message: &[u8], sockets: &[Reference]) -> Result<(), Errno> {
        let other = 1 - self.own;
        if self.line.lock().unwrap().closed[other] {
            return Err(Errno::EPIPE);
        }
        let is_full = self.line.lock().unwrap().unread[other].len() >= self.rates.room;
        if is_full || self.random.percent(self.rates.full) {
            self.happened.lock().unwrap().full += 1;
            let all = [Errno::EAGAIN, Errno::ETOOMANYREFS, Errno::ENOBUFS];
            return Err(if sockets.is_empty() { Errno::EAGAIN } else { self.random.pick(&all) });
        }
        let fits = !self.is_predecessors() || message.len() <= self.rates.most_bytes;
        assert!(fits, "{} bytes", message.len());
        self.happened.lock().unwrap().pieces += u64::from(message.starts_with(&[PIECE, LAST]));
        let bytes = if self.is_predecessors() { self.strange(message) } else { message.to_vec() };
        if self.is_hidden(message) {
            return Ok(());
        }
        if self.mutation == Mutation::LeaksSocket {
            std::mem::forget(sockets.first().cloned());
        }
        let letter = (self.bent(bytes), sockets.to_vec());
        self.line.lock().unwrap().unread[other].push_back(letter);
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> Result<Vec<Reference>, Errno> {
        let (is_empty, is_over) = {
            let line = self.line.lock().unwrap();
            (line.unread[self.own].is_empty(), line.closed[1 - self.own])
        };
        if is_empty {
            return Err(if is_over { Errno::ECONNRESET } else { Errno::EAGAIN });
        }
        if self.random.percent(self.rates.late) {
            return Err(Errno::EAGAIN);
        }
        let letter = self.line.lock().unwrap().unread[self.own].pop_front();
        let (mut bytes, sockets) = letter.expect("it was just looked at");
        if !sockets.is_empty() && self.random.percent(self.rates.lost) {
            self.happened.lock().unwrap().lost += 1;
            return Err(Errno::EMFILE);
        }
        if self.random.percent(self.rates.spoilt) {
            self.happened.lock().unwrap().spoilt += 1;
            bytes.truncate(self.random.below(bytes.len() as u64) as usize);
        }
        *into = bytes;
        Ok(sockets)
    }

    fn most_bytes(&self) -> usize {
        self.rates.most_bytes
    }

    fn set_flag(&mut self, at: u64, flag: Flag) {
        let is_late = !self.is_predecessors() && self.mutation == Mutation::FlagsNever;
        let is_stale = self.is_predecessors() && self.mutation == Mutation::KeepsFlag;
        if (is_late && flag == Flag::InHand) || is_stale {
            return;
        }
        self.flags.0.lock().unwrap()[at as usize] = flag;
    }

    fn flags(&self, at: u64, count: u32) -> Vec<Flag> {
        let all = self.flags.0.lock().unwrap();
        let own = all[at as usize..][..count as usize].iter().copied();
        let bent = |flag| match flag {
            Flag::InHand if self.mutation == Mutation::ResumesInHand => Flag::Idle,
            flag => flag,
        };
        own.map(bent).collect()
    }
}
