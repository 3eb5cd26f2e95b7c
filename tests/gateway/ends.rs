//! A connection is found, and ended, by any end of its sockets; and who has how many is counted.

use std::net::TcpStream;

use serde_json::Value;

use crate::support::client::{self, Ending, from};
use crate::support::command::{ask, ask_json, rows, tell};
use crate::support::config::{relay, upstream};
use crate::support::gateway::Gateway;
use crate::support::server;

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().expect(key).to_owned()
}

/// Four clients of two addresses, each with an answer.
fn four_clients(gateway: &Gateway) -> Vec<TcpStream> {
    let sources = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0"];
    let streams = sources.map(|source| from(source, gateway.address("edge")));
    streams.iter().for_each(|stream| client::echo(stream, 5, 100));
    Vec::from(streams)
}

#[test]
fn any_of_its_ends_finds_a_connection_and_no_other() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let streams = four_clients(&gateway);
    let all = ask_json(&gateway, &["conns"]);
    assert_eq!(rows(&all).len(), 4);
    let found = |filter: &str| -> Vec<String> {
        let answer = ask_json(&gateway, &["conns", "--filter", filter]);
        let mut ids: Vec<String> = rows(&answer).iter().map(|row| text(row, "id")).collect();
        assert_eq!(answer["matched"], ids.len(), "{filter}");
        ids.sort();
        ids
    };
    let mut everybody: Vec<String> = rows(&all).iter().map(|row| text(row, "id")).collect();
    everybody.sort();
    for row in rows(&all) {
        let (id, client, source) = (text(row, "id"), text(row, "client"), text(row, "source"));
        assert_eq!(found(&format!("src={client}")), [id.as_str()]);
        assert_eq!(found(&format!("source={source}")), [id.as_str()]);
        // Both sides decide.
        assert_eq!(found(&format!("src={client} source={source}")), [id.as_str()]);
        assert_eq!(found(&format!("src={client} source=127.0.0.1:1")), [""; 0]);
    }
    let (edge, own) = (gateway.address("edge"), server.address);
    for filter in [format!("local={edge}"), format!("server={own}"), "local=127.0.0.1".to_owned()] {
        assert_eq!(found(&filter), everybody, "{filter}");
    }
    assert_eq!(found("src=127.0.0.2").len(), 1);
    assert_eq!(found("local=127.0.0.2"), [""; 0]);
    assert_eq!(found("source=10.0.0.0/8"), [""; 0]);
    assert_eq!(found("server=127.0.0.1:1"), [""; 0]);

    let client = text(&rows(&all)[0], "client");
    let source = text(&rows(&all)[0], "source");
    let shown = tell(&gateway, &["conns"]);
    assert!(shown.contains("  source  ") && shown.contains(&source), "{shown}");
    tell(&gateway, &["kill", "--filter", &format!("source={source}")]);
    let is_it = |stream: &&TcpStream| stream.local_addr().expect("an end").to_string() == client;
    let (killed, alive): (Vec<&TcpStream>, Vec<&TcpStream>) = streams.iter().partition(is_it);
    assert_eq!(client::ending(killed[0]), Ending::Reset);
    alive.into_iter().for_each(|stream| client::echo(stream, 6, 100));
    gateway.stop();
}

#[test]
fn a_wrong_end_is_answered_by_how_it_is_written() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    for (filter, said) in [
        ("src=10.0.0.1:", "src is a network, an address, or an address with a port; write src=10."),
        ("source=10.0.0.0/33", "write source=10.0.0.0/8, source=10.1.2.3, source=10.1.2.3:443"),
        ("local>10.0.0.1", "local takes =; write local=10.0.0.1:443"),
        ("server=10.0.0.1:99999", "there is no such upstream"),
    ] {
        let answer = ask(&gateway, &["conns", "--filter", filter]);
        assert!(answer.code != Some(0) && answer.complaint.contains(said), "{answer:?}");
    }
    let answer = ask(&gateway, &["conns", "--by", "worker"]);
    assert!(answer.code == Some(2) && answer.complaint.contains("src, pair, server, listener"));
    gateway.stop();
}

#[test]
fn who_has_how_many_is_counted_over_all_workers() {
    let server = server::echo();
    let config = relay(&[server.address]);
    let gateway = Gateway::start(&format!(
        "{config}[listener.inner]\nbind = [\"127.0.0.1:0\"]\nupstream = \"other\"\n{}",
        upstream("other", &[server.address])
    ));
    let edge = four_clients(&gateway);
    let inner = from("127.0.0.3:0", gateway.address("inner"));
    client::echo(&inner, 5, 100);
    let counted = |arguments: &[&str]| {
        let answer = ask_json(&gateway, &[&["conns", "--by"], arguments].concat());
        let groups = answer["groups"].as_array().expect("a list").iter();
        let groups: Vec<(String, u64)> = groups
            .map(|group| (text(group, "name"), group["connections"].as_u64().expect("a number")))
            .collect();
        let number = |key: &str| answer[key].as_u64().expect(key);
        let others = (number("other_groups"), number("other_connections"));
        let sum = groups.iter().map(|(_, connections)| connections).sum::<u64>() + others.1;
        assert_eq!(sum, number("matched"), "{answer}");
        (groups, others)
    };
    let group = |name: &str, connections| (name.to_owned(), connections);
    let sources = [group("127.0.0.1", 3), group("127.0.0.2", 1), group("127.0.0.3", 1)];
    assert_eq!(counted(&["src"]), (sources.to_vec(), (0, 0)));
    assert_eq!(counted(&["src", "--limit", "1"]), (sources[..1].to_vec(), (2, 2)));
    assert_eq!(counted(&["listener"]).0, [group("edge", 4), group("inner", 1)]);
    let [app, other] = ["app", "other"].map(|name| format!("{name}/{}", server.address));
    assert_eq!(counted(&["server"]).0, [group(&app, 4), group(&other, 1)]);
    let filtered = counted(&["src", "--filter", "src=127.0.0.2/31 listener=edge"]);
    assert_eq!(filtered.0, [group("127.0.0.2", 1)]);
    let said = tell(&gateway, &["conns", "--by", "src", "--limit", "1"]);
    let expected = "connections  share  by\n          3   60 %  src=127.0.0.1\n\
                    and 2 others with 2 connections\n5 matched, 5 open";
    assert_eq!(said, expected);
    drop((edge, inner));
    gateway.stop();
}
