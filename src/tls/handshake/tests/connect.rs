//! Towards servers: what they show, and what they ask for.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::server::{ServerConfig, ServerConnection, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, Connection, Error};

use super::super::{CertificateFault, Connector, ConnectorPlan, HandshakeFault};
use super::authority::{Authority, Wanted};
use super::peer::{NEW, OLD, Versions, bytes_pass, shake};

fn plan(authority: &Authority) -> ConnectorPlan {
    let roots = Some(authority.roots());
    ConnectorPlan { roots, identity: None, alpn: Vec::new(), min_tls13: false }
}

/// A server with this certificate, which asks for one of `clients` if there are any.
fn server(
    certified: Arc<CertifiedKey>,
    clients: Option<&Authority>,
    change: impl FnOnce(&mut ServerConfig),
    versions: Versions,
) -> Connection {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("they have suites");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(clients.roots(), provider)
                .build()
                .expect("it has roots"),
        ),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    change(&mut config);
    Connection::Server(ServerConnection::new(Arc::new(config)).expect("random bytes"))
}

fn name(name: &'static str) -> ServerName<'static> {
    ServerName::try_from(name).expect("it is a name")
}

#[test]
fn a_session_with_a_server_of_either_version_is_one_that_rustls_reads() {
    let authority = Authority::new("authority");
    let certified = authority.issue(&Wanted::of(&["a.example", "127.0.0.1"]));
    let plan = ConnectorPlan { alpn: vec![b"mqtt".to_vec()], ..plan(&authority) };
    for versions in [NEW, OLD] {
        for asked in ["a.example", "127.0.0.1"] {
            for piece_bytes in [1, 7, usize::MAX] {
                let serve = |config: &mut ServerConfig| config.alpn_protocols = plan.alpn.clone();
                let mut peer = server(certified.clone(), None, serve, versions);
                let connector = Connector::new(&plan).expect("a sound plan");
                let mut handshake = connector.begin(name(asked)).expect("random bytes");
                // Tickets of TLS 1.3 come behind the handshake: they are the session's to read.
                let outcome = shake(&mut handshake, &mut peer, piece_bytes);
                assert_eq!(outcome.peer_error, None);
                let (established, rest) = outcome.expect();
                assert_eq!(established.session.is_tls13(), versions == NEW);
                assert_eq!(established.protocol.as_deref(), Some(&b"mqtt"[..]));
                assert_eq!((&established.name, &established.subject), (&None, &None));
                bytes_pass(established, rest, &mut peer);
            }
        }
    }
}

#[test]
fn a_server_whose_certificate_is_not_good_is_refused_unless_none_is_looked_at() {
    let authority = Authority::new("authority");
    let good = Wanted::of(&["a.example"]);
    let expired = Wanted { years: (2000, 2001), ..good.clone() };
    for (certified, kind, alert) in [
        (
            authority.issue(&expired),
            CertificateFault::Expired,
            AlertDescription::CertificateExpired,
        ),
        (
            authority.issue(&Wanted::of(&["b.example"])),
            CertificateFault::WrongName,
            AlertDescription::BadCertificate,
        ),
        (
            Authority::new("others").issue(&good),
            CertificateFault::UnknownIssuer,
            AlertDescription::UnknownCA,
        ),
    ] {
        for versions in [NEW, OLD] {
            let begin = |plan: &ConnectorPlan| {
                Connector::new(plan).expect("a sound plan").begin(name("a.example"))
            };
            let mut handshake = begin(&plan(&authority)).expect("random bytes");
            let mut peer = server(certified.clone(), None, |_| {}, versions);
            let outcome = shake(&mut handshake, &mut peer, usize::MAX);
            assert_eq!(outcome.fault(), Some(HandshakeFault::BadServerCertificate(kind)));
            assert_eq!(outcome.peer_error, Some(Error::AlertReceived(alert)));

            let blind = ConnectorPlan { roots: None, ..plan(&authority) };
            let mut handshake = begin(&blind).expect("random bytes");
            let mut peer = server(certified.clone(), None, |_| {}, versions);
            let (established, rest) = shake(&mut handshake, &mut peer, usize::MAX).expect();
            bytes_pass(established, rest, &mut peer);
        }
    }
}

#[test]
fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let authority = Authority::new("authority");
    let certified = authority.issue(&Wanted::of(&["a.example"]));
    let identity = Some(authority.issue(&Wanted::of(&["gateway.example"])));
    for versions in [NEW, OLD] {
        let plan = ConnectorPlan { identity: identity.clone(), ..plan(&authority) };
        let connector = Connector::new(&plan).expect("a sound plan");
        let mut handshake = connector.begin(name("a.example")).expect("random bytes");
        let mut peer = server(certified.clone(), Some(&authority), |_| {}, versions);
        let (established, rest) = shake(&mut handshake, &mut peer, usize::MAX).expect();
        let shown = peer.peer_certificates().and_then(|chain| chain.first());
        assert_eq!(shown, identity.as_ref().map(|identity| &identity.cert[0]));
        bytes_pass(established, rest, &mut peer);
    }
}

#[test]
fn what_a_server_refuses_is_a_fault_with_the_code_of_its_alert() {
    let authority = Authority::new("authority");
    let certified = authority.issue(&Wanted::of(&["a.example"]));
    let begin = |plan: ConnectorPlan| {
        let connector = Connector::new(&plan).expect("a sound plan");
        connector.begin(name("a.example")).expect("random bytes")
    };
    let mut peer =
        server(certified.clone(), None, |it| it.alpn_protocols = vec![b"h2".to_vec()], OLD);
    let mut handshake = begin(ConnectorPlan { alpn: vec![b"mqtt".to_vec()], ..plan(&authority) });
    // The server itself fails; its alert comes with its next words.
    let error = super::peer::hear(&mut peer, &handshake.words());
    assert_eq!(error, Some(Error::NoApplicationProtocol));
    let taken = handshake.take(&super::peer::said(&mut peer));
    let super::super::State::Failed(fault) = taken.state else { panic!("{taken:?}") };
    assert_eq!(fault, HandshakeFault::PeerAlert(120));

    let mut old = server(certified, None, |_| {}, OLD);
    let mut handshake = begin(ConnectorPlan { min_tls13: true, ..plan(&authority) });
    assert!(super::peer::hear(&mut old, &handshake.words()).is_some());
    let taken = handshake.take(&super::peer::said(&mut old));
    let super::super::State::Failed(fault) = taken.state else { panic!("{taken:?}") };
    assert_eq!(fault, HandshakeFault::PeerAlert(70));
}
