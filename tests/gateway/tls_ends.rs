//! How one side of a connection ends shows at the other, where TLS ends in between.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::support::client::{self, Ending};
use crate::support::config::relay_with;
use crate::support::gateway::{Gateway, Home};
use crate::support::server::{self, Server};
use crate::support::socket;
use crate::support::tls::{self, ANY, Authority, Ended, VERSIONS, Wish};

struct Stage {
    gateway: Gateway,
    authority: Authority,
}

impl Stage {
    fn new<T: Send + 'static>(server: &Server<T>) -> Stage {
        let (home, authority) = (Home::new(), Authority::new());
        let pair = authority.issue(&["a.example"], 2090).write(&home, "edge");
        let keys = format!("tls = {{ certificates = [{{ {pair} }}] }}\n");
        let config = relay_with(&keys, &[server.address]) + "[status]\nbind = \"127.0.0.1:0\"\n";
        Stage { gateway: tls::start(&home, &config), authority }
    }

    /// A client of this turn's version.
    fn config(&self, turn: usize) -> Arc<ClientConfig> {
        Wish { version: Some(VERSIONS[turn % 2]), ..ANY }.client(&self.authority)
    }

    fn shaken(&self, turn: usize) -> tls::Client {
        tls::shaken(&self.config(turn), "a.example", self.gateway.address("edge"))
    }
}

/// A server that echoes a first byte, and says how its client ends after that.
fn hearing() -> Server<Ending> {
    Server::start(|mut stream: TcpStream| {
        stream.read_exact(&mut [0]).expect("a byte");
        stream.write_all(b"!").expect("an answer");
        let ending = client::ending(&stream);
        if ending == Ending::Fin {
            server::finish(&stream);
        }
        ending
    })
}

fn ask(client: &mut tls::Client) {
    client.write_all(b"?").expect("it is sent");
    client.flush().expect("it is sent");
    client.read_exact(&mut [0]).expect("an answer");
}

#[test]
fn a_fin_without_close_notify_and_a_reset_are_a_reset_for_the_server() {
    let server = hearing();
    let stage = Stage::new(&server);
    for turn in 0..20 {
        let mut client = stage.shaken(turn);
        ask(&mut client);
        server::finish(&client.sock);
        assert_eq!(server.outcomes(1), [Ending::Reset], "turn {turn}");
        assert_ne!(tls::ending(&mut client), Ended::Clean, "turn {turn}");
    }
    for turn in 0..20 {
        let mut client = stage.shaken(turn);
        ask(&mut client);
        socket::reset(client.sock);
        assert_eq!(server.outcomes(1), [Ending::Reset], "turn {turn}");
    }
    let failed = "portcullis_tls_failed_total";
    assert_eq!(tls::metric(&stage.gateway, failed, "reason=\"cut-off\""), 20);
    stage.gateway.stop();
}

#[test]
fn a_client_that_is_gone_after_close_notify_has_ended_well() {
    let server = hearing();
    let stage = Stage::new(&server);
    for turn in 0..50 {
        let mut client = stage.shaken(turn);
        ask(&mut client);
        tls::finish(&mut client);
        drop(client);
        assert_eq!(server.outcomes(1), [Ending::Fin], "turn {turn}");
    }
    stage.gateway.stop().expect_closed(50);
}

#[test]
fn what_ends_at_the_server_ends_so_at_the_client() {
    let server = Server::start(|mut stream: TcpStream| {
        let mut how = [0];
        stream.read_exact(&mut how).expect("a wish");
        stream.write_all(&[7; 40_000]).expect("it is sent");
        match how[0] {
            b'f' => server::finish(&stream),
            _ => {
                socket::wait_until_taken(&stream);
                return socket::reset(stream);
            }
        }
        let _ = client::ending(&stream);
    });
    let stage = Stage::new(&server);
    for turn in 0..40 {
        let mut client = stage.shaken(turn);
        let is_fin = turn % 4 < 2;
        client.write_all(if is_fin { b"f" } else { b"r" }).expect("it is sent");
        let mut all = Vec::new();
        let end = client.read_to_end(&mut all);
        match is_fin {
            true => {
                end.expect("close_notify");
                assert_eq!(all.len(), 40_000);
                tls::finish(&mut client);
            }
            false => {
                let ended = Ended::of(&end.expect_err("no clean end"));
                assert!([Ended::Reset, Ended::CutOff].contains(&ended), "turn {turn}: {ended:?}");
            }
        }
        server.outcomes(1);
    }
    stage.gateway.wait_for_reason("upstream-reset", 20);
    stage.gateway.stop();
}

#[test]
fn the_builtins_answer_clients_of_tls() {
    for (builtin, answers) in [("echo", true), ("discard", false), ("hold", false)] {
        let (home, authority) = (Home::new(), Authority::new());
        let pair = authority.issue(&["a.example"], 2090).write(&home, "edge");
        let config = format!(
            "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
             tls = {{ certificates = [{{ {pair} }}] }}\n[upstream.app]\nbuiltin = \"{builtin}\"\n"
        );
        let gateway = tls::start(&home, &config);
        for version in VERSIONS {
            let config = Wish { version: Some(version), ..ANY }.client(&authority);
            let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
            match answers {
                true => tls::echo(&mut client, 1, 100_000),
                false => client.write_all(&[7; 1000]).expect("it is sent"),
            }
            tls::finish(&mut client);
            if builtin != "hold" {
                assert_eq!(tls::ending(&mut client), Ended::Clean, "{builtin}");
            }
        }
        gateway.wait_for_ended(if builtin == "hold" { 0 } else { 2 });
        gateway.stop();
    }
}
