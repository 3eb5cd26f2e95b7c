//! Parts of a gateway that drain, and shares: everybody else is served as ever.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask, ask_json, tell};
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server};
use crate::support::{WATCH, wait_until};

/// Two listeners of one upstream with the servers a and b, and a third of an echo.
fn config(servers: &[Server<()>; 2], drain_timeout: &str) -> String {
    let listener = |name: &str, upstream: &str| {
        format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"{upstream}\"\n")
    };
    let server = |name: &str, server: &Server<()>| {
        format!("{{ name = \"{name}\", address = \"{}\" }}", server.address)
    };
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 2000\ndrain_timeout = \"{drain_timeout}\"\n\
         {}{}{}[upstream.app]\nservers = [{}, {}]\n[upstream.own]\nbuiltin = \"echo\"\n",
        listener("edge", "app"),
        listener("side", "app"),
        listener("other", "own"),
        server("a", &servers[0]),
        server("b", &servers[1]),
    )
}

fn rig() -> (Gateway, [Server<()>; 2]) {
    let servers = [server::named(b'a'), server::named(b'b')];
    (Gateway::start(&config(&servers, "1h")), servers)
}

/// A client, and the first byte that it was answered: a server's name, or its own.
fn served(address: SocketAddr) -> (TcpStream, u8) {
    let mut stream = client::connect(address);
    stream.write_all(b"?").expect("it is let in");
    let mut answer = [0];
    stream.read_exact(&mut answer).expect("an answer");
    (stream, answer[0])
}

fn clients(gateway: &Gateway, listener: &str, count: usize) -> Vec<(TcpStream, u8)> {
    let address = gateway.address(listener);
    (0..count).map(|_| served(address)).collect()
}

/// How many of these are still answered.
fn alive(clients: &[(TcpStream, u8)]) -> usize {
    let answered = |(stream, _): &&(TcpStream, u8)| {
        let mut stream = stream;
        stream.write_all(b"!").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
    };
    clients.iter().filter(answered).count()
}

fn drained(gateway: &Gateway) -> usize {
    let is_it = |line: &&String| line.contains("connection ended reason=drained ");
    gateway.lines().iter().filter(is_it).count()
}

/// The drains under way, as the status has them.
fn drains(gateway: &Gateway) -> Vec<Value> {
    ask_json(gateway, &["status"])["drains"].as_array().expect("a list").clone()
}

#[test]
fn a_listener_that_drains_leaves_the_others_untouched() {
    let (gateway, _servers) = rig();
    let edge = clients(&gateway, "edge", 60);
    let [side, other] = ["side", "other"].map(|name| clients(&gateway, name, 30));
    let said = tell(&gateway, &["drain", "listener/edge", "--over", "1s"]);
    assert!(said.starts_with("draining listener/edge: "), "{said}");
    assert!(said.ends_with("until `portcullis listener edge resume`"), "{said}");
    let mut late = client::connect(gateway.address("edge"));
    late.write_all(b"?").expect("who waits may send");
    gateway.wait_for_reason("drained", 60);
    assert_eq!((alive(&edge), alive(&side), alive(&other)), (0, 30, 30));
    assert!(client::is_silent(&late), "it waits");
    wait_until("the drain to be over", || drains(&gateway).is_empty());
    gateway.wait_for_line("drained: 60 connections ended subject=listener/edge");
    let said = ask(&gateway, &["drain", "listener/edge", "--cancel"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.complaint.contains("listener/edge does not drain"), "{said:?}");
    assert_eq!(tell(&gateway, &["listener", "edge", "resume"]), "edge: open");
    late.read_exact(&mut [0]).expect("it is served");
    assert_eq!(clients(&gateway, "side", 5).len(), 5);
}

#[test]
fn a_server_that_drains_gives_its_clients_to_the_others() {
    let (gateway, servers) = rig();
    let all = clients(&gateway, "edge", 40);
    let accepted = servers[0].accepted();
    tell(&gateway, &["drain", "server/app/a", "--over", "1s"]);
    gateway.wait_for_reason("drained", 20);
    let (of_a, of_b): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, name)| *name == b'a');
    assert_eq!((alive(&of_a), alive(&of_b)), (0, 20));
    assert!(clients(&gateway, "side", 10).iter().all(|(_, name)| *name == b'b'));
    assert_eq!(servers[0].accepted(), accepted);
    tell(&gateway, &["server", "app/a", "ready"]);
    assert!(clients(&gateway, "side", 10).iter().any(|(_, name)| *name == b'a'));
}

#[test]
fn an_upstream_that_drains_is_left_by_all_and_its_cancel_gives_the_weights_back() {
    let (gateway, _servers) = rig();
    let [app, own] = ["edge", "other"].map(|name| clients(&gateway, name, 100));
    tell(&gateway, &["server", "app/b", "weight", "3"]);
    tell(&gateway, &["drain", "upstream/app", "--over", "30s"]);
    gateway.wait_for_reason("drained", 5);
    let refused = ask(&gateway, &["server", "app/a", "ready"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.complaint.contains("`portcullis drain upstream/app --cancel`"), "{refused:?}");
    let said = tell(&gateway, &["drain", "upstream/app", "--cancel"]);
    assert!(said.starts_with("upstream/app: cancelled, "), "{said}");
    let ended = drained(&gateway);
    assert!((5..100).contains(&ended), "{ended}");
    std::thread::sleep(WATCH);
    assert_eq!((drained(&gateway), alive(&app), alive(&own)), (ended, 100 - ended, 100));
    assert!(drains(&gateway).is_empty());
    let status = ask_json(&gateway, &["status"]);
    let servers = status["upstreams"][0]["servers"].as_array().expect("a list");
    let weights: Vec<_> = servers.iter().map(|server| server["weight"].as_u64()).collect();
    assert_eq!(weights, [Some(1), Some(3)]);
    assert_eq!(clients(&gateway, "edge", 10).len(), 10);
}

#[test]
fn a_share_ends_exactly_so_many_and_new_clients_come_all_the_time() {
    let (gateway, _servers) = rig();
    let [edge, side] = ["edge", "side"].map(|name| clients(&gateway, name, 50));
    let said = tell(&gateway, &["drain", "--share", "30", "--over", "2s"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    let late = clients(&gateway, "edge", 20);
    gateway.wait_for_reason("drained", 30);
    wait_until("the drain to be over", || drains(&gateway).is_empty());
    assert_eq!((alive(&edge) + alive(&side), alive(&late)), (70, 20));
    tell(&gateway, &["drain", "listener/side", "--share", "100%", "--over", "1s"]);
    wait_until("everybody of side to leave", || alive(&side) == 0);
    assert_eq!(alive(&late), 20);
    assert_eq!(clients(&gateway, "side", 5).len(), 5);
}

#[test]
fn a_rate_holds_over_all_workers_and_the_status_says_how_far_it_is() {
    const RATE: f64 = 25.0;
    let (gateway, _servers) = rig();
    let all = clients(&gateway, "edge", 100);
    let asked = Instant::now();
    tell(&gateway, &["drain", "listener/edge", "--rate", "25/s"]);
    let mut seen = Vec::new();
    wait_until("all to be drained", || {
        let ended = drained(&gateway);
        // Whoever reads later has read no more than was allowed by then.
        let most = asked.elapsed().as_secs_f64() * RATE + 1.0;
        assert!(ended as f64 <= most, "{ended} by {:?}", asked.elapsed());
        seen.extend(drains(&gateway));
        ended == 100
    });
    let first = &seen[0];
    assert_eq!(first["name"], "listener/edge");
    assert_eq!(first["per_second"], RATE);
    let number = |key: &str| first[key].as_f64().expect("a number");
    assert!((90.0..=101.0).contains(&(number("left") + number("ended"))), "{first}");
    assert!((number("left") / RATE - number("seconds_left")).abs() < 0.1, "{first}");
    assert!(asked.elapsed().as_secs_f64() >= 99.0 / RATE, "{:?}", asked.elapsed());
    assert_eq!(alive(&all), 0);
}

#[test]
fn what_a_reload_takes_away_shows_as_a_drain_and_replaces_an_operators() {
    let (gateway, servers) = rig();
    let side = clients(&gateway, "side", 150);
    tell(&gateway, &["drain", "listener/side", "--over", "1h"]);
    assert_eq!(drains(&gateway)[0]["name"], "listener/side");
    let text = tell(&gateway, &["status"]);
    assert!(text.contains("drain ") && text.contains("listener/side "), "{text}");
    let config = config(&servers, "1h");
    let from = config.find("[listener.side]").expect("a listener");
    let to = config.find("[listener.other]").expect("a listener");
    let config = format!("{}{}", &config[..from], &config[to..]);
    gateway.home().write("portcullis.toml", &config);
    tell(&gateway, &["reload"]);
    let names: Vec<_> = drains(&gateway).into_iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["removed"]);
    wait_until("the removal to be over", || drains(&gateway).is_empty());
    assert_eq!(alive(&side), 0);
}

#[test]
fn a_drain_of_what_there_is_not_is_refused_and_nothing_drains() {
    let (gateway, _servers) = rig();
    let all = clients(&gateway, "edge", 10);
    for (arguments, code, words) in [
        (&["listener/nope"][..], 2, "edge"),
        (&["server/app/nope"], 2, "app/a"),
        (&["upstream/nope"], 2, "app, own"),
        (&["edge"], 2, "listener/NAME"),
        (&["upstream/own"], 1, "drain the listeners that go to it"),
        (&["--share", "0"], 2, "1 to 100"),
        (&["--rate", "0/s"], 2, "connections a second"),
        (&["--over", "10"], 2, "90s or 10m"),
        (&["--cancel", "--over", "10s"], 2, "cannot be used with"),
        (&["listener/edge", "--grace", "10s"], 2, "cannot be used with"),
        (&["--cancel"], 1, "does not drain"),
    ] {
        let said = ask(&gateway, &[&["drain"], arguments].concat());
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert!(said.complaint.contains(words), "{arguments:?}: {said:?}");
    }
    tell(&gateway, &["drain", "listener/edge", "--over", "1h"]);
    let said = ask(&gateway, &["drain", "listener/edge", "--share", "10"]);
    assert!(said.code == Some(1) && said.complaint.contains("drains already"), "{said:?}");
    assert!(drained(&gateway) <= 2 && alive(&all) >= 8);
}
