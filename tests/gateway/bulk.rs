//! Bulk is spliced: every byte arrives, is counted, and nothing of the gateway's stays behind.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use nix::sys::socket::{MsgFlags, send};
use serde_json::Value;

use crate::support::client::{self, Brought, Ending};
use crate::support::command::ask_json;
use crate::support::config::upstream;
use crate::support::crowd::{STACK_BYTES, crowd};
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::procfs::descriptors;
use crate::support::server::{self, Server, finish, read_number, write_number};
use crate::support::socket::{reset, wait_until_taken, widen};
use crate::support::stalled::{client_resets_before_slow_server, sender_resets, server_resets};
use crate::support::{wait_until, wait_until_still};

/// One worker, with so many pipes, that gives back what is not used after this long.
fn splicing(pipes: u32, quiet_after: &str, server: SocketAddr) -> Gateway {
    Gateway::start(&format!(
        "[gateway]\nworkers = 1\nmax_connections = 1000\n\
         [ring]\nsplice_pipes = {pipes}\nquiet_after = \"{quiet_after}\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{}",
        upstream("app", &[server])
    ))
}

/// Sends one pattern and its FIN while it receives the other: what that brought.
fn both_ways(stream: &TcpStream, out: (u64, u64), back: u64) -> Brought {
    std::thread::scope(|scope| {
        let sending = move || {
            client::send(stream, &mut Pattern::new(out.0), out.1).expect("all is sent");
            finish(stream);
        };
        let sender = std::thread::Builder::new().stack_size(STACK_BYTES);
        sender.spawn_scoped(scope, sending).expect("a thread");
        client::receive_all(stream, &mut Pattern::new(back))
    })
}

/// Sends bulk to something that echoes, and compares what comes back meanwhile.
fn bulk_echo(stream: &TcpStream, seed: u64, bytes: u64) {
    std::thread::scope(|scope| {
        let sending = || client::send(stream, &mut Pattern::new(seed), bytes).expect("bulk");
        let sender = std::thread::Builder::new().stack_size(STACK_BYTES);
        sender.spawn_scoped(scope, sending).expect("a thread");
        client::receive(stream, &mut Pattern::new(seed), bytes);
    });
}

/// The counts of its one worker.
fn worker_of(gateway: &Gateway) -> Value {
    ask_json(gateway, &["status"])["workers"][0].clone()
}

/// Carries megabytes both ways over some connections at once, and checks and counts them.
fn carry(connections: usize, pipes: u32) -> crate::support::gateway::Report {
    const UP_BYTES: u64 = 9_000_011;
    const DOWN_BYTES: u64 = 6_000_007;
    let server = Server::start(|stream| {
        let number = read_number(&stream);
        both_ways(&stream, (2 * number, DOWN_BYTES), 2 * number + 1)
    });
    let gateway = splicing(pipes, "10s", server.address);
    let before = descriptors(gateway.pid());
    let address = gateway.address("edge");
    crowd(connections, connections, |index| {
        let number = index as u64;
        let stream = client::connect(address);
        write_number(&stream, number);
        let brought = both_ways(&stream, (2 * number + 1, UP_BYTES), 2 * number);
        assert_eq!(brought, Brought { bytes: DOWN_BYTES, ending: Ending::Fin });
    });
    for brought in server.outcomes(connections) {
        assert_eq!(brought, Brought { bytes: UP_BYTES, ending: Ending::Fin });
    }
    let lines = gateway.wait_for_ended(connections);
    let counts = format!("to_upstream_bytes={} to_client_bytes={DOWN_BYTES}", UP_BYTES + 8);
    assert!(lines.iter().all(|line| line.contains(&counts)), "{counts} in {lines:?}");
    wait_until("its descriptors to be as before", || descriptors(gateway.pid()) == before);
    let report = gateway.stop();
    report.expect_closed(connections as u64);
    report
}

#[test]
fn megabytes_pass_both_ways_uncopied() {
    let report = carry(6, 64);
    assert!(report.spliced_bytes > 40_000_000, "{} bytes", report.spliced_bytes);
    assert_eq!(report.splices_refused, 0);
}

#[test]
fn bulk_beyond_the_pipes_is_copied() {
    let report = carry(12, 2);
    assert!(report.spliced_bytes > 0 && report.splices_refused > 0, "nobody was refused");
}

#[test]
fn without_pipes_all_is_copied() {
    let report = carry(2, 0);
    assert_eq!(report.spliced_bytes, 0);
}

#[test]
fn a_connection_that_has_spliced_goes_on_in_small_pieces() {
    let server = server::echo();
    let gateway = splicing(8, "100ms", server.address);
    let before = descriptors(gateway.pid());
    let address = gateway.address("edge");
    let (together, spliced) = (Barrier::new(4), AtomicU64::new(0));
    crowd(4, 4, |index| {
        let stream = client::connect(address);
        for round in 0..3 {
            let out = 4 * round + index as u64;
            bulk_echo(&stream, out, 3_000_017);
            for small in 0..50 {
                client::echo(&stream, small, 10 + small);
            }
            // All go quiet, and bulk comes again.
            if round == 1 && together.wait().is_leader() {
                let mut worker = worker_of(&gateway);
                wait_until("all to go quiet", || {
                    worker = worker_of(&gateway);
                    worker["splicing"] == 0 && worker["quieted"].as_u64() >= Some(4)
                });
                spliced.store(worker["spliced_bytes"].as_u64().expect("bytes"), Ordering::Relaxed);
            }
            together.wait();
        }
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
    });
    wait_until("its descriptors to be as before", || descriptors(gateway.pid()) == before);
    gateway.wait_for_ended(4);
    let report = gateway.stop();
    report.expect(&[("closed-by-client", 4)]);
    let spliced = spliced.into_inner();
    assert!(spliced > 0 && report.spliced_bytes > spliced, "{spliced}, {}", report.spliced_bytes);
}

#[test]
fn a_quiet_connection_gives_back_what_its_bulk_took() {
    let server = server::echo();
    let gateway = splicing(8, "100ms", server.address);
    let stream = client::connect(gateway.address("edge"));
    client::echo(&stream, 0, 1);
    let before = descriptors(gateway.pid());
    bulk_echo(&stream, 1, 5_000_003);
    wait_until("its descriptors to be as before", || descriptors(gateway.pid()) == before);
    client::echo(&stream, 2, 1);
    reset(stream);
    gateway.wait_for_ended(1);
    let report = gateway.stop();
    report.expect(&[("client-reset", 1)]);
    assert!(report.spliced_bytes > 0);
}

#[test]
fn a_reset_comes_after_the_bulk_that_it_follows() {
    const BYTES: u64 = 3_000_001;
    let (brought, report) =
        sender_resets(20, BYTES, wait_until_taken, |server| splicing(64, "10s", server));
    assert!(brought.iter().all(|one| one.bytes == BYTES), "{brought:?}");
    assert!(report.spliced_bytes > 0);
}

#[test]
fn a_reset_of_the_receiver_ends_bulk_with_bytes_in_pipes() {
    let report = server_resets(20, client::connect, |server| splicing(64, "10s", server));
    assert!(report.spliced_bytes > 0);
}

#[test]
fn what_was_taken_from_a_client_arrives_though_its_server_is_slow() {
    let start = |server| splicing(64, "10s", server);
    let report = client_resets_before_slow_server(20, client::connect, start);
    assert!(report.spliced_bytes > 0);
}

#[test]
fn slow_readers_of_bulk_keep_nobody_from_a_fresh_echo() {
    const STALLED: usize = 12;
    const PIECES: u64 = 7;
    const PIECE_BYTES: u64 = 1_000_001;
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let server = Server::start(move |stream| {
        let number = read_number(&stream);
        if number < STALLED as u64 {
            let mut pattern = Pattern::new(number);
            for _ in 0..PIECES {
                client::send(&stream, &mut pattern, PIECE_BYTES).expect("it is read in the end");
                count.fetch_add(1, Ordering::Relaxed);
            }
            finish(&stream);
            client::ending(&stream);
        } else {
            server::echo_one(stream);
        }
    });
    let gateway = splicing(4, "10s", server.address);
    let before = descriptors(gateway.pid());
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..STALLED).map(|_| client::connect_narrow(address)).collect();
    for (number, stream) in (0..).zip(&streams) {
        write_number(stream, number);
    }
    wait_until_still("the servers to stall", || sent.load(Ordering::Relaxed));
    for number in 0..4 {
        let stream = client::connect(address);
        write_number(&stream, STALLED as u64 + number);
        client::echo(&stream, number, 500_000);
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
    }
    crowd(STALLED, STALLED, |index| {
        widen(&streams[index]);
        let brought = client::receive_all(&streams[index], &mut Pattern::new(index as u64));
        assert_eq!(brought, Brought { bytes: PIECES * PIECE_BYTES, ending: Ending::Fin });
        finish(&streams[index]);
    });
    gateway.wait_for_ended(STALLED + 4);
    wait_until("its descriptors to be as before", || descriptors(gateway.pid()) == before);
    let report = gateway.stop();
    report.expect_closed(STALLED as u64 + 4);
    assert!(report.spliced_bytes > 0);
}

#[test]
fn an_urgent_byte_within_bulk_does_not_stop_it() {
    const BYTES: u64 = 4_000_037;
    let server = Server::start(|stream| {
        client::receive_all(&stream, &mut Pattern::new(1));
    });
    let gateway = splicing(8, "10s", server.address);
    let stream = client::connect(gateway.address("edge"));
    let mut pattern = Pattern::new(1);
    client::send(&stream, &mut pattern, BYTES).expect("bulk");
    // Urgent data goes beside the stream, and no proxy passes it on; the stream goes on.
    send(stream.as_raw_fd(), b"!", MsgFlags::MSG_OOB).expect("a byte");
    client::send(&stream, &mut pattern, BYTES).expect("bulk");
    finish(&stream);
    assert_eq!(client::ending(&stream), Ending::Fin);
    server.outcomes(1);
    let lines = gateway.wait_for_ended(1);
    let counts = format!("to_upstream_bytes={} to_client_bytes=0", 2 * BYTES);
    assert!(lines[0].contains(&counts), "{counts} in {lines:?}");
    let report = gateway.stop();
    report.expect(&[("closed-by-client", 1)]);
    assert!(report.spliced_bytes > 0);
}
