//! Clients that come through a balancer are known by what its PROXY header says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::client::{self, Ending};
use crate::support::command::{ask_json, rows, tell, words};
use crate::support::config::{relay_with, upstream};
use crate::support::gateway::{Gateway, Home};
use crate::support::http::get;
use crate::support::log::field;
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server, echo_one, greet};
use crate::support::wait_until;

const REQUIRED: &str = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]";
const FROM_TRUSTED: &str = "accept_proxy = \"from-trusted\"\nproxy_trusted = [\"127.0.0.1\"]";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 443\r\n";
const CLIENT: &str = "192.0.2.7:40000";

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("it fits").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, block].concat()
}

/// The same as `LINE`, in 28 bytes and a field of 3,000.
fn binary() -> Vec<u8> {
    let ends = [192, 0, 2, 7, 198, 51, 100, 9, 0x9c, 0x40, 1, 0xbb];
    v2(0x21, 0x11, &[&ends[..], &[0xe0, 0x0b, 0xb8], &[7; 3000]].concat())
}

fn v6() -> Vec<u8> {
    let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    v2(0x21, 0x21, &[&client[..], &[0; 16], &[0x9c, 0x40, 1, 0xbb]].concat())
}

fn say(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("it may speak");
}

/// What the gateway calls the client of this connection, and whom it has that from.
fn known_as(gateway: &Gateway, stream: &TcpStream) -> (String, String) {
    let own = stream.local_addr().expect("an address").to_string();
    let answer = ask_json(gateway, &["conns", "--limit", "100"]);
    let is_its = |row: &&serde_json::Value| row["via"] == *own || row["client"] == *own;
    let row = rows(&answer).iter().find(is_its).unwrap_or_else(|| panic!("{own}: {answer}"));
    let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    (word("client"), word("via"))
}

/// The line about the end of the connection of this client.
fn ended<'a>(lines: &'a [String], client: &str) -> &'a str {
    let line = lines.iter().find(|line| field(line, "client") == Some(client));
    line.unwrap_or_else(|| panic!("{client}: {lines:?}"))
}

#[test]
fn each_header_names_its_client_and_the_server_gets_what_follows_it() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with(REQUIRED, &[server.address]));
    let edge = gateway.address("edge");
    let mut expected = Vec::new();
    for (header, named) in [
        (LINE.to_vec(), Some(CLIENT)),
        (b"PROXY TCP6 2001:db8::5 ::1 40000 443\r\n".to_vec(), Some("[2001:db8::5]:40000")),
        (b"PROXY UNKNOWN what follows\r\n".to_vec(), None),
        (binary(), Some(CLIENT)),
        (v6(), Some("[2001:db8::5]:40000")),
        (v2(0x20, 0, &[]), None),
        (v2(0x20, 0x11, &[1; 12]), None),
        (v2(0x21, 0, &[]), None),
    ] {
        let stream = client::connect(edge);
        let own = stream.local_addr().expect("an address").to_string();
        say(&stream, &header);
        client::echo(&stream, header.len() as u64, 1000);
        let named = match named {
            Some(client) => (client.to_owned(), own),
            None => (own, "-".to_owned()),
        };
        assert_eq!(known_as(&gateway, &stream), named, "{header:?}");
        expected.push((stream, named));
    }
    let count = expected.len() as u64;
    for (stream, (name, via)) in expected {
        server::finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
        wait_until("the line of its end", || {
            let lines = gateway.lines();
            let mut its = lines.iter().filter(|line| field(line, "client") == Some(&*name));
            its.any(|line| field(line, "via").unwrap_or("-") == via)
        });
    }
    gateway.stop().expect_closed(count);
}

#[test]
fn a_header_comes_in_pieces_of_a_byte_and_with_all_that_follows_it() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with(REQUIRED, &[server.address]));
    let edge = gateway.address("edge");
    for header in [LINE, &binary()[..40], &v6()] {
        let whole =
            if header[0] == b'P' || header.len() != 40 { header.to_vec() } else { binary() };
        let stream = client::connect(edge);
        // The first forty bytes one by one, with time for each to be read.
        for byte in header {
            say(&stream, &[*byte]);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        say(&stream, &whole[header.len()..]);
        client::echo(&stream, 3, 50_000);
        let stream = client::connect(edge);
        let (mut pattern, mut back) = (Pattern::new(4), Pattern::new(4));
        let mut all = whole.clone();
        let mut data = vec![0; 60_000];
        pattern.fill(&mut data);
        all.extend(data);
        say(&stream, &all);
        client::receive(&stream, &mut back, 60_000);
    }
    gateway.stop();
}

#[test]
fn what_is_no_header_is_reset_and_no_server_hears_of_it() {
    let server = server::echo();
    let config = relay_with(REQUIRED, &[server.address]) + "[status]\nbind = \"127.0.0.1:0\"\n";
    let gateway = Gateway::start(&config);
    let edge = gateway.address("edge");
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 +443\r\n",
        b"PROXY UNKNOWN\n",
        &v2(0x21, 0x11, &[0; 8]),
        &v2(0x21, 0x11, &[0; 9000])[..16],
    ] {
        let stream = client::connect(edge);
        say(&stream, bytes);
        assert_eq!(client::ending(&stream), Ending::Reset, "{bytes:?}");
    }
    // A stranger is reset whatever it says, or when it says nothing.
    for bytes in [LINE, b""] {
        let source = ([127, 0, 0, 2], 0).into();
        client::expect_reset(client::try_connect_from(source, edge), bytes);
    }
    let warned = gateway.wait_for_lines("reset for what came first", 1);
    assert!(warned[0].contains("listener/edge"), "{warned:?}");
    let figures: serde_json::Value =
        serde_json::from_str(&get(gateway.status(), "/status.json").body).expect("JSON");
    let counts = &figures["listeners"][0]["bad_preambles"];
    let words = ["no-header", "bad-line", "bad-length", "too-long", "untrusted-peer"];
    assert_eq!(words.map(|word| counts[word].as_u64()), [1, 2, 1, 1, 2].map(Some), "{counts}");
    assert_eq!(server.accepted(), 0);
    gateway.stop().expect(&[("bad-preamble", 7)]);
}

#[test]
fn a_peer_that_is_not_trusted_is_an_ordinary_client_and_never_read_as_another() {
    let server = Server::start(|mut stream: TcpStream| {
        stream.write_all(b"hello").expect("it may speak first");
        echo_one(stream);
    });
    let gateway = Gateway::start(&relay_with(FROM_TRUSTED, &[server.address]));
    let edge = gateway.address("edge");
    let stranger = client::from("127.0.0.2:0", edge);
    let mut greeting = [0; 5];
    (&stranger).read_exact(&mut greeting).expect("the server speaks first");
    say(&stranger, LINE);
    let mut back = vec![0; LINE.len()];
    (&stranger).read_exact(&mut back).expect("its bytes are the server's");
    assert_eq!(back, LINE);
    let own = stranger.local_addr().expect("an address").to_string();
    assert_eq!(known_as(&gateway, &stranger), (own, "-".to_owned()));
    // One that is trusted must send a header.
    let trusted = client::connect(edge);
    say(&trusted, LINE);
    (&trusted).read_exact(&mut greeting).expect("the server speaks first");
    assert_eq!(known_as(&gateway, &trusted).0, CLIENT);
    let silent = client::connect(edge);
    say(&silent, b"hello");
    assert_eq!(client::ending(&silent), Ending::Reset);
    drop((stranger, trusted));
    gateway.stop();
}

#[test]
fn who_is_too_slow_is_reset_and_who_leaves_is_no_fault() {
    let server = server::echo();
    let keys = format!("{REQUIRED}\npreamble_timeout = \"1s\"");
    let gateway = Gateway::start(&relay_with(&keys, &[server.address]));
    let edge = gateway.address("edge");
    let prober = client::connect(edge);
    drop(prober);
    gateway.wait_for_reason("client-gone", 1);
    let slow = client::connect(edge);
    say(&slow, &LINE[..20]);
    assert_eq!(client::ending(&slow), Ending::Reset);
    let silent = client::connect(edge);
    // Nothing of it was read: it is told by FIN or RST, as by any timeout.
    client::ending(&silent);
    gateway.wait_for_lines("sent no whole preamble within preamble_timeout", 1);
    assert_eq!(server.accepted(), 0);
    gateway.stop().expect(&[("client-gone", 1), ("preamble-timeout", 2)]);
}

#[test]
fn many_unfinished_headers_hold_nobody_up() {
    let server = server::echo();
    let keys = format!("{REQUIRED}\npreamble_timeout = \"60s\"");
    let gateway = Gateway::start(&relay_with(&keys, &[server.address]));
    let edge = gateway.address("edge");
    let unfinished: Vec<TcpStream> = (0..1500).map(|_| client::connect(edge)).collect();
    unfinished.iter().for_each(|stream| say(stream, &LINE[..30]));
    for number in 0..20 {
        let stream = client::connect(edge);
        say(&stream, LINE);
        client::echo(&stream, number, 1000);
    }
    for stream in &unfinished {
        say(stream, &LINE[30..]);
    }
    for (number, stream) in (0..).zip(&unfinished) {
        client::echo(stream, number, 100);
    }
    drop(unfinished);
    gateway.stop();
}

#[test]
fn filters_groups_and_the_access_log_go_by_the_header() {
    let server = server::echo();
    let home = Home::new();
    let path = home.path().join("access.log");
    let log = format!("[access_log]\npath = \"{}\"\nopenings = true\n", path.display());
    let gateway = Gateway::start(&(relay_with(FROM_TRUSTED, &[server.address]) + &log));
    let edge = gateway.address("edge");
    let streams: Vec<TcpStream> = (1..=3)
        .map(|host| {
            let stream = client::connect(edge);
            let line = format!("PROXY TCP4 192.0.2.{host} 198.51.100.9 4000{host} 443\r\n");
            say(&stream, line.as_bytes());
            client::echo(&stream, host, 100);
            stream
        })
        .collect();
    let found = ask_json(&gateway, &["conns", "--filter", "src=192.0.2.2"]);
    assert_eq!(words(&found, "client"), ["192.0.2.2:40002"]);
    let via = streams[1].local_addr().expect("an address").to_string();
    assert_eq!(words(&found, "via"), [&*via]);
    assert_eq!(rows(&ask_json(&gateway, &["conns", "--filter", "src=127.0.0.1"])).len(), 0);
    let counted = tell(&gateway, &["conns", "--by", "src"]);
    assert!((1..=3).all(|host| counted.contains(&format!("192.0.2.{host}"))), "{counted}");
    for stream in &streams {
        server::finish(stream);
        client::ending(stream);
    }
    let mut lines = Vec::new();
    wait_until("the lines of the access log", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        lines = text.lines().map(str::to_owned).collect();
        lines.len() == 6 && text.ends_with('\n')
    });
    let (opened, closed): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line.contains(" opened id="));
    for part in [opened, closed] {
        assert_eq!(part.len(), 3, "{part:?}");
        let line = ended(&part, "192.0.2.2:40002");
        assert_eq!(field(line, "via"), Some(&*via), "{line}");
    }
    gateway.stop();
}

#[test]
fn by_source_a_server_is_chosen_by_the_header() {
    let servers = [b'a', b'b', b'c'].map(|letter| {
        Server::start(move |mut stream: TcpStream| {
            stream.write_all(&[letter]).expect("it may speak");
            let _ = greet(&stream);
        })
    });
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let text = format!(
        "[gateway]\nworkers = 2\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         {REQUIRED}\n{}balance = \"source\"\n",
        upstream("app", &addresses)
    );
    let gateway = Gateway::start(&text);
    let edge = gateway.address("edge");
    let letter_for = |host: u8| {
        let mut stream = client::connect(edge);
        say(&stream, format!("PROXY TCP4 192.0.2.{host} 198.51.100.9 1 443\r\n").as_bytes());
        let mut letter = [0];
        stream.read_exact(&mut letter).expect("a server speaks");
        letter[0]
    };
    let first: Vec<u8> = (0..30).map(letter_for).collect();
    let again: Vec<u8> = (0..30).map(letter_for).collect();
    assert_eq!(first, again, "each client has its own");
    assert!([b'a', b'b', b'c'].iter().all(|letter| first.contains(letter)), "{first:?}");
    gateway.stop();
}

#[test]
fn a_reload_takes_headers_from_new_clients_and_those_who_came_before_stay_who_they_are() {
    let server = server::echo();
    let home = Home::new();
    let text = |keys: &str| {
        let fixed = relay_with(keys, &[server.address]);
        fixed.replace("127.0.0.1:0\"]", "127.0.0.1:0\", \"127.0.0.3:0\"]")
    };
    let path = home.write("portcullis.toml", &text(REQUIRED));
    let command = crate::support::gateway::program(None);
    let gateway = Gateway::launch_with(home.clone(), command, Some(&path));
    gateway.wait_for_lines("ready", 1);
    let edge = gateway.addresses("edge")[0];
    let named = client::connect(edge);
    say(&named, LINE);
    client::echo(&named, 1, 100);
    let unfinished = client::connect(edge);
    say(&unfinished, &LINE[..20]);
    home.write("portcullis.toml", &text(""));
    tell(&gateway, &["reload"]);
    let plain = client::connect(edge);
    client::echo(&plain, 2, 100);
    say(&unfinished, &LINE[20..]);
    client::echo(&unfinished, 3, 100);
    client::echo(&named, 4, 100);
    for (stream, via) in [(&named, true), (&unfinished, true), (&plain, false)] {
        let known = known_as(&gateway, stream);
        assert_eq!((known.0 == CLIENT, known.1 != "-"), (via, via), "{known:?}");
    }
    drop((named, unfinished, plain));
    gateway.stop();
}

/// A form of a header, as pieces that are sent one after the other.
type Pieces = Vec<Vec<u8>>;

/// The rows of the manual's table: what is sent, and what comes of it.
fn forms() -> Vec<(&'static str, &'static str, Vec<Pieces>)> {
    let ends = &binary()[16..28];
    let with = |fields: &[u8]| v2(0x21, 0x11, &[ends, fields].concat());
    let whole = |headers: &[&[u8]]| headers.iter().map(|one| vec![one.to_vec()]).collect();
    let cut = |header: &[u8]| [&header[..10], &header[10..20], &header[20..]].map(<[u8]>::to_vec);
    let (unspecified, unknown) = (v2(0x21, 0, &[]), b"PROXY UNKNOWN\r\n");
    let local = [v2(0x20, 0, &[]), v2(0x20, 0x11, ends), v2(0x20, 0x11, &[])];
    let plus = b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 +443\r\n";
    let (line_feed, short) = (b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 443\n", b"hi");
    let pieces = [LINE, &binary()].map(|header| cut(header).to_vec()).to_vec();
    let (theirs, peers) = ("the client's address", "the peer's address");
    vec![
        ("v1 or v2 in several segments", theirs, pieces),
        ("half a header", "reset after `preamble_timeout`", whole(&[&LINE[..20], &binary()[..14]])),
        ("a field of 3 KB", theirs, whole(&[&binary()])),
        ("a wrong CRC-32C", "reset", whole(&[&with(&[3, 0, 4, 0, 0, 0, 0])])),
        ("a field that is cut", "reset", whole(&[&with(&[0xe0, 0, 9, 1])])),
        ("LOCAL without addresses", peers, whole(&[&local[0], &local[2]])),
        ("LOCAL with addresses", peers, whole(&[&local[1]])),
        ("v2 UNSPEC", peers, whole(&[&unspecified])),
        ("v1 UNKNOWN", peers, whole(&[unknown])),
        ("v1 with port `+443`", "reset", whole(&[plus])),
        ("v1 with LF alone", "reset", whole(&[line_feed])),
        ("two bytes that begin no header", "reset", whole(&[short])),
    ]
}

#[test]
fn every_form_of_a_header_ends_as_the_manual_says() {
    let server = server::echo();
    let keys = format!("{REQUIRED}\npreamble_timeout = \"1s\"");
    let gateway = Gateway::start(&relay_with(&keys, &[server.address]));
    let edge = gateway.address("edge");
    let manual = include_str!("../../config/manual.md");
    let mut counts = [("bad-preamble", 0), ("preamble-timeout", 0), ("closed-by-client", 0)];
    for (form, outcome, headers) in forms() {
        let row = format!("\n| {form} | {outcome} |");
        assert!(manual.contains(&row), "the manual lacks {row:?}");
        for pieces in headers {
            let stream = client::connect(edge);
            for piece in &pieces {
                say(&stream, piece);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            let own = stream.local_addr().expect("an address").to_string();
            let place = match outcome {
                "reset" => 0,
                "reset after `preamble_timeout`" => 1,
                _ => 2,
            };
            counts[place].1 += 1;
            if place < 2 {
                assert_eq!(client::ending(&stream), Ending::Reset, "{form}");
                continue;
            }
            client::echo(&stream, 1, 1000);
            let named = (CLIENT.to_owned(), own.clone());
            let expected =
                if outcome == "the peer's address" { (own, "-".to_owned()) } else { named };
            assert_eq!(known_as(&gateway, &stream), expected, "{form}");
            server::finish(&stream);
            assert_eq!(client::ending(&stream), Ending::Fin, "{form}");
        }
    }
    assert_eq!(server.accepted(), counts[2].1);
    gateway.stop().expect(&counts);
}
