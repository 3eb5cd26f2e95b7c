//! Servers are told by a PROXY header whose connection they get.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use portcullis::wire::{Decoded, proxy_header};

use crate::support::client::{self, Ending};
use crate::support::command::{ask_json, rows};
use crate::support::config::{relay, relay_with};
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::server::{self, Server, echo_one};
use crate::support::wait_until;

/// What a server was told: source, destination and the fields behind them; `None`: that it is no
/// client's connection.
type Told = Option<(SocketAddr, SocketAddr, Vec<u8>)>;

/// Reads a header, and not a byte more.
fn header(mut stream: &TcpStream) -> Told {
    let mut bytes = Vec::new();
    loop {
        if let Decoded::Done { used, facts } = proxy_header(&bytes) {
            assert_eq!(used, bytes.len());
            return facts.ends.map(|ends| (ends.source, ends.destination, facts.fields.to_vec()));
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole header");
        bytes.push(byte[0]);
    }
}

/// A server that reads a header, then echoes.
fn told_echo() -> Server<Told> {
    Server::start(|stream| {
        let told = header(&stream);
        echo_one(stream);
        told
    })
}

fn sends(version: &str, more: &str) -> String {
    format!("send_proxy = \"{version}\"\n{more}")
}

#[test]
fn either_version_names_the_client_and_where_it_connected() {
    for version in ["v1", "v2"] {
        let server = told_echo();
        let gateway = Gateway::start(&(relay(&[server.address]) + &sends(version, "")));
        let edge = gateway.address("edge");
        let mut clients = Vec::new();
        for seed in 0..20 {
            let stream = client::connect(edge);
            client::echo(&stream, seed, 10_000);
            clients.push(stream.local_addr().expect("an address"));
            server::finish(&stream);
            assert_eq!(client::ending(&stream), Ending::Fin);
        }
        let told: HashSet<_> =
            server.outcomes(20).into_iter().map(|one| one.expect("ends")).collect();
        let expected = clients.into_iter().map(|one| (one, edge, Vec::new())).collect();
        assert_eq!(told, expected, "{version}");
        gateway.wait_for_ended(20);
        // The header is nobody's bytes.
        let ended = gateway.lines();
        let counted = |line: &&String| line.contains("to_upstream_bytes=10000");
        assert_eq!(ended.iter().filter(counted).count(), 20, "{ended:?}");
        gateway.stop().expect_closed(20);
    }
}

#[test]
fn a_client_that_says_nothing_is_announced_all_the_same() {
    let server = Server::start(|mut stream: TcpStream| {
        let told = header(&stream).expect("ends").0;
        stream.write_all(b"hello").expect("it may speak first");
        (told, client::ending(&stream))
    });
    let gateway = Gateway::start(&(relay(&[server.address]) + &sends("v2", "")));
    let greeted = |ends: fn(TcpStream)| {
        let stream = client::connect(gateway.address("edge"));
        let mut greeting = [0; 5];
        (&stream).read_exact(&mut greeting).expect("the server speaks first");
        let own = stream.local_addr().expect("an address");
        ends(stream);
        own
    };
    let finished = greeted(|stream| {
        server::finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
    });
    assert_eq!(server.outcomes(1), [(finished, Ending::Fin)]);
    let reset = greeted(crate::support::socket::reset);
    assert_eq!(server.outcomes(1), [(reset, Ending::Reset)]);
    // One that has ended its direction before it said a byte.
    let stream = client::connect(gateway.address("edge"));
    server::finish(&stream);
    let mut greeting = [0; 5];
    (&stream).read_exact(&mut greeting).expect("an answer");
    assert_eq!(server.outcomes(1)[0].1, Ending::Fin);
}

#[test]
fn what_a_balancer_said_goes_on_with_its_fields() {
    let server = told_echo();
    let keys = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]";
    let tlvs = "send_proxy_tlvs = [\"received\", \"unique-id\", \"crc32c\"]";
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let log = format!("\n[access_log]\npath = \"{}\"\n", path.display());
    let gateway =
        Gateway::start(&(relay_with(keys, &[server.address]) + &sends("v2", tlvs) + &log));
    let digits = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let field = [&[0xea, 0, 9][..], b"\x01vpce-123"].concat();
    let block = [&[192, 0, 2, 7, 198, 51, 100, 9, 0x9c, 0x40, 1, 0xbb][..], &field].concat();
    let length = (block.len() as u16).to_be_bytes();
    let came = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length, &block].concat();
    let mut ids = HashSet::new();
    for seed in 0..5 {
        let stream = client::connect(gateway.address("edge"));
        // With the client's first bytes in one piece, and in two.
        (&stream).write_all(&came).expect("it may speak");
        client::echo(&stream, seed, 60_000);
        let known = ask_json(&gateway, &["conns"]);
        server::finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
        let told = server.outcomes(1).remove(0).expect("ends");
        assert_eq!(told.0.to_string(), "192.0.2.7:40000");
        assert_eq!(told.1.to_string(), "198.51.100.9:443");
        // The decoder has checked the sum.
        let [0x05, 0, 16, rest @ ..] = &told.2[..] else { panic!("an id first: {:?}", told.2) };
        assert!(rest[16..].starts_with(&field), "{:?}", told.2);
        assert_eq!(rest[16 + field.len()..][..3], [0x03, 0, 4]);
        assert_eq!(rows(&known)[0]["unique_id"], *digits(&rest[..16]), "{known}");
        assert!(ids.insert(digits(&rest[..16])), "an id twice");
    }
    wait_until("the lines with the ids in the access log", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        ids.iter().all(|id| text.contains(&format!(" unique_id={id} ")))
    });
    gateway.stop().expect_closed(5);
}

#[test]
fn a_gateway_behind_a_gateway_knows_the_client() {
    let server = server::echo();
    let keys = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]";
    let inner = Gateway::start(&relay_with(keys, &[server.address]));
    let outer = Gateway::start(&(relay(&[inner.address("edge")]) + &sends("v2", "")));
    let stream = client::connect(outer.address("edge"));
    client::echo(&stream, 1, 1000);
    let own = stream.local_addr().expect("an address").to_string();
    let known = ask_json(&inner, &["conns"]);
    assert_eq!(rows(&known)[0]["client"], *own, "{known}");
    drop(stream);
    inner.wait_for_ended(1);
    outer.stop().expect_closed(1);
}

#[test]
fn a_header_and_the_first_bytes_are_one_segment() {
    in_own_network(|own| {
        if !own {
            return; // `in_own_network` has said why.
        }
        let server = Server::start(|mut stream: TcpStream| {
            let mut first = [0; 1000];
            let got = stream.read(&mut first).expect("a header and more");
            let port = stream.peer_addr().expect("an address").port();
            let filter = format!("dport = :{port}");
            let said = Command::new("ss").args(["-tinH", &filter]).output().expect("ss runs");
            let said = String::from_utf8(said.stdout).expect("text");
            stream.write_all(b"!").expect("an answer");
            let segments =
                said.split_whitespace().find_map(|word| word.strip_prefix("data_segs_in:"));
            (got, segments.and_then(|number| number.parse::<u32>().ok()))
        });
        let keys = sends("v2", "connect = \"lazy\"");
        let gateway = Gateway::start(&(relay(&[server.address]) + &keys));
        let mut stream = client::connect(gateway.address("edge"));
        stream.write_all(&[7; 100]).expect("a question");
        stream.read_exact(&mut [0]).expect("an answer");
        assert_eq!(server.outcomes(1), [(128, Some(1))]);
    });
}

#[test]
fn checks_say_that_they_are_nobodys() {
    for version in ["v1", "v2"] {
        let server = Server::start(|mut stream: TcpStream| {
            let told = header(&stream);
            let mut ping = [0; 4];
            stream.read_exact(&mut ping).expect("a question");
            let _ = stream.write_all(b"PONG");
            (told.map(|told| told.0), stream.peer_addr().ok())
        });
        let check = "check = { kind = \"send-expect\", send = \"PING\", expect = \"PONG\", \
                     interval = \"100ms\" }";
        let gateway = Gateway::start(&(relay(&[server.address]) + &sends(version, check)));
        let (told, peer) = server.outcomes(1).remove(0);
        assert_eq!(told, if version == "v1" { peer } else { None }, "{version}");
        wait_until("the check to have passed", || {
            let status = ask_json(&gateway, &["status"]);
            status["upstreams"][0]["servers"][0]["check"]["passed"].as_u64() > Some(0)
        });
        gateway.stop();
    }
}
