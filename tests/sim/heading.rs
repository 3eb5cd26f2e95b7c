//! What a peer gets before the bytes of its source: a server a header, whole and right, or none,
//! and what it is asked; a client what it is answered.

use portcullis::config::{Forwarding, SendProxy, Tlv};
use portcullis::wire::{Decoded, Ends, SSL_REQUEST, proxy_header};

/// The types of the fields that a header may have, the last of them one that clients came with.
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
pub const RECEIVED: u8 = 0xE0;

/// What a server may get before its client's bytes.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Whether that is a header; `None`: it may be one, as a change came while the client was read.
    pub is_headed: Option<bool>,
    /// How it may be made.
    pub ways: Vec<Forwarding>,
    /// Whose connection it is about.
    pub ends: Option<Ends>,
    /// The gateway may have been told no addresses.
    pub may_lack: bool,
    /// The value of the field that the header had with which its client came.
    pub field: Option<Vec<u8>>,
    /// The name that its client has asked for.
    pub name: Option<String>,
    /// It is asked for TLS.
    pub is_asked: bool,
}

/// The begin of the bytes to a server.
#[derive(Debug, Default)]
pub struct Heading {
    expected: Expected,
    /// What may follow it.
    words: Words,
    /// What came of it.
    bytes: Vec<u8>,
    state: State,
    /// In how many pieces it came.
    pub pieces: u32,
    /// Client's bytes came in one piece with its last.
    pub is_joined: bool,
    /// It says of no addresses.
    pub is_unknown: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing came, or not all of it.
    #[default]
    Begun,
    /// It is there.
    Whole,
    /// There is none.
    Absent,
}

/// The gateway's words to a peer that is not joined.
#[derive(Debug, Default)]
struct Words {
    all: Vec<u8>,
    came: usize,
}

impl Words {
    fn take(&mut self, piece: &[u8]) {
        let due = &self.all[self.came..];
        assert!(due.starts_with(piece), "{piece:?} before the join, {due:?} is due");
        self.came += piece.len();
    }
}

impl Heading {
    /// Of the bytes to a client that may get these words first.
    pub fn answering(all: Vec<u8>) -> Heading {
        Heading { words: Words { all, came: 0 }, ..Heading::none() }
    }

    /// Of the bytes to a peer that gets none.
    pub fn none() -> Heading {
        Heading::new(Expected { is_headed: Some(false), ..Expected::default() })
    }

    pub fn new(expected: Expected) -> Heading {
        let all = if expected.is_asked { SSL_REQUEST.to_vec() } else { Vec::new() };
        Heading { expected, words: Words { all, came: 0 }, ..Heading::default() }
    }

    /// Bytes that are the gateway's own.
    pub fn own_bytes(&self) -> u64 {
        (self.bytes.len() + self.words.came) as u64
    }

    /// How many of the words came.
    pub fn words_came(&self) -> u64 {
        self.words.came as u64
    }

    /// None will follow.
    pub fn end_words(&mut self) {
        self.words.all.truncate(self.words.came);
    }

    /// Its server is asked for TLS.
    pub fn has_request(&self) -> bool {
        self.expected.is_asked
    }

    pub fn is_request_whole(&self) -> bool {
        self.expected.is_asked && self.words.came == self.words.all.len()
    }

    /// A header is due, and not a byte of it came.
    pub fn is_due(&self) -> bool {
        self.expected.is_headed == Some(true) && self.bytes.is_empty()
    }

    /// Some of it came, and not all.
    pub fn is_cut(&self) -> bool {
        self.state == State::Begun && !self.bytes.is_empty()
    }

    pub fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Takes the next bytes to its peer: those of a header, and no others before these; before the
    /// join then words.
    pub fn feed(&mut self, piece: &[u8], is_joined: bool) {
        let behind = self.feed_header(piece);
        if !is_joined {
            self.words.take(&behind);
        }
    }

    /// Says what is behind the header, or not one.
    fn feed_header(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.state != State::Begun || self.expected.is_headed == Some(false) {
            return piece.to_vec();
        }
        let before = self.bytes.len();
        self.pieces += 1;
        self.bytes.extend(piece);
        match proxy_header(&self.bytes) {
            Decoded::More(_) => Vec::new(),
            Decoded::Done { used, facts } => {
                let (ends, fields) = (facts.ends, facts.fields.to_vec());
                assert!(used > before, "a server's header came before");
                self.is_joined = used < self.bytes.len();
                let behind = self.bytes.split_off(used);
                self.state = State::Whole;
                self.check(ends, &fields);
                behind
            }
            other => {
                let is_due = self.expected.is_headed.is_some();
                assert!(!is_due, "a server has no header: {other:?} of {:?}", self.bytes);
                self.state = State::Absent;
                std::mem::take(&mut self.bytes)
            }
        }
    }

    fn check(&mut self, ends: Option<Ends>, fields: &[u8]) {
        let Expected { ways, ends: own, may_lack, .. } = &self.expected;
        self.is_unknown = ends.is_none();
        let is_right = ends == *own || ends.is_none() && *may_lack;
        assert!(is_right, "the header of a server says {ends:?}, it is {own:?}");
        let version = if self.bytes.starts_with(b"PROXY") { SendProxy::V1 } else { SendProxy::V2 };
        let mut ways = ways.iter().filter(|way| way.send_proxy == version);
        let is_it = |way: &Forwarding| ends.is_none() || self.has_fields(way, fields);
        assert!(ways.any(is_it), "the header of a server has {fields:?}: {:?}", self.expected);
    }

    /// Whether these are the fields of a header that is made so.
    fn has_fields(&self, way: &Forwarding, fields: &[u8]) -> bool {
        let Expected { field, name, .. } = &self.expected;
        let asks = |tlv: Tlv| way.send_proxy_tlvs.contains(&tlv);
        let received = field.as_deref().filter(|_| asks(Tlv::Received));
        let name = name.as_deref().filter(|_| asks(Tlv::Authority)).map(str::as_bytes);
        let fields = each(fields);
        let of = |kind: u8| fields.iter().find(|(one, _)| *one == kind).map(|(_, value)| *value);
        let added = [(Tlv::Crc32c, CRC32C), (Tlv::UniqueId, UNIQUE_ID)];
        let mut added = added.into_iter().map(|(tlv, kind)| (asks(tlv), of(kind).is_some()));
        let count = fields.iter().filter(|(kind, _)| [CRC32C, UNIQUE_ID].contains(kind)).count();
        let others = usize::from(received.is_some()) + usize::from(name.is_some());
        let is_all = fields.len() == count + others;
        is_all
            && added.all(|(asked, found)| asked == found)
            && of(RECEIVED) == received
            && of(AUTHORITY) == name
    }

    /// The number by which no other connection is known, if it has one.
    pub fn unique_id(&self) -> Option<Vec<u8>> {
        let Decoded::Done { facts, .. } = proxy_header(&self.bytes) else { return None };
        let found = each(facts.fields).into_iter().find(|(kind, _)| *kind == UNIQUE_ID);
        found.map(|(_, value)| value.to_vec())
    }
}

/// The fields, each a type, a length in two bytes, and a value.
fn each(mut fields: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let [kind, high, low, rest @ ..] = fields {
        let (value, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        all.push((*kind, value));
        fields = after;
    }
    all
}
