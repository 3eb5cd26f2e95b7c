//! Clients go to upstreams by the names that they ask for, and servers get all that was read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::client::{self, Ending};
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::hello::hello;
use crate::support::http::get;
use crate::support::server::{self, Server};

/// A server with a letter, which it answers all that it has read with.
fn lettered(letter: u8) -> Server<Vec<u8>> {
    Server::start(move |mut stream: TcpStream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("all of it");
        stream.write_all(&[letter]).expect("an answer");
        all
    })
}

struct Stage {
    gateway: Gateway,
    servers: [Server<Vec<u8>>; 3],
}

impl Stage {
    fn new(keys: &str) -> Stage {
        let servers = [b'a', b'b', b'c'].map(lettered);
        let [a, b, c] = [0, 1, 2].map(|index| servers[index].address);
        let ups = upstream("a", &[a]) + &upstream("b", &[b]) + &upstream("c", &[c]);
        let config = format!(
            "[gateway]\nworkers = 2\n[status]\nbind = \"127.0.0.1:0\"\n\
             [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"a\"\nsniff = \"tls\"\n{keys}\n\
             [[listener.edge.route]]\nserver_names = [\"db.example.com\"]\nupstream = \"b\"\n\
             [[listener.edge.route]]\nserver_names = [\"*.example.com\"]\nalpn = [\"h2\"]\n\
             upstream = \"c\"\n{ups}"
        );
        Stage { gateway: Gateway::start(&config), servers }
    }

    fn edge(&self) -> SocketAddr {
        self.gateway.address("edge")
    }

    /// Which server answers what is said so, byte by byte or in pieces of this size.
    fn answer(&self, said: &[u8], piece: usize) -> char {
        let stream = client::connect(self.edge());
        let mut stream = &stream;
        for piece in said.chunks(piece) {
            stream.write_all(piece).expect("it may speak");
        }
        server::finish(stream);
        let mut answer = [0];
        stream.read_exact(&mut answer).expect("an answer");
        let index = usize::from(answer[0] - b'a');
        assert!(self.servers[index].outcomes(1)[0] == said, "the server's bytes are other ones");
        answer[0].into()
    }
}

#[test]
fn a_name_leads_to_its_upstream_however_the_hello_comes() {
    let stage = Stage::new("");
    let cases: [(&str, &[&str], char); 6] = [
        ("db.example.com", &["h2"], 'b'),
        ("DB.Example.com.", &[], 'b'),
        ("www.example.com", &["http/1.1", "h2"], 'c'),
        ("www.example.com", &["http/1.1"], 'a'),
        ("a.b.example.com", &["h2"], 'a'),
        ("", &[], 'a'),
    ];
    for (name, protocols, expected) in cases {
        // Whole, with a share of ML-KEM's size, and in records that cut the name.
        for (share, record) in [(32, 16_384), (1216, 16_384), (32, 50), (14_000, 1000)] {
            let said = [&hello(name, protocols, share, record)[..], b"what follows"].concat();
            assert_eq!(stage.answer(&said, said.len()), expected, "{name} {share} {record}");
            assert_eq!(stage.answer(&said, 700), expected, "{name} {share} {record}");
        }
    }
    let said = hello("db.example.com", &[], 32, 50);
    for cut in 1..said.len() {
        let stream = client::connect(stage.edge());
        let mut stream = &stream;
        stream.write_all(&said[..cut]).expect("it may speak");
        // Others are served meanwhile, and the first piece is read.
        if cut % 40 == 0 {
            assert_eq!(stage.answer(&said, said.len()), 'b');
        }
        stream.write_all(&said[cut..]).expect("it may speak");
        server::finish(stream);
        stream.read_exact(&mut [0]).expect("an answer");
        assert!(stage.servers[1].outcomes(1)[0] == said, "cut at {cut}");
    }
    // What is no TLS goes to the listener's own.
    assert_eq!(stage.answer(b"GET / HTTP/1.1\r\n\r\n", 1000), 'a');
    stage.gateway.stop();
}

#[test]
fn who_has_no_route_is_refused_where_that_is_asked_for() {
    let stage = Stage::new("unmatched = \"refuse\"");
    let whole = hello("db.example.com", &[], 32, 16_384);
    assert_eq!(stage.answer(&whole, 1000), 'b');
    let mut broken = whole.clone();
    // Its body is shorter than it says.
    broken[8] += 1;
    for said in [&hello("other.org", &[], 32, 16_384)[..], b"GET / HTTP/1.1\r\n\r\n", &broken] {
        let mut stream = client::connect(stage.edge());
        stream.write_all(said).expect("it may speak");
        if said == broken {
            // It seems to go on.
            stream.write_all(&[0; 64]).expect("it may speak");
        }
        assert_eq!(client::ending(&stream), Ending::Reset, "{said:?}");
    }
    stage.gateway.wait_for_reason("bad-preamble", 3);
    let figures: serde_json::Value =
        serde_json::from_str(&get(stage.gateway.status(), "/status.json").body).expect("JSON");
    let counts = &figures["listeners"][0]["bad_preambles"];
    let words = ["unknown-name", "not-tls", "bad-hello"];
    assert_eq!(words.map(|word| counts[word].as_u64()), [1, 1, 1].map(Some), "{counts}");
    stage.gateway.stop();
}

#[test]
fn behind_a_balancer_a_header_comes_before_the_hello() {
    for accept in ["required", "from-trusted"] {
        let keys = format!("accept_proxy = \"{accept}\"\nproxy_trusted = [\"127.0.0.1\"]");
        let stage = Stage::new(&keys);
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 443\r\n";
        let said = hello("db.example.com", &[], 32, 50);
        for piece in [1, 60, 10_000] {
            let stream = client::connect(stage.edge());
            let mut stream = &stream;
            for piece in [&header[..], &said].concat().chunks(piece) {
                stream.write_all(piece).expect("it may speak");
            }
            server::finish(stream);
            stream.read_exact(&mut [0]).expect("an answer");
            assert!(stage.servers[1].outcomes(1)[0] == said, "pieces of {piece}");
        }
        // Who sends no header by right is routed all the same.
        if accept == "from-trusted" {
            let mut stream = client::from("127.0.0.2:0", stage.edge());
            stream.write_all(&said).expect("it may speak");
            server::finish(&stream);
            stream.read_exact(&mut [0]).expect("an answer");
            assert!(stage.servers[1].outcomes(1)[0] == said);
        }
        stage.gateway.stop();
    }
}
