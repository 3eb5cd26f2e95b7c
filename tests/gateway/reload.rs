//! A config file that is read again while the gateway runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask, ask_json, tell};
use crate::support::gateway::{Gateway, Home, program};
use crate::support::network::free_port;
use crate::support::server::{self, Server};
use crate::support::{Ends, wait_until};

/// A gateway and the text of its file.
struct Rig {
    gateway: Gateway,
    text: String,
}

impl Rig {
    fn start(text: String) -> Rig {
        Rig { gateway: Gateway::start(&text), text }
    }

    fn write(&self, text: &str) {
        self.gateway.home().write("portcullis.toml", text);
    }

    /// Writes another file, and has it read.
    fn reload_with(&mut self, from: &str, to: &str) -> Value {
        assert!(self.text.contains(from), "{from} in {}", self.text);
        self.text = self.text.replace(from, to);
        self.write(&self.text);
        ask_json(&self.gateway, &["reload"])
    }
}

fn keys(answer: &Value) -> Vec<&str> {
    let changes = answer["changes"].as_array().expect("a list");
    changes.iter().map(|change| change["key"].as_str().expect("a key")).collect()
}

fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn config(port: u16, servers: &[&Server<()>]) -> String {
    let server = |(nth, server): (usize, &&Server<()>)| {
        format!("{{ name = \"s{nth}\", address = \"{}\", weight = 1 }}", server.address)
    };
    let servers: Vec<String> = servers.iter().enumerate().map(server).collect();
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 4000\ndrain_timeout = \"2s\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.side]\nbind = [\"127.0.0.1:{port}\"]\nupstream = \"own\"\n\
         [upstream.app]\nservers = [{}]\nremoved_timeout = \"0s\"\n\
         [upstream.own]\nbuiltin = \"echo\"\n[status]\nbind = \"off\"\n",
        servers.join(", ")
    )
}

#[test]
fn listeners_come_and_go_and_nobody_else_notices() {
    let server = server::echo();
    let (port, other) = (free_port(), free_port());
    let mut rig = Rig::start(config(port, &[&server]));
    let mut edge = client::connect(rig.gateway.address("edge"));
    let mut side = client::connect(at(port));
    assert!(echoes(&mut edge) && echoes(&mut side));

    let answer = rig.reload_with(&format!(":{port}"), &format!(":{other}"));
    assert_eq!(keys(&answer), ["listener.side.bind"]);
    assert!(echoes(&mut side), "its listener is there, at another address");
    assert!(echoes(&mut client::connect(at(other))));
    assert!(client::try_connect(at(port)).is_err(), "nobody listens there any more");

    let answer = rig.reload_with("[listener.side]", "[listener.renamed]");
    assert_eq!(keys(&answer), ["listener.renamed", "listener.side"]);
    assert!(echoes(&mut client::connect(at(other))), "the address stays, under another name");
    rig.gateway.wait_for_reason("drained", 1);
    // Moved bytes a moment ago: what is cut looks cut.
    assert!(!echoes(&mut side));

    assert!(echoes(&mut edge), "it is nobody's business");
    assert_eq!(answer["generation"], 3);
    drop(edge);
    rig.gateway.wait_for_ended(4);
    rig.gateway.stop().expect(&[("closed-by-client", 3), ("drained", 1)]);
}

#[test]
fn servers_come_and_go_and_connections_stay_where_they_are() {
    let (one, two, three) = (server::echo(), server::echo(), server::echo());
    let mut rig = Rig::start(config(free_port(), &[&one, &two]));
    let address = rig.gateway.address("edge");
    let mut streams: Vec<_> = (0..20).map(|_| client::connect(address)).collect();
    assert!(streams.iter_mut().all(echoes));
    assert_eq!((one.accepted(), two.accepted()), (10, 10));

    let from = format!("name = \"s1\", address = \"{}\"", two.address);
    let to = format!("name = \"s2\", address = \"{}\"", three.address);
    let answer = rig.reload_with(&from, &to);
    assert_eq!(keys(&answer), ["upstream.app.servers.s2", "upstream.app.servers.s1"]);
    assert_eq!(answer["changes"][1]["ends"], 10);
    let mut later: Vec<_> = (0..10).map(|_| client::connect(address)).collect();
    assert!(later.iter_mut().all(echoes));
    assert_eq!((two.accepted(), three.accepted()), (10, 10), "the emptiest is chosen");
    rig.gateway.wait_for_reason("drained", 10);
    assert_eq!(streams.iter_mut().filter_map(|one| echoes(one).then_some(())).count(), 10);
    assert!(later.iter_mut().all(echoes));
    drop((streams, later));
    rig.gateway.wait_for_ended(30);
    rig.gateway.stop().expect(&[("closed-by-client", 20), ("drained", 10)]);
}

#[test]
fn what_is_wrong_or_needs_a_restart_changes_nothing() {
    let server = server::echo();
    let mut rig = Rig::start(config(free_port(), &[&server]));
    let good = rig.text.clone();

    rig.write(&good.replace("upstream = \"own\"", "upstream = \"owl\""));
    let said = ask(&rig.gateway, &["reload"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.complaint.contains("there is no upstream of that name"), "{said:?}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let busy = taken.local_addr().expect("it is bound");
    rig.write(&good.replace("bind = [\"127.0.0.1:0\"]", &format!("bind = [\"{busy}\"]")));
    let said = ask(&rig.gateway, &["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.answer.contains("nothing was changed: "), "{said:?}");

    let restart = good.replace("workers = 2", "workers = 1").replace("\"2s\"", "\"3s\"");
    rig.write(&restart);
    let said = ask(&rig.gateway, &["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.answer.contains("gateway.workers needs an upgrade"), "{said:?}");
    assert!(tell(&rig.gateway, &["dump"]).contains("drain_timeout = \"2s\""));

    // More than there is room for takes a restart, too.
    rig.write(&restart.replace("max_connections = 4000", "max_connections = 9000000"));
    let said = ask(&rig.gateway, &["reload"]);
    assert!(said.answer.contains("max_connections = 9000000 needs an upgrade"), "{said:?}");
    let answer = tell(&rig.gateway, &["reload", "--allow-partial"]);
    assert!(answer.contains("config 2 runs"), "{answer}");
    assert_eq!(ask_json(&rig.gateway, &["status"])["budget"]["limit"], 4000);
    let lines = rig.gateway.lines();
    assert!(!lines.iter().any(|line| line.contains("reloaded key=\"gateway.workers")), "{lines:?}");
    let dump = tell(&rig.gateway, &["dump"]);
    assert!(dump.contains("drain_timeout = \"3s\"") && dump.contains("workers = 2"), "{dump}");

    rig.text = good;
    rig.write(&rig.text);
    assert!(tell(&rig.gateway, &["reload", "--dry-run"]).ends_with("nothing was changed"));
    assert!(tell(&rig.gateway, &["dump"]).contains("drain_timeout = \"3s\""));
    rig.gateway.stop().expect(&[]);
}

#[test]
fn sighup_reloads_and_the_log_has_the_answer() {
    let server = server::echo();
    let rig = Rig::start(config(free_port(), &[&server]));
    rig.write(&rig.text.replace("\"2s\"", "\"4s\""));
    rig.gateway.signal(Signal::SIGHUP);
    let lines = rig.gateway.wait_for_lines("the config is in force", 1);
    assert!(lines[0].contains("generation 2, 1 change signal=SIGHUP"), "{lines:?}");
    rig.write("nonsense");
    rig.gateway.signal(Signal::SIGHUP);
    rig.gateway.wait_for_lines("nothing was changed", 1);
    rig.gateway.stop().expect(&[]);
}

#[test]
fn an_operators_word_stays_until_the_files_is_another_or_asked_for() {
    let (one, two) = (server::echo(), server::echo());
    let mut rig = Rig::start(config(free_port(), &[&one, &two]));
    let said = |gateway: &Gateway, server: &str, key: &str| {
        let status = ask_json(gateway, &["status"]);
        let servers = status["upstreams"][0]["servers"].as_array().expect("a list").clone();
        servers.iter().find(|one| one["name"] == server).expect("it is there")[key].clone()
    };
    let weight = |gateway: &Gateway, server: &str| said(gateway, server, "weight");
    tell(&rig.gateway, &["server", "app/s0", "weight", "7"]);
    rig.reload_with("\"2s\"", "\"3s\"");
    assert_eq!(weight(&rig.gateway, "s0"), 7, "another key is none of its business");
    let line = format!("\"{}\", weight = 1", one.address);
    let answer = rig.reload_with(&line, &line.replace("= 1", "= 2"));
    let note = answer["changes"][0]["note"].as_str().expect("a note");
    assert!(note.contains("weight 7"), "{note}");
    assert_eq!(weight(&rig.gateway, "s0"), 2);
    tell(&rig.gateway, &["server", "app/s1", "drain"]);
    assert_eq!(tell(&rig.gateway, &["listener", "edge", "pause"]), "edge: paused");
    tell(&rig.gateway, &["reload"]);
    rig.reload_with("\"3s\"", "\"4s\"");
    assert_eq!(said(&rig.gateway, "s1", "state"), "drain");
    let address = rig.gateway.address("edge");
    let mut client = client::connect(address);
    client.write_all(b"x").expect("it waits");
    assert!(client::is_silent(&client), "the listener is still paused");
    tell(&rig.gateway, &["reload", "--reset"]);
    assert_eq!(said(&rig.gateway, "s1", "state"), "up", "the file's word was asked for");
    client.read_exact(&mut [0]).expect("its listener goes on");
    drop(client);
    rig.gateway.wait_for_ended(1);
    rig.gateway.stop().expect(&[("closed-by-client", 1)]);
}

#[test]
fn limits_and_timeouts_hold_for_whoever_is_there() {
    let server = server::echo();
    let mut rig = Rig::start(config(free_port(), &[&server]));
    let address = rig.gateway.address("edge");
    let mut streams: Vec<_> = (0..10).map(|_| client::connect(address)).collect();
    assert!(streams.iter_mut().all(echoes));
    // Ten are there, and eight may be: nobody is ended, and nobody comes in.
    let edge = "[listener.edge]\n";
    rig.reload_with(edge, "[listener.edge]\nmax_connections = 8\n");
    let mut late = client::connect(address);
    late.write_all(b"x").expect("it waits");
    assert!(client::is_silent(&late));
    assert!(streams.iter_mut().all(echoes));
    streams.truncate(8);
    rig.gateway.wait_for_ended(2);
    assert!(client::is_silent(&late), "eight are there");
    streams.truncate(7);
    late.read_exact(&mut [0]).expect("its turn has come");
    rig.reload_with("max_connections = 8\n", "max_connections = 9\n");
    assert!(echoes(&mut client::connect(address)));
    rig.gateway.wait_for_ended(4);

    let answer = rig.reload_with("max_connections = 9\n", "idle_timeout = \"1s\"\n");
    let notes = answer["changes"].as_array().expect("a list").iter().map(|one| &one["note"]);
    assert_eq!(notes.filter(|note| note.is_string()).count(), 1, "{answer}");
    rig.gateway.wait_for_reason("idle-timeout", 8);
    rig.reload_with("max_connections = 4000", "max_connections = 2");
    let mut two: Vec<_> = (0..2).map(|_| client::connect(address)).collect();
    assert!(two.iter_mut().all(echoes));
    let status = ask_json(&rig.gateway, &["status"]);
    assert_eq!(status["budget"]["limit"], 2);
    rig.gateway.wait_for_reason("idle-timeout", 10);
    rig.gateway.stop().expect(&[("closed-by-client", 4), ("idle-timeout", 10)]);
}

#[test]
fn a_hundred_reloads_under_load_touch_nobody_and_leak_nothing() {
    let (one, two) = (server::echo(), server::echo());
    let port = free_port();
    let mut rig = Rig::start(config(port, &[&one, &two]));
    let address = rig.gateway.address("edge");
    let mut streams: Vec<_> = (0..50).map(|_| client::connect(address)).collect();
    let files = |gateway: &Gateway| {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()));
        entries.expect("our child").count()
    };
    assert!(streams.iter_mut().all(echoes));
    tell(&rig.gateway, &["reload"]);
    let before = files(&rig.gateway);
    for round in 0..100 {
        let (from, to) = if round % 2 == 0 { ("side", "other") } else { ("other", "side") };
        rig.reload_with(&format!("listener.{from}"), &format!("listener.{to}"));
        let (from, to) = if round % 2 == 0 { ("s1", "t1") } else { ("t1", "s1") };
        let answer = rig.reload_with(&format!("\"{from}\""), &format!("\"{to}\""));
        assert_eq!(answer["applied"], true, "{answer}");
        let mut side = client::connect(at(port));
        assert!(echoes(&mut side));
        let chosen = &mut streams[round % 50];
        // Those of the server that is renamed are ended in time; whoever is left is served.
        let _ = echoes(chosen);
    }
    let alive = streams.iter_mut().filter_map(|one| echoes(one).then_some(())).count();
    assert_eq!(alive, 25, "those of the server that stays");
    drop(streams);
    wait_until("all have left", || ask_json(&rig.gateway, &["status"])["drain"]["still_open"] == 0);
    // The answer to a command is there before its connection is gone.
    wait_until("no descriptor is left over", || files(&rig.gateway) <= before);
    let report = rig.gateway.stop();
    assert_eq!(report.ended["drained"], 25);
}

#[test]
fn clients_that_nobody_can_serve_at_an_address_that_goes_are_said() {
    let server = server::echo();
    let (port, other) = (free_port(), free_port());
    let mut rig = Rig::start(config(port, &[&server]));
    assert_eq!(tell(&rig.gateway, &["listener", "side", "pause"]), "side: paused");
    let mut client = client::connect(at(port));
    client.write_all(b"x").expect("it waits");
    let answer = rig.reload_with(&format!(":{port}"), &format!(":{other}"));
    assert_eq!(answer["applied"], true, "{answer}");
    let lines = rig.gateway.wait_for_lines("given up are reset", 1);
    assert!(lines[0].contains("clients=1"), "{lines:?}");
    assert!(client.read(&mut [0]).is_err(), "it is reset");
    rig.gateway.stop().expect(&[]);
}

#[test]
fn an_address_becomes_a_wider_and_a_narrower_one_and_no_client_is_lost() {
    const ROUNDS: usize = 6;
    let server = server::echo();
    let port = free_port();
    let mut rig = Rig::start(config(port, &[&server]));
    let mut held = client::connect(at(port));
    assert!(echoes(&mut held));
    let (narrow, wide) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let over = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let ends = Ends(&over);
        let crowd = scope.spawn(|| {
            let mut served = 0;
            while !over.load(Ordering::SeqCst) {
                assert!(echoes(&mut client::connect(at(port))), "client {served} is served");
                served += 1;
            }
            served
        });
        for round in 0..ROUNDS {
            let (from, to) = if round % 2 == 0 { (&narrow, &wide) } else { (&wide, &narrow) };
            let answer = rig.reload_with(from, to);
            assert_eq!(
                (&answer["applied"], keys(&answer)),
                (&true.into(), vec!["listener.side.bind"])
            );
            let other = SocketAddr::from(([127, 0, 0, 2], port));
            assert_eq!(client::try_connect(other).is_ok(), round % 2 == 0);
        }
        drop(ends);
        crowd.join().expect("nobody is lost")
    });
    assert!(served > 0 && echoes(&mut held));
    let other = std::net::TcpListener::bind(("127.0.0.2", port)).expect("nobody is there");
    rig.write(&rig.text.replace(&narrow, &wide));
    let said = ask(&rig.gateway, &["reload"]);
    let names = format!("(pid {}) listens there", std::process::id());
    assert!(said.code == Some(1) && said.answer.contains(&names), "another process: {said:?}");
    drop((held, other));
    wait_until("all have left", || ask_json(&rig.gateway, &["status"])["drain"]["still_open"] == 0);
    let report = rig.gateway.stop();
    assert!(report.ended.keys().all(|reason| reason == "closed-by-client"), "{:?}", report.ended);
}

#[test]
fn a_reset_at_the_limit_that_has_no_room_to_accept_says_so() {
    let server = server::echo();
    let config = config(free_port(), &[&server]);
    let one = config.replace("workers = 2", "workers = 1");
    let by_files = config.replace("max_connections = 4000", "io = \"epoll\"");
    for (text, open_files, lacks) in [(one, None, "slots"), (by_files, Some(300), "descriptors")] {
        let gateway = Gateway::launch_in(Home::new(), program(open_files), Some(&text));
        gateway.wait_for_line(" ready with ");
        let text = text.replace("[listener.edge]\n", "[listener.edge]\nat_limit = \"reset\"\n");
        gateway.home().write("portcullis.toml", &text);
        let answer = ask_json(&gateway, &["reload", "--dry-run"]);
        let note = answer["changes"][0]["note"].as_str().expect("a note");
        let words = format!("clients wait all the same until a start: no {lacks} are left");
        assert!(note.contains(&words), "{note}");
        gateway.stop().expect(&[]);
    }
}
