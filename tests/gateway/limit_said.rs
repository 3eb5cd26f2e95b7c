//! A limit that is reached is said once, with what happens to clients and what to do; and its end.

use std::io::Write;
use std::net::TcpStream;

use crate::support::client;
use crate::support::command::{ask_json, tell};
use crate::support::config::{relay_at_most, relay_with};
use crate::support::gateway::Gateway;
use crate::support::server;
use crate::support::wait_until;

/// Clients that are served, each with an answer.
fn served(gateway: &Gateway, many: usize) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..many).map(|_| client::connect(gateway.address("edge"))).collect();
    streams.iter().for_each(|stream| client::echo(stream, 1, 10));
    streams
}

fn lines(gateway: &Gateway, words: &str) -> Vec<String> {
    gateway.lines().into_iter().filter(|line| line.contains(words)).collect()
}

#[test]
fn a_listener_at_its_limit_is_plain_and_said_once() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with("max_connections = 5", &[server.address]));
    let mut inside = served(&gateway, 5);
    let mut waiting = client::connect(gateway.address("edge"));
    waiting.write_all(b"?").expect("a waiting client may send");
    let reached = gateway.wait_for_lines("its limit is reached", 1);
    for words in [
        " WARN its limit is reached: 5 of 5 connections, by listener.edge.max_connections; new ",
        "; new clients wait in the backlog until others leave; raise max_connections of the ",
        " subject=listener/edge",
    ] {
        assert!(reached[0].contains(words), "{reached:?}");
    }
    let mut status = tell(&gateway, &["status"]);
    wait_until("the client that waits to be seen", || {
        status = tell(&gateway, &["status"]);
        status.contains("\nlistener/edge: full: 5 / 5, 1 client waits (")
    });
    assert!(status.contains("\nedge (full) "), "{status}");
    // The one that waits comes in, so that the limit goes on.
    inside.pop();
    drop(inside);
    let over = gateway.wait_for_lines("its limit is no longer reached", 1);
    assert!(over[0].contains(" INFO ") && over[0].contains("subject=listener/edge"), "{over:?}");
    assert!(over[0].contains("; meanwhile 0 clients refused, 0 connections evicted; "), "{over:?}");
    assert_eq!(lines(&gateway, "its limit is reached").len(), 1);
    assert!(!tell(&gateway, &["status"]).contains("full"));
    let events = ask_json(&gateway, &["status"])["events"].clone();
    let severities: Vec<&str> = events
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["severity"].as_str().expect("a word"))
        .collect();
    assert_eq!(severities, ["info", "warning", "info"], "{events}");
    drop(waiting);
    gateway.stop();
}

#[test]
fn the_gateways_limit_says_how_many_were_refused_meanwhile() {
    let server = server::echo();
    let text = relay_at_most(4, &[server.address]);
    let text = text.replace("upstream = \"app\"\n", "upstream = \"app\"\nat_limit = \"reset\"\n");
    let gateway = Gateway::start(&text);
    let inside = served(&gateway, 4);
    let reached = gateway.wait_for_lines("its limit is reached", 1);
    let words = " 4 of 4 connections, by gateway.max_connections; new clients are reset; ";
    assert!(reached[0].contains(words), "{reached:?}");
    assert!(reached[0].contains("portcullis doctor") && reached[0].ends_with("=gateway"));
    for _ in 0..3 {
        client::expect_reset(client::try_connect(gateway.address("edge")), b"");
    }
    assert!(tell(&gateway, &["status"]).contains("\ngateway: full: 4 / 4 ("));
    drop(inside);
    let over = gateway.wait_for_lines("its limit is no longer reached", 1);
    assert!(over[0].contains("; meanwhile 3 clients refused, 0 connections evicted; "), "{over:?}");
    gateway.stop();
}
