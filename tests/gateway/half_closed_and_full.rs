//! A peer that has sent FIN and does not read takes no turns of a worker, and its bytes wait.

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread::sleep;

use portcullis::metrics::reading::Reading;

use crate::support::client::{self, Ending};
use crate::support::config::{OWN_ECHO, relay};
use crate::support::crowd::{Marks, crowd};
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::pattern::Pattern;
use crate::support::server::{Server, finish};
use crate::support::{WATCH, wait_until_still};

/// Peers that do not read, and turns that all workers may take in a [`WATCH`] beside them: a
/// spinning one takes hundreds of thousands.
const PEERS: usize = 20;
const TURNS_MAX: u64 = 1000;

fn turns(gateway: &Gateway) -> u64 {
    let answer = get(gateway.status(), "/status.json");
    let reading: Reading = serde_json::from_str(&answer.body).expect("a reading");
    reading.workers.iter().map(|worker| worker.turns).sum()
}

/// Waits until no byte moves, and counts the turns that are taken then.
fn expect_rest(gateway: &Gateway) {
    let moved = || {
        let answer = get(gateway.status(), "/status.json");
        let reading: Reading = serde_json::from_str(&answer.body).expect("a reading");
        let listeners = reading.listeners.iter();
        listeners.map(|one| one.to_client_bytes + one.to_upstream_bytes).sum()
    };
    wait_until_still("bytes that move", moved);
    let before = turns(gateway);
    sleep(WATCH);
    let taken = turns(gateway) - before;
    assert!(taken < TURNS_MAX, "{taken} turns while nothing moves");
}

fn with_status(config: &str) -> String {
    format!("{config}[status]\nbind = \"127.0.0.1:0\"\n")
}

#[test]
fn clients_that_have_finished_and_do_not_read() {
    let server = Server::start(|mut stream| {
        // Sends until it is told to stop, and never ends by itself.
        let chunk = [7; 16_384];
        while stream.write_all(&chunk).is_ok() {}
    });
    let gateway = Gateway::start(&with_status(&relay(&[server.address])));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..PEERS).map(|_| client::connect_narrow(address)).collect();
    clients.iter().for_each(finish);
    expect_rest(&gateway);
    // And they are served as soon as they read.
    let mut some = vec![0; 1 << 20];
    for mut client in &clients {
        client.read_exact(&mut some).expect("a megabyte");
    }
}

#[test]
fn servers_that_have_finished_and_do_not_read() {
    let read = Arc::new(Marks::default());
    let may_read = Arc::clone(&read);
    let server = Server::start_narrow(move |stream| {
        finish(&stream);
        may_read.wait(0);
        client::receive_all(&stream, &mut Pattern::new(1)).ending
    });
    let gateway = Gateway::start(&with_status(&relay(&[server.address])));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..PEERS).map(|_| client::connect_narrow(address)).collect();
    crowd(PEERS, PEERS, |index| {
        let stream = &clients[index];
        assert_eq!(client::ending(stream), Ending::Fin);
        client::send_until_stalled(stream, &mut Pattern::new(1));
    });
    expect_rest(&gateway);
    read.set(0);
    clients.iter().for_each(finish);
    assert_eq!(server.outcomes(PEERS), vec![Ending::Fin; PEERS]);
    gateway.wait_for_ended(PEERS);
    gateway.stop().expect(&[("closed-by-server", PEERS as u64)]);
}

#[test]
fn clients_of_an_echo_that_have_finished_and_do_not_read() {
    let gateway = Gateway::start(OWN_ECHO);
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..PEERS).map(|_| client::connect_narrow(address)).collect();
    crowd(PEERS, PEERS, |index| {
        client::send_until_stalled(&clients[index], &mut Pattern::new(1));
        finish(&clients[index]);
    });
    expect_rest(&gateway);
}
