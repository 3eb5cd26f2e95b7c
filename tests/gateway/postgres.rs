//! PostgreSQL clients that ask for TLS go to upstreams by the names that they ask for then.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use portcullis::wire::{Decoded, SSL_REQUEST, proxy_header};

use crate::support::client::{self, Ending};
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::hello::hello;
use crate::support::http::get;
use crate::support::server::{self, Server};
use crate::support::socket;

/// A request for encryption by GSSAPI, and the begin of a session without any.
const GSS_REQUEST: [u8; 8] = *b"\0\0\0\x08\x04\xd2\x16\x30";
const PLAIN: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0anna\0\0";

/// How a server takes a request for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It answers so. With `S` alone it goes on, and answers what follows with its letter.
    Answers(&'static [u8]),
    Closes,
    Resets,
    SaysNothing,
}

const AGREES: Manner = Manner::Answers(b"S");

/// A server with a letter, and all that each of its connections has brought. With a header it reads
/// that first, and brings the name in it.
fn lettered(letter: u8, manner: Manner, is_headed: bool) -> Server<(Vec<u8>, Vec<u8>)> {
    Server::start(move |mut stream: TcpStream| {
        let fields = if is_headed { header(&stream) } else { Vec::new() };
        let mut all = vec![0; 8];
        stream.read_exact(&mut all).expect("a request, or a begin");
        if all == SSL_REQUEST {
            match manner {
                Manner::Answers(answer) => stream.write_all(answer).expect("an answer"),
                Manner::Closes => return (fields, all),
                Manner::Resets => {
                    socket::reset(stream);
                    return (fields, all);
                }
                Manner::SaysNothing => {}
            }
        }
        stream.read_to_end(&mut all).expect("all of it");
        let _ = stream.write_all(&[letter]);
        (fields, all)
    })
}

/// Reads a PROXY header, and not a byte more; gives its fields.
fn header(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        if let Decoded::Done { facts, .. } = proxy_header(&bytes) {
            return facts.fields.to_vec();
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole header");
        bytes.push(byte[0]);
    }
}

struct Stage {
    gateway: Gateway,
    /// The listener's own is `a`, that of the name is `b`, and one that comes before it is `B`.
    servers: [Server<(Vec<u8>, Vec<u8>)>; 3],
}

impl Stage {
    fn new(keys: &str) -> Stage {
        Stage::of(AGREES, "", keys)
    }

    /// `B` has this manner, and the upstream of the name has these keys.
    fn of(manner: Manner, more: &str, keys: &str) -> Stage {
        Stage::with(manner, more, keys, "[ring]\n")
    }

    fn with(manner: Manner, more: &str, keys: &str, ring: &str) -> Stage {
        let is_headed = more.contains("send_proxy");
        let servers = [
            lettered(b'a', AGREES, false),
            lettered(b'b', AGREES, is_headed),
            lettered(b'B', manner, is_headed),
        ];
        let [a, b, before] = [0, 1, 2].map(|index| servers[index].address);
        let its = if manner == AGREES { vec![b] } else { vec![before, b] };
        let ups = upstream("a", &[a])
            + &upstream("b", &its)
            + &format!("balance = \"round-robin\"\n{more}\n[upstream.echo]\nbuiltin = \"echo\"\n")
            + &upstream("alone", &[before]);
        let config = format!(
            "[gateway]\nworkers = 2\n{ring}buffer_size = \"4KiB\"\n\
             [status]\nbind = \"127.0.0.1:0\"\n\
             [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"a\"\nsniff = \"postgres\"\n\
             {keys}\n\
             [[listener.edge.route]]\nserver_names = [\"db.example.com\"]\nupstream = \"b\"\n\
             [[listener.edge.route]]\nserver_names = [\"echo.example.com\"]\nupstream = \"echo\"\n\
             [[listener.edge.route]]\nserver_names = [\"alone.example.com\"]\n\
             upstream = \"alone\"\n{ups}"
        );
        Stage { gateway: Gateway::start(&config), servers }
    }

    fn edge(&self) -> SocketAddr {
        self.gateway.address("edge")
    }

    /// What the server with this letter was brought by its next connection.
    fn brought(&self, letter: char) -> Vec<u8> {
        let index = "abB".find(letter).expect("a letter of theirs");
        self.servers[index].outcomes(1).remove(0).1
    }

    /// A client has said all that it will: it is for the server with this letter, which gets this.
    fn expect(&self, stream: &TcpStream, letter: char, brings: &[&[u8]]) {
        server::finish(stream);
        let mut stream = stream;
        let mut answer = [0];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(char::from(answer[0]), letter, "{brings:?}");
        assert!(self.brought(letter) == brings.concat(), "the server's bytes are other ones");
    }

    /// A client that asks, in pieces of this size, and gets this answer.
    fn asked(&self, requests: &[(&[u8], u8)], piece: usize) -> TcpStream {
        let stream = client::connect(self.edge());
        for (request, answer) in requests {
            ask(&stream, request, piece, *answer);
        }
        stream
    }

    fn count(&self, part: &str, key: &str, word: &str) -> u64 {
        let figures: serde_json::Value =
            serde_json::from_str(&get(self.gateway.status(), "/status.json").body).expect("JSON");
        figures[part][0][key][word].as_u64().expect("a count")
    }
}

fn ask(mut stream: &TcpStream, request: &[u8], piece: usize, expected: u8) {
    for piece in request.chunks(piece) {
        stream.write_all(piece).expect("it may speak");
    }
    answered(stream, expected);
}

fn answered(mut stream: &TcpStream, expected: u8) {
    let mut answer = [0];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(char::from(answer[0]), char::from(expected));
}

fn db() -> Vec<u8> {
    hello("db.example.com", &["postgresql"], 1216, 16_384)
}

#[test]
fn a_client_that_asks_for_tls_goes_to_the_server_of_its_name() {
    let stage = Stage::new("");
    for piece in 1..=8 {
        for requests in
            [&[(&SSL_REQUEST[..], b'S')][..], &[(&GSS_REQUEST, b'N'), (&SSL_REQUEST, b'S')]]
        {
            for (name, letter) in [("db.example.com", 'b'), ("other.org", 'a'), ("", 'a')] {
                let mut stream = stage.asked(requests, piece);
                let said = hello(name, &[], 32, 60);
                for piece in said.chunks(piece * 20) {
                    stream.write_all(piece).expect("it may speak");
                }
                stage.expect(&stream, letter, &[&SSL_REQUEST, &said]);
            }
        }
    }
    // What follows the hello goes on, beyond a buffer.
    let mut stream = stage.asked(&[(&SSL_REQUEST, b'S')], 8);
    let rest = vec![9; 100_000];
    stream.write_all(&[&db()[..], &rest].concat()).expect("it may speak");
    stage.expect(&stream, 'b', &[&SSL_REQUEST, &db(), &rest]);
    // A builtin is asked nothing.
    let mut stream = stage.asked(&[(&SSL_REQUEST, b'S')], 8);
    let said = hello("echo.example.com", &[], 32, 16_384);
    stream.write_all(&said).expect("it may speak");
    server::finish(&stream);
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("its own bytes");
    assert!(back == said);
    stage.gateway.stop();
}

#[test]
fn a_client_that_asks_for_nothing_goes_by_its_hello_or_has_no_name() {
    let stage = Stage::new("");
    for piece in [1, 7, 10_000] {
        for (said, letter) in [(&db()[..], 'b'), (PLAIN, 'a'), (b"GET / HTTP/1.1\r\n\r\n", 'a')] {
            let mut stream = client::connect(stage.edge());
            for piece in said.chunks(piece) {
                stream.write_all(piece).expect("it may speak");
            }
            stage.expect(&stream, letter, &[said]);
            // The same after a request for GSSAPI was declined.
            let mut stream = stage.asked(&[(&GSS_REQUEST, b'N')], piece);
            stream.write_all(said).expect("it may speak");
            stage.expect(&stream, letter, &[said]);
        }
    }
    stage.gateway.stop();
}

#[test]
fn a_client_that_says_what_no_client_may_is_reset() {
    let stage = Stage::new("unmatched = \"refuse\"");
    let refused = |stream: &TcpStream, mut said: &[u8]| {
        std::io::copy(&mut said, &mut &*stream).expect("it may speak");
        assert_eq!(client::ending(stream), Ending::Reset, "{said:?}");
    };
    let early = [&SSL_REQUEST[..], &db()].concat();
    refused(&client::connect(stage.edge()), &early);
    refused(&client::connect(stage.edge()), &[GSS_REQUEST, SSL_REQUEST].concat());
    refused(&stage.asked(&[(&GSS_REQUEST, b'N')], 8), &early);
    let wanted = stage.asked(&[(&SSL_REQUEST, b'S')], 8);
    for said in [PLAIN, &SSL_REQUEST, b"GET /"] {
        refused(&stage.asked(&[(&SSL_REQUEST, b'S')], 8), said);
        refused(&stage.asked(&[(&GSS_REQUEST, b'N'), (&SSL_REQUEST, b'S')], 8), said);
    }
    refused(&stage.asked(&[(&GSS_REQUEST, b'N')], 8), &GSS_REQUEST);
    refused(&client::connect(stage.edge()), PLAIN);
    stage.gateway.wait_for_reason("bad-preamble", 11);
    let words =
        ["early-bytes", "not-tls"].map(|word| stage.count("listeners", "bad_preambles", word));
    assert_eq!(words, [3, 8]);
    // Others are served meanwhile.
    (&wanted).write_all(&db()).expect("it may speak");
    stage.expect(&wanted, 'b', &[&SSL_REQUEST, &db()]);
    // One that leaves after its answer is gone.
    drop(stage.asked(&[(&SSL_REQUEST, b'S')], 8));
    stage.gateway.wait_for_reason("client-gone", 1);
    stage.gateway.stop();
}

#[test]
fn a_server_without_tls_has_failed_and_another_is_asked() {
    let manners = [
        Manner::Answers(b"N"),
        Manner::Answers(b"S\x16"),
        Manner::Answers(b"E"),
        Manner::Closes,
        Manner::Resets,
        Manner::SaysNothing,
    ];
    for manner in manners {
        let stage = Stage::of(manner, "connect_timeout = \"2s\"", "");
        for _ in 0..2 {
            let mut stream = stage.asked(&[(&SSL_REQUEST, b'S')], 8);
            stream.write_all(&db()).expect("it may speak");
            stage.expect(&stream, 'b', &[&SSL_REQUEST, &db()]);
        }
        assert_eq!(stage.brought('B'), SSL_REQUEST, "{manner:?}");
        stage.gateway.stop();
    }
}

#[test]
fn a_client_is_reset_where_no_server_agrees() {
    for (manner, line) in [
        (Manner::Answers(b"N"), "it has no TLS"),
        (Manner::Answers(b"S\x16"), "it has no TLS"),
        (Manner::Closes, "ECONNRESET"),
    ] {
        let stage = Stage::of(manner, "", "");
        let clients = 10;
        for _ in 0..clients {
            let stream = stage.asked(&[(&SSL_REQUEST, b'S')], 8);
            let said = hello("alone.example.com", &[], 32, 16_384);
            (&stream).write_all(&said).expect("it may speak");
            assert_eq!(client::ending(&stream), Ending::Reset, "{manner:?}");
            stage.gateway.wait_for_reason("no-server", 1);
        }
        stage.gateway.wait_for_reason("no-server", clients);
        stage.gateway.wait_for_line(line);
        stage.gateway.stop();
    }
}

#[test]
fn many_at_once_share_a_few_buffers() {
    let more = "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"authority\"]\n";
    let ring = "[ring]\nbuffer_count = 8\n";
    let stage = Stage::with(AGREES, more, "", ring);
    let clients: Vec<_> = (0..40).map(|_| client::connect(stage.edge())).collect();
    clients.iter().for_each(|mut one| one.write_all(&GSS_REQUEST).expect("it may speak"));
    clients.iter().for_each(|one| answered(one, b'N'));
    clients.iter().for_each(|mut one| one.write_all(&SSL_REQUEST).expect("it may speak"));
    clients.iter().for_each(|one| answered(one, b'S'));
    let said = hello("db.example.com", &[], 9000, 16_384);
    for mut one in &clients {
        one.write_all(&said).expect("it may speak");
        server::finish(one);
    }
    for mut one in &clients {
        one.read_exact(&mut [0]).expect("an answer");
    }
    for (_, brought) in stage.servers[1].outcomes(clients.len()) {
        assert!(brought == [&SSL_REQUEST[..], &said].concat());
    }
    stage.gateway.stop();
}

#[test]
fn a_header_comes_before_the_request_at_each_server() {
    let more = "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"authority\"]\n";
    for manner in [AGREES, Manner::Answers(b"N")] {
        let stage = Stage::of(manner, more, "");
        for round in 1..=2 {
            let mut stream = stage.asked(&[(&SSL_REQUEST, b'S')], 8);
            stream.write_all(&db()).expect("it may speak");
            server::finish(&stream);
            stream.read_exact(&mut [0]).expect("an answer");
            let (fields, brought) = stage.servers[1].outcomes(1).remove(0);
            assert_eq!(fields, *b"\x02\0\x0edb.example.com");
            assert!(brought == [&SSL_REQUEST[..], &db()].concat());
            // Neither the header nor the request is a byte of the client's.
            let ended = stage.gateway.wait_for_ended(round);
            let counted = format!("to_upstream_bytes={} to_client_bytes=1", db().len());
            assert!(ended[round - 1].contains(&counted), "{ended:?}");
        }
        if manner != AGREES {
            let (fields, brought) = stage.servers[2].outcomes(1).remove(0);
            assert_eq!(
                (&fields[..], brought),
                (&b"\x02\0\x0edb.example.com"[..], SSL_REQUEST.into())
            );
        }
        stage.gateway.stop();
    }
}

#[test]
fn behind_a_balancer_a_client_is_answered_once_its_source_is_within_its_limits() {
    let keys = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]\n\
                per_source = { max_connections = 1, action = \"wait\", wait_at_most = \"60s\" }";
    let stage = Stage::new(keys);
    let asks = [&b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 5432\r\n"[..], &SSL_REQUEST].concat();
    let first = stage.asked(&[(&asks, b'S')], 10_000);
    let mut second = client::connect(stage.edge());
    second.write_all(&asks).expect("it may speak");
    (&first).write_all(&db()).expect("it may speak");
    stage.expect(&first, 'b', &[&SSL_REQUEST, &db()]);
    drop(first);
    let mut answer = [0];
    second.read_exact(&mut answer).expect("its turn comes");
    assert_eq!(answer, *b"S");
    second.write_all(&db()).expect("it may speak");
    stage.expect(&second, 'b', &[&SSL_REQUEST, &db()]);
    stage.gateway.stop();
}
