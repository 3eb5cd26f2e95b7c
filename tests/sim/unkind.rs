//! What the simulated kernel does at a bad moment: wakes for nothing, turns that end late, a
//! process that is stopped for a while.

use std::collections::BTreeMap;

use portcullis::base::{Errno, OpKind, Side};
use portcullis::ring::{Done, Operation, Token};

use crate::fault::Fault;
use crate::link::{IN, OUT};
use crate::ring::SimRing;

/// Wakes for nothing of one socket until something of it moves: more would be an endless loop of
/// our own making.
const MOST_WAKES: u32 = 3;
/// Completions of one kind on one side while nothing moves there: some, and so many a second.
const MOST_COMPLETIONS: u64 = 200;
const MILLIS_PER_COMPLETION: u64 = 5;

/// Completions of one kind on one side.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// What had moved when they began.
    progress: u64,
    since: u64,
    count: u64,
}

/// What came again and again.
#[derive(Debug, Default)]
pub struct Repeats {
    /// By link: what had moved, and wakes for nothing since.
    woken: BTreeMap<usize, (u64, u32)>,
    /// By slot, side and kind.
    runs: BTreeMap<(u32, u8, u8), Run>,
}

impl SimRing {
    /// The process stands still for a while, and the world goes on.
    pub fn maybe_pause(&mut self) {
        if !self.faults.strikes(Fault::Paused, &mut self.random) {
            return;
        }
        let millis = self.random.pick(&[30, 300, 1500, 6000]);
        let until = self.now() + millis;
        self.jumped += millis;
        self.note(|| format!("the process is stopped until {until} ms"));
        while self.now() < until {
            self.step_world();
            self.advance(self.next_event().clamp(self.now() + 1, until));
        }
    }

    /// By how much a wait for `wait` is too long.
    pub fn lateness(&mut self, wait: u64) -> u64 {
        if wait > 0 && self.faults.roll(Fault::TurnLate, &mut self.random) {
            return self.random.pick(&[60, 400, 2500, 12_000]);
        }
        0
    }

    /// Perhaps ends a wait that is not ready.
    pub fn maybe_wake_for_nothing(&mut self, at: usize) {
        let Token { conn, side, .. } = self.ops[at].token;
        let (fault, bits) = match self.ops[at].operation {
            Operation::WaitWritable => (Fault::WritableForNothing, OUT),
            Operation::WaitReadable => (Fault::ReadableForNothing, IN),
            _ => return,
        };
        let Some(index) = self.link_at(conn, side) else { return };
        let progress = self.links[index].progress;
        let woken = self.repeats.woken.entry(index).or_insert((progress, 0));
        if woken.0 != progress {
            *woken = (progress, 0);
        }
        if woken.1 < MOST_WAKES && self.faults.strikes(fault, &mut self.random) {
            woken.1 += 1;
            self.links[index].woken |= fault == Fault::ReadableForNothing;
            let bits = bits | self.links[index].bits();
            self.post_done(at, (Ok(u64::from(bits)), None), false);
        }
    }

    /// Nothing completes again and again while nothing moves.
    pub fn check_repeats(&mut self, done: &Done) {
        let Token { conn, side, kind, .. } = done.token;
        // Others ask for names, and a buffer that is free again wakes whoever waits for one.
        if kind == OpKind::Addresses || done.result == Err(Errno::ENOBUFS) {
            return;
        }
        let links = Side::BOTH.into_iter().filter_map(|side| self.link_at(conn, side));
        let moved: u64 = links.map(|link| self.links[link].progress).sum();
        let progress = moved + u64::from(self.lives[conn.0 as usize]);
        let now = self.now();
        let begun = Run { progress, since: now, count: 0 };
        let run = self.repeats.runs.entry((conn.0, side as u8, kind as u8)).or_insert(begun);
        if run.progress != progress {
            *run = begun;
        }
        run.count += 1;
        let most = MOST_COMPLETIONS + (now - run.since) / MILLIS_PER_COMPLETION;
        assert!(run.count <= most, "{} turns for nothing: {:?} again and again", run.count, done);
    }
}
