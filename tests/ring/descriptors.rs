//! What takes ordinary descriptors shares one bound, and none of it fails for want of one.

use std::fs::read_dir;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};

use portcullis::base::Side;
use portcullis::ring::{Operation, Operations, Ring, RingSetup};

use crate::harness::{Newer, Rig, V4, does, setup};

/// Our descriptors of clients that listener 0 accepted: only the ring makes any.
fn made(rig: &Rig) -> usize {
    let listener = Some(rig.listeners[0]);
    let entries = read_dir("/proc/self/fd").expect("our descriptors").flatten();
    let fds = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let is_accepted = |fd: &RawFd| {
        // Other tests close theirs meanwhile.
        let name = getsockname::<SockaddrStorage>(*fd).ok();
        let own = name.and_then(|name| Some(SocketAddr::from(*name.as_sockaddr_in()?)));
        own == listener && getpeername::<SockaddrStorage>(*fd).is_ok()
    };
    fds.filter(is_accepted).count()
}

/// How many there are at most in the course of as many operations. The kernel makes them during a
/// turn; what they were made for is done, and they are closed, when their completions are read.
fn most_at_once(rig: &mut Rig, operations: u32) -> usize {
    let step = |_| {
        rig.ring.turn(Some(Duration::ZERO)).expect("a turn");
        let made = made(rig);
        rig.turn(Duration::ZERO);
        made
    };
    (0..operations).map(step).max().unwrap_or(0)
}

#[test]
fn names_of_many_at_once_are_told_by_one_descriptor() {
    const CLIENTS: u32 = 50;
    if !does(Newer::Descriptors) {
        return;
    }
    let mut rig = Rig::new(RingSetup { descriptors: 1, ..setup(CLIENTS) }, &[V4]);
    let clients: Vec<_> = (0..CLIENTS).map(|_| rig.client()).collect();
    let tokens: Vec<_> = (clients.iter())
        .map(|(_, conn)| rig.start(*conn, Side::Client, Operation::Addresses))
        .collect();
    assert_eq!(most_at_once(&mut rig, CLIENTS), 1);
    for ((client, _), token) in clients.iter().zip(tokens) {
        assert_eq!(rig.done(token).result, Ok(0));
        let found = rig.ring.addresses(token).expect("both addresses");
        assert_eq!(found.peer, client.local_addr().ok());
    }
}

#[test]
fn a_fin_arrives_though_no_descriptor_is_left() {
    const CLIENTS: u32 = 20;
    let mut rig = Rig::new(RingSetup { descriptors: 0, ..setup(CLIENTS) }, &[V4]);
    let clients: Vec<_> = (0..CLIENTS).map(|_| rig.client()).collect();
    let tokens: Vec<_> = (clients.iter())
        .map(|(_, conn)| rig.start(*conn, Side::Client, Operation::Shutdown))
        .collect();
    // The one that is always there serves the first; the others find none.
    assert!(most_at_once(&mut rig, CLIENTS) <= 1);
    for ((mut client, _), token) in clients.into_iter().zip(tokens) {
        assert_eq!(rig.done(token).result, Ok(0));
        assert_eq!(client.read(&mut [0]).expect("a FIN"), 0);
    }
}
