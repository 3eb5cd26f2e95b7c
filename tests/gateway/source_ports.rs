//! Without a free port towards its servers the gateway lets clients wait instead of losing them.

use std::net::{SocketAddr, TcpStream};

use crate::support::client;
use crate::support::config::{relay, upstream};
use crate::support::gateway::Gateway;
use crate::support::http::say;
use crate::support::network::in_own_network;
use crate::support::server::{self, Server};
use crate::support::socket::reset;
use crate::support::wait_until;

/// Ports in the test's own network.
const PORTS: std::ops::Range<u16> = 61_000..61_100;

/// What the log says when they run out.
const SHORT: &str = "every source port towards its servers is taken";

/// Leaves the kernel these ports alone to choose from, in a network of the test's own.
fn set_range(ports: &std::ops::Range<u16>) {
    let range = format!("{} {}", ports.start, ports.end - 1);
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).expect("our own range");
}

/// Runs a test whose network is its own. The range of a host that others share is not touched:
/// `in_own_network` has said so then.
fn in_own_ports(test: impl FnOnce() + Send) {
    in_own_network(|own| {
        if own {
            test();
        }
    });
}

/// A client from a port outside the range: one that is bound by name is never chosen for another.
fn client_from(port: u16, address: SocketAddr) -> TcpStream {
    client::connect_from(([127, 0, 0, 1], port).into(), address)
}

/// Clients that have asked for one byte, and their upstream has no port.
fn ask(ports: std::ops::Range<u16>, address: SocketAddr) -> Vec<TcpStream> {
    client::asking(ports.map(|port| client_from(port, address)))
}

#[test]
fn ports_of_both_parities_are_taken_from_the_first_on() {
    const CLIENTS: usize = 16;
    let server = Server::start(|stream: TcpStream| {
        let from = stream.peer_addr().expect("it is connected");
        server::echo_one(stream);
        from.port()
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    for seed in 0..CLIENTS {
        client::echo(&client::connect(gateway.address("edge")), seed as u64, 10);
    }
    // The kernel by itself takes no odd one before every even one is taken.
    let ports = server.outcomes(CLIENTS);
    let odd = ports.iter().filter(|port| *port % 2 == 1).count();
    assert!((1..CLIENTS).contains(&odd), "{ports:?}");
    gateway.stop();
}

#[test]
fn clients_wait_for_a_port_and_are_served_when_one_is_free() {
    in_own_ports(|| {
        let server = server::echo();
        let gateway = Gateway::start(&relay(&[server.address]));
        let address = gateway.address("edge");
        set_range(&PORTS);
        // Clients share the range, but not the pair of source and destination.
        let mut served: Vec<TcpStream> = PORTS.map(|_| client::connect(address)).collect();
        for (seed, stream) in (0..).zip(&served) {
            client::echo(stream, seed, 10);
        }
        let waiting = ask(50_000..50_020, address);
        let line = &gateway.wait_for_lines(SHORT, 1)[0];
        assert!(line.contains(" WARN ") && line.contains("ip_local_port_range"), "{line}");
        assert!(line.contains("of 100: connections of this gateway have them (100 "), "{line}");
        // Twenty leave, and twenty ports with them.
        served.drain(..20).for_each(drop);
        gateway.wait_for_ended(20);
        waiting.iter().for_each(client::hear);
        wait_until("the server to have seen them", || server.accepted() == 120);
        gateway.wait_for_line("nobody waits for a source port any more");
        drop((served, waiting));
        gateway.wait_for_ended(120);
        gateway.stop().expect(&[("closed-by-client", 120)]);
    });
}

#[test]
fn ports_in_time_wait_are_waited_for() {
    in_own_ports(|| {
        let server = server::echo();
        let gateway = Gateway::start(&relay(&[server.address]));
        let address = gateway.address("edge");
        set_range(&(61_000..61_016));
        // Who closes first keeps the port: the client does, so the gateway does to the server.
        for port in 50_000..50_050 {
            let stream = client_from(port, address);
            client::echo(&stream, u64::from(port), 10);
        }
        let line = &gateway.wait_for_lines(SHORT, 1)[0];
        assert!(line.contains("sockets in TIME_WAIT have them"), "{line}");
        assert!(line.contains("tcp_tw_reuse"), "{line}");
        gateway.wait_for_ended(50);
        gateway.stop().expect(&[("closed-by-client", 50)]);
    });
}

#[test]
fn a_listener_without_ports_keeps_no_other_listeners_clients_waiting() {
    in_own_ports(|| {
        let (full, free) = (server::echo(), server::echo());
        let listener = |name: &str, to: &str| {
            format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"{to}\"")
        };
        let config = [
            "[gateway]\nworkers = 2\n[status]\nbind = \"127.0.0.1:0\"".to_owned(),
            listener("edge", "app"),
            listener("other", "own"),
            upstream("app", &[full.address]) + "\nqueue_timeout = \"2s\"",
            upstream("own", &[free.address]),
        ];
        let gateway = Gateway::start(&config.join("\n"));
        let (edge, other) = (gateway.address("edge"), gateway.address("other"));
        set_range(&(61_000..61_016));
        let served: Vec<TcpStream> = (50_000..50_016).map(|port| client_from(port, edge)).collect();
        served.iter().for_each(|stream| client::echo(stream, 1, 10));
        let waiting = ask(50_100..50_140, edge);
        gateway.wait_for_line(SHORT);
        wait_until("a reading that shows them", || {
            let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            let text = say(gateway.status(), request).body;
            let mut lines = text.lines();
            let of_app = |line: &&str| {
                line.starts_with("portcullis_upstream_clients_waiting{upstream=\"app\"}")
            };
            lines.find(of_app).is_some_and(|line| !line.ends_with(" 0"))
        });
        // Its neighbour is as ever, while these wait.
        for port in 50_200..50_210 {
            client::echo(&client_from(port, other), 2, 10);
        }
        // Whom the gateway has let in does not wait for ever.
        gateway.wait_for_reason("queue-timeout", 1);
        // Whoever is reset leaves nothing in TIME_WAIT.
        waiting.into_iter().for_each(reset);
        let late = ask(50_300..50_305, edge);
        served.into_iter().for_each(reset);
        late.iter().for_each(client::hear);
    });
}

#[test]
fn two_source_addresses_hold_twice_the_connections() {
    in_own_ports(|| {
        let server = server::echo();
        let sources = "\nsource_addresses = [\"127.0.0.21\", \"127.0.0.22\"]";
        let gateway = Gateway::start(&(relay(&[server.address]) + sources));
        let address = gateway.address("edge");
        set_range(&(61_000..61_020));
        let held: Vec<TcpStream> =
            (50_000..50_040).map(|port| client_from(port, address)).collect();
        for (seed, stream) in (0..).zip(&held) {
            client::echo(stream, seed, 10);
        }
        let waiting = ask(50_100..50_101, address);
        gateway.wait_for_line(SHORT);
        assert_eq!(server.accepted(), 40);
        drop(held);
        waiting.iter().for_each(client::hear);
    });
}

/// Gives an address to the network's loopback, or takes it away.
fn move_address(what: &str, address: &str) {
    let mut ip = std::process::Command::new("ip");
    let done = ip.args(["address", what, &format!("{address}/32"), "dev", "lo"]).status();
    assert!(done.is_ok_and(|done| done.success()), "`ip address {what} {address}` failed");
}

#[test]
fn a_source_address_that_leaves_the_host_is_said_and_another_one_serves() {
    in_own_ports(|| {
        let (going, staying) = ("10.9.8.7", "10.9.8.6");
        move_address("add", going);
        move_address("add", staying);
        let server = server::echo();
        let sources = format!("\nsource_addresses = [\"{going}\", \"{staying}\"]");
        let gateway = Gateway::start(&(relay(&[server.address]) + &sources));
        let address = gateway.address("edge");
        move_address("del", going);
        for seed in 0..10 {
            client::echo(&client::connect(address), seed, 10);
        }
        let line = &gateway.wait_for_lines("source addresses are not this host's any more", 1)[0];
        assert!(line.contains(" ERROR ") && line.contains(&format!("more: {going};")), "{line}");
        move_address("del", staying);
        client::expect_reset(client::try_connect(address), b"");
        gateway.wait_for_reason("no-server", 1);
        move_address("add", going);
        move_address("add", staying);
        client::echo(&client::connect(address), 11, 10);
        gateway.wait_for_line("every source address is this host's again");
    });
}
