//! Received bytes of a session that the other side has not got yet.

use std::ops::Range;

use super::fault::Fault;
use super::keys::Awake;
use super::record::Opened;
use super::session::Session;

/// How a pass over records ended before the first that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer has said close_notify. What follows it is nobody's.
    Closed,
    /// A record is wrong.
    Fault(Fault),
}

/// What a pass over records came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// Where their data lies, without a gap: that of the first record is where it was.
    pub(super) plain: Range<usize>,
    /// Of the records that were opened.
    pub(super) used_bytes: usize,
    pub(super) end: Option<End>,
}

/// Opens in place every whole record that `memory` begins with.
pub(super) fn open_all(session: &mut Session<[u8]>, awake: &mut Awake, memory: &mut [u8]) -> Pass {
    let mut pass = Pass { plain: 0..0, used_bytes: 0, end: None };
    while pass.end.is_none() {
        let used_bytes = pass.used_bytes;
        let record = match session.record_bytes(&memory[used_bytes..]) {
            Ok(Some(length)) if used_bytes + length <= memory.len() => {
                used_bytes..used_bytes + length
            }
            Ok(_) => break,
            Err(fault) => {
                pass.end = Some(End::Fault(fault));
                break;
            }
        };
        match session.open(awake, &mut memory[record.clone()]) {
            Ok(Opened::Data(data)) => {
                let data = used_bytes + data.start..used_bytes + data.end;
                if pass.plain.is_empty() {
                    pass.plain = data;
                } else {
                    let behind = pass.plain.end;
                    pass.plain.end += data.len();
                    memory.copy_within(data, behind);
                }
            }
            Ok(Opened::Nothing) => {}
            Ok(Opened::Closed) => pass.end = Some(End::Closed),
            Err(fault) => pass.end = Some(End::Fault(fault)),
        }
        pass.used_bytes = record.end;
    }
    pass
}

/// Bytes in memory of exactly their size: data that has no buffer yet, then records, of which the
/// last may be cut.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// Data.
    plain: Range<usize>,
    /// Where the records begin.
    from: usize,
}

impl Gathered {
    /// Data and the records behind it, as another process had them.
    pub(super) fn of(data: &[u8], records: &[u8]) -> Gathered {
        let from = data.len();
        Gathered { bytes: [data, records].concat(), plain: 0..from, from }
    }

    /// The data, and the records behind it.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.bytes[self.plain.clone()], &self.bytes[self.from..])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Data that can be handed on.
    pub(super) fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// More was received.
    pub(super) fn push(&mut self, received: &[u8]) {
        self.bytes.reserve_exact(received.len());
        self.bytes.extend_from_slice(received);
    }

    /// Opens what is whole, unless data of an earlier pass is still here.
    pub(super) fn open(&mut self, session: &mut Session<[u8]>, awake: &mut Awake) -> Option<End> {
        if !self.plain.is_empty() || self.is_empty() {
            return None;
        }
        let pass = open_all(session, awake, &mut self.bytes[self.from..]);
        self.plain = self.from + pass.plain.start..self.from + pass.plain.end;
        self.from += pass.used_bytes;
        if pass.end.is_some() {
            self.bytes.truncate(self.from);
        }
        if self.plain.is_empty() {
            self.settle();
        }
        pass.end
    }

    /// Hands data on, as much as fits.
    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let bytes = self.plain.len().min(into.len());
        let piece = self.plain.start..self.plain.start + bytes;
        into[..bytes].copy_from_slice(&self.bytes[piece]);
        self.plain.start += bytes;
        if self.plain.is_empty() {
            self.settle();
        }
        bytes
    }

    /// Keeps no more than the record that is cut.
    fn settle(&mut self) {
        self.bytes.drain(..self.from);
        self.bytes.shrink_to_fit();
        (self.plain, self.from) = (0..0, 0);
    }
}
