//! Every byte arrives, in order, at the connection it was sent on.

use crate::support::client::{self, Brought, Ending};
use crate::support::config::relay;
use crate::support::crowd::{STACK_BYTES, crowd};
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server, finish, read_number, write_number};

/// The seeds of a connection's two directions.
fn seeds(number: u64) -> (u64, u64) {
    (number * 2, number * 2 + 1)
}

#[test]
fn both_directions_carry_megabytes_at_once() {
    const CONNECTIONS: usize = 6;
    const UP_BYTES: u64 = 5_000_017;
    const DOWN_BYTES: u64 = 7_000_003;
    let server = Server::start(|stream| {
        let (up, down) = seeds(read_number(&stream));
        both_ways(&stream, (down, DOWN_BYTES), up)
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect(address);
        write_number(&stream, index as u64);
        let (up, down) = seeds(index as u64);
        let brought = both_ways(&stream, (up, UP_BYTES), down);
        assert_eq!(brought, Brought { bytes: DOWN_BYTES, ending: Ending::Fin });
    });
    for brought in server.outcomes(CONNECTIONS) {
        assert_eq!(brought, Brought { bytes: UP_BYTES, ending: Ending::Fin });
    }
    let lines = gateway.wait_for_ended(CONNECTIONS);
    let counts = format!("to_upstream_bytes={} to_client_bytes={DOWN_BYTES}", UP_BYTES + 8);
    assert!(lines.iter().all(|line| line.contains(&counts)), "{counts} in {lines:?}");
    gateway.stop().expect_closed(CONNECTIONS as u64);
}

/// Sends one pattern and its FIN while it receives the other: what that brought.
fn both_ways(stream: &std::net::TcpStream, send: (u64, u64), receive: u64) -> Brought {
    std::thread::scope(|scope| {
        let sending = move || {
            client::send(stream, &mut Pattern::new(send.0), send.1).expect("all is sent");
            finish(stream);
        };
        let sender = std::thread::Builder::new().stack_size(STACK_BYTES);
        sender.spawn_scoped(scope, sending).expect("a thread");
        client::receive_all(stream, &mut Pattern::new(receive))
    })
}

#[test]
fn single_bytes_arrive_one_by_one() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let stream = client::connect(gateway.address("edge"));
    let (mut out, mut back) = (Pattern::new(1), Pattern::new(1));
    for _ in 0..2_000 {
        client::send(&stream, &mut out, 1).expect("a byte is sent");
        client::receive(&stream, &mut back, 1);
    }
    finish(&stream);
    assert_eq!(client::ending(&stream), Ending::Fin);
    gateway.wait_for_ended(1);
    gateway.stop().expect(&[("closed-by-client", 1)]);
}

#[test]
fn two_hundred_connections_never_mix() {
    const CONNECTIONS: usize = 200;
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let all_open = std::sync::Barrier::new(CONNECTIONS);
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect(address);
        all_open.wait();
        let (mut out, mut back) = (Pattern::new(index as u64), Pattern::new(index as u64));
        for round in 0..20 {
            let bytes = 1 + (index * 997 + round * 4_099) as u64 % 20_011;
            client::send(&stream, &mut out, bytes).expect("a round is sent");
            client::receive(&stream, &mut back, bytes);
        }
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
    });
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("closed-by-client", CONNECTIONS as u64)]);
}
