//! What goes before and behind TLS that ends here, and what operators do meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use portcullis::wire::{Decoded, proxy_header};

use crate::support::client::{self, Ending};
use crate::support::command::{ask_json, tell};
use crate::support::config::upstream;
use crate::support::gateway::Home;
use crate::support::server::{self, Server, echo_one};
use crate::support::tls::{self, ANY, Authority, Ended, VERSIONS, Wish};

/// The field of a header with this number.
fn field(fields: &[u8], number: u8) -> Option<&[u8]> {
    let [kind, high, low, rest @ ..] = fields else { return None };
    let (value, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
    if *kind == number { Some(value) } else { field(rest, number) }
}

#[test]
fn headers_go_before_tls_and_behind_it() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let server = Server::start(|stream: TcpStream| {
        let mut bytes = Vec::new();
        let told = loop {
            if let Decoded::Done { facts, .. } = proxy_header(&bytes) {
                let source = facts.ends.map(|ends| ends.source.to_string());
                let word = |number| {
                    field(facts.fields, number).map(|it| String::from_utf8_lossy(it).into_owned())
                };
                break (source, word(2), word(1));
            }
            let mut byte = [0];
            (&stream).read_exact(&mut byte).expect("a whole header");
            bytes.push(byte[0]);
        };
        echo_one(stream);
        told
    });
    let keys = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]";
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 443\r\n";
    for lazy in ["", "connect = \"lazy\"\n"] {
        let rest = upstream("app", &[server.address])
            + "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"authority\", \"alpn\"]\n"
            + lazy;
        let alpn = ", alpn = [\"h2\"]";
        let gateway = tls::start(&home, &tls::edge(&files, alpn, keys, &rest));
        for version in VERSIONS {
            let wish = Wish { version: Some(version), alpn: &["h2"], ..ANY };
            let config = wish.client(&authority);
            for piece in [1, 1000] {
                let mut stream = client::connect(gateway.address("edge"));
                for piece in header.chunks(piece) {
                    stream.write_all(piece).expect("it is sent");
                }
                let mut client = tls::over(&config, "a.example", stream);
                tls::echo(&mut client, 1, 50_000);
                tls::finish(&mut client);
                assert_eq!(tls::ending(&mut client), Ended::Clean);
                let [source, name, protocol] =
                    ["192.0.2.7:40000", "a.example", "h2"].map(|it| Some(it.to_owned()));
                assert_eq!(server.outcomes(1), [(source, name, protocol)]);
            }
        }
        gateway.stop().expect_closed(4);
    }
}

#[test]
fn whoever_is_met_shakes_hands() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let rest = "[upstream.app]\nbuiltin = \"echo\"\n";
    for keys in [
        "per_source = { max_connections = 100 }",
        "allow = [\"127.0.0.0/8\"]",
        "deny = [\"192.0.2.1\"]",
        "accept_proxy = \"from-trusted\"\nproxy_trusted = [\"192.0.2.1\"]",
        "at_limit = \"evict\"",
    ] {
        let gateway = tls::start(&home, &tls::edge(&files, "", keys, rest));
        for version in VERSIONS {
            let config = Wish { version: Some(version), ..ANY }.client(&authority);
            let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
            tls::echo(&mut client, 1, 1000);
        }
        // Without TLS nobody gets through.
        let mut stream = client::connect(gateway.address("edge"));
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is sent");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.is_empty() || said[0] == 21, "an alert at most: {said:?}");
        gateway.stop();
    }
}

#[test]
fn a_source_at_its_limit_costs_no_handshake() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let rest = "[upstream.app]\nbuiltin = \"echo\"\n";
    let keys = "per_source = { max_connections = 1 }";
    let gateway = tls::start(&home, &tls::edge(&files, "", keys, rest));
    let config = ANY.client(&authority);
    let mut first = tls::shaken(&config, "a.example", gateway.address("edge"));
    tls::echo(&mut first, 1, 1000);
    for _ in 0..10 {
        // It may be reset before its connect is done.
        if let Ok(stream) = client::try_connect(gateway.address("edge")) {
            let mut other = tls::over(&config, "a.example", stream);
            tls::shake(&mut other).expect_err("its source has one");
        }
    }
    assert_eq!(tls::metric(&gateway, "portcullis_tls_handshakes_total", ""), 1);
    tls::echo(&mut first, 2, 1000);
    gateway.stop();
}

#[test]
fn a_killed_stream_never_looks_whole() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let server = tls::echo_to_the_end();
    let rest = upstream("app", &[server.address]);
    let gateway = tls::start(&home, &tls::edge(&files, "", "", &rest));
    for version in VERSIONS {
        let config = Wish { version: Some(version), ..ANY }.client(&authority);
        let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
        tls::echo(&mut client, 1, 1000);
        tell(&gateway, &["kill", "--filter", "src=127.0.0.1", "--yes"]);
        assert_ne!(tls::ending(&mut client), Ended::Clean);
        assert_eq!(server.outcomes(1), [Ending::Reset]);
    }
    gateway.wait_for_reason("killed", 2);
    gateway.stop();
}

/// How far a reload is that takes another certificate.
const BEFORE: u8 = 0;
const ASKED: u8 = 1;
const APPLIED: u8 = 2;
const OVER: u8 = 3;

#[test]
fn a_renewed_certificate_is_taken_between_two_handshakes() {
    let (home, authority) = (Home::new(), Authority::new());
    let before = authority.issue(&["a.example"], 2090);
    let files = [before.write(&home, "edge")];
    let rest = "[upstream.app]\nbuiltin = \"echo\"\n";
    let gateway = tls::start(&home, &tls::edge(&files, "", "", rest));
    let address = gateway.address("edge");
    let after = authority.issue(&["a.example"], 2091);
    let step = AtomicU8::new(BEFORE);
    let shown = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|turn| {
                let wish = Wish { version: Some(VERSIONS[turn % 2]), ..ANY };
                let (authority, step) = (&authority, &step);
                scope.spawn(move || {
                    let (mut shown, mut begins) = (Vec::new(), BEFORE);
                    while begins != OVER {
                        begins = step.load(Ordering::SeqCst);
                        // None resumes: each is shown a certificate.
                        let config = wish.client(authority);
                        let mut client = tls::shaken(&config, "a.example", address);
                        tls::echo(&mut client, 1, 100);
                        let chain = client.conn.peer_certificates().expect("a certificate");
                        let ends = step.load(Ordering::SeqCst);
                        shown.push((chain[0].clone().into_owned(), begins, ends));
                    }
                    shown
                })
            })
            .collect();
        thread::sleep(crate::support::WATCH);
        step.store(ASKED, Ordering::SeqCst);
        after.write(&home, "edge");
        assert_eq!(ask_json(&gateway, &["reload"])["applied"], true);
        step.store(APPLIED, Ordering::SeqCst);
        thread::sleep(crate::support::WATCH);
        step.store(OVER, Ordering::SeqCst);
        clients.into_iter().flat_map(|it| it.join().expect("all succeed")).collect::<Vec<_>>()
    });
    // In between, each worker takes it in its own time.
    for (der, begins, ends) in shown {
        assert!(der == before.der() && begins < APPLIED || der == after.der() && ends > BEFORE);
    }
    gateway.stop();
}

#[test]
fn a_session_at_rest_ends_by_close_notify_unless_a_record_is_owed() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let server = server::echo();
    let rest = upstream("app", &[server.address]);
    let gateway = tls::start(&home, &tls::edge(&files, "", "idle_timeout = \"6s\"", &rest));
    let mut clients: Vec<_> = VERSIONS
        .iter()
        .map(|version| {
            let config = Wish { version: Some(version), ..ANY }.client(&authority);
            let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
            tls::echo(&mut client, 1, 1000);
            client
        })
        .collect();
    // One of them owes the rest of a record.
    clients[1].conn.writer().write_all(b"half").expect("memory takes it");
    let bytes = tls::words(&mut clients[1]);
    clients[1].sock.write_all(&bytes[..bytes.len() - 1]).expect("it is sent");
    assert_eq!(tls::ending(&mut clients[0]), Ended::Clean, "nothing was owed");
    assert_ne!(tls::ending(&mut clients[1]), Ended::Clean, "a record was");
    gateway.wait_for_reason("idle-timeout", 2);
    gateway.stop();
}
