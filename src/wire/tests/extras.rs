//! Extras of connections that speak TLS: their bytes, every way to cut them, nothing shown.

use proptest::prelude::*;

use crate::wire::handover::{Bad, Departure, Extra, SecuredSide, TlsFacts};

fn full() -> SecuredSide {
    SecuredSide {
        session: b"key".to_vec().into(),
        waits: b"sealed".to_vec(),
        waiting_data_bytes: 0x0102,
        opened: b"da".to_vec().into(),
        received: b"recor".to_vec(),
    }
}

/// What gateways that run have written and read stays as it is.
#[test]
fn a_secured_side_has_these_bytes() {
    #[rustfmt::skip]
    let golden = [
        3, b'k', b'e', b'y', 2, 1, 0, 0,
        6, 0, 0, 0, b's', b'e', b'a', b'l', b'e', b'd',
        2, 0, 0, 0, b'd', b'a', b'r', b'e', b'c', b'o', b'r',
    ];
    assert_eq!(full().to_bytes()[..], golden);
    assert_eq!(SecuredSide::from_bytes(&golden), Ok(full()));
    let idle = SecuredSide { session: b"key".to_vec().into(), ..SecuredSide::default() };
    assert_eq!(idle.to_bytes()[..], [&b"\x03key"[..], &[0; 12]].concat());
}

#[test]
fn facts_have_these_bytes() {
    let facts = TlsFacts { server_name: Some("a.b".into()), common_name: Some("c".into()) };
    assert_eq!(facts.to_bytes(), b"\x03a.b\x01c");
    assert_eq!(TlsFacts::default().to_bytes(), [0, 0]);
    let long = TlsFacts { server_name: Some("a".repeat(256).into()), common_name: None };
    assert_eq!(long.to_bytes(), [0, 0], "it is left out");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let right = full().to_bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = right.to_vec();
        bytes[at] = byte;
        SecuredSide::from_bytes(&bytes)
    };
    let nothing = [&right[..4], &[0, 0, 0, 0], &right[8..]].concat();
    let waits = Bad::Waits { at: 4 };
    assert_eq!(SecuredSide::from_bytes(&nothing), Err(waits), "records without data");
    assert_eq!(with(7, 1), Err(waits), "more data than a message has");
    assert_eq!(with(8, 0), Err(waits), "data without records");
    assert_eq!(waits.to_string(), "what waits at byte 4: it and its data disagree");
    let short = Bad::Short { field: "opened data", at: 22, lacks: 1 };
    assert_eq!(with(18, 8), Err(short));
    let name = Bad::Name { at: 1 };
    assert_eq!(TlsFacts::from_bytes(&[1, 0xff, 0]), Err(name));
    assert_eq!(name.to_string(), "the name at byte 1 is no text");
    assert_eq!(TlsFacts::from_bytes(&[0, 0, 7]), Err(Bad::Tail { at: 2, bytes: 1 }));
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let secured = full();
    let extra = Extra { kind: Departure::CLIENT_SESSION, bytes: secured.to_bytes() };
    let shown =
        format!("{secured:?} {:?}", Departure { extras: vec![extra], ..Departure::default() });
    // As text, and as `Debug` has bytes.
    assert!(!shown.contains("key") && !shown.contains("107, 101"), "{shown}");
    assert!(shown.contains("Extra(2, 29 bytes)"), "{shown}");
}

proptest! {
    #[test]
    fn every_side_is_read_as_it_was_written(
        lengths in any::<[u8; 3]>(),
        waits in prop::option::of((1_u32..160_000, 1_usize..100)),
    ) {
        let [session, opened, received] =
            lengths.map(|length| vec![length; length.into()]);
        let (waiting_data_bytes, waits) =
            waits.map_or((0, Vec::new()), |(data, bytes)| (data, vec![9; bytes]));
        let (session, opened) = (session.into(), opened.into());
        let side = SecuredSide { session, waits, waiting_data_bytes, opened, received };
        let bytes = side.to_bytes();
        prop_assert_eq!(SecuredSide::from_bytes(&bytes), Ok(side.clone()));
        let end = bytes.len() - side.received.len();
        for end in 0..end {
            let is_short = matches!(
                SecuredSide::from_bytes(&bytes[..end]),
                Err(Bad::Short { at, lacks, .. }) if at <= end && lacks > 0
            );
            prop_assert!(is_short, "{} of {}", end, bytes.len());
        }
    }

    #[test]
    fn every_fact_is_read_as_it_was_written(names in any::<[Option<String>; 2]>()) {
        let [server_name, common_name] = names
            .map(|name| name.filter(|name| (1..256).contains(&name.len())).map(Into::into));
        let facts = TlsFacts { server_name, common_name };
        let bytes = facts.to_bytes();
        prop_assert_eq!(TlsFacts::from_bytes(&bytes), Ok(facts));
        for end in 0..bytes.len() {
            prop_assert!(TlsFacts::from_bytes(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
        }
    }
}
