//! Programs of others say by PROXY headers whose connections they forward.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::haproxy::HaProxy;
use crate::nginx::Nginx;
use crate::program::{output, program};
use crate::support::client;
use crate::support::command::{ask_json, rows};
use crate::support::config::relay_with;
use crate::support::gateway::Gateway;
use crate::support::log::field;
use crate::support::network::free_port;
use crate::support::server::{self, Server};
use crate::support::wait_until;

const REQUIRED: &str = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]";
/// An address that no balancer here has.
const CLIENT: &str = "127.0.0.7:0";

/// The only connection of a gateway.
fn only(gateway: &Gateway) -> Value {
    let answer = ask_json(gateway, &["conns"]);
    let [row] = rows(&answer) else { panic!("one connection: {answer}") };
    row.clone()
}

/// Asserts that a client of a balancer is known by its own address, and that its bytes come back.
fn expect_known(gateway: &Gateway, balancer: SocketAddr) {
    for seed in 0..3 {
        let stream = client::from(CLIENT, balancer);
        client::echo(&stream, seed, 300_000);
        let own = stream.local_addr().expect("an address").to_string();
        let row = only(gateway);
        assert_eq!(row["client"], *own, "{row}");
        assert!(row["via"].as_str().is_some_and(|via| via.starts_with("127.0.0.1:")), "{row}");
        drop(stream);
        wait_until("its end", || rows(&ask_json(gateway, &["conns"])).is_empty());
    }
}

/// Asserts that so many clients came, and that each was served.
fn expect_no_refusals(gateway: Gateway, clients: u64) {
    let ended = gateway.stop().ended;
    assert_eq!(ended.values().sum::<u64>(), clients, "{ended:?}");
    assert!(ended.keys().all(|reason| !reason.contains("preamble")), "{ended:?}");
}

#[test]
fn clients_of_haproxy_are_known_by_its_headers() {
    let server = server::echo();
    let options = "proxy-v2-options crc32c,unique-id";
    for sends in ["send-proxy", "send-proxy-v2", &format!("send-proxy-v2 {options}")] {
        let gateway = Gateway::start(&relay_with(REQUIRED, &[server.address]));
        let (port, edge) = (free_port(), gateway.address("edge"));
        let balancer = HaProxy::start(&format!(
            "listen edge\n bind 127.0.0.1:{port}\n unique-id-format %ci:%cp-%Ts-%rt\n \
             server s {edge} {sends}\n"
        ));
        expect_known(&gateway, balancer.address(port));
        expect_no_refusals(gateway, 3);
    }
}

#[test]
fn checks_of_haproxy_pass_and_are_its_own() {
    let server = server::echo();
    for sends in ["send-proxy", "send-proxy-v2"] {
        let gateway = Gateway::start(&relay_with(REQUIRED, &[server.address]));
        let (port, edge) = (free_port(), gateway.address("edge"));
        let balancer = HaProxy::start(&format!(
            "listen edge\n bind 127.0.0.1:{port}\n option tcp-check\n tcp-check send PING\n \
             tcp-check expect string PING\n \
             server s {edge} {sends} check check-send-proxy inter 100ms fall 1 rise 1\n"
        ));
        wait_until("a check to have passed", || balancer.statistics().contains("L7OK,"));
        let lines = gateway.wait_for_ended(3);
        // They come from nobody else.
        let own =
            |line: &String| field(line, "client").is_some_and(|it| it.starts_with("127.0.0.1:"));
        assert!(lines.iter().all(own), "{lines:?}");
        drop(balancer);
        let ended = gateway.stop().ended;
        assert!(ended.keys().all(|reason| !reason.contains("preamble")), "{ended:?}");
    }
}

#[test]
fn clients_of_nginx_are_known_by_its_headers() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with(REQUIRED, &[server.address]));
    let (port, edge) = (free_port(), gateway.address("edge"));
    let balancer = Nginx::start(
        "",
        &format!("server {{ listen 127.0.0.1:{port}; proxy_pass {edge}; proxy_protocol on; }}"),
    );
    expect_known(&gateway, balancer.address(port));
    expect_no_refusals(gateway, 3);
}

#[test]
fn curl_says_its_own_address() {
    let server = Server::start(|mut stream: TcpStream| {
        use std::io::{BufRead, BufReader, Write};
        let head = BufReader::new(&stream).lines().map_while(Result::ok);
        let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nserved").expect("an answer");
        head
    });
    let gateway = Gateway::start(&relay_with(REQUIRED, &[server.address]));
    let mut command = program("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--haproxy-protocol"]);
    let url = format!("http://{}/", gateway.address("edge"));
    assert_eq!(output(command.arg(url)), "served");
    assert!(server.outcomes(1)[0][0].starts_with("GET / HTTP/1.1"));
    let line = &gateway.wait_for_ended(1)[0];
    // Its connection is its own: both are the same.
    assert_eq!(field(line, "client"), field(line, "via"), "{line}");
    assert!(field(line, "via").is_some(), "{line}");
    gateway.stop().expect_closed(1);
}
