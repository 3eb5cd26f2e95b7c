//! Servers that are spoken to in TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use portcullis::wire::{Decoded, proxy_header};
use rustls::{HandshakeKind, ServerConfig};

use crate::support::client::{self, Ending};
use crate::support::config::relay;
use crate::support::gateway::{Gateway, Home};
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server};
use crate::support::socket;
use crate::support::tls::{self, ANY, Authority, Ended, VERSIONS, Wish, echo_secure, serve};

/// One that echoes in TLS; how each of its clients ended.
fn secure(config: Arc<ServerConfig>) -> Server<Ended> {
    Server::start(move |stream| echo_secure(serve(&config, stream)))
}

/// An upstream's `tls`, which trusts this authority, with more keys, which begin with a comma.
fn towards(home: &Home, authority: &Authority, more: &str) -> String {
    let ca = authority.write(home, "ca.pem");
    format!("tls = {{ ca = {ca}, server_name = \"db.example\"{more} }}\n")
}

const STATUS: &str = "[status]\nbind = \"127.0.0.1:0\"\n";

fn start(authority: &Authority, servers: &[SocketAddr], more: &str, keys: &str) -> Gateway {
    let home = Home::new();
    let keys = towards(&home, authority, more) + keys;
    tls::start(&home, &(relay(servers) + &keys + STATUS))
}

#[test]
fn a_server_is_verified_and_gets_every_byte() {
    let authority = Authority::new();
    let pair = authority.issue(&["db.example"], 2090);
    for version in VERSIONS {
        let server = secure(Wish { version: Some(version), ..ANY }.server(&pair));
        for keys in ["", "connect = \"lazy\"\n"] {
            let gateway = start(&authority, &[server.address], "", keys);
            for (seed, bytes) in [1, 1000, 16_384, 1_000_000].into_iter().enumerate() {
                let stream = client::connect(gateway.address("edge"));
                client::echo(&stream, seed as u64, bytes.min(200_000));
                let (mut out, mut back) = (Pattern::new(7), Pattern::new(7));
                std::thread::scope(|scope| {
                    scope.spawn(|| client::send(&stream, &mut out, bytes).expect("it is sent"));
                    client::receive(&stream, &mut back, bytes);
                });
                server::finish(&stream);
                assert_eq!(client::ending(&stream), Ending::Fin);
                assert_eq!(server.outcomes(1), [Ended::Clean], "{bytes} bytes");
            }
            gateway.stop().expect_closed(4);
        }
    }
}

#[test]
fn a_server_that_fails_its_handshake_gets_nothing_and_the_next_gets_all() {
    let (authority, others) = (Authority::new(), Authority::new());
    let good = secure(ANY.server(&authority.issue(&["db.example"], 2090)));
    let of = |pair| secure(ANY.server(&pair));
    let broken = [
        of(authority.issue(&["other.example"], 2090)),
        of(others.issue(&["db.example"], 2090)),
        of(authority.issue(&["db.example"], 2001)),
    ];
    let says = |bytes: &'static [u8]| {
        Server::start(move |mut stream: TcpStream| {
            let _ = stream.write_all(bytes);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            rest
        })
    };
    let plain = says(b"220 mail.example ESMTP\r\n");
    let cut = says(b"\x16\x03\x03\x7f");
    let alert = says(b"\x15\x03\x03\x00\x02\x02\x28");
    let silent = says(b"");
    let resets = Server::start(|mut stream: TcpStream| {
        stream.read_exact(&mut [0]).expect("a hello");
        socket::reset(stream);
    });
    let mut bad: Vec<SocketAddr> = broken.iter().map(|server| server.address).collect();
    bad.extend([plain.address, cut.address, alert.address, silent.address, resets.address]);
    for address in bad {
        let keys = "connect_timeout = \"2s\"\nconnect = \"lazy\"\n";
        let gateway = start(&authority, &[address, good.address], "", keys);
        for seed in 0..4 {
            let stream = client::connect(gateway.address("edge"));
            client::echo(&stream, seed, 50_000);
            server::finish(&stream);
            assert_eq!(client::ending(&stream), Ending::Fin);
            assert_eq!(good.outcomes(1), [Ended::Clean]);
        }
        gateway.stop().expect_closed(4);
    }
    // Alone it is no server.
    let gateway = start(&authority, &[broken[0].address], "", "");
    let stream = client::connect(gateway.address("edge"));
    assert_eq!(client::ending(&stream), Ending::Reset);
    gateway.wait_for_reason("no-server", 1);
    gateway.stop();
}

#[test]
fn a_server_that_asks_is_shown_our_certificate() {
    let (home, authority) = (Home::new(), Authority::new());
    let pair = authority.issue(&["db.example"], 2090);
    let own = authority.issue(&["gateway"], 2090);
    let shown = own.der();
    for version in VERSIONS {
        let wish = Wish { version: Some(version), clients: Some(&authority), ..ANY };
        let config = wish.server(&pair);
        let server = Server::start(move |stream| {
            let mut tls = serve(&config, stream);
            let mut byte = [0];
            tls.read_exact(&mut byte).expect("a byte");
            tls.write_all(&byte).expect("it is sent");
            tls.flush().expect("it is sent");
            tls.conn.peer_certificates().map(|chain| chain[0].clone().into_owned())
        });
        let more = format!(", {}", own.write(&home, "own"));
        let gateway = start(&authority, &[server.address], &more, "");
        let stream = client::connect(gateway.address("edge"));
        client::echo(&stream, 1, 1);
        assert_eq!(server.outcomes(1), [Some(shown.clone())]);
        gateway.stop();
    }
}

#[test]
fn a_server_that_refuses_our_certificate_is_said_and_spared() {
    let (home, authority, others) = (Home::new(), Authority::new(), Authority::new());
    let pair = authority.issue(&["db.example"], 2090);
    let greets = |config: Arc<ServerConfig>| {
        Server::start(move |stream| {
            let mut tls = serve(&config, stream);
            let _ = tls.write_all(b"!");
            let _ = tls.flush();
            tls::ending(&mut tls)
        })
    };
    for version in VERSIONS {
        let wish = Wish { version: Some(version), clients: Some(&others), ..ANY };
        let (bad, good) = (greets(wish.server(&pair)), greets(ANY.server(&pair)));
        let own = authority.issue(&["gateway"], 2090).write(&home, "own");
        let keys = "balance = \"round-robin\"\nearly_end = \"30s\"\n";
        let servers = [bad.address, good.address];
        let gateway = start(&authority, &servers, &format!(", {own}"), keys);
        let address = gateway.address("edge");
        let greeted =
            |_: &usize| client::connect(address).read(&mut [0]).is_ok_and(|came| came > 0);
        let failed = 40 - (0..40).filter(greeted).count();
        gateway.wait_for_line("is ejected: TLS failed: it refused our certificate");
        // In TLS 1.2 it says so in the handshake, and another server is tried.
        let is_late = version == VERSIONS[0];
        assert_eq!((3..10).contains(&failed), is_late, "{failed} clients");
        if is_late {
            let reason = "reason=\"certificate-refused\"";
            let counted = tls::metric(&gateway, "portcullis_tls_failed_total", reason);
            assert_eq!(counted, failed as u64);
        }
        gateway.stop();
    }
}

#[test]
fn a_server_may_speak_first_and_change_its_keys() {
    let authority = Authority::new();
    let pair = authority.issue(&["db.example"], 2090);
    for version in VERSIONS {
        let config = Wish { version: Some(version), ..ANY }.server(&pair);
        let server = Server::start(move |stream| {
            let mut tls = serve(&config, stream);
            let mut pattern = Pattern::new(3);
            for _ in 0..100 {
                let mut piece = vec![0; 3000];
                pattern.fill(&mut piece);
                tls.write_all(&piece).expect("it is sent");
                tls.flush().expect("it is sent");
                if tls.conn.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
                    tls.conn.refresh_traffic_keys().expect("TLS 1.3 can");
                }
            }
            assert_eq!(tls.conn.handshake_kind(), Some(HandshakeKind::Full));
            echo_secure(tls)
        });
        let gateway = start(&authority, &[server.address], "", "");
        let stream = client::connect(gateway.address("edge"));
        client::receive(&stream, &mut Pattern::new(3), 300_000);
        client::echo(&stream, 1, 100_000);
        server::finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
        assert_eq!(server.outcomes(1), [Ended::Clean]);
        gateway.stop().expect_closed(1);
    }
}

#[test]
fn how_a_server_ends_shows_at_the_client() {
    let authority = Authority::new();
    let config = ANY.server(&authority.issue(&["db.example"], 2090));
    let server = Server::start(move |stream| {
        let mut tls = serve(&config, stream);
        let mut how = [0];
        tls.read_exact(&mut how).expect("a wish");
        match how[0] {
            b'c' => {
                tls.conn.send_close_notify();
                tls.flush().expect("it is sent");
            }
            b'f' => server::finish(&tls.sock),
            _ => {
                socket::reset(tls.sock);
                return Ended::Reset;
            }
        }
        tls::ending(&mut tls)
    });
    let gateway = start(&authority, &[server.address], "", "");
    for turn in 0..30 {
        for (how, ending) in [(b"c", Ending::Fin), (b"f", Ending::Reset), (b"r", Ending::Reset)] {
            let mut stream = client::connect(gateway.address("edge"));
            stream.write_all(how).expect("it is sent");
            assert_eq!(client::ending(&stream), ending, "{how:?} in turn {turn}");
            if ending == Ending::Fin {
                server::finish(&stream);
            }
            let ended = server.outcomes(1)[0];
            assert_eq!(ended == Ended::Clean, ending == Ending::Fin, "{how:?}: {ended:?}");
        }
        // A client's own ends pass through.
        let mut stream = client::connect(gateway.address("edge"));
        stream.write_all(b"c").expect("it is sent");
        assert_eq!(client::ending(&stream), Ending::Fin);
        socket::reset(stream);
        assert_ne!(server.outcomes(1), [Ended::Clean]);
    }
    gateway.stop();
}

#[test]
fn a_header_goes_before_the_hello() {
    let authority = Authority::new();
    let config = ANY.server(&authority.issue(&["db.example"], 2090));
    let server = Server::start(move |stream| {
        let mut bytes = Vec::new();
        let source = loop {
            if let Decoded::Done { facts, .. } = proxy_header(&bytes) {
                break facts.ends.map(|ends| ends.source);
            }
            let mut byte = [0];
            (&stream).read_exact(&mut byte).expect("a whole header");
            bytes.push(byte[0]);
        };
        (source, echo_secure(serve(&config, stream)))
    });
    for keys in ["", "connect = \"lazy\"\n"] {
        let keys = format!("send_proxy = \"v2\"\n{keys}");
        let gateway = start(&authority, &[server.address], "", &keys);
        for seed in 0..5 {
            let stream = client::connect(gateway.address("edge"));
            client::echo(&stream, seed, 30_000);
            let own = stream.local_addr().expect("an address");
            server::finish(&stream);
            assert_eq!(client::ending(&stream), Ending::Fin);
            assert_eq!(server.outcomes(1), [(Some(own), Ended::Clean)]);
        }
        gateway.stop().expect_closed(5);
    }
}

#[test]
fn tls_ends_here_and_begins_again() {
    let (home, authority) = (Home::new(), Authority::new());
    let server = secure(ANY.server(&authority.issue(&["db.example"], 2090)));
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let app = format!("[upstream.app]\nservers = [\"{}\"]\n", server.address);
    for keys in ["", "connect = \"lazy\"\n", "send_proxy = \"off\"\n"] {
        let rest = app.clone() + &towards(&home, &authority, "") + keys;
        let gateway = tls::start(&home, &tls::edge(&files, "", "", &rest));
        for version in VERSIONS {
            let config = Wish { version: Some(version), ..ANY }.client(&authority);
            let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
            tls::echo(&mut client, 1, 1_000_000);
            tls::finish(&mut client);
            assert_eq!(tls::ending(&mut client), Ended::Clean);
            assert_eq!(server.outcomes(1), [Ended::Clean]);
            let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
            tls::echo(&mut client, 1, 1000);
            server::finish(&client.sock);
            assert_ne!(server.outcomes(1), [Ended::Clean]);
        }
        gateway.stop();
    }
}
