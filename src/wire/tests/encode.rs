//! Headers for servers: our own decoder and another one read what was written.

#[path = "../../../tests/fuzz/other_reader.rs"]
mod other_reader;

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;

use super::*;

/// Types of fields that have a value of the gateway's own here.
const ALPN: u8 = 1;
const AUTHORITY: u8 = 2;
const UNIQUE_ID: u8 = 5;
const SSL: u8 = 0x20;

fn ends(source: &str, destination: &str) -> Ends {
    let end = |text: &str| text.parse().expect("an address with a port");
    Ends { source: end(source), destination: end(destination) }
}

fn line(ends: Ends) -> String {
    let mut line = Vec::new();
    proxy_line(ends, &mut line);
    String::from_utf8(line).expect("text")
}

/// A header of version 2, and how many fields it lacks.
fn binary(ends: Ends, fields: &Fields<'_>) -> (Vec<u8>, usize) {
    let mut header = b"before".to_vec();
    let left_out = proxy_binary(ends, fields, &mut header);
    assert!(header.starts_with(b"before"));
    (header.split_off(6), left_out)
}

/// What our decoder reads in a header that is all of these bytes.
fn read(header: &[u8]) -> Facts<'_> {
    match proxy_header(header) {
        Decoded::Done { used, facts } if used == header.len() => facts,
        decoded => panic!("{decoded:?} of {header:?}"),
    }
}

/// What another decoder reads in it: the addresses, and the fields of version 2.
fn read_by_other(header: &[u8]) -> (Ends, Vec<u8>) {
    let ([source, destination], fields) = other_reader::read(header).expect("a header of TCP");
    (Ends { source, destination }, fields)
}

/// `ends` with addresses of IPv4 as such.
fn canonical(ends: Ends) -> Ends {
    let of = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    Ends { source: of(ends.source), destination: of(ends.destination) }
}

#[test]
fn a_line_has_the_form_of_the_specification() {
    for (source, destination, expected) in [
        ("192.0.2.7:40000", "198.51.100.9:443", "PROXY TCP4 192.0.2.7 198.51.100.9 40000 443\r\n"),
        (
            "[::ffff:192.0.2.7]:1",
            "[::ffff:198.51.100.9]:0",
            "PROXY TCP4 192.0.2.7 198.51.100.9 1 0\r\n",
        ),
        ("[2001:db8::5]:65535", "[::1]:443", "PROXY TCP6 2001:db8::5 ::1 65535 443\r\n"),
        ("192.0.2.7:1", "[::1]:2", "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"),
        ("[::1]:1", "192.0.2.7:2", "PROXY TCP6 ::1 ::ffff:192.0.2.7 1 2\r\n"),
        ("[fe80::1%7]:1", "[::1]:2", "PROXY TCP6 fe80::1 ::1 1 2\r\n"),
    ] {
        assert_eq!(line(ends(source, destination)), expected);
    }
}

#[test]
fn a_binary_header_has_the_form_of_the_specification() {
    let plain = ends("192.0.2.7:40000", "198.51.100.9:443");
    assert_eq!(binary(plain, &Fields::default()), (v2(0x21, 0x11, &V4), 0));
    let mapped = ends("[::ffff:192.0.2.7]:40000", "198.51.100.9:443");
    assert_eq!(binary(mapped, &Fields::default()), (v2(0x21, 0x11, &V4), 0));
    let mixed = ends("[2001:db8::5]:40000", "198.51.100.9:443");
    let block =
        [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[5], &[0; 10], &[0xff; 2], &V4[4..]].concat();
    assert_eq!(binary(mixed, &Fields::default()), (v2(0x21, 0x21, &block), 0));
    let summed_only = Fields { checksum: true, ..Fields::default() };
    assert_eq!(binary(plain, &summed_only), (summed(&[]), 0));
    let mut local = Vec::new();
    proxy_local(&mut local);
    assert_eq!(local, v2(0x20, 0, &[]));
    assert_eq!(read(&local), Facts { ends: None, fields: &[] });
}

#[test]
fn received_fields_go_on_but_for_those_that_have_a_value_of_our_own() {
    let plain = ends("192.0.2.7:40000", "198.51.100.9:443");
    let (vpce, noop) = (field(0xea, b"\x01vpce-1"), field(4, &[]));
    let received = [
        &field(ALPN, b"their-alpn")[..],
        &vpce,
        &field(AUTHORITY, b"their.example"),
        &field(3, &[1, 2, 3, 4]),
        &noop,
        &field(UNIQUE_ID, b"their-id"),
        &field(SSL, b"their-ssl"),
        &noop,
    ]
    .concat();
    let all = Fields { received: &received, ..Fields::default() };
    let (header, _) = binary(plain, &all);
    let sum = field(3, &[1, 2, 3, 4]);
    let at = received.windows(sum.len()).position(|it| it == sum).expect("it was received");
    let without_sum = [&received[..at], &received[at + sum.len()..]].concat();
    assert_eq!(read(&header).fields, without_sum, "all but the checksum");

    let own = Fields {
        alpn: Some(b"h2"),
        authority: Some(b"ours.example"),
        unique_id: Some(b"our-id"),
        ssl: Some(b"our-ssl"),
        ..all
    };
    let (header, left_out) = binary(plain, &own);
    let expected = [
        &field(ALPN, b"h2")[..],
        &field(AUTHORITY, b"ours.example"),
        &field(UNIQUE_ID, b"our-id"),
        &field(SSL, b"our-ssl"),
        &vpce,
        &noop,
        &noop,
    ]
    .concat();
    assert_eq!(read(&header).fields, expected);
    assert_eq!(left_out, 0);
    let (checked, _) = binary(plain, &Fields { checksum: true, ..own });
    assert_eq!(checked, summed(&expected));
}

#[test]
fn fields_that_do_not_fit_are_left_out_whole() {
    let plain = ends("[2001:db8::5]:40000", "[::1]:443");
    let [first, long, short] =
        [field(0xe0, &[7; 2000]), field(0xe1, &[8; 2093]), field(0xe2, &[9; 80])];
    let received = [&first[..], &long, &short].concat();
    let fields = Fields { received: &received, ..Fields::default() };
    let (header, left_out) = binary(plain, &fields);
    assert_eq!((read(&header).fields, left_out), (&[&first[..], &short].concat()[..], 1));
    // Exactly as many as there may be, and one byte more.
    for (bytes, is_there) in [(2000, true), (2090, true), (2091, false)] {
        let last = field(0xe1, &vec![8; bytes]);
        let received = [&first[..], &last].concat();
        let (header, left_out) = binary(plain, &Fields { received: &received, ..fields });
        assert_eq!(left_out == 0, is_there, "{bytes}");
        assert!(header.len() <= HEADER_MAX);
        read(&header);
        let checked = Fields { received: &received, checksum: true, ..fields };
        let (header, left_out) = binary(plain, &checked);
        assert_eq!(left_out == 0, bytes + 7 <= 2090, "{bytes}");
        read(&header);
    }
}

#[test]
#[should_panic = "an id has a bound"]
fn an_id_that_is_too_long_is_never_written() {
    let fields = Fields { unique_id: Some(&[0; UNIQUE_ID_MAX + 1]), ..Fields::default() };
    proxy_binary(ends("192.0.2.7:1", "192.0.2.8:2"), &fields, &mut Vec::new());
}

fn any_ends() -> impl Strategy<Value = Ends> {
    let ip = || {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_ipv6_mapped().into()),
        ]
    };
    let end = move || (ip(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    (end(), end()).prop_map(|(source, destination)| Ends { source, destination })
}

/// Fields as they are received.
fn any_fields() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kind = prop_oneof![prop::sample::select(vec![1, 2, 3, 4, 5, 0x20, 0xea]), any::<u8>()];
    let value = vec(any::<u8>(), 0..2000);
    vec((kind, value).prop_map(|(kind, value)| field(kind, &value)), 0..6)
}

proptest! {
    #[test]
    fn what_is_written_is_read_by_us_and_by_another(
        ends in any_ends(),
        received in any_fields(),
        own in any::<[Option<Vec<u8>>; 3]>(),
        checksum in any::<bool>(),
    ) {
        let line = line(ends);
        prop_assert_eq!(read(line.as_bytes()).ends, Some(canonical(ends)));
        prop_assert_eq!(read_by_other(line.as_bytes()).0, canonical(ends));

        let joined = received.concat();
        let [alpn, authority, unique_id] = own.each_ref().map(Option::as_deref);
        let ssl = None;
        let fields = Fields { alpn, authority, unique_id, ssl, received: &joined, checksum };
        let (header, left_out) = binary(ends, &fields);
        prop_assert!(header.len() <= HEADER_MAX);
        let facts = read(&header);
        prop_assert_eq!(facts.ends, Some(canonical(ends)));
        let (of_other, fields_of_other) = read_by_other(&header);
        prop_assert_eq!(of_other, canonical(ends));
        prop_assert_eq!(&fields_of_other, facts.fields);

        // Each field is there once, but for those that are left out.
        let kinds = [(ALPN, alpn), (AUTHORITY, authority), (UNIQUE_ID, unique_id)];
        let has_own = |kind| kinds.iter().any(|(own, value)| *own == kind && value.is_some());
        let expected = kinds.iter().filter_map(|(kind, value)| Some(field(*kind, (*value)?)));
        let kept = received.iter().filter(|field| field[0] != 3 && !has_own(field[0])).cloned();
        let expected: Vec<Vec<u8>> = expected.chain(kept).collect();
        let sum = header.len() - 4;
        let sum = checksum.then(|| field(3, &header[sum..]));
        let mut rest = facts.fields;
        let mut lacking = 0;
        for field in expected.iter().chain(&sum) {
            match rest.strip_prefix(&field[..]) {
                Some(behind) => rest = behind,
                None => lacking += 1,
            }
        }
        prop_assert_eq!((rest.len(), lacking), (0, left_out));
    }
}

#[test]
fn a_server_hears_how_its_client_speaks_tls() {
    let (version, cipher) = ("TLSv1.3", "TLS_AES_128_GCM_SHA256");
    let value = |certificate| {
        let mut value = Vec::new();
        proxy_ssl(&Ssl { version, cipher, certificate }, &mut value);
        value
    };
    let field = |kind: u8, value: &[u8]| [&[kind, 0, value.len() as u8], value].concat();
    let of_version = field(0x21, b"TLSv1.3");
    let of_cipher = field(0x23, b"TLS_AES_128_GCM_SHA256");
    let expected = [&[1, 0, 0, 0, 1][..], &of_version, &of_cipher].concat();
    assert_eq!(value(None), expected, "no certificate, so none was verified");
    let (name, der) = (field(0x22, b"amy"), [0x30; 200]);
    let whole = |der| Certificate { common_name: Some("amy"), der, is_earlier: false };
    let expected = [&[7, 0, 0, 0, 0][..], &of_version, &name, &of_cipher].concat();
    assert_eq!(value(Some(whole(None))), expected);
    let with_der = [&expected[..], &[0x28, 0, 200], &der].concat();
    assert_eq!(value(Some(whole(Some(&der)))), with_der);
    assert_eq!(value(Some(whole(Some(&[0; DER_MAX + 1])))), expected, "it does not fit");
    let resumed = Certificate { common_name: None, der: None, is_earlier: true };
    let expected = [&[5, 0, 0, 0, 0][..], &of_version, &of_cipher].concat();
    assert_eq!(value(Some(resumed)), expected);
}

#[test]
fn the_longest_certificate_fits_beside_all_that_a_gateway_says_itself() {
    let (common_name, der) = ("n".repeat(64), vec![0x30; DER_MAX]);
    let certificate =
        Certificate { common_name: Some(&common_name), der: Some(&der), is_earlier: false };
    let mut value = Vec::new();
    let cipher = "ECDHE-ECDSA-CHACHA20-POLY1305";
    proxy_ssl(&Ssl { version: "TLSv1.2", cipher, certificate: Some(certificate) }, &mut value);
    let fields = Fields {
        alpn: Some(&[b'a'; 255]),
        authority: Some(&[b'n'; 255]),
        unique_id: Some(&[0; 16]),
        ssl: Some(&value),
        received: &[],
        checksum: true,
    };
    let (header, left_out) = binary(ends("192.0.2.7:40000", "198.51.100.9:443"), &fields);
    assert_eq!(left_out, 0);
    let of_ssl = [&[SSL][..], &(value.len() as u16).to_be_bytes(), &value].concat();
    let has_it = |fields: &[u8]| fields.windows(of_ssl.len()).any(|part| part == of_ssl);
    assert!(has_it(read(&header).fields) && has_it(&read_by_other(&header).1));
}
