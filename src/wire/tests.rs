//! What senders send, what they must not send, and every way to cut it.

mod encode;
mod extras;
mod handover;
mod hello;
mod hellos;
mod names;
mod postgres;

use proptest::prelude::*;

use super::proxy_v2::crc32c;
use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 9, 0x9c, 0x40, 1, 0xbb];

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("it fits").to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("it fits").to_be_bytes();
    [&[kind][..], &length, value].concat()
}

/// A header of IPv4 with these fields, and the checksum of all of it at the end.
fn summed(fields: &[u8]) -> Vec<u8> {
    let mut header = v2(0x21, 0x11, &[&V4[..], fields, &field(3, &[0; 4])].concat());
    let sum = crc32c([&header[..]]).to_be_bytes();
    let place = header.len() - 4;
    header[place..].copy_from_slice(&sum);
    header
}

/// The client of a header that is all of these bytes; `None`: it names none.
fn client(header: &[u8]) -> Option<String> {
    match proxy_header(header) {
        Decoded::Done { used, facts } if used == header.len() => {
            facts.ends.map(|ends| ends.source.to_string())
        }
        decoded => panic!("{decoded:?} of {header:?}"),
    }
}

fn fault(bytes: &[u8]) -> PreambleFault {
    match proxy_header(bytes) {
        Decoded::Bad(fault) => fault,
        Decoded::NotMine => PreambleFault::NoHeader,
        decoded => panic!("{decoded:?} of {bytes:?}"),
    }
}

/// Every header that is right, with the client that it names.
fn right() -> Vec<(Vec<u8>, Option<&'static str>)> {
    const FIRST: Option<&str> = Some("192.0.2.7:40000");
    let mapped = [&[0; 10][..], &[0xff; 2], &V4[..4], &[0; 15], &[1], &V4[8..]].concat();
    let v6: Vec<u8> = [&[0x20, 1, 0xd, 0xb8], &[0; 11][..], &[5], &[0; 16], &V4[8..]].concat();
    let line = |line: &str| line.as_bytes().to_vec();
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    vec![
        (line("PROXY TCP4 192.0.2.7 198.51.100.9 40000 443\r\n"), FIRST),
        (line("PROXY TCP4 192.0.2.7 198.51.100.9 0 65535\r\n"), Some("192.0.2.7:0")),
        (line("PROXY TCP6 2001:db8::5 ::1 40000 443\r\n"), Some("[2001:db8::5]:40000")),
        (line("PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 443\r\n"), FIRST),
        (
            line(&format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n")),
            Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (line("PROXY UNKNOWN\r\n"), None),
        (line("PROXY UNKNOWN whatever follows\r\n"), None),
        (line(&format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n")), None),
        (v2(0x21, 0x11, &V4), FIRST),
        (v2(0x21, 0x21, &v6), Some("[2001:db8::5]:40000")),
        (v2(0x21, 0x21, &mapped), FIRST),
        // LOCAL: as most send it, as network load balancers do, and with a family alone.
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &V4), None),
        (v2(0x20, 0x11, &[]), None),
        (v2(0x20, 0x99, b"no field at all"), None),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x00, &[7; 50]), None),
        // Datagrams and UNIX sockets.
        (v2(0x21, 0x12, &V4), None),
        (v2(0x21, 0x22, &v6), None),
        (v2(0x21, 0x31, &[b'x'; 216]), None),
        (v2(0x21, 0x32, &[0; 216]), None),
        // Fields, up to the most that are taken.
        (v2(0x21, 0x11, &[&V4[..], &field(0xea, b"\x01vpce-1")].concat()), FIRST),
        (v2(0x21, 0x11, &[&V4[..], &field(4, &[]), &field(4, &[])].concat()), FIRST),
        (v2(0x21, 0x11, &[&V4[..], &field(0xe0, &[7; 3000])].concat()), FIRST),
        (v2(0x21, 0x11, &[&V4[..], &field(0xe0, &[7; 4093])].concat()), FIRST),
        (summed(&[]), FIRST),
        (summed(&field(2, b"db.example.com")), FIRST),
    ]
}

#[test]
fn every_header_that_is_right_names_its_client() {
    for (header, named) in right() {
        assert_eq!(client(&header).as_deref(), named, "{header:?}");
        assert!(header.len() <= HEADER_MAX);
    }
}

#[test]
fn every_header_is_whole_at_its_last_byte_and_not_before() {
    for (header, _) in right() {
        let whole = proxy_header(&header);
        for cut in 0..header.len() {
            let Decoded::More(more) = proxy_header(&header[..cut]) else {
                panic!("{cut} of {header:?}: {:?}", proxy_header(&header[..cut]));
            };
            assert!(more > 0 && cut + more <= header.len(), "{more} at {cut} of {header:?}");
        }
        for next in [b'\r', b'\n', 0, 3, b'x'] {
            let more = [&header[..], &[next], &header].concat();
            assert_eq!(proxy_header(&more), whole, "what follows a header changes nothing of it");
        }
    }
}

#[test]
fn a_header_has_the_ends_and_fields_that_it_says() {
    let fields = field(2, b"db");
    let header = v2(0x21, 0x11, &[&V4[..], &fields].concat());
    let Decoded::Done { facts, .. } = proxy_header(&header) else { panic!("it is right") };
    assert_eq!(facts.fields, fields);
    let destination = facts.ends.map(|ends| ends.destination.to_string());
    assert_eq!(destination.as_deref(), Some("198.51.100.9:443"));
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03",
        b"x",
        b"\r\n\r\n\0\r\nQUIX",
        b"\r\nP",
        b"PROXYxTCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY\r\n",
        b"proxy TCP4",
    ] {
        assert_eq!(proxy_header(bytes), Decoded::NotMine, "{bytes:?}");
    }
}

#[test]
fn a_line_is_refused_for_every_liberty() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 +443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 0443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 040000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 -1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 443 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 443 7\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.9 40000 443\r\n",
        "PROXY TCP4\t192.0.2.7 198.51.100.9 40000 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.9 40000 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.9 40000 443\r\n",
        "PROXY TCP4 192.0.2.300 198.51.100.9 40000 443\r\n",
        "PROXY TCP4 ::1 ::1 40000 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.9 40000 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 40000 443\r\n",
        "PROXY TCP6 [::1] ::1 40000 443\r\n",
        "PROXY TCP5 192.0.2.7 198.51.100.9 40000 443\r\n",
        "PROXY UNKNOWNjunk\r\n",
        "PROXY unknown\r\n",
        "PROXY \r\n",
        // Other ends of the line, and none.
        "PROXY TCP4 192.0.2.7 198.51.100.9 40000 443\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\rx",
        "PROXY UNKNOWN \r\r\n",
    ] {
        assert_eq!(fault(line.as_bytes()), PreambleFault::BadLine, "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16 + 1));
    assert_eq!(long.len(), 108);
    assert_eq!(fault(long.as_bytes()), PreambleFault::BadLine);
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(4000));
    assert_eq!(fault(endless.as_bytes()), PreambleFault::BadLine);
    assert!(matches!(proxy_header(&long.as_bytes()[..105]), Decoded::More(_)));
}

#[test]
fn a_binary_header_is_refused_for_every_liberty() {
    use PreambleFault::{
        BadChecksum, BadFamily, BadField, BadLength, BadVersion, NoHeader, TooLong,
    };
    let with = |fields: &[u8]| v2(0x21, 0x11, &[&V4[..], fields].concat());
    let mut wrong_sum = summed(&field(2, b"db"));
    wrong_sum[20] ^= 1;
    let sum = field(3, &[0; 4]);
    for (bytes, expected) in [
        (v2(0x11, 0x11, &V4), BadVersion),
        (v2(0x31, 0x11, &V4), BadVersion),
        (v2(0x22, 0x11, &V4), BadVersion),
        (v2(0x21, 0x13, &V4), BadFamily),
        (v2(0x21, 0x01, &V4), BadFamily),
        (v2(0x21, 0x41, &V4), BadFamily),
        (v2(0x21, 0x11, &V4[..11]), BadLength),
        (v2(0x21, 0x11, &[]), BadLength),
        (v2(0x21, 0x21, &[0; 35]), BadLength),
        (v2(0x21, 0x31, &[0; 215]), BadLength),
        (with(&field(0xe0, &[0; 4094])), TooLong),
        (v2(0x20, 0x00, &[0; 216 + 4097]), TooLong),
        (v2(0x21, 0x11, &[0; 65_535]), TooLong),
        (with(&[4]), BadField),
        (with(&[4, 0]), BadField),
        (with(&[4, 0, 1]), BadField),
        (with(&[&field(4, b"xy")[..], &[4, 0xff, 0xff, 0]].concat()), BadField),
        (with(&field(3, &[0; 3])), BadField),
        (with(&field(3, &[0; 5])), BadField),
        (with(&sum), BadChecksum),
        (wrong_sum, BadChecksum),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), NoHeader),
    ] {
        assert_eq!(fault(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn a_length_that_is_too_long_is_refused_before_it_is_there() {
    let head = &v2(0x21, 0x11, &[0; 65_535])[..16];
    assert_eq!(fault(head), PreambleFault::TooLong);
    assert_eq!(fault(&v2(0x21, 0x77, &[])[..14]), PreambleFault::BadFamily);
    assert_eq!(fault(&v2(0x71, 0x11, &[])[..13]), PreambleFault::BadVersion);
}

/// Bytes near a header: one that is right, with a few others written over it.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let headers: Vec<Vec<u8>> = right().into_iter().map(|(header, _)| header).collect();
    (prop::sample::select(headers), changes).prop_map(|(mut header, changes)| {
        for (place, byte) in changes {
            let place = place.index(header.len().min(60));
            header[place] = byte;
        }
        header
    })
}

/// The check value in the catalogue of CRCs.
#[test]
fn the_checksum_is_that_of_the_specification() {
    assert_eq!(crc32c([&b"1234"[..], b"", b"56789"]), 0xe306_9283);
}

proptest! {
    #[test]
    fn an_answer_stands_whatever_follows(bytes in nearly(), more in any::<Vec<u8>>()) {
        let first = (0..=bytes.len()).find_map(|cut| match proxy_header(&bytes[..cut]) {
            Decoded::More(more) => {
                assert!(more > 0);
                None
            }
            answer => Some((cut, answer)),
        });
        if let Some((cut, answer)) = first {
            let all = [&bytes[..], &more].concat();
            prop_assert_eq!(proxy_header(&bytes), answer);
            prop_assert_eq!(proxy_header(&all), answer);
            if let Decoded::Done { used, .. } = answer {
                prop_assert_eq!(used, cut);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), length in any::<u16>()) {
        proxy_header(&bytes);
        let head = [SIGNATURE, &[0x21, 0x11], &length.to_be_bytes(), &bytes].concat();
        proxy_header(&head);
    }
}
