//! Connections that an operator ends: those that were meant, as if their time were over.

use std::net::{SocketAddr, TcpStream};

use crate::support::client::{self, Ending, from};
use crate::support::command::{ask, ask_json, rows, words};
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server};
use crate::support::wait_until;

fn greeted(streams: &[TcpStream]) {
    for stream in streams {
        client::echo(stream, 3, 100);
    }
}

/// Two clients of 127.0.0.2 after three of 127.0.0.1.
fn five_clients(address: SocketAddr) -> Vec<TcpStream> {
    let sources = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0", "127.0.0.2:0"];
    let streams = sources.map(|source| from(source, address));
    greeted(&streams);
    Vec::from(streams)
}

#[test]
fn an_id_ends_one_connection_and_is_stale_afterwards() {
    let server = Server::start(|stream| {
        let mut pattern = Pattern::new(3);
        client::receive(&stream, &mut pattern, 100);
        client::receive_all(&stream, &mut pattern)
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..3).map(|_| client::connect(address)).collect();
    for stream in &streams {
        client::send(stream, &mut Pattern::new(3), 100).expect("sent");
    }
    let mut answer = ask_json(&gateway, &["conns"]);
    wait_until("all bytes to be with the server", || {
        answer = ask_json(&gateway, &["conns"]);
        rows(&answer).iter().filter(|row| row["to_upstream_bytes"] == 100).count() == 3
    });
    let own = streams[1].local_addr().expect("an address").to_string();
    let row = rows(&answer).iter().find(|row| row["client"] == own.as_str()).expect("a row");
    let id = row["id"].as_str().expect("an id");
    let said = ask(&gateway, &["kill", id]);
    assert_eq!((said.code, said.answer.as_str()), (Some(0), "1 connection ended\n"));
    assert_eq!(client::ending(&streams[1]), Ending::Reset);
    let brought = server.outcomes(1);
    assert_eq!((brought[0].bytes, brought[0].ending), (0, Ending::Reset));
    gateway.wait_for_reason("killed", 1);
    let said = ask(&gateway, &["kill", id]);
    let stale = format!("0 connections ended\n{id}: there is no such connection any more\n");
    assert_eq!((said.code, said.answer), (Some(1), stale));
    let said = ask(&gateway, &["kill", "0-99999999-1", "77-0-0"]);
    assert_eq!(said.code, Some(1));
    assert!(said.answer.contains("77-0-0: there is no such"), "{}", said.answer);
    assert_eq!(ask_json(&gateway, &["conns"])["matched"], 2);
    drop(streams);
    gateway.wait_for_reason("closed-by-client", 2);
    gateway.stop().expect(&[("killed", 1), ("closed-by-client", 2)]);
}

#[test]
fn a_filter_ends_those_that_a_dry_run_shows() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let streams = five_clients(gateway.address("edge"));
    let filter = ["--filter", "src=127.0.0.2", "state=joined"];
    let dry = ask_json(&gateway, &[&["kill", "--dry-run"][..], &filter].concat());
    let mut shown = words(&dry, "client");
    let mut meant: Vec<_> = streams[3..]
        .iter()
        .map(|stream| stream.local_addr().expect("an address").to_string())
        .collect();
    shown.sort_unstable();
    meant.sort_unstable();
    assert_eq!(shown, meant);
    greeted(&streams);
    let answer = ask_json(&gateway, &[&["kill"][..], &filter].concat());
    let numbers = ["matched", "killed", "left"].map(|key| answer[key].as_u64());
    assert_eq!(numbers, [Some(2), Some(2), Some(0)]);
    for stream in &streams[3..] {
        assert_eq!(client::ending(stream), Ending::Reset);
    }
    greeted(&streams[..3]);
    drop(streams);
    gateway.wait_for_reason("closed-by-client", 3);
    gateway.stop().expect(&[("killed", 2), ("closed-by-client", 3)]);
}

#[test]
fn who_is_owed_bytes_gets_a_reset() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let stream = client::connect_narrow(gateway.address("edge"));
    let sent = client::send_until_stalled(&stream, &mut Pattern::new(5));
    let answer = ask_json(&gateway, &["kill", "--filter", "src=127.0.0.1"]);
    assert_eq!(answer["killed"], 1);
    let brought = client::receive_all(&stream, &mut Pattern::new(5));
    assert!(brought.bytes < sent && brought.ending == Ending::Reset, "{brought:?} of {sent}");
    gateway.wait_for_reason("killed", 1);
    gateway.stop().expect(&[("killed", 1)]);
}

#[test]
fn nobody_is_ended_by_an_order_that_names_nobody() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let streams = five_clients(gateway.address("edge"));
    for (arguments, code, said) in [
        (&["kill"][..], 2, "--filter"),
        (&["kill", "--yes"], 2, "--filter"),
        (&["kill", "0-1-1", "--filter", "state=joined"], 2, "cannot be used with"),
        (&["kill", "--filter", ""], 2, "nobody is named"),
        (&["kill", "--filter", " "], 2, "nobody is named"),
        (&["kill", "--filter", "state=alive"], 2, "there is no such state"),
        (&["kill", "1-2"], 2, "\"1-2\": that is no connection's id; write it as conns shows it"),
    ] {
        let answer = ask(&gateway, arguments);
        assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.complaint);
        assert!(answer.complaint.contains(said), "{arguments:?}: {}", answer.complaint);
    }
    greeted(&streams);
    drop(streams);
    gateway.wait_for_reason("closed-by-client", 5);
    gateway.stop().expect(&[("closed-by-client", 5)]);
}

#[test]
fn more_than_a_thousand_are_ended_only_when_confirmed() {
    const CLIENTS: usize = 1_100;
    let gateway = Gateway::start(
        "[gateway]\nworkers = 2\nmax_connections = 2000\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n",
    );
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..CLIENTS).map(|_| client::connect(address)).collect();
    greeted(&streams);
    let said = ask(&gateway, &["kill", "--filter", "state=joined"]);
    assert_eq!((said.code, said.answer.as_str()), (Some(1), ""));
    assert!(said.complaint.contains("1,100 connections match"), "{}", said.complaint);
    assert!(said.complaint.contains("--yes"), "{}", said.complaint);
    let dry = ask_json(&gateway, &["kill", "--dry-run", "--filter", "state=joined"]);
    assert_eq!((&dry["matched"], rows(&dry).len()), (&CLIENTS.into(), 1000));
    greeted(&streams);
    let answer = ask_json(&gateway, &["kill", "--yes", "--filter", "state=joined"]);
    assert_eq!((&answer["killed"], &answer["left"]), (&CLIENTS.into(), &0.into()));
    for stream in &streams {
        assert_eq!(client::ending(stream), Ending::Reset);
    }
    gateway.wait_for_reason("killed", CLIENTS);
    gateway.stop().expect(&[("killed", CLIENTS as u64)]);
}
