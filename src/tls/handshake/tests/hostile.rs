//! Bytes that no honest client sends, or that end too early.

use rustls::{AlertDescription, Connection, Error};

use super::super::{
    Acceptor, AcceptorPlan, HANDSHAKE_MAX, Handshake, HandshakeFault, State, Taken,
};
use super::authority::Authority;
use super::peer::{Client, NEW, OLD, hear, said, shake};

fn acceptor(authority: &Authority) -> Acceptor {
    let plan = AcceptorPlan {
        certificates: authority.certificates(&[&["a.example"]]),
        min_tls13: false,
        alpn: Vec::new(),
        client_ca: None,
        tickets: None,
    };
    Acceptor::new(&plan).expect("a sound plan")
}

fn fault(taken: &Taken) -> Option<HandshakeFault> {
    let State::Failed(fault) = &taken.state else { return None };
    Some(*fault)
}

/// A record with a handshake message's bytes.
fn record(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("it is a record").to_be_bytes();
    [&[22, 3, 1], &length[..], body].concat()
}

#[test]
fn bytes_that_are_no_tls_are_left_to_the_caller() {
    let acceptor = acceptor(&Authority::new("authority"));
    for words in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x00", b"\x80\x2e\x01\x03\x01", b"\x17\x03\x03\x00\x01"]
    {
        let mut handshake = acceptor.begin();
        assert_eq!(handshake.take(&[]).used_bytes, 0);
        for _ in 0..2 {
            let taken = handshake.take(words);
            assert_eq!((taken.used_bytes, fault(&taken)), (0, Some(HandshakeFault::NotTls)));
            assert!(handshake.words().is_empty());
        }
    }
}

#[test]
fn a_malformed_record_or_message_is_a_fault_with_an_alert() {
    let acceptor = acceptor(&Authority::new("authority"));
    let long = [22, 3, 1, 0x40, 0x01];
    // A hello whose header says 64 KiB and one byte.
    let huge = record(&[1, 1, 0, 0, 1]);
    for (words, expected) in [
        (&long[..], HandshakeFault::TooLong),
        (&huge, HandshakeFault::TooLong),
        (&[22, 2, 0, 0, 1, 1], HandshakeFault::BadRecord),
        (&record(&[]), HandshakeFault::BadRecord),
        (&record(&[1, 0, 0, 3, 3, 3, 0]), HandshakeFault::BadMessage),
        (&record(&[2, 0, 0, 0]), HandshakeFault::BadMessage),
        (&[&record(&[1])[..], &[99, 3, 3, 0, 1, 0]].concat(), HandshakeFault::BadRecord),
    ] {
        let mut handshake = acceptor.begin();
        let taken = handshake.take(words);
        assert_eq!(fault(&taken), Some(expected), "{words:?}");
        let alert = handshake.words();
        assert_eq!((alert.first(), alert.len()), (Some(&21), 7), "{words:?}: {alert:?}");
        assert_eq!(fault(&handshake.take(words)), Some(expected), "it stays so");
        assert!(handshake.words().is_empty(), "the alert is said once");
    }
}

#[test]
fn a_fault_that_rustls_is_silent_about_is_an_alert_in_keys_that_the_client_has() {
    let authority = Authority::new("authority");
    let acceptor = acceptor(&authority);
    let changes = [20, 3, 3, 0, 1, 1].repeat(4);
    // Of data, longer than any record.
    let long = [23, 3, 3, 0x41, 0x01];
    for (bytes, expected, alert) in [
        (&changes[..], HandshakeFault::BadMessage, AlertDescription::UnexpectedMessage),
        (&long, HandshakeFault::TooLong, AlertDescription::RecordOverflow),
    ] {
        for with_hello in [false, true] {
            let client = Client { versions: NEW, ..Client::new(authority.roots()) };
            let (mut peer, mut handshake) = (client.connect("a.example"), acceptor.begin());
            let mut words = said(&mut peer);
            if !with_hello {
                handshake.take(&words);
                assert_eq!(hear(&mut peer, &handshake.words()), None);
                words.clear();
            }
            let taken = handshake.take(&[&words, bytes].concat());
            assert_eq!(fault(&taken), Some(expected));
            let told = hear(&mut peer, &handshake.words());
            assert_eq!(told, Some(Error::AlertReceived(alert)), "{with_hello}");
        }
    }
}

#[test]
fn a_handshake_of_more_than_its_bound_ends_there() {
    let acceptor = acceptor(&Authority::new("authority"));
    let mut handshake = acceptor.begin();
    // A hello of 65,000 bytes that comes in records of 1,000, and then never ends.
    let mut body = vec![0; 1000];
    body[..4].copy_from_slice(&[1, 0, 0xfd, 0xe8]);
    let mut taken_bytes = 0;
    let fault = loop {
        let taken = handshake.take(&record(&body));
        taken_bytes += taken.used_bytes;
        assert!(taken_bytes <= HANDSHAKE_MAX);
        if let Some(fault) = fault(&taken) {
            break fault;
        }
        body.fill(0);
    };
    assert_eq!(fault, HandshakeFault::TooLong);
}

#[test]
fn an_alert_of_the_client_is_a_fault_with_its_code() {
    let authority = Authority::new("authority");
    // The client trusts another authority.
    for versions in [NEW, OLD] {
        let client = Client { versions, ..Client::new(Authority::new("other").roots()) };
        let mut handshake = acceptor(&authority).begin();
        let outcome = shake(&mut handshake, &mut client.connect("a.example"), usize::MAX);
        assert_eq!(outcome.fault(), Some(HandshakeFault::PeerAlert(48)));
    }
    let mut handshake = acceptor(&authority).begin();
    let mut peer = Client::new(authority.roots()).connect("a.example");
    handshake.take(&said(&mut peer));
    // A close_notify instead of a Finished, before anything is encrypted.
    let taken = handshake.take(&[21, 3, 3, 0, 2, 1, 0]);
    assert_eq!(fault(&taken), Some(HandshakeFault::PeerAlert(0)));
}

/// All that a client says until it is done.
fn words_of(peer: &mut Connection, handshake: &mut Handshake) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..8 {
        let words = said(peer);
        all.extend_from_slice(&words);
        if words.is_empty() || matches!(handshake.take(&words).state, State::Done(_)) {
            return all;
        }
        assert_eq!(hear(peer, &handshake.words()), None);
    }
    panic!("no end");
}

#[test]
fn a_client_may_end_behind_any_byte() {
    let authority = Authority::new("authority");
    let acceptor = acceptor(&authority);
    for versions in [NEW, OLD] {
        let client = Client { versions, ..Client::new(authority.roots()) };
        let hello = said(&mut client.connect("a.example"));
        for end in 0..hello.len() {
            let mut handshake = acceptor.begin();
            let taken = handshake.take(&hello[..end]);
            assert_eq!((taken.used_bytes, fault(&taken)), (end, None));
            assert!(handshake.words().is_empty(), "nothing to say after {end} bytes");
        }
        let mut peer = client.connect("a.example");
        let flight = words_of(&mut peer, &mut acceptor.begin()).len() - hello.len();
        for end in 0..flight {
            let (mut peer, mut handshake) = (client.connect("a.example"), acceptor.begin());
            handshake.take(&said(&mut peer));
            assert_eq!(hear(&mut peer, &handshake.words()), None);
            let words = said(&mut peer);
            let end = end.min(words.len() - 1);
            let taken = handshake.take(&words[..end]);
            assert_eq!((taken.used_bytes, fault(&taken)), (end, None));
            // Other handshakes of the same desk are as before.
            let other = shake(&mut acceptor.begin(), &mut client.connect("a.example"), usize::MAX);
            assert_eq!(other.fault(), None);
        }
    }
}

/// Whether a session comes of it when one bit of the client's byte at `at` is another.
fn is_done_with_a_change(acceptor: &Acceptor, client: &Client, at: usize) -> bool {
    let (mut peer, mut handshake) = (client.connect("a.example"), acceptor.begin());
    let mut said_bytes = 0;
    for _ in 0..4 {
        let mut words = said(&mut peer);
        if let Some(byte) = words.get_mut(at.wrapping_sub(said_bytes)) {
            *byte ^= 0x20;
        }
        said_bytes += words.len();
        match handshake.take(&words).state {
            State::Done(_) => return true,
            State::Failed(_) => return false,
            State::More if hear(&mut peer, &handshake.words()).is_some() => return false,
            State::More => {}
        }
    }
    false
}

#[test]
fn no_byte_but_the_version_of_a_record_may_be_another() {
    let authority = Authority::new("authority");
    let acceptor = acceptor(&authority);
    let client = Client::new(authority.roots());
    let all = words_of(&mut client.connect("a.example"), &mut acceptor.begin());
    let done = (0..all.len()).filter(|at| is_done_with_a_change(&acceptor, &client, *at));
    // It means nothing and is ignored (RFC 8446, 5.1).
    let mut versions = Vec::new();
    let mut start = 0;
    while start < all.len() {
        versions.push(start + 2);
        start += 5 + usize::from(u16::from_be_bytes([all[start + 3], all[start + 4]]));
    }
    assert_eq!(done.collect::<Vec<_>>(), versions);
}
