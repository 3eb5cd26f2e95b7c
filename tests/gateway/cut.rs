//! A stream that the gateway itself ends in the middle ends by a reset, on both sides.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client::{self, Ending};
use crate::support::command::tell;
use crate::support::config::{relay, relay_with};
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server};
use crate::support::wait_until;

const STREAMS: usize = 5;
/// A byte moves at least so often in a stream that goes on.
const PAUSE: Duration = Duration::from_millis(20);
/// A connection in which no byte moves for so long, and a second more, may be ended by FIN.
const REST: Duration = Duration::from_secs(6);

/// How the gateway ends it, after whatever comes before.
fn end_of(mut stream: &TcpStream) -> Ending {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            Ok(0) => return Ending::Fin,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ending::Reset,
            Err(error) => panic!("no end: {error}"),
        }
    }
}

/// A server that goes on sending until it cannot.
fn endless() -> Server<()> {
    Server::start(|mut stream| {
        while stream.write_all(&[b'z'; 100]).is_ok() {
            sleep(PAUSE);
        }
    })
}

/// Clients in the middle of a stream, ended by `end`.
fn cut(config: &str, reason: &str, end: impl FnOnce(&Gateway)) {
    let server = endless();
    let gateway = Gateway::start(&config.replace("SERVERS", &format!("\"{}\"", server.address)));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..STREAMS).map(|_| client::connect(address)).collect();
    for mut client in &clients {
        client.read_exact(&mut [0; 100]).expect("the stream has begun");
    }
    end(&gateway);
    for client in &clients {
        assert_eq!(end_of(client), Ending::Reset, "{reason}");
    }
    gateway.wait_for_reason(reason, STREAMS);
}

fn config(keys: &str) -> String {
    relay_with(keys, &[]).replace("servers = []", "servers = [SERVERS]")
}

#[test]
fn a_kill_cuts() {
    cut(&config(""), "killed", |gateway| {
        tell(gateway, &["kill", "--filter", "listener=edge"]);
    });
}

#[test]
fn a_kill_cuts_what_a_server_receives() {
    let server = Server::start(|stream| end_of(&stream));
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..STREAMS).map(|_| client::connect(address)).collect();
    for mut client in &clients {
        client.write_all(&[b'z'; 100]).expect("a stream begins");
    }
    wait_until("the servers to be there", || server.accepted() == STREAMS as u64);
    tell(&gateway, &["kill", "--filter", "listener=edge"]);
    assert_eq!(server.outcomes(STREAMS), vec![Ending::Reset; STREAMS]);
    gateway.wait_for_reason("killed", STREAMS);
}

#[test]
fn the_end_of_a_lifetime_cuts() {
    cut(&config("max_lifetime = \"1s\""), "max-lifetime", |_| {});
}

#[test]
fn a_drain_cuts() {
    cut(&config(""), "drained", |gateway| gateway.signal(Signal::SIGTERM));
}

#[test]
fn an_end_at_once_cuts() {
    cut(&config(""), "stopped", |gateway| {
        gateway.signal(Signal::SIGTERM);
        gateway.wait_for_line("draining");
        gateway.signal(Signal::SIGINT);
    });
}

#[test]
fn a_connection_at_rest_ends_in_order() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..STREAMS).map(|_| client::connect(address)).collect();
    for client in &clients {
        client::echo(client, 3, 100);
    }
    sleep(REST);
    tell(&gateway, &["kill", "--filter", "listener=edge"]);
    for client in &clients {
        assert_eq!(client::ending(client), Ending::Fin);
    }
    gateway.wait_for_reason("killed", STREAMS);
}
