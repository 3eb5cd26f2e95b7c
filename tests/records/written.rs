//! Sessions as bytes, for a process that takes them over.

use portcullis::tls::{NoSession, SESSION_BYTES, Session, Suite};

use crate::peer::{ENDS, End, shake, suites};

#[test]
fn a_session_is_80_to_120_bytes_and_the_same_again() {
    let mut lengths: Vec<usize> = Vec::new();
    for (suite, end) in suites().flat_map(|suite| ENDS.map(|end| (suite, end))) {
        let (session, _) = shake(suite, 0).with_rustls(end);
        let bytes = session.to_bytes();
        let again = Session::from_bytes(&bytes).expect("as written");
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(again.suite(), suite);
        lengths.push(bytes.len());
        for cut in 0..bytes.len() {
            assert_eq!(Session::from_bytes(&bytes[..cut]).err(), Some(NoSession));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Session::from_bytes(&longer).err(), Some(NoSession));
    }
    lengths.sort_unstable();
    assert_eq!(lengths.first(), Some(&80));
    assert_eq!(lengths.last(), Some(&SESSION_BYTES));
}

#[test]
fn bytes_that_no_session_has_are_refused() {
    for suite in suites() {
        let (session, _) = shake(suite, 0).with_rustls(End::Server);
        let bytes = session.to_bytes();
        for (at, value) in [
            (0, 0x20 | bytes[0]),
            (0, bytes[0] & 0x0f),
            (0, 0x1f),
            (1, 1 << 4),
            (2, suite.limit_power() + 1),
            (4, 33),
            (5, 3),
            (6, 1),
            (7, 1),
            (8, 0x80),
            (16, 0x80),
        ] {
            let mut wrong = bytes.to_vec();
            wrong[at] = value;
            assert_eq!(Session::from_bytes(&wrong).err(), Some(NoSession), "{at}: {value}");
        }
    }
    // A server's session with half a ticket, and one of a client in all the ways there are.
    let (session, _) = shake(Suite::Aes128GcmSha256, 0).with_rustls(End::Client);
    let bytes = session.to_bytes();
    for (part, is_right) in [
        ([1, 1, 0], true),
        ([1, 3, 9], true),
        ([2, 0, 1], true),
        ([1, 0, 0], false),
        ([1, 1, 9], false),
        ([1, 4, 0], false),
        ([2, 0, 0], false),
        ([0, 0, 1], false),
        ([3, 0, 0], false),
        ([3, 5, 0], false),
        ([3, 4, 1], false),
    ] {
        let mut other = bytes.to_vec();
        other[5..8].copy_from_slice(&part);
        assert_eq!(Session::from_bytes(&other).is_ok(), is_right, "{part:?}");
        other[1] = 0;
        assert_eq!(Session::from_bytes(&other).err(), Some(NoSession), "{part:?}");
    }
}

#[test]
fn what_is_shown_of_a_session_has_no_secret_in_it() {
    for suite in suites() {
        let (session, _) = shake(suite, 0).with_rustls(End::Server);
        let shown = format!("{session:?}");
        assert!(shown.contains(suite.name()));
        assert!(shown.len() < 80, "{shown}");
    }
}
