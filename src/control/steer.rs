//! What operators change while the gateway runs: listeners that pause, servers that drain.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};

use super::LOOK;
use super::view::{Stage, View};
use crate::query::{server_title, split_server};
use crate::upstream::Servers;
use crate::worker::Order;

/// How long an answer waits for the workers to carry a change out; then it says that they have not.
const PATIENCE: Duration = Duration::from_secs(2);
/// Names that an error lists.
const NAMES: usize = 20;

/// A listener as an operator sees it.
#[derive(Debug)]
pub struct SteeredListener {
    /// As in the config.
    pub name: String,
    /// Its gates over all workers.
    pub gates: u32,
    /// How many of them a pause keeps still; the workers count.
    pub still: Arc<AtomicU32>,
    paused: AtomicBool,
}

/// How far a pause or its end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// Clients are let in.
    Open,
    /// No client will be let in once every worker has heard of it.
    Pausing,
    /// Clients wait in the backlog.
    Paused,
    /// Clients are let in again by the workers that have heard of it.
    Resuming,
}

impl Accepting {
    /// The word for answers.
    pub fn word(self) -> &'static str {
        match self {
            Accepting::Open => "open",
            Accepting::Pausing => "pausing",
            Accepting::Paused => "paused",
            Accepting::Resuming => "resuming",
        }
    }
}

impl SteeredListener {
    /// A listener that is open.
    pub fn new(name: String, gates: u32, still: Arc<AtomicU32>) -> SteeredListener {
        SteeredListener { name, gates, still, paused: AtomicBool::new(false) }
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

/// An upstream that has servers.
#[derive(Debug)]
pub struct SteeredUpstream {
    /// As in the config.
    pub name: String,
    /// Names of its servers.
    pub names: Vec<String>,
    /// Their counts and weights, which the workers share.
    pub servers: Servers,
}

/// A server, found.
#[derive(Clone, Copy, Debug)]
pub struct SteeredServer<'s> {
    upstream: &'s SteeredUpstream,
    index: usize,
}

impl SteeredServer<'_> {
    /// Its share of new connections; 0: it drains.
    pub fn weight(&self) -> u32 {
        self.upstream.servers.weight(self.index)
    }

    /// Connections to it.
    pub fn open(&self) -> u32 {
        self.upstream.servers.open(self.index)
    }
}

/// What is to become of a server's share of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// None.
    Drain,
    /// What it had before it drained.
    Ready,
    /// This weight.
    Weight(u32),
}

/// Everything that can be steered. A restart forgets what was done with it.
#[derive(Debug, Default)]
pub struct Steering {
    /// In the order of the config.
    pub listeners: Vec<SteeredListener>,
    /// In the order of the config, without the builtin ones.
    pub upstreams: Vec<SteeredUpstream>,
    /// One change at a time.
    turn: Mutex<()>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SteerError {
    /// There is nothing of that name.
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// By which name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The gateway is about to end, and serves everybody until then.
    Draining,
}

impl fmt::Display for SteerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SteerError::Unknown { what, name, known } if known.is_empty() => {
                write!(out, "there is no {what} {name:?}; this gateway has none")
            }
            SteerError::Unknown { what, name, known } => {
                let more = known.len().saturating_sub(NAMES);
                let names = known[..known.len() - more].join(", ");
                write!(out, "there is no {what} {name:?}; this gateway has {names}")?;
                if more > 0 { write!(out, " and {more} more") } else { Ok(()) }
            }
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
    pub fn new(listeners: Vec<SteeredListener>, upstreams: Vec<SteeredUpstream>) -> Steering {
        Steering { listeners, upstreams, turn: Mutex::default() }
    }

    /// Whether the listener of this index lets its clients wait.
    pub fn is_paused(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|one| one.paused.load(Ordering::SeqCst))
    }

    /// The share of new connections that a server gets.
    pub fn weight(&self, upstream: &str, server: usize) -> u64 {
        let upstream = self.upstreams.iter().find(|one| one.name == upstream);
        upstream.map_or(0, |one| one.servers.weight(server).into())
    }

    fn listener(&self, name: &str) -> Result<usize, SteerError> {
        self.listeners.iter().position(|listener| listener.name == name).ok_or_else(|| {
            let known = self.listeners.iter().map(|listener| listener.name.clone()).collect();
            SteerError::Unknown { what: "listener", name: name.to_owned(), known }
        })
    }

    /// A server by `UPSTREAM/NAME`.
    fn server(&self, name: &str) -> Result<SteeredServer<'_>, SteerError> {
        let (upstream, server) = split_server(name);
        let upstream = self.upstreams.iter().find(|one| one.name == upstream);
        let found = upstream.and_then(|upstream| {
            let index = upstream.names.iter().position(|name| Some(&**name) == server)?;
            Some(SteeredServer { upstream, index })
        });
        found.ok_or_else(|| {
            let names = |one: &SteeredUpstream| -> Vec<String> {
                one.names.iter().map(|server| server_title(&one.name, Some(server))).collect()
            };
            let known = self.upstreams.iter().flat_map(names).collect();
            SteerError::Unknown { what: "server", name: name.to_owned(), known }
        })
    }
}

impl View {
    /// Pauses a listener or resumes it, and says how it stands then.
    ///
    /// # Errors
    /// When there is none of that name, or the gateway drains.
    pub async fn set_paused(&self, name: &str, paused: bool) -> Result<Accepting, SteerError> {
        let (steering, _turn) = self.begin_change().await?;
        let index = steering.listener(name)?;
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
        let _ = timeout(PATIENCE, carried_out).await;
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
        let server = steering.server(name)?;
        let SteeredUpstream { servers, .. } = server.upstream;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Balance;

    fn steering() -> Steering {
        let names: Vec<String> = (0..25).map(|n| format!("s{n}")).collect();
        let servers = Servers::new(Balance::RoundRobin, vec![1; names.len()]);
        let upstream = SteeredUpstream { name: "app".to_owned(), names, servers };
        let listener = SteeredListener::new("edge".to_owned(), 4, Arc::default());
        Steering::new(vec![listener], vec![upstream])
    }

    #[test]
    fn an_unknown_name_is_answered_by_those_that_there_are() {
        let steering = steering();
        let words = steering.listener("egde").expect_err("a slip").to_string();
        assert_eq!(words, "there is no listener \"egde\"; this gateway has edge");
        for wrong in ["app/s25", "s1", "other/s1", "app", "/", ""] {
            let words = steering.server(wrong).expect_err(wrong).to_string();
            assert!(words.contains("; this gateway has app/s0, app/s1, "), "{words}");
            assert!(words.ends_with("app/s19 and 5 more"), "{words}");
        }
        assert_eq!(steering.server("app/s7").expect("it is there").index, 7);
        let nothing = Steering::default().server("a/b").expect_err("none").to_string();
        assert_eq!(nothing, "there is no server \"a/b\"; this gateway has none");
    }

    #[test]
    fn a_listener_is_paused_when_every_gate_is_still() {
        let steering = steering();
        let listener = &steering.listeners[0];
        let stands = |paused: bool, still| {
            listener.paused.store(paused, Ordering::SeqCst);
            listener.still.store(still, Ordering::SeqCst);
            listener.accepting().word()
        };
        let all = [stands(false, 0), stands(true, 3), stands(true, 4), stands(false, 1)];
        assert_eq!(all, ["open", "pausing", "paused", "resuming"]);
    }
}
