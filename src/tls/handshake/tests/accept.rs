//! Clients of every version, cipher, name and protocol.

use std::io::Write;

use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider, kx_group};
use rustls::{AlertDescription, Connection, Error, NamedGroup};

use super::super::{Acceptor, AcceptorPlan, HandshakeFault};
use super::authority::Authority;
use super::peer::{Client, NEW, OLD, bytes_pass, shake};

fn plan(authority: &Authority, names: &[&'static str]) -> AcceptorPlan {
    let names: Vec<&[&str]> = names.iter().map(std::slice::from_ref).collect();
    AcceptorPlan {
        certificates: authority.certificates(&names),
        min_tls13: false,
        alpn: Vec::new(),
        client_ca: None,
        tickets: None,
    }
}

fn acceptor(plan: &AcceptorPlan) -> Acceptor {
    Acceptor::new(plan).expect("a sound plan")
}

#[test]
fn every_suite_of_both_versions_ends_in_a_session_that_rustls_reads() {
    let authority = Authority::new("authority");
    let acceptor = acceptor(&plan(&authority, &["a.example"]));
    let mut versions = Vec::new();
    for suite in ALL_CIPHER_SUITES
        .iter()
        .filter(|suite| suite.usable_for_signature_algorithm(rustls::SignatureAlgorithm::ECDSA))
    {
        let mut client = Client::new(authority.roots());
        client.provider.cipher_suites = vec![*suite];
        client.versions = if suite.tls13().is_some() { NEW } else { OLD };
        let mut peer = client.connect("a.example");
        let (established, rest) = shake(&mut acceptor.begin(), &mut peer, usize::MAX).expect();
        assert_eq!(peer.negotiated_cipher_suite(), Some(*suite));
        assert_eq!(established.session.is_tls13(), suite.tls13().is_some());
        assert!(!established.is_resumed);
        versions.push(established.session.is_tls13());
        bytes_pass(established, rest, &mut peer);
    }
    assert_eq!(versions.iter().filter(|is_tls13| **is_tls13).count(), 3);
    assert_eq!(versions.len(), 6);
}

#[test]
fn words_come_in_pieces_of_any_length_and_data_behind_finished_is_kept_back() {
    let authority = Authority::new("authority");
    let acceptor = acceptor(&plan(&authority, &["a.example"]));
    for versions in [NEW, OLD] {
        for piece_bytes in [1, 2, 5, 100, usize::MAX] {
            let client = Client { versions, ..Client::new(authority.roots()) };
            let mut peer = client.connect("a.example");
            // rustls sends it behind its Finished, in TLS 1.2 once it has read ours.
            peer.writer().write_all(b"early ").expect("memory takes it");
            let outcome = shake(&mut acceptor.begin(), &mut peer, piece_bytes);
            let (established, rest) = outcome.expect();
            assert_eq!(rest.is_empty(), !established.session.is_tls13());
            let mut session = established;
            let mut early = rest;
            early.extend(super::peer::said(&mut peer));
            let mut awake = crate::tls::Awake::default();
            let opened = session.session.open(&mut awake, &mut early).expect("it opens");
            let crate::tls::Opened::Data(range) = opened else { panic!("{opened:?}") };
            assert_eq!(&early[range], b"early ");
            bytes_pass(session, Vec::new(), &mut peer);
        }
    }
}

#[test]
fn the_key_exchange_is_hybrid_where_both_sides_have_it() {
    let authority = Authority::new("authority");
    let acceptor = acceptor(&plan(&authority, &["a.example"]));
    // The second client says no share of the group at first, so its hello comes twice.
    let retried = [kx_group::MLKEM1024, kx_group::X25519MLKEM768];
    for (groups, expected) in [
        (&[kx_group::X25519MLKEM768][..], NamedGroup::X25519MLKEM768),
        (&retried, NamedGroup::X25519MLKEM768),
        (&[kx_group::X25519], NamedGroup::X25519),
        (&[kx_group::SECP256R1], NamedGroup::secp256r1),
    ] {
        let mut client = Client::new(authority.roots());
        client.provider.kx_groups = groups.to_vec();
        let mut peer = client.connect("a.example");
        let (established, rest) = shake(&mut acceptor.begin(), &mut peer, usize::MAX).expect();
        let group = peer.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(group, Some(expected));
        bytes_pass(established, rest, &mut peer);
    }
    assert_eq!(default_provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn the_name_is_given_in_lower_case_without_its_dot_and_its_certificate_is_shown() {
    let authority = Authority::new("authority");
    let acceptor = acceptor(&plan(&authority, &["a.example", "b.example"]));
    for (asked, expected) in [("a.example", "a.example"), ("B.Example", "b.example")] {
        let mut peer = Client::new(authority.roots()).connect(asked);
        let (established, rest) = shake(&mut acceptor.begin(), &mut peer, usize::MAX).expect();
        assert_eq!(established.name.as_deref(), Some(expected));
        bytes_pass(established, rest, &mut peer);
    }
    assert_eq!(&*super::super::normal_name("A.eXample."), "a.example");
}

#[test]
fn a_name_without_a_certificate_is_an_alert_of_its_own() {
    let authority = Authority::new("authority");
    let strict = plan(&authority, &["a.example"]);
    for versions in [NEW, OLD] {
        let client = Client { versions, ..Client::new(authority.roots()) };
        let mut peer = client.connect("c.example");
        let outcome = shake(&mut acceptor(&strict).begin(), &mut peer, usize::MAX);
        assert_eq!(outcome.fault(), Some(HandshakeFault::UnknownName));
        let expected = Error::AlertReceived(AlertDescription::UnrecognisedName);
        assert_eq!(outcome.peer_error, Some(expected));
    }
    let client = Client { says_name: false, ..Client::new(authority.roots()) };
    let mut peer = client.connect("a.example");
    let (established, _) = shake(&mut acceptor(&strict).begin(), &mut peer, usize::MAX).expect();
    assert_eq!(established.name, None);
}

#[test]
fn a_client_that_offers_other_protocols_is_refused_and_one_that_offers_none_is_not() {
    let authority = Authority::new("authority");
    let plan = AcceptorPlan {
        alpn: vec![b"h2".to_vec(), b"mqtt".to_vec()],
        ..plan(&authority, &["a.example"])
    };
    let acceptor = acceptor(&plan);
    for (offered, expected) in [
        (&[][..], Ok(None)),
        (&[&b"mqtt"[..]], Ok(Some(&b"mqtt"[..]))),
        (&[b"mqtt", b"h2"], Ok(Some(b"h2"))),
        (&[b"spdy"], Err(HandshakeFault::NoSharedProtocol)),
    ] {
        for versions in [NEW, OLD] {
            let alpn = offered.iter().map(|it| it.to_vec()).collect();
            let client = Client { alpn, versions, ..Client::new(authority.roots()) };
            let mut peer = client.connect("a.example");
            let outcome = shake(&mut acceptor.begin(), &mut peer, usize::MAX);
            let agreed = outcome.established.as_ref().map(|it| it.protocol.as_deref());
            assert_eq!(agreed.map_err(|fault| *fault), expected, "{offered:?}");
            let alert = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
            assert_eq!(outcome.peer_error, expected.is_err().then_some(alert));
        }
    }
}

#[test]
fn versions_and_suites_that_only_one_side_has_are_refused_with_an_alert() {
    let authority = Authority::new("authority");
    let both = plan(&authority, &["a.example"]);
    let new = AcceptorPlan { min_tls13: true, ..both.clone() };
    let mut old = Client::new(authority.roots());
    old.versions = OLD;
    let refused = |plan: &AcceptorPlan, peer: &mut Connection| {
        let outcome = shake(&mut acceptor(plan).begin(), peer, usize::MAX);
        assert!(matches!(outcome.peer_error, Some(Error::AlertReceived(_))));
        outcome.fault()
    };
    let fault = refused(&new, &mut old.connect("a.example"));
    assert_eq!(fault, Some(HandshakeFault::NoSharedVersion));
    old.provider.cipher_suites.retain(|suite| {
        suite.tls13().is_none()
            && !suite.usable_for_signature_algorithm(rustls::SignatureAlgorithm::ECDSA)
    });
    let fault = refused(&both, &mut old.connect("a.example"));
    assert_eq!(fault, Some(HandshakeFault::NoSharedCipher));
}
