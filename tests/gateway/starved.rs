//! Connections that ask nothing keep no place from the next one, at either endpoint.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{MsgFlags, recv};
use portcullis::config::{Admin, Status};

use crate::support::client;
use crate::support::command::tell;
use crate::support::config::OWN_ECHO;
use crate::support::gateway::Gateway;
use crate::support::http::get;

const PROBES: usize = 5;
const KEPT_ALIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HALF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: loc";
const HALF_A_BODY: &[u8] =
    b"POST /listener HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
    content-length: 99\r\n\r\n{";

/// The ones that the gateway has closed, by their place in the order of arrival.
fn closed<S: AsFd>(streams: &[S]) -> Vec<usize> {
    use std::os::fd::AsRawFd;
    let is_closed = |stream: &S| {
        let fd = stream.as_fd().as_raw_fd();
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(fd, &mut [0], flags) != Err(nix::errno::Errno::EAGAIN)
    };
    (0..streams.len()).filter(|index| is_closed(&streams[*index])).collect()
}

/// As many connections to the status server as it has places, each with these bytes sent.
fn fill(status: SocketAddr, bytes: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = client::connect(status);
        stream.write_all(bytes).expect("sent");
        if bytes.ends_with(b"\r\n\r\n") {
            let mut answer = Vec::new();
            while !answer.ends_with(b"ok\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("an answer");
                answer.extend(byte);
            }
        }
        stream
    };
    (0..Status::CONNECTIONS).map(connect).collect()
}

#[test]
fn only_the_longest_silent_connection_leaves_for_a_probe() {
    for bytes in [b"".as_slice(), HALF_A_HEAD, KEPT_ALIVE] {
        let gateway = Gateway::start(OWN_ECHO);
        let status = gateway.status();
        let silent = fill(status, bytes);
        for _ in 0..PROBES {
            assert_eq!(get(status, "/healthz").status, 200);
        }
        assert_eq!(closed(&silent), [0], "{}", String::from_utf8_lossy(bytes));
        drop(silent);
        gateway.stop();
    }
}

#[test]
fn a_stream_of_events_outlives_a_crowd_that_says_nothing() {
    let gateway = Gateway::start(OWN_ECHO);
    let status = gateway.status();
    let mut events = client::connect(status);
    events.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    events.read_exact(&mut [0]).expect("an answer");
    let silent: Vec<_> = (0..10 * Status::CONNECTIONS).map(|_| client::connect(status)).collect();
    assert_eq!(get(status, "/readyz").status, 200);
    // Everything that came before the crowd is taken out; another reading follows.
    events.set_nonblocking(true).expect("a mode");
    let mut sink = [0; 4096];
    let end = loop {
        match events.read(&mut sink) {
            Ok(0) => break Some("FIN".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    assert_eq!(end, None);
    events.set_nonblocking(false).expect("a mode");
    assert!(events.read(&mut sink).expect("another reading") > 0);
    drop(silent);
    gateway.stop();
}

#[test]
fn an_operator_is_answered_although_every_place_is_taken() {
    for bytes in [b"".as_slice(), HALF_A_HEAD, HALF_A_BODY] {
        let gateway = Gateway::start(OWN_ECHO);
        let connect = |_| {
            let mut stream = UnixStream::connect(gateway.admin_socket()).expect("a socket");
            stream.write_all(bytes).expect("sent");
            stream
        };
        let silent: Vec<_> = (0..Admin::CONNECTIONS).map(connect).collect();
        for _ in 0..PROBES {
            assert!(tell(&gateway, &["status"]).contains("portcullis"));
        }
        assert_eq!(closed(&silent), [0], "{}", String::from_utf8_lossy(bytes));
        drop(silent);
        gateway.stop();
    }
}
