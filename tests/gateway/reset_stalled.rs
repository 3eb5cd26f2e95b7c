//! A reset arrives although one direction is stalled, because nobody reads there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crate::support::client::{self, Ending};
use crate::support::config::{relay, relay_with};
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

#[test]
fn clients_abort_while_their_servers_block_in_a_send() {
    // An echo server that is kept from sending reads nothing more, so what its client sent can be
    // delivered only if what it sends is taken.
    let server = Server::start_narrow(|mut stream| {
        let mut buffer = vec![0; 16_384];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ending::Fin,
                Ok(bytes) if stream.write_all(&buffer[..bytes]).is_ok() => {}
                _ => return Ending::Reset,
            }
        }
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect_narrow(address);
        client::send_until_stalled(&stream, &mut Pattern::new(index as u64));
        reset(stream);
    });
    assert_eq!(server.outcomes(CONNECTIONS), vec![Ending::Reset; CONNECTIONS]);
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("client-reset", CONNECTIONS as u64)]);
}

/// Nothing that the configuration bounds ends these connections soon.
const LIMIT_KEYS: &str = "idle_timeout = \"1h\"\nhalf_close_timeout = \"off\"";

#[test]
fn a_server_dies_and_its_client_never_reads() {
    let server = Server::start_narrow(|stream| {
        let number = greet(&stream);
        client::send_until_stalled(&stream, &mut Pattern::new(number));
        reset(stream);
    });
    let gateway = Gateway::start(&relay_with(LIMIT_KEYS, &[server.address]));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| client::connect_narrow(address)).collect();
    for (number, client) in clients.iter().enumerate() {
        introduce(client, number as u64);
    }
    server.outcomes(CONNECTIONS);
    // Nothing is held although the clients stay, and do not read.
    gateway.wait_for_reason("upstream-reset", CONNECTIONS);
    gateway.stop().expect(&[("upstream-reset", CONNECTIONS as u64)]);
}

#[test]
fn a_client_aborts_and_its_server_never_reads() {
    let marks = Arc::new(Marks::default());
    let over = Arc::clone(&marks);
    let server = Server::start_narrow(move |stream| {
        let number = greet(&stream);
        over.wait(number);
    });
    let gateway = Gateway::start(&relay_with(LIMIT_KEYS, &[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect_narrow(address);
        introduce(&stream, index as u64);
        client::send_until_stalled(&stream, &mut Pattern::new(index as u64));
        reset(stream);
    });
    gateway.wait_for_reason("client-reset", CONNECTIONS);
    (0..CONNECTIONS as u64).for_each(|number| marks.set(number));
    gateway.stop().expect(&[("client-reset", CONNECTIONS as u64)]);
}
