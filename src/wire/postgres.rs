//! How a PostgreSQL client begins: it asks for encryption, or it does not.
//!
//! The messages are those of the PostgreSQL documentation, "Message Formats": a length in four
//! bytes, its own included, and a code in four.

use std::ops::RangeInclusive;

use super::Decoded;
use crate::base::PreambleFault;

/// A length and a code.
const REQUEST: usize = 8;
/// Bytes of the longest message that a server takes at first (`MAX_STARTUP_PACKET_LENGTH`).
const LENGTH_MAX: u32 = 10_000;

/// Codes of requests: a number that is no version, and a number of its own.
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
/// Versions of the protocol by which sessions begin: their upper half.
const VERSIONS: RangeInclusive<u32> = 2..=3;
/// What a client sends that asks for TLS: the gateway sends it to a server in its place.
pub const SSL_REQUEST: [u8; REQUEST] = *b"\0\0\0\x08\x04\xd2\x16\x2f";

/// The first byte of a TLS record with a ClientHello.
const HANDSHAKE: u8 = 22;

/// How a client of PostgreSQL begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresStart {
    /// It asks for TLS, and waits: `S` lets it send its ClientHello, `N` refuses.
    SslRequest,
    /// It asks for encryption by GSSAPI, and waits: `N` lets it ask for TLS, or begin without.
    GssRequest,
    /// It sends its ClientHello at once, as it may from PostgreSQL 17 on.
    Hello,
    /// It begins in plain text, to speak with the server or to cancel what it does.
    Plain,
}

/// Judges the first bytes of a connection as those of a PostgreSQL client, and after an answer to
/// a request the bytes that follow the request.
///
/// The eight bytes of a request for encryption are the gateway's; of all else, `used` is 0.
///
/// A client must have its answer before it says more: bytes behind a request are
/// [`PreambleFault::EarlyBytes`], lest they be taken for a part of what is encrypted
/// (CVE-2021-23222). So that more bytes do change this one answer, it is to be asked for with all
/// that came, right before the gateway answers.
pub fn postgres(bytes: &[u8]) -> Decoded<PostgresStart> {
    match *bytes {
        [] => Decoded::More(1),
        [HANDSHAKE, ..] => Decoded::Done { used: 0, facts: PostgresStart::Hello },
        [a, b, c, d, e, f, g, h, ref behind @ ..] => {
            let length = u32::from_be_bytes([a, b, c, d]);
            let code = u32::from_be_bytes([e, f, g, h]);
            let is_request = length as usize == REQUEST;
            match code {
                SSL if is_request => request(PostgresStart::SslRequest, behind),
                GSS if is_request => request(PostgresStart::GssRequest, behind),
                _ if is_plain(length, code) => {
                    Decoded::Done { used: 0, facts: PostgresStart::Plain }
                }
                _ => Decoded::NotMine,
            }
        }
        ref begin if is_begin(begin) => Decoded::More(REQUEST - begin.len()),
        _ => Decoded::NotMine,
    }
}

fn request(facts: PostgresStart, behind: &[u8]) -> Decoded<PostgresStart> {
    match behind {
        [] => Decoded::Done { used: REQUEST, facts },
        _ => Decoded::Bad(PreambleFault::EarlyBytes),
    }
}

/// Whether this is the begin of a session, or of a cancel with a process and its key.
fn is_plain(length: u32, code: u32) -> bool {
    match code {
        CANCEL => (13..=LENGTH_MAX).contains(&length),
        code => VERSIONS.contains(&(code >> 16)) && (9..=LENGTH_MAX).contains(&length),
    }
}

/// Whether fewer bytes than a length and a code can become both.
fn is_begin(bytes: &[u8]) -> bool {
    let is_length = bytes.iter().take(2).all(|byte| *byte == 0);
    let is_code = match bytes.get(4..) {
        Some([first, second, ..]) => {
            let half = u32::from(u16::from_be_bytes([*first, *second]));
            VERSIONS.contains(&half) || half == SSL >> 16
        }
        Some([first]) => *first == 0 || u32::from(*first) == SSL >> 24,
        _ => true,
    };
    is_length && is_code
}
