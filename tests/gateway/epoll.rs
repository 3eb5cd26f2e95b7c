//! A gateway over epoll does what one over io_uring does; connections go from each to the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client::{self, Brought, Ending};
use crate::support::command::{ask, ask_json};
use crate::support::config::upstream;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::lineage::{Lineage, runs};
use crate::support::log::parsed;
use crate::support::pattern::Pattern;
use crate::support::procfs::is_stopped;
use crate::support::server::{self, Server, finish, greet, introduce, read_number, write_number};
use crate::support::socket::reset;
use crate::support::{Ends, wait_until};

const CONNECTIONS: usize = 300;
/// More than a pipe holds, so that it is spliced.
const BULK: u64 = 3_000_017;

fn config(io: &str, drain_timeout: &str, servers: &[SocketAddr]) -> String {
    format!(
        "[gateway]\nio = \"{io}\"\nworkers = 2\nmax_connections = 2000\n\
         drain_timeout = \"{drain_timeout}\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{}\
         [status]\nbind = \"127.0.0.1:0\"\n",
        upstream("app", servers)
    )
}

fn over_epoll(servers: &[SocketAddr]) -> Gateway {
    Gateway::start(&config("epoll", "5s", servers))
}

fn size(number: u64) -> u64 {
    if number.is_multiple_of(100) { BULK } else { 1 + number * 37 % 30_011 }
}

#[test]
fn bytes_and_fins_pass_both_ways_over_epoll() {
    let server = Server::start(|stream| {
        let number = read_number(&stream);
        let brought = client::receive_all(&stream, &mut Pattern::new(number));
        client::send(&stream, &mut Pattern::new(!number), size(number)).expect("answer");
        (number, brought)
    });
    let gateway = over_epoll(&[server.address]);
    let address = gateway.address("edge");
    crowd(CONNECTIONS, 50, |index| {
        let number = index as u64;
        let stream = client::connect(address);
        write_number(&stream, number);
        client::send(&stream, &mut Pattern::new(number), size(number)).expect("question");
        finish(&stream);
        let brought = client::receive_all(&stream, &mut Pattern::new(!number));
        assert_eq!(brought, Brought { bytes: size(number), ending: Ending::Fin });
    });
    for (number, brought) in server.outcomes(CONNECTIONS) {
        assert_eq!(brought, Brought { bytes: size(number), ending: Ending::Fin });
    }
    gateway.wait_for_ended(CONNECTIONS);
    let report = gateway.stop();
    report.expect(&[("closed-by-client", CONNECTIONS as u64)]);
    assert!(report.spliced_bytes > 0, "bulk was copied");
}

#[test]
fn a_reset_stays_a_reset_over_epoll() {
    let server = Server::start(|stream| {
        greet(&stream);
        client::ending(&stream)
    });
    let gateway = over_epoll(&[server.address]);
    let address = gateway.address("edge");
    crowd(CONNECTIONS, 50, |index| {
        let stream = client::connect(address);
        introduce(&stream, index as u64);
        reset(stream);
    });
    assert_eq!(server.outcomes(CONNECTIONS), vec![Ending::Reset; CONNECTIONS]);
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("client-reset", CONNECTIONS as u64)]);
}

#[test]
fn it_says_so_reloads_and_drains() {
    let server = server::echo();
    let gateway = over_epoll(&[server.address]);
    let stream = client::connect(gateway.address("edge"));
    client::echo(&stream, 1, 10_000);
    let metrics = get(gateway.status(), "/metrics").body;
    assert!(metrics.contains("portcullis_io_info{by=\"epoll\"} 1"), "{metrics}");
    assert_eq!(ask_json(&gateway, &["status"])["io"]["by"], "epoll");

    gateway.home().write("portcullis.toml", &config("epoll", "7s", &[server.address]));
    let answer = ask_json(&gateway, &["reload"]);
    assert_eq!(answer["changes"][0]["key"], "gateway.drain_timeout", "{answer}");
    client::echo(&stream, 2, 10_000);
    gateway.home().write("portcullis.toml", &config("io_uring", "7s", &[server.address]));
    let refused = ask(&gateway, &["reload"]);
    let says = [refused.answer, refused.complaint].concat();
    assert!(says.contains("gateway.io"), "{says}");
    client::echo(&stream, 3, 10_000);

    gateway.signal(Signal::SIGTERM);
    assert_eq!(client::ending(&stream), Ending::Reset, "a drain ends it");
    gateway.stop_has_begun().expect(&[("drained", 1)]);
}

#[test]
fn connections_go_from_epoll_to_io_uring_and_back() {
    let server = server::echo();
    let servers = [server.address];
    let lineage = Lineage::start(&config("epoll", "5s", &servers));
    let address = lineage.first.address("edge");
    let idle: Vec<TcpStream> = (0..40).map(|_| client::connect(address)).collect();
    idle.iter().for_each(|stream| client::echo(stream, 1, 3_000));
    for (round, io) in ["io_uring", "epoll", "epoll"].into_iter().enumerate() {
        let before = lineage.pid();
        let next = lineage.write(&format!("{round}.toml"), &config(io, "5s", &servers));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _ends = Ends(&over);
            scope.spawn(|| come(address, &over));
            lineage.upgrade(&["--successor-config", &next.display().to_string()]);
        });
        assert_eq!(lineage.status()["io"]["by"], io);
        wait_until("the predecessor's end", || !runs(before));
        idle.iter().for_each(|stream| client::echo(stream, 2 + round as u64, 3_000));
        client::echo(&client::connect(address), 7, 100);
        // An accept that does not wait would be armed again and again.
        assert!(rearmed(&lineage) < 1_000, "{}", rearmed(&lineage));
    }
}

/// Clients that come one after the other, each served.
fn come(address: SocketAddr, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        client::echo(&client::connect(address), 7, 100);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How often workers have armed accepts again.
fn rearmed(lineage: &Lineage) -> u64 {
    let status = lineage.status();
    let workers = status["workers"].as_array().expect("a list").iter();
    workers.filter_map(|worker| worker["accepts_rearmed"].as_u64()).sum()
}

#[test]
fn one_over_io_uring_serves_on_when_a_successor_over_epoll_is_taken_back() {
    let server = server::echo();
    let servers = [server.address];
    let lineage = &Lineage::start(&config("io_uring", "5s", &servers));
    let address = lineage.first.address("edge");
    let idle: Vec<TcpStream> = (0..40).map(|_| client::connect(address)).collect();
    idle.iter().for_each(|stream| client::echo(stream, 1, 3_000));
    let next = lineage.write("epoll.toml", &config("epoll", "5s", &servers)).display().to_string();
    std::thread::scope(|scope| {
        let words = ["upgrade", "--probation", "10m", "--successor-config", &next];
        let upgrade = scope.spawn(move || lineage.ask(&words));
        lineage.wait_for_probation(1);
        assert_eq!(lineage.ask(&["upgrade", "--abort"]).code, Some(0));
        let said = upgrade.join().expect("it answers");
        assert!(said.answer.contains("40 connections are back, nobody was lost"), "{said:?}");
    });
    idle.iter().for_each(|stream| client::echo(stream, 2, 3_000));
    (0..20).for_each(|_| client::echo(&client::connect(address), 7, 100));
    assert!(rearmed(lineage) < 1_000, "{}", rearmed(lineage));
}

#[test]
fn clients_who_are_reset_at_the_limit_take_no_descriptor_that_others_have() {
    let server = server::echo();
    let config = format!(
        "[gateway]\nio = \"epoll\"\nworkers = 2\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
         upstream = \"app\"\nat_limit = \"reset\"\n{}[status]\nbind = \"off\"\n",
        upstream("app", &[server.address])
    );
    let gateway = Gateway::start_with_open_files(&config, 256);
    let budget = gateway.wait_for_lines(" budget max_connections=", 1);
    let most: usize = parsed(&budget[0], "max_connections");
    // All come in the same moment.
    gateway.signal(Signal::SIGSTOP);
    wait_until("the gateway to stand still", || is_stopped(gateway.pid()));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..400).map(|_| client::connect(address)).collect();
    gateway.signal(Signal::SIGCONT);
    let is_served = |mut stream: &TcpStream| {
        let asked = stream.write_all(b"?");
        matches!(asked.and_then(|()| stream.read(&mut [0])), Ok(1))
    };
    let served = streams.iter().filter(|stream| is_served(stream)).count();
    assert_eq!(served, most);
    assert!(most > 20, "{most}");
    let lines = gateway.lines();
    assert!(!lines.iter().any(|line| line.contains("accepting rests")), "{lines:?}");
    drop(streams);
    gateway.wait_for_ended(400);
    let (most, others) = (most as u64, 400 - most as u64);
    gateway.stop().expect(&[("closed-by-client", most), ("refused", others)]);
}
