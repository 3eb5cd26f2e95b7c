//! A reset arrives although one direction is stalled, because nobody reads there.

use std::sync::Arc;

use crate::support::client::{self, Ending};
use crate::support::config::relay;
use crate::support::crowd::{Marks, crowd};
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{Server, greet, introduce};
use crate::support::socket::{narrow, reset, taken_bytes};

const CONNECTIONS: usize = 40;

#[test]
fn a_server_that_never_reads_resets() {
    let marks = Arc::new(Marks::default());
    let stalled = Arc::clone(&marks);
    let server = Server::start_narrow(move |stream| {
        stalled.wait(greet(&stream));
        reset(stream);
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect(address);
        narrow(&stream);
        introduce(&stream, index as u64);
        client::send_until_stalled(&stream, &mut Pattern::new(index as u64));
        marks.set(index as u64);
        assert_eq!(client::ending(&stream), Ending::Reset);
    });
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("upstream-reset", CONNECTIONS as u64)]);
}

#[test]
fn a_client_that_never_reads_resets() {
    let marks = Arc::new(Marks::default());
    let stalled = Arc::clone(&marks);
    let server = Server::start_narrow(move |stream| {
        let number = greet(&stream);
        client::send_until_stalled(&stream, &mut Pattern::new(number));
        stalled.set(number);
        client::ending(&stream)
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect_narrow(address);
        introduce(&stream, index as u64);
        marks.wait(index as u64);
        reset(stream);
    });
    assert_eq!(server.outcomes(CONNECTIONS), vec![Ending::Reset; CONNECTIONS]);
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("client-reset", CONNECTIONS as u64)]);
}

#[test]
fn a_client_whose_server_is_slow_resets_and_its_bytes_arrive_first() {
    let marks = Arc::new(Marks::default());
    let was_reset = Arc::clone(&marks);
    let server = Server::start_narrow(move |stream| {
        let number = greet(&stream);
        was_reset.wait(number);
        (number, client::receive_all(&stream, &mut Pattern::new(number)))
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let taken = std::sync::Mutex::new(vec![0; CONNECTIONS]);
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect(address);
        narrow(&stream);
        introduce(&stream, index as u64);
        client::send_until_stalled(&stream, &mut Pattern::new(index as u64));
        taken.lock().unwrap()[index] = taken_bytes(&stream) - 8;
        reset(stream);
        marks.set(index as u64);
    });
    let taken = taken.into_inner().unwrap();
    for (number, brought) in server.outcomes(CONNECTIONS) {
        let taken = taken[number as usize];
        assert_eq!(brought.ending, Ending::Reset);
        assert!(brought.bytes >= taken, "{} of {taken} bytes arrived", brought.bytes);
    }
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("client-reset", CONNECTIONS as u64)]);
}
