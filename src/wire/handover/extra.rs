//! What goes with a record beside its bytes: extras, some of which are secret.

use std::fmt;

use zeroize::Zeroizing;

use super::reader::{Bad, Reader};

/// Bytes of a name, at most: its length is in one.
const NAME_MAX: usize = 255;

/// More about a connection. Its bytes may be keys: they are wiped when it is dropped, and nothing
/// shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Extra {
    /// What it is about: [`super::Departure::ADDRESSES`] or another.
    pub kind: u8,
    /// By kind.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl Extra {
    /// One of these bytes.
    pub fn new(kind: u8, bytes: Vec<u8>) -> Extra {
        Extra { kind, bytes: Zeroizing::new(bytes) }
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Extra({}, {} bytes)", self.kind, self.bytes.len())
    }
}

/// A side that speaks TLS, between two records: an extra of the kind
/// [`super::Departure::CLIENT_SESSION`] or [`super::Departure::SERVER_SESSION`].
///
/// ```text
/// session 1 + its bytes | data in what waits 4 | waits 4 + its bytes |
/// opened 4 + its bytes | received: the rest
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecuredSide {
    /// The session with its secrets, as a session is written: [`SecuredSide::SESSION_MAX`] bytes at
    /// most.
    pub session: Zeroizing<Vec<u8>>,
    /// Sealed records that wait to be sent to it, the first of which may have been sent in part.
    pub waits: Vec<u8>,
    /// Bytes of data in them that do not count as sent yet: one at least where anything waits. They
    /// are not in hand beside that.
    pub waiting_data_bytes: u32,
    /// Data of records that were opened, which the other side has not got.
    pub opened: Zeroizing<Vec<u8>>,
    /// What it has sent behind that: records of which the last may be cut.
    pub received: Vec<u8>,
}

impl SecuredSide {
    /// Bytes of a session, at most.
    pub const SESSION_MAX: usize = 255;

    /// The bytes of its extra.
    ///
    /// # Panics
    ///
    /// When the session is too long.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let SecuredSide { session, waits, waiting_data_bytes, opened, received } = self;
        let session_bytes = u8::try_from(session.len()).expect("a session has a bound");
        let all = 1 + session.len() + 12 + waits.len() + opened.len() + received.len();
        // A vector that grows leaves secrets behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(all));
        bytes.push(session_bytes);
        bytes.extend_from_slice(session);
        bytes.extend_from_slice(&waiting_data_bytes.to_le_bytes());
        for part in [waits, &**opened] {
            bytes.extend_from_slice(&super::length(part.len()).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(received);
        bytes
    }

    /// The side that these bytes are.
    ///
    /// # Errors
    ///
    /// Where they are cut, or what waits and its data disagree.
    pub fn from_bytes(bytes: &[u8]) -> Result<SecuredSide, Bad> {
        let mut reader = Reader::new(bytes);
        let [session_bytes] = reader.number("length of a session")?;
        let session = reader.take(session_bytes.into(), "session")?.to_vec().into();
        let at = reader.at();
        let waiting_data_bytes = u32::from_le_bytes(reader.number("data in what waits")?);
        let waits = long(&mut reader, "what waits")?.to_vec();
        if waits.is_empty() != (waiting_data_bytes == 0)
            || waiting_data_bytes as usize > super::MESSAGE_MAX
        {
            return Err(Bad::Waits { at });
        }
        let opened = long(&mut reader, "opened data")?.to_vec().into();
        let received = reader.take(reader.left(), "what was received")?.to_vec();
        Ok(SecuredSide { session, waits, waiting_data_bytes, opened, received })
    }
}

impl fmt::Debug for SecuredSide {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SecuredSide")
            .field("waits", &self.waits.len())
            .field("waiting_data_bytes", &self.waiting_data_bytes)
            .field("received", &self.received.len())
            .finish_non_exhaustive()
    }
}

/// What lists and logs say of a client that speaks TLS: an extra of the kind
/// [`super::Departure::TLS_FACTS`].
///
/// ```text
/// server name 1 + its bytes | common name 1 + its bytes
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The name that it asked for.
    pub server_name: Option<Box<str>>,
    /// The common name of its certificate.
    pub common_name: Option<Box<str>>,
}

impl TlsFacts {
    /// The bytes of its extra. A name that is too long for one is left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in [&self.server_name, &self.common_name] {
            let name = name.as_deref().filter(|name| name.len() <= NAME_MAX).unwrap_or_default();
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }

    /// The facts that these bytes are.
    ///
    /// # Errors
    ///
    /// Where they are cut, go on behind their end, or are no text.
    pub fn from_bytes(bytes: &[u8]) -> Result<TlsFacts, Bad> {
        let mut reader = Reader::new(bytes);
        let mut name = || -> Result<Option<Box<str>>, Bad> {
            let [bytes] = reader.number("length of a name")?;
            let at = reader.at();
            let name = reader.take(bytes.into(), "name")?;
            let name = std::str::from_utf8(name).map_err(|_| Bad::Name { at })?;
            Ok((!name.is_empty()).then(|| name.into()))
        };
        let facts = TlsFacts { server_name: name()?, common_name: name()? };
        match reader.left() {
            0 => Ok(facts),
            bytes => Err(Bad::Tail { at: reader.at(), bytes }),
        }
    }
}

/// Bytes behind their length in four.
fn long<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], Bad> {
    let bytes = u32::from_le_bytes(reader.number(field)?);
    reader.take(bytes as usize, field)
}
