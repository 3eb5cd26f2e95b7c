//! Clients that break TLS: they are told, counted and gone, and their servers see a reset.

use std::io::{Read, Write};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::{AlertDescription, ClientConfig, ConnectionTrafficSecrets};

use crate::support::client::{self, Ending};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home};
use crate::support::hello::hello;
use crate::support::server::{self, Server};
use crate::support::tls::{self, ANY, Authority, Client, Ended, VERSIONS, Wish};
use crate::support::wait_until;

/// Records in a row without data of which nobody has more.
const FLOOD: usize = 40;
/// The same of KeyUpdates.
const UPDATES: usize = 300;

struct Stage {
    gateway: Gateway,
    authority: Authority,
    server: Server<Ending>,
}

impl Stage {
    fn new(keys: &str) -> Stage {
        let (home, authority) = (Home::new(), Authority::new());
        let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
        let server = tls::echo_to_the_end();
        let rest = upstream("app", &[server.address]);
        let gateway = tls::start(&home, &tls::edge(&files, "", keys, &rest));
        Stage { gateway, authority, server }
    }

    fn shaken(&self, config: &Arc<ClientConfig>) -> Client {
        let mut client = tls::shaken(config, "a.example", self.gateway.address("edge"));
        tls::echo(&mut client, 1, 100);
        client
    }

    fn failed(&self, reason: &str) -> u64 {
        let reason = format!("reason=\"{reason}\"");
        tls::metric(&self.gateway, "portcullis_tls_failed_total", &reason)
    }
}

/// What a client that has said a byte sends in a record.
fn record(client: &mut Client) -> Vec<u8> {
    client.conn.writer().write_all(b"!").expect("memory takes it");
    tls::words(client)
}

/// A way to break it.
type Way = fn(&mut Client) -> Vec<u8>;

const WAYS: [(Way, &str, AlertDescription); 6] = [
    (forged, "forged", AlertDescription::BadRecordMac),
    (repeated, "forged", AlertDescription::BadRecordMac),
    (reordered, "forged", AlertDescription::BadRecordMac),
    (oversize, "too-long", AlertDescription::RecordOverflow),
    (garbage, "bad-record", AlertDescription::DecodeError),
    (change_cipher, "bad-message", AlertDescription::UnexpectedMessage),
];

fn forged(client: &mut Client) -> Vec<u8> {
    let mut bytes = record(client);
    *bytes.last_mut().expect("a byte") ^= 1;
    bytes
}

fn repeated(client: &mut Client) -> Vec<u8> {
    let bytes = record(client);
    client.sock.write_all(&bytes).expect("it is sent");
    client.read_exact(&mut [0]).expect("the first is good");
    bytes
}

fn reordered(client: &mut Client) -> Vec<u8> {
    let (first, second) = (record(client), record(client));
    [second, first].concat()
}

fn oversize(_: &mut Client) -> Vec<u8> {
    [&[23, 3, 3, 0x41, 1][..], &[0; 100]].concat()
}

fn garbage(_: &mut Client) -> Vec<u8> {
    b"GET / HTTP/1.1\r\n\r\n".to_vec()
}

fn change_cipher(_: &mut Client) -> Vec<u8> {
    vec![20, 3, 3, 0, 1, 1]
}

#[test]
fn a_broken_record_is_told_counted_and_a_reset_for_the_server() {
    let stage = Stage::new("");
    let mut counts = std::collections::BTreeMap::new();
    for version in VERSIONS {
        let config = Wish { version: Some(version), ..ANY }.client(&stage.authority);
        for (way, reason, alert) in WAYS {
            let mut client = stage.shaken(&config);
            let bytes = way(&mut client);
            client.sock.write_all(&bytes).expect("it is sent");
            let ended = tls::ending(&mut client);
            assert!([Ended::Alert(alert), Ended::Reset].contains(&ended), "{reason}: {ended:?}");
            assert_eq!(stage.server.outcomes(1), [Ending::Reset], "{reason}");
            *counts.entry(reason).or_insert(0) += 1;
        }
    }
    stage.gateway.wait_for_reason("bad-tls", 2 * WAYS.len());
    for (reason, count) in counts {
        assert_eq!(stage.failed(reason), count, "{reason}");
    }
    // What follows close_notify is nobody's.
    let mut client = stage.shaken(&ANY.client(&stage.authority));
    client.conn.send_close_notify();
    let bytes = [tls::words(&mut client), b"garbage".to_vec()].concat();
    client.sock.write_all(&bytes).expect("it is sent");
    assert_eq!(stage.server.outcomes(1), [Ending::Fin]);
    assert_eq!(tls::ending(&mut client), Ended::Clean);
    stage.gateway.stop();
}

/// Records of a session of TLS 1.3 that rustls does not make.
struct Sealer {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Sealer {
    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        let number = self.sequence.to_be_bytes();
        nonce[4..].iter_mut().zip(number).for_each(|(byte, of_number)| *byte ^= of_number);
        self.sequence += 1;
        let mut sealed = [content, &[kind]].concat();
        let length = (sealed.len() as u16 + 16).to_be_bytes();
        let header = [23, 3, 3, length[0], length[1]];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealing = self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed);
        sealing.expect("a short text");
        [&header[..], &sealed].concat()
    }
}

#[test]
fn records_without_data_are_few_in_a_row() {
    let stage = Stage::new("");
    let wish = Wish { suite: Some(TLS13_AES_256_GCM_SHA384), version: Some(VERSIONS[0]), ..ANY };
    let mut config = wish.client(&stage.authority);
    Arc::get_mut(&mut config).expect("nobody else has it").enable_secret_extraction = true;
    let update = [24, 0, 0, 1, 2];
    for (kind, content, count) in
        [(23, &b""[..], FLOOD), (21, &[1, 90], FLOOD), (22, &update, 1), (22, &[], 1)]
    {
        let client = stage.shaken(&config);
        let (conn, mut stream) = client.into_parts();
        let (sequence, secrets) = conn.dangerous_extract_secrets().expect("it is allowed").tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("a suite") };
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("32 bytes");
        let iv = iv.as_ref().try_into().expect("12 bytes");
        let mut sealer = Sealer { key: LessSafeKey::new(key), iv, sequence };
        // Those that carry data between them make no flood.
        for _ in 0..FLOOD {
            let empty = sealer.record(23, b"");
            let all = [empty, sealer.record(23, b"x")].concat();
            stream.write_all(&all).expect("it is sent");
        }
        let bytes: Vec<u8> = (0..count).flat_map(|_| sealer.record(kind, content)).collect();
        stream.write_all(&bytes).expect("it is sent");
        assert_eq!(stage.server.outcomes(1), [Ending::Reset], "{kind} {content:?}");
    }
    // One that changes its key too often is one, too.
    let mut client = stage.shaken(&config);
    for _ in 0..UPDATES {
        client.conn.refresh_traffic_keys().expect("TLS 1.3 can");
    }
    let bytes = tls::words(&mut client);
    client.sock.write_all(&bytes).expect("it is sent");
    assert_eq!(stage.server.outcomes(1), [Ending::Reset]);
    stage.gateway.wait_for_reason("bad-tls", 5);
    assert_eq!([stage.failed("flood"), stage.failed("bad-message")], [3, 2]);
    stage.gateway.stop();
}

#[test]
fn a_handshake_that_stops_is_gone_at_its_timeout() {
    let stage = Stage::new("preamble_timeout = \"1s\"");
    let address = stage.gateway.address("edge");
    let mut stopped = Vec::new();
    let whole = hello("a.example", &[], 32, 16_384);
    for piece in [&whole[..1], &whole[..60]] {
        let mut stream = client::connect(address);
        stream.write_all(piece).expect("it is sent");
        stopped.push(stream);
    }
    for version in VERSIONS {
        let config = Wish { version: Some(version), ..ANY }.client(&stage.authority);
        // After the hello, and amid what follows the answer.
        for is_heard in [false, true] {
            let mut client = tls::connect(&config, "a.example", address);
            let bytes = tls::words(&mut client);
            client.sock.write_all(&bytes).expect("it is sent");
            if is_heard {
                while !client.conn.wants_write() {
                    client.conn.read_tls(&mut client.sock).expect("an answer");
                    client.conn.process_new_packets().expect("a handshake");
                }
                let bytes = tls::words(&mut client);
                client.sock.write_all(&bytes[..bytes.len() - 1]).expect("it is sent");
            }
            stopped.push(client.sock);
        }
    }
    stage.gateway.wait_for_reason("preamble-timeout", stopped.len());
    for gauge in ["portcullis_worker_tls_handshakes", "portcullis_worker_tls_sessions"] {
        wait_until("none to be left", || tls::metric(&stage.gateway, gauge, "") == 0);
    }
    assert_eq!(stage.server.accepted(), 0, "no server hears of them");
    stage.gateway.stop();
}

#[test]
fn a_client_that_is_gone_in_its_handshake_leaves_nothing() {
    let stage = Stage::new("");
    let whole = hello("a.example", &[], 32, 16_384);
    for turn in 0..20 {
        let mut stream = client::connect(stage.gateway.address("edge"));
        stream.write_all(&whole[..1 + turn * (whole.len() - 1) / 19]).expect("it is sent");
        match turn % 2 {
            0 => server::finish(&stream),
            _ => crate::support::socket::reset(stream),
        }
    }
    stage.gateway.wait_for_ended(20);
    let running = || tls::metric(&stage.gateway, "portcullis_worker_tls_handshakes", "");
    wait_until("none to be left", || running() == 0);
    assert_eq!(stage.server.accepted(), 0);
    stage.gateway.stop();
}

#[test]
fn what_is_no_tls_at_all_is_refused() {
    let stage = Stage::new("");
    let says = [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x02\x00\x00\x05hello", b"\x80\x2e\x01\x03"];
    for bytes in says {
        let mut stream = client::connect(stage.gateway.address("edge"));
        stream.write_all(bytes).expect("it is sent");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest[0] == 21, "an alert at most: {rest:?}");
    }
    stage.gateway.wait_for_ended(says.len());
    assert_eq!(stage.server.accepted(), 0);
    stage.gateway.stop();
}

#[test]
fn a_turn_that_comes_late_finds_who_waits_for_it_and_nobody_who_has_left() {
    const EACH: usize = 5;
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let rest = "[upstream.app]\nbuiltin = \"echo\"\n";
    let before = "preamble_timeout = \"1s\"\n";
    let config = tls::edge(&files, ", handshakes = 1", before, rest);
    let gateway = tls::start(&home, &config.replace("workers = 2", "workers = 1"));
    let address = gateway.address("edge");
    let says_hello = |_| tls::says_hello(&authority, address);
    let waiting = || tls::metric(&gateway, "portcullis_worker_tls_waiting", "");
    let mut stalled: Vec<_> = (0..EACH).map(says_hello).collect();
    let leaving: Vec<_> = (0..EACH).map(says_hello).collect();
    wait_until("all but one to wait", || waiting() == 2 * EACH as u64 - 1);
    drop(leaving);
    gateway.wait_for_ended(EACH);
    let mut last = tls::shaken(&ANY.client(&authority), "a.example", address);
    tls::echo(&mut last, 1, 10_000);
    // Each of the stalled has had a second of its own before.
    for client in &mut stalled {
        let answered = client.sock.read(&mut [0; 16]);
        assert!(matches!(answered, Ok(1..)), "its turn had come: {answered:?}");
    }
    drop((last, stalled));
    gateway.wait_for_ended(2 * EACH + 1);
    assert_eq!(tls::metric(&gateway, "portcullis_tls_handshakes_total", ""), 1);
    gateway.stop();
}

#[test]
fn a_crowd_shakes_hands_a_few_at_once_and_those_that_stall_make_way() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let rest = "[upstream.app]\nbuiltin = \"echo\"\n";
    let gateway = tls::start(&home, &tls::edge(&files, ", handshakes = 2", "", rest));
    let address = gateway.address("edge");
    let stalled: Vec<_> = (0..8).map(|_| tls::says_hello(&authority, address)).collect();
    std::thread::scope(|scope| {
        for turn in 0..40 {
            let (authority, address) = (&authority, address);
            scope.spawn(move || {
                let wish = Wish { version: Some(VERSIONS[turn % 2]), ..ANY };
                let mut client = tls::shaken(&wish.client(authority), "a.example", address);
                tls::echo(&mut client, 1, 10_000);
                tls::finish(&mut client);
                assert_eq!(tls::ending(&mut client), Ended::Clean);
            });
        }
    });
    drop(stalled);
    for gauge in ["portcullis_worker_tls_handshakes", "portcullis_worker_tls_waiting"] {
        wait_until("none to be left", || tls::metric(&gateway, gauge, "") == 0);
    }
    assert_eq!(tls::metric(&gateway, "portcullis_tls_handshakes_total", ""), 40);
    gateway.stop();
}
