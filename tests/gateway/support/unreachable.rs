//! Addresses where no server answers: one that refuses, one that says nothing.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{Backlog, SockaddrStorage, getsockname, listen};

use super::socket::bound;

/// A port that is taken and does not listen, so each SYN is answered by RST.
pub(crate) struct Refusing {
    pub(crate) address: SocketAddr,
    _socket: OwnedFd,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = bound(([127, 0, 0, 1], 0).into()).expect("a free port");
        let name: SockaddrStorage = getsockname(socket.as_raw_fd()).expect("a bound socket");
        let port = name.as_sockaddr_in().expect("an IPv4 address").port();
        Self { address: ([127, 0, 0, 1], port).into(), _socket: socket }
    }
}

/// A listener whose accept queue is full, so each further SYN is dropped.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listen(&listener, Backlog::new(0).expect("an empty backlog")).expect("it listens");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 100, "the accept queue of a backlog of 0 does not fill");
        }
        Self { address, _listener: listener, _queued: queued }
    }
}
