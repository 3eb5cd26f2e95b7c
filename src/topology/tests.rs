//! Topologies in sequence: ids and numbers stay with names, and a difference is what it says.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;
use crate::base::Id;
use crate::config::{self, Builtin, SocketOptions, Terms};

/// What a config may ask for.
#[derive(Clone, Debug)]
struct Config {
    listeners: Vec<config::Listener>,
    upstreams: Vec<config::Upstream>,
    gates: Vec<GateSpec>,
}

impl Config {
    fn asks(&self) -> Asked<'_> {
        Asked {
            listeners: &self.listeners,
            upstreams: &self.upstreams,
            gates: &self.gates,
            tls: None,
        }
    }
}

/// A config of a few names, and gates for two workers on each address.
fn configs() -> impl Strategy<Value = Config> {
    let upstreams = subsequence(vec!["x", "y", "z"], 1..=3)
        .prop_flat_map(|names| names.into_iter().map(upstream).collect::<Vec<_>>().prop_shuffle());
    let listeners = subsequence(vec!["a", "b", "c"], 1..=3)
        .prop_flat_map(|names| names.into_iter().map(listener).collect::<Vec<_>>().prop_shuffle());
    (upstreams, listeners).prop_map(|(upstreams, mut listeners)| {
        listeners.iter_mut().for_each(|listener| listener.upstream %= upstreams.len());
        let gates = listeners.iter().flat_map(gates).collect();
        Config { listeners, upstreams, gates }
    })
}

fn upstream(name: &'static str) -> impl Strategy<Value = config::Upstream> {
    let servers = subsequence(vec![1, 2, 3, 4], 1..=4).prop_shuffle();
    (servers, any::<bool>(), 1..3_u32, 1..3_u16).prop_map(
        move |(servers, builtin, weight, port)| {
            let server = |nth: &u16| config::Server {
                name: format!("s{nth}"),
                address: SocketAddr::from(([127, 0, 0, *nth as u8], port)),
                terms: Terms::of_weight(weight),
            };
            let kind = match builtin {
                true => config::UpstreamKind::Builtin(Builtin::Echo),
                false => {
                    let servers = servers.iter().map(server).collect();
                    config::UpstreamKind::listed(servers, Balance::RoundRobin)
                }
            };
            config::Upstream { name: name.into(), kind, ..config::Upstream::default() }
        },
    )
}

fn listener(name: &'static str) -> impl Strategy<Value = config::Listener> {
    let bind = subsequence(vec![7000, 7001, 7002], 1..=3);
    (bind, 0..3_usize, 1..3_u64, prop::option::of(1..3_u32)).prop_map(
        move |(ports, upstream, seconds, max_connections)| config::Listener {
            name: name.into(),
            bind: ports.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect(),
            upstream,
            preamble: Preamble::default(),
            sniffing: config::Sniffing::default(),
            access: Access::default(),
            tls: None,
            per_source: None,
            sockets: SocketOptions::default(),
            max_connections,
            at_limit: AtLimit::Queue,
            evict_idle_after: Duration::from_secs(60),
            timeouts: Timeouts { idle: Some(Duration::from_secs(seconds)), ..Timeouts::default() },
        },
    )
}

fn gates(listener: &config::Listener) -> Vec<GateSpec> {
    let gate = |(&address, owner)| GateSpec {
        listener: listener.name.clone(),
        owner: WorkerId(owner),
        address,
        inherited: false,
        queue_of: WorkerId(owner),
    };
    listener.bind.iter().flat_map(|bind| [(bind, 0), (bind, 1)]).map(gate).collect()
}

/// Each in its turn, by one register, all of them held to the end.
fn sequence(configs: &[Config]) -> Vec<Topology> {
    let mut register = Register::default();
    let mut topologies = vec![Topology::default()];
    for config in configs {
        let before = topologies.last().expect("the empty one");
        topologies.push(register.next(before, config.asks()).expect("few of each kind"));
    }
    topologies
}

/// What is in both under one name has one id; `same` says who is meant by a name.
fn keeps_ids<I: Id + PartialEq, T>(
    before: &IdMap<I, Arc<T>>,
    after: &IdMap<I, Arc<T>>,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    before.iter().all(|(id, old)| {
        let found = after.iter().find(|(_, new)| same(old, new));
        found.is_none_or(|(now, _)| now == id)
    })
}

proptest! {
    #[test]
    fn a_difference_applied_gives_the_new_one_in_any_order(
        configs in prop::collection::vec(configs(), 2),
        seed in any::<u64>(),
    ) {
        let topologies = sequence(&configs);
        for pair in topologies.windows(2) {
            let changes = diff(&pair[0], &pair[1]);
            prop_assert_eq!(&apply(&pair[0], changes.clone()), &pair[1]);
            let mut shuffled = changes.clone();
            // A rotation and a reversal are enough to bring any two into the other order.
            shuffled.rotate_left(seed as usize % changes.len().max(1));
            shuffled.reverse();
            prop_assert_eq!(&apply(&pair[0], shuffled), &pair[1]);
            prop_assert!(diff(&pair[1], &pair[1].clone()).is_empty());
            let back = diff(&pair[1], &pair[0]);
            prop_assert_eq!(&apply(&pair[1], back), &pair[0]);
        }
    }

    #[test]
    fn ids_and_numbers_stay_with_names(configs in prop::collection::vec(configs(), 2..5)) {
        for pair in sequence(&configs).windows(2) {
            let (old, new) = (&pair[0], &pair[1]);
            prop_assert_eq!(new.check(), Ok(()));
            prop_assert!(keeps_ids(&old.listeners, &new.listeners, |a, b| a.name == b.name));
            prop_assert!(keeps_ids(&old.upstreams, &new.upstreams, |a, b| a.name == b.name));
            let same = |a: &Server, b: &Server| {
                (a.upstream, &a.name, a.address) == (b.upstream, &b.name, b.address)
            };
            prop_assert!(keeps_ids(&old.servers, &new.servers, same));
            let same = |a: &Route, b: &Route| (a.listener, a.upstream) == (b.listener, b.upstream);
            prop_assert!(keeps_ids(&old.routes, &new.routes, same));
            for (id, listener) in new.listeners.iter() {
                let before = old.listeners.get(id).and_then(|before| before.quota.as_ref());
                if let (Some(before), Some(quota)) = (before, &listener.quota) {
                    prop_assert!(Arc::ptr_eq(&before.arc(), &quota.arc()));
                }
                prop_assert_eq!(listener.quota.is_some(), listener.max_connections.is_some());
            }
            for (id, server) in new.servers.iter() {
                if let Some(before) = old.servers.get(id) {
                    prop_assert!(Arc::ptr_eq(&before.standing.arc(), &server.standing.arc()));
                }
            }
        }
    }

    #[test]
    fn what_somebody_holds_keeps_its_id(configs in prop::collection::vec(configs(), 2..6)) {
        // All topologies are held, so no id ever comes to mean somebody else.
        let topologies = sequence(&configs);
        for (nth, old) in topologies.iter().enumerate() {
            for new in &topologies[nth..] {
                for (id, route) in new.routes.iter() {
                    let same = |old: &Arc<Route>| {
                        (old.listener, old.upstream) == (route.listener, route.upstream)
                    };
                    prop_assert!(old.routes.get(id).is_none_or(same));
                }
            }
        }
    }
}

#[test]
fn an_id_is_given_again_once_nobody_holds_what_had_it() {
    let with = |address: u8| {
        let server = config::Server {
            name: "s".into(),
            address: SocketAddr::from(([127, 0, 0, address], 1)),
            terms: Terms::default(),
        };
        let kind = config::UpstreamKind::listed(vec![server], Balance::RoundRobin);
        let upstream = config::Upstream { name: "x".into(), kind, ..config::Upstream::default() };
        Config { listeners: Vec::new(), upstreams: vec![upstream], gates: Vec::new() }
    };
    let ids = |topology: &Topology| topology.servers.ids().collect::<Vec<_>>();
    let mut register = Register::default();
    let first = register.next(&Topology::default(), with(1).asks()).expect("few of each kind");
    let second = register.next(&first, with(2).asks()).expect("few of each kind");
    let held = first.servers[ServerId(0)].clone();
    drop(first);
    let third = register.next(&second, with(3).asks()).expect("few of each kind");
    assert_eq!([ids(&second), ids(&third)], [[ServerId(1)], [ServerId(2)]]);
    drop((second, held));
    let fourth = register.next(&third, with(4).asks()).expect("few of each kind");
    assert_eq!(ids(&fourth), [ServerId(0)]);
}

/// An upstream of servers of these names, and nothing else; none without a name.
fn with(names: &[&str]) -> Config {
    let server = |name: &&str| config::Server {
        name: (*name).to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        terms: Terms::default(),
    };
    let servers = names.iter().map(server).collect();
    let kind = config::UpstreamKind::listed(servers, Balance::RoundRobin);
    let upstream = config::Upstream { name: "x".into(), kind, ..config::Upstream::default() };
    let upstreams = if names.is_empty() { Vec::new() } else { vec![upstream] };
    Config { listeners: Vec::new(), upstreams, gates: Vec::new() }
}

#[test]
fn who_comes_back_is_who_it_was_while_somebody_holds_it() {
    let mut register = Register::default();
    let mut next = |before: &Topology, names: &[&str]| {
        register.next(before, with(names).asks()).expect("few of each kind")
    };
    let first = next(&Topology::default(), &["a", "b"]);
    let held = first.servers[ServerId(0)].clone();
    assert!(held.standing.connections().enter());
    let without = next(&first, &["b", "c"]);
    drop(first);
    let back = next(&without, &["c", "a"]);
    let found = back.servers.iter().find(|(_, server)| server.name == "a");
    let (id, server) = found.expect("it is there");
    assert_eq!((id, server.standing.open()), (ServerId(0), 1));
}

#[test]
fn a_server_that_comes_back_is_counted_where_it_is_chosen() {
    let mut register = Register::default();
    let mut next = |before: &Topology, names: &[&str]| {
        register.next(before, with(names).asks()).expect("few of each kind")
    };
    let first = next(&Topology::default(), &["a"]);
    // A worker has not let go of the upstream yet; nobody has the server any more.
    let held = first.upstreams.values().next().expect("one").clone();
    let without = next(&first, &[]);
    drop(first);
    let back = next(&without, &["a"]);
    assert_eq!(back.check(), Ok(()));
    drop(held);
}

#[test]
fn ids_that_are_exhausted_refuse_the_change() {
    let with = |from: u32| {
        let server = |nth: u32| config::Server {
            name: format!("s{nth}"),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            terms: Terms::default(),
        };
        let servers = (from..from + 40_000).map(server).collect();
        let kind = config::UpstreamKind::listed(servers, Balance::RoundRobin);
        let upstream = config::Upstream { name: "x".into(), kind, ..config::Upstream::default() };
        Config { listeners: Vec::new(), upstreams: vec![upstream], gates: Vec::new() }
    };
    let mut register = Register::default();
    let first = register.next(&Topology::default(), with(0).asks()).expect("there is room");
    assert_eq!(register.next(&first, with(40_000).asks()), Err(Exhausted("servers")));
    assert!(register.next(&first, with(20_000).asks()).is_ok(), "20,000 stay, 20,000 are new");
}
