//! A passive socket as admission sees it: its accepts, its bound, its policy.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{GateId, ListenerId};
use crate::budget::{Budget, Waiting};
use crate::config::AtLimit;
use crate::topology;
use crate::topology::{Listener, Topology};

/// How far a pause of a gate's listener has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// There is none.
    No,
    /// Accepts that were armed are being cancelled.
    Begun,
    /// Nothing is armed.
    Still,
}

/// A passive socket and its accepts.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) id: GateId,
    what: Arc<topology::Gate>,
    pub(super) listener: Arc<Listener>,
    /// Accepts that are not retired.
    pub(super) armed: u32,
    /// Their cancel was asked for.
    pub(super) cancelled: bool,
    /// Permits of its quota that lie ready for them.
    pub(super) quota_permits: u32,
    /// The ring tells when a client comes to its queue.
    pub(super) watched: bool,
    /// A client was accepted since the last check for lost accepts.
    pub(super) accepted: bool,
    /// At the last check it had clients in its queue and had accepted none.
    pub(super) suspected: bool,
    /// No accept is armed on it any more: the kernel said that it does not listen.
    pub(super) shut: bool,
    /// We drain, and leave its queue to the process that has it next.
    pub(super) left: bool,
    pub(super) pause: Pause,
    /// The upstream of its clients has no room for more.
    pub(super) held: bool,
    /// The topology no longer has it.
    pub(super) leaving: bool,
}

impl Gate {
    /// A gate of this topology, with nothing armed.
    pub(super) fn new(topology: &Topology, id: GateId) -> Gate {
        let what = topology.gates[id].clone();
        Gate {
            id,
            listener: topology.listeners[what.listener].clone(),
            what,
            armed: 0,
            cancelled: false,
            quota_permits: 0,
            watched: false,
            accepted: false,
            suspected: false,
            shut: false,
            left: false,
            pause: Pause::No,
            held: false,
            leaving: false,
        }
    }

    /// It stays, and is what this topology says. Says whether what is armed may stay, too: it was
    /// armed by the same policy and by a bound that is there still.
    pub(super) fn stay(&mut self, topology: &Topology) -> bool {
        let what = topology.gates[self.id].clone();
        let listener = topology.listeners[what.listener].clone();
        let is_alike = (self.at_limit(), self.quota().is_some())
            == (listener.at_limit, listener.quota.is_some());
        if listener.quota.is_none() {
            self.give_quota_back(self.quota_permits);
        }
        (self.what, self.listener) = (what, listener);
        is_alike && !self.quota().is_some_and(Budget::is_exceeded)
    }

    /// The listener whose clients come here.
    pub(super) fn listener_id(&self) -> ListenerId {
        self.what.listener
    }

    /// The worker that serves it.
    pub(super) fn owner(&self) -> usize {
        self.what.owner.0.into()
    }

    /// Another process has it too.
    pub(super) fn is_inherited(&self) -> bool {
        self.what.inherited
    }

    /// The bound of its listener, if it has one of its own.
    pub(super) fn quota(&self) -> Option<&Budget> {
        self.listener.quota.as_deref()
    }

    /// The policy for clients beyond a limit.
    pub(super) fn at_limit(&self) -> AtLimit {
        self.listener.at_limit
    }

    /// The clients in its queue that wait for an eviction.
    pub(super) fn waiting(&self) -> &Waiting {
        &self.what.waiting
    }

    /// The clients in its queue are counted, and not by the worker that has the same queue.
    pub(super) fn counts_waiting(&self) -> bool {
        self.at_limit() == AtLimit::Evict && self.what.queue_of == self.what.owner
    }

    fn give_quota_back(&mut self, permits: u32) {
        self.quota_permits -= permits;
        if let Some(quota) = self.quota() {
            quota.give_back(permits);
        }
    }

    /// No accept may be armed on it.
    pub(super) fn is_closed(&self) -> bool {
        self.shut || self.left || self.leaving || self.held || self.pause != Pause::No
    }

    /// Its queue was empty, and the ring tells when it no longer is.
    pub(super) fn is_quiet(&self) -> bool {
        self.watched && self.armed == 0
    }

    /// Accepts may lie ready on it whatever any quota has left.
    pub(super) fn is_ready(&self) -> bool {
        self.quota().is_none() && !self.is_closed()
    }

    pub(super) fn pause(&mut self) {
        if self.pause == Pause::No {
            self.pause = Pause::Begun;
        }
    }

    /// Says whether its pause, if there is one, is carried out.
    pub(super) fn settle_pause(&mut self) -> bool {
        if self.pause == Pause::Begun && self.armed == 0 {
            self.pause = Pause::Still;
            self.trim_quota();
            self.listener.still.fetch_add(1, Ordering::SeqCst);
        }
        self.pause != Pause::Begun
    }

    pub(super) fn resume(&mut self) {
        if self.pause == Pause::Still {
            self.listener.still.fetch_sub(1, Ordering::SeqCst);
        }
        self.pause = Pause::No;
    }

    /// Leases from the quota for `wanted` more accepts; says how many it covers.
    pub(super) fn lease_quota(&mut self, wanted: u32) -> u32 {
        let Some(quota) = self.quota() else { return wanted };
        let missing = (self.armed + wanted).saturating_sub(self.quota_permits);
        let leased = quota.lease(missing);
        self.quota_permits += leased;
        self.quota_permits.saturating_sub(self.armed).min(wanted)
    }

    /// Gives back what its accepts do not need.
    pub(super) fn trim_quota(&mut self) {
        self.give_quota_back(self.quota_permits.saturating_sub(self.armed));
    }

    /// How many accepts may lie ready on it by its quota: for each of `workers` a small part of
    /// what is free, so that little lies idle when another gate wants it.
    pub(super) fn quota_share(&self, workers: u32) -> u32 {
        self.quota_left() / (4 * workers)
    }

    /// Whether prearmed accepts may stay. Hysteresis: the first is armed at 4 × workers free, and
    /// they stay down to 2 × workers, so that arming does not bring about its own cancel.
    pub(super) fn keeps_ready(&self, workers: u32) -> bool {
        self.armed > 0 && self.quota_left() >= 2 * workers
    }

    fn quota_left(&self) -> u32 {
        let quota = self.quota().filter(|_| !self.is_closed());
        quota.map_or(0, Budget::free)
    }

    /// An accept is retired.
    pub(super) fn retire(&mut self) {
        self.armed -= 1;
        if self.armed == 0 {
            self.cancelled = false;
            self.trim_quota();
        }
    }

    /// Takes one permit of the quota for a client; false when there is none.
    pub(super) fn take_quota(&mut self) -> bool {
        let Some(quota) = self.quota() else { return true };
        if self.quota_permits > 0 {
            self.quota_permits -= 1;
            return true;
        }
        quota.lease(1) == 1
    }

    /// Whether its listener holds as many clients as it may.
    pub(super) fn quota_is_used_up(&self) -> bool {
        self.quota().is_some_and(Budget::is_used_up)
    }
}
