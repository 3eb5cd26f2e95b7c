//! The record of a connection, field by field.

use crate::base::{BySide, Side};

/// Bytes of a record as this version writes it.
pub const RECORD_BYTES: usize = 64;
/// Bits of the flags that a reader has to know, and those of them that this version knows.
const MUST_UNDERSTAND: u16 = 0xff00;
const UNDERSTOOD: u16 = 0;
/// Bits of the lanes that this version knows.
const LANES: u8 = 0xf | Record::TWO_SOCKETS;

/// One connection: all that a worker knows of it and its sockets do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// [`Record::PROBED`] and the others; the high byte holds those that a reader must understand.
    pub flags: u16,
    /// [`Record::PAIR`] or another.
    pub wiring: u8,
    /// [`Record::finished`], [`Record::in_hand`], [`Record::TWO_SOCKETS`].
    pub lanes: u8,
    /// The route, by its number in the predecessor.
    pub route: u16,
    /// The server, likewise; [`Record::NO_SERVER`]: it has none.
    pub server: u16,
    /// The predecessor's slot, by which the connection has its flag and is answered.
    pub slot: u32,
    /// When the client came: microseconds of `CLOCK_MONOTONIC`, as the other times.
    pub opened_us: u64,
    /// When bytes moved last, in milliseconds.
    pub active_ms: u64,
    /// Since when a peer has owed an answer, in milliseconds; 0: none does.
    pub waits_since_ms: u64,
    /// Bytes that each side has sent.
    pub moved_bytes: BySide<i64>,
    /// How long the connect to the server took.
    pub connect_us: u32,
}

impl Record {
    /// Flag: the kernel probes a silent server.
    pub const PROBED: u16 = 1;
    /// Flag: the client has sent a byte.
    pub const SPOKE: u16 = 1 << 1;
    /// Flag: the server's end came before the client's.
    pub const SERVER_ENDED_FIRST: u16 = 1 << 2;
    /// Flag: it has a unique id.
    pub const HAS_UNIQUE_ID: u16 = 1 << 3;
    /// Wiring: a client and a server.
    pub const PAIR: u8 = 0;
    /// Wiring: the client gets back what it sends.
    pub const ECHO: u8 = 1;
    /// Wiring: what the client sends is dropped.
    pub const DISCARD: u8 = 2;
    /// Wiring: the client is held, and nothing is read.
    pub const HOLD: u8 = 3;
    /// Wiring: none so far. The client has no server yet, and enters as one that was just accepted;
    /// its bytes in hand are what it has said. It goes to a process alone that has said that it
    /// takes such clients.
    pub const UNSERVED: u8 = 4;
    /// Lanes: the server's socket comes with the client's. It is set where the wiring is a pair,
    /// and says of a wiring that the reader does not know how many descriptors are the record's.
    pub const TWO_SOCKETS: u8 = 1 << 4;
    /// Instead of the number of a server.
    pub const NO_SERVER: u16 = 0xffff;

    /// The bit of `lanes` that says that this side's direction is finished: its end was passed on.
    pub const fn finished(side: Side) -> u8 {
        1 << side as u8
    }

    /// The bit of `lanes` that says that bytes of this side wait to be sent to the other.
    pub const fn in_hand(side: Side) -> u8 {
        4 << side as u8
    }

    /// Whether a gateway of this version knows all that it has to know to take the connection. If
    /// not, the others of the batch are taken without it; its bytes in hand and its extras are not
    /// read.
    pub fn is_understood(&self) -> bool {
        let unknown_flags = self.flags & MUST_UNDERSTAND & !UNDERSTOOD;
        unknown_flags == 0 && self.wiring <= Record::UNSERVED && self.lanes & !LANES == 0
    }

    /// How many descriptors come with it: the client's, and the server's behind it.
    pub fn sockets(&self) -> usize {
        let is_two = self.wiring == Record::PAIR || self.lanes & Record::TWO_SOCKETS != 0;
        1 + usize::from(is_two)
    }

    pub(super) fn to_bytes(self, in_hand_bytes: u32, extra_bytes: u32) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let mut rest = &mut bytes[..];
        put(&mut rest, self.flags.to_le_bytes());
        put(&mut rest, [self.wiring, self.lanes]);
        put(&mut rest, self.route.to_le_bytes());
        put(&mut rest, self.server.to_le_bytes());
        put(&mut rest, self.slot.to_le_bytes());
        put(&mut rest, self.opened_us.to_le_bytes());
        put(&mut rest, self.active_ms.to_le_bytes());
        put(&mut rest, self.waits_since_ms.to_le_bytes());
        put(&mut rest, self.moved_bytes[Side::Client].to_le_bytes());
        put(&mut rest, self.moved_bytes[Side::Upstream].to_le_bytes());
        put(&mut rest, self.connect_us.to_le_bytes());
        put(&mut rest, in_hand_bytes.to_le_bytes());
        put(&mut rest, extra_bytes.to_le_bytes());
        assert!(rest.is_empty(), "all fields are a record");
        bytes
    }

    /// A record, and the lengths of what is in hand and of the extras.
    pub(super) fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> (Record, u32, u32) {
        let mut rest = &bytes[..];
        let rest = &mut rest;
        let record = Record {
            flags: u16::from_le_bytes(get(rest)),
            wiring: u8::from_le_bytes(get(rest)),
            lanes: u8::from_le_bytes(get(rest)),
            route: u16::from_le_bytes(get(rest)),
            server: u16::from_le_bytes(get(rest)),
            slot: u32::from_le_bytes(get(rest)),
            opened_us: u64::from_le_bytes(get(rest)),
            active_ms: u64::from_le_bytes(get(rest)),
            waits_since_ms: u64::from_le_bytes(get(rest)),
            moved_bytes: BySide([i64::from_le_bytes(get(rest)), i64::from_le_bytes(get(rest))]),
            connect_us: u32::from_le_bytes(get(rest)),
        };
        (record, u32::from_le_bytes(get(rest)), u32::from_le_bytes(get(rest)))
    }
}

fn put<const N: usize>(rest: &mut &mut [u8], field: [u8; N]) {
    let (place, behind) = std::mem::take(rest).split_first_chunk_mut().expect("room for it");
    *place = field;
    *rest = behind;
}

fn get<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (field, behind) = rest.split_first_chunk().expect("a record is whole");
    *rest = behind;
    *field
}
