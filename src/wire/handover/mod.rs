//! What workers of two processes say to each other about the connections that one hands to the
//! other.
//!
//! All numbers are little-endian. A message begins with its kind:
//!
//! ```text
//! Batch  1 | records 1 | number 4 | records times: record, in hand, extras    predecessor's
//! Taken  2 | number 4 | taken 8                                                successor's
//! Ended  3 | slots 2 | slots times: slot 4                                     successor's
//! ```
//!
//! A batch that is too long for a message travels in pieces (`pieces.rs`).
//!
//! A record is [`Record`], in its order, and two lengths:
//!
//! ```text
//! flags 2 | wiring 1 | lanes 1 | route 2 | server 2 | slot 4 | opened 8 | active 8 | waits 8 |
//! moved 8, 8 | connect 4 | in hand 4 | extras 4
//! ```
//!
//! A field never changes its meaning. A later version adds fields behind these and says in its
//! hello how long its records are; an earlier one's are shorter, and what they lack is 0. What a
//! reader must know to take a connection at all has a bit in the high byte of the flags.

mod extra;
mod pieces;
mod reader;
mod record;

pub use extra::{Extra, SecuredSide, TlsFacts};
pub use pieces::{Pieces, in_pieces};
pub use reader::Bad;
pub use record::{RECORD_BYTES, Record};

use crate::base::{BySide, Side};
use reader::Reader;

/// Records of a batch, at most. With two sockets each they are few enough for one message, and the
/// peers of a connection that moves wait for no more than this many others.
pub const MAX_RECORDS: usize = 32;
/// Bytes of a message, at most: what a socket takes whose send buffer has the kernel's default of
/// 208 KiB (`net.core.wmem_default`).
pub const MESSAGE_MAX: usize = 160 << 10;
/// Bytes of a batch in pieces, at most. Two full pipes are the half of it.
pub const LONG_MAX: usize = 4 << 20;
/// Slots that one message says have ended, at most.
pub const ENDED_MAX: usize = 4096;

/// Lengths of a record that are read: the shortest has a slot, by which it is answered.
const RECORD_MIN: usize = 12;
const RECORD_MAX: usize = 1024;
const BATCH: u8 = 1;
const TAKEN: u8 = 2;
const ENDED: u8 = 3;
const PIECE: u8 = 4;
const BATCH_HEAD: usize = 6;
/// A kind and a length.
const EXTRA_HEAD: usize = 5;
/// Two lengths, where a lane has bytes in hand.
const IN_HAND_HEAD: usize = 8;

/// A connection on its way, without its sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// What is known of it. Its bits for bytes in hand and for two sockets need not be set.
    pub record: Record,
    /// Bytes of each side that were received and wait to be sent to the other.
    pub in_hand: BySide<Vec<u8>>,
    /// More about it, by kind. A process that does not know a kind does not take the connection.
    pub extras: Vec<Extra>,
}

impl Departure {
    /// Extra: the client's address as a PROXY header said it, 4 or 16 bytes and the port.
    pub const ADDRESSES: u8 = 1;
    /// Extra: the session of TLS with the client.
    pub const CLIENT_SESSION: u8 = 2;
    /// Extra: the session of TLS with the server.
    pub const SERVER_SESSION: u8 = 3;
    /// Extra: what is known of a client that speaks TLS: names, protocol.
    pub const TLS_FACTS: u8 = 4;
    /// Extra: the source that it counts for.
    pub const SOURCE: u8 = 5;
    /// Extra: the unique id by which its server knows it, 16 bytes.
    pub const UNIQUE_ID: u8 = 6;
    /// Extra: how far a client had come that has no server yet, as one byte.
    pub const STAND: u8 = 7;
    /// Extra: the header that its server is to get before its bytes.
    pub const HEADER: u8 = 8;

    /// Whether it can travel: a batch has room for it.
    pub fn can_travel(&self) -> bool {
        BATCH_HEAD + self.bytes() <= LONG_MAX
    }

    /// Bytes that it takes in a batch.
    pub fn bytes(&self) -> usize {
        RECORD_BYTES + self.in_hand_bytes() + self.extra_bytes()
    }

    fn in_hand_bytes(&self) -> usize {
        match self.in_hand.0.iter().map(Vec::len).sum() {
            0 => 0,
            bytes => IN_HAND_HEAD + bytes,
        }
    }

    fn extra_bytes(&self) -> usize {
        self.extras.iter().map(|extra| EXTRA_HEAD + extra.bytes.len()).sum()
    }

    /// The record with all bits that follow from the rest.
    fn whole_record(&self) -> Record {
        let mut record = self.record;
        for side in Side::BOTH {
            record.lanes &= !Record::in_hand(side);
            if !self.in_hand[side].is_empty() {
                record.lanes |= Record::in_hand(side);
            }
        }
        if record.wiring == Record::PAIR {
            record.lanes |= Record::TWO_SOCKETS;
        }
        record
    }

    fn encode(&self, record_bytes: usize, into: &mut Vec<u8>) {
        let (in_hand, extras) = (length(self.in_hand_bytes()), length(self.extra_bytes()));
        let is_plain = in_hand == 0 && extras == 0;
        assert!(is_plain || record_bytes >= RECORD_BYTES, "a short record has no lengths");
        let end = into.len() + record_bytes;
        let record = self.whole_record().to_bytes(in_hand, extras);
        into.extend_from_slice(&record[..record_bytes.min(RECORD_BYTES)]);
        into.resize(end, 0);
        if in_hand > 0 {
            for side in Side::BOTH {
                into.extend_from_slice(&length(self.in_hand[side].len()).to_le_bytes());
            }
            for side in Side::BOTH {
                into.extend_from_slice(&self.in_hand[side]);
            }
        }
        for Extra { kind, bytes } in &self.extras {
            into.push(*kind);
            into.extend_from_slice(&length(bytes.len()).to_le_bytes());
            into.extend_from_slice(bytes);
        }
    }

    fn decode(reader: &mut Reader<'_>, record_bytes: usize) -> Result<Departure, Bad> {
        let start = reader.at();
        let written = reader.take(record_bytes, "record")?;
        let mut bytes = [0; RECORD_BYTES];
        let known = record_bytes.min(RECORD_BYTES);
        bytes[..known].copy_from_slice(&written[..known]);
        let (record, in_hand_bytes, extra_bytes) = Record::from_bytes(&bytes);
        let mut in_hand = reader.part(in_hand_bytes, "bytes in hand")?;
        let mut extras = reader.part(extra_bytes, "extras")?;
        let mut departure = Departure { record, ..Departure::default() };
        if record.is_understood() {
            if (record.wiring == Record::PAIR) != (record.lanes & Record::TWO_SOCKETS != 0) {
                return Err(Bad::Sockets { at: start });
            }
            departure.in_hand = read_in_hand(&record, &mut in_hand)?;
            while extras.left() > 0 {
                let kind = extras.number::<1>("kind of an extra")?[0];
                let bytes = u32::from_le_bytes(extras.number("length of an extra")?);
                let bytes = extras.take(bytes as usize, "extra")?.to_vec();
                departure.extras.push(Extra::new(kind, bytes));
            }
        }
        Ok(departure)
    }
}

fn read_in_hand(record: &Record, reader: &mut Reader<'_>) -> Result<BySide<Vec<u8>>, Bad> {
    let at = reader.at();
    let has = |side| record.lanes & Record::in_hand(side) != 0;
    let mut in_hand = BySide::<Vec<u8>>::default();
    if Side::BOTH.into_iter().any(has) {
        let mut bytes = BySide([0; 2]);
        for side in Side::BOTH {
            bytes[side] = u32::from_le_bytes(reader.number("length of bytes in hand")?) as usize;
        }
        for side in Side::BOTH {
            in_hand[side] = reader.take(bytes[side], "bytes in hand")?.to_vec();
        }
    }
    let agree = Side::BOTH.into_iter().all(|side| has(side) != in_hand[side].is_empty());
    if agree && reader.left() == 0 { Ok(in_hand) } else { Err(Bad::InHand { at }) }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("less than a message")
}

/// Connections that travel together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// By which it is answered.
    pub number: u32,
    /// [`MAX_RECORDS`] at most. Their sockets travel in the same order.
    pub records: Vec<Departure>,
}

impl Batch {
    /// Whether one more fits in. One that is too long for a message travels alone, in pieces.
    pub fn has_room_for(&self, departure: &Departure) -> bool {
        let bytes: usize = self.records.iter().map(Departure::bytes).sum();
        let is_first = self.records.is_empty();
        let fits = is_first || BATCH_HEAD + bytes + departure.bytes() <= MESSAGE_MAX;
        fits && self.records.len() < MAX_RECORDS
    }

    /// Appends the message. `record_bytes` is what the hello said: [`RECORD_BYTES`], but for tests
    /// that write as another version does.
    ///
    /// # Panics
    ///
    /// If it has more than it has room for, or something in hand and short records.
    pub fn encode(&self, record_bytes: usize, into: &mut Vec<u8>) {
        assert!(self.records.len() <= MAX_RECORDS, "a batch has a bound");
        assert!((RECORD_MIN..=RECORD_MAX).contains(&record_bytes), "a record has bounds");
        let start = into.len();
        // A vector that grows leaves secrets behind.
        let bytes: usize = self.records.iter().map(Departure::bytes).sum();
        into.reserve_exact(BATCH_HEAD + bytes);
        into.extend_from_slice(&[BATCH, self.records.len() as u8]);
        into.extend_from_slice(&self.number.to_le_bytes());
        for departure in &self.records {
            departure.encode(record_bytes, into);
        }
        assert!(into.len() - start <= LONG_MAX, "a batch has a bound");
    }
}

/// Which of a batch the successor took; the others stay where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The batch.
    pub number: u32,
    /// A bit for each of its records, the first one's the lowest.
    pub taken: u64,
}

impl Taken {
    /// Appends the message.
    pub fn encode(&self, into: &mut Vec<u8>) {
        into.push(TAKEN);
        into.extend_from_slice(&self.number.to_le_bytes());
        into.extend_from_slice(&self.taken.to_le_bytes());
    }
}

/// Connections that have ended in the successor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Their slots in the predecessor: [`ENDED_MAX`] at most.
    pub slots: Vec<u32>,
}

impl Ended {
    /// Appends the message.
    ///
    /// # Panics
    ///
    /// If there are too many.
    pub fn encode(&self, into: &mut Vec<u8>) {
        assert!(self.slots.len() <= ENDED_MAX, "a message has a bound");
        into.push(ENDED);
        into.extend_from_slice(&(self.slots.len() as u16).to_le_bytes());
        self.slots.iter().for_each(|slot| into.extend_from_slice(&slot.to_le_bytes()));
    }
}

/// What one worker says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Connections.
    Batch(Batch),
    /// The answer to it.
    Taken(Taken),
    /// News of connections that were taken.
    Ended(Ended),
}

impl Message {
    /// Appends the message.
    ///
    /// # Panics
    ///
    /// As [`Batch::encode`] and [`Ended::encode`].
    pub fn encode(&self, record_bytes: usize, into: &mut Vec<u8>) {
        match self {
            Message::Batch(batch) => batch.encode(record_bytes, into),
            Message::Taken(taken) => taken.encode(into),
            Message::Ended(ended) => ended.encode(into),
        }
    }

    /// Reads a message, which may have come in pieces, whose sender's records have this many bytes.
    ///
    /// # Errors
    ///
    /// Where it is not as this version or a later one writes it. A record that is not understood is
    /// no error.
    pub fn decode(bytes: &[u8], record_bytes: usize) -> Result<Message, Bad> {
        if bytes.len() > LONG_MAX {
            return Err(Bad::Long { bytes: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let message = match reader.number("kind")? {
            [BATCH] => Message::Batch(batch(&mut reader, record_bytes)?),
            [TAKEN] => Message::Taken(Taken {
                number: u32::from_le_bytes(reader.number("number of a batch")?),
                taken: u64::from_le_bytes(reader.number("what is taken")?),
            }),
            [ENDED] => Message::Ended(ended(&mut reader)?),
            [kind] => return Err(Bad::Kind { kind }),
        };
        match reader.left() {
            0 => Ok(message),
            bytes => Err(Bad::Tail { at: reader.at(), bytes }),
        }
    }
}

fn batch(reader: &mut Reader<'_>, record_bytes: usize) -> Result<Batch, Bad> {
    if !(RECORD_MIN..=RECORD_MAX).contains(&record_bytes) {
        return Err(Bad::RecordBytes { bytes: record_bytes });
    }
    let [count] = reader.number("count of records")?;
    let count = bounded(count.into(), MAX_RECORDS)?;
    let number = u32::from_le_bytes(reader.number("number of a batch")?);
    let records = (0..count).map(|_| Departure::decode(reader, record_bytes));
    Ok(Batch { number, records: records.collect::<Result<_, _>>()? })
}

fn ended(reader: &mut Reader<'_>) -> Result<Ended, Bad> {
    let count = u16::from_le_bytes(reader.number("count of slots")?);
    let count = bounded(count.into(), ENDED_MAX)?;
    let slots = (0..count).map(|_| Ok(u32::from_le_bytes(reader.number("slot")?)));
    Ok(Ended { slots: slots.collect::<Result<_, _>>()? })
}

fn bounded(count: usize, most: usize) -> Result<usize, Bad> {
    if count <= most { Ok(count) } else { Err(Bad::Count { count, most }) }
}
