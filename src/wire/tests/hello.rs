//! ClientHellos: what clients send, what they must not send, and every way to cut it.

use super::super::hello::NAME_MAX;
use super::hellos::*;
use super::*;

/// The name and the protocols of a hello.
type Said = (Option<String>, Vec<Vec<u8>>);

fn said(hello: &Hello<'_>) -> Said {
    let protocols = hello.protocols().map(<[u8]>::to_vec).collect();
    (hello.server_name().map(str::to_owned), protocols)
}

fn expected(name: &str, protocols: &[&str]) -> Said {
    let name = (!name.is_empty()).then(|| name.to_owned());
    (name, protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect())
}

/// What a hello says that is all there.
fn read(bytes: &[u8]) -> Said {
    match client_hello(bytes) {
        Decoded::Done { used: 0, facts } => said(&facts),
        decoded => panic!("{decoded:?} of {bytes:?}"),
    }
}

fn is_bad(bytes: &[u8]) -> bool {
    client_hello(bytes) == Decoded::Bad(PreambleFault::BadHello)
}

/// The message of a hello in records.
fn message_of(mut hello: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, behind @ ..] = hello {
        let (piece, rest) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend(piece);
        hello = rest;
    }
    message
}

/// Every hello that is right, in as few records as carry it, with what it says.
fn right() -> Vec<(Vec<u8>, Said)> {
    let db = || names(&[b"db.example.com"]);
    let both = || protocols(&[b"h2", b"http/1.1"]);
    let of = |extensions: &[Vec<u8>]| Builder::with(extensions).records();
    let old = Builder { extensions: None, session: vec![], ..Builder::with(&[]) };
    let longest = format!("{}.", "n".repeat(NAME_MAX));
    let other_type = [&[7][..], &sized::<2>(b"other"), &[0], &sized::<2>(b"a.b")].concat();
    vec![
        (of(&[grease(), db(), both()]), expected("db.example.com", &["h2", "http/1.1"])),
        (of(&[both(), key_share(32), db()]), expected("db.example.com", &["h2", "http/1.1"])),
        // A share of ML-KEM (X25519MLKEM768), which goes past one segment.
        (of(&[key_share(1216), db(), grease()]), expected("db.example.com", &[])),
        (of(&[protocols(&[b"\x3a\x3a", b"h2"])]), expected("", &["::", "h2"])),
        (of(&[]), expected("", &[])),
        (old.records(), expected("", &[])),
        (of(&[names(&[b"DB.Example.COM."])]), expected("DB.Example.COM.", &[])),
        (of(&[names(&[longest.as_bytes()])]), expected(&longest, &[])),
        (of(&[names(&[b"10.0.0.1"])]), expected("10.0.0.1", &[])),
        (of(&[extension(0, &sized::<2>(&other_type))]), expected("a.b", &[])),
        (of(&[extension(0, &sized::<2>(&other_type[..8]))]), expected("", &[])),
        // ECH: the inner name is nowhere to be seen.
        (
            of(&[extension(0xfe0d, &[3; 240]), names(&[b"ech.example"])]),
            expected("ech.example", &[]),
        ),
        // As long as one may be, in two records.
        (longest_hello(), expected("db.example.com", &[])),
        (captured(OPENSSL), expected("db1.eu.example.com", &["postgresql"])),
        (captured(CURL), expected("db1.eu.example.com", &["h2", "http/1.1"])),
        (captured(RUSTLS), expected("db1.eu.example.com", &["h2", "http/1.1"])),
        (captured(JAVA), expected("db1.eu.example.com", &[])),
    ]
}

/// A hello of 16 KiB with its head, padded.
fn longest_hello() -> Vec<u8> {
    let name = names(&[b"db.example.com"]);
    let short = Builder::with(&[name.clone(), extension(21, &[])]).message().len();
    let padding = extension(21, &vec![0; 4 + (1 << 14) - short]);
    let hello = Builder::with(&[padding, name]).records();
    assert_eq!(hello.len(), 4 + (1 << 14) + 2 * 5);
    hello
}

#[test]
fn every_hello_that_is_right_says_what_its_client_asks_for() {
    for (hello, said) in right() {
        assert_eq!(read(&hello), said, "{hello:?}");
        assert!(hello.len() <= HELLO_MAX);
    }
}

#[test]
fn the_records_of_a_hello_change_nothing_of_it() {
    for (hello, said) in right() {
        let message = message_of(&hello);
        let least = message.len().div_ceil(64);
        for bytes in [1, 2, 3, 4, 5, 50, 300].into_iter().filter(|bytes| *bytes >= least) {
            assert_eq!(read(&in_records(&message, bytes)), said, "{bytes}");
        }
        // Two records, cut at every byte: in the head, and within the name, too.
        for cut in (1..message.len().min(2000)).filter(|cut| message.len() - cut <= 1 << 14) {
            let (first, second) = message.split_at(cut);
            let records = [record(22, first), record(22, second)].concat();
            assert_eq!(read(&records), said, "{cut}");
        }
    }
}

#[test]
fn a_hello_in_one_record_is_judged_where_it_lies() {
    let (hello, _) = &right()[0];
    let Decoded::Done { facts, .. } = client_hello(hello) else { panic!("it is right") };
    let name = facts.server_name().expect("it has one").as_ptr();
    assert!(hello.as_ptr_range().contains(&name), "nothing is copied");
}

#[test]
fn every_hello_is_whole_at_its_last_byte_and_not_before() {
    for (hello, said) in right() {
        let message = message_of(&hello);
        for records in [hello, in_records(&message, message.len().div_ceil(64).max(50))] {
            for cut in 0..records.len() {
                let Decoded::More(more) = client_hello(&records[..cut]) else {
                    panic!("{cut} of {records:?}");
                };
                assert!(more > 0 && cut + more <= records.len(), "{more} at {cut}");
                let is_single = records.len() == message.len() + 5;
                if is_single && cut >= 9 {
                    assert_eq!(cut + more, records.len(), "its length is known");
                }
            }
            for next in [0, 3, 20, 22, 23] {
                let followed = [&records[..], &[next], &records].concat();
                assert_eq!(read(&followed), said, "what follows changes nothing of it");
            }
        }
    }
}

#[test]
fn what_is_no_tls_is_refused_at_its_first_wrong_byte() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"P",
        // SSL 2.0, an alert, data.
        b"\x80\x2e\x01\x00\x02",
        b"\x15\x03",
        b"\x17\x03\x03",
        b"\x16\x02",
        b"\x16\x04\x01",
        b"\0",
        b"SSH-2.0-",
    ] {
        assert_eq!(client_hello(bytes), Decoded::NotMine, "{bytes:?}");
    }
    assert_eq!(client_hello(&[22]), Decoded::More(4 + 45));
}

#[test]
fn records_are_refused_for_every_liberty() {
    let message = Builder::with(&[names(&[b"db.example.com"])]).message();
    let (first, second) = message.split_at(70);
    let begin = record(22, first);
    let after = |next: &[u8]| [&begin[..], next].concat();
    assert_eq!(read(&after(&record(22, second))).0.as_deref(), Some("db.example.com"));
    for wrong in [
        record(22, &[]),
        [record(22, &[]), record(22, &message)].concat(),
        after(&[record(22, &[]), record(22, second)].concat()),
        // Another record in between: an alert, a change of ciphers, data; and another version.
        after(&[record(21, &[1, 0]), record(22, second)].concat()),
        after(&[20]),
        after(&[23, 3, 3, 0, 1]),
        after(&[22, 2]),
        // More in the last record than the message.
        record(22, &[&message[..], &[0]].concat()),
        record(22, &[&message[..], &message].concat()),
        after(&record(22, &[second, &[0]].concat())),
        // A record that is too long, said in its head.
        vec![22, 3, 1, 0x40, 1],
        vec![22, 3, 1, 0xff, 0xff],
        after(&[22, 3, 1, 0x40, 1]),
        // Another message, one that is too short, one that is too long.
        vec![22, 3, 1, 0, 4, 2],
        vec![22, 3, 1, 0, 4, 0, 0, 0, 0],
        vec![22, 3, 1, 1, 0, 1, 0, 0, 40],
        vec![22, 3, 1, 0x40, 0, 1, 0, 0x40, 1],
        vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff],
    ] {
        assert!(is_bad(&wrong), "{wrong:?}: {:?}", client_hello(&wrong));
    }
    let of_64 = message.len().div_ceil(64);
    assert_eq!(read(&in_records(&message, of_64)).0.as_deref(), Some("db.example.com"));
    let slow = in_records(&[&message[..], &[0; 64]].concat(), 1);
    assert!(matches!(client_hello(&slow[..64 * 6 - 1]), Decoded::More(_)));
    assert!(is_bad(&slow[..64 * 6]), "no record may follow the sixty-fourth");
}

#[test]
fn a_message_is_refused_for_every_liberty() {
    let name = || names(&[b"db.example.com"]);
    let both = || protocols(&[b"h2"]);
    let good = Builder::with(&[name(), both()]);
    let of = |extensions: &[Vec<u8>]| Builder::with(extensions);
    let list = |entries: &[u8]| of(&[extension(0, &sized::<2>(entries))]);
    let long = "n".repeat(NAME_MAX + 1);
    for wrong in [
        Builder { session: vec![7; 33], ..good.clone() },
        Builder { suites: vec![], ..good.clone() },
        Builder { suites: vec![0x13, 1, 0], ..good.clone() },
        Builder { compressions: vec![], ..good.clone() },
        // Two extensions, two names, no name, no list, and more behind the list.
        of(&[name(), name()]),
        of(&[name(), grease(), names(&[b"other.example"])]),
        of(&[names(&[b"db.example.com", b"other.example"])]),
        of(&[names(&[b""])]),
        of(&[names(&[])]),
        of(&[extension(0, &[])]),
        of(&[extension(0, &[&sized::<2>(&[0, 0, 1, b'a'])[..], b"x"].concat())]),
        list(&[0]),
        list(&[0, 0, 2, b'a']),
        list(&[0, 0xff, 0xff, b'a']),
        list(&[0, 0, 1, b'a', 7]),
        // Names that nobody has.
        of(&[names(&[long.as_bytes()])]),
        of(&[names(&[b"."])]),
        of(&[names(&[b"db\0.example.com"])]),
        of(&[names(&[b"db example"])]),
        of(&[names(&[b"db.example\n"])]),
        of(&[names(&["d\u{fc}sseldorf.example".as_bytes()])]),
        of(&[names(&[b"\xff"])]),
        // Protocols: two lists, none, an empty one, lengths past the end.
        of(&[both(), both()]),
        of(&[protocols(&[])]),
        of(&[protocols(&[b"h2", b""])]),
        of(&[extension(16, &[])]),
        of(&[extension(16, &[0, 3, 3, b'h', b'2'])]),
        of(&[extension(16, &[0, 4, 2, b'h', b'2'])]),
        of(&[extension(16, &[0, 3, 2, b'h', b'2', 0])]),
        // The last extension has no length, half a length, and one past the end.
        of(&[name(), vec![0x3a, 0x3a]]),
        of(&[name(), vec![0x3a, 0x3a, 0]]),
        of(&[name(), vec![0x3a, 0x3a, 0, 1]]),
    ] {
        let records = wrong.records();
        assert!(is_bad(&records), "{records:?}: {:?}", client_hello(&records));
    }
    // Bytes behind the extensions, and too few for their length.
    let message = good.message();
    for body in [[&message[4..], &[0]].concat(), message[4..message.len() - 1].to_vec()] {
        assert!(is_bad(&in_records(&[&[1][..], &sized::<3>(&body)].concat(), 1 << 14)));
    }
}

/// Bytes near a hello: one that is right, in some records, with a few bytes written over it.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let hellos: Vec<Vec<u8>> =
        right().into_iter().map(|(hello, _)| hello).filter(|hello| hello.len() < 2000).collect();
    let cut = 30..2000_usize;
    (prop::sample::select(hellos), cut, changes).prop_map(|(hello, cut, changes)| {
        let mut hello = in_records(&message_of(&hello), cut);
        for (place, byte) in changes {
            let place = place.index(hello.len());
            hello[place] = byte;
        }
        hello
    })
}

proptest! {
    #[test]
    fn an_answer_stands_whatever_follows(bytes in nearly(), more in any::<Vec<u8>>()) {
        let mut needed = 0;
        let first = (0..=bytes.len()).find_map(|cut| match client_hello(&bytes[..cut]) {
            Decoded::More(more) => {
                assert!(more > 0);
                needed = needed.max(cut + more);
                None
            }
            answer => Some((cut, answer)),
        });
        if let Some((cut, answer)) = first {
            let all = [&bytes[..], &more].concat();
            prop_assert_eq!(&client_hello(&bytes), &answer);
            prop_assert_eq!(&client_hello(&all), &answer);
            if matches!(answer, Decoded::Done { .. }) {
                prop_assert!(needed <= cut, "it needed {} of {} bytes", needed, cut);
            }
        }
    }

    #[test]
    fn any_name_and_protocols_are_read_in_any_records(
        name in "[!-~]{0,252}[a-z]",
        offered in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=255), 1..5),
        bytes in 30..2000_usize,
    ) {
        let offered: Vec<&[u8]> = offered.iter().map(Vec::as_slice).collect();
        let hello = Builder::with(&[grease(), names(&[name.as_bytes()]), protocols(&offered)]);
        let records = in_records(&hello.message(), bytes);
        let (read_name, read_protocols) = read(&records);
        prop_assert_eq!(read_name.as_deref().unwrap_or_default(), name);
        prop_assert_eq!(read_protocols, offered);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        client_hello(&bytes);
        let _ = client_hello(&in_records(&[&[1, 0][..], &sized::<2>(&bytes)].concat(), 50));
    }
}
