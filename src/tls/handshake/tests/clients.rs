//! Clients that show a certificate, or should.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, Error};

use super::super::{Acceptor, AcceptorPlan, CertificateFault, ClientCertificate, HandshakeFault};
use super::authority::{Authority, Wanted};
use super::peer::{Client, NEW, OLD, Outcome, bytes_pass, connect, shake};
use crate::tls::Tickets;

const REQUIRED: bool = true;

fn plan(authority: &Authority, clients: &Authority, is_required: bool) -> AcceptorPlan {
    AcceptorPlan {
        certificates: authority.certificates(&[&["a.example"]]),
        min_tls13: false,
        alpn: Vec::new(),
        client_ca: Some((clients.roots(), is_required)),
        tickets: Some(Arc::new(Tickets::from_keys(&[1; 80], 0).expect("a key"))),
    }
}

fn named(common_name: &str) -> Wanted<'_> {
    Wanted { common_name, ..Wanted::of(&["client.example"]) }
}

/// The outcome with a client of this identity, in both versions.
fn outcomes(
    plan: &AcceptorPlan,
    authority: &Authority,
    identity: Option<&Arc<CertifiedKey>>,
) -> [Outcome; 2] {
    [NEW, OLD].map(|versions| {
        let identity = identity.cloned();
        let client = Client { identity, versions, ..Client::new(authority.roots()) };
        let acceptor = Acceptor::new(plan).expect("a sound plan");
        shake(&mut acceptor.begin(), &mut client.connect("a.example"), usize::MAX)
    })
}

fn subjects(outcomes: [Outcome; 2]) -> [Option<ClientCertificate>; 2] {
    outcomes.map(|outcome| outcome.expect().0.subject)
}

#[test]
fn a_certificate_of_the_authority_is_the_subject_of_the_client() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let long = "l".repeat(65);
    for is_required in [REQUIRED, !REQUIRED] {
        let plan = plan(&authority, &clients, is_required);
        for (common_name, expected) in
            [("device 7", Some("device 7")), ("", None), (&long[..64], Some(&long[..64]))]
        {
            let identity = clients.issue(&named(common_name));
            for subject in subjects(outcomes(&plan, &authority, Some(&identity))) {
                let subject = subject.expect("it was shown");
                assert_eq!(subject.common_name.as_deref(), expected);
                assert_eq!(&*subject.der, &*identity.cert[0]);
            }
        }
        let identity = clients.issue(&named(&long));
        for subject in subjects(outcomes(&plan, &authority, Some(&identity))) {
            assert_eq!(subject.expect("it was shown").common_name, None, "65 bytes");
        }
    }
}

#[test]
fn a_client_without_a_certificate_is_refused_only_where_one_is_required() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let optional = plan(&authority, &clients, !REQUIRED);
    assert_eq!(subjects(outcomes(&optional, &authority, None)), [None, None]);
    let required = plan(&authority, &clients, REQUIRED);
    for outcome in outcomes(&required, &authority, None) {
        assert_eq!(outcome.fault(), Some(HandshakeFault::NoClientCertificate));
        let alert = Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(outcome.peer_error, Some(alert));
    }
}

#[test]
fn a_certificate_that_is_not_good_is_refused_even_where_none_is_required() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let stranger = Authority::new("clients");
    let years = |years| Wanted { years, ..named("device") };
    for (identity, kind, alert) in [
        (
            clients.issue(&years((2000, 2001))),
            CertificateFault::Expired,
            AlertDescription::CertificateExpired,
        ),
        (
            clients.issue(&years((3999, 4000))),
            CertificateFault::NotYetValid,
            AlertDescription::CertificateExpired,
        ),
        (
            Authority::new("strangers").issue(&named("device")),
            CertificateFault::UnknownIssuer,
            AlertDescription::UnknownCA,
        ),
        // An authority of the same name has another key.
        (stranger.issue(&named("device")), CertificateFault::Other, AlertDescription::DecryptError),
    ] {
        for is_required in [REQUIRED, !REQUIRED] {
            let plan = plan(&authority, &clients, is_required);
            for outcome in outcomes(&plan, &authority, Some(&identity)) {
                let fault = HandshakeFault::BadClientCertificate(kind);
                assert_eq!(outcome.fault(), Some(fault));
                assert_eq!(outcome.peer_error, Some(Error::AlertReceived(alert)));
            }
        }
    }
}

#[test]
fn a_resumed_session_has_its_subject_and_only_where_the_authorities_are_the_same() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let here = plan(&authority, &clients, REQUIRED);
    let elsewhere = plan(&authority, &Authority::new("others"), REQUIRED);
    let anyone = AcceptorPlan { client_ca: None, ..here.clone() };
    let identity = clients.issue(&named("device 7"));
    for versions in [NEW, OLD] {
        let mut client = Client::new(authority.roots());
        client.identity = Some(identity.clone());
        client.versions = versions;
        let config = client.config();
        let shake_at = |plan: &AcceptorPlan| {
            let acceptor = Acceptor::new(plan).expect("a sound plan");
            let mut peer = connect(&config, "a.example");
            let outcome = shake(&mut acceptor.begin(), &mut peer, usize::MAX);
            (outcome, peer)
        };
        for expected in [false, true] {
            let (outcome, mut peer) = shake_at(&here);
            let (established, rest) = outcome.expect();
            assert_eq!(established.is_resumed, expected);
            let subject = established.subject.as_ref().expect("it was shown, now or before");
            assert_eq!(subject.common_name.as_deref(), Some("device 7"));
            bytes_pass(established, rest, &mut peer);
        }
        // The ticket of the last session opens with the same key, but says nothing here.
        let fault = HandshakeFault::BadClientCertificate(CertificateFault::UnknownIssuer);
        assert_eq!(shake_at(&elsewhere).0.fault(), Some(fault));
        let (established, rest) = {
            let (outcome, mut peer) = shake_at(&anyone);
            let parts = outcome.expect();
            assert_eq!((parts.0.is_resumed, &parts.0.subject), (false, &None));
            assert_eq!(super::peer::hear(&mut peer, &[]), None);
            parts
        };
        drop((established, rest));
        // Nor does a ticket that proves nobody open where a certificate is required.
        let (established, _) = shake_at(&here).0.expect();
        assert!(!established.is_resumed && established.subject.is_some());
    }
}
