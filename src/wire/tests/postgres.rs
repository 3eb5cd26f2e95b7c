//! How PostgreSQL clients begin, and who is none.

use super::hellos::{OPENSSL, captured};
use super::*;
use crate::wire::{PostgresStart, postgres};

/// A length, a code, and what follows them.
fn message(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + rest.len()).expect("it fits");
    [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
}

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const GSS: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];

fn right() -> Vec<(Vec<u8>, usize, PostgresStart)> {
    use PostgresStart::{GssRequest, Hello, Plain, SslRequest};
    vec![
        (SSL.to_vec(), 8, SslRequest),
        (GSS.to_vec(), 8, GssRequest),
        (captured(OPENSSL), 0, Hello),
        (message(3 << 16, b"user\0a\0\0"), 0, Plain),
        (message(3 << 16 | 2, b"user\0a\0\0"), 0, Plain),
        (message(2 << 16, &[0; 288]), 0, Plain),
        (message(3 << 16, &[b'x'; 9_992]), 0, Plain),
        // A cancel, with a key of four bytes and of more.
        (message(80_877_102, &[1; 8]), 0, Plain),
        (message(80_877_102, &[1; 36]), 0, Plain),
    ]
}

#[test]
fn every_client_begins_in_its_way() {
    for (bytes, used, facts) in right() {
        assert_eq!(postgres(&bytes), Decoded::Done { used, facts }, "{bytes:?}");
    }
}

#[test]
fn a_begin_needs_what_is_missing_of_a_length_and_a_code() {
    for (bytes, used, facts) in right() {
        assert_eq!(postgres(&[]), Decoded::More(1));
        let needed = if facts == PostgresStart::Hello { 1 } else { 8 };
        for cut in 1..needed {
            assert_eq!(postgres(&bytes[..cut]), Decoded::More(8 - cut), "{cut} of {bytes:?}");
        }
        for cut in needed..bytes.len() {
            assert_eq!(postgres(&bytes[..cut]), Decoded::Done { used, facts });
        }
    }
}

#[test]
fn nothing_may_follow_a_request_before_its_answer() {
    for request in [SSL, GSS] {
        for next in [&[0][..], &SSL, &captured(OPENSSL), b"Q"] {
            let early = [&request[..], next].concat();
            assert_eq!(postgres(&early), Decoded::Bad(PreambleFault::EarlyBytes));
        }
    }
}

#[test]
fn who_begins_in_another_way_is_no_client() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x01",
        b"\0\x01",
        b"\0\0\0\x08\x05",
        b"\0\0\0\x08\x04\xd3",
        b"\0\0\0\x08\0\x01",
        b"\0\0\0\x08\0\x04",
        &message(80_877_105, &[]),
        &message(80_877_101, &[1; 8]),
        // Lengths that no such message has.
        &message(80_877_103, &[0]),
        &message(80_877_104, &[0]),
        &message(80_877_102, &[]),
        &message(3 << 16, &[]),
        &message(3 << 16, &[b'x'; 9_993]),
        b"\0\0\0\x07\0\x03\0\0",
        b"\0\0\0\0\0\x03\0\0",
    ] {
        assert_eq!(postgres(bytes), Decoded::NotMine, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn an_answer_stands_but_for_bytes_that_are_early(
        place in any::<prop::sample::Index>(),
        changes in prop::collection::vec((0..8_usize, any::<u8>()), 0..3),
        more in any::<Vec<u8>>(),
    ) {
        let (mut bytes, ..) = place.get(&right()).clone();
        changes.into_iter().for_each(|(place, byte)| bytes[place] = byte);
        bytes.extend(more);
        let mut first = None;
        for cut in 0..=bytes.len() {
            match (first, postgres(&bytes[..cut])) {
                (None, Decoded::More(more)) => prop_assert!(more > 0 && cut < 8),
                (None, answer) => first = Some(answer),
                (Some(Decoded::Done { used: 8, .. }), answer) => {
                    prop_assert_eq!(answer, Decoded::Bad(PreambleFault::EarlyBytes));
                }
                (Some(first), answer) => prop_assert_eq!(answer, first),
            }
        }
    }
}
