//! A server that does not answer is passed over; only when none does, the client is reset.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::support::client::{self, Ending};
use crate::support::config::relay;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::procfs::tcp_counter;
use crate::support::server::{self, Server};
use crate::support::unreachable::{BlackHole, Refusing};

/// Connects to a gateway that has no server to offer: reset, if not at once then soon.
fn is_reset(address: SocketAddr) {
    match client::try_connect(address) {
        Ok(stream) => assert_eq!(client::ending(&stream), Ending::Reset),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
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
    gateway.stop().expect(&[("closed", CONNECTIONS as u64)]);
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
    gateway.stop().expect(&[("closed", CONNECTIONS as u64)]);
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
    gateway.stop().expect(&[("closed", CONNECTIONS as u64)]);
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
        let gateway = Gateway::start(&relay(&servers));
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
    gateway.stop().expect(&[("closed", CONNECTIONS as u64)]);
}
