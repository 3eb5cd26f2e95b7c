//! At its limit the gateway serves exactly that many; the others wait and are served in their turn.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::client;
use crate::support::config::{over, upstream};
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server};
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

/// A gateway of so many workers that holds [`LIMIT`] connections, by either bound.
fn config(workers: usize, gateway: &str, listener: &str, server: SocketAddr) -> String {
    format!(
        "[gateway]\nworkers = {workers}\n{gateway}\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{listener}\n{}",
        upstream("app", &[server])
    )
}

/// Clients that have asked something.
fn ask(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams: Vec<_> = (0..count).map(|_| client::connect(address)).collect();
    for stream in &mut streams {
        stream.write_all(b"?").expect("a waiting client may send");
    }
    streams
}

/// Exactly the limit is served at any time, and all are in the end.
fn queues(gateway: &Gateway, server: &Server<()>) {
    let mut streams = ask(gateway.address("edge"), CLIENTS);
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
}

#[test]
fn exactly_as_many_as_allowed_are_served_and_the_others_wait() {
    // While nobody is idle for long enough, to evict is to queue.
    let evicts = "at_limit = \"evict\"\nevict_idle_after = \"59m\"";
    for (workers, policy) in [(2, ""), (8, ""), (8, evicts)] {
        let server = server::echo();
        let limit = format!("max_connections = {LIMIT}");
        let gateway = Gateway::start(&config(workers, &limit, policy, server.address));
        queues(&gateway, &server);
        let report = gateway.stop();
        assert_eq!((report.accepted, server.accepted()), (CLIENTS as u64, CLIENTS as u64));
    }
}

#[test]
fn tiny_tables_change_nothing() {
    let server = server::echo();
    let limit = format!("max_connections = {LIMIT}\n[ring]\nbuffer_count = 256");
    let config = over("io_uring", &config(2, &limit, "", server.address));
    // 80 files: a table has 40 pairs at most, so a worker needs several rings.
    let gateway = Gateway::start_with_open_files(&config, 80);
    queues(&gateway, &server);
    assert_eq!(gateway.stop().accepted, CLIENTS as u64);
}

#[test]
fn a_listener_has_a_limit_of_its_own() {
    let server = server::echo();
    let limit = format!("max_connections = {LIMIT}");
    let gateway = Gateway::start(&config(2, "", &limit, server.address));
    queues(&gateway, &server);
    assert_eq!(gateway.stop().accepted, CLIENTS as u64);
}

#[test]
fn beyond_the_limit_a_client_is_reset_where_that_is_the_policy() {
    let policy = "at_limit = \"reset\"";
    let limit = format!("max_connections = {LIMIT}");
    let both = format!("{policy}\n{limit}");
    for (workers, gateway, listener) in
        [(2, limit.as_str(), policy), (8, &limit, policy), (2, "", &both)]
    {
        let server = server::echo();
        let gateway = Gateway::start(&config(workers, gateway, listener, server.address));
        // A reset may come as soon as there is a connection, before the client knows of it.
        let streams: Vec<_> =
            (0..CLIENTS).map(|_| client::try_connect(gateway.address("edge"))).collect();
        let outcome = |stream: &io::Result<TcpStream>| {
            let mut stream = stream.as_ref().map_err(|error| error.kind())?;
            stream.write_all(b"?")?;
            stream.read(&mut [0])
        };
        let (served, reset): (Vec<_>, Vec<_>) =
            streams.iter().map(outcome).partition(Result::is_ok);
        assert!(served.iter().all(|read| matches!(read, Ok(1))), "{served:?}");
        assert!(reset.iter().all(client::is_reset), "{reset:?}");
        assert_eq!((served.len(), reset.len()), (LIMIT, CLIENTS - LIMIT));
        assert_eq!(server.accepted(), LIMIT as u64, "connections that reached the server");
        drop(streams);
        gateway.wait_for_ended(CLIENTS);
        let (limit, rest) = (LIMIT as u64, (CLIENTS - LIMIT) as u64);
        gateway.stop().expect(&[("closed-by-client", limit), ("refused", rest)]);
    }
}
