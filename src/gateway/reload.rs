//! The gateway's own part of a reload: the file, the passive sockets, their locks.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::assemble;
use super::departure::Departure;
use super::held::Held;
use super::host::Host;
use super::sockets;
use crate::base::Clock;
use crate::config::{Config, ConfigSource, Listener, Place, SocketOptions};
use crate::control::{Ground, Passive, Unread};
use crate::doctor::lacks_beside_binds;
use crate::listener::{Decoys, stop_syns};
use crate::ring::{AcceptQueue, PassiveSocket, require_batches};
use crate::topology::GateSpec;

/// The file and the sockets of a gateway that runs.
#[derive(Debug)]
pub(super) struct Grounds {
    /// With the absolute path of its file.
    source: ConfigSource,
    pub(super) host: Host,
    clock: Clock,
    held: Vec<Held>,
    next: Option<Next>,
    /// By change: sockets that are given up and that a worker may still have.
    going: Vec<Going>,
    /// Of a drain. Dropped after the sockets.
    departure: Departure,
}

/// A change that is prepared.
#[derive(Debug)]
struct Next {
    /// What is held afterwards.
    held: Vec<Held>,
    /// By listener.
    options: HashMap<String, SocketOptions>,
    going: Going,
}

/// Sockets that are given up.
#[derive(Debug)]
struct Going {
    held: Vec<Held>,
    /// What keeps clients from there; dropped after the sockets.
    decoys: Vec<Decoys>,
}

impl Going {
    /// Those that no other process has.
    fn own(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|one| !one.inherited)
    }

    /// Whether a worker, or a view of the topology, has any of them.
    fn is_in_use(&self) -> bool {
        let mut sockets = self.held.iter().flat_map(|one| &one.sockets);
        sockets.any(|socket| Arc::strong_count(socket) > 1)
    }
}

impl Grounds {
    pub(super) fn new(source: ConfigSource, host: Host, clock: Clock, held: Vec<Held>) -> Grounds {
        Grounds {
            source,
            host,
            clock,
            held,
            next: None,
            going: Vec::new(),
            departure: Departure::default(),
        }
    }

    /// What it listens on.
    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    /// The passive sockets of a listener's address: as they are, or new ones beside those that are
    /// new already.
    fn get(
        &self,
        listener: &Listener,
        asked: SocketAddr,
        new: &[Held],
    ) -> Result<Vec<Held>, String> {
        let is_it = |held: &&Held| is_for(held, listener, asked);
        let mut found: Vec<Held> = self.held.iter().filter(is_it).cloned().collect();
        for held in &mut found {
            held.listener.clone_from(&listener.name);
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let ours: Vec<&Held> = self.held.iter().chain(new).collect();
        let made = sockets::bind_one(listener, asked, &self.host, &ours);
        made.map(|held| vec![held]).map_err(|error| error.to_string())
    }
}

impl Ground for Grounds {
    fn source(&self) -> ConfigSource {
        self.source.clone()
    }

    fn file(&self) -> String {
        self.source.path().map_or_else(|| "no file".to_owned(), |path| path.display().to_string())
    }

    fn read(&self) -> Result<Config, Unread> {
        match self.source.place {
            Place::Embedded => Err(Unread::NoFile),
            Place::Input(_) => Err(Unread::Input),
            Place::Default | Place::File(_) => self.source.load().map_err(Unread::Wrong),
        }
    }

    fn prepare(&mut self, config: &Config) -> Result<Vec<(GateSpec, PassiveSocket)>, String> {
        let lacks = lacks_beside_binds(config);
        if let Some(lack) = lacks.first() {
            return Err(lack.to_string());
        }
        match config.ring.batch_wait {
            Some(_) if self.host.is_over_epoll() => {
                tracing::warn!("ring.batch_wait is without effect over epoll: remove it");
            }
            Some(_) => require_batches().map_err(|error| error.to_string())?,
            None => {}
        }
        let mut held: Vec<Held> = Vec::new();
        for listener in &config.listeners {
            for asked in &listener.bind {
                held.extend(self.get(listener, *asked, &held)?);
            }
        }
        let stays = |one: &Held| held.iter().any(|next| is_same(one, next));
        let gone = self.held.iter().filter(|one| !stays(one)).cloned().collect();
        let going = Going { held: gone, decoys: Vec::new() };
        let gates = assemble::gates(&held).collect();
        let options = config.listeners.iter().map(|one| (one.name.clone(), one.sockets.clone()));
        let options = options.collect();
        self.next = Some(Next { held, options, going });
        Ok(gates)
    }

    fn stop_clients(&mut self) -> Option<u32> {
        let going = &mut self.next.as_mut()?.going;
        going.own().next()?;
        if going.decoys.is_empty() {
            going.decoys = turn_away(going.own());
        }
        let sockets = going.own().flat_map(|one| &one.sockets);
        let queues = sockets.filter_map(|socket| AcceptQueue::of(socket).ok());
        Some(queues.map(|queue| queue.waiting).sum())
    }

    fn commit(&mut self) {
        let Some(Next { held, options, going }) = self.next.take() else { return };
        for one in &held {
            if let Some(options) = options.get(&one.listener) {
                one.set_options(options);
            }
        }
        self.held = held;
        self.going.push(going);
    }

    fn has_let_go(&mut self) -> bool {
        self.going.retain(Going::is_in_use);
        self.going.is_empty()
    }

    fn abandon(&mut self) {
        self.next = None;
    }

    fn say_draining(&mut self, drain: Option<(Duration, u64)>) {
        match drain {
            Some((within, connections)) => {
                let addresses = self.held.iter().map(|one| one.address).collect();
                let until = self.clock.calendar() + within;
                self.departure.announce(addresses, until, connections);
            }
            None => self.departure.withdraw(),
        }
    }

    fn turn_clients_away(&mut self) {
        self.departure.turn_away(turn_away(self.held.iter().filter(|one| !one.inherited)));
    }

    fn say_left(&mut self, connections: u64) {
        self.departure.say_left(connections);
    }

    fn is_awaited(&self) -> bool {
        self.departure.is_awaited()
    }

    fn clients_wait(&self) -> bool {
        self.held.iter().any(|one| one.waiting() > 0)
    }

    fn let_go(&mut self) {
        self.held.iter_mut().for_each(Held::let_go);
        self.going.iter_mut().flat_map(|going| &mut going.held).for_each(Held::let_go);
        self.departure.say_let_go();
    }

    fn is_succeeded(&mut self) -> bool {
        self.departure.is_succeeded()
    }

    fn passive(&self) -> io::Result<Vec<Passive>> {
        self.held.iter().map(Held::passive).collect()
    }

    fn sign_locks(&self) {
        self.held.iter().for_each(Held::sign_lock);
    }

    fn let_clients_in(&mut self) {
        // Without a decoy, SYNs come to the passive sockets again.
        self.departure.turn_away(Vec::new());
    }
}

/// Whether what is held is what a listener asks for.
fn is_for(held: &Held, listener: &Listener, asked: SocketAddr) -> bool {
    // What has port 0 is another address for each listener.
    held.asked == asked && (asked.port() != 0 || held.listener == listener.name)
}

/// Whether both have the same sockets.
fn is_same(one: &Held, other: &Held) -> bool {
    let pairs = || one.sockets.iter().zip(&other.sockets);
    one.sockets.len() == other.sockets.len() && pairs().all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Has no client come to these sockets, which nobody else has. What comes back is to be dropped
/// after them.
fn turn_away<'a>(held: impl Iterator<Item = &'a Held>) -> Vec<Decoys> {
    let decoys = held.filter_map(|one| {
        let refused = |error| {
            tracing::warn!(
                %error,
                "SYNs cannot be dropped; clients that come late may be reset by the drain's end"
            );
        };
        stop_syns(one.address, &one.sockets).map_err(refused).ok()
    });
    decoys.collect()
}
