//! A server that does not answer is passed over; only when none does, the client is reset.

use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::support::client::{self, Ending};
use crate::support::command::{ask_json, tell};
use crate::support::config::relay;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::procfs::tcp_counter;
use crate::support::server::{self, Server};
use crate::support::unreachable::{BlackHole, Refusing};
use crate::support::wait_until;

/// Connects to a gateway that has no server to offer: reset, if not at once then soon.
fn is_reset(address: SocketAddr) {
    client::expect_reset(client::try_connect(address), b"");
}

#[test]
fn a_refusing_server_is_passed_over() {
    const CONNECTIONS: usize = 60;
    let (refusing, server) = (Refusing::new(), server::echo());
    let gateway = Gateway::start(&relay(&[refusing.address, server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, 20, |index| {
        client::echo(&client::connect(address), index as u64, 100);
    });
    assert_eq!(server.accepted(), CONNECTIONS as u64);
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("closed-by-client", CONNECTIONS as u64)]);
}

#[test]
fn what_a_refusing_server_does_not_take_is_shared_by_all_others() {
    const CONNECTIONS: usize = 120;
    let (refusing, servers) = (Refusing::new(), [server::echo(), server::echo(), server::echo()]);
    let [first, second, third] = servers.each_ref().map(|server| server.address);
    let gateway = Gateway::start(&relay(&[first, refusing.address, second, third]));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| client::connect(address)).collect();
    for (index, stream) in streams.iter().enumerate() {
        client::echo(stream, index as u64, 100);
    }
    let shares = servers.each_ref().map(Server::accepted);
    assert_eq!(shares.iter().sum::<u64>(), CONNECTIONS as u64);
    assert!(shares.iter().all(|share| (30..=50).contains(share)), "{shares:?}");
    drop(streams);
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("closed-by-client", CONNECTIONS as u64)]);
}

#[test]
fn a_client_is_reset_when_every_server_refuses() {
    const CONNECTIONS: usize = 60;
    let refusing = [Refusing::new(), Refusing::new()];
    let gateway = Gateway::start(&relay(&refusing.each_ref().map(|server| server.address)));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, 20, |_| is_reset(address));
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("no-server", CONNECTIONS as u64)]);
}

#[test]
fn a_silent_server_is_passed_over_after_the_connect_timeout() {
    const CONNECTIONS: usize = 20;
    let (hole, server) = (BlackHole::new(), server::echo());
    let config = relay(&[hole.address, server.address]);
    let gateway = Gateway::start(&format!("{config}connect_timeout = \"300ms\"\n"));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        client::echo(&client::connect(address), index as u64, 100);
    });
    assert_eq!(server.accepted(), CONNECTIONS as u64);
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("closed-by-client", CONNECTIONS as u64)]);
}

#[test]
fn a_silent_server_takes_a_part_of_the_connect_timeout() {
    let (hole, servers) = (BlackHole::new(), [(); 11].map(|()| server::echo()));
    let mut addresses = servers.each_ref().map(|server| server.address).to_vec();
    addresses.insert(0, hole.address);
    let keys = "balance = \"round-robin\"\nconnect_timeout = \"2m\"\nconnect_attempts = 12\n\
                eject_after = \"off\"\n";
    let gateway = Gateway::start(&(relay(&addresses) + keys));
    let address = gateway.address("edge");
    // Each server has its turn, and nobody waits for longer than a test does.
    crowd(24, 24, |index| {
        client::echo(&client::connect(address), index as u64, 100);
    });
    gateway.wait_for_ended(24);
    gateway.stop().expect(&[("closed-by-client", 24)]);
}

#[test]
fn no_more_servers_are_tried_than_connect_attempts() {
    let (refusing, server) = (Refusing::new(), server::echo());
    let keys = "balance = \"round-robin\"\nconnect_attempts = 1\neject_after = \"off\"\n";
    let config = relay(&[refusing.address, server.address]) + keys;
    let gateway = Gateway::start(&config.replace("workers = 2", "workers = 1"));
    let address = gateway.address("edge");
    // One after the other, they come to the two in turn.
    for _ in 0..20 {
        let Ok(stream) = client::try_connect(address) else { continue };
        let _ = stream.shutdown(Shutdown::Write);
        client::ending(&stream);
    }
    gateway.wait_for_ended(20);
    gateway.stop().expect(&[("closed-by-client", 10), ("no-server", 10)]);
}

#[test]
fn a_client_is_reset_when_every_server_is_silent() {
    const CONNECTIONS: usize = 10;
    let holes = [BlackHole::new(), BlackHole::new()];
    let config = relay(&holes.each_ref().map(|hole| hole.address));
    let gateway = Gateway::start(&format!("{config}connect_timeout = \"300ms\"\n"));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, CONNECTIONS, |_| is_reset(address));
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("no-server", CONNECTIONS as u64)]);
}

#[test]
fn each_server_is_tried_once_for_a_connection() {
    const CONNECTIONS: usize = 20;
    in_own_network(|own| {
        let refusing = [Refusing::new(), Refusing::new(), Refusing::new()];
        let servers = refusing.each_ref().map(|server| server.address);
        let gateway = Gateway::start(&format!("{}eject_after = \"off\"\n", relay(&servers)));
        let address = gateway.address("edge");
        let before = tcp_counter("AttemptFails");
        crowd(CONNECTIONS, 5, |_| is_reset(address));
        gateway.wait_for_ended(CONNECTIONS);
        let attempts = tcp_counter("AttemptFails") - before;
        if own {
            assert_eq!(attempts, (CONNECTIONS * servers.len()) as u64, "refused attempts");
        }
        gateway.stop().expect(&[("no-server", CONNECTIONS as u64)]);
    });
}

#[test]
fn a_server_that_answers_and_ends_at_once_is_not_passed_over() {
    const CONNECTIONS: usize = 40;
    let servers = [Server::start(drop), Server::start(drop)];
    let gateway = Gateway::start(&relay(&servers.each_ref().map(|server| server.address)));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, 10, |_| {
        assert_eq!(client::ending(&client::connect(address)), Ending::Fin);
    });
    gateway.wait_for_ended(CONNECTIONS);
    let accepted: u64 = servers.iter().map(Server::accepted).sum();
    assert_eq!(accepted, CONNECTIONS as u64, "one server for each connection");
    gateway.stop().expect(&[("closed-by-server", CONNECTIONS as u64)]);
}

/// So many clients that have asked for one byte.
fn asking(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    client::asking((0..count).map(|_| client::connect(address)))
}

#[test]
fn clients_wait_while_the_only_server_is_in_maintenance() {
    let server = server::echo();
    let gateway = Gateway::start(&(relay(&[server.address]) + "all_down = \"wait\"\n"));
    let address = gateway.address("edge");
    let part = format!("app/{}", server.address);
    tell(&gateway, &["server", &part, "maintenance"]);
    let waiting = asking(address, 20);
    let is_told = || {
        let status = ask_json(&gateway, &["status"]);
        status["upstreams"][0]["waiting"].as_u64().is_some_and(|waiting| waiting > 0)
    };
    wait_until("the status to show who waits", is_told);
    assert_eq!(server.accepted(), 0);
    tell(&gateway, &["server", &part, "ready"]);
    waiting.iter().for_each(client::hear);
    drop(waiting);
    gateway.wait_for_ended(20);
    gateway.stop().expect(&[("closed-by-client", 20)]);
}

#[test]
fn clients_wait_for_a_server_that_was_ejected_to_be_back() {
    let refusing = Refusing::new();
    let keys = "all_down = \"wait\"\neject_for = \"1s\"\neject_after = 2\n";
    let gateway = Gateway::start(&(relay(&[refusing.address]) + keys));
    let address = gateway.address("edge");
    is_reset(address);
    // The next one finds out that it does not serve, and waits with all others.
    let waiting = asking(address, 20);
    gateway.wait_for_line("is ejected: ");
    gateway.wait_for_line("no server is left that serves, of 1: its clients wait");
    let target = refusing.address;
    drop(refusing);
    let server = Server::on(&target.to_string(), server::echo_one);
    waiting.iter().for_each(client::hear);
    assert_eq!(server.accepted(), 20);
    drop(waiting);
    gateway.wait_for_ended(21);
    gateway.stop().expect(&[("closed-by-client", 20), ("no-server", 1)]);
}

#[test]
fn who_waits_for_a_server_does_so_for_queue_timeout() {
    let server = server::echo();
    let keys = "all_down = \"wait\"\nqueue_timeout = \"1s\"\n";
    let gateway = Gateway::start(&(relay(&[server.address]) + keys));
    tell(&gateway, &["server", &format!("app/{}", server.address), "maintenance"]);
    assert_eq!(client::ending(&asking(gateway.address("edge"), 1)[0]), Ending::Reset);
    gateway.wait_for_reason("queue-timeout", 1);
    gateway.stop().expect(&[("queue-timeout", 1)]);
}
