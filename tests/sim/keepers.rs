//! Who may come to a listener and how many of one source, as the config of a run has it, and what
//! that says of each address.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use portcullis::config::{self, Config, SourceAction};

use crate::mutation::Mutation;
use crate::random::Random;
use crate::scenario::Steer;
use crate::world::Change;

/// Networks of clients: of those that come themselves, and of those that headers name.
const NETWORKS: [&str; 6] =
    ["10.0.0.0/30", "10.0.0.4/31", "10.0.0.8/29", "10.0.0.0/28", "192.0.2.0/25", "192.0.2.64/26"];

/// What a listener asks of its clients' addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    pub access: config::Access,
    pub per_source: Option<config::PerSource>,
}

/// The same of all listeners, and what a change may make of one.
#[derive(Clone, Debug)]
pub struct Keepings {
    /// By listener.
    pub first: Vec<Keeping>,
    pub later: Vec<Keeping>,
    /// No change makes another one of any.
    pub is_steady: bool,
}

/// What a listener says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may not come.
    Denied,
    /// No limit is for it.
    Free,
    /// No limit is for it, though there are some for others.
    Exempt,
    Limited(Limit),
}

/// The limits of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub source: IpNet,
    pub most: Option<u32>,
    /// The time of one connection, and how many may come at once.
    pub rate: Option<(Duration, u32)>,
    pub action: SourceAction,
    pub wait: Duration,
}

/// Whether a run has any. Drawn apart, and not in the runs of `regressions`.
pub fn are_drawn(seed: u64) -> bool {
    [4, 6, 9, 11, 12, 13, 19, 29].contains(&(seed % 31))
}

/// Those of a run, in which clients may send headers.
pub fn keepings(seed: u64, listeners: usize, sends_headers: bool) -> Option<Keepings> {
    let mut random = Random::new(seed.rotate_left(36));
    let mut first: Vec<_> = (0..listeners).map(|_| keeping(&mut random)).collect();
    if sends_headers && seed.is_multiple_of(3) {
        first.iter_mut().for_each(Keeping::crowd);
    }
    are_drawn(seed).then(|| Keepings {
        first,
        later: later(&mut random),
        is_steady: changes(seed, listeners).is_empty(),
    })
}

/// When they change.
pub fn changes(seed: u64, listeners: usize) -> Vec<(u64, Steer)> {
    let mut random = Random::new(!seed.rotate_left(36));
    let count = if are_drawn(seed) && random.percent(50) { random.between(1, 5) } else { 0 };
    let one = |_| {
        let (listener, later) = (random.below(listeners as u64), random.below(3));
        let change = Change::Rekeep(listener as usize, later as usize);
        (random.between(0, 1200), Steer::Change(change))
    };
    (0..count).map(one).collect()
}

/// One of them keeps nobody out.
fn later(random: &mut Random) -> Vec<Keeping> {
    let open = Keeping { access: config::Access::default(), per_source: None };
    vec![keeping(random), keeping(random), open]
}

fn keeping(random: &mut Random) -> Keeping {
    let mut some = |percent: u64| {
        let networks = NETWORKS.iter().filter(|_| random.percent(percent));
        networks.map(|network| format!("\"{network}\"")).collect::<Vec<_>>()
    };
    let (allow, deny, exempt) = (some(15), some(20), some(15));
    // In one of the lists alone.
    let deny: Vec<_> = deny.into_iter().filter(|network| !allow.contains(network)).collect();
    let mut allow = if random.percent(30) { allow } else { Vec::new() };
    if !allow.is_empty() {
        allow.push("\"10.0.0.0/27\"".to_owned());
    }
    let deny = if random.percent(50) { deny } else { Vec::new() };
    let mut keys = format!("allow = [{}]\ndeny = [{}]\n", allow.join(", "), deny.join(", "));
    if random.percent(85) {
        keys += &format!("per_source = {{ {} }}\n", limits(random, &exempt));
    }
    let text = format!(
        "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n{keys}\
         [upstream.app]\nbuiltin = \"echo\"\n"
    );
    let config = Config::parse(&text, "portcullis.toml", &|_| None)
        .unwrap_or_else(|errors| panic!("{errors:?}: {text}"));
    let listener = &config.listeners[0];
    Keeping { access: listener.access.clone(), per_source: listener.per_source.clone() }
}

fn limits(random: &mut Random, exempt: &[String]) -> String {
    let is_rated = random.percent(35);
    let mut keys = Vec::new();
    if !is_rated || random.percent(50) {
        keys.push(format!("max_connections = {}", random.between(1, 3)));
    }
    if is_rated {
        keys.push(format!("rate = \"{}\"", random.pick(&["2/s", "10/s", "100/s", "90/m"])));
        keys.push(format!("burst = {}", random.pick(&[1, 1, 2, 4])));
    }
    keys.push(format!("prefix_v4 = {}", random.pick(&[8, 24, 28, 30, 32])));
    let is_exempt = random.percent(40);
    keys.push(format!("exempt = [{}]", if is_exempt { exempt.join(", ") } else { String::new() }));
    let action = random.pick(&["reset", "wait", "wait", "wait", "tarpit"]);
    keys.push(format!("action = \"{action}\""));
    if action != "reset" {
        let wait = random.pick(&["100ms", "400ms", "2s", "8s"]);
        keys.push(format!("wait_at_most = \"{wait}\""));
    }
    keys.join(", ")
}

impl Keeping {
    /// Those that headers name are of one source, and wait for each other.
    fn crowd(&mut self) {
        self.access = config::Access::default();
        if let Some(limits) = &mut self.per_source {
            (limits.prefix_v4, limits.max_connections) = (24, Some(1));
            limits.action = SourceAction::Wait;
        }
    }

    /// What workers are told instead.
    pub fn broken(mut self, mutation: Mutation) -> Keeping {
        if mutation == Mutation::AdmitsDenied {
            self.access = config::Access::default();
        }
        let Some(limits) = &mut self.per_source else { return self };
        match mutation {
            Mutation::CrowdsSource => {
                limits.max_connections = limits.max_connections.map(|most| most + 1);
            }
            Mutation::RefusesEarly => limits.exempt.clear(),
            Mutation::ForgetsHeld if limits.action == SourceAction::Wait => {
                limits.action = SourceAction::Tarpit;
            }
            Mutation::HoldsOn => limits.wait_at_most *= 100,
            Mutation::LeavesTarpit => limits.wait_at_most /= 4,
            _ => {}
        }
        self
    }

    /// Nobody is kept out.
    pub fn is_open(&self) -> bool {
        self.access == config::Access::default() && self.per_source.is_none()
    }

    pub fn verdict(&self, client: IpAddr) -> Verdict {
        let longest = |networks: &[IpNet]| {
            let its = networks.iter().filter(|network| network.contains(&client));
            its.map(IpNet::prefix_len).max()
        };
        let allowed = longest(self.access.allow.networks());
        let denied = longest(self.access.deny.networks());
        let takes_others = self.access.allow.networks().is_empty();
        let may_come = if allowed == denied { takes_others } else { allowed > denied };
        if !may_come {
            return Verdict::Denied;
        }
        self.limit(client)
    }

    /// The same for one that may come.
    pub fn limit(&self, client: IpAddr) -> Verdict {
        let Some(limits) = &self.per_source else { return Verdict::Free };
        if limits.exempt.iter().any(|network| network.contains(&client)) {
            return Verdict::Exempt;
        }
        let rate = limits.rate.map(|rate| (rate.per / rate.connections, limits.asked_burst()));
        let source = IpNet::new(client, limits.prefix_v4).expect("a prefix of IPv4").trunc();
        let (most, action, wait) = (limits.max_connections, limits.action, limits.wait_at_most);
        Verdict::Limited(Limit { source, most, rate, action, wait })
    }
}
