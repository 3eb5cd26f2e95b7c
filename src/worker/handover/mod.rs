//! Established connections, from the worker of one process to that of another.
//!
//! `leaving` has the side that gives: it asks connections to depart, lends both their sockets, and
//! sends them in batches with a record each. It keeps its slots until the successor stands on its
//! own (custody), so that at any failure it takes back what nobody else has in hand (`takeback`).
//!
//! `arriving` has the side that takes: it puts sockets into slots, makes connections of the
//! records, and says by a flag of each whether it may have bytes of it in hand. `extras` is what
//! else a successor learns of a connection, `packing` all that goes with its sockets, `brought`
//! what becomes of that, `custody` where it was, `flags` what of it could go back. `pass` is the
//! order in which they go, `way` the line to a worker of the successor with what it has not
//! answered, `bits` what is known of each slot, `rest` those that are left when no client comes any
//! more.

mod arriving;
mod bits;
mod brought;
mod custody;
mod ended;
mod extras;
mod flags;
mod leaving;
mod packing;
mod pass;
mod rest;
mod takeback;
mod way;

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};

use crate::base::{RouteId, ServerId, Side};
use crate::conn::Wiring;
use crate::courier::Link;
use crate::topology::Left;

pub(super) use arriving::Arriving;
pub(super) use leaving::Leaving;

/// Begins departures to a successor.
#[derive(Debug)]
pub struct Depart<S> {
    /// The ways to its workers: one at least.
    pub links: Vec<Box<dyn Link<S>>>,
    /// Where the flags of this worker's slots begin.
    pub flags_at: u64,
    /// They take clients that have no server yet.
    pub takes_unserved: bool,
    /// Where the worker says how far it is.
    pub departures: Arc<Departures>,
}

impl<S> Depart<S> {
    /// The worker leaves already: nothing goes, and nothing is to be taken back.
    pub(super) fn refuse(self) {
        self.departures.is_cut_off.store(true, Relaxed);
        self.departures.is_taken_back.store(true, Relaxed);
    }
}

/// How far the departures of a worker are. The worker writes, the control plane reads.
#[derive(Debug, Default)]
pub struct Departures {
    /// How often every connection was asked.
    pub passes: AtomicU32,
    /// Connections that are here and nowhere else.
    pub left: AtomicU32,
    /// Connections that the successor has taken.
    pub taken: AtomicU32,
    /// How often it would not take one.
    pub refused: AtomicU32,
    /// Nothing is on its way.
    pub is_still: AtomicBool,
    /// What those that are left count for, from `is_shut` on. A worker never waits for it.
    pub rest: Mutex<Left>,
    /// No client is accepted any more, and none comes that the kernel has accepted.
    pub is_shut: AtomicBool,
    /// The other end of a link is gone.
    pub is_cut_off: AtomicBool,
    /// Connections that were lost with the successor, at a takeback.
    pub lost: AtomicU32,
    /// Connections that the successor had, or might have had, and that go on here.
    pub back: AtomicU32,
    /// Connections that ended in the successor.
    pub ended: AtomicU32,
    /// Everything that can go on here does.
    pub is_taken_back: AtomicBool,
}

/// Takes connections of a predecessor in.
#[derive(Debug)]
pub struct Arrive<S> {
    /// The ways from its workers, each with the place where the flags of that worker's slots begin.
    pub links: Vec<(Box<dyn Link<S>>, u64)>,
    /// The size of a record, as the predecessor writes it.
    pub record_bytes: usize,
    /// What its numbers mean here.
    pub numbers: Arc<Numbers>,
    /// Where the worker says how far it is.
    pub arrivals: Arc<Arrivals>,
}

/// How far the arrivals at a worker are. The worker writes, the control plane reads.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Connections that it has taken in.
    pub taken: AtomicU32,
    /// Connections that it could not take.
    pub refused: AtomicU32,
    /// Connections that were taken in and are over.
    pub ended: AtomicU32,
    /// The predecessor has closed a link, or is gone.
    pub is_cut_off: AtomicBool,
    /// All that was on its way has come, since what comes is the worker's to keep.
    pub is_over: AtomicBool,
}

/// What a predecessor's numbers mean in this process; what is not here, this process lacks.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Its routes.
    pub routes: HashMap<u16, RouteId>,
    /// Its servers.
    pub servers: HashMap<u16, ServerId>,
}

/// The side that gets the bytes of another, and the other way round.
fn sink_of(wiring: Wiring, source: Side) -> Side {
    if wiring == Wiring::Pair { source.other() } else { source }
}
