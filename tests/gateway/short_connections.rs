//! A connection that has ended leaves nothing behind: no slot, no file, no socket, no count.

use crate::support::client::{self, Ending};
use crate::support::config::relay_at_most;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::procfs::{descriptors, files_in_use, sockets_in_use};
use crate::support::server::{self, Server, finish, read_number, write_number};
use crate::support::socket::{reset, wait_until_taken};
use crate::support::wait_until;

/// Each slot is used about a hundred times.
const MAX_CONNECTIONS: usize = 48;

fn short_connection(address: std::net::SocketAddr, number: u64) {
    let stream = client::connect(address);
    client::echo(&stream, number, 100);
    finish(&stream);
    assert_eq!(client::ending(&stream), Ending::Fin);
}

#[test]
fn five_thousand_leave_nothing_behind() {
    in_own_network(|own| {
        let server = server::echo();
        let gateway = Gateway::start(&relay_at_most(MAX_CONNECTIONS, &[server.address]));
        let address = gateway.address("edge");
        crowd(200, 32, |index| short_connection(address, index as u64));
        gateway.wait_for_ended(200);
        let settled = || descriptors(gateway.pid());
        let (descriptors_before, files_before) = (settled(), files_in_use());
        let sockets_before = sockets_in_use();
        crowd(5_000, 32, |index| short_connection(address, index as u64));
        gateway.wait_for_ended(5_200);
        wait_until("the gateway's descriptors to close", || settled() <= descriptors_before);
        if own {
            // Every socket in a slot is a file; this network has no others.
            wait_until("every socket to close", || sockets_in_use() <= sockets_before);
        } else {
            // Others open files too: this only sees whether connections leave theirs behind.
            wait_until("open files to close", || files_in_use() < files_before + 2_500);
        }
        gateway.stop().expect(&[("closed-by-client", 5_200)]);
    });
}

#[test]
fn slots_come_back_however_a_connection_ends() {
    const EACH: usize = 150;
    let server = Server::start(|stream| {
        let number = read_number(&stream);
        write_number(&stream, number);
        wait_until_taken(&stream);
        match number % 3 {
            0 => assert_eq!(client::ending(&stream), Ending::Fin),
            1 => assert_eq!(client::ending(&stream), Ending::Reset),
            _ => reset(stream),
        }
    });
    let gateway = Gateway::start(&relay_at_most(MAX_CONNECTIONS, &[server.address]));
    let address = gateway.address("edge");
    crowd(3 * EACH, 64, |index| {
        let stream = client::connect(address);
        write_number(&stream, index as u64);
        read_number(&stream);
        match index % 3 {
            0 => finish(&stream),
            1 => return reset(stream),
            _ => return assert_eq!(client::ending(&stream), Ending::Reset),
        }
        assert_eq!(client::ending(&stream), Ending::Fin);
    });
    server.outcomes(3 * EACH);
    gateway.wait_for_ended(3 * EACH);
    let each = EACH as u64;
    gateway.stop().expect(&[
        ("closed-by-client", each),
        ("client-reset", each),
        ("upstream-reset", each),
    ]);
}
