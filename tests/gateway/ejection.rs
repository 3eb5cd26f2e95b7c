//! A server that fails clients is ejected: it is spared, said, and tried again.

use std::io::{Read, Write};

use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask_json, tell};
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server};
use crate::support::unreachable::Refusing;
use crate::support::wait_until;

/// The key of a server in the status.
fn said(gateway: &Gateway, server: usize, key: &str) -> Value {
    ask_json(gateway, &["status"])["upstreams"][0]["servers"][server][key].clone()
}

fn echoes(gateway: &Gateway, clients: u64) {
    let address = gateway.address("edge");
    (0..clients).for_each(|seed| client::echo(&client::connect(address), seed, 100));
}

#[test]
fn a_server_that_refuses_is_spared_and_said_and_back_when_it_answers() {
    let (refusing, server) = (Refusing::new(), server::echo());
    let config = relay(&[refusing.address, server.address]);
    let gateway = Gateway::start(&format!("{config}eject_for = \"1s\"\n"));
    echoes(&gateway, 40);
    gateway.wait_for_line("is ejected: ");
    let line = gateway.lines().into_iter().find(|line| line.contains("is ejected"));
    let line = line.expect("it was waited for");
    for words in ["WARN", "ECONNREFUSED", "1 of 2 serve", &refusing.address.to_string()] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert_eq!(said(&gateway, 0, "up"), 0);
    let error = said(&gateway, 0, "last_error");
    assert!(error.as_str().expect("words").contains("ECONNREFUSED"), "{error}");
    let attempts = || said(&gateway, 0, "attempts").as_u64().expect("a number");
    assert!((3..=10).contains(&attempts()), "{} attempts", attempts());
    // From here on it answers.
    let address = refusing.address;
    drop(refusing);
    let back = Server::on(&address.to_string(), server::echo_one);
    wait_until("a client to try it", || {
        echoes(&gateway, 2);
        said(&gateway, 0, "state") == "up"
    });
    gateway.wait_for_line("serves again");
    assert!(back.accepted() > 0);
    gateway.stop();
}

#[test]
fn a_server_that_is_back_starts_slowly_where_that_is_asked_for() {
    let (refusing, server) = (Refusing::new(), server::echo());
    let keys = "eject_for = \"1s\"\nbalance = \"round-robin\"\nslow_start = \"1h\"\n";
    let config = relay(&[refusing.address, server.address]) + keys;
    let gateway = Gateway::start(&config);
    assert_eq!(said(&gateway, 1, "state"), "up", "after the gateway's start none is slow");
    echoes(&gateway, 20);
    gateway.wait_for_line("is ejected: ");
    let address = refusing.address;
    drop(refusing);
    let back = Server::on(&address.to_string(), server::echo_one);
    wait_until("a client to try it", || {
        echoes(&gateway, 2);
        said(&gateway, 0, "state") == "slow-start"
    });
    assert_eq!((said(&gateway, 0, "up"), said(&gateway, 0, "weight")), (1.into(), 1.into()));
    let (before, others) = (back.accepted(), server.accepted());
    echoes(&gateway, 100);
    let (came, others) = (back.accepted() - before, server.accepted() - others);
    assert!(came <= 6 && came + others == 100, "{came} came at once");
    gateway.home().write("portcullis.toml", &config.replace("\"1h\"", "\"off\""));
    tell(&gateway, &["reload"]);
    wait_until("its whole share", || said(&gateway, 0, "state") == "up");
    let before = back.accepted();
    echoes(&gateway, 100);
    assert!((45..=55).contains(&(back.accepted() - before)));
    gateway.stop();
}

#[test]
fn a_server_that_ends_connections_at_once_is_spared() {
    let (bad, good) = (Server::start(drop), server::echo());
    let gateway = Gateway::start(&relay(&[bad.address, good.address]));
    let address = gateway.address("edge");
    let failed = (0..40).filter(|_| {
        let mut stream = client::connect(address);
        stream.write_all(b"?").is_err() || !matches!(stream.read(&mut [0]), Ok(1))
    });
    let failed = failed.count();
    assert!((3..10).contains(&failed), "{failed} clients came to it");
    gateway.wait_for_line("it ends connections at once, without a byte");
    assert_eq!(said(&gateway, 0, "state"), "ejected");
    gateway.stop();
}
