//! A PROXY header of version 1: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Decoded, Ends, Facts, lacking};
use crate::base::PreambleFault;

const BEGIN: &[u8] = b"PROXY ";
/// Bytes of the longest line, its end included.
const LINE_MAX: usize = 107;

pub(super) fn decode(bytes: &[u8]) -> Decoded<Facts<'_>> {
    const BAD: Decoded<Facts<'_>> = Decoded::Bad(PreambleFault::BadLine);
    match lacking(bytes, BEGIN) {
        // The shortest line has a word and an end behind its begin.
        Some(0) => {}
        Some(more) => return Decoded::More(more + b"UNKNOWN\r\n".len()),
        None => return Decoded::NotMine,
    }
    let line = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if line.len() < LINE_MAX - 1 { Decoded::More(2) } else { BAD };
    };
    match line[end..] {
        [b'\r'] if line.len() < LINE_MAX => Decoded::More(1),
        [b'\r', b'\n', ..] => match facts(&line[BEGIN.len()..end]) {
            Some(ends) => Decoded::Done { used: end + 2, facts: Facts { ends, fields: &[] } },
            None => BAD,
        },
        _ => BAD,
    }
}

/// What stands between the begin and the end of the line; `None`: it is not as it must be.
fn facts(line: &[u8]) -> Option<Option<Ends>> {
    // Whatever follows UNKNOWN is to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let mut next = || words.next();
    let ends = match next()? {
        "TCP4" => ends::<Ipv4Addr>([next()?, next()?, next()?, next()?]),
        "TCP6" => ends::<Ipv6Addr>([next()?, next()?, next()?, next()?]),
        _ => None,
    }?;
    next().is_none().then_some(Some(ends))
}

fn ends<I: FromStr + Into<IpAddr>>([from, to, from_port, to_port]: [&str; 4]) -> Option<Ends> {
    let ip = |word: &str| Some(word.parse::<I>().ok()?.into().to_canonical());
    Some(Ends {
        source: SocketAddr::new(ip(from)?, port(from_port)?),
        destination: SocketAddr::new(ip(to)?, port(to_port)?),
    })
}

/// A decimal without a sign, and without zeros in front of it.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = word == "0" || !word.starts_with('0');
    (is_plain && is_short).then(|| word.parse().ok()).flatten()
}
