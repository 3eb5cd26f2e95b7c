//! Records of TLS, opened and sealed where they lie.
//!
//! A record is checked as RFC 8446, 5 has it; in TLS 1.2 as RFC 5246, 6.2 does, with RFC 5288 and
//! RFC 7905. Nothing is allocated but when keys are expanded.

use std::ops::Range;

use super::fault::{Alert, Fault};
use super::keys::{Awake, Key, TAG_BYTES};
use super::session::{EMPTIES_MAX, Partial, SEQUENCE_MAX, Secrets, Session, UPDATES_MAX, mark};

/// Bytes of a record in front of what is sealed: type, version, length.
const HEADER: usize = 5;
/// Bytes of data in a record, at most.
pub const PLAIN_MAX: usize = 1 << 14;
/// Bytes that TLS 1.3 allows a record's sealed part beyond the data.
const EXPANSION_MAX: usize = 256;
/// Bytes of the longest record that is taken.
pub const RECORD_MAX: usize = HEADER + PLAIN_MAX + EXPANSION_MAX;
/// The message KeyUpdate that asks for none in return (RFC 8446, 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// Bytes of room in front of data that is sealed: a KeyUpdate, and a header. TLS 1.2 needs 13.
pub const HEAD_BYTES: usize = HEADER + KEY_UPDATE.len() + TAIL_BYTES + HEADER;
/// Bytes of room behind it: its type in TLS 1.3, and the tag.
pub const TAIL_BYTES: usize = 1 + TAG_BYTES;
/// Bytes between the data of two records, at most: with an explicit nonce.
const GAP_MAX: usize = TAIL_BYTES + HEADER + 8;
/// Bytes of an alert as a record, at most: with an explicit nonce.
pub const ALERT_BYTES: usize = HEADER + 8 + 2 + TAG_BYTES;

/// Types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// Types of handshake messages.
const NEW_SESSION_TICKET: u8 = 4;
const UPDATE: u8 = 24;
/// Bytes of a handshake message's type and length.
const MESSAGE_HEAD: usize = 4;
/// Levels of alerts.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// Bytes of room behind data that is sealed in as many records as it takes.
pub fn tail_bytes(plain_bytes: usize) -> usize {
    TAIL_BYTES + (plain_bytes.div_ceil(PLAIN_MAX) - 1) * GAP_MAX
}

/// What was in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Data, at least a byte: where it lies in the record.
    Data(Range<usize>),
    /// Nothing for the other side.
    Nothing,
    /// The peer says that it sends no more.
    Closed,
}

impl<S: Secrets + ?Sized> Session<S> {
    /// Bytes of the record that begins here with its header, or how the header is wrong. `None`:
    /// fewer bytes are there than a header has.
    pub fn record_bytes(&self, input: &[u8]) -> Result<Option<usize>, Fault> {
        let Some(&[kind, major, _, high, low]) = input.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        // The version means nothing but that this is TLS, and the tag covers it.
        if !(CHANGE_CIPHER_SPEC..=DATA).contains(&kind) || major != 3 {
            return Err(Fault::NotRecord);
        }
        let explicit_bytes = self.suite().explicit_bytes();
        let (is_known, sealed_max) = match self.is_tls13() {
            true => (kind == DATA, PLAIN_MAX + EXPANSION_MAX),
            false => (kind != CHANGE_CIPHER_SPEC, explicit_bytes + PLAIN_MAX + TAG_BYTES),
        };
        let sealed_bytes = usize::from(u16::from_be_bytes([high, low]));
        match is_known {
            false => Err(Fault::Unexpected),
            true if sealed_bytes > sealed_max => Err(Fault::Oversize),
            true => Ok(Some(HEADER + sealed_bytes)),
        }
    }

    /// Opens in place the one record that `record` is. After a fault the session can only say the
    /// alert of it.
    ///
    /// # Panics
    ///
    /// If `record` is shorter or longer than its header says.
    pub fn open(&mut self, awake: &mut Awake, record: &mut [u8]) -> Result<Opened, Fault> {
        let bytes = self.record_bytes(record)?;
        assert_eq!(bytes, Some(record.len()), "one whole record");
        if self.is_closed_by_peer() {
            return Ok(Opened::Closed); // RFC 8446, 6.1
        }
        let (kind, plain) = self.decrypt(awake, record)?;
        if kind != HANDSHAKE && self.partial != Partial::None {
            return Err(Fault::Unexpected); // nothing comes amid a message (RFC 8446, 5.1)
        }
        let message = &record[plain.clone()];
        match kind {
            DATA if message.is_empty() => self.carried_nothing(),
            DATA => {
                (self.updates, self.empties) = (0, 0);
                Ok(Opened::Data(plain))
            }
            ALERT => self.alerted(message),
            HANDSHAKE if !self.is_tls13() => Err(Fault::Renegotiation),
            HANDSHAKE if !message.is_empty() => self.handshake(awake, message),
            _ => Err(Fault::Unexpected),
        }
    }

    /// The type of what is in a record, and where it lies.
    fn decrypt(
        &mut self,
        awake: &mut Awake,
        record: &mut [u8],
    ) -> Result<(u8, Range<usize>), Fault> {
        let (suite, sequence) = (self.suite(), self.read_sequence);
        if sequence >= SEQUENCE_MAX {
            return Err(Fault::Exhausted);
        }
        let (header, sealed) = record.split_first_chunk_mut::<HEADER>().expect("checked");
        let start = HEADER + suite.explicit_bytes();
        let (explicit, sealed) =
            sealed.split_at_mut_checked(suite.explicit_bytes()).ok_or(Fault::Forged)?;
        let plain_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(Fault::Forged)?;
        let about = About::new(self.is_tls13(), header, sequence, plain_bytes);
        let key = awake.read.get_or_insert_with(|| Key::of(suite, self.read_secret()));
        let nonce = match explicit.is_empty() {
            true => key.nonce(sequence),
            false => key.nonce_with(explicit),
        };
        key.open(nonce, about.bytes(), sealed).ok_or(Fault::Forged)?;
        self.read_sequence += 1;
        if !self.is_tls13() {
            return Ok((header[0], start..start + plain_bytes));
        }
        if plain_bytes > PLAIN_MAX + 1 {
            return Err(Fault::Oversize);
        }
        // The type is the last byte that is not of the padding.
        let padded = &sealed[..plain_bytes];
        let end = padded.iter().rposition(|byte| *byte != 0).ok_or(Fault::Unexpected)?;
        Ok((padded[end], start..start + end))
    }

    fn carried_nothing(&mut self) -> Result<Opened, Fault> {
        self.empties += 1;
        if self.empties > EMPTIES_MAX { Err(Fault::EmptyFlood) } else { Ok(Opened::Nothing) }
    }

    /// An alert is a record of its own.
    fn alerted(&mut self, message: &[u8]) -> Result<Opened, Fault> {
        let &[level, code] = message else {
            return Err(if message.is_empty() { Fault::Unexpected } else { Fault::Malformed });
        };
        let (alert, is_warning) = (Alert(code), level == WARNING);
        match alert {
            _ if !is_warning && level != FATAL => Err(Fault::Illegal),
            Alert::CLOSE_NOTIFY => {
                self.set(mark::PEER_CLOSED, true);
                Ok(Opened::Closed)
            }
            // TLS 1.3 knows no warnings (RFC 8446, 6).
            Alert::USER_CANCELED if is_warning => self.carried_nothing(),
            _ if is_warning && !self.is_tls13() => self.carried_nothing(),
            _ => Err(Fault::Alerted(alert)),
        }
    }

    /// Messages after the handshake, whole and in parts: tickets, and a KeyUpdate behind which the
    /// record must end (RFC 8446, 5.1).
    fn handshake(&mut self, awake: &mut Awake, mut message: &[u8]) -> Result<Opened, Fault> {
        while !message.is_empty() {
            match self.partial {
                Partial::None if message[0] == UPDATE => self.partial = Partial::Update(0),
                Partial::Update(got) => {
                    self.update(awake, got.into(), message)?;
                    break;
                }
                Partial::None if message[0] != NEW_SESSION_TICKET || !self.has(mark::CLIENT) => {
                    return Err(Fault::Unexpected);
                }
                Partial::None => self.partial = Partial::Head(0, 0),
                Partial::Head(got, third) => {
                    let (byte, rest) = message.split_first().expect("it is not empty");
                    message = rest;
                    self.partial = match usize::from(got) + 1 {
                        // Three bytes of length, the first of which is 0 in what is taken.
                        2 if *byte != 0 => return Err(Fault::Malformed),
                        3 => Partial::Head(3, *byte),
                        MESSAGE_HEAD => Partial::body(u16::from_be_bytes([third, *byte])),
                        _ => Partial::Head(got + 1, 0),
                    };
                }
                Partial::Body(left) => {
                    let left = usize::from(u16::from_be_bytes(left));
                    let skipped = left.min(message.len());
                    message = &message[skipped..];
                    self.partial = Partial::body((left - skipped) as u16);
                }
            }
        }
        Ok(Opened::Nothing)
    }

    /// More of a KeyUpdate. Behind the whole of it the peer goes on with its next key, and it may
    /// ask us to.
    fn update(&mut self, awake: &mut Awake, got: usize, message: &[u8]) -> Result<(), Fault> {
        let head = &KEY_UPDATE[got..MESSAGE_HEAD];
        if head.iter().zip(message).any(|(right, byte)| right != byte) {
            return Err(Fault::Malformed);
        }
        let asks = match message.get(head.len()..).unwrap_or_default() {
            [] => {
                self.partial = Partial::Update((got + message.len()) as u8);
                return Ok(());
            }
            [0] => false,
            [1] => true,
            [_] => return Err(Fault::Illegal),
            // A message behind it has the wrong key.
            _ => return Err(Fault::Unexpected),
        };
        self.partial = Partial::None;
        if self.updates == UPDATES_MAX {
            return Err(Fault::UpdateFlood);
        }
        self.updates += 1;
        self.step_read();
        awake.read = None;
        if asks {
            self.set(mark::OWES_UPDATE, true);
        }
        Ok(())
    }

    /// Seals `memory[plain]` in place as a record of data, and says where the sealed bytes lie. In
    /// front of it, in the same range, is a KeyUpdate where one is owed: the peer has asked for it,
    /// or the key has sealed as many records as it may.
    ///
    /// # Panics
    ///
    /// If there is no byte or more than 16,384, or there are fewer than [`HEAD_BYTES`] before them
    /// or [`TAIL_BYTES`] behind; if the session [is closed](Session::is_closed).
    pub fn seal(
        &mut self,
        awake: &mut Awake,
        memory: &mut [u8],
        plain: Range<usize>,
    ) -> Range<usize> {
        assert!((1..=PLAIN_MAX).contains(&plain.len()), "{} bytes in a record", plain.len());
        let has_room = plain.start >= HEAD_BYTES && plain.end + TAIL_BYTES <= memory.len();
        assert!(has_room, "{plain:?} in {} bytes", memory.len());
        assert!(!self.is_closed(), "data behind close_notify");
        self.updates = 0;
        let mut start = None;
        if self.is_tls13() && self.is_update_due() {
            let end = plain.start - HEADER - TAIL_BYTES;
            let message = end - KEY_UPDATE.len()..end;
            memory[message.clone()].copy_from_slice(&KEY_UPDATE);
            start = Some(self.encrypt(awake, memory, message, HANDSHAKE).start);
            self.step_write();
            awake.write = None;
            self.set(mark::OWES_UPDATE, false);
        }
        let sealed = self.encrypt(awake, memory, plain, DATA);
        start.unwrap_or(sealed.start)..sealed.end
    }

    /// Seals `memory[plain]` as [`Session::seal`] does, in as many records as it takes, without a
    /// gap between them: says where they lie, and how much of the data is in them. That is less
    /// than all where a KeyUpdate belongs between two of them.
    ///
    /// # Panics
    ///
    /// As [`Session::seal`]; the room behind is [`tail_bytes`].
    pub fn seal_all(
        &mut self,
        awake: &mut Awake,
        memory: &mut [u8],
        plain: Range<usize>,
    ) -> (Range<usize>, usize) {
        let has_room = plain.end + tail_bytes(plain.len()) <= memory.len();
        assert!(has_room, "{plain:?} in {} bytes", memory.len());
        let gap = HEADER + self.suite().explicit_bytes() + TAG_BYTES + usize::from(self.is_tls13());
        let piece = |number: usize| {
            let start = plain.start + number * PLAIN_MAX;
            start..plain.end.min(start + PLAIN_MAX)
        };
        let count = plain.len().div_ceil(PLAIN_MAX);
        for number in (1..count).rev() {
            memory.copy_within(piece(number), piece(number).start + number * gap);
        }
        let mut sealed = self.seal(awake, memory, piece(0));
        for number in 1..count {
            if self.is_update_due() {
                return (sealed, number * PLAIN_MAX);
            }
            let at = piece(number).start + number * gap..piece(number).end + number * gap;
            sealed.end = self.encrypt(awake, memory, at, DATA).end;
        }
        (sealed, plain.len())
    }

    /// Whether [`Session::seal_all`] seals so many bytes in one go.
    pub fn seals_all(&self, plain_bytes: usize) -> bool {
        let others = (plain_bytes.div_ceil(PLAIN_MAX) as u64).saturating_sub(1);
        others == 0 || !self.is_worn_by(others)
    }

    /// Whether a KeyUpdate goes before the next record. In TLS 1.2 there is none.
    fn is_update_due(&self) -> bool {
        self.has(mark::OWES_UPDATE) || self.is_worn()
    }

    /// Writes an alert as a record at the front of `memory`, and says how many bytes it has: 0 if
    /// the session is closed already. With close_notify or a fatal alert it is.
    ///
    /// # Panics
    ///
    /// If there are fewer than [`ALERT_BYTES`].
    pub fn alert(&mut self, awake: &mut Awake, memory: &mut [u8], alert: Alert) -> usize {
        if self.is_closed() {
            return 0;
        }
        let is_warning = matches!(alert, Alert::CLOSE_NOTIFY | Alert::NO_RENEGOTIATION);
        let start = HEADER + self.suite().explicit_bytes();
        let message = start..start + 2;
        let level = if is_warning { WARNING } else { FATAL };
        memory[message.clone()].copy_from_slice(&[level, alert.0]);
        self.set(mark::CLOSED, true);
        self.encrypt(awake, memory, message, ALERT).end
    }

    /// Seals `memory[plain]` as a record of this type: says where it lies.
    fn encrypt(
        &mut self,
        awake: &mut Awake,
        memory: &mut [u8],
        plain: Range<usize>,
        kind: u8,
    ) -> Range<usize> {
        let (suite, sequence, is_tls13) = (self.suite(), self.write_sequence, self.is_tls13());
        assert!(sequence < SEQUENCE_MAX, "{self:?}");
        let start = plain.start - suite.explicit_bytes() - HEADER;
        // The type of TLS 1.3 is sealed behind the data.
        let text_end = plain.end + usize::from(is_tls13);
        let end = text_end + TAG_BYTES;
        let outer = if is_tls13 { DATA } else { kind };
        if is_tls13 {
            memory[plain.end] = kind;
        }
        let (front, rest) = memory[start..end].split_at_mut(plain.start - start);
        let (text, tag) = rest.split_at_mut(text_end - plain.start);
        let (header, explicit) = front.split_first_chunk_mut::<HEADER>().expect("it is longer");
        let sealed_bytes = (end - start - HEADER) as u16; // at most what a record has
        let [high, low] = sealed_bytes.to_be_bytes();
        *header = [outer, 3, 3, high, low];
        let key = awake.write.get_or_insert_with(|| Key::of(suite, self.write_secret()));
        let nonce = key.nonce(sequence);
        // As rustls has it: no nonce of the handshake comes again.
        explicit.copy_from_slice(&nonce[nonce.len() - explicit.len()..]);
        let about = About::new(is_tls13, header, sequence, text.len());
        key.seal(nonce, about.bytes(), text, tag);
        self.write_sequence += 1;
        start..end
    }
}

impl Partial {
    /// So many bytes of one are still to come.
    fn body(left: u16) -> Partial {
        if left == 0 { Partial::None } else { Partial::Body(left.to_be_bytes()) }
    }
}

/// What the tag covers beside what is sealed.
struct About {
    bytes: [u8; 8 + HEADER],
    start: usize,
}

impl About {
    /// The header (RFC 8446, 5.2); in TLS 1.2 the sequence number, and the header with the length
    /// of the plain text (RFC 5246, 6.2.3.3).
    fn new(is_tls13: bool, header: &[u8; HEADER], sequence: u64, plain_bytes: usize) -> About {
        let mut bytes = [0; 8 + HEADER];
        let (before, behind) = bytes.split_at_mut(8);
        behind.copy_from_slice(header);
        if is_tls13 {
            return About { bytes, start: 8 };
        }
        before.copy_from_slice(&sequence.to_be_bytes());
        behind[3..].copy_from_slice(&(plain_bytes as u16).to_be_bytes()); // less than the header's
        About { bytes, start: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}
