//! Runs in which clients speak TLS to listeners that end it, and servers are spoken to in TLS.
//!
//! They have seeds of their own, so that all others mean what they meant before there were any:
//! `SIM_SEED=$((1 << 40 | 7))` is the seventh.

mod end;
mod judge;
mod material;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis::config::{self, AtLimit};
use portcullis::conn::Wiring;
use portcullis::tls::Loaded;
use portcullis::worker::{TlsCounts, Worker};
use rustls::client::{ClientSessionMemoryCache, Resumption};

use crate::forwarding::Tellings;
use crate::mutant::Mutant;
use crate::mutation::Mutation;
use crate::peer::Step;
use crate::random::{Random, mix};
use crate::ring::SimRing;
use crate::scenario::{Scenario, Steer};
use crate::world::{Change, POOLS, name_of};

use material::Ask;

pub use end::{End, HANDSHAKE, Seen};
pub use judge::{judge, judge_unjoined};
pub use material::Dialect;

/// The seeds of these runs have this bit.
pub const SEEDS: u64 = 1 << 40;

/// Draws what a peer speaks apart from the rest of it.
const DIALECT: u64 = 0x7157;

/// Which parts of a run are in TLS.
#[derive(Clone, Debug)]
pub struct Securing {
    /// By listener.
    pub listeners: Vec<bool>,
    /// By upstream.
    pub pools: [bool; 2],
    /// Whether that of upstreams changes.
    pub changes: bool,
    /// How long a client's handshake may take.
    pub within: Duration,
    /// By how much the wires are wider than others.
    pub width: u64,
    /// What listeners ask their clients for.
    pub asks: Vec<Ask>,
    /// What peers speak beside TLS 1.3 without certificates of clients; `None`: nothing.
    pub kinds: Option<Kinds>,
}

/// Kinds of sessions that are drawn for each peer.
#[derive(Clone, Debug)]
pub struct Kinds {
    /// What clients keep of their sessions. Those of one run share it.
    sessions: Arc<ClientSessionMemoryCache>,
}

/// Whether a run is one of these.
pub fn are_drawn(seed: u64) -> bool {
    seed & SEEDS > 0
}

/// Makes a run one of these.
pub fn obey(seed: u64, scenario: &mut Scenario) {
    if !are_drawn(seed) {
        return;
    }
    let mut random = Random::new(seed.rotate_left(36));
    let listeners: Vec<bool> = scenario.wirings.iter().map(|_| random.percent(80)).collect();
    let pools = [random.percent(50), random.percent(50)];
    let within = Duration::from_millis(random.pick(&[200, 1500, 5000]));
    let width = random.pick(&[1, 8, 100]);
    let asks = vec![Ask::Nothing; listeners.len()];
    let kinds = None;
    scenario.tls = Some(Securing { listeners, pools, changes: false, within, width, asks, kinds });
    (scenario.prefaces, scenario.speech, scenario.keepings) = (None, None, None);
    (scenario.evict, scenario.access) = (None, None);
    if scenario.at_limit == AtLimit::Evict {
        scenario.at_limit = AtLimit::Queue;
    }
    scenario.tellings = Tellings { places: random.pick(&[1, 3, 100]), ..Tellings::default() };
    let shape = &mut scenario.shape;
    shape.buffer_bytes = random.pick(&[64, 256, 1500, 16_384, 20_000]);
    let least = u64::from(shape.buffer_bytes).min(16_384) + 60;
    shape.parked_bytes = least + random.pick(&[0, 30, 500, 40_000]);
    let most = if width < 100 { 600 } else { 40_000 };
    shape.largest_send = random.pick(&[5, 600, 3000, 40_000]).min(most);
    scenario.timeouts.connect = Duration::from_millis(random.pick(&[100, 1000, 6000]));
    let is_of_others = |change: &Change| {
        matches!(change, Change::Reread(..) | Change::Retell(..) | Change::Rekeep(..))
    };
    scenario.steers.retain(|(_, steer)| !matches!(steer, Steer::Change(it) if is_of_others(it)));
    let scale = random.pick(&[1, 1, 10, 100]).min(width);
    for step in scenario.knocks.iter_mut().flat_map(|knock| &mut knock.peer.script) {
        if let Step::Send(bytes) = step {
            *bytes *= scale;
        }
    }
    if random.percent(30) {
        change(&mut random, scenario);
    }
    // In half of the runs; the others mean what they meant before.
    if (seed ^ seed >> 1) & 1 == 0 {
        let tls = scenario.tls.as_mut().expect("it was just drawn");
        tls.asks.iter_mut().for_each(|ask| *ask = random.pick(&Ask::ALL));
        tls.kinds = Some(Kinds { sessions: Arc::new(ClientSessionMemoryCache::new(8)) });
    }
}

/// Upstreams get TLS, or lose it.
fn change(random: &mut Random, scenario: &mut Scenario) {
    scenario.tls.as_mut().expect("it was just drawn").changes = true;
    for _ in 0..random.between(1, 4) {
        let (at, pool) = (random.between(0, 1000), random.below(2) as usize);
        scenario.steers.push_back((at, Steer::Change(Change::Resecure(pool))));
    }
    scenario.steers.make_contiguous().sort_by_key(|(at, _)| *at);
}

/// An upstream gets TLS, or loses it.
pub fn resecure(upstream: &mut config::Upstream) {
    upstream.tls = match upstream.tls {
        Some(_) => None,
        None => Some(material::get().pool.clone()),
    };
}

impl Securing {
    /// What the peer of a link speaks.
    pub fn dialect(&self, key: u64) -> Dialect {
        let mut random = Random::new(mix(key ^ DIALECT));
        match self.kinds {
            Some(_) => Dialect { twelve: random.percent(40), certificate: random.percent(50) },
            None => Dialect::PLAIN,
        }
    }

    /// A client of a listener, if its clients speak TLS.
    pub fn client(&self, key: u64, listener: usize) -> Option<End> {
        let kept = self.kinds.as_ref().map(|kinds| Resumption::store(kinds.sessions.clone()));
        let sessions = kept.unwrap_or_else(Resumption::disabled);
        let (dialect, ask) = (self.dialect(key), self.asks[listener]);
        self.listeners[listener].then(|| End::client(key, dialect, ask, sessions))
    }

    /// What workers have of files.
    pub fn loaded(&self) -> Loaded {
        let material = material::get();
        let listeners = 0..self.listeners.len();
        let loaded = |nth: usize| material.listeners[self.asks[nth] as usize].loaded.clone();
        let listeners = listeners.map(|nth| (name_of(nth), loaded(nth)));
        let upstreams = (0..2).map(|pool| (POOLS[pool].to_owned(), material.of_pool.clone()));
        let (listeners, upstreams): (BTreeMap<_, _>, BTreeMap<_, Arc<_>>) =
            (listeners.collect(), upstreams.collect());
        Loaded { listeners, upstreams, warnings: Vec::new() }
    }

    /// What their config says.
    pub fn write(
        &self,
        listeners: &mut [(config::Listener, bool)],
        upstreams: &mut [config::Upstream],
        mutation: Mutation,
    ) {
        let material = material::get();
        for (nth, (listener, _)) in listeners.iter_mut().enumerate() {
            let is_secured = self.listeners[nth] && mutation != Mutation::ForgetsTls;
            let its = &material.listeners[self.asks[nth] as usize];
            listener.tls = is_secured.then(|| its.config.clone());
            listener.preamble.timeout = self.within;
        }
        for upstream in upstreams {
            let pool = POOLS.iter().position(|pool| *pool == upstream.name);
            let is_secured = pool.is_some_and(|pool| self.pools[pool]);
            let is_secured = is_secured && mutation != Mutation::ForgetsTlsOut;
            upstream.tls = is_secured.then(|| material.pool.clone());
        }
    }
}

impl Scenario {
    /// Whether a listener's clients speak TLS, which may end here.
    pub fn is_secured(&self, listener: usize) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.listeners[listener])
    }

    /// Whether somebody on the way of a listener's bytes may speak TLS.
    pub fn is_any_secured(&self, listener: usize) -> bool {
        let is_pair = self.wirings[listener] == Wiring::Pair;
        let pools = self.tls.as_ref().is_some_and(|tls| tls.changes || tls.pools.contains(&true));
        self.is_secured(listener) || is_pair && pools
    }
}

/// Nothing of TLS is left in a worker whose connections are over.
pub fn check_home(worker: &Worker<Mutant>) {
    let counts = worker.tls_counts();
    assert_eq!(counts, TlsCounts::default(), "sessions did not come home");
}

/// Counts what the peers of a ring did.
pub fn count(ring: &SimRing, sums: &mut [u64]) {
    for link in &ring.links {
        let seen = link.secure.as_ref().map(|end| end.seen(link.server));
        seen.into_iter().flatten().for_each(|seen| sums[seen as usize] += 1);
    }
}
