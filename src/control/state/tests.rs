//! Readings, names and steering under topologies that follow each other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::*;
use crate::access_log::AccessLogs;
use crate::api::steer::Accepting;
use crate::base::{Clock, IdMap, ListenerId, WorkerId};
use crate::budget::Budget;
use crate::checks::Checks;
use crate::config::{Class, Config};
use crate::control::events::Events;
use crate::discovery::Searches;
use crate::host::facts::{Given, Kernel};
use crate::host::usage::ProcessStart;
use crate::metrics::{ListenerCounters, WorkerCounters};
use crate::query::Query;
use crate::tls::{Loaded, TicketsMade};
use crate::topology::{Asked, GateSpec, Register, Topology};

const WORKERS: u16 = 2;

/// A config of these listeners, all of one upstream with these servers, and another upstream.
fn config(listeners: &[&str], servers: &[&str]) -> Config {
    let mut text = String::new();
    for name in listeners {
        let port = 7000 + u16::from(name.as_bytes()[0]);
        text += &format!("[listener.{name}]\nbind = [\"127.0.0.1:{port}\"]\nupstream = \"app\"\n");
    }
    let server = |name: &&str| {
        let port = 9000 + u16::from(name.as_bytes()[0]);
        format!("{{ name = \"{name}\", address = \"127.0.0.1:{port}\" }}")
    };
    let servers: Vec<String> = servers.iter().map(server).collect();
    match servers.is_empty() {
        true => text += "[upstream.app]\nbuiltin = \"echo\"\n",
        false => text += &format!("[upstream.app]\nservers = [{}]\n", servers.join(", ")),
    }
    text += "[upstream.probe]\nbuiltin = \"echo\"\n";
    Config::parse(&text, "test.toml", &|_| None).expect("a config")
}

fn gates(config: &Config) -> Vec<GateSpec> {
    let gate = |listener: &crate::config::Listener, owner| GateSpec {
        listener: listener.name.clone(),
        owner: WorkerId(owner),
        address: listener.bind[0],
        inherited: false,
        queue_of: WorkerId(owner),
    };
    let listeners = config.listeners.iter();
    listeners.flat_map(|listener| (0..WORKERS).map(move |owner| gate(listener, owner))).collect()
}

/// The sources of a gateway of this config whose workers nobody has started.
fn sources(config: Config) -> Sources {
    sources_at(config, Clock::system(), None)
}

/// The same by this clock, with what files have of TLS.
fn sources_at(config: Config, clock: Clock, tls: Option<&Loaded>) -> Sources {
    let mut register = Register::default();
    let gates = gates(&config);
    let asked =
        Asked { listeners: &config.listeners, upstreams: &config.upstreams, gates: &gates, tls };
    let topology = Arc::new(register.next(&Topology::default(), asked).expect("few of each kind"));
    let with_upstream = topology.joins_servers();
    let counters = || Arc::new(topology.counters(&WorkerCounters::default()));
    let counters = (0..WORKERS).map(|_| counters()).collect();
    let view = View::new(topology.clone(), config, IdMap::new(), counters);
    let events = Arc::new(Events::new(clock.clone()));
    Sources {
        checks: Mutex::new(Checks::new(clock.clone())),
        clock,
        workers: Arc::new([]),
        budget: Arc::new(Budget::new(8, 1)),
        bound_by: "memory".to_owned(),
        given: Given {
            files: (1024, 1024),
            memlock_bytes: (u64::MAX, u64::MAX),
            locked_elsewhere_bytes: 0,
            leaving_connections: 0,
            kernel: Kernel::complete(),
        },
        with_upstream,
        log: None,
        access_log: AccessLogs::default(),
        drains: Drains::default(),
        events: events.clone(),
        process_start: ProcessStart::read(Path::new("/")),
        present: Present::new(view, Sets::default(), register),
        searches: Mutex::new(Searches::new(events).0),
        sentry: Mutex::default(),
        connects: Mutex::default(),
    }
}

fn go_over(sources: &Sources, config: Config) {
    sources.adopt(next(sources, config), IdMap::new());
}

fn next(sources: &Sources, config: Config) -> Next {
    let gates = gates(&config);
    sources.present.next(config, Sets::default(), &gates, None).expect("few of each kind")
}

/// What a worker counts at a listener.
fn of(sources: &Sources, worker: usize, listener: &str) -> crate::metrics::Kept<ListenerCounters> {
    let view = sources.view();
    let id = view.names.listener(listener).expect("it is there");
    view.counters[worker].listeners[id].clone()
}

fn accepted(sources: &Sources) -> Vec<(String, u64)> {
    let listeners = sources.reading().listeners.into_iter();
    listeners.map(|listener| (listener.name, listener.accepted)).collect()
}

fn total(sources: &Sources) -> u64 {
    let total = sources.reading().all_listeners().map(|listener| listener.accepted).sum();
    assert_eq!(sources.over_listeners(&|listener| listener.accepted.get()), total);
    total
}

#[test]
fn a_reading_has_what_there_is_in_the_order_of_the_config() {
    let sources = sources(config(&["edge", "inner"], &["a", "b"]));
    for (worker, listener, clients) in [(0, "edge", 5), (1, "edge", 2), (1, "inner", 4)] {
        of(&sources, worker, listener).accepted.add(clients);
    }
    let view = sources.view();
    let b = view.names.server("app/b").expect("it is there");
    view.counters[0].servers[b].attempts.add(3);
    assert_eq!(accepted(&sources), [("edge".to_owned(), 7), ("inner".to_owned(), 4)]);
    go_over(&sources, config(&["outer", "inner", "edge"], &["c", "b"]));
    let expected = [("outer".to_owned(), 0), ("inner".to_owned(), 4), ("edge".to_owned(), 7)];
    assert_eq!(accepted(&sources), expected);
    let reading = sources.reading();
    assert_eq!(reading.listeners[0].addresses, ["127.0.0.1:7111"]);
    let servers = &reading.upstreams[0].servers;
    let servers: Vec<_> = servers.iter().map(|one| (one.name.as_str(), one.attempts)).collect();
    assert_eq!(servers, [("c", 0), ("b", 3)]);
    assert_eq!((reading.upstreams[1].name.as_str(), reading.removed), ("probe", None));
}

#[test]
fn a_total_never_falls_when_a_listener_goes() {
    let sources = sources(config(&["edge", "inner"], &["a"]));
    of(&sources, 0, "edge").accepted.add(10);
    let inner = [0, 1].map(|worker| of(&sources, worker, "inner"));
    inner[0].accepted.add(3);
    inner[1].accepted.add(4);
    go_over(&sources, config(&["edge"], &["a"]));
    assert_eq!((accepted(&sources), total(&sources)), (vec![("edge".to_owned(), 10)], 17));
    // A worker still counts for connections that are left there.
    inner[1].to_client_bytes.add(8);
    inner[1].closed[0].add(4);
    let removed = sources.reading().removed.expect("one was removed");
    assert_eq!((removed.accepted, removed.open, removed.to_client_bytes), (7, 3, 8));
    let [first, second] = inner;
    drop(first);
    assert_eq!(total(&sources), 17);
    second.accepted.add(1);
    drop(second);
    assert_eq!(total(&sources), 18);
    // A listener of the same name is another one, and begins at zero.
    go_over(&sources, config(&["inner", "edge"], &["a"]));
    assert_eq!(accepted(&sources), [("inner".to_owned(), 0), ("edge".to_owned(), 10)]);
    assert_eq!(total(&sources), 18);
}

#[test]
fn a_failed_connect_counts_when_its_server_is_gone() {
    let sources = sources(config(&["edge"], &["a", "b"]));
    let view = sources.view();
    let a = view.names.server("app/a").expect("it is there");
    view.counters[1].servers[a].failed[0].add(2);
    drop(view);
    for servers in [&["b"][..], &["b", "c"], &["a"]] {
        go_over(&sources, config(&["edge"], servers));
        assert_eq!(sources.over_servers(&|server| server.connects_failed()), 2, "{servers:?}");
    }
}

#[test]
fn a_pause_stays_with_its_listener() {
    let sources = sources(config(&["edge", "inner"], &["a"]));
    let inner = sources.view().names.listener("inner").expect("it is there");
    assert!(sources.view().set_paused(inner, true) && !sources.view().set_paused(inner, true));
    go_over(&sources, config(&["outer", "inner"], &["a"]));
    let paused = |sources: &Sources| -> Vec<(String, bool)> {
        let listeners = sources.reading().listeners.into_iter();
        listeners.map(|listener| (listener.name, listener.paused)).collect()
    };
    assert_eq!(paused(&sources), [("outer".to_owned(), false), ("inner".to_owned(), true)]);
    assert!(sources.view().paused().eq([inner]));
    go_over(&sources, config(&["outer"], &["a"]));
    go_over(&sources, config(&["outer", "inner"], &["a"]));
    assert_eq!(paused(&sources), [("outer".to_owned(), false), ("inner".to_owned(), false)]);
}

#[test]
fn a_listener_is_paused_when_every_gate_is_still() {
    let sources = sources(config(&["edge"], &["a"]));
    let (view, id) = (sources.view(), ListenerId(0));
    let stands = |paused: bool, still| {
        view.set_paused(id, paused);
        view.topology.listeners[id].still.store(still, Ordering::SeqCst);
        view.accepting(id)
    };
    let all = [stands(false, 0), stands(true, 3), stands(true, 4), stands(false, 1)];
    let words = [Accepting::Open, Accepting::Pausing, Accepting::Paused, Accepting::Resuming];
    assert_eq!(all, words);
}

#[test]
fn a_filter_and_an_order_mean_what_has_the_name_now() {
    let sources = sources(config(&["edge", "inner"], &["a", "b"]));
    let parse = |filter: &str| Query::parse(filter, None, None, &sources.view().names);
    let edge = parse("listener=edge server=app/b").expect("both are there");
    go_over(&sources, config(&["outer", "edge"], &["c", "b"]));
    assert_eq!(parse("listener=edge server=app/b"), Ok(edge), "what stays keeps its ids");
    let said = parse("listener=inner").expect_err("it is gone").to_string();
    assert_eq!(said, "\"listener=inner\": there is no such listener; write one of outer, edge");
    let view = sources.view();
    let id = view.names.server("app/b").expect("it is there");
    view.topology.servers[id].standing.set_weight(7);
    let reading = sources.reading();
    let weights: Vec<u64> = reading.upstreams[0].servers.iter().map(|one| one.weight).collect();
    assert_eq!(weights, vec![1, 7]);
}

#[test]
fn the_first_server_takes_a_start() {
    let with = |servers: &[&str]| config(&["edge"], servers);
    for (before, after, expected) in [
        (&[][..], &["a"][..], Some(Class::Restart)),
        (&["a"], &[], Some(Class::NewConnections)),
        (&["a"], &["a", "b"], Some(Class::NewConnections)),
        (&["a"], &["a"], None),
    ] {
        let sources = sources(with(before));
        let next = next(&sources, with(after)).topology;
        assert_eq!(sources.class_of(&next), expected, "{before:?} to {after:?}");
    }
    // The rings of a gateway that began with servers have room for them for good.
    let sources = sources(with(&["a"]));
    go_over(&sources, with(&[]));
    let next = next(&sources, with(&["b"])).topology;
    assert_eq!(sources.class_of(&next), Some(Class::NewConnections));
}

#[test]
fn keys_of_tickets_are_new_after_six_hours_by_the_clock() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |label: &str, der: &[u8]| {
        let (path, text) = (directory.path().join(label), data_encoding::BASE64.encode(der));
        let text = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        std::fs::write(&path, text).expect("it is written");
        path
    };
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a pair");
    let certificate = file("CERTIFICATE", pair.cert.der());
    let key = file("PRIVATE KEY", &pair.signing_key.serialize_der());
    let text = format!(
        "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
         [listener.edge.tls]\ncertificates = [{{ certificate = {certificate:?}, key = {key:?} }}]\n\
         [upstream.app]\nbuiltin = \"echo\"\n"
    );
    let config = Config::parse(&text, "test.toml", &|_| None).expect("a config");
    let millis = Arc::new(AtomicU64::new(0));
    let loaded = Loaded::load(&config, SystemTime::UNIX_EPOCH).expect("a pair");
    let sources = sources_at(config, Clock::Simulated(millis.clone()), Some(&loaded));
    let made_at = || {
        let view = sources.view();
        let listener = view.topology.listeners.values().next().expect("there is one");
        listener.tickets.as_ref().and_then(|TicketsMade(tickets)| tickets.made_at())
    };
    for (now_seconds, expected) in [(0, 0), (21_599, 0), (21_600, 21_600), (30_000, 21_600)] {
        millis.store(now_seconds * 1000, Ordering::Relaxed);
        sources.rotate_ticket_keys();
        assert_eq!(made_at(), Some(expected), "after {now_seconds} s");
    }
}
