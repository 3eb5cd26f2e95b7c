//! When a server hears of a client and what it learns of it: what the config says of that at each
//! moment, and what must hold of every client by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis::base::{OpKind, Operation, ServerId, Side};
use portcullis::config::{AllDown, ConnectWhen, Forwarding, SendProxy, Sniff, Tlv, Unmatched};
use portcullis::conn::Reason;
use portcullis::ring::{ConnIndex, Token};
use portcullis::topology::Topology;
use portcullis::wire::Ends;

use crate::border::address_of;
use crate::fault::Fault;
use crate::heading::{Expected, Heading};
use crate::hellos;
use crate::link::Link;
use crate::mutation::Mutation;
use crate::peer::Step;
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::{Knock, Scenario, Steer};
use crate::world::{Change, POOLS, number_of};

/// How long a header or the end of a silence may take beyond its time, by the clock of patience.
const SLACK_MILLIS: u64 = 3000;

/// How servers are told of clients.
#[derive(Clone, Debug, Default)]
pub struct Tellings {
    /// By upstream, from the start.
    pub pools: [Forwarding; 2],
    /// What a change may make of one.
    pub later: Vec<Forwarding>,
    /// How many clients a worker reads at once where no listener asks for that.
    pub places: usize,
}

impl Tellings {
    /// What workers are told instead.
    pub fn broken(mutation: Mutation, mut way: Forwarding) -> Forwarding {
        match mutation {
            Mutation::ForgetsHeader => way.send_proxy = SendProxy::Off,
            Mutation::InventsHeader if way.send_proxy == SendProxy::Off => {
                way.send_proxy = SendProxy::V1;
            }
            Mutation::ConnectsEarly => way.connect = ConnectWhen::Eager,
            Mutation::ForgetsSilent => way.lazy_wait = way.lazy_wait.map(|wait| wait * 1000),
            _ => {}
        }
        way
    }
}

fn is_drawn(seed: u64) -> bool {
    [5, 8, 9, 12, 16].contains(&(seed % 19))
}

/// Drawn apart, and not in the runs of `regressions`.
pub fn tellings(seed: u64, hellos: bool) -> Tellings {
    if !is_drawn(seed) {
        return Tellings { places: if hellos { 2 } else { 0 }, ..Tellings::default() };
    }
    let mut random = Random::new(seed.rotate_left(44));
    let mut way = |_| {
        let mut way = way(&mut random);
        // Whether a hello is read may change while it is.
        way.send_proxy_tlvs.retain(|tlv| !hellos || *tlv != Tlv::Authority);
        way
    };
    let (pools, later) = ([0, 1].map(&mut way), (0..3).map(way).collect());
    Tellings { pools, later, places: random.pick(&[1, 2, 100]) }
}

fn way(random: &mut Random) -> Forwarding {
    let send_proxy =
        random.pick(&[SendProxy::Off, SendProxy::V1, SendProxy::V2, SendProxy::V2, SendProxy::V2]);
    let fields = [Tlv::Received, Tlv::Authority, Tlv::UniqueId, Tlv::Crc32c];
    let is_lazy = random.percent(50);
    let wait = random.pick(&[1, 40, 300]);
    let lazy_wait = (is_lazy && random.percent(50)).then(|| Duration::from_millis(wait));
    let asked = fields.into_iter().filter(|_| random.percent(50)).collect();
    Forwarding {
        send_proxy,
        send_proxy_tlvs: if send_proxy == SendProxy::V2 { asked } else { Vec::new() },
        connect: if is_lazy { ConnectWhen::Lazy } else { ConnectWhen::Eager },
        lazy_wait,
    }
}

/// When that changes.
pub fn changes(seed: u64) -> Vec<(u64, Steer)> {
    let mut random = Random::new(!seed.rotate_left(44));
    let count = if is_drawn(seed) && random.percent(40) { random.between(1, 4) } else { 0 };
    let one = |_| {
        let (pool, later) = (random.below(2) as usize, random.below(3) as usize);
        (random.between(0, 1000), Steer::Change(Change::Retell(pool, later)))
    };
    (0..count).map(one).collect()
}

/// Some clients say little or nothing, and end there.
pub fn cut_short(seed: u64, knocks: &mut [Knock]) {
    let mut random = Random::new(seed.rotate_left(4));
    for knock in knocks.iter_mut().filter(|_| is_drawn(seed)) {
        if random.percent(40) {
            knock.peer.script = cut(&mut random).into();
        }
    }
}

/// A script that ends after a few bytes.
fn cut(random: &mut Random) -> Vec<Step> {
    let mut steps = Vec::new();
    if random.percent(50) {
        steps.push(Step::Pause(random.between(1, 400)));
    }
    let most = random.pick(&[2, 12, 70]);
    match random.below(most) {
        0 => {}
        bytes => steps.push(Step::Send(bytes)),
    }
    if random.percent(50) {
        steps.push(Step::Pause(random.pick(&[1, 30, 900])));
    }
    let ends: [&[Step]; 3] =
        [&[Step::Fin, Step::AwaitEnd, Step::Close], &[Step::Rst], &[Step::Close]];
    steps.extend(ends[random.below(3) as usize]);
    steps
}

/// The config at one moment.
#[derive(Clone, Debug, Default)]
pub struct Version {
    listeners: BTreeSet<usize>,
    /// What they read, and whether they refuse clients without a route by it.
    sniffs: BTreeMap<usize, (Sniff, bool)>,
    /// By listener and upstream: what holds for clients of the one that go to the other.
    ways: BTreeMap<(usize, usize), Forwarding>,
}

/// What a ring knows of how its servers are told of clients.
#[derive(Debug, Default)]
pub struct Telling {
    pools: [Forwarding; 2],
    /// What a change may make of one.
    pub later: Vec<Forwarding>,
    /// From the start until now.
    versions: Vec<Version>,
    /// By server: its upstream.
    servers: BTreeMap<ServerId, usize>,
    /// By listener: where its next client goes.
    mains: BTreeMap<usize, usize>,
    /// By client link.
    pub clients: BTreeMap<usize, Told>,
    /// By unique id: its client link.
    ids: BTreeMap<Vec<u8>, usize>,
}

/// What a client came to.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Where its listener's clients went at its accept.
    main: Option<usize>,
    /// Its first moment, and the version then.
    began: Option<(u64, usize)>,
    /// The same by the clock of patience.
    patient: u64,
    /// How many sockets were opened for it.
    pub opened: u32,
}

impl Telling {
    /// The upstream of a server.
    pub fn pool_of(&self, server: ServerId) -> usize {
        self.servers[&server]
    }

    /// How upstreams are told of clients after a change.
    pub fn after(&self, change: Change) -> [Forwarding; 2] {
        let mut pools = self.pools.clone();
        if let Change::Retell(pool, nth) = change {
            pools[pool] = self.later[nth].clone();
        }
        pools
    }

    /// The topology is another, or was told otherwise.
    pub fn adopt(&mut self, topology: &Topology, pools: &[Forwarding; 2]) {
        self.pools = pools.clone();
        let pool_of = |name: &str| POOLS.iter().position(|pool| *pool == name);
        for (id, server) in topology.servers.iter() {
            let pool = pool_of(&topology.upstreams[server.upstream].name);
            self.servers.insert(id, pool.expect("only these have servers"));
        }
        let ways = self.versions.last().map(|last| last.ways.clone()).unwrap_or_default();
        let mut version = Version { ways, ..Version::default() };
        for (id, one) in topology.listeners.iter() {
            let listener = number_of(&one.name);
            version.listeners.insert(listener);
            let refuses = one.sniffing.unmatched == Unmatched::Refuse;
            version.sniffs.insert(listener, (one.sniffing.sniff, refuses));
            for (route, its) in topology.routes.iter().filter(|(_, its)| its.listener == id) {
                let Some(pool) = pool_of(&topology.upstreams[its.upstream].name) else { continue };
                version.ways.insert((listener, pool), self.pools[pool].clone());
                if one.route == route {
                    self.mains.insert(listener, pool);
                }
            }
        }
        self.versions.push(version);
    }
}

impl SimRing {
    /// The worker sees a client.
    pub fn note_client(&mut self, client: usize) {
        let main = self.telling.mains.get(&self.origin[&client]).copied();
        let told = Told { main, began: None, patient: self.patient, opened: 0 };
        self.telling.clients.insert(client, told);
    }

    /// An operation starts: perhaps its client's first, perhaps on the way to a server.
    pub fn check_telling(&mut self, token: Token, operation: Operation) {
        let Some(client) = self.link_at(token.conn, Side::Client) else { return };
        let now = self.now();
        let Some(told) = self.telling.clients.get_mut(&client) else { return };
        let version = self.telling.versions.len() - 1;
        told.began.get_or_insert((now, version));
        match operation {
            Operation::Open(server, _) => {
                told.opened += 1;
                let is_shaking =
                    |link: &Link| link.secure.as_ref().is_some_and(|it| !it.has_shaken());
                let link = &self.links[client];
                assert!(
                    !is_shaking(link),
                    "a server is asked for client {client} in its handshake"
                );
                self.check_open(client, self.telling.servers[&server]);
            }
            Operation::Receive if token.side == Side::Client && told.opened == 0 => {
                let is_read = self.preface_of(client).is_some();
                if !is_read && self.may_be(client, |way| way.connect == ConnectWhen::Lazy) {
                    self.faults.note(Fault::SpokeAndEnded);
                }
            }
            _ => {}
        }
    }

    /// What may hold for a client that goes to this upstream: by its first moment, or if it is read
    /// by any from there on.
    fn ways(&self, client: usize, pool: usize) -> Vec<&Forwarding> {
        let Some(Told { began: Some((_, from)), .. }) = self.telling.clients.get(&client) else {
            return Vec::new();
        };
        let is_fixed = self.preface_of(client).is_none() && !self.meets(client);
        let versions = self.telling.versions[*from..].iter();
        let versions = versions.take(if is_fixed { 1 } else { usize::MAX });
        versions.filter_map(|one| one.ways.get(&(self.origin[&client], pool))).collect()
    }

    /// Whether this may hold for a client, wherever it goes.
    fn may_be(&self, client: usize, is: impl Fn(&Forwarding) -> bool) -> bool {
        [0, 1].iter().any(|&pool| self.ways(client, pool).into_iter().any(&is))
    }

    /// A client may end without a word of the gateway's.
    pub fn may_leave(&self, client: usize) -> bool {
        let link = &self.links[client];
        let is_read = self.preface_of(client).is_some() || self.says_hello(client);
        let is_read = is_read && link.sent_bytes == 0;
        let is_lazy = self.may_be(client, |way| way.connect == ConnectWhen::Lazy);
        let is_silent = is_lazy && link.sent_bytes <= self.taken_of(client);
        link.fin_in && (is_read || is_silent)
    }

    fn check_open(&mut self, client: usize, pool: usize) {
        let told = self.telling.clients[&client];
        let listener = self.origin[&client];
        let (began, from) = told.began.expect("it has just begun, or before");
        let main = told.main.expect("only its clients go to servers");
        if self.says_hello(client) {
            let names = |sniff: Sniff| self.says_name(client, sniff);
            let sniffs = |one: &Version| one.sniff_of(listener).is_some_and(names);
            let versions = &self.telling.versions[from..];
            let was_closed = self.telling.was_closed(listener, from);
            let is_read = versions.iter().all(sniffs) && !was_closed;
            self.check_begin(client, versions, was_closed);
            let may_be_read = versions.iter().any(sniffs) && hellos::asks(self.links[client].key);
            let may_be_main = !is_read || !hellos::asks(self.links[client].key);
            let is_right = pool == main && may_be_main || pool == 1 && may_be_read;
            assert!(is_right, "client {client} goes to servers of another route than its hello's");
            if pool != main {
                self.faults.note(Fault::ReroutedByHello);
            }
        } else if self.asks_for_route(client) {
            let is_other = pool == 1 || self.telling.was_closed(listener, from);
            assert!(is_other, "client {client} goes to servers of another route than its name's");
            if pool != main {
                self.faults.note(Fault::Rerouted);
            }
        } else {
            assert!(pool == main, "client {client} goes to servers of another route than its own");
        }
        let ways = self.ways(client, pool);
        let is_lazy = ways.iter().all(|way| way.connect == ConnectWhen::Lazy);
        let link = &self.links[client];
        if !is_lazy || link.woken || link.sent_bytes > self.taken_of(client) {
            return;
        }
        let waits = self.telling.versions[from..].iter();
        let waits = waits.filter_map(|one| one.ways.get(&(listener, pool))?.lazy_wait);
        let is_over = waits.min().is_some_and(|wait| self.now() >= began + wait.as_millis() as u64);
        assert!(is_over, "a server is asked for client {client} before its first byte");
        self.faults.note(Fault::SilenceOver);
    }

    /// What the server gets before the bytes of this client, to which it is connected.
    pub fn heading_for(&self, client: usize, server: ServerId) -> Heading {
        let pool = self.telling.servers[&server];
        let ways = self.ways(client, pool);
        let is_headed = |way: &&Forwarding| way.send_proxy != SendProxy::Off;
        let all = ways.iter().all(is_headed);
        let is_headed = (all == ways.iter().any(is_headed)).then_some(all);
        let from = self.telling.clients[&client].began.map_or(0, |(_, from)| from);
        let versions = self.telling.versions[from..].iter();
        let ways = versions.filter_map(|one| one.ways.get(&(self.origin[&client], pool))).cloned();
        let told = self.told_of(client);
        let own = address_of(client);
        let own = own.peer.map(|source| Ends { source, destination: own.local });
        Heading::new(Expected {
            is_headed,
            ways: ways.collect(),
            ends: told.as_ref().and_then(|told| told.ends).or(own),
            may_lack: self.links[client].unnamed
                && told.as_ref().is_none_or(|it| it.ends.is_none()),
            field: told.as_ref().and_then(|told| told.field.clone()),
            name: told.and_then(|told| told.name.map(String::from)),
            is_asked: self.is_to_ask(client),
        })
    }

    /// Notes what came of the begin of the bytes to a server.
    pub fn note_heading(&mut self, server: usize, was_whole: bool) {
        let heading = &self.links[server].heading;
        if was_whole || !heading.is_whole() {
            return;
        }
        let client = self.client_of(server).expect("only a server of somebody's gets a header");
        let is_named = self.told_of(client).is_some_and(|told| told.ends.is_some());
        let noted = [
            (true, Fault::Headed),
            (heading.pieces > 1, Fault::HeadedInPieces),
            (heading.is_joined, Fault::HeadedWithBytes),
            (self.links[client].sent_bytes == 0, Fault::HeadedInSilence),
            (self.telling.clients[&client].opened > 1, Fault::HeadedAfresh),
            (heading.is_unknown, Fault::HeadedUnknown),
            (is_named, Fault::HeadedByPreface),
        ];
        let id = heading.unique_id();
        for (_, fault) in noted.into_iter().filter(|(happened, _)| *happened) {
            self.faults.note(fault);
        }
        let its = id.map(|id| *self.telling.ids.entry(id).or_insert(client));
        assert!(
            its.is_none_or(|its| its == client),
            "the header of server link {server} has the id of another"
        );
    }

    /// Notes what became of silent clients and of headers.
    pub fn note_tellings(&mut self) {
        let clients: Vec<usize> = self.origin.keys().copied().collect();
        for client in clients {
            let joined = self.joined.get(&client);
            if joined.is_some_and(|&server| self.links[server].heading.is_cut()) {
                self.faults.note(Fault::HeadingCut);
            }
            let is_silent = self.links[client].sent_bytes <= self.taken_of(client);
            let is_lazy = self.may_be(client, |way| way.connect == ConnectWhen::Lazy);
            if joined.is_some() || !is_silent || !is_lazy {
                continue;
            }
            let link = &self.links[client];
            let fault = match self.ends.of(client).map(|end| end.reason) {
                Some(Reason::ClientGone) if link.rst_in => Fault::ResetInSilence,
                Some(Reason::ClientGone) => Fault::GoneInSilence,
                Some(Reason::FirstByteTimeout | Reason::IdleTimeout) => Fault::SilentTooLong,
                Some(Reason::Drained | Reason::Stopped | Reason::Killed) => Fault::EndedInSilence,
                _ => continue,
            };
            self.faults.note(fault);
        }
    }

    /// Whether the worker has begun with a client.
    pub fn has_begun(&self, client: usize) -> bool {
        self.telling.clients.get(&client).is_some_and(|told| told.began.is_some())
    }

    /// Its listener may have refused a client that it has no route for.
    pub fn may_refuse(&self, client: usize) -> bool {
        let began = self.telling.clients.get(&client).and_then(|told| told.began);
        let versions = began.map_or(&[][..], |(_, from)| &self.telling.versions[from..]).iter();
        let its = |one: &Version| one.sniffs.get(&self.origin[&client]).copied();
        versions.filter_map(its).any(|(_, refuses)| refuses)
    }

    fn slot_of(&self, client: usize) -> Option<ConnIndex> {
        let slots = &self.slots[Side::Client as usize];
        slots.iter().position(|slot| *slot == Some(client)).map(|slot| ConnIndex(slot as u32))
    }
}

impl Version {
    /// What a listener reads.
    pub fn sniff_of(&self, listener: usize) -> Option<Sniff> {
        self.sniffs.get(&listener).map(|(sniff, _)| *sniff)
    }
}

impl Telling {
    /// Whether a listener was not there at some time since this version.
    fn was_closed(&self, listener: usize, from: usize) -> bool {
        self.versions[from..].iter().any(|one| !one.listeners.contains(&listener))
    }
}

/// Servers and clients for which something is due.
#[derive(Debug, Default)]
pub struct Dues {
    /// By server link: since when its header is, by the clock of patience.
    headings: BTreeMap<usize, u64>,
}

impl Dues {
    /// No server waits for its header, and no silent client for its server.
    pub fn check(&mut self, ring: &mut SimRing, scenario: &Scenario) {
        let joined: Vec<_> =
            ring.joined.iter().map(|(&client, &server)| (client, server)).collect();
        for (client, server) in joined {
            if self.is_due(ring, client, server) {
                let since = *self.headings.entry(server).or_insert(ring.patient);
                let is_late = ring.patient > since + SLACK_MILLIS;
                assert!(!is_late, "server link {server} waits for its header: {}", ring.dump());
            } else {
                self.headings.remove(&server);
            }
        }
        check_silent(ring, scenario);
    }

    fn is_due(&self, ring: &mut SimRing, client: usize, server: usize) -> bool {
        let sides = [&ring.links[client], &ring.links[server]];
        let is_over = sides.iter().any(|link| link.closed || link.rst_in);
        let Some(conn) = ring.slot_of(client) else { return false };
        if is_over || !ring.links[server].heading.is_due() || ring.is_ending(conn) {
            return false;
        }
        let mut own = ring.ops.iter().filter(|op| op.token.conn == conn);
        let is_sent = own.any(|op| op.token.kind == OpKind::Send);
        if !is_sent && !ring.buffers.any_free() {
            ring.faults.note(Fault::HeadedLater);
        }
        !is_sent && ring.buffers.any_free() && !ring.links[client].woken
    }
}

/// A server is asked for a silent client when that has been waited for.
fn check_silent(ring: &SimRing, scenario: &Scenario) {
    let is_bounded = scenario.terms.iter().any(|terms| terms.max_connections.is_some());
    let waits_for_room = is_bounded
        || scenario.all_down != AllDown::TryAll
        || ring.faults.may(Fault::OutOfPorts)
        || ring.faults.may(Fault::NoSourceAddress);
    let queue = if waits_for_room { scenario.timeouts.queue } else { Duration::ZERO };
    for (&client, told) in &ring.telling.clients {
        let link = &ring.links[client];
        let is_mute = link.sent_bytes == 0 && !link.fin_in && !link.rst_in && !link.closed;
        if told.opened > 0 || !is_mute || !link.served {
            continue;
        }
        let is_fixed = ring.preface_of(client).is_none() && !ring.meets(client);
        let (Some((_, from)), Some(main)) = (told.began, told.main) else { continue };
        let versions = ring.telling.versions[from..].iter();
        let waits = versions.map(|one| one.ways.get(&(ring.origin[&client], main))?.lazy_wait);
        let longest = waits.reduce(|one, other| Some(one?.max(other?))).flatten();
        let Some(wait) = longest.filter(|_| is_fixed) else { continue };
        let Some(conn) = ring.slot_of(client) else { continue };
        let most = (wait + queue).as_millis() as u64 + SLACK_MILLIS;
        let is_late = ring.patient > told.patient + most && !ring.is_ending(conn);
        assert!(!is_late, "client {client} is silent, and no server is asked: {}", ring.dump());
    }
}
