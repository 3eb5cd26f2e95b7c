//! Who a client of TLS is shown, where it goes, and whether it is let in.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{AlertDescription, ClientConfig, HandshakeKind};

use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home};
use crate::support::server;
use crate::support::tls::{self, ANY, Authority, Ended, VERSIONS, Wish};
use crate::support::wait_until;

const ECHO: &str = "[upstream.app]\nbuiltin = \"echo\"\n";

/// What comes of a handshake, and of a byte behind it.
fn outcome(gateway: &Gateway, config: &Arc<ClientConfig>, name: &str) -> Result<u8, Ended> {
    let mut client = tls::connect(config, name, gateway.address("edge"));
    let mut byte = [0];
    let told = tls::shake(&mut client)
        .and_then(|()| client.write_all(b"?"))
        .and_then(|()| client.read_exact(&mut byte));
    told.map(|()| byte[0]).map_err(|error| Ended::of(&error))
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let (home, authority) = (Home::new(), Authority::new());
    let pairs = [&["a.example"][..], &["*.b.example"], &["c.example", "x.b.example"]];
    let pairs = pairs.map(|names| authority.issue(names, 2090));
    let files: Vec<_> =
        pairs.iter().zip(["a", "b", "c"]).map(|(pair, name)| pair.write(&home, name)).collect();
    for unknown in ["first", "refuse"] {
        let keys = format!(", unknown_name = \"{unknown}\"");
        let gateway = tls::start(&home, &tls::edge(&files, &keys, "", ECHO));
        for version in VERSIONS {
            let wish = Wish { version: Some(version), ..ANY };
            let silent = Wish { says_name: false, ..wish }.client(&authority);
            let config = wish.client(&authority);
            for (name, config, shown) in [
                ("a.example", &config, 0),
                ("A.Example", &config, 0),
                ("y.b.example", &config, 1),
                ("x.b.example", &config, 2),
                ("c.example", &config, 2),
                ("a.example", &silent, 0),
            ] {
                let client = tls::shaken(config, name, gateway.address("edge"));
                let chain = client.conn.peer_certificates().expect("it was shown one");
                assert_eq!(chain[0], pairs[shown].der(), "{name}");
            }
            for name in ["other.example", "b.example", "y.z.b.example"] {
                let refused = match unknown {
                    "refuse" => Ended::Alert(AlertDescription::UnrecognisedName),
                    // The first has another name, of which its client complains.
                    _ => Ended::Bad,
                };
                assert_eq!(outcome(&gateway, &config, name), Err(refused), "{name}");
            }
        }
        let reason = if unknown == "refuse" { "unknown-name" } else { "certificate-refused" };
        let reason = format!("reason=\"{reason}\"");
        wait_until("all to be counted", || {
            tls::metric(&gateway, "portcullis_tls_failed_total", &reason) == 6
        });
        gateway.stop();
    }
}

#[test]
fn a_protocol_is_agreed_on_or_there_is_no_session() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let keys = ", alpn = [\"h2\", \"http/1.1\"]";
    let gateway = tls::start(&home, &tls::edge(&files, keys, "", ECHO));
    for version in VERSIONS {
        for (alpn, agreed) in
            [(&["http/1.1"][..], Some("http/1.1")), (&["http/1.1", "h2"], Some("h2")), (&[], None)]
        {
            let config = Wish { version: Some(version), alpn, ..ANY }.client(&authority);
            let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
            assert_eq!(client.conn.alpn_protocol(), agreed.map(str::as_bytes));
            tls::echo(&mut client, 1, 1000);
        }
        let config = Wish { version: Some(version), alpn: &["smtp"], ..ANY }.client(&authority);
        let refused = Ended::Alert(AlertDescription::NoApplicationProtocol);
        assert_eq!(outcome(&gateway, &config, "a.example"), Err(refused));
    }
    gateway.wait_for_reason("bad-tls", 2);
    gateway.stop();
}

#[test]
fn a_name_leads_to_its_upstream_where_tls_ends() {
    let (home, authority) = (Home::new(), Authority::new());
    let names = ["a.example", "b.example", "*.c.example"];
    let files = [authority.issue(&names, 2090).write(&home, "edge")];
    let servers = [b'a', b'b', b'c'].map(server::named);
    let [a, b, c] = [0, 1, 2].map(|index| servers[index].address);
    let routes = "[[listener.edge.route]]\nserver_names = [\"b.example\"]\nupstream = \"b\"\n\
                  [[listener.edge.route]]\nserver_names = [\"*.c.example\"]\nalpn = [\"h2\"]\n\
                  upstream = \"c\"\n";
    let rest =
        routes.to_owned() + &upstream("app", &[a]) + &upstream("b", &[b]) + &upstream("c", &[c]);
    let alpn = ", alpn = [\"h2\", \"http/1.1\"]";
    for unmatched in ["upstream", "refuse"] {
        let keys = format!("unmatched = \"{unmatched}\"");
        let gateway = tls::start(&home, &tls::edge(&files, alpn, &keys, &rest));
        let own = if unmatched == "refuse" { None } else { Some(b'a') };
        for version in VERSIONS {
            for (name, protocols, expected) in [
                ("b.example", &[][..], Some(b'b')),
                ("x.c.example", &["http/1.1", "h2"], Some(b'c')),
                ("x.c.example", &["http/1.1"], own),
                ("a.example", &["h2"], own),
            ] {
                let wish = Wish { version: Some(version), alpn: protocols, ..ANY };
                let outcome = outcome(&gateway, &wish.client(&authority), name);
                assert_eq!(outcome.ok(), expected, "{name} {protocols:?}: {outcome:?}");
                assert_ne!(outcome.err(), Some(Ended::Clean));
            }
        }
        if unmatched == "refuse" {
            gateway.wait_for_reason("bad-preamble", 4);
        }
        gateway.stop();
    }
}

#[test]
fn no_server_hears_of_a_client_without_a_good_certificate() {
    let (home, authority, others) = (Home::new(), Authority::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let ca = authority.write(&home, "ca.pem");
    let good = authority.issue(&["client"], 2090);
    let foreign = others.issue(&["client"], 2090);
    let expired = authority.issue(&["client"], 2001);
    for required in ["required", "optional"] {
        let server = server::named(b'a');
        let keys = format!(", client_ca = {ca}, client_certificate = \"{required}\"");
        let rest = upstream("app", &[server.address]);
        let gateway = tls::start(&home, &tls::edge(&files, &keys, "", &rest));
        for version in VERSIONS {
            let try_with = |identity| {
                let wish = Wish { version: Some(version), identity, ..ANY };
                outcome(&gateway, &wish.client(&authority), "a.example")
            };
            let accepted = server.accepted();
            let alert = |alert| Err(Ended::Alert(alert));
            assert_eq!(try_with(Some(&foreign)), alert(AlertDescription::UnknownCA));
            assert_eq!(try_with(Some(&expired)), alert(AlertDescription::CertificateExpired));
            let mut came = 1;
            match required {
                "required" => {
                    let refused = try_with(None);
                    assert!(matches!(refused, Err(Ended::Alert(_))), "{refused:?}");
                }
                _ => {
                    assert_eq!(try_with(None), Ok(b'a'));
                    came = 2;
                }
            }
            assert_eq!(try_with(Some(&good)), Ok(b'a'));
            assert_eq!(server.accepted(), accepted + came, "{required}");
        }
        let failed = |reason: &str| {
            let reason = format!("reason=\"{reason}\"");
            tls::metric(&gateway, "portcullis_tls_failed_total", &reason)
        };
        let faults = ["certificate-unknown", "certificate-expired", "no-certificate"];
        let none = if required == "required" { 2 } else { 0 };
        assert_eq!(faults.map(failed), [2, 2, none]);
        gateway.stop();
    }
}

#[test]
fn a_ticket_is_good_at_every_gateway_with_its_keys() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let path = home.path().join("tickets.key");
    std::fs::write(&path, [7; 80]).expect("it is written");
    let keys = format!(", ticket_keys = {:?}", path.display().to_string());
    let gateways = [(); 2].map(|()| tls::start(&Home::new(), &tls::edge(&files, &keys, "", ECHO)));
    for version in VERSIONS {
        let config = Wish { version: Some(version), ..ANY }.client(&authority);
        for (turn, gateway) in [0, 0, 1, 1, 0].map(|at| &gateways[at]).iter().enumerate() {
            let mut client = tls::shaken(&config, "a.example", gateway.address("edge"));
            tls::echo(&mut client, 1, 1000);
            let is_resumed = client.conn.handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(is_resumed, turn > 0, "turn {turn}");
        }
    }
    let resumed =
        gateways.each_ref().map(|gateway| tls::metric(gateway, "portcullis_tls_resumed_total", ""));
    assert_eq!(resumed, [4, 4]);
}
