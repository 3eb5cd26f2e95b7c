//! Listeners that an operator pauses and servers that one drains, while clients come and go.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::client;
use crate::support::command::{ask, tell};
use crate::support::config::{relay, relay_at_most, relay_with};
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::server::{self, Server};
use crate::support::wait_until;

/// A client that has sent something; it may wait in the backlog.
fn knock(address: SocketAddr) -> TcpStream {
    let mut stream = client::connect(address);
    stream.write_all(b"?").expect("a waiting client may send");
    stream
}

/// The byte that a client is answered.
fn answer(mut stream: &TcpStream) -> u8 {
    let mut answer = [0];
    stream.read_exact(&mut answer).expect("an answer");
    answer[0]
}

fn lines_with(gateway: &Gateway, fragment: &str) -> usize {
    gateway.lines().iter().filter(|line| line.contains(fragment)).count()
}

#[test]
fn a_paused_listener_lets_clients_wait_and_serves_who_is_there() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let early: Vec<_> = (0..10).map(|_| knock(address)).collect();
    early.iter().for_each(|stream| assert_eq!(answer(stream), b'?'));

    assert_eq!(tell(&gateway, &["listener", "edge", "pause"]), "edge: paused");
    assert_eq!(tell(&gateway, &["listener", "edge", "pause"]), "edge: paused");
    assert_eq!(lines_with(&gateway, "paused; its clients wait"), 1);
    let late: Vec<_> = (0..40).map(|_| knock(address)).collect();
    assert!(client::is_silent(&late[0]) && client::is_silent(&late[39]));
    assert_eq!(server.accepted(), 10, "no client was accepted while paused");
    for (index, stream) in early.iter().enumerate() {
        client::echo(stream, index as u64, 5000);
    }

    assert_eq!(tell(&gateway, &["listener", "edge", "resume"]), "edge: open");
    late.iter().for_each(|stream| assert_eq!(answer(stream), b'?'));
    drop((early, late));
    gateway.wait_for_ended(50);
    gateway.stop().expect(&[("closed-by-client", 50)]);
}

#[test]
fn pauses_under_load_lose_nobody() {
    const CLIENTS: usize = 600;
    let server = server::echo();
    // More come than there is room for, so that every way to accept has its turn.
    let gateway = Gateway::start(&relay_at_most(40, &[server.address]));
    let address = gateway.address("edge");
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            crowd(CLIENTS, 60, |index| {
                client::echo(&client::connect(address), index as u64, 100);
            });
        });
        for _ in 0..5 {
            assert_eq!(tell(&gateway, &["listener", "edge", "pause"]), "edge: paused");
            let accepted = server.accepted();
            std::thread::sleep(std::time::Duration::from_millis(50));
            // Who was let in before may be on the way to the server.
            assert!(server.accepted() <= accepted + 40);
            assert_eq!(tell(&gateway, &["listener", "edge", "resume"]), "edge: open");
        }
        load.join().expect("every client is served");
    });
    gateway.wait_for_ended(CLIENTS);
    gateway.stop().expect(&[("closed-by-client", CLIENTS as u64)]);
}

#[test]
fn a_pause_holds_at_a_limit_whatever_the_policy() {
    for policy in ["queue", "reset"] {
        let server = server::echo();
        let keys = format!("max_connections = 5\nat_limit = \"{policy}\"");
        let gateway = Gateway::start(&relay_with(&keys, &[server.address]));
        let address = gateway.address("edge");
        let mut served: Vec<_> = (0..5).map(|_| knock(address)).collect();
        served.iter().for_each(|stream| assert_eq!(answer(stream), b'?'));
        assert_eq!(tell(&gateway, &["listener", "edge", "pause"]), "edge: paused");
        let waiting: Vec<_> = (0..3).map(|_| knock(address)).collect();
        served.truncate(2);
        gateway.wait_for_ended(3);
        assert!(waiting.iter().all(client::is_silent), "{policy}: nobody is served or reset");
        tell(&gateway, &["listener", "edge", "resume"]);
        waiting.iter().for_each(|stream| assert_eq!(answer(stream), b'?'));
        drop((served, waiting));
        gateway.wait_for_ended(8);
        gateway.stop().expect(&[("closed-by-client", 8)]);
    }
}

#[test]
fn a_drain_serves_who_waits_at_a_paused_listener() {
    const WAITING: usize = 20;
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    tell(&gateway, &["listener", "edge", "pause"]);
    let waiting: Vec<_> = (0..WAITING).map(|_| knock(address)).collect();
    tell(&gateway, &["drain"]);
    waiting.iter().for_each(|stream| assert_eq!(answer(stream), b'?'));
    drop(waiting);
    let report = gateway.stop_has_begun();
    assert_eq!((report.accepted, report.queue_reset), (WAITING as u64, 0));
}

#[test]
fn an_unknown_name_is_answered_by_the_known_ones() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let said = ask(&gateway, &["listener", "egde", "pause"]);
    assert_eq!((said.code, said.answer.as_str()), (Some(2), ""));
    let known = "\"egde\": there is no such listener; write one of edge";
    assert!(said.complaint.contains(known), "{}", said.complaint);
    let said = ask(&gateway, &["server", "app/b", "drain"]);
    let known = format!("\"app/b\": there is no such server; write one of app/{}", server.address);
    assert!(said.code == Some(2) && said.complaint.contains(&known), "{}", said.complaint);
    for wrong in [["ready", "5"], ["weight", "101"], ["weight", "-1"], ["weight", "much"]] {
        let said = ask(&gateway, &["server", "app/b", wrong[0], wrong[1]]);
        assert_eq!(said.code, Some(2), "{wrong:?}: {}", said.complaint);
    }
    assert_eq!(ask(&gateway, &["server", "app/b", "weight"]).code, Some(2));
    gateway.stop();
}

/// Servers `a` and `b` behind one worker, whose shares are then exact.
fn pair(balance: &str, weights: [u32; 2]) -> (Gateway, [Server<()>; 2]) {
    let servers = [server::named(b'a'), server::named(b'b')];
    let table = |index: usize| {
        let (name, address) = (["a", "b"][index], servers[index].address);
        format!("{{ name = \"{name}\", address = \"{address}\", weight = {} }}", weights[index])
    };
    let gateway = Gateway::start(&format!(
        "[gateway]\nworkers = 1\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [{}, {}]\nbalance = \"{balance}\"\n",
        table(0),
        table(1)
    ));
    (gateway, servers)
}

/// How many of so many new connections, all open at once, each server gets.
fn shares(address: SocketAddr, count: usize) -> ([usize; 2], Vec<TcpStream>) {
    let mut shares = [0; 2];
    let streams: Vec<_> = (0..count)
        .map(|_| {
            let stream = knock(address);
            shares[usize::from(answer(&stream) - b'a')] += 1;
            stream
        })
        .collect();
    (shares, streams)
}

#[test]
fn weights_of_the_config_are_shares() {
    for balance in ["round-robin", "least-connections"] {
        let (gateway, _servers) = pair(balance, [3, 1]);
        let (shares, streams) = shares(gateway.address("edge"), 40);
        assert_eq!(shares, [30, 10], "{balance}");
        drop(streams);
        gateway.stop();
    }
}

#[test]
fn a_drained_server_keeps_its_connections_and_gets_no_new_ones() {
    let (gateway, servers) = pair("round-robin", [1, 1]);
    let address = gateway.address("edge");
    let (before, early) = shares(address, 10);
    assert_eq!(before, [5, 5]);
    let words = tell(&gateway, &["server", "app/a", "drain"]);
    assert_eq!(words, "app/a: draining, weight 1, 5 connections open");
    let (during, late) = shares(address, 10);
    assert_eq!((during, servers[0].accepted()), ([0, 10], 5));
    for (index, stream) in early.iter().enumerate() {
        client::echo(stream, index as u64, 1000);
    }
    let words = tell(&gateway, &["server", "app/a", "ready"]);
    assert_eq!(words, "app/a: ready, weight 1, 5 connections open");
    assert_eq!(gateway.wait_for_lines("subject=server/app/a", 2).len(), 2);
    let (after, later) = shares(address, 10);
    assert_eq!(after, [5, 5]);
    drop((early, late, later));
    gateway.wait_for_ended(30);
    gateway.stop().expect(&[("closed-by-client", 30)]);
}

#[test]
fn a_weight_can_be_changed_and_at_0_nobody_comes() {
    let (gateway, _servers) = pair("round-robin", [1, 1]);
    let address = gateway.address("edge");
    tell(&gateway, &["server", "app/b", "weight", "4"]);
    let (share, first) = shares(address, 20);
    assert_eq!(share, [4, 16]);
    tell(&gateway, &["server", "app/a", "weight", "0"]);
    assert_eq!(shares(address, 6).0, [0, 6]);
    assert!(tell(&gateway, &["server", "app/b", "drain"]).starts_with("app/b: draining, "));
    let ended = gateway.lines().iter().filter(|line| line.contains("reason=no-server")).count();
    assert_eq!(ended, 0);
    for _ in 0..5 {
        client::expect_reset(client::try_connect(address), b"");
    }
    gateway.wait_for_reason("no-server", 5);
    let words = tell(&gateway, &["server", "app/b", "ready"]);
    assert!(words.starts_with("app/b: ready, weight 4, "), "{words}");
    wait_until("a server again", || {
        client::try_connect(address).is_ok_and(|mut stream| {
            stream.write_all(b"?").is_ok() && stream.read(&mut [0]).is_ok_and(|got| got == 1)
        })
    });
    drop(first);
    gateway.stop();
}

#[test]
fn metrics_say_what_is_paused_and_weighs_nothing() {
    let server = server::echo();
    let config = relay(&[server.address]);
    let gateway = Gateway::start(&format!("{config}\n[status]\nbind = \"127.0.0.1:0\"\n"));
    let status = gateway.status();
    let name = format!("app/{}", server.address);
    let says = |paused: u32, weight: u32| {
        let text = get(status, "/metrics").body;
        let labels = format!("{{upstream=\"app\",server=\"{}\"}}", server.address);
        assert!(text.contains(&format!("portcullis_server_weight{labels} {weight}\n")), "{text}");
        let paused = format!("portcullis_listener_paused{{listener=\"edge\"}} {paused}\n");
        assert!(text.contains(&paused), "{text}");
    };
    says(0, 1);
    tell(&gateway, &["listener", "edge", "pause"]);
    tell(&gateway, &["server", &name, "weight", "0"]);
    says(1, 0);
    tell(&gateway, &["listener", "edge", "resume"]);
    tell(&gateway, &["server", &name, "weight", "9"]);
    says(0, 9);
    gateway.stop();
}
