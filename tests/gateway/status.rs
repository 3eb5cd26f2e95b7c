//! What a running gateway says about itself to programs and to commands.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask_json, tell};
use crate::support::config::{OWN_ECHO, relay};
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::{server, wait_until};

/// A gateway that holds so many connections, and its status server.
pub(crate) fn holding(connections: usize) -> (Gateway, SocketAddr, Vec<TcpStream>) {
    let gateway = Gateway::start(OWN_ECHO);
    let status = gateway.status();
    let edge = gateway.address("edge");
    let streams = (0..connections).map(|_| client::connect(edge)).collect();
    wait_until("all to be accepted", || reading(status)["listeners"][0]["open"] == connections);
    (gateway, status, streams)
}

pub(crate) fn reading(status: SocketAddr) -> Value {
    let answer = get(status, "/status.json");
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.body).expect("one JSON object")
}

#[test]
fn the_command_and_the_status_server_say_the_same() {
    let (gateway, status, streams) = holding(3);
    let served = reading(status);
    let asked = ask_json(&gateway, &["status"]);
    for path in
        ["/schema", "/build", "/listeners/0/accepted", "/listeners/0/addresses", "/budget/limit"]
    {
        assert!(served.pointer(path).is_some(), "{path}");
        assert_eq!(served.pointer(path), asked.pointer(path), "{path}");
    }
    let text = tell(&gateway, &["status"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = |word: &str| words[words.iter().position(|w| *w == word).expect(word) + 1];
    let version = after("portcullis").trim_end_matches(',');
    assert_eq!((version, after("connections")), (env!("CARGO_PKG_VERSION"), "3"));
    assert_eq!(
        Some(after("by")),
        served["budget"]["bound_by"].as_str().and_then(|by| by.split(' ').next())
    );
    let edge = text.lines().find(|line| line.starts_with("edge ")).expect("a listener");
    assert!(edge.ends_with(&gateway.address("edge").to_string()), "{edge}");
    assert!(!text.contains("accepts/s"), "{text}");
    assert!(tell(&gateway, &["status", "--rates"]).contains("accepts/s 0"));
    drop(streams);
    gateway.stop();
}

#[test]
fn a_server_says_how_long_its_last_connects_took() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let connect = || {
        let answer = ask_json(&gateway, &["status"]);
        let server = &answer["upstreams"][0]["servers"][0];
        ["connect_p50_seconds", "connect_p99_seconds"].map(|key| server[key].as_f64())
    };
    assert_eq!(connect(), [None, None]);
    assert!(!tell(&gateway, &["status"]).contains("connect p50"));
    let stream = client::connect(gateway.address("edge"));
    client::echo(&stream, 3, 100);
    // A reading answers whoever asks within a moment.
    wait_until("the connect to be read", || connect()[0].is_some());
    let [half, most] = connect().map(|seconds| seconds.expect("there was one"));
    assert!(0.0 < half && half < most, "{half} {most}");
    let text = tell(&gateway, &["status"]);
    assert!(text.contains("connect p50") && text.contains(" ms"), "{text}");
    drop(stream);
    gateway.stop();
}
