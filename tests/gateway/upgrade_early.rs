//! An upgrade: clients that have no server yet go to the new process, and are served there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::client::{self, Ending};
use crate::support::config::upstream;
use crate::support::growth::{grown, none_fell};
use crate::support::hello::hello;
use crate::support::lineage::{Lineage, runs, signal};
use crate::support::server::{self, Server};
use crate::support::wait_until;

/// Clients of each kind.
const EACH: usize = 3;
const HEADER: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4000 80\r\n";

/// One listener for each thing that keeps clients from a server.
fn config(echo: SocketAddr, whole: SocketAddr) -> String {
    let listener = |name: &str, to: &str, keys: &str| {
        format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"{to}\"\n{keys}\n")
    };
    let patient = "preamble_timeout = \"5m\"";
    let header = "accept_proxy = \"from-trusted\"\nproxy_trusted = [\"127.0.0.0/8\"]";
    let header = format!("{header}\n{patient}");
    let names = format!(
        "sniff = \"tls\"\n{patient}\n[[listener.names.route]]\n\
         server_names = [\"db.example.com\"]\nupstream = \"whole\""
    );
    let limit = |action: &str| {
        format!(
            "per_source = {{ max_connections = 1, action = \"{action}\", wait_at_most = \"10m\" }}"
        )
    };
    [
        "[gateway]\nworkers = 2\nmax_connections = 2000\n[status]\nbind = \"127.0.0.1:0\"\n".into(),
        listener("lazy", "lazy", ""),
        listener("told", "told", &header),
        listener("header", "app", &header),
        listener("names", "app", &names),
        listener("room", "full", ""),
        listener("held", "app", &limit("wait")),
        listener("tarpit", "app", &limit("tarpit")),
        upstream("app", &[echo]),
        upstream("lazy", &[echo]) + "connect = \"lazy\"\n",
        upstream("told", &[whole]) + "connect = \"lazy\"\nsend_proxy = \"v1\"\n",
        upstream("full", &[echo]) + "all_down = \"wait\"\nqueue_timeout = \"5m\"\n",
        upstream("whole", &[whole]),
    ]
    .concat()
}

/// A server that reads to the end, says how much that was, and keeps it.
fn whole() -> Server<Vec<u8>> {
    Server::start(|mut stream: TcpStream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("all of it");
        stream.write_all(&(all.len() as u64).to_le_bytes()).expect("an answer");
        all
    })
}

/// What clients hear of that server that have said so much.
fn is_whole(mut stream: &TcpStream, bytes: usize) {
    server::finish(stream);
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(u64::from_le_bytes(answer), bytes as u64);
}

fn said(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("it may speak");
}

/// A gateway whose clients all wait for something.
struct Stage {
    echo: Server<()>,
    whole: Server<Vec<u8>>,
    lineage: Lineage,
    lazy: Vec<TcpStream>,
    /// They sent a header, are silent, and their server gets another.
    told: Vec<TcpStream>,
    header: Vec<TcpStream>,
    /// They have sent half a hello.
    names: Vec<TcpStream>,
    /// It waits for room; who comes after it may be left in an accept queue.
    room: TcpStream,
    /// One that is served for its source, and those that wait.
    served: TcpStream,
    held: Vec<TcpStream>,
}

fn hello_bytes() -> Vec<u8> {
    hello("db.example.com", &[], 400, 200)
}

impl Stage {
    fn new() -> Stage {
        let (echo, whole) = (server::echo(), whole());
        let lineage = Lineage::start(&config(echo.address, whole.address));
        let part = format!("full/{}", echo.address);
        assert_eq!(lineage.ask(&["server", &part, "maintenance"]).code, Some(0));
        let some = |listener: &str| -> Vec<TcpStream> {
            let address = lineage.first.address(listener);
            (0..EACH).map(|_| client::connect(address)).collect()
        };
        let served = client::connect(lineage.first.address("held"));
        client::echo(&served, 1, 100);
        let (lazy, told, header) = (some("lazy"), some("told"), some("header"));
        let (names, held) = (some("names"), some("held"));
        let room = client::connect(lineage.first.address("room"));
        told.iter().for_each(|stream| said(stream, HEADER.as_bytes()));
        header.iter().for_each(|stream| said(stream, &HEADER.as_bytes()[..20]));
        names.iter().for_each(|stream| said(stream, &hello_bytes()[..150]));
        said(&room, b"x");
        held.iter().for_each(|stream| said(stream, b"x"));
        let stage = Stage { echo, whole, lineage, lazy, told, header, names, room, served, held };
        wait_until("all to be where they wait", || {
            let states =
                [("silent", 2 * EACH), ("held", EACH), ("preamble", 2 * EACH), ("queued", 1)];
            states.into_iter().all(|(state, count)| stage.count_in(state) == count)
        });
        assert!(client::is_silent(&stage.names[0]), "what has come is read by now");
        assert_eq!((stage.echo.accepted(), stage.whole.accepted()), (1, 0));
        stage
    }

    fn count_in(&self, state: &str) -> usize {
        let filter = format!("state={state}");
        let said = self.lineage.ask(&["conns", "--json", "--filter", &filter, "--limit", "1000"]);
        let rows: Value = serde_json::from_str(&said.answer).expect("an answer in JSON");
        crate::support::command::rows(&rows).len()
    }

    /// By listener: how many it has accepted.
    fn accepted(&self) -> Vec<u64> {
        let status = self.lineage.status();
        let listeners = status["listeners"].as_array().expect("a list").clone();
        listeners.iter().map(|one| one["accepted"].as_u64().expect("a number")).collect()
    }

    /// Each goes on where it was, and is served with every byte that it has said.
    fn all_are_served(self) {
        let Stage { echo, whole, lineage, lazy, told, header, names, room, served, held } = self;
        client::echo(&served, 2, 100);
        lazy.iter().for_each(|stream| client::echo(stream, 3, 5_000));
        told.iter().for_each(|stream| said(stream, b"hello"));
        told.iter().for_each(|stream| is_whole(stream, HEADER.len() + 5));
        for stream in &header {
            said(stream, &HEADER.as_bytes()[20..]);
            client::echo(stream, 4, 5_000);
        }
        let hello = hello_bytes();
        for stream in &names {
            said(stream, &hello[150..]);
            is_whole(stream, hello.len());
        }
        for all in whole.outcomes(2 * EACH) {
            assert!(all == hello || all == [HEADER.as_bytes(), b"hello"].concat(), "{all:?}");
        }
        let second = client::connect(lineage.first.address("room"));
        said(&second, b"x");
        assert!([&room, &second, &held[0]].into_iter().all(client::is_silent));
        let part = format!("full/{}", echo.address);
        assert_eq!(lineage.ask(&["server", &part, "ready"]).code, Some(0));
        [&room, &second].into_iter().for_each(client::hear);
        drop(served);
        // One after the other: each has the place of the one before.
        let mut held: Vec<_> = held.into_iter().map(Some).collect();
        for _ in 0..EACH {
            let mut next = None;
            wait_until("the next one's turn", || {
                let there = |one: &Option<TcpStream>| {
                    one.as_ref().is_some_and(|stream| {
                        stream.set_nonblocking(true).expect("a mode");
                        stream.peek(&mut [0]).is_ok()
                    })
                };
                next = held.iter().position(there);
                next.is_some()
            });
            held[next.expect("it was found")] = None;
        }
    }
}

/// All of them: of five kinds, the one that waits for room, and the one that is served.
const ALL: usize = 5 * EACH + 2;

#[test]
fn clients_without_a_server_move_and_are_served_in_the_successor() {
    let stage = Stage::new();
    let lineage = &stage.lineage;
    let status = lineage.first.status();
    let before = grown(status);
    let said = lineage.ask(&["upgrade", "--probation", "300ms"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let words = format!("{ALL} connections moved");
    assert!(said.answer.contains(&words) && !said.answer.contains("could not"), "{said:?}");
    wait_until("the predecessor's end", || !runs(lineage.first.pid()));
    none_fell(&before, &grown(status));
    assert_eq!(stage.accepted().iter().sum::<u64>(), ALL as u64, "each was accepted once");
    assert_eq!((stage.echo.accepted(), stage.whole.accepted()), (1, 0), "nobody has a server");
    assert_eq!((stage.count_in("silent"), stage.count_in("held")), (2 * EACH, EACH));
    assert_eq!(lineage.status()["budget"]["used"], ALL as u64, "each has one permit");
    stage.all_are_served();
}

#[test]
fn they_move_twice_in_a_row() {
    let stage = Stage::new();
    for _ in 0..2 {
        stage.lineage.upgrade(&[]);
    }
    assert_eq!((stage.echo.accepted(), stage.whole.accepted()), (1, 0), "nobody has a server");
    stage.all_are_served();
}

fn taken_back(upgrade: Child) {
    let output = upgrade.wait_with_output().expect("it is our child");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let words = format!("{ALL} connections are back, nobody was lost");
    assert!(said.contains(&words), "{said}");
}

#[test]
fn they_are_back_where_they_were_when_the_successor_is_killed() {
    let stage = Stage::new();
    for nth in 1..3 {
        let upgrade = stage.lineage.begin(&[]);
        let pid = stage.lineage.wait_for_probation(nth);
        signal(pid, Signal::SIGKILL);
        taken_back(upgrade);
        assert_eq!((stage.count_in("silent"), stage.count_in("held")), (2 * EACH, EACH));
    }
    assert_eq!(stage.accepted().iter().sum::<u64>(), ALL as u64, "each was accepted once");
    stage.all_are_served();
}

#[test]
fn they_are_back_where_they_were_when_the_upgrade_is_aborted_and_move_with_the_next() {
    let stage = Stage::new();
    let upgrade = stage.lineage.begin(&[]);
    stage.lineage.wait_for_probation(1);
    assert_eq!(stage.lineage.ask(&["upgrade", "--abort"]).code, Some(0));
    taken_back(upgrade);
    stage.lineage.upgrade(&[]);
    stage.all_are_served();
}

#[test]
fn one_in_a_tarpit_is_counted_once_and_stays_there() {
    let (echo, whole) = (server::echo(), whole());
    let lineage = Lineage::start(&config(echo.address, whole.address).replace("\"10m\"", "\"4s\""));
    let address = lineage.first.address("tarpit");
    let served = client::connect(address);
    client::echo(&served, 1, 100);
    let barred = client::connect(address);
    let count = || {
        let status = lineage.status();
        let listeners = status["listeners"].as_array().expect("a list").clone();
        let one = listeners.iter().find(|one| one["name"] == "tarpit").expect("it is there");
        one["barred"]["connections"].as_u64().expect("a number")
    };
    wait_until("it to be refused", || count() == 1);
    lineage.upgrade(&[]);
    assert_eq!(client::ending(&barred), Ending::Reset);
    assert_eq!(count(), 1);
    client::echo(&served, 2, 100);
    drop(served);
    wait_until("its source's place to be free", || {
        let stream = client::connect(address);
        (&stream).write_all(b"x").is_ok() && (&stream).read_exact(&mut [0]).is_ok()
    });
}
