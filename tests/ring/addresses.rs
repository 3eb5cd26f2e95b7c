//! The addresses of both sides, even of a peer that is gone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use portcullis::base::{Errno, Side, Source};
use portcullis::ring::{
    FourTuple, GateId, Operation, Operations, RingSetup, ServerId, ServerSocket,
};

use crate::TestRing;
use crate::harness::{Newer, Rig, V4, V6, does, setup};

fn ask(rig: &mut Rig, conn: portcullis::ring::ConnIndex, side: Side) -> FourTuple {
    let token = rig.start(conn, side, Operation::Addresses);
    assert_eq!(rig.done(token).result, Ok(0));
    let found = rig.ring.addresses(token).expect("they were found");
    assert_eq!(rig.ring.addresses(token), None, "each can be taken once");
    found
}

#[test]
fn both_ends_of_both_sides_are_known_over_both_families() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::new(setup(4), &[V4, V6]);
    for index in 0..2 {
        let (client, conn) = rig.client_of(GateId(index));
        let found = ask(&mut rig, conn, Side::Client);
        assert_eq!(found.local, rig.listeners[usize::from(index)]);
        assert_eq!(found.peer, client.local_addr().ok());
        let server = rig.upstream(conn, index);
        let found = ask(&mut rig, conn, Side::Upstream);
        assert_eq!(Some(found.local), server.peer_addr().ok());
        assert_eq!(found.peer, server.local_addr().ok());
    }
}

#[test]
fn a_client_that_has_reset_is_still_known() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (client, conn) = rig.client();
    let address = client.local_addr().expect("an address");
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client.as_fd(), sockopt::Linger, &linger).expect("an option");
    let watch = rig.start(conn, Side::Client, Operation::WatchHangup);
    drop(client);
    rig.done(watch);
    assert_eq!(ask(&mut rig, conn, Side::Client).peer, Some(address));
}

#[test]
fn an_empty_slot_has_no_addresses() {
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    let token = rig.start(conn, Side::Upstream, Operation::Addresses);
    assert_eq!(rig.done(token).result, Err(Errno::EBADF));
    assert_eq!(rig.ring.addresses(token), None);
}

fn with_source(source: IpAddr) -> (Rig, RingSetup) {
    let rig = Rig::v4(1);
    let address = rig.servers[0].local_addr().expect("an address");
    let server = ServerSocket { address, sources: vec![source] };
    (rig, RingSetup { servers: vec![(ServerId(0), server)], ..setup(1) })
}

#[test]
fn an_upstream_socket_connects_from_its_source_address() {
    if !does(Newer::SourceAddresses) {
        return;
    }
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 42));
    let (mut rig, setup) = with_source(source);
    rig.ring = TestRing::new(setup).expect("a ring");
    let conn = portcullis::ring::ConnIndex(0);
    let server = rig.upstream(conn, 0);
    assert_eq!(server.peer_addr().map(|peer| peer.ip()).ok(), Some(source));
}

#[test]
fn a_source_that_is_not_ours_fails_the_open_and_leaves_the_slot_empty() {
    if !does(Newer::SourceAddresses) {
        return;
    }
    let (mut rig, setup) = with_source(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    rig.ring = TestRing::new(setup).expect("a ring");
    let conn = portcullis::ring::ConnIndex(0);
    let opened = rig.run(conn, Side::Upstream, Operation::Open(ServerId(0), Source::default()));
    assert_eq!(opened, Err(Errno::EADDRNOTAVAIL));
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Err(Errno::EBADF));
}

#[test]
fn a_source_of_the_other_family_is_refused_at_setup() {
    let address: SocketAddr = "[::1]:80".parse().expect("an address");
    let server = ServerSocket { address, sources: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] };
    let refused = TestRing::new(RingSetup { servers: vec![(ServerId(0), server)], ..setup(1) });
    let error = refused.err().expect("a refusal").to_string();
    assert!(error.contains("[::1]:80") && error.contains("family"), "{error}");
}
