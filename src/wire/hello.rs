//! A TLS ClientHello, as far as it chooses a server: the name and the protocols that it asks for.
//!
//! It lies in one record or in several, cut at any byte (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3; RFC
//! 7301, 3.1). Versions, suites and all other extensions are the server's to judge.

use std::borrow::Cow;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::Decoded;
use crate::base::PreambleFault;

/// Bytes of the longest hello that is taken, with the headers of its records.
pub const HELLO_MAX: usize = HEAD + BODY_MAX + RECORDS_MAX * RECORD_HEAD;

/// A type, a version, and a length in two bytes.
const RECORD_HEAD: usize = 5;
/// Bytes that a record carries, at most.
const RECORD_MAX: usize = 1 << 14;
const RECORDS_MAX: usize = 64;
/// The type of a record with messages of the handshake.
const HANDSHAKE: u8 = 22;
/// The first byte of every version of a record from SSL 3.0 on.
const MAJOR: u8 = 3;

/// Of a message: a type, and a length in three bytes.
const HEAD: usize = 4;
const BODY_MAX: usize = 1 << 14;
/// A version, a random, no session, one suite, one compression.
const BODY_MIN: usize = 2 + RANDOM + 1 + (2 + 2) + (1 + 1);
const CLIENT_HELLO: u8 = 1;
const RANDOM: usize = 32;
const SESSION_MAX: usize = 32;

/// Types of extensions.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// The one type of name that a server can have.
const HOST_NAME: u16 = 0;
/// Bytes of a name in the domain name system; a dot may follow.
pub(super) const NAME_MAX: usize = 253;

/// What a ClientHello asks for.
///
/// The name is the one that stands there for all to see: with ECH, it is that of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    message: Cow<'a, [u8]>,
    /// Where the name and the list of protocols lie in it; empty where there are none.
    name: Range<usize>,
    protocols: Range<usize>,
}

impl Hello<'_> {
    /// The name of the server, as it was sent: 1 to 254 visible ASCII characters.
    pub fn server_name(&self) -> Option<&str> {
        let name = std::str::from_utf8(&self.message[self.name.clone()]).expect("it is ASCII");
        (!name.is_empty()).then_some(name)
    }

    /// The protocols that the client offers (ALPN), each 1 to 255 bytes, the one that it likes
    /// best first.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let Range { start, end } = self.protocols;
        let mut list = Parts { message: &self.message, at: start, end };
        std::iter::from_fn(move || list.sized::<1>().map(|protocol| protocol.bytes()))
    }
}

/// Judges the first bytes of a connection as a TLS ClientHello.
///
/// A server needs all of it, so nothing of it is the gateway's alone: `used` is 0. What lies in one
/// record is judged where it lies; only the parts of one in several are copied together.
///
/// Bytes that begin no TLS record are [`Decoded::NotMine`] at the first that shows it. A begin
/// that no ClientHello has is [`PreambleFault::BadHello`]: an empty record, another record or
/// message in between, bytes behind it in its last record, more than 16 KiB of it or 64 records,
/// a length that ends past what holds it, two names or two lists of protocols, a name that is not
/// 1 to 253 visible ASCII characters with or without a dot at the end.
pub fn client_hello(bytes: &[u8]) -> Decoded<Hello<'_>> {
    if !matches!(bytes, [] | [HANDSHAKE] | [HANDSHAKE, MAJOR, ..]) {
        return Decoded::NotMine;
    }
    let hello = match message_bytes(bytes) {
        Ok(message_bytes) => Hello::of(message(bytes, message_bytes)),
        Err(Stop::More(more)) => return Decoded::More(more),
        Err(Stop::Bad) => None,
    };
    match hello {
        Some(facts) => Decoded::Done { used: 0, facts },
        None => Decoded::Bad(PreambleFault::BadHello),
    }
}

/// Why a message is not all there.
enum Stop {
    /// So many bytes are missing, at least.
    More(usize),
    Bad,
}

/// How long the message is whose records are all there.
fn message_bytes(bytes: &[u8]) -> Result<usize, Stop> {
    let mut rest = bytes;
    let mut head = ArrayVec::<u8, HEAD>::new();
    // As far as it is known.
    let mut wanted = HEAD + BODY_MIN;
    let mut there = 0;
    for _ in 0..RECORDS_MAX {
        let Some(length) = record_bytes(rest)? else {
            return Err(Stop::More(RECORD_HEAD - rest.len() + wanted - there));
        };
        let carried = &rest[RECORD_HEAD..];
        let carried = &carried[..carried.len().min(length)];
        head.extend(carried.iter().copied().take(head.remaining_capacity()));
        if head.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Stop::Bad);
        }
        there += carried.len();
        let left = length - carried.len();
        if let [_, high, middle, low] = head[..] {
            let body = u32::from_be_bytes([0, high, middle, low]) as usize;
            wanted = HEAD + body;
            if !(BODY_MIN..=BODY_MAX).contains(&body) || there + left > wanted {
                return Err(Stop::Bad);
            }
        }
        match (left, wanted - there) {
            (0, 0) => return Ok(wanted),
            (0, _) => {}
            (left, missing) if missing > left => return Err(Stop::More(missing + RECORD_HEAD)),
            (left, _) => return Err(Stop::More(left)),
        }
        rest = &rest[RECORD_HEAD + length..];
    }
    Err(Stop::Bad)
}

/// How many bytes the record carries that begins here; `None`: its head is not all there.
fn record_bytes(bytes: &[u8]) -> Result<Option<usize>, Stop> {
    match *bytes {
        [] | [HANDSHAKE] | [HANDSHAKE, MAJOR] => Ok(None),
        [HANDSHAKE, MAJOR, _] | [HANDSHAKE, MAJOR, _, _] => Ok(None),
        [HANDSHAKE, MAJOR, _, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if (1..=RECORD_MAX).contains(&length) { Ok(Some(length)) } else { Err(Stop::Bad) }
        }
        _ => Err(Stop::Bad),
    }
}

/// A message of so many bytes whose records are all there.
fn message(bytes: &[u8], message_bytes: usize) -> Cow<'_, [u8]> {
    let carried = |rest: &[u8]| RECORD_HEAD + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
    let first = carried(bytes);
    if first == RECORD_HEAD + message_bytes {
        return Cow::Borrowed(&bytes[RECORD_HEAD..first]);
    }
    let mut message = Vec::with_capacity(message_bytes);
    let mut rest = bytes;
    while message.len() < message_bytes {
        let (record, behind) = rest.split_at(carried(rest));
        message.extend_from_slice(&record[RECORD_HEAD..]);
        rest = behind;
    }
    Cow::Owned(message)
}

impl<'a> Hello<'a> {
    /// What a message says; `None`: it is not as it must be.
    fn of(message: Cow<'a, [u8]>) -> Option<Hello<'a>> {
        let mut body = Parts { message: &message, at: HEAD, end: message.len() };
        body.skip(2 + RANDOM)?;
        let sessions = body.sized::<1>()?.bytes().len();
        let suites = body.sized::<2>()?.bytes().len();
        let compressions = body.sized::<1>()?.bytes().len();
        if sessions > SESSION_MAX || suites == 0 || suites % 2 != 0 || compressions == 0 {
            return None;
        }
        // Clients of SSL 3.0 send none.
        let mut extensions = if body.is_empty() { body } else { body.all::<2>()? };
        let (mut name, mut protocols) = (None, None);
        while !extensions.is_empty() {
            let kind = extensions.number::<2>()?;
            let extension = extensions.sized::<2>()?;
            let (place, found) = match kind {
                SERVER_NAME => (&mut name, host_name(extension)?),
                ALPN => (&mut protocols, protocol_list(extension)?),
                _ => continue,
            };
            if place.replace(found).is_some() {
                return None;
            }
        }
        let (name, protocols) = (name.unwrap_or_default(), protocols.unwrap_or_default());
        Some(Hello { message, name, protocols })
    }
}

/// Where the name is; empty: there are names of other types only.
fn host_name(mut extension: Parts<'_>) -> Option<Range<usize>> {
    let mut list = extension.all::<2>().filter(|list| !list.is_empty())?;
    let mut name = None;
    while !list.is_empty() {
        let kind = list.number::<1>()?;
        // Other types, too, have a length first.
        let value = list.sized::<2>()?;
        if kind == HOST_NAME && (!is_name(value.bytes()) || name.replace(value).is_some()) {
            return None;
        }
    }
    Some(name.map_or(0..0, |name| name.at..name.end))
}

fn is_name(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    (1..=NAME_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// Where the protocols are, each behind its length.
fn protocol_list(mut extension: Parts<'_>) -> Option<Range<usize>> {
    let list = extension.all::<2>().filter(|list| !list.is_empty())?;
    let mut left = list;
    while !left.is_empty() {
        left.sized::<1>().filter(|protocol| !protocol.is_empty())?;
    }
    Some(list.at..list.end)
}

/// What is left of a part of a message.
#[derive(Clone, Copy)]
struct Parts<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Parts<'a> {
    fn bytes(self) -> &'a [u8] {
        &self.message[self.at..self.end]
    }

    fn is_empty(self) -> bool {
        self.at == self.end
    }

    /// Goes past so many bytes, and says where they begin.
    fn skip(&mut self, bytes: usize) -> Option<usize> {
        let begin = self.at;
        self.at = begin.checked_add(bytes).filter(|at| *at <= self.end)?;
        Some(begin)
    }

    /// The number in the next bytes.
    fn number<const BYTES: usize>(&mut self) -> Option<u16> {
        let begin = self.skip(BYTES)?;
        let bytes = &self.message[begin..self.at];
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u16::from(*byte)))
    }

    /// The next part, behind its length in so many bytes.
    fn sized<const BYTES: usize>(&mut self) -> Option<Parts<'a>> {
        let length = usize::from(self.number::<BYTES>()?);
        let at = self.skip(length)?;
        Some(Parts { message: self.message, at, end: self.at })
    }

    /// The next part, if nothing follows it.
    fn all<const BYTES: usize>(&mut self) -> Option<Parts<'a>> {
        self.sized::<BYTES>().filter(|_| self.is_empty())
    }
}
