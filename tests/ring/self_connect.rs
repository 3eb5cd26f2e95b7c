//! A connect that reaches its own socket is no connection to a server.

use std::fs::read_to_string;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};
use portcullis::base::{Errno, SELF_CONNECT, Side, Source};
use portcullis::ring::{Operation, RingSetup, ServerId, ServerSocket};

use crate::harness::{Newer, Rig, V4, does, setup};

/// The kernel tries one port after the other, so that a lap takes as many connects as there are.
const LAPS: u32 = 4;

/// First and last of the ports that the kernel chooses from.
fn local_ports() -> (u16, u16) {
    let range = read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("the range");
    let mut ends = range.split_whitespace().map(|end| end.parse().expect("a port"));
    (ends.next().expect("the first"), ends.next().expect("the last"))
}

/// A bound socket, if the port is free. Without SO_REUSEADDR, a TIME_WAIT takes a port too.
fn bound(address: SocketAddr) -> Result<std::os::fd::OwnedFd, Errno> {
    let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let made = made.expect("a socket");
    bind(made.as_raw_fd(), &SockaddrStorage::from(address)).map(|()| made)
}

/// An address that nobody listens on, with a port that connects prefer: of the first one's parity.
fn deserted() -> SocketAddr {
    let (first, last) = local_ports();
    let ports = (first..=last).step_by(2).skip(usize::from(last - first) / 4);
    let mut addresses = ports.map(|port| SocketAddr::new(V4.ip(), port));
    addresses.find(|address| bound(*address).is_ok()).expect("a free port")
}

#[test]
fn a_connect_that_reaches_itself_fails_and_leaves_the_port_free() {
    if !does(Newer::Descriptors) {
        return;
    }
    let address = deserted();
    let servers = vec![(ServerId(0), ServerSocket { address, sources: Vec::new() })];
    let mut rig = Rig::new(RingSetup { servers, ..setup(1) }, &[V4]);
    let (_client, conn) = rig.client();
    let (first, last) = local_ports();
    let mut tries = LAPS * u32::from(last - first);
    loop {
        assert_ne!(tries, 0, "no connect to {address} reached itself");
        tries -= 1;
        assert_eq!(
            rig.run(conn, Side::Upstream, Operation::Open(ServerId(0), Source::default())),
            Ok(0)
        );
        let connected = rig.run(conn, Side::Upstream, Operation::Connect(ServerId(0)));
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Ok(0));
        if connected != Err(Errno::ECONNREFUSED) {
            assert_eq!(connected, Err(SELF_CONNECT));
            break;
        }
    }
    bound(address).expect("the server can have its port");
}
