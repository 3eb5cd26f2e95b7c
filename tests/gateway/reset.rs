//! A reset stays a reset, whoever sends it, and comes after every byte that was sent before it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use crate::support::client::{self, Brought, Ending};
use crate::support::config::relay;
use crate::support::crowd::{Marks, crowd};
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{Server, finish, greet, introduce};
use crate::support::socket::{reset, wait_until_reset, wait_until_taken};
use crate::support::stalled::{receives_once_set, sender_resets};

/// What a connection carries before its reset: into the gateway's send buffer only; into its own
/// memory as well; into its receive buffer as well.
const SIZES: [u64; 3] = [20_000, 60_000, 100_000];

fn size(number: u64) -> u64 {
    SIZES[number as usize % SIZES.len()]
}

fn read_byte(mut stream: &TcpStream) {
    stream.read_exact(&mut [0]).expect("a byte comes");
}

fn write_byte(mut stream: &TcpStream) {
    stream.write_all(&[1]).expect("a byte goes");
}

#[test]
fn each_of_2000_resets_by_clients_reaches_the_server() {
    let server = Server::start(|stream| {
        greet(&stream);
        client::ending(&stream)
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(2_000, 50, |index| {
        let stream = client::connect(address);
        introduce(&stream, index as u64);
        reset(stream);
    });
    assert_eq!(server.outcomes(2_000), vec![Ending::Reset; 2_000]);
    gateway.wait_for_ended(2_000);
    gateway.stop().expect(&[("client-reset", 2_000)]);
}

#[test]
fn each_of_600_resets_by_servers_reaches_the_client() {
    let server = Server::start(|stream| {
        greet(&stream);
        wait_until_taken(&stream);
        reset(stream);
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(600, 50, |index| {
        let stream = client::connect(address);
        introduce(&stream, index as u64);
        assert_eq!(client::ending(&stream), Ending::Reset);
    });
    gateway.wait_for_ended(600);
    gateway.stop().expect(&[("upstream-reset", 600)]);
}

#[test]
fn a_slow_client_gets_every_byte_and_then_the_servers_reset() {
    let marks = Arc::new(Marks::default());
    let was_reset = Arc::clone(&marks);
    let server = Server::start(move |stream| {
        let number = greet(&stream);
        client::send(&stream, &mut Pattern::new(number), size(number)).expect("sent");
        wait_until_taken(&stream);
        reset(stream);
        was_reset.set(number);
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(150, 30, |index| {
        let stream = client::connect_narrow(address);
        introduce(&stream, index as u64);
        marks.wait(index as u64);
        let brought = client::receive_all(&stream, &mut Pattern::new(index as u64));
        assert_eq!(brought, Brought { bytes: size(index as u64), ending: Ending::Reset });
    });
    gateway.wait_for_ended(150);
    gateway.stop().expect(&[("upstream-reset", 150)]);
}

#[test]
fn a_slow_server_gets_every_byte_and_then_the_clients_reset() {
    let marks = Arc::new(Marks::default());
    let server = receives_once_set(&marks);
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(150, 30, |index| {
        let stream = client::connect(address);
        introduce(&stream, index as u64);
        let mut pattern = Pattern::new(index as u64);
        client::send(&stream, &mut pattern, size(index as u64)).expect("sent");
        wait_until_taken(&stream);
        reset(stream);
        marks.set(index as u64);
    });
    for (number, brought) in server.outcomes(150) {
        assert_eq!(brought, Brought { bytes: size(number), ending: Ending::Reset });
    }
    gateway.wait_for_ended(150);
    gateway.stop().expect(&[("client-reset", 150)]);
}

#[test]
fn a_client_that_has_ended_may_still_reset() {
    let server = Server::start(|stream| {
        assert_eq!(client::ending(&stream), Ending::Fin);
        write_byte(&stream);
        wait_until_reset(&stream);
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(200, 40, |_| {
        let stream = client::connect(address);
        finish(&stream);
        read_byte(&stream);
        reset(stream);
    });
    server.outcomes(200);
    gateway.wait_for_ended(200);
    gateway.stop().expect(&[("client-reset", 200)]);
}

#[test]
fn a_server_that_has_ended_may_still_reset() {
    let server = Server::start(|stream| {
        finish(&stream);
        read_byte(&stream);
        reset(stream);
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(200, 40, |_| {
        let stream = client::connect(address);
        assert_eq!(client::ending(&stream), Ending::Fin);
        write_byte(&stream);
        wait_until_reset(&stream);
    });
    gateway.wait_for_ended(200);
    gateway.stop().expect(&[("upstream-reset", 200)]);
}

#[test]
fn a_reset_by_the_sender_ends_a_transfer() {
    sender_resets(200, 1_000_003, |_| (), |server| Gateway::start(&relay(&[server])));
}

#[test]
fn a_reset_by_the_receiver_ends_a_transfer() {
    let server = Server::start(|stream| {
        let number = greet(&stream);
        let mut pattern = Pattern::new(number);
        if number.is_multiple_of(2) {
            return send_until_reset(&stream, &mut pattern);
        }
        client::receive(&stream, &mut pattern, 200_003);
        reset(stream);
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(200, 20, |index| {
        let stream = client::connect(address);
        introduce(&stream, index as u64);
        let mut pattern = Pattern::new(index as u64);
        if index.is_multiple_of(2) {
            client::receive(&stream, &mut pattern, 200_003);
            return reset(stream);
        }
        send_until_reset(&stream, &mut pattern);
    });
    server.outcomes(200);
    gateway.wait_for_ended(200);
    gateway.stop().expect(&[("client-reset", 100), ("upstream-reset", 100)]);
}

fn send_until_reset(stream: &TcpStream, pattern: &mut Pattern) {
    let sent = client::send(stream, pattern, u64::MAX);
    assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
