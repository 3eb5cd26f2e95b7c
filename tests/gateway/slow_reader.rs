//! A slow reader slows its own sender, costs a bounded amount of memory, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::client::{self, Brought, Ending};
use crate::support::config::{relay, upstream};
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::pattern::Pattern;
use crate::support::procfs::memory_bytes;
use crate::support::server::{self, Server, finish, read_number, write_number};
use crate::support::socket::widen;
use crate::support::wait_until_still;

/// A server that sends `bytes` of the pattern that the client's number seeds, and counts in `sent`
/// what its kernel took.
fn source(bytes: u64, sent: Arc<AtomicU64>, narrow: bool) -> Server<()> {
    const STEP_BYTES: u64 = 8_192;
    let handle = move |stream| {
        let mut pattern = Pattern::new(read_number(&stream));
        let mut left = bytes;
        while left > 0 {
            let step = left.min(STEP_BYTES);
            client::send(&stream, &mut pattern, step).expect("the client reads in the end");
            sent.fetch_add(step, Ordering::Relaxed);
            left -= step;
        }
        finish(&stream);
        client::ending(&stream);
    };
    if narrow { Server::start_narrow(handle) } else { Server::start(handle) }
}

/// The most bytes that a socket of this network receives or sends ahead: the third of the figures.
fn buffer_bytes(of: &str) -> u64 {
    let figures = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{of}")).expect("a setting");
    let most = figures.split_whitespace().nth(2).expect("three figures");
    most.parse().expect("bytes")
}

#[test]
fn a_client_that_does_not_read_slows_its_server() {
    in_own_network(|own| {
        if own {
            for of in ["tcp_rmem", "tcp_wmem"] {
                let narrow = "4096 131072 1500000";
                std::fs::write(format!("/proc/sys/net/ipv4/{of}"), narrow).expect("our own");
            }
        }
        stalls_within(2 * (buffer_bytes("tcp_rmem") + buffer_bytes("tcp_wmem")));
    });
}

/// Two sockets at the gateway, and one at each peer, hold what the host's settings allow; the
/// gateway itself adds little.
fn stalls_within(buffers_bytes: u64) {
    const CONNECTIONS: u64 = 4;
    const BYTES: u64 = 40_000_000;
    const GATEWAYS_BYTES_MAX: u64 = 1_000_000;
    const GROWTH_BYTES_MAX: u64 = 8_000_000;
    let held_bytes_max = buffers_bytes + GATEWAYS_BYTES_MAX;
    let sent = Arc::new(AtomicU64::new(0));
    let server = source(BYTES, Arc::clone(&sent), false);
    let gateway = Gateway::start(&relay(&[server.address]));
    let before = memory_bytes(gateway.pid());
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| client::connect(address)).collect();
    for (number, stream) in (0..).zip(&streams) {
        write_number(stream, number);
    }
    let held = wait_until_still("the servers to stall", || sent.load(Ordering::Relaxed));
    let growth = memory_bytes(gateway.pid()).saturating_sub(before);
    println!("held: {} bytes a connection; gateway's growth: {growth}", held / CONNECTIONS);
    assert!(held <= CONNECTIONS * held_bytes_max, "{held} bytes were taken from the servers");
    assert!(growth <= GROWTH_BYTES_MAX, "the gateway itself grew by {growth} bytes");
    for (number, stream) in (0..).zip(&streams) {
        let brought = client::receive_all(stream, &mut Pattern::new(number));
        assert_eq!(brought, Brought { bytes: BYTES, ending: Ending::Fin });
    }
    drop(streams);
    gateway.wait_for_ended(CONNECTIONS as usize);
    gateway.stop().expect(&[("closed-by-server", CONNECTIONS)]);
}

/// One worker with 64 buffers, so that 300 stalled clients outnumber them.
fn few_buffers(source: &Server<()>, echo: &Server<()>) -> String {
    format!(
        "[gateway]\nworkers = 1\nmax_connections = 1000\n\
         [ring]\nbuffer_size = \"16KiB\"\nbuffer_count = 64\n\
         [listener.slow]\nbind = [\"127.0.0.1:0\"]\nupstream = \"source\"\n\
         [listener.fresh]\nbind = [\"127.0.0.1:0\"]\nupstream = \"echo\"\n{}{}",
        upstream("source", &[source.address]),
        upstream("echo", &[echo.address])
    )
}

#[test]
fn stalled_clients_take_no_buffer_from_a_fresh_one() {
    const STALLED: usize = 300;
    const BYTES: u64 = 1_000_003;
    let sent = Arc::new(AtomicU64::new(0));
    let slow = source(BYTES, Arc::clone(&sent), true);
    let echo = server::echo();
    let gateway = Gateway::start(&few_buffers(&slow, &echo));
    let streams: Vec<_> =
        (0..STALLED).map(|_| client::connect_narrow(gateway.address("slow"))).collect();
    for (number, stream) in (0..).zip(&streams) {
        write_number(stream, number);
    }
    let held = wait_until_still("the servers to stall", || sent.load(Ordering::Relaxed));
    println!("held: {} bytes for each stalled client", held / STALLED as u64);
    assert!(held < STALLED as u64 * BYTES, "nobody was stalled: {held} bytes were taken");
    crowd(20, 4, |index| {
        let stream = client::connect(gateway.address("fresh"));
        client::echo(&stream, index as u64, 50_000);
    });
    crowd(STALLED, 30, |index| {
        widen(&streams[index]);
        let brought = client::receive_all(&streams[index], &mut Pattern::new(index as u64));
        assert_eq!(brought, Brought { bytes: BYTES, ending: Ending::Fin });
        finish(&streams[index]);
    });
    gateway.wait_for_ended(STALLED + 20);
    gateway.stop().expect(&[("closed-by-client", 20), ("closed-by-server", STALLED as u64)]);
}
