//! Records that are refused: forged, out of order, too long, of the wrong type.

use portcullis::tls::{Awake, Fault, Opened, PLAIN_MAX, RECORD_MAX, Session};
use proptest::prelude::*;

use crate::peer::{End, Sender, shake, suites};

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

fn pair(number: usize) -> (Session, Sender) {
    let suite = suites().nth(number).expect("a suite");
    shake(suite, 0).with_sender(End::Server)
}

fn open(session: &mut Session, mut record: Vec<u8>) -> Result<Opened, Fault> {
    session.open(&mut Awake::default(), &mut record)
}

#[test]
fn one_bit_is_enough_to_refuse_a_record_at_any_place() {
    for number in 0..suites().count() {
        let (session, mut sender) = pair(number);
        let written = session.to_bytes();
        let record = sender.record(DATA, b"something");
        for bit in 0..record.len() * 8 {
            let mut session = Session::from_bytes(&written).expect("as written");
            let mut forged = record.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let bytes = session.record_bytes(&forged);
            if bytes == Ok(Some(record.len())) {
                assert_eq!(open(&mut session, forged), Err(Fault::Forged), "bit {bit}");
            } else if bit / 8 < 3 {
                assert!(matches!(bytes, Err(Fault::NotRecord | Fault::Unexpected)), "bit {bit}");
            } else {
                assert!(matches!(bytes, Ok(Some(_)) | Err(Fault::Oversize)), "bit {bit}");
            }
        }
        let mut session = Session::from_bytes(&written).expect("as written");
        assert!(matches!(open(&mut session, record), Ok(Opened::Data(_))));
    }
}

#[test]
fn a_record_again_or_out_of_order_is_refused() {
    for number in 0..suites().count() {
        let (mut session, mut sender) = pair(number);
        let first = sender.record(DATA, b"first");
        assert!(open(&mut session, first.clone()).is_ok());
        assert_eq!(open(&mut session, first), Err(Fault::Forged));
        let (mut session, mut sender) = pair(number);
        let (_, second) = (sender.record(DATA, b"first"), sender.record(DATA, b"second"));
        assert_eq!(open(&mut session, second), Err(Fault::Forged));
        let (mut session, _) = pair(number);
        let (_, mut sender) = pair(number);
        assert_eq!(open(&mut session, sender.record(DATA, b"other's")), Err(Fault::Forged));
    }
}

#[test]
fn a_record_without_room_for_a_tag_is_refused() {
    for number in 0..suites().count() {
        for bytes in 0..16 {
            let (mut session, _) = pair(number);
            let record = [&[DATA, 3, 3, 0, bytes][..], &vec![0; bytes.into()]].concat();
            assert_eq!(open(&mut session, record), Err(Fault::Forged), "{bytes} bytes");
        }
    }
}

#[test]
fn headers_are_judged_before_a_byte_behind_them_is_there() {
    for suite in suites() {
        let (session, _) = shake(suite, 0).with_sender(End::Server);
        let overhead = match () {
            () if suite.is_tls13() => 256,
            () if suite.name().contains("GCM") => 24,
            () => 16,
        };
        let header = |kind: u8, major: u8, bytes: usize| {
            let [high, low] = u16::try_from(bytes).expect("a length").to_be_bytes();
            session.record_bytes(&[kind, major, 3, high, low])
        };
        let most = PLAIN_MAX + overhead;
        assert!(5 + most <= RECORD_MAX);
        assert_eq!(header(DATA, 3, most), Ok(Some(5 + most)));
        assert_eq!(header(DATA, 3, most + 1), Err(Fault::Oversize));
        assert_eq!(header(DATA, 3, 0xffff), Err(Fault::Oversize));
        assert_eq!(header(DATA, 2, 100), Err(Fault::NotRecord));
        assert_eq!(header(HEARTBEAT, 3, 100), Err(Fault::NotRecord));
        assert_eq!(header(b'G', b'E', 100), Err(Fault::NotRecord));
        assert_eq!(header(CHANGE_CIPHER_SPEC, 3, 1), Err(Fault::Unexpected));
        let handshake = header(HANDSHAKE, 3, 100);
        match suite.is_tls13() {
            true => assert_eq!(handshake, Err(Fault::Unexpected)),
            false => assert_eq!(handshake, Ok(Some(105))),
        }
        let header = [DATA, 3, 3, 0, 100];
        for cut in 0..header.len() {
            assert_eq!(session.record_bytes(&header[..cut]), Ok(None));
        }
    }
}

#[test]
fn padding_is_taken_off_and_counts_for_the_length() {
    for number in 0..3 {
        let (mut session, mut sender) = pair(number);
        for (bytes, padding) in [(1, 1), (9, 255), (9, PLAIN_MAX - 9), (PLAIN_MAX - 1, 1)] {
            let record = sender.padded(DATA, &vec![7; bytes], padding);
            assert_eq!(open(&mut session, record), Ok(Opened::Data(5..5 + bytes)));
        }
        let empty = sender.padded(DATA, &[], 40);
        assert_eq!(open(&mut session, empty), Ok(Opened::Nothing));
        for (bytes, padding) in [(PLAIN_MAX, 1), (9, PLAIN_MAX + 200)] {
            let (mut session, mut sender) = pair(number);
            let record = sender.padded(DATA, &vec![7; bytes], padding);
            assert_eq!(open(&mut session, record), Err(Fault::Oversize));
        }
    }
}

#[test]
fn what_is_in_a_record_of_tls_1_3_has_a_type_that_it_may_have() {
    for (kind, content) in [
        (0, &[0; 9][..]),
        (0, &[]),
        (CHANGE_CIPHER_SPEC, &[1]),
        (HANDSHAKE, &[]),
        (HEARTBEAT, &[1; 9]),
        (255, &[1; 9]),
    ] {
        let (mut session, mut sender) = pair(0);
        let record = sender.record(kind, content);
        assert_eq!(open(&mut session, record), Err(Fault::Unexpected), "{kind}");
    }
}

#[test]
fn handshakes_of_tls_1_2_are_refused() {
    for number in 3..suites().count() {
        let (mut session, mut sender) = pair(number);
        // A ClientHello, or anything else.
        let record = sender.record(HANDSHAKE, &[1, 0, 0, 2, 3, 3]);
        assert_eq!(open(&mut session, record), Err(Fault::Renegotiation));
        let (mut session, mut sender) = pair(number);
        let record = sender.record(DATA, &[7; PLAIN_MAX]);
        assert_eq!(session.record_bytes(&record), Ok(Some(record.len())));
        assert!(open(&mut session, record).is_ok());
    }
}

#[test]
#[should_panic(expected = "one whole record")]
fn a_part_of_a_record_is_not_opened() {
    let (mut session, mut sender) = pair(0);
    let mut record = sender.record(DATA, b"something");
    record.pop();
    let _ = open(&mut session, record);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_a_record_of_the_peer(
        number in 0..6_usize,
        header in prop::option::of(20..24_u8),
        mut bytes in prop::collection::vec(any::<u8>(), 5..200),
    ) {
        let (mut session, _) = pair(number);
        if let Some(kind) = header {
            let sealed = u8::try_from(bytes.len() - 5).expect("less than 200");
            bytes[..5].copy_from_slice(&[kind, 3, 3, 0, sealed]);
        }
        match session.record_bytes(&bytes) {
            Ok(Some(length)) if length == bytes.len() => {
                prop_assert_eq!(open(&mut session, bytes), Err(Fault::Forged));
            }
            Ok(length) => prop_assert!(length >= Some(5) && length <= Some(RECORD_MAX)),
            Err(fault) => prop_assert!(fault != Fault::Forged),
        }
    }
}
