//! Servers of others learn by our PROXY headers whose connections they get.

use std::net::SocketAddr;

use crate::haproxy::HaProxy;
use crate::nginx::Nginx;
use crate::support::client;
use crate::support::command::ask_json;
use crate::support::config::{relay, relay_with};
use crate::support::gateway::Gateway;
use crate::support::http::say_to;
use crate::support::network::free_port;
use crate::support::server;
use crate::support::wait_until;

/// An address that no gateway here has.
const CLIENT: &str = "127.0.0.7:0";
const TLVS: &str = "send_proxy_tlvs = [\"unique-id\", \"crc32c\"]\n";
const CHECK: &str = "check = { kind = \"connect\", interval = \"100ms\" }\n";

/// The keys of an upstream, all that there are to try.
fn variants() -> Vec<String> {
    let mut variants = Vec::new();
    for header in ["send_proxy = \"v1\"\n", "send_proxy = \"v2\"\n"] {
        for connect in ["eager", "lazy"] {
            variants.push(format!("{header}connect = \"{connect}\"\n{CHECK}"));
        }
    }
    let last = format!("{}{TLVS}", variants[3]);
    variants.push(last);
    variants
}

/// What a server of HTTP answers a client of `target`, and the client's address.
fn asked(target: SocketAddr) -> (String, String) {
    let stream = client::from(CLIENT, target);
    let own = stream.local_addr().expect("an address").to_string();
    let answer = say_to(stream, b"GET / HTTP/1.0\r\nhost: localhost\r\n\r\n");
    assert_eq!(answer.status, 200, "{} {}", answer.head, answer.body);
    (answer.body.trim_end().to_owned(), own)
}

/// Waits until checks have passed, so that the server's log can have what it says of them.
fn wait_for_checks(gateway: &Gateway) {
    wait_until("checks to have passed", || {
        let status = ask_json(gateway, &["status"]);
        status["upstreams"][0]["servers"][0]["check"]["passed"].as_u64() > Some(3)
    });
}

#[test]
fn haproxy_knows_the_client_by_our_headers() {
    let echo = server::echo();
    let (http, tcp) = (free_port(), free_port());
    let known = "%[src]:%[src_port] %[dst]:%[dst_port] %[fc_pp_unique_id,hex]";
    let haproxy = HaProxy::start(&format!(
        "frontend http\n mode http\n bind 127.0.0.1:{http} accept-proxy\n \
         http-request return status 200 content-type text/plain lf-string \"{known}\"\n\
         listen tcp\n bind 127.0.0.1:{tcp} accept-proxy\n server s {}\n",
        echo.address
    ));
    for keys in variants() {
        let gateway = Gateway::start(&(relay(&[haproxy.address(http)]) + &keys));
        let edge = gateway.address("edge");
        for _ in 0..3 {
            let (answer, own) = asked(edge);
            let mut words = answer.split(' ');
            assert_eq!(words.next(), Some(&*own), "{answer}: {keys}");
            assert_eq!(words.next(), Some(&*edge.to_string()), "{answer}: {keys}");
            let has_id = words.next().is_some_and(|id| id.len() == 32);
            assert_eq!(has_id, keys.contains("unique-id"), "{answer}: {keys}");
        }
        wait_for_checks(&gateway);
        gateway.stop();
        let gateway = Gateway::start(&(relay(&[haproxy.address(tcp)]) + &keys));
        client::echo(&client::from(CLIENT, gateway.address("edge")), 1, 300_000);
        gateway.stop();
    }
    let log = haproxy.log();
    assert!(log.contains("127.0.0.7:"), "it logs connections: {log}");
    // A check that a stopping gateway cuts ends before its header: no header is wrong by that.
    let cut = "while waiting for PROXY protocol header";
    let wrong = |line: &&str| line.contains("PROXY protocol") && !line.contains(cut);
    assert_eq!(log.lines().find(wrong), None, "{log}");
}

#[test]
fn nginx_knows_the_client_by_our_headers() {
    let echo = server::echo();
    let (http, tcp) = (free_port(), free_port());
    let nginx = Nginx::start(
        &format!("server {{ listen 127.0.0.1:{http} proxy_protocol; {KNOWN} }}"),
        &format!(
            "server {{ listen 127.0.0.1:{tcp} proxy_protocol; proxy_pass {}; }}",
            echo.address
        ),
    );
    for keys in variants() {
        let gateway = Gateway::start(&(relay(&[nginx.address(http)]) + &keys));
        let edge = gateway.address("edge");
        for _ in 0..3 {
            let (answer, own) = asked(edge);
            assert_eq!(answer, format!("{own} {edge}"), "{keys}");
        }
        wait_for_checks(&gateway);
        gateway.stop();
        let gateway = Gateway::start(&(relay(&[nginx.address(tcp)]) + &keys));
        client::echo(&client::from(CLIENT, gateway.address("edge")), 1, 300_000);
        gateway.stop();
    }
    // A check that a stopping gateway cuts before its header is of the level info.
    let log = nginx.log();
    assert_eq!(log.lines().find(|line| line.contains("[error]")), None, "{log}");
}

#[test]
fn the_first_client_is_known_at_the_end_of_a_chain() {
    let (last, first) = (free_port(), free_port());
    let nginx =
        Nginx::start(&format!("server {{ listen 127.0.0.1:{last} proxy_protocol; {KNOWN} }}"), "");
    let keys = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]";
    let tlvs = "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"received\"]\n";
    let gateway = Gateway::start(&(relay_with(keys, &[nginx.address(last)]) + tlvs));
    let haproxy = HaProxy::start(&format!(
        "listen edge\n bind 127.0.0.1:{first}\n unique-id-format %ci:%cp-%Ts-%rt\n \
         server s {} send-proxy-v2 proxy-v2-options crc32c,unique-id\n",
        gateway.address("edge")
    ));
    let entry = haproxy.address(first);
    for _ in 0..3 {
        let (answer, own) = asked(entry);
        assert_eq!(answer, format!("{own} {entry}"));
    }
    gateway.stop();
}

/// An answer of nginx with the two ends that a header has named.
const KNOWN: &str = "location / { default_type text/plain; return 200 \
    \"$proxy_protocol_addr:$proxy_protocol_port \
    $proxy_protocol_server_addr:$proxy_protocol_server_port\"; }";
