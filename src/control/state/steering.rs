//! The state that operators change: listeners that pause, servers that drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use crate::api::steer::Accepting;
use crate::upstream::Servers;

/// A listener as an operator sees it.
#[derive(Debug)]
pub struct SteeredListener {
    /// Its gates over all workers.
    pub gates: u32,
    /// How many of them a pause keeps still; the workers count.
    pub still: Arc<AtomicU32>,
    paused: AtomicBool,
}

impl SteeredListener {
    /// A listener that is open.
    pub fn new(gates: u32, still: Arc<AtomicU32>) -> SteeredListener {
        SteeredListener { gates, still, paused: AtomicBool::new(false) }
    }

    /// Notes a pause or its end; whether that is a change. The workers are told by the caller.
    pub(in crate::control) fn set_paused(&self, paused: bool) -> bool {
        self.paused.swap(paused, Ordering::SeqCst) != paused
    }

    /// How it stands.
    pub fn accepting(&self) -> Accepting {
        let still = self.still.load(Ordering::SeqCst);
        match self.paused.load(Ordering::SeqCst) {
            true if still == self.gates => Accepting::Paused,
            true => Accepting::Pausing,
            false if still > 0 => Accepting::Resuming,
            false => Accepting::Open,
        }
    }
}

/// Everything that can be steered. A restart forgets what was done with it.
#[derive(Debug, Default)]
pub struct Steering {
    /// In the order of the config.
    pub listeners: Vec<SteeredListener>,
    /// Counts and weights of each upstream's servers, which the workers share, in the order of the
    /// config; a builtin has none.
    pub upstreams: Vec<Option<Servers>>,
    /// One change at a time.
    change: Mutex<()>,
}

impl Steering {
    /// What a gateway has.
    pub fn new(listeners: Vec<SteeredListener>, upstreams: Vec<Option<Servers>>) -> Steering {
        Steering { listeners, upstreams, change: Mutex::default() }
    }

    /// Waits until no other change is under way.
    pub(in crate::control) async fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().await
    }

    /// Whether the listener of this index lets its clients wait.
    pub fn is_paused(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|one| one.paused.load(Ordering::SeqCst))
    }

    /// The share of new connections that a server gets, by the indices of its upstream and its own.
    pub fn weight(&self, upstream: usize, server: usize) -> u64 {
        let servers = self.upstreams.get(upstream).and_then(Option::as_ref);
        servers.map_or(0, |servers| servers.weight(server).into())
    }
}

#[test]
fn a_listener_is_paused_when_every_gate_is_still() {
    let listener = SteeredListener::new(4, Arc::default());
    let stands = |paused: bool, still| {
        listener.paused.store(paused, Ordering::SeqCst);
        listener.still.store(still, Ordering::SeqCst);
        listener.accepting().word()
    };
    let all = [stands(false, 0), stands(true, 3), stands(true, 4), stands(false, 1)];
    assert_eq!(all, ["open", "pausing", "paused", "resuming"]);
}
