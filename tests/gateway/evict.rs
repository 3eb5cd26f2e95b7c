//! At a limit, connections that have long been idle make way for new clients, and no busy one does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::client::{self, Ending};
use crate::support::command::{ask_json, rows};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home, activated_program};
use crate::support::server::{self, Server};
use crate::support::{Ends, socket};

/// A gateway with this bound and this one of its listener, which evicts who is idle for so long.
fn config(gateway: &str, listener: &str, idle_after: &str, servers: &[SocketAddr]) -> String {
    format!(
        "[gateway]\nworkers = 4\n{gateway}\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
         upstream = \"app\"\nat_limit = \"evict\"\n{listener}\n\
         evict_idle_after = \"{idle_after}\"\n[status]\nbind = \"off\"\n{}",
        upstream("app", servers)
    )
}

/// Clients that have asked something.
fn ask(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..count).map(|_| client::connect(address)).collect();
    streams.iter().for_each(|mut stream| stream.write_all(b"?").expect("it may wait"));
    streams
}

/// Whether the answer comes, to what was asked before.
fn is_answered(mut stream: &TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(1))
}

fn max_connections(limit: usize) -> String {
    format!("max_connections = {limit}")
}

/// Whether the gateway answers.
fn is_served(mut stream: &TcpStream) -> bool {
    stream.write_all(b"?").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
}

fn held(gateway: &Gateway) -> usize {
    rows(&ask_json(gateway, &["conns", "--limit", "10000"])).len()
}

/// A bound that is not reached.
const ROOMY: &str = "max_connections = 4000";

const LIMIT: usize = 60;
const BUSY: usize = 20;
const COMING: usize = 60;

/// As many clients come as there is room for, some move bytes all the time, and then others come.
fn busy_ones_stay(gateway: &Gateway, server: &Server<()>) {
    let address = gateway.address("edge");
    let first: Vec<_> = (0..LIMIT).map(|_| client::connect(address)).collect();
    assert!(first.iter().all(is_served));
    let (busy, idle) = first.split_at(BUSY);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        for (seed, stream) in (0..).zip(busy) {
            let (over, answered) = (&over, &answered);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    client::echo(stream, seed, 100);
                    answered.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            });
        }
        let coming = ask(address, COMING);
        for _ in 0..20 {
            assert!(held(gateway) <= LIMIT, "more than the limit");
        }
        // Each is served in the end: those that came first make way once they are idle, too.
        assert!(coming.iter().all(is_answered));
        assert!(held(gateway) <= LIMIT, "more than the limit");
    });
    assert!(idle.iter().all(|stream| client::ending(stream) == Ending::Fin), "idle ones get FIN");
    assert!(answered.load(Ordering::SeqCst) > 2 * BUSY);
    busy.iter().for_each(|stream| assert!(is_served(stream), "a busy one was evicted"));
    assert_eq!(server.accepted(), (LIMIT + COMING) as u64);
}

#[test]
fn at_either_limit_as_many_idle_ones_make_way_as_clients_come() {
    let limit = max_connections(LIMIT);
    for (gateway, listener) in [(&*limit, ""), (ROOMY, &limit)] {
        let server = server::echo();
        // Who was idle for five seconds is at rest, and ends by FIN.
        let gateway = Gateway::start(&config(gateway, listener, "5s", &[server.address]));
        busy_ones_stay(&gateway, &server);
        let began = gateway.lines();
        let began = began.iter().filter(|line| line.contains("make way for new clients"));
        assert_eq!(began.count(), 1, "one line for all");
        gateway.wait_for_reason("evicted", COMING);
        gateway.wait_for_ended(LIMIT + COMING);
        gateway.stop().expect(&[("closed-by-client", LIMIT as u64), ("evicted", COMING as u64)]);
    }
}

/// The client waits at one worker, and the only connection is mostly another's.
#[test]
fn the_worker_with_the_idle_connection_evicts_for_the_one_with_the_client() {
    for (gateway, listener) in [("max_connections = 1", ""), (ROOMY, "max_connections = 1")] {
        let server = server::echo();
        let gateway = Gateway::start(&config(gateway, listener, "10ms", &[server.address]));
        let mut streams = Vec::new();
        for _ in 0..24 {
            let stream = client::connect(gateway.address("edge"));
            assert!(is_served(&stream));
            streams.push(stream);
        }
        gateway.wait_for_reason("evicted", 23);
        drop(streams);
        gateway.wait_for_ended(24);
        gateway.stop().expect(&[("closed-by-client", 1), ("evicted", 23)]);
    }
}

#[test]
fn a_queue_that_workers_share_is_counted_once() {
    let server = server::echo();
    let passive = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket::deepen(&passive);
    let address = passive.local_addr().expect("it is bound");
    let text = config(&max_connections(10), "", "2s", &[server.address]);
    let text = text.replace("127.0.0.1:0", &address.to_string());
    let gateway = Gateway::launch_in(Home::new(), activated_program(&[&passive]), Some(&text));
    gateway.wait_for_lines(" ready ", 1);
    let streams = ask(address, 10);
    assert!(streams.iter().all(is_answered));
    let more = ask(address, 20);
    assert!(more.iter().all(is_answered));
    gateway.wait_for_reason("evicted", 20);
    drop((streams, more));
    gateway.wait_for_ended(30);
    gateway.stop().expect(&[("closed-by-client", 10), ("evicted", 20)]);
}

#[test]
fn only_connections_of_listeners_that_evict_make_way() {
    let server = server::echo();
    let text = config("max_connections = 2", "", "50ms", &[server.address])
        + "[listener.kept]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n";
    let gateway = Gateway::start(&text);
    let kept = client::connect(gateway.address("kept"));
    assert!(is_served(&kept));
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(client::connect(gateway.address("edge")));
        assert!(is_served(&streams[streams.len() - 1]));
    }
    let waits = client::connect(gateway.address("kept"));
    assert!(client::is_silent(&waits), "a client of the other listener waits");
    assert!(is_served(&kept), "and is not evicted");
    gateway.wait_for_reason("evicted", 2);
}

#[test]
fn a_reload_that_asks_for_it_lets_the_waiting_in() {
    let server = server::echo();
    let text = config("max_connections = 3", "", "20ms", &[server.address]);
    let queues = text.replace("\"evict\"", "\"queue\"");
    let gateway = Gateway::start(&queues);
    let served: Vec<_> = (0..3).map(|_| client::connect(gateway.address("edge"))).collect();
    assert!(served.iter().all(is_served));
    let waiting: Vec<_> = (0..3).map(|_| client::connect(gateway.address("edge"))).collect();
    assert!(waiting.iter().all(client::is_silent));
    gateway.home().write("portcullis.toml", &text);
    let answer = ask_json(&gateway, &["reload"]);
    assert_eq!(answer["changes"][0]["key"], "listener.edge.at_limit", "{answer}");
    assert!(waiting.iter().all(is_served));
    gateway.wait_for_reason("evicted", 3);
}
