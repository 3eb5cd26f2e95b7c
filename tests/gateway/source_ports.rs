//! Without a free port towards its servers the gateway lets clients wait instead of losing them.

use std::io::Read;
use std::net::TcpStream;

use crate::support::client;
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::server;
use crate::support::wait_until;

/// Ports in the test's own network.
const PORTS: std::ops::Range<u16> = 61_000..61_100;

#[test]
fn clients_wait_for_a_port_and_are_served_when_one_is_free() {
    in_own_network(|own| {
        if !own {
            return; // `in_own_network` has said that the range of a shared host is not touched.
        }
        let server = server::echo();
        let gateway = Gateway::start(&relay(&[server.address]));
        let address = gateway.address("edge");
        let range = format!("{} {}", PORTS.start, PORTS.end - 1);
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).expect("our own range");
        // Clients share the range, but not the pair of source and destination.
        let mut served: Vec<TcpStream> = PORTS.map(|_| client::connect(address)).collect();
        for (seed, stream) in (0..).zip(&served) {
            client::echo(stream, seed, 10);
        }
        // Outside the range: a port that is bound by name is never chosen for another connection.
        let waiting: Vec<_> = (50_000..50_020)
            .map(|port| client::connect_from(([127, 0, 0, 1], port).into(), address))
            .collect();
        for mut stream in &waiting {
            std::io::Write::write_all(&mut stream, b"?").expect("a waiting client may send");
        }
        gateway.wait_for_line("no file, memory or source port");
        // Twenty leave, and twenty ports with them.
        served.drain(..20).for_each(drop);
        gateway.wait_for_ended(20);
        for mut stream in &waiting {
            let mut answer = [0];
            stream.read_exact(&mut answer).expect("it is served in the end");
        }
        wait_until("the server to have seen them", || server.accepted() == 120);
        drop((served, waiting));
        gateway.wait_for_ended(120);
        gateway.stop().expect(&[("closed", 120)]);
    });
}
