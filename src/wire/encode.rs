//! PROXY headers for servers: whose connection it is that the gateway forwards.
//!
//! Each is appended to what the caller has, and nothing is allocated where that has
//! [`HEADER_MAX`](super::HEADER_MAX) bytes of room.

use std::io::Write;
use std::net::IpAddr;

use super::Ends;
use super::proxy_v2::{CHECKSUM, FIELDS_MAX, HEAD, SIGNATURE, crc32c};

/// Bytes of a unique id, at most (the PROXY protocol, 2.2.5).
pub const UNIQUE_ID_MAX: usize = 128;

/// Version 2 with the command LOCAL, and with PROXY.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// TCP over either family; no family is 0.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Types of fields that a gateway has values for.
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
/// Types of the fields in its value.
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_CLIENT_CERT: u8 = 0x28;
/// Bits of its first byte: the client speaks TLS; it has shown a certificate in this connection;
/// it has in this session.
const CLIENT_SSL: u8 = 1;
const CLIENT_CERT_CONN: u8 = 1 << 1;
const CLIENT_CERT_SESS: u8 = 1 << 2;
/// Bytes of a certificate that fits beside all other fields. One with an RSA key of 4,096 bits has
/// about 2,000.
pub const DER_MAX: usize = 3072;
/// A type, and a length in two bytes.
const FIELD_HEAD: usize = 3;
/// Bytes of the field with a checksum.
const CHECKSUM_FIELD: usize = FIELD_HEAD + 4;

/// What a header of version 2 says behind the addresses, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// The application protocol that the client and the gateway agreed on.
    pub alpn: Option<&'a [u8]>,
    /// The name that the client asked for.
    pub authority: Option<&'a [u8]>,
    /// What tells the connection from all others: at most [`UNIQUE_ID_MAX`] bytes.
    pub unique_id: Option<&'a [u8]>,
    /// How the client speaks TLS to the gateway: the value as [`proxy_ssl`] makes it.
    pub ssl: Option<&'a [u8]>,
    /// The fields of the header by which the client came, as [`Facts`](super::Facts) has them.
    /// They go on byte by byte, but for a checksum, and for fields of a type that has another
    /// value above.
    pub received: &'a [u8],
    /// Whether a checksum (CRC-32C) of the whole header is the last of them.
    pub checksum: bool,
}

/// How a client speaks TLS to the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Ssl<'a> {
    /// The version, as in "TLSv1.3".
    pub version: &'a str,
    /// The cipher suite, as OpenSSL names it.
    pub cipher: &'a str,
    /// The certificate that the client has shown, which holds; `None`: it has shown none.
    pub certificate: Option<Certificate<'a>>,
}

/// A client's certificate.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The common name of its subject.
    pub common_name: Option<&'a str>,
    /// The certificate itself, where the server is to get it.
    pub der: Option<&'a [u8]>,
    /// It was shown in an earlier connection, whose session was resumed.
    pub is_earlier: bool,
}

/// Appends the value of [`Fields::ssl`] (the PROXY protocol, 2.2.6):
///
/// ```text
/// client 1 | verify 4 | a type 1, a length 2 and a value, again and again
/// ```
///
/// `verify` is 0 where there is a certificate, as one that does not hold ends its handshake. A
/// certificate of more than [`DER_MAX`] bytes is left out.
pub fn proxy_ssl(ssl: &Ssl<'_>, value: &mut Vec<u8>) {
    let Ssl { version, cipher, certificate } = ssl;
    let shown = certificate.map_or(0, |certificate| match certificate.is_earlier {
        true => CLIENT_CERT_SESS,
        false => CLIENT_CERT_SESS | CLIENT_CERT_CONN,
    });
    value.push(CLIENT_SSL | shown);
    value.extend_from_slice(&u32::from(certificate.is_none()).to_be_bytes());
    let common_name = certificate.and_then(|it| it.common_name).map(str::as_bytes);
    let der = certificate.and_then(|it| it.der).filter(|der| der.len() <= DER_MAX);
    let parts = [
        (SSL_VERSION, Some(version.as_bytes())),
        (SSL_CN, common_name),
        (SSL_CIPHER, Some(cipher.as_bytes())),
        (SSL_CLIENT_CERT, der),
    ];
    for (kind, part) in parts {
        if let Some(part) = part {
            append_field(kind, part, value);
        }
    }
}

/// Appends a header of version 1, a line.
pub fn proxy_line(ends: Ends, header: &mut Vec<u8>) {
    let (source, destination) = (ends.source, ends.destination);
    let (word, from, to) = match one_family(ends) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", IpAddr::V4(from), IpAddr::V4(to)),
        (from, to) => ("TCP6", from, to),
    };
    let (from_port, to_port) = (source.port(), destination.port());
    write!(header, "PROXY {word} {from} {to} {from_port} {to_port}\r\n")
        .expect("memory takes all of it");
}

/// Appends a header of version 2, and says how many fields are not in it.
///
/// There are never more than 4 KiB of fields, so that a decoder of this kind takes them and the
/// header has at most [`HEADER_MAX`](super::HEADER_MAX) bytes. A field that does not fit behind
/// those before it is left out whole, and shorter ones behind it may still be there. The checksum
/// always is.
///
/// # Panics
///
/// If the unique id is longer than [`UNIQUE_ID_MAX`].
pub fn proxy_binary(ends: Ends, fields: &Fields<'_>, header: &mut Vec<u8>) -> usize {
    assert!(fields.unique_id.is_none_or(|id| id.len() <= UNIQUE_ID_MAX), "an id has a bound");
    let start = header.len();
    let addresses = one_family(ends);
    let family = if addresses.0.is_ipv4() { TCP4 } else { TCP6 };
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&[PROXY, family, 0, 0]);
    for ip in [addresses.0, addresses.1] {
        match ip {
            IpAddr::V4(ip) => header.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => header.extend_from_slice(&ip.octets()),
        }
    }
    header.extend_from_slice(&ends.source.port().to_be_bytes());
    header.extend_from_slice(&ends.destination.port().to_be_bytes());
    let left_out = append_fields(fields, header);
    if fields.checksum {
        header.extend_from_slice(&[CHECKSUM, 0, 4, 0, 0, 0, 0]);
    }
    let length = header.len() - start - HEAD;
    let length = u16::try_from(length).expect("addresses and 4 KiB of fields");
    header[start + HEAD - 2..start + HEAD].copy_from_slice(&length.to_be_bytes());
    if fields.checksum {
        let sum = crc32c([&header[start..]]).to_be_bytes();
        let place = header.len() - sum.len();
        header[place..].copy_from_slice(&sum);
    }
    left_out
}

/// Appends a header of version 2 for a connection of the gateway's own, as that of a check.
pub fn proxy_local(header: &mut Vec<u8>) {
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&[LOCAL, 0, 0, 0]);
}

/// Two addresses of one family: IPv4 if both are, also as IPv6 maps it; else IPv6.
fn one_family(ends: Ends) -> (IpAddr, IpAddr) {
    let canonical = [ends.source, ends.destination].map(|end| end.ip().to_canonical());
    match canonical {
        [IpAddr::V4(from), IpAddr::V6(to)] => (from.to_ipv6_mapped().into(), to.into()),
        [IpAddr::V6(from), IpAddr::V4(to)] => (from.into(), to.to_ipv6_mapped().into()),
        [from, to] => (from, to),
    }
}

/// Appends all but the checksum, for which room is left. Says how many do not fit.
fn append_fields(fields: &Fields<'_>, header: &mut Vec<u8>) -> usize {
    let most = FIELDS_MAX - if fields.checksum { CHECKSUM_FIELD } else { 0 };
    let end = header.len() + most;
    let own = [
        (ALPN, fields.alpn),
        (AUTHORITY, fields.authority),
        (UNIQUE_ID, fields.unique_id),
        (SSL, fields.ssl),
    ];
    let is_own = |kind: u8| own.iter().any(|(own, value)| *own == kind && value.is_some());
    let received = each(fields.received).filter(|(kind, _)| *kind != CHECKSUM && !is_own(*kind));
    let own = own.into_iter().filter_map(|(kind, value)| Some((kind, value?)));
    let mut left_out = 0;
    for (kind, value) in own.chain(received) {
        if header.len() + FIELD_HEAD + value.len() > end {
            left_out += 1;
            continue;
        }
        append_field(kind, value, header);
    }
    left_out
}

fn append_field(kind: u8, value: &[u8], header: &mut Vec<u8>) {
    let [high, low] = u16::try_from(value.len()).expect("it fits").to_be_bytes();
    header.extend_from_slice(&[kind, high, low]);
    header.extend_from_slice(value);
}

/// The fields in these bytes, up to one that is not whole.
fn each(mut fields: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([kind, high, low], behind) = fields.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = behind.split_at_checked(length)?;
        fields = rest;
        Some((*kind, value))
    })
}
