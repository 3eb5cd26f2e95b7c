//! The gateway's clients while the addresses of a name change.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::support::client::{self, connect, try_connect};
use crate::support::gateway::Gateway;
use crate::support::server::{Server, echo_one};
use crate::support::wait_until;
use crate::unbound::Unbound;

/// A server that says its name to each client that says something, then echoes.
fn named(address: &str, name: u8) -> Server<()> {
    Server::on(address, move |mut stream| {
        let mut first = [0];
        if stream.read_exact(&mut first).is_ok() && stream.write_all(&[name]).is_ok() {
            echo_one(stream);
        }
    })
}

fn config(dns: SocketAddr, server: &str) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 1000\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [resolver]\nservers = [\"{dns}\"]\nmax_ttl = \"1s\"\ntimeout = \"500ms\"\n\
         [upstream.app]\n{server}\n"
    )
}

/// A new client, and the name of the server that it reaches.
fn reached(gateway: &Gateway) -> (TcpStream, u8) {
    let mut stream = connect(gateway.address("edge"));
    let mut name = [0];
    stream.write_all(&[0]).expect("the gateway reads");
    stream.read_exact(&mut name).expect("a server says its name");
    (stream, name[0])
}

#[test]
fn new_clients_go_to_the_new_address_and_old_ones_stay() {
    let a = named("127.0.0.2:0", b'a');
    let port = a.address.port();
    let b = named(&format!("127.0.0.3:{port}"), b'b');
    let dns = Unbound::start(&["db.test. 3600 IN A 127.0.0.2"]);
    let gateway =
        Gateway::start(&config(dns.address(), &format!("servers = [\"db.test:{port}\"]")));
    let (old, name) = reached(&gateway);
    assert_eq!(name, b'a');
    dns.reload(&["db.test. 3600 IN A 127.0.0.3"]);
    let replaced = Instant::now();
    wait_until("the new address to be used", || reached(&gateway).1 == b'b');
    println!("a new address is used after {:?}", replaced.elapsed());
    client::echo(&old, 1, 10_000);
    assert!((0..50).all(|_| reached(&gateway).1 == b'b'), "all new clients go there");
    assert_eq!(b.accepted(), 51);
    // Without a DNS server all stays as it is, and the log says so once.
    drop(dns);
    gateway.wait_for_line("servers could not be learned; the last good ones stay in use");
    assert_eq!(reached(&gateway).1, b'b');
    client::echo(&old, 2, 10_000);
    drop(old);
    gateway.stop();
}

#[test]
fn servers_of_srv_records_are_changed_by_the_records() {
    let (a, b) = (named("127.0.0.1:0", b'a'), named("127.0.0.1:0", b'b'));
    let record = |priority: u16, server: &Server<()>| {
        format!("_x._tcp.test. 1 IN SRV {priority} 1 {} db.test.", server.address.port())
    };
    let host = "db.test. 1 IN A 127.0.0.1";
    let dns = Unbound::start(&[host, &record(1, &a), &record(2, &b)]);
    let gateway = Gateway::start(&config(dns.address(), "srv = \"_x._tcp.test\""));
    let (old, name) = reached(&gateway);
    assert_eq!(name, b'a');
    dns.reload(&[host, &record(2, &a), &record(1, &b)]);
    wait_until("the better priority to be used", || reached(&gateway).1 == b'b');
    client::echo(&old, 1, 10_000);
    drop(old);
    gateway.stop();
}

#[test]
fn a_start_without_an_answer_serves_as_soon_as_there_is_one() {
    let a = named("127.0.0.1:0", b'a');
    let dns = Unbound::start(&[]);
    let server = format!("servers = [\"db.test:{}\"]", a.address.port());
    let gateway = Gateway::start(&config(dns.address(), &server));
    dns.reload(&["db.test. 3600 IN A 127.0.0.1"]);
    wait_until("the server to be known", || {
        let mut name = [0];
        let stream = try_connect(gateway.address("edge"));
        let asked = stream.and_then(|mut stream| {
            stream.write_all(&[0])?;
            stream.read_exact(&mut name)
        });
        asked.is_ok() && name == *b"a"
    });
    let of_resolver = |line: &String| line.contains("final message");
    assert!(!gateway.lines().iter().any(of_resolver), "the log has lines of the gateway only");
    gateway.stop();
}
