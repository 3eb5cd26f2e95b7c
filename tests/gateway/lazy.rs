//! With `connect = "lazy"` no server hears of a client before its first byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::client::{self, Ending};
use crate::support::command::{ask_json, rows, tell};
use crate::support::config::{relay, relay_with, upstream};
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server, echo_one};
use crate::support::socket::reset;
use crate::support::unreachable::Refusing;
use crate::support::wait_until;

const LAZY: &str = "connect = \"lazy\"\n";

#[test]
fn a_server_hears_of_a_client_with_its_first_byte() {
    let server = server::echo();
    let gateway = Gateway::start(&(relay(&[server.address]) + LAZY));
    let streams: Vec<TcpStream> =
        (0..200).map(|_| client::connect(gateway.address("edge"))).collect();
    wait_until("all to be accepted", || {
        rows(&ask_json(&gateway, &["conns", "--filter", "state=silent", "--limit", "1000"])).len()
            == 200
    });
    assert_eq!(server.accepted(), 0);
    for (seed, stream) in (0..).zip(&streams[..50]) {
        client::echo(stream, seed, 20_000);
    }
    assert_eq!(server.accepted(), 50);
    drop(streams);
    gateway.wait_for_ended(200);
    assert_eq!(server.accepted(), 50);
    gateway.stop().expect(&[("client-gone", 150), ("closed-by-client", 50)]);
}

#[test]
fn who_leaves_in_silence_reaches_no_server_however_it_leaves() {
    const EACH: usize = 600;
    let server = server::echo();
    let gateway = Gateway::start(&(relay(&[server.address]) + LAZY));
    for index in 0..2 * EACH {
        let stream = client::connect(gateway.address("edge"));
        if index % 2 == 0 {
            server::finish(&stream);
            assert_eq!(client::ending(&stream), Ending::Fin);
        } else {
            reset(stream);
        }
    }
    gateway.wait_for_ended(2 * EACH);
    assert_eq!(server.accepted(), 0);
    gateway.stop().expect(&[("client-gone", 2 * EACH as u64)]);
}

#[test]
fn bytes_with_a_fin_behind_them_arrive_with_it() {
    let server = Server::start(|mut stream: TcpStream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("all of it");
        stream.write_all(&all).expect("an answer");
    });
    let gateway = Gateway::start(&(relay(&[server.address]) + LAZY));
    // In one piece with the FIN, and of more than one buffer.
    for bytes in [1, 100, 200_000] {
        let mut stream = client::connect(gateway.address("edge"));
        let sent: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        stream.write_all(&sent).expect("it may speak");
        server::finish(&stream);
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("an answer");
        assert!(back == sent, "{bytes} bytes");
    }
    gateway.stop().expect_closed(3);
}

#[test]
fn another_server_gets_the_same_bytes_when_one_fails() {
    let (refusing, server) = (Refusing::new(), server::echo());
    let keys = "balance = \"round-robin\"\neject_after = \"off\"\n";
    let config = relay(&[refusing.address, server.address]) + LAZY + keys;
    let gateway = Gateway::start(&config);
    for seed in 0..20 {
        client::echo(&client::connect(gateway.address("edge")), seed, 5000);
    }
    gateway.wait_for_ended(20);
    gateway.stop().expect_closed(20);
}

#[test]
fn after_lazy_wait_a_server_may_speak_first() {
    let server = Server::start(|mut stream: TcpStream| {
        stream.write_all(b"hello").expect("it speaks first");
        echo_one(stream);
    });
    let keys = format!("{LAZY}lazy_wait = \"200ms\"\n");
    let gateway = Gateway::start(&(relay(&[server.address]) + &keys));
    let stream = client::connect(gateway.address("edge"));
    let mut greeting = [0; 5];
    (&stream).read_exact(&mut greeting).expect("a greeting");
    client::echo(&stream, 1, 10_000);
    drop(stream);
    gateway.stop().expect_closed(1);
}

#[test]
fn a_silent_client_is_ended_by_the_timeouts_for_silence_and_by_a_drain() {
    let server = server::echo();
    let keys = "first_byte_timeout = \"1s\"";
    let gateway = Gateway::start(&(relay_with(keys, &[server.address]) + LAZY));
    let stream = client::connect(gateway.address("edge"));
    client::ending(&stream);
    gateway.wait_for_reason("first-byte-timeout", 1);
    assert_eq!(server.accepted(), 0);
    gateway.stop().expect(&[("first-byte-timeout", 1)]);

    let gateway = Gateway::start(&(relay(&[server.address]) + LAZY));
    let stream = client::connect(gateway.address("edge"));
    wait_until("it to be accepted", || rows(&ask_json(&gateway, &["conns"])).len() == 1);
    tell(&gateway, &["drain", "--over", "1s"]);
    client::ending(&stream);
    gateway.wait_for_reason("drained", 1);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_client_is_lazy_by_the_config_of_its_arrival() {
    let (first, second) = (server::echo(), server::echo());
    let text = |more: &str| relay(&[first.address]) + more + &upstream("other", &[second.address]);
    let gateway = Gateway::start(&text(LAZY));
    let silent = client::connect(gateway.address("edge"));
    wait_until("it to be accepted", || rows(&ask_json(&gateway, &["conns"])).len() == 1);
    gateway.home().write("portcullis.toml", &text(""));
    tell(&gateway, &["reload"]);
    let eager = client::connect(gateway.address("edge"));
    wait_until("the eager one's server", || first.accepted() == 1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(first.accepted(), 1, "the silent one still has none");
    client::echo(&silent, 1, 100);
    client::echo(&eager, 2, 100);
    assert_eq!(first.accepted(), 2);
}
