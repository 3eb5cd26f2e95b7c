//! Bytes pass through a gateway that ends TLS, whatever their records are.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
use rustls::{ClientConfig, SignatureAlgorithm};

use crate::support::client::{self, Ending};
use crate::support::config::relay_with;
use crate::support::gateway::{Gateway, Home};
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server};
use crate::support::tls::{self, ANY, Authority, Ended, VERSIONS, Wish};
use crate::support::{WATCH, wait_until};

const STATUS: &str = "[status]\nbind = \"127.0.0.1:0\"\n";

/// A gateway before this server, and whom its clients trust.
struct Stage {
    gateway: Gateway,
    authority: Authority,
    _home: Arc<Home>,
}

impl Stage {
    fn new<T: Send + 'static>(server: &Server<T>) -> Stage {
        Stage::with("", STATUS, server)
    }

    fn with<T: Send + 'static>(keys: &str, more: &str, server: &Server<T>) -> Stage {
        let (home, authority) = (Home::new(), Authority::new());
        let pair = authority.issue(&["a.example"], 2090).write(&home, "edge");
        let keys = format!("tls = {{ certificates = [{{ {pair} }}] }}\n{keys}");
        let config = relay_with(&keys, &[server.address]) + more;
        Stage { gateway: tls::start(&home, &config), authority, _home: home }
    }

    fn client(&self, wish: &Wish<'_>) -> Arc<ClientConfig> {
        wish.client(&self.authority)
    }

    fn shaken(&self, wish: &Wish<'_>) -> tls::Client {
        tls::shaken(&self.client(wish), "a.example", self.gateway.address("edge"))
    }
}

/// A server that echoes, and how its clients ended.
fn echoing() -> Server<Ending> {
    Server::start(|mut stream: TcpStream| {
        let mut buffer = vec![0; 16_384];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ending::Fin,
                Ok(bytes) => stream.write_all(&buffer[..bytes]).expect("it is sent"),
                Err(_) => return Ending::Reset,
            }
        }
    })
}

#[test]
fn every_suite_of_both_versions_echoes_every_size() {
    let server = echoing();
    let stage = Stage::new(&server);
    let suites: Vec<_> = ALL_CIPHER_SUITES
        .iter()
        .filter(|suite| suite.usable_for_signature_algorithm(SignatureAlgorithm::ECDSA))
        .collect();
    for suite in &suites {
        let version = VERSIONS[usize::from(suite.tls13().is_none())];
        let wish = Wish { suite: Some(**suite), version: Some(version), ..ANY };
        let mut client = stage.shaken(&wish);
        assert_eq!(client.conn.negotiated_cipher_suite(), Some(**suite));
        for (seed, bytes) in [1, 1024, 16_384, 16_385, 1_000_000].into_iter().enumerate() {
            tls::echo(&mut client, seed as u64, bytes);
        }
        // Records of one byte, many of them in one segment.
        let text: Vec<u8> = (0..=255).collect();
        for byte in &text {
            client.conn.writer().write_all(&[*byte]).expect("memory takes it");
        }
        client.flush().expect("they are sent");
        let mut back = [0; 256];
        client.read_exact(&mut back).expect("they come back");
        assert_eq!(back[..], text);
        tls::finish(&mut client);
        assert_eq!(tls::ending(&mut client), Ended::Clean, "{suite:?}");
        assert_eq!(server.outcomes(1), [Ending::Fin], "{suite:?}");
    }
    let (count, kind) = (suites.len() as u64, "portcullis_tls_handshakes_total");
    assert_eq!(tls::metric(&stage.gateway, kind, ""), count);
    wait_until("no session to be left", || {
        tls::metric(&stage.gateway, "portcullis_worker_tls_sessions", "") == 0
    });
    stage.gateway.stop().expect_closed(count);
}

#[test]
fn data_that_comes_with_finished_is_the_servers() {
    let server = echoing();
    for keys in ["", "connect = \"lazy\"\n"] {
        let stage = Stage::with("", &format!("{keys}{STATUS}"), &server);
        for version in VERSIONS {
            let config = stage.client(&Wish { version: Some(version), ..ANY });
            for bytes in [1, 1000, 16_384, 60_000] {
                let address = stage.gateway.address("edge");
                let mut client = tls::connect(&config, "a.example", address);
                let mut early = vec![0; bytes];
                Pattern::new(9).fill(&mut early);
                client.conn.set_buffer_limit(None);
                tls::finish_handshake_with(&mut client, |conn| conn.writer().write_all(&early));
                let mut back = vec![0; bytes];
                client.read_exact(&mut back).expect("it comes back");
                assert!(back == early, "{bytes} bytes, {keys}");
                tls::finish(&mut client);
                assert_eq!(tls::ending(&mut client), Ended::Clean);
                assert_eq!(server.outcomes(1), [Ending::Fin]);
            }
        }
        stage.gateway.stop().expect_closed(8);
    }
}

#[test]
fn data_and_the_end_may_come_with_finished() {
    let server = echoing();
    let stage = Stage::with("", &format!("connect = \"lazy\"\n{STATUS}"), &server);
    let config = stage.client(&ANY);
    for early in [&b"question"[..], b""] {
        let mut client = tls::connect(&config, "a.example", stage.gateway.address("edge"));
        tls::finish_handshake_with(&mut client, |conn| {
            conn.writer().write_all(early)?;
            conn.send_close_notify();
            Ok(())
        });
        let mut back = Vec::new();
        client.read_to_end(&mut back).expect("a clean end");
        assert_eq!(back, early);
        if !early.is_empty() {
            assert_eq!(server.outcomes(1), [Ending::Fin]);
        }
    }
    stage.gateway.wait_for_ended(2);
}

#[test]
fn a_server_may_speak_first_and_either_side_may_end_first() {
    let server = Server::start(|mut stream: TcpStream| {
        stream.write_all(b"hello").expect("it may speak first");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("a clean end");
        stream.write_all(&all).expect("the other direction is open");
        all.len()
    });
    let stage = Stage::new(&server);
    for version in VERSIONS {
        let mut client = stage.shaken(&Wish { version: Some(version), ..ANY });
        let mut banner = [0; 5];
        client.read_exact(&mut banner).expect("a banner");
        client.write_all(&[7; 100_000]).expect("it is sent");
        tls::finish(&mut client);
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("a clean end");
        assert_eq!((all.len(), server.outcomes(1)), (100_000, vec![100_000]));
    }
    let server = Server::start(|mut stream: TcpStream| {
        stream.write_all(&[7; 100_000]).expect("it is sent");
        server::finish(&stream);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("a clean end");
        all.len()
    });
    let other = Stage::new(&server);
    for version in VERSIONS {
        let mut client = other.shaken(&Wish { version: Some(version), ..ANY });
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("a clean end");
        client.write_all(&all).expect("the other direction is open");
        tls::finish(&mut client);
        assert_eq!((all.len(), server.outcomes(1)), (100_000, vec![100_000]));
    }
    stage.gateway.stop().expect_closed(2);
    other.gateway.stop().expect_closed(2);
}

#[test]
fn keys_change_between_messages() {
    let server = echoing();
    let stage = Stage::new(&server);
    let mut client = stage.shaken(&Wish { version: Some(VERSIONS[0]), ..ANY });
    for seed in 0..100 {
        client.conn.refresh_traffic_keys().expect("TLS 1.3 can");
        tls::echo(&mut client, seed, 3000);
    }
    tls::finish(&mut client);
    assert_eq!(tls::ending(&mut client), Ended::Clean);
    assert_eq!(server.outcomes(1), [Ending::Fin]);
    stage.gateway.stop().expect_closed(1);
}

#[test]
fn quiet_sessions_go_on_where_they_were() {
    let server = echoing();
    let stage = Stage::with("", &format!("[ring]\nquiet_after = \"50ms\"\n{STATUS}"), &server);
    let mut clients = VERSIONS.map(|version| stage.shaken(&Wish { version: Some(version), ..ANY }));
    for round in 0..4 {
        for client in &mut clients {
            tls::echo(client, round, 20_000);
            // The first part of a record is there when it goes quiet.
            client.conn.writer().write_all(b"word").expect("memory takes it");
            let bytes = tls::words(client);
            let (first, second) = bytes.split_at(1 + 5 * round as usize);
            client.sock.write_all(first).expect("it is sent");
            std::thread::sleep(WATCH);
            client.sock.write_all(second).expect("it is sent");
            client.read_exact(&mut [0; 4]).expect("it comes back");
            std::thread::sleep(WATCH);
        }
        let awake = || tls::metric(&stage.gateway, "portcullis_worker_tls_awake", "");
        wait_until("their keys to be wiped", || awake() == 0);
    }
    for client in &mut clients {
        tls::finish(client);
        assert_eq!(tls::ending(client), Ended::Clean);
    }
    let report = stage.gateway.stop();
    assert!(report.quieted > 0, "nobody went quiet");
    report.expect_closed(2);
}

#[test]
fn small_buffers_pass_large_records() {
    let server = echoing();
    for (size, count) in [(4, 64), (16, 64)] {
        let more = format!("[ring]\nbuffer_size = \"{size}KiB\"\nbuffer_count = {count}\n{STATUS}");
        let stage = Stage::with("", &more, &server);
        for version in VERSIONS {
            let wish = Wish { version: Some(version), ..ANY };
            let mut clients: Vec<_> = (0..5).map(|_| stage.shaken(&wish)).collect();
            for (seed, client) in clients.iter_mut().enumerate() {
                tls::echo(client, seed as u64, 300_000);
            }
            // Each frees memory that another waits for.
            clients.iter_mut().for_each(tls::finish);
            for client in &mut clients {
                assert_eq!(tls::ending(client), Ended::Clean);
            }
            assert_eq!(server.outcomes(5), [Ending::Fin; 5]);
        }
        stage.gateway.stop().expect_closed(10);
    }
}

#[test]
fn a_client_that_does_not_read_costs_little_and_gets_all_later() {
    const BYTES: usize = 50 << 20;
    let server = Server::start(|stream: TcpStream| {
        client::send(&stream, &mut Pattern::new(5), BYTES as u64).expect("it is sent");
        server::finish(&stream);
        client::ending(&stream)
    });
    let stage = Stage::new(&server);
    let mut client = stage.shaken(&ANY);
    let parked = || tls::metric(&stage.gateway, "portcullis_worker_parked_bytes", "");
    std::thread::sleep(WATCH);
    assert!(parked() < 1 << 20, "{} bytes are parked for one connection", parked());
    let (mut pattern, mut got) = (Pattern::new(5), 0);
    let mut buffer = vec![0; 65_536];
    while got < BYTES {
        let bytes = client.read(&mut buffer).expect("all of it");
        assert!(bytes > 0, "an end after {got} bytes");
        pattern.check(&buffer[..bytes]).expect("the bytes that were sent");
        got += bytes;
    }
    assert_eq!(tls::ending(&mut client), Ended::Clean);
    tls::finish(&mut client);
    assert_eq!(server.outcomes(1), [Ending::Fin]);
    stage.gateway.stop().expect_closed(1);
}
