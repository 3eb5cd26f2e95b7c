//! What operators change while the gateway runs: listeners that pause, servers that drain.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};

use super::LOOK;
use super::view::{Stage, View};
use crate::api::patience;
use crate::api::steer::{Accepting, Share};
use crate::query::QueryError;
use crate::upstream::Servers;
use crate::worker::Order;

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

/// A server, found.
#[derive(Clone, Copy, Debug)]
pub struct SteeredServer<'s> {
    servers: &'s Servers,
    index: usize,
}

impl SteeredServer<'_> {
    /// Its share of new connections; 0: it drains.
    pub fn weight(&self) -> u32 {
        self.servers.weight(self.index)
    }

    /// Connections to it.
    pub fn open(&self) -> u32 {
        self.servers.open(self.index)
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
    turn: Mutex<()>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SteerError {
    /// There is nothing of that name.
    Unknown(QueryError),
    /// The gateway is about to end, and serves everybody until then.
    Draining,
}

impl fmt::Display for SteerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SteerError::Unknown(error) => write!(out, "{error}"),
            SteerError::Draining => write!(
                out,
                "the gateway drains and takes no such order; it serves whom it has until it ends: \
                 say it to the one that comes after it"
            ),
        }
    }
}

impl std::error::Error for SteerError {}

impl Steering {
    /// What a gateway has.
    pub fn new(listeners: Vec<SteeredListener>, upstreams: Vec<Option<Servers>>) -> Steering {
        Steering { listeners, upstreams, turn: Mutex::default() }
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

impl View {
    /// Pauses a listener or resumes it, and says how it stands then.
    ///
    /// # Errors
    /// When there is none of that name, or the gateway drains.
    pub async fn set_paused(&self, name: &str, paused: bool) -> Result<Accepting, SteerError> {
        let (steering, _turn) = self.begin_change().await?;
        let index = usize::from(self.names().listener(name).map_err(SteerError::Unknown)?);
        let listener = &steering.listeners[index];
        if listener.paused.swap(paused, Ordering::SeqCst) != paused {
            let order = if paused { Order::Pause } else { Order::Resume };
            self.workers().iter().for_each(|worker| worker.order(order(index)));
            match paused {
                true => tracing::info!(listener = name, "paused; its clients wait in the backlog"),
                false => tracing::info!(listener = name, "resumed"),
            }
        }
        let carried_out = async {
            while !matches!(listener.accepting(), Accepting::Open | Accepting::Paused) {
                sleep(LOOK).await;
            }
        };
        // Whether they have is in the answer.
        let _ = timeout(patience::CHANGE, carried_out).await;
        Ok(listener.accepting())
    }

    /// Changes what share of new connections a server gets. Connections that it has stay.
    ///
    /// # Errors
    /// When there is none of that name, or the gateway drains.
    pub async fn set_share(
        &self,
        name: &str,
        share: Share,
    ) -> Result<SteeredServer<'_>, SteerError> {
        let (steering, _turn) = self.begin_change().await?;
        let (upstream, index) = self.names().server(name).map_err(SteerError::Unknown)?;
        let servers = steering.upstreams[usize::from(upstream)].as_ref();
        let servers = servers.expect("an upstream with a server's name is no builtin");
        let server = SteeredServer { servers, index: index.into() };
        let before = server.weight();
        match share {
            Share::Drain => servers.set_weight(server.index, 0),
            Share::Ready if before > 0 => {}
            Share::Ready => servers.restore_weight(server.index),
            Share::Weight(weight) => servers.set_weight(server.index, weight),
        }
        let (weight, connections) = (server.weight(), server.open());
        match (before, weight) {
            (before, after) if before == after => {}
            (_, 0) => tracing::info!(server = name, connections, "drains: it gets no new ones"),
            _ => tracing::info!(server = name, weight, "gets new connections"),
        }
        Ok(server)
    }

    async fn begin_change(&self) -> Result<(&Steering, MutexGuard<'_, ()>), SteerError> {
        let steering = self.steering();
        let turn = steering.turn.lock().await;
        if self.stage() == Stage::Draining {
            Err(SteerError::Draining)
        } else {
            Ok((steering, turn))
        }
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
