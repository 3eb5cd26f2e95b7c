//! A FIN ends one direction only: the other goes on until its own.

use std::process::Command;

use crate::support::client::{self, Brought, Ending};
use crate::support::config::{over, relay};
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{Server, finish, read_number, write_number};

const CONNECTIONS: usize = 600;
const AT_ONCE: usize = 60;

/// How much a connection carries before the FIN, and after it the other way.
fn sizes(number: u64) -> (u64, u64) {
    let after = if number.is_multiple_of(50) { 1_000_003 } else { 1 + number * 37 % 30_011 };
    (number * 31 % 20_011, after)
}

#[test]
fn the_client_ends_first_and_the_server_goes_on() {
    let server = Server::start(|stream| {
        let number = read_number(&stream);
        let brought = client::receive_all(&stream, &mut Pattern::new(number));
        client::send(&stream, &mut Pattern::new(!number), sizes(number).1).expect("answer");
        (number, brought)
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, AT_ONCE, |index| {
        let number = index as u64;
        let stream = client::connect(address);
        write_number(&stream, number);
        client::send(&stream, &mut Pattern::new(number), sizes(number).0).expect("question");
        finish(&stream);
        let brought = client::receive_all(&stream, &mut Pattern::new(!number));
        assert_eq!(brought, Brought { bytes: sizes(number).1, ending: Ending::Fin });
    });
    for (number, brought) in server.outcomes(CONNECTIONS) {
        assert_eq!(brought, Brought { bytes: sizes(number).0, ending: Ending::Fin });
    }
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("closed-by-client", CONNECTIONS as u64)]);
}

#[test]
fn the_server_ends_first_and_the_client_goes_on() {
    let server = Server::start(|stream| {
        let number = read_number(&stream);
        client::send(&stream, &mut Pattern::new(!number), sizes(number).0).expect("answer");
        finish(&stream);
        (number, client::receive_all(&stream, &mut Pattern::new(number)))
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, AT_ONCE, |index| {
        let number = index as u64;
        let stream = client::connect(address);
        write_number(&stream, number);
        let brought = client::receive_all(&stream, &mut Pattern::new(!number));
        assert_eq!(brought, Brought { bytes: sizes(number).0, ending: Ending::Fin });
        client::send(&stream, &mut Pattern::new(number), sizes(number).1).expect("afterwards");
    });
    for (number, brought) in server.outcomes(CONNECTIONS) {
        assert_eq!(brought, Brought { bytes: sizes(number).1, ending: Ending::Fin });
    }
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("closed-by-server", CONNECTIONS as u64)]);
}

#[test]
fn a_fin_with_no_byte_before_it_arrives() {
    let server = Server::start(|stream| client::ending(&stream));
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(100, 20, |_| {
        let stream = client::connect(address);
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
    });
    assert_eq!(server.outcomes(100), vec![Ending::Fin; 100]);
    gateway.wait_for_ended(100);
    gateway.stop().expect(&[("closed-by-client", 100)]);
}

#[test]
fn a_fin_passes_when_the_process_can_open_no_file() {
    let server = Server::start(|stream| {
        let ending = client::ending(&stream);
        client::send(&stream, &mut Pattern::new(1), 10).expect("answer");
        ending
    });
    let gateway = Gateway::start(&over("io_uring", &relay(&[server.address])));
    let address = gateway.address("edge");
    let limited = Command::new("prlimit")
        .args(["--pid", &gateway.pid().to_string(), "--nofile=1:1"])
        .status()
        .expect("prlimit of util-linux");
    assert!(limited.success());
    crowd(100, 20, |_| {
        let stream = client::connect(address);
        finish(&stream);
        let brought = client::receive_all(&stream, &mut Pattern::new(1));
        assert_eq!(brought, Brought { bytes: 10, ending: Ending::Fin });
    });
    assert_eq!(server.outcomes(100), vec![Ending::Fin; 100]);
    gateway.wait_for_ended(100);
    gateway.stop().expect(&[("closed-by-client", 100)]);
}
