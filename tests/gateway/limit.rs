//! At its limit the gateway serves exactly that many; the others wait and are served in their turn.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::client;
use crate::support::config::relay_at_most;
use crate::support::gateway::Gateway;
use crate::support::server;
use crate::support::{WATCH, wait_until};

const LIMIT: usize = 100;
const CLIENTS: usize = 300;

/// The streams on which something has come, by index.
fn answered(streams: &[TcpStream]) -> Vec<usize> {
    let watch = |stream| PollFd::new(AsFd::as_fd(stream), PollFlags::POLLIN);
    let mut fds: Vec<_> = streams.iter().map(watch).collect();
    poll(&mut fds, PollTimeout::ZERO).expect("poll");
    let ready = fds.iter().enumerate().filter(|(_, fd)| fd.any().unwrap_or(false));
    ready.map(|(index, _)| index).collect()
}

/// Waits until exactly `count` of the streams are answered, and sees that no other is for a while.
fn exactly(count: usize, streams: &[TcpStream]) -> Vec<usize> {
    wait_until("the clients that there is room for", || answered(streams).len() >= count);
    std::thread::sleep(WATCH);
    let served = answered(streams);
    assert_eq!(served.len(), count, "clients served at once");
    served
}

#[test]
fn exactly_as_many_as_allowed_are_served_and_the_others_wait() {
    let server = server::echo();
    let config = relay_at_most(LIMIT, &[server.address]);
    let gateway = Gateway::start(&config);
    let address = gateway.address("edge");
    let mut streams: Vec<_> = (0..CLIENTS).map(|_| client::connect(address)).collect();
    for stream in &mut streams {
        stream.write_all(b"?").expect("a waiting client may send");
    }
    let served = exactly(LIMIT, &streams);
    assert_eq!(server.accepted(), LIMIT as u64, "connections that reached the server");
    drop(streams.remove(served[0]));
    exactly(LIMIT, &streams);
    let mut left = CLIENTS - 1;
    while left > 0 {
        let now = left.min(LIMIT);
        wait_until(&format!("{now} of the {left} clients left"), || {
            answered(&streams).len() >= now
        });
        for index in answered(&streams).into_iter().rev() {
            let mut stream = streams.remove(index);
            let mut answer = [0];
            stream.read_exact(&mut answer).expect("an answer is there");
            assert_eq!(answer, *b"?");
            left -= 1;
        }
    }
    gateway.wait_for_ended(CLIENTS);
    let report = gateway.stop();
    assert_eq!((report.accepted, server.accepted()), (CLIENTS as u64, CLIENTS as u64));
}
