//! Servers are checked apart from their clients: down by what they answer, up again by it alone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::support::command::{ask_json, tell};
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::server::{self, Server};
use crate::support::unreachable::Refusing;
use crate::support::{WATCH, client, wait_until};

const SOON: &str = "check = { interval = \"100ms\" }\n";
/// The word that a check sends, and a good server gives back.
const PING: &str = "check = { kind = \"send-expect\", interval = \"100ms\", timeout = \"300ms\", \
                    send = 'PING\\r\\n', expect = \"PING\\r\" }\n";

/// An echo server that answers a check by what it is made to be.
struct Moody {
    server: Server<()>,
    is_well: Arc<AtomicBool>,
    /// Clients that it has by now.
    open: Arc<AtomicU64>,
}

impl Moody {
    fn new() -> Moody {
        Moody::answering(b"-LOADING\r\n")
    }

    fn answering(unwell: &'static [u8]) -> Moody {
        let (is_well, open) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (well, clients) = (is_well.clone(), open.clone());
        let server = Server::start(move |mut stream| {
            let mut buffer = [0; 1000];
            let mut is_client = false;
            while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                let is_check = buffer[..bytes] == *b"PING\r\n";
                if !is_check && !is_client {
                    is_client = true;
                    clients.fetch_add(1, Ordering::SeqCst);
                }
                let answer = match well.load(Ordering::SeqCst) || !is_check {
                    true => &buffer[..bytes],
                    false => unwell,
                };
                if stream.write_all(answer).is_err() {
                    break;
                }
            }
            clients.fetch_sub(u64::from(is_client), Ordering::SeqCst);
        });
        Moody { server, is_well, open }
    }

    fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }

    fn be(&self, well: bool) {
        self.is_well.store(well, Ordering::SeqCst);
    }
}

fn server(gateway: &Gateway, index: usize) -> Value {
    ask_json(gateway, &["status"])["upstreams"][0]["servers"][index].clone()
}

fn wait_for_state(gateway: &Gateway, index: usize, state: &str) {
    wait_until(state, || server(gateway, index)["state"] == state);
}

/// Clients that were served, each by the server that its turn came to.
fn clients(gateway: &Gateway, count: u64) -> Vec<TcpStream> {
    let address: SocketAddr = gateway.address("edge");
    let connect = |seed| {
        let stream = client::connect(address);
        client::echo(&stream, seed, 100);
        stream
    };
    (0..count).map(connect).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

#[test]
fn no_client_meets_a_server_that_refuses_and_it_is_back_when_it_answers() {
    let (refusing, good) = (Refusing::new(), server::echo());
    let gateway = Gateway::start(&(relay(&[refusing.address, good.address]) + SOON));
    wait_for_state(&gateway, 0, "down");
    gateway.wait_for_line("is down: 3 checks (connect) in a row failed: Connection refused");
    let line = gateway.lines().into_iter().find(|line| line.contains("is down"));
    let line = line.expect("it was waited for");
    let address = refusing.address;
    let subject = format!("subject=server/app/{address}");
    for words in ["WARN", "(ECONNREFUSED)", "1 of 2 serve", &subject] {
        assert!(line.contains(words), "{words}: {line}");
    }
    drop(clients(&gateway, 20));
    // A reading is used for a moment.
    wait_until("clients to be counted", || number(&server(&gateway, 1)["joined"]) == 20);
    let down = server(&gateway, 0);
    assert_eq!((&down["attempts"], &down["up"]), (&0.into(), &0.into()), "{down}");
    assert!(down["because"].as_str().expect("words").contains("ECONNREFUSED"), "{down}");
    let check = &down["check"];
    assert!(number(&check["failed"]) >= 3 && check["passed"] == 0, "{check}");
    assert!(check["last"].as_str().expect("words").contains("ECONNREFUSED"), "{check}");
    assert!(number(&server(&gateway, 1)["check"]["passed"]) > 0);
    // A check is no connection of a client's.
    wait_until("clients to be gone", || {
        ask_json(&gateway, &["conns"])["rows"].as_array().is_some_and(Vec::is_empty)
    });
    drop(refusing);
    let back = Server::on(&address.to_string(), server::echo_one);
    wait_for_state(&gateway, 0, "up");
    gateway.wait_for_line("serves again after");
    let before = number(&server(&gateway, 0)["joined"]);
    drop(clients(&gateway, 20));
    wait_until("its clients", || number(&server(&gateway, 0)["joined"]) > before);
    assert!(back.accepted() > 0);
    gateway.stop();
}

#[test]
fn a_server_that_listens_and_answers_wrongly_is_down_and_the_answer_is_said() {
    let (moody, good) = (Moody::new(), Moody::new());
    let gateway = Gateway::start(&(relay(&[moody.server.address, good.server.address]) + PING));
    wait_until("a check", || number(&server(&gateway, 0)["check"]["passed"]) > 0);
    moody.be(false);
    wait_for_state(&gateway, 0, "down");
    let because = "3 checks (send-expect) in a row failed: answered \"-LOADING\\r\\n\" in 300ms, \
                   expected \"PING\\r\"";
    assert_eq!(server(&gateway, 0)["because"], because);
    gateway.wait_for_line("is down: 3 checks (send-expect) in a row failed: answered");
    moody.be(true);
    wait_for_state(&gateway, 0, "up");
    gateway.stop();
}

#[test]
fn a_server_that_accepts_and_is_silent_is_down() {
    let (moody, good) = (Moody::answering(b""), Moody::new());
    moody.be(false);
    let gateway = Gateway::start(&(relay(&[moody.server.address, good.server.address]) + PING));
    wait_for_state(&gateway, 0, "down");
    let because =
        "3 checks (send-expect) in a row failed: no answer in 300ms, expected \"PING\\r\"";
    assert_eq!(server(&gateway, 0)["because"], because);
    gateway.stop();
}

#[test]
fn a_server_in_maintenance_is_not_checked_and_one_that_drains_is() {
    let servers = [server::echo(), server::echo()];
    let config = relay(&[servers[0].address, servers[1].address]) + SOON;
    let gateway = Gateway::start(&config);
    let part = |index: usize| format!("app/{}", servers[index].address);
    tell(&gateway, &["server", &part(0), "maintenance"]);
    tell(&gateway, &["server", &part(1), "drain"]);
    // One may have been under way.
    std::thread::sleep(WATCH);
    let checks = |index| {
        let check = &server(&gateway, index)["check"];
        number(&check["passed"]) + number(&check["failed"])
    };
    let before = [0, 1].map(checks);
    wait_until("checks of the one that drains", || checks(1) > before[1] + 3);
    assert_eq!(checks(0), before[0]);
    tell(&gateway, &["server", &part(0), "ready"]);
    wait_until("checks of the one that is back", || checks(0) > before[0]);
    gateway.stop();
}

#[test]
fn a_server_that_is_checked_no_more_is_up_again() {
    let (refusing, good) = (Refusing::new(), server::echo());
    let config = relay(&[refusing.address, good.address]);
    let gateway = Gateway::start(&format!("{config}eject_after = \"off\"\n{SOON}"));
    wait_for_state(&gateway, 0, "down");
    gateway.wait_for_line("is down: ");
    gateway.home().write("portcullis.toml", &format!("{config}eject_after = \"off\"\n"));
    let answer = ask_json(&gateway, &["reload"]);
    assert_eq!(answer["applied"], true, "{answer}");
    let is_live =
        |change: &Value| change["key"] == "upstream.app.check" && change["takes"] == "live";
    assert!(answer["changes"].as_array().expect("a list").iter().any(is_live), "{answer}");
    assert_eq!(server(&gateway, 0)["state"], "up");
    assert_eq!(server(&gateway, 0)["check"], Value::Null);
    gateway.wait_for_line("is checked no more, and counts as up");
    gateway.stop();
}

#[test]
fn a_server_that_flaps_does_not_fill_the_log() {
    let turn = AtomicBool::new(false);
    let flapping = Server::start(move |mut stream| {
        let is_well = turn.fetch_xor(true, Ordering::SeqCst);
        let _ = stream.write_all(if is_well { b"+OK" } else { b"-NO" });
    });
    let check = "check = { kind = \"send-expect\", interval = \"100ms\", rise = 1, fall = 1, \
                 expect = \"+OK\" }\non_down = \"close\"\n";
    let gateway = Gateway::start(&(relay(&[flapping.address]) + check));
    wait_until("it to flap", || {
        let check = &server(&gateway, 0)["check"];
        number(&check["passed"]) > 10 && number(&check["failed"]) > 10
    });
    let said = |words: &str| gateway.lines().iter().filter(|line| line.contains(words)).count();
    assert!((2..=4).contains(&said("subject=server/app/")), "{}", said("subject=server/app/"));
    assert!((2..=4).contains(&said("subject=upstream/app")), "{}", said("subject=upstream/app"));
    gateway.stop();
}

/// Two servers with clients on both, of which the first is not well from then on.
fn rig(keys: &str) -> (Gateway, [Moody; 2], Vec<TcpStream>) {
    let servers = [Moody::new(), Moody::new()];
    let config = relay(&[servers[0].server.address, servers[1].server.address]);
    let gateway = Gateway::start(&format!("{config}on_down = \"close\"\n{keys}{PING}"));
    let streams = clients(&gateway, 40);
    assert_eq!(servers.each_ref().map(Moody::open), [20, 20], "least connections");
    servers[0].be(false);
    (gateway, servers, streams)
}

fn drains(gateway: &Gateway) -> Vec<Value> {
    ask_json(gateway, &["status"])["drains"].as_array().expect("a list").clone()
}

#[test]
fn connections_of_a_server_that_is_down_end_at_a_pace_and_no_others_do() {
    let (gateway, servers, streams) = rig("on_down_over = \"2s\"\n");
    gateway.wait_for_line("20 connections of it end over 2s, as it is down");
    wait_until("the first to end", || servers[0].open() < 20);
    assert!(servers[0].open() > 0, "not all at once");
    wait_until("all to end", || servers[0].open() == 0);
    assert_eq!(servers[1].open(), 20);
    gateway.wait_for_reason("drained", 20);
    drop(streams);
    gateway.stop().expect(&[("closed-by-client", 20), ("drained", 20)]);
}

#[test]
fn a_server_that_is_back_keeps_what_it_still_has() {
    let (gateway, servers, streams) = rig("on_down_over = \"1h\"\n");
    wait_until("the end to begin", || !drains(&gateway).is_empty());
    let name = format!("down server/app/{}", servers[0].server.address);
    assert_eq!(drains(&gateway)[0]["name"], name.as_str());
    servers[0].be(true);
    wait_for_state(&gateway, 0, "up");
    wait_until("the end to be over", || drains(&gateway).is_empty());
    assert!(servers[0].open() >= 18, "{}", servers[0].open());
    drop(streams);
    gateway.stop();
}

#[test]
fn while_no_server_serves_connections_end_only_where_clients_are_refused() {
    let (gateway, servers, streams) = rig("on_down_over = \"100ms\"\nall_down = \"refuse\"\n");
    servers[1].be(false);
    gateway.wait_for_line("no server is left that serves, of 2: its clients are reset");
    wait_until("all to end", || servers.iter().all(|server| server.open() == 0));
    client::expect_reset(client::try_connect(gateway.address("edge")), b"");
    drop(streams);
    gateway.stop();

    let good = Moody::new();
    let config = relay(&[good.server.address]);
    let keys = "on_down = \"close\"\non_down_over = \"100ms\"\n";
    let gateway = Gateway::start(&format!("{config}{keys}{PING}"));
    let streams = clients(&gateway, 10);
    good.be(false);
    wait_for_state(&gateway, 0, "down");
    // New clients are sent there all the same, and those who are there stay.
    let more = clients(&gateway, 10);
    assert!(streams.iter().take(3).all(client::is_silent));
    assert_eq!(good.open(), 20);
    drop((streams, more));
    gateway.stop();
}

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

#[test]
fn a_check_that_reaches_itself_has_found_no_server() {
    in_own_network(|own| {
        if !own {
            return; // `in_own_network` has said that the range of a shared host is not touched.
        }
        let before = std::fs::read_to_string(RANGE).expect("the range");
        std::fs::write(RANGE, "30000 30003").expect("our own range");
        let address = "127.0.0.1:30000".parse().expect("an address");
        let check = "check = { interval = \"100ms\", rise = 1, fall = 1 }\n";
        let config = relay(&[address]).replacen("127.0.0.1:0", "127.0.0.1:7000", 1);
        let gateway = Gateway::start(&format!("{config}{check}"));
        let mut passed = 0;
        wait_until("a check that reaches itself", || {
            let check = server(&gateway, 0)["check"].clone();
            passed += number(&check["passed"]);
            check["last_error"].as_str().is_some_and(|words| words.contains("came back to itself"))
        });
        assert_eq!(passed, 0, "nobody listens there");
        assert_eq!(server(&gateway, 0)["state"], "down");
        std::fs::write(RANGE, before).expect("our own range");
        let _server = Server::on("127.0.0.1:30000", server::echo_one);
        wait_for_state(&gateway, 0, "up");
        gateway.stop();
    });
}
