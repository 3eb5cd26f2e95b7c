//! What a running gateway says about itself to programs and to commands.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::wait_until;

const ECHO: &str = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
    [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"127.0.0.1:0\"\n";

/// A gateway that holds so many connections, and its status server.
pub(crate) fn holding(connections: usize) -> (Gateway, SocketAddr, Vec<TcpStream>) {
    let gateway = Gateway::start(ECHO);
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

/// What `portcullis status` says about this gateway.
pub(crate) fn status_command(gateway: &Gateway, flags: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("status").args(flags).arg("--admin").arg(gateway.admin_socket());
    let output = command.output().expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_command_and_the_status_server_say_the_same() {
    let (gateway, status, streams) = holding(3);
    let served = reading(status);
    let asked: Value = serde_json::from_str(&status_command(&gateway, &["--json"])).expect("JSON");
    for path in
        ["/schema", "/build", "/listeners/0/accepted", "/listeners/0/addresses", "/budget/limit"]
    {
        assert!(served.pointer(path).is_some(), "{path}");
        assert_eq!(served.pointer(path), asked.pointer(path), "{path}");
    }
    let text = status_command(&gateway, &[]);
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
    assert!(status_command(&gateway, &["--rates"]).contains("accepts/s 0"));
    drop(streams);
    gateway.stop();
}
