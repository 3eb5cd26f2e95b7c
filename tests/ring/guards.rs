//! Guards of sockets, as the kernel has them.

use std::net::SocketAddr;

use portcullis::base::{Guard, Side};
use portcullis::ring::Operation;

use crate::harness::Rig;

/// The timer that the kernel has for the socket between these ports: which one (2: keepalive), and
/// in how many hundredths of a second it ends.
fn timer(local: SocketAddr, peer: SocketAddr) -> (u8, u64) {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let end = |address: SocketAddr| format!(":{:04X}", address.port());
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|line| {
        line.len() > 5 && line[1].ends_with(&end(local)) && line[2].ends_with(&end(peer))
    });
    let (which, ends) = line.expect("the socket")[5].split_once(':').expect("two numbers");
    let number = |hexadecimal| u64::from_str_radix(hexadecimal, 16).expect("a number");
    (number(which) as u8, number(ends))
}

#[test]
fn a_peer_is_probed_from_when_it_was_last_heard() {
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    let server = rig.upstream(conn, 0);
    let (local, peer) = (server.peer_addr().expect("ours"), server.local_addr().expect("its own"));
    assert_ne!(timer(local, peer).0, 2, "nobody asked for probes");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let silence = Guard::Silence { idle_seconds: 300, interval_seconds: 15, probes: 4 };
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Guard(silence)), Ok(0));
    let (which, ends) = timer(local, peer);
    assert_eq!(which, 2, "the keepalive timer");
    assert!((20_000..=29_900).contains(&ends), "300 s after the handshake, not {ends} from now");
    let bytes = Guard::Unacknowledged { millis: u32::MAX };
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Guard(bytes)), Ok(0));
    assert_eq!(timer(local, peer).0, 2);
}
