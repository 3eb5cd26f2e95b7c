//! The first two messages of a TLS handshake, as far as a check needs them (RFC 8446, 4.1), of a
//! server with which clients do theirs through the gateway.
//!
//! The ClientHello offers TLS 1.2 and 1.3 and no key share, which asks for the server's choice of a
//! group: an answer in either version is a ServerHello, and nothing has to be computed. A
//! server that gives one has a certificate and a thread for the handshake.

use super::answer::Verdict;

/// Types of records, and of the message that answers a ClientHello.
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const SERVER_HELLO: u8 = 2;
/// The first byte of every version of a record from SSL 3.0 on.
const VERSION: u8 = 3;
/// Bytes before what a record carries.
const RECORD_HEADER_BYTES: usize = 5;

/// Of TLS 1.3, then of 1.2 with forward secrecy, then with RSA.
const CIPHER_SUITES: [u16; 11] =
    [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0x009c, 0x009d];
/// X25519MLKEM768, x25519, secp256r1, secp384r1, secp521r1, x448.
const GROUPS: [u16; 6] = [0x11ec, 0x001d, 0x0017, 0x0018, 0x0019, 0x001e];
/// ECDSA, Ed25519, RSA-PSS and RSA, with SHA-256 to SHA-512.
const SIGNATURES: [u16; 9] =
    [0x0403, 0x0503, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601];
const VERSIONS: [u16; 2] = [0x0304, 0x0303];

/// A ClientHello in one record. Its random is no secret: no key comes of it.
pub(super) fn client_hello() -> Vec<u8> {
    let extensions = [
        extension(10, &sized::<2>(&numbers(&GROUPS))),
        extension(11, &[1, 0]),
        extension(13, &sized::<2>(&numbers(&SIGNATURES))),
        extension(43, &sized::<1>(&numbers(&VERSIONS))),
        // No key share, and no renegotiation.
        extension(51, &[0, 0]),
        extension(0xff01, &[0]),
    ];
    let hello = [
        &[VERSION, 3][..],
        &[0x50; 32],
        &sized::<1>(&[]),
        &sized::<2>(&numbers(&CIPHER_SUITES)),
        &sized::<1>(&[0]),
        &sized::<2>(&extensions.concat()),
    ];
    let message = [&[1][..], &sized::<3>(&hello.concat())].concat();
    [&[HANDSHAKE, VERSION, 1][..], &sized::<2>(&message)].concat()
}

/// What a server's answer comes to.
pub(super) fn judge(answer: &[u8]) -> Verdict {
    let body = answer.get(RECORD_HEADER_BYTES..).unwrap_or_default();
    match (answer.first(), answer.get(1), body) {
        (None, ..) | (Some(&(HANDSHAKE | ALERT)), None, _) => Verdict::More,
        (Some(&HANDSHAKE), Some(&VERSION), []) => Verdict::More,
        (Some(&HANDSHAKE), Some(&VERSION), [SERVER_HELLO, ..]) => Verdict::Passed,
        (Some(&ALERT), Some(&VERSION), [] | [_]) => Verdict::More,
        (Some(&ALERT), Some(&VERSION), [_, alert, ..]) => {
            Verdict::Failed(format!("TLS alert {alert} in answer to a ClientHello"))
        }
        _ => Verdict::Other,
    }
}

fn numbers(all: &[u16]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Bytes behind their number, which takes `N` bytes.
fn sized<const N: usize>(bytes: &[u8]) -> Vec<u8> {
    let count = (bytes.len() as u32).to_be_bytes();
    [&count[4 - N..], bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized::<2>(body)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_of_a_hello_is_of_what_follows_it() {
        let hello = client_hello();
        let record = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        let message = usize::from(u16::from_be_bytes([hello[7], hello[8]]));
        assert_eq!((record + 5, message + 9), (hello.len(), hello.len()));
        let suites = 9 + 2 + 32 + 1;
        assert_eq!(hello[suites..suites + 2], [0, 2 * CIPHER_SUITES.len() as u8]);
        let mut rest = &hello[suites + 2 + 2 * CIPHER_SUITES.len() + 2..];
        assert_eq!(usize::from(u16::from_be_bytes([rest[0], rest[1]])), rest.len() - 2);
        rest = &rest[2..];
        let mut kinds = Vec::new();
        while let [high, low, most, least, body @ ..] = rest {
            kinds.push(u16::from_be_bytes([*high, *low]));
            rest = &body[usize::from(u16::from_be_bytes([*most, *least]))..];
        }
        assert_eq!((kinds, rest.len()), (vec![10, 11, 13, 43, 51, 0xff01], 0));
    }

    #[test]
    fn a_server_hello_passes_and_an_alert_does_not_however_they_are_cut() {
        let (hello, alert) = ([22, 3, 3, 0, 9, 2, 0, 0, 5], [21, 3, 3, 0, 2, 2, 40]);
        for end in 0..hello.len() {
            let expected = if end > 5 { Verdict::Passed } else { Verdict::More };
            assert_eq!(judge(&hello[..end]), expected, "{end} bytes");
        }
        for end in 0..alert.len() {
            assert_eq!(judge(&alert[..end]), Verdict::More, "{end} bytes");
        }
        let words = "TLS alert 40 in answer to a ClientHello".to_owned();
        assert_eq!(judge(&alert), Verdict::Failed(words));
        for other in [&b"HTTP/1.1 400"[..], &[22, 2], &[22, 3, 3, 0, 9, 1], &[0x80, 2]] {
            assert_eq!(judge(other), Verdict::Other, "{other:?}");
        }
    }
}
