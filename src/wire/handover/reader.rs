//! A place in a message, and what is wrong there.

use std::fmt;

/// What is wrong with a message, and where: a place is its distance from the begin in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It is over in the middle of something.
    Short {
        /// What is cut off.
        field: &'static str,
        /// Where that begins.
        at: usize,
        /// Bytes that it lacks.
        lacks: usize,
    },
    /// It is longer than a message may be.
    Long {
        /// Its bytes.
        bytes: usize,
    },
    /// It comes between the pieces of another.
    Between {
        /// What has come of that.
        bytes: usize,
    },
    /// It goes on behind its end.
    Tail {
        /// Where it should end.
        at: usize,
        /// Bytes behind that.
        bytes: usize,
    },
    /// Its kind is none that there is.
    Kind {
        /// The first byte.
        kind: u8,
    },
    /// It has more of something than it may have.
    Count {
        /// So many.
        count: usize,
        /// So many may be there.
        most: usize,
    },
    /// Records of this length cannot be.
    RecordBytes {
        /// What the hello said.
        bytes: usize,
    },
    /// The wiring of a record says another count of sockets than its lanes.
    Sockets {
        /// Where the record begins.
        at: usize,
    },
    /// Bytes in hand are not as many as their lengths say, or as the lanes of their record say.
    InHand {
        /// Where they begin.
        at: usize,
    },
    /// Sealed records wait without data, or data without records, or too much of it.
    Waits {
        /// Where that is said.
        at: usize,
    },
    /// A name is no text.
    Name {
        /// Where it begins.
        at: usize,
    },
}

impl fmt::Display for Bad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Short { field, at, lacks } => {
                write!(out, "{field} at byte {at}: {lacks} bytes are missing")
            }
            Bad::Long { bytes } => write!(out, "a message of {bytes} bytes is too long"),
            Bad::Between { bytes } => {
                write!(out, "another message, where {bytes} bytes of one have come in pieces")
            }
            Bad::Tail { at, bytes } => write!(out, "{bytes} bytes behind its end at byte {at}"),
            Bad::Kind { kind } => write!(out, "no message is of kind {kind}"),
            Bad::Count { count, most } => write!(out, "{count} entries, where {most} may be"),
            Bad::RecordBytes { bytes } => write!(out, "records cannot have {bytes} bytes"),
            Bad::Sockets { at } => {
                write!(out, "the record at byte {at}: its wiring and its lanes disagree")
            }
            Bad::InHand { at } => write!(out, "bytes in hand at byte {at}: their lengths disagree"),
            Bad::Waits { at } => write!(out, "what waits at byte {at}: it and its data disagree"),
            Bad::Name { at } => write!(out, "the name at byte {at} is no text"),
        }
    }
}

impl std::error::Error for Bad {}

/// Where a message is read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, at: 0 }
    }

    /// Bytes from the begin of the message.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The bytes of a number.
    pub(super) fn number<const BYTES: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; BYTES], Bad> {
        Ok(*self.take(BYTES, field)?.first_chunk().expect("so many were taken"))
    }

    pub(super) fn take(&mut self, bytes: usize, field: &'static str) -> Result<&'a [u8], Bad> {
        let Some((taken, rest)) = self.rest.split_at_checked(bytes) else {
            return Err(Bad::Short { field, at: self.at, lacks: bytes - self.rest.len() });
        };
        self.rest = rest;
        self.at += bytes;
        Ok(taken)
    }

    /// A reader of these bytes alone.
    pub(super) fn part(&mut self, bytes: u32, field: &'static str) -> Result<Reader<'a>, Bad> {
        let at = self.at;
        Ok(Reader { rest: self.take(bytes as usize, field)?, at })
    }
}
