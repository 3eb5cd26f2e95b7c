//! Receives of the simulated kernel that go on by themselves, and what they take unasked.

use std::collections::VecDeque;

use portcullis::base::{Buffer, Errno, OpKind, Side};
use portcullis::ring::{Buffers, ConnIndex, Token};

use crate::fault::Fault;
use crate::kernel::Outcome;
use crate::link::{ERR, HUP, IN, Link, RDHUP};
use crate::random::{Random, mix};
use crate::ring::SimRing;

/// What a receive took that goes on, in its order.
pub type Pieces = VecDeque<Outcome>;

/// Pieces that wait for somebody to ask before the receive ends.
const AHEAD_MAX: usize = 2;

/// What a link's receives do while nobody asks.
#[derive(Debug)]
pub struct Ahead {
    own: Own,
    /// Bytes that it took and that nobody was told of.
    discarded_bytes: u64,
    /// Chance of its own, so that a run without any of this means what it meant before.
    random: Random,
}

/// What is a ring's own of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The last receive goes on.
    armed: bool,
    /// The worker began to wait for bytes, and has got none since: its next receive does not go on.
    waited: bool,
    /// What it took, in its order: each is what the next receive or splice comes to.
    pub pieces: Pieces,
}

impl Ahead {
    /// Of the link with this key.
    pub fn new(key: u64) -> Ahead {
        let random = Random::new(mix(key));
        Ahead { own: Own::default(), discarded_bytes: 0, random }
    }

    /// What is a ring's own, for as long as another ring turns; nothing is left.
    pub fn set_aside(&mut self) -> Option<Own> {
        Some(std::mem::take(&mut self.own)).filter(|own| *own != Own::default())
    }

    /// It turns again.
    pub fn put_back(&mut self, own: Own) {
        self.own = own;
    }

    /// The worker has got bytes.
    pub fn told(&mut self) {
        self.own.waited = false;
    }

    /// What poll(2) would have said before the first piece was taken, if there is one.
    pub fn bits(&self) -> Option<u32> {
        let (result, _) = self.own.pieces.front()?;
        Some(match result {
            Ok(1..) => IN,
            Ok(0) => IN | RDHUP,
            Err(_) => IN | ERR | HUP,
        })
    }
}

impl Link {
    /// How many bytes of the peer's the worker was told of.
    pub fn told_bytes(&self) -> u64 {
        self.received_bytes - self.ahead.discarded_bytes
    }
}

impl SimRing {
    /// A receive brought bytes: it may go on.
    pub fn arm(&mut self, index: usize) {
        let ahead = &mut self.links[index].ahead;
        let goes_on = self.faults.roll(Fault::TakenAhead, &mut ahead.random);
        let is_once = std::mem::take(&mut ahead.own.waited);
        ahead.own.armed |= goes_on && !is_once;
    }

    /// Lets receives that go on take what is there.
    pub fn step_ahead(&mut self) {
        for index in 0..self.links.len() {
            if self.links[index].ahead.own.armed {
                self.maybe_take_ahead(index);
            }
        }
    }

    /// The worker asks for what comes next. Whether it has come already; otherwise it is left to
    /// the socket alone from here on.
    pub fn meets_ahead(&mut self, Token { conn, side, kind, .. }: Token) -> bool {
        let index = self.link_at(conn, side).expect("who asks has a socket");
        if self.links[index].ahead.own.pieces.is_empty() {
            if kind == OpKind::Receive {
                // It is the one that goes on.
                self.links[index].ahead.own.armed = false;
            } else {
                self.stop_ahead(conn, side);
            }
        }
        self.links[index].ahead.own.waited |= kind == OpKind::WaitReadable;
        let meets = !self.links[index].ahead.own.pieces.is_empty();
        if meets && kind == OpKind::Splice {
            self.faults.note(Fault::AheadSpliced);
        }
        meets
    }

    /// Ends the receive of a side that goes on. It may have taken something before that.
    pub fn stop_ahead(&mut self, conn: ConnIndex, side: Side) {
        let Some(index) = self.link_at(conn, side) else { return };
        if self.links[index].ahead.own.armed {
            self.maybe_take_ahead(index);
            self.links[index].ahead.own.armed = false;
        }
    }

    /// The first piece.
    pub fn next_ahead(&mut self, index: usize) -> Option<Outcome> {
        self.links[index].ahead.own.pieces.pop_front()
    }

    /// Nobody will ask for the pieces of a side.
    pub fn discard_ahead(&mut self, conn: ConnIndex, side: Side) {
        let Some(index) = self.link_at(conn, side) else { return };
        while let Some((result, buffer)) = self.next_ahead(index) {
            self.faults.note(Fault::AheadDiscarded);
            if let Some(buffer) = buffer {
                self.buffers.discard(buffer);
                self.links[index].ahead.discarded_bytes += result.unwrap_or(0);
            }
        }
    }

    /// The bytes of a link's pieces, up to an error.
    pub fn copy_ahead(&self, index: usize, into: &mut Vec<u8>) -> Result<(), Errno> {
        for (result, buffer) in &self.links[index].ahead.own.pieces {
            let length_bytes = (*result)? as usize;
            if let Some(buffer) = buffer {
                into.extend_from_slice(&self.buffers.bytes_ahead(*buffer)[..length_bytes]);
            }
        }
        Ok(())
    }

    /// Somebody else has the pieces of a side.
    pub fn forget_ahead(&mut self, conn: ConnIndex, side: Side) {
        let Some(index) = self.link_at(conn, side) else { return };
        while let Some((_, buffer)) = self.next_ahead(index) {
            buffer.into_iter().for_each(|buffer| self.buffers.discard(buffer));
        }
    }

    /// The first piece of a side becomes the last.
    pub fn swap_ahead(&mut self, conn: ConnIndex, side: Side) {
        if let Some(index) = self.link_at(conn, side) {
            let first = self.next_ahead(index);
            self.links[index].ahead.own.pieces.extend(first);
        }
    }

    fn maybe_take_ahead(&mut self, index: usize) {
        let link = &mut self.links[index];
        let takes = !self.faults.calm && link.ahead.random.percent(50);
        if takes && link.bits() & IN != 0 {
            self.take_ahead(index);
        }
    }

    /// In a handover the last buffer is left to those who ask, unless what it takes can be parked:
    /// who comes back with bytes kept waits for a buffer himself, before he asks for what is ahead.
    fn take_ahead(&mut self, index: usize) {
        let most_bytes = u64::from(self.buffers.buffer_bytes);
        let left = self.buffers.unused();
        if left == 0 || left == 1 && self.spares_last && !self.buffers.can_park(most_bytes) {
            self.links[index].ahead.own.armed = false;
            return;
        }
        let taken = self.take(index, most_bytes, Fault::ShortRead);
        let piece = match taken.expect("a poll said that there is something") {
            Ok(bytes) if bytes.is_empty() => {
                self.faults.note(Fault::EndTakenAhead);
                (Ok(0), None)
            }
            Ok(bytes) => {
                self.faults.note(Fault::TakenAhead);
                (Ok(bytes.len() as u64), Some(self.fill_ahead(bytes)))
            }
            Err(error) => {
                self.faults.note(Fault::ErrorTakenAhead);
                (Err(error), None)
            }
        };
        self.note(|| format!("link {index} takes {piece:?} ahead"));
        let ahead = &mut self.links[index].ahead;
        ahead.own.pieces.push_back(piece);
        ahead.own.armed &= piece.1.is_some() && ahead.own.pieces.len() < AHEAD_MAX;
    }

    /// Where buffers are scarce, what waits keeps none.
    fn fill_ahead(&mut self, bytes: Vec<u8>) -> Buffer {
        let buffer = self.buffers.fill_ahead(bytes);
        if !self.is_scarce() {
            return buffer;
        }
        let parked = self.buffers.park_ahead(buffer);
        self.faults.note(if parked.is_some() { Fault::AheadParked } else { Fault::ParkRefused });
        parked.unwrap_or(buffer)
    }
}
