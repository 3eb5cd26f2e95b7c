//! A reset arrives although one direction is stalled, because nobody reads there.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crate::support::client::{self, Ending};
use crate::support::config::relay;
use crate::support::crowd::{Marks, crowd};
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{Server, greet, introduce};
use crate::support::socket::{narrow, reset};
use crate::support::stalled::{client_resets_before_slow_server, server_resets};

const CONNECTIONS: usize = 40;

fn connect_and_narrow(address: SocketAddr) -> TcpStream {
    let stream = client::connect(address);
    narrow(&stream);
    stream
}

#[test]
fn a_server_that_never_reads_resets() {
    server_resets(CONNECTIONS, connect_and_narrow, |server| Gateway::start(&relay(&[server])));
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
    let start = |server| Gateway::start(&relay(&[server]));
    client_resets_before_slow_server(CONNECTIONS, connect_and_narrow, start);
}
