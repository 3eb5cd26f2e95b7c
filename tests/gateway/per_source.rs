//! Who may come to a listener by address, and how many of one source.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::client;
use crate::support::command::{ask_json, rows, tell};
use crate::support::config::{relay_with, upstream};
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::server;
use crate::support::wait_until;

fn limited(keys: &str, servers: &[SocketAddr]) -> String {
    relay_with(&format!("per_source = {{ {keys} }}"), servers)
        + "[status]\nbind = \"127.0.0.1:0\"\n"
}

/// A client of this address: whether it is served.
fn is_served(source: &str, target: SocketAddr) -> Option<TcpStream> {
    let source: SocketAddr = format!("{source}:0").parse().expect("an address");
    let mut stream = client::try_connect_from(source, target).ok()?;
    stream.write_all(b"?").ok()?;
    (stream.read(&mut [0]).ok()? == 1).then_some(stream)
}

fn figures(gateway: &Gateway) -> serde_json::Value {
    serde_json::from_str(&get(gateway.status(), "/status.json").body).expect("JSON")
}

#[test]
fn rules_keep_clients_out_by_the_smallest_network_that_has_them() {
    let server = server::echo();
    let keys = "allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.1.0/24\", \"127.0.2.9\"]";
    let config = relay_with(keys, &[server.address]) + "[status]\nbind = \"127.0.0.1:0\"\n";
    let gateway = Gateway::start(&config);
    let edge = gateway.address("edge");
    for (source, served) in
        [("127.0.0.1", true), ("127.0.1.7", false), ("127.0.2.9", false), ("127.0.2.8", true)]
    {
        assert_eq!(is_served(source, edge).is_some(), served, "{source}");
    }
    gateway.wait_for_reason("denied", 2);
    assert_eq!(server.accepted(), 2);
    let denied = |gateway: &Gateway| figures(gateway)["listeners"][0]["denied"].clone();
    assert_eq!(denied(&gateway), serde_json::json!({ "127.0.1.0/24": 1, "127.0.2.9": 1 }));
    let line = &gateway.wait_for_lines("kept out by address", 1)[0];
    assert!(line.contains("by deny") && line.contains("listener/edge"), "{line}");
    // A reload changes it for those who come next.
    let held = is_served("127.0.0.1", edge).expect("it may come");
    let other = config.replace("allow = [\"127.0.0.0/8\"]", "allow = [\"127.0.0.2\"]");
    let other = other.replace("\"127.0.2.9\"", "\"127.0.3.0/24\"");
    gateway.home().write("portcullis.toml", &other);
    tell(&gateway, &["reload"]);
    assert!(is_served("127.0.0.1", edge).is_none());
    assert!(is_served("127.0.0.2", edge).is_some());
    client::echo(&held, 1, 100);
    assert_eq!(figures(&gateway)["listeners"][0]["barred"]["not-allowed"], 1);
    // What stays in the list counts on.
    assert!(is_served("127.0.1.7", edge).is_none());
    let both = serde_json::json!({ "127.0.1.0/24": 2, "127.0.3.0/24": 0 });
    wait_until("both to be counted", || denied(&gateway) == both);
    let page = get(gateway.status(), "/metrics").body;
    let shown = "portcullis_networks_denied_total{listener=\"edge\",network=\"127.0.1.0/24\"} 2";
    assert!(page.lines().any(|line| line.starts_with(shown)), "{page}");
    gateway.stop();
}

#[test]
fn a_hundred_thousand_networks_come_from_a_file() {
    let server = server::echo();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("networks");
    let networks =
        (0..100_000u32).map(|nth| format!("{}/32\n", std::net::Ipv4Addr::from(0x0b00_0000 + nth)));
    let text = format!("# Abusers.\n{}127.0.0.3\n", networks.collect::<String>());
    std::fs::write(&path, text).expect("a file");
    let keys = format!("deny = [\"file:{}\"]", path.display());
    let gateway = Gateway::start(&relay_with(&keys, &[server.address]));
    let edge = gateway.address("edge");
    assert!(is_served("127.0.0.2", edge).is_some() && is_served("127.0.0.3", edge).is_none());
    // It is watched, and what is wrong changes nothing.
    std::fs::write(&path, "127.0.0.2\n").expect("a file");
    gateway.wait_for_line("deny has 1 network now, by its files");
    assert!(is_served("127.0.0.2", edge).is_none() && is_served("127.0.0.3", edge).is_some());
    std::fs::write(&path, "127.0.0.3\nnobody\n").expect("a file");
    gateway.wait_for_line("deny stays as it was: ");
    assert!(is_served("127.0.0.2", edge).is_none() && is_served("127.0.0.3", edge).is_some());
    std::fs::remove_file(&path).expect("it goes");
    gateway.wait_for_lines("deny stays as it was: ", 2);
    assert!(is_served("127.0.0.2", edge).is_none());
    gateway.stop();
}

#[test]
fn a_source_has_exactly_as_many_connections_as_it_may() {
    const LIMIT: usize = 100;
    let server = server::echo();
    let config =
        limited("max_connections = 100", &[server.address]).replace("workers = 2", "workers = 4");
    let gateway = Gateway::start(&config);
    let edge = gateway.address("edge");
    for round in 0..5 {
        let served = AtomicUsize::new(0);
        let held: Vec<Option<TcpStream>> = thread::scope(|scope| {
            let one = || {
                let held: Vec<_> = (0..250).map(|_| is_served("127.0.0.1", edge)).collect();
                served.fetch_add(held.iter().flatten().count(), Ordering::Relaxed);
                held
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
        });
        assert_eq!(served.into_inner(), LIMIT, "round {round}");
        // Another source has its own.
        assert!(is_served("127.0.0.2", edge).is_some());
        drop(held);
        wait_until("all to have left", || rows(&ask_json(&gateway, &["conns"])).is_empty());
        assert_eq!(figures(&gateway)["sources"]["counted"], 0);
    }
    let most = &figures(&gateway)["sources"]["most_refused"][0];
    assert_eq!(most["source"], "127.0.0.1");
    assert!(most["refused"].as_u64() > Some(4000), "{most}");
    let status = tell(&gateway, &["status"]);
    assert!(status.contains("\n127.0.0.1 "), "{status}");
    gateway.stop();
}

#[test]
fn a_network_of_ipv6_is_one_source_and_some_are_exempt() {
    let server = server::echo();
    let keys = "max_connections = 3, prefix_v4 = 24, exempt = [\"127.0.9.0/24\"]";
    let gateway = Gateway::start(&limited(keys, &[server.address]));
    let edge = gateway.address("edge");
    let held: Vec<_> = (1..9).map(|last| is_served(&format!("127.0.5.{last}"), edge)).collect();
    assert_eq!(held.iter().flatten().count(), 3);
    let exempt: Vec<_> = (1..9).map(|last| is_served(&format!("127.0.9.{last}"), edge)).collect();
    assert_eq!(exempt.iter().flatten().count(), 8);
    assert_eq!(figures(&gateway)["sources"]["most_refused"][0]["source"], "127.0.5.0/24");
    gateway.stop();
}

#[test]
fn a_rate_lets_a_burst_in_and_then_as_many_as_it_says() {
    let server = server::echo();
    // So slow that none may come after the burst while the test runs.
    let gateway = Gateway::start(&limited("rate = \"30/h\", burst = 20", &[server.address]));
    let edge = gateway.address("edge");
    let served = (0..60).filter(|_| is_served("127.0.0.1", edge).is_some()).count();
    assert_eq!(served, 20);
    assert!(is_served("127.0.0.2", edge).is_some());
    let page = get(gateway.status(), "/metrics").body;
    let refused = "portcullis_sources_refused_total{listener=\"edge\",reason=\"rate\"} 40";
    assert!(page.lines().any(|line| line.starts_with(refused)), "{page}");
    gateway.wait_for_reason("source-limit", 40);
    gateway.stop();
}

#[test]
fn who_waits_is_served_when_another_of_its_source_has_left() {
    let server = server::echo();
    let keys = "max_connections = 2, action = \"wait\", wait_at_most = \"30s\"";
    // The order of those who wait is a worker's.
    let config = limited(keys, &[server.address]).replace("workers = 2", "workers = 1");
    let gateway = Gateway::start(&config);
    let edge = gateway.address("edge");
    let mut held: Vec<_> = (0..2).map(|_| is_served("127.0.0.1", edge)).collect();
    let waiting = client::asking((0..4).map(|_| client::from("127.0.0.1:0", edge)));
    wait_until("them to be held", || {
        rows(&ask_json(&gateway, &["conns", "--filter", "state=held"])).len() == 4
    });
    assert_eq!(server.accepted(), 2);
    held.clear();
    client::hear(&waiting[0]);
    client::hear(&waiting[1]);
    assert!(client::is_silent(&waiting[2]) && client::is_silent(&waiting[3]));
    // One that leaves while it waits, and one whose turn comes.
    let mut waiting = waiting.into_iter();
    let (first, _second, third, fourth) =
        (waiting.next(), waiting.next(), waiting.next(), waiting.next().expect("four"));
    crate::support::socket::reset(third.expect("three"));
    gateway.wait_for_reason("client-gone", 1);
    drop(first);
    client::hear(&fourth);
    gateway.stop();
}

#[test]
fn who_waits_in_vain_or_sits_in_a_tarpit_is_reset_after_its_time() {
    let server = server::echo();
    for action in ["wait", "tarpit"] {
        let keys = format!("max_connections = 1, action = \"{action}\", wait_at_most = \"1s\"");
        let gateway = Gateway::start(&limited(&keys, &[server.address]));
        let edge = gateway.address("edge");
        let held = is_served("127.0.0.1", edge).expect("the first may come");
        let other = client::from("127.0.0.1:0", edge);
        assert!(client::is_silent(&other), "{action}");
        if action == "tarpit" {
            // There is room, and it stays where it is.
            drop(held);
        }
        client::ending(&other);
        gateway.wait_for_reason("source-limit", 1);
        assert_eq!(figures(&gateway)["listeners"][0]["barred"]["connections"], 1, "{action}");
        gateway.stop();
    }
}

#[test]
fn a_balancer_is_no_source_and_its_clients_are() {
    let server = server::echo();
    let keys = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]\n\
                deny = [\"192.0.2.99\"]\nper_source = { max_connections = 2 }";
    let gateway = Gateway::start(&relay_with(keys, &[server.address]));
    let edge = gateway.address("edge");
    let come = |client: &str| {
        let mut stream = client::connect(edge);
        let line = format!("PROXY TCP4 {client} 198.51.100.9 40000 443\r\n?");
        stream.write_all(line.as_bytes()).ok()?;
        (stream.read(&mut [0]).ok()? == 1).then_some(stream)
    };
    let held: Vec<_> = (1..=5).map(|_| come("192.0.2.1")).collect();
    assert_eq!(held.iter().flatten().count(), 2);
    let others: Vec<_> = (10..30).map(|last| come(&format!("192.0.2.{last}"))).collect();
    assert_eq!(others.iter().flatten().count(), 20);
    assert!(come("192.0.2.99").is_none());
    gateway.wait_for_reason("denied", 1);
    gateway.stop();
}

#[test]
fn limits_hold_over_reloads_and_come_and_go() {
    let (server, other) = (server::echo(), server::echo());
    let text = |keys: &str| limited(keys, &[server.address]) + &upstream("other", &[other.address]);
    let gateway = Gateway::start(&text("max_connections = 5"));
    let edge = gateway.address("edge");
    let mut held: Vec<_> = (0..8).filter_map(|_| is_served("127.0.0.1", edge)).collect();
    assert_eq!(held.len(), 5);
    let reload = |text: &str| {
        gateway.home().write("portcullis.toml", text);
        tell(&gateway, &["reload"]);
    };
    reload(&text("max_connections = 7"));
    held.extend((0..8).filter_map(|_| is_served("127.0.0.1", edge)));
    assert_eq!(held.len(), 7);
    let none = text("").replace("per_source = {  }\n", "");
    reload(&none);
    held.extend((0..8).filter_map(|_| is_served("127.0.0.1", edge)));
    assert_eq!(held.len(), 15);
    reload(&text("max_connections = 7"));
    assert!(is_served("127.0.0.1", edge).is_none(), "the seven still count");
    drop(held);
    gateway.wait_for_reason("closed-by-client", 15);
    assert_eq!(figures(&gateway)["sources"]["counted"], 0);
    assert!(is_served("127.0.0.1", edge).is_some());
    gateway.stop();
}

#[test]
fn others_are_served_beside_many_refused_attempts() {
    let server = server::echo();
    let gateway = Gateway::start(&limited("max_connections = 1", &[server.address]));
    let edge = gateway.address("edge");
    let _held = is_served("127.0.0.1", edge).expect("the first may come");
    crowd(2000, 32, |index| match index % 4 {
        0 => client::echo(
            &client::from(&format!("127.0.{}.{}:0", index / 250, index % 250 + 2), edge),
            1,
            10,
        ),
        _ => assert!(is_served("127.0.0.1", edge).is_none()),
    });
    gateway.stop();
}
