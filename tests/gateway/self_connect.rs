//! A server that is down on a port which connects may take as their own is down, and can come back.

use std::net::SocketAddr;

use portcullis::metrics::reading::Reading;

use crate::support::client;
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::network::in_own_network;
use crate::support::server::{self, Server};

const SERVER: &str = "127.0.0.1:30000";
/// Every other connect to the server comes from its own port, if there is a choice of four.
const PORTS: &str = "30000 30003";
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const CLIENTS: u16 = 40;

#[test]
fn no_client_hears_itself_and_the_server_can_come_back() {
    in_own_network(|own| {
        if !own {
            return; // `in_own_network` has said that the range of a shared host is not touched.
        }
        let address: SocketAddr = SERVER.parse().expect("an address");
        let before = std::fs::read_to_string(RANGE).expect("the range");
        std::fs::write(RANGE, PORTS).expect("our own range");
        // Port 0 would be one of the four. In a network of our own every other one is free.
        let edge = relay(&[address]).replacen("127.0.0.1:0", "127.0.0.1:7000", 1);
        let status = "[status]\nbind = \"127.0.0.1:7001\"\n";
        let gateway = Gateway::start(&format!("{edge}{status}"));
        for port in 20_000..20_000 + CLIENTS {
            let source = ([127, 0, 0, 1], port).into();
            let connected = client::try_connect_from(source, gateway.address("edge"));
            // A byte of its own would be an answer.
            client::expect_reset(connected, b"hello");
        }
        std::fs::write(RANGE, before).expect("our own range");
        gateway.wait_for_ended(usize::from(CLIENTS));
        let answer = get(gateway.status(), "/status.json");
        let reading: Reading = serde_json::from_str(&answer.body).expect("a reading");
        let failed = &reading.upstreams[0].servers[0].failed;
        assert!(failed["self-connect"] > 0, "{failed:?}");
        assert_eq!(failed.values().sum::<u64>(), u64::from(CLIENTS), "{failed:?}");

        let server = Server::on(SERVER, server::echo_one);
        client::echo(&client::connect(gateway.address("edge")), 1, 100);
        assert_eq!(server.accepted(), 1);
        gateway.wait_for_ended(usize::from(CLIENTS) + 1);
        gateway.stop().expect(&[("no-server", u64::from(CLIENTS)), ("closed-by-client", 1)]);
    });
}
