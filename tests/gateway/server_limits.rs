//! A server has no more connections than it may: the others have them, or clients wait.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask_json, tell};
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server};
use crate::support::{Ends, unreachable::Refusing, wait_until};

/// A gateway of several workers, whose servers have these lines besides their address.
fn start(servers: &[(SocketAddr, &str)], keys: &str) -> Gateway {
    let line = |(nth, (address, more)): (usize, &(SocketAddr, &str))| {
        format!("{{ name = \"s{nth}\", address = \"{address}\"{more} }}")
    };
    let lines: Vec<String> = servers.iter().enumerate().map(line).collect();
    Gateway::start(&format!(
        "[gateway]\nworkers = 3\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [{}]\n{keys}\n",
        lines.join(", ")
    ))
}

fn servers(gateway: &Gateway) -> Vec<Value> {
    let status = ask_json(gateway, &["status"]);
    status["upstreams"][0]["servers"].as_array().expect("a list").clone()
}

fn open(gateway: &Gateway) -> Vec<u64> {
    servers(gateway).iter().map(|server| server["open"].as_u64().expect("a number")).collect()
}

/// A client that asks for a byte, and whether its server has said it yet.
fn has_answer(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    matches!(stream.read(&mut [0]), Ok(1))
}

#[test]
fn a_hundred_clients_find_ten_places_at_each_of_three_servers() {
    let all = [server::echo(), server::echo(), server::echo()];
    let lines: Vec<_> = all.iter().map(|one| (one.address, ", max_connections = 10")).collect();
    let gateway = start(&lines, "queue_timeout = \"10m\"");
    let address = gateway.address("edge");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        // Whenever one looks, none has more.
        let looks = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let open = open(&gateway);
                assert!(open.iter().all(|open| *open <= 10), "{open:?}");
            }
        });
        let mut waiting: Vec<TcpStream> = (0..100).map(|_| client::connect(address)).collect();
        waiting.iter_mut().for_each(|stream| stream.write_all(b"?").expect("it may ask"));
        let mut served = 0;
        while !waiting.is_empty() {
            // Whoever has an answer makes room for another.
            let (answered, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(has_answer);
            assert!(answered.len() <= 30, "{} at once", answered.len());
            served += answered.len();
            waiting = others;
        }
        assert_eq!(served, 100);
        over.store(true, Ordering::SeqCst);
        looks.join().expect("it has seen no more than ten");
    });
    gateway.wait_for_ended(100);
    assert_eq!(all.iter().map(Server::accepted).sum::<u64>(), 100);
    gateway.stop().expect(&[("closed-by-client", 100)]);
}

#[test]
fn beyond_its_limit_another_server_has_the_clients() {
    let (small, large) = (server::echo(), server::echo());
    let lines = [(small.address, ", max_connections = 2"), (large.address, "")];
    let gateway = start(&lines, "balance = \"round-robin\"");
    let held: Vec<_> = (0..20).map(|_| client::connect(gateway.address("edge"))).collect();
    for (seed, stream) in (0..).zip(&held) {
        client::echo(stream, seed, 10);
    }
    assert_eq!(open(&gateway), [2, 18]);
    let listed = ask_json(&gateway, &["servers", "app"])["servers"][0].clone();
    assert_eq!(listed["max_connections"], 2);
    // A larger limit holds at once.
    let change = ["servers", "app"];
    let text = tell(&gateway, &change).replace("max_connections = 2", "max_connections = 4");
    let file = gateway.home().path().join("app.servers");
    std::fs::write(&file, text).expect("it is written");
    tell(&gateway, &["servers", "app", "--set", file.to_str().expect("text")]);
    let more: Vec<_> = (0..20).map(|_| client::connect(gateway.address("edge"))).collect();
    for (seed, stream) in (0..).zip(&more) {
        client::echo(stream, seed, 10);
    }
    assert_eq!(open(&gateway), [4, 36]);
    drop((held, more));
    gateway.wait_for_ended(40);
    gateway.stop().expect(&[("closed-by-client", 40)]);
}

#[test]
fn a_client_that_waits_for_longer_than_queue_timeout_is_reset() {
    let server = server::echo();
    let lines = [(server.address, ", max_connections = 1")];
    let gateway = start(&lines, "queue_timeout = \"300ms\"");
    let address = gateway.address("edge");
    let held = client::connect(address);
    client::echo(&held, 1, 10);
    let waiting = client::connect(address);
    assert_eq!(client::ending(&waiting), client::Ending::Reset);
    drop(held);
    gateway.wait_for_ended(2);
    gateway.stop().expect(&[("closed-by-client", 1), ("queue-timeout", 1)]);
}

#[test]
fn a_backup_has_clients_while_no_other_server_serves() {
    let (refusing, backup) = (Refusing::new(), server::echo());
    let lines = [(refusing.address, ""), (backup.address, ", backup = true")];
    let gateway = start(&lines, "eject_for = \"1s\"\nmax_ejected = 100");
    let address = gateway.address("edge");
    // Until it is ejected, its clients have no other server.
    wait_until("the backup to serve", || match client::try_connect(address) {
        Ok(stream) => {
            let _ = (&stream).write_all(b"?");
            matches!((&stream).read(&mut [0]), Ok(1))
        }
        Err(_) => false,
    });
    assert_eq!(ask_json(&gateway, &["servers", "app"])["servers"][1]["backup"], true);
    let place = refusing.address;
    drop(refusing);
    let back = Server::on(&place.to_string(), server::echo_one);
    wait_until("the first to serve again", || {
        client::echo(&client::connect(address), 1, 10);
        servers(&gateway)[0]["state"] == "up"
    });
    let before = backup.accepted();
    (0..20).for_each(|seed| client::echo(&client::connect(address), seed, 10));
    assert_eq!(backup.accepted(), before);
    assert!(back.accepted() >= 20);
    gateway.stop();
}
