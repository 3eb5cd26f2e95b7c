//! What TCP means by a connection, and what the gateway makes of it, one statement to a test.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use crate::support::client;
use crate::support::config::{relay, relay_at_most, relay_with, upstream};
use crate::support::gateway::Gateway;
use crate::support::log::parsed;
use crate::support::network::in_own_network;
use crate::support::procfs::{TcpState, tcp_sockets};
use crate::support::server::{self, Server};
use crate::support::wait_until;

fn local(stream: &TcpStream) -> SocketAddr {
    stream.local_addr().expect("a connected socket has an address")
}

fn remote(stream: &TcpStream) -> SocketAddr {
    stream.peer_addr().expect("a connected socket has a peer")
}

/// A gateway with one listener on each of these addresses' free ports.
fn bound_to(addresses: &[&str], server: &Server<()>) -> Gateway {
    Gateway::start(&format!(
        "[gateway]\nworkers = 2\n[listener.edge]\nbind = {addresses:?}\nupstream = \"app\"\n{}",
        upstream("app", &[server.address])
    ))
}

#[test]
fn one_client_address_may_hold_two_connections_to_two_ports() {
    let server = server::echo();
    let gateway = bound_to(&["127.0.0.1:0", "127.0.0.1:0"], &server);
    let ports = gateway.addresses("edge");
    let first = client::connect_from((Ipv4Addr::LOCALHOST, 0).into(), ports[0]);
    let second = client::connect_from(local(&first), ports[1]);
    assert_eq!(local(&first), local(&second), "one client address");
    assert_ne!(remote(&first), remote(&second), "two ports");
    client::echo(&first, 1, 1_000);
    client::echo(&second, 2, 1_000);
    client::echo(&first, 3, 1_000);
}

#[test]
fn two_clients_may_talk_to_one_port() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let (first, second) = (client::connect(address), client::connect(address));
    assert_eq!(remote(&first), remote(&second), "one port");
    assert_ne!(local(&first), local(&second), "two clients");
    client::echo(&first, 1, 1_000);
    client::echo(&second, 2, 1_000);
    client::echo(&first, 3, 1_000);
}

#[test]
fn it_talks_on_the_port_on_which_it_listens() {
    const CONNECTIONS: usize = 50;
    in_own_network(|own| {
        let server = server::echo();
        let gateway = Gateway::start(&relay(&[server.address]));
        let address = gateway.address("edge");
        let listening = || -> BTreeSet<SocketAddr> {
            let sockets = tcp_sockets().into_iter();
            sockets.filter(|s| s.state == TcpState::Listen).map(|s| s.local).collect()
        };
        let before = listening();
        let streams: Vec<_> = (0..CONNECTIONS).map(|_| client::connect(address)).collect();
        for (seed, stream) in (0..).zip(&streams) {
            client::echo(stream, seed, 100);
            assert_eq!(remote(stream), address, "the gateway's end has the listener's port");
        }
        if own {
            assert_eq!(listening(), before, "no connection opens a port to listen on");
        }
    });
}

#[test]
fn a_passive_socket_listens_and_an_active_one_talks() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let streams = [client::connect(address), client::connect(address)];
    for (seed, stream) in (0..).zip(&streams) {
        client::echo(stream, seed, 100);
    }
    let mut sockets = tcp_sockets();
    sockets.retain(|socket| socket.local == address);
    let (passive, active): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| socket.state == TcpState::Listen);
    assert!(passive.iter().all(|socket| socket.remote.port() == 0), "{passive:?}");
    assert!(!passive.is_empty(), "a passive socket stays one while others talk");
    assert!(active.iter().all(|socket| socket.state == TcpState::Established), "{active:?}");
    let peers: BTreeSet<_> = active.iter().map(|socket| socket.remote).collect();
    assert_eq!(peers, streams.iter().map(local).collect(), "one active socket for each client");
}

/// Protocol, client address, client port, local address, local port: any of the last four may be
/// all that tells two connections apart. (The first is TCP: the gateway knows no other.)
#[test]
fn five_things_name_a_connection() {
    let server = server::echo();
    let gateway = bound_to(&["127.0.0.1:0", "127.0.0.1:0"], &server);
    let ports = gateway.addresses("edge");
    // A third address with the first one's port.
    let twin = SocketAddr::from(([127, 0, 0, 2], ports[0].port()));
    let second = bound_to(&[&twin.to_string()], &server);
    let source = SocketAddr::from(([127, 0, 0, 1], 0));
    let first = client::connect_from(source, ports[0]);
    let same_port = |ip| SocketAddr::from((ip, local(&first).port()));
    let streams = [
        client::connect_from(same_port([127, 0, 0, 3]), ports[0]), // another client address
        client::connect_from(source, ports[0]),                    // another client port
        client::connect_from(local(&first), ports[1]),             // another local port
        client::connect_from(local(&first), twin),                 // another local address
        first,
    ];
    let names: BTreeSet<_> = streams.iter().map(|stream| (local(stream), remote(stream))).collect();
    assert_eq!(names.len(), streams.len(), "five names");
    for (seed, stream) in (0..).zip(&streams) {
        client::echo(stream, seed, 100);
    }
    drop(streams);
    let mut lines = gateway.wait_for_ended(4);
    lines.extend(second.wait_for_ended(1));
    let reported: BTreeSet<(SocketAddr, SocketAddr)> =
        lines.iter().map(|line| (parsed(line, "client"), parsed(line, "local"))).collect();
    assert_eq!(reported, names, "the gateway reports them by the same names");
}

#[test]
fn the_gateways_own_connection_to_a_server_has_a_name_too() {
    let server = Server::start(|stream| {
        let names = (remote(&stream), local(&stream));
        server::echo_one(stream);
        names
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..10).map(|_| client::connect(address)).collect();
    for (seed, stream) in (0..).zip(&streams) {
        client::echo(stream, seed, 100);
    }
    drop(streams);
    let seen: BTreeSet<_> = server.outcomes(10).into_iter().collect();
    let lines = gateway.wait_for_ended(10);
    let reported: BTreeSet<(SocketAddr, SocketAddr)> =
        lines.iter().map(|line| (parsed(line, "source"), parsed(line, "server"))).collect();
    assert_eq!(reported, seen, "source and server as the server sees them");
}

#[test]
fn the_backlog_does_not_limit_how_many_are_open() {
    const OPEN: usize = 100;
    let server = server::echo();
    let gateway = Gateway::start(&relay_with("backlog = 4", &[server.address]));
    let address = gateway.address("edge");
    let mut streams = Vec::new();
    for seed in 0..OPEN as u64 {
        streams.push(client::connect(address));
        client::echo(&streams[seed as usize], seed, 100);
    }
    for (seed, stream) in (0..).zip(&streams) {
        client::echo(stream, seed, 100);
    }
    assert_eq!(server.accepted(), OPEN as u64);
}

#[test]
fn who_waits_in_the_backlog_is_connected_and_not_yet_served() {
    const LIMIT: usize = 10;
    let server = server::echo();
    let gateway = Gateway::start(&relay_at_most(LIMIT, &[server.address]));
    let address = gateway.address("edge");
    let mut open: Vec<_> = (0..LIMIT).map(|_| client::connect(address)).collect();
    for (seed, stream) in (0..).zip(&open) {
        client::echo(stream, seed, 100);
    }
    let waiting = client::connect(address);
    let name = local(&waiting);
    let established = |socket: &crate::support::procfs::TcpSocket| {
        socket.local == name && socket.state == TcpState::Established
    };
    assert!(tcp_sockets().iter().any(established), "connected, as the client sees it");
    assert!(client::is_silent(&waiting), "neither served nor turned away");
    assert_eq!(server.accepted(), LIMIT as u64, "and no server has heard of it");
    drop(open.pop());
    client::echo(&waiting, 99, 100);
    wait_until("the server to have it", || server.accepted() == LIMIT as u64 + 1);
}
