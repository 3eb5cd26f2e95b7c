//! A listener answers in the families that its addresses name, and in no other.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::network::{free_port, has_ipv6};
use crate::support::server::{self, Server};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn gateway_on(bind: &[String], server: &Server<()>) -> Gateway {
    Gateway::start(&format!(
        "[gateway]\nworkers = 2\n[listener.edge]\nbind = {bind:?}\nupstream = \"app\"\n\
         [upstream.app]\nservers = [\"{}\"]\n",
        server.address
    ))
}

fn answers(ip: IpAddr, port: u16) {
    for seed in 0..10 {
        client::echo(&client::connect((ip, port).into()), seed, 1_000);
    }
}

fn refuses(ip: IpAddr, port: u16) {
    let error = client::try_connect((ip, port).into()).expect_err("nobody listens there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_ipv4_address_answers_ipv4_only() {
    let (server, port) = (server::echo(), free_port());
    let _gateway = gateway_on(&[format!("127.0.0.1:{port}")], &server);
    answers(V4, port);
    if has_ipv6() {
        refuses(V6, port);
    }
}

#[test]
fn an_ipv6_address_answers_ipv6_only() {
    if !has_ipv6() {
        return eprintln!("no IPv6 here: not checked");
    }
    let (server, port) = (server::echo(), free_port());
    let _gateway = gateway_on(&[format!("[::]:{port}")], &server);
    answers(V6, port);
    refuses(V4, port);
}

#[test]
fn an_address_of_each_family_answers_both_on_one_port() {
    if !has_ipv6() {
        return eprintln!("no IPv6 here: not checked");
    }
    let (server, port) = (server::echo(), free_port());
    let gateway = gateway_on(&[format!("0.0.0.0:{port}"), format!("[::]:{port}")], &server);
    answers(V4, port);
    answers(V6, port);
    assert_eq!(gateway.addresses("edge").len(), 2);
}

#[test]
fn a_star_answers_both_families() {
    if !has_ipv6() {
        return eprintln!("no IPv6 here: not checked");
    }
    let (server, port) = (server::echo(), free_port());
    let _gateway = gateway_on(&[format!("*:{port}")], &server);
    answers(V4, port);
    answers(V6, port);
}

#[test]
fn a_client_of_one_family_reaches_a_server_of_the_other() {
    if !has_ipv6() {
        return eprintln!("no IPv6 here: not checked");
    }
    for (listener, server_address) in [("127.0.0.1:0", "[::1]:0"), ("[::1]:0", "127.0.0.1:0")] {
        let server = Server::on(server_address, server::echo_one);
        let gateway = gateway_on(&[listener.to_owned()], &server);
        let address: SocketAddr = gateway.address("edge");
        answers(address.ip(), address.port());
        assert_ne!(address.is_ipv4(), server.address.is_ipv4());
        gateway.wait_for_ended(10);
        gateway.stop().expect(&[("closed-by-client", 10)]);
    }
}
