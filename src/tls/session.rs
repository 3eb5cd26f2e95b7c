//! What a session of TLS keeps between its records.

use arrayvec::ArrayVec;
use zeroize::{Zeroize, Zeroizing};

use super::keys::{self, SECRET_MAX};
use super::suite::Suite;

/// Records in a row that are empty or a warning, at most.
pub(super) const EMPTIES_MAX: u8 = 32;
/// KeyUpdates in a row, while data goes neither way, at most. A client of Java that only listens
/// says one for each record of its old key that was on its way: 4 MiB of full ones.
pub(super) const UPDATES_MAX: u8 = 255;
/// A sequence number that no session comes near: 10 million records a second for 14,000 years.
pub(super) const SEQUENCE_MAX: u64 = 1 << 62;
/// Bytes of a session, written down, at most.
pub const SESSION_BYTES: usize = 120;
/// Bytes of them in front of the secrets.
const HEAD: usize = 24;
/// The form of a written session, in the upper half of its first byte.
const FORM: u8 = 1 << 4;

/// Room for the secrets of every suite.
pub(super) type Long = [u8; 2 * SECRET_MAX];
/// Room for those of 32 bytes at most, as with AES-128-GCM and, in TLS 1.3, ChaCha20.
pub(super) type Short = [u8; 2 * 32];

/// Where a session has its secrets.
pub trait Secrets: AsRef<[u8]> + AsMut<[u8]> + Zeroize {}

impl<S: AsRef<[u8]> + AsMut<[u8]> + Zeroize + ?Sized> Secrets for S {}

/// What a session keeps between records: two secrets, two sequence numbers, and where it stands.
///
/// It is made when rustls has shaken hands, and can be written down for another process. Two of
/// the same session must never seal: a nonce would be used twice. Its secrets are zeroed when it is
/// dropped.
pub struct Session<S: Secrets + ?Sized = Long> {
    /// Of the next records.
    pub(super) read_sequence: u64,
    pub(super) write_sequence: u64,
    suite: Suite,
    marks: u8,
    limit_power: u8,
    /// Since the last data: KeyUpdates, and records with nothing or a warning in them.
    pub(super) updates: u8,
    pub(super) empties: u8,
    pub(super) partial: Partial,
    /// That of reading, and that of writing behind it: a traffic secret each (TLS 1.3), or a key
    /// with its IV behind it; zeros behind both.
    secrets: S,
}

const _: () = assert!(size_of::<Session>() <= 120 && size_of::<Session<Short>>() <= 88);

/// How much of a message after the handshake has come, if a part of one has: a peer may cut it
/// anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partial {
    None,
    /// Of a session ticket: so many bytes of its header, and the third of them.
    Head(u8, u8),
    /// Of a session ticket: all but so many bytes, as a number of two bytes.
    Body([u8; 2]),
    /// Of a KeyUpdate: so many bytes.
    Update(u8),
}

/// What is true of a session.
pub(super) mod mark {
    /// It is the client's end.
    pub(in super::super) const CLIENT: u8 = 1;
    /// The peer has said close_notify.
    pub(in super::super) const PEER_CLOSED: u8 = 1 << 1;
    /// We have, or have sent a fatal alert.
    pub(in super::super) const CLOSED: u8 = 1 << 2;
    /// The peer has asked for a KeyUpdate.
    pub(in super::super) const OWES_UPDATE: u8 = 1 << 3;
    pub(super) const ALL: u8 = (1 << 4) - 1;
}

/// The keys of one direction in TLS 1.2, as rustls extracts them.
#[derive(Clone, Copy)]
pub struct Keys12<'a> {
    /// 16 or 32 bytes, by the suite.
    pub key: &'a [u8],
    /// With AES-GCM: the salt, and what the explicit nonces begin with.
    pub iv: &'a [u8; 12],
    /// Of the next record.
    pub sequence: u64,
}

/// Bytes that are no written session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSession;

impl Session {
    /// A server's session of TLS 1.3: the application traffic secrets, each of as many bytes as the
    /// suite's hash, and the sequence numbers of the next records.
    ///
    /// # Panics
    ///
    /// If the suite is not of TLS 1.3, a secret is not as long as its hash, or a sequence number
    /// is beyond 2^62.
    pub fn tls13(suite: Suite, read: (&[u8], u64), write: (&[u8], u64)) -> Session {
        assert!(suite.is_tls13(), "{} in TLS 1.3", suite.name());
        let secrets = [[read.0, &[]], [write.0, &[]]];
        Session::new(suite, secrets, [read.1, write.1])
    }

    /// A server's session of TLS 1.2.
    ///
    /// # Panics
    ///
    /// If the suite is not of TLS 1.2, a key has not the length of its keys, or a sequence number
    /// is beyond 2^62.
    pub fn tls12(suite: Suite, read: Keys12<'_>, write: Keys12<'_>) -> Session {
        assert!(!suite.is_tls13(), "{} in TLS 1.2", suite.name());
        let secrets = [&read, &write].map(|keys| [keys.key, keys.iv]);
        Session::new(suite, secrets, [read.sequence, write.sequence])
    }

    /// Of reading and of writing: a secret in two parts, and a sequence number.
    fn new(suite: Suite, parts: [[&[u8]; 2]; 2], sequences: [u64; 2]) -> Session {
        let mut secrets = [0; 2 * SECRET_MAX];
        let places = secrets.chunks_exact_mut(suite.secret_bytes());
        for (place, parts) in places.zip(parts) {
            let bytes = parts.map(<[u8]>::len).iter().sum::<usize>();
            assert_eq!(bytes, place.len(), "a secret for {}", suite.name());
            let all = parts.into_iter().flatten();
            place.iter_mut().zip(all).for_each(|(byte, of_secret)| *byte = *of_secret);
        }
        let [read_sequence, write_sequence] = sequences;
        let last = read_sequence.max(write_sequence);
        assert!(last <= SEQUENCE_MAX, "sequence number {last}");
        Session {
            read_sequence,
            write_sequence,
            suite,
            marks: 0,
            limit_power: suite.limit_power(),
            updates: 0,
            empties: 0,
            partial: Partial::None,
            secrets,
        }
    }

    /// The same session as a client's, which takes tickets (and has no use for them).
    pub fn of_client(mut self) -> Session {
        self.set(mark::CLIENT, true);
        self
    }

    /// The same session in less memory; itself, if its secrets are too long for that.
    pub(super) fn shorten(self) -> Result<Session<Short>, Session> {
        const SHORT: usize = size_of::<Short>();
        if 2 * self.suite.secret_bytes() > SHORT {
            return Err(self);
        }
        let (secrets, _) = self.secrets.split_first_chunk::<SHORT>().expect("it is longer");
        Ok(Session {
            read_sequence: self.read_sequence,
            write_sequence: self.write_sequence,
            suite: self.suite,
            marks: self.marks,
            limit_power: self.limit_power,
            updates: self.updates,
            empties: self.empties,
            partial: self.partial,
            secrets: *secrets,
        })
    }

    /// The session that these bytes are, whole.
    pub fn from_bytes(bytes: &[u8]) -> Result<Session, NoSession> {
        let (head, secrets) = bytes.split_first_chunk::<HEAD>().ok_or(NoSession)?;
        let [form, marks, limit_power, updates, empties, partial @ ..] = head;
        let suite = Suite::of_place(form ^ FORM).ok_or(NoSession)?;
        let partial = match partial[..3] {
            [0, 0, 0] => Partial::None,
            [1, bytes @ 1..=3, third] if bytes == 3 || third == 0 => Partial::Head(bytes, third),
            [2, high, low] if high | low > 0 => Partial::Body([high, low]),
            [3, bytes @ 1..=4, 0] => Partial::Update(bytes),
            _ => return Err(NoSession),
        };
        let sequence = |from: usize| {
            let bytes = head[from..from + 8].try_into().expect("eight bytes");
            Some(u64::from_be_bytes(bytes)).filter(|sequence| *sequence <= SEQUENCE_MAX)
        };
        let (read, write) = sequence(8).zip(sequence(16)).ok_or(NoSession)?;
        let of_client = marks & mark::CLIENT > 0 && suite.is_tls13();
        let right = [
            secrets.len() == 2 * suite.secret_bytes(),
            marks & !mark::ALL == 0,
            marks & mark::OWES_UPDATE == 0 || suite.is_tls13(),
            *limit_power <= suite.limit_power(),
            *empties <= EMPTIES_MAX,
            match partial {
                Partial::None => true,
                Partial::Head(..) | Partial::Body(_) => of_client,
                Partial::Update(_) => suite.is_tls13(),
            },
        ];
        if right.contains(&false) {
            return Err(NoSession);
        }
        let (of_read, of_write) = secrets.split_at(suite.secret_bytes());
        let session = Session::new(suite, [[of_read, &[]], [of_write, &[]]], [read, write]);
        let (marks, limit_power) = (*marks, *limit_power);
        let (updates, empties) = (*updates, *empties);
        Ok(Session { marks, limit_power, updates, empties, partial, ..session })
    }
}

impl<S: Secrets + ?Sized> Session<S> {
    /// Has a key seal 2^`power` records at most; the suite's own limit stays.
    pub fn lower_limit(&mut self, power: u8) {
        self.limit_power = self.limit_power.min(power);
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Whether it is of TLS 1.3, else of TLS 1.2.
    pub fn is_tls13(&self) -> bool {
        self.suite.is_tls13()
    }

    /// Whether the peer has said close_notify: what comes behind it is ignored.
    pub fn is_closed_by_peer(&self) -> bool {
        self.has(mark::PEER_CLOSED)
    }

    /// Whether we have said close_notify or a fatal alert: nothing can be sealed.
    pub fn is_closed(&self) -> bool {
        self.has(mark::CLOSED)
    }

    /// Whether the next record may be the last but one that the key may seal. A session of TLS 1.3
    /// changes its key in time; one of TLS 1.2 cannot, and should end with close_notify.
    pub fn is_worn(&self) -> bool {
        self.is_worn_by(0)
    }

    /// Whether it would be after so many more records.
    pub(super) fn is_worn_by(&self, records: u64) -> bool {
        let limit = 1_u64.checked_shl(self.limit_power.into()).unwrap_or(SEQUENCE_MAX);
        self.write_sequence + records + 2 >= limit
    }

    /// The session for another process: 80 to [`SESSION_BYTES`] bytes, among them its secrets.
    pub fn to_bytes(&self) -> Zeroizing<ArrayVec<u8, SESSION_BYTES>> {
        let partial = match self.partial {
            Partial::None => [0; 3],
            Partial::Head(bytes, third) => [1, bytes, third],
            Partial::Body([high, low]) => [2, high, low],
            Partial::Update(bytes) => [3, bytes, 0],
        };
        let head = [FORM | self.suite as u8, self.marks, self.limit_power];
        let counts = [self.updates, self.empties];
        let mut bytes = Zeroizing::new(ArrayVec::new());
        let [read, write] = [self.read_sequence, self.write_sequence].map(u64::to_be_bytes);
        let secrets = &self.secrets.as_ref()[..2 * self.suite.secret_bytes()];
        for part in [&head[..], &counts, &partial, &read, &write, secrets] {
            bytes.try_extend_from_slice(part).expect("the longest secrets leave 24 bytes");
        }
        bytes
    }

    pub(super) fn has(&self, mark: u8) -> bool {
        self.marks & mark > 0
    }

    pub(super) fn set(&mut self, mark: u8, is: bool) {
        self.marks = if is { self.marks | mark } else { self.marks & !mark };
    }

    /// Zeroes the secrets: nothing can be opened or sealed after that.
    pub(super) fn wipe(&mut self) {
        self.secrets.zeroize();
    }

    pub(super) fn read_secret(&self) -> &[u8] {
        &self.secrets.as_ref()[..self.suite.secret_bytes()]
    }

    pub(super) fn write_secret(&self) -> &[u8] {
        &self.secrets.as_ref()[self.suite.secret_bytes()..][..self.suite.secret_bytes()]
    }

    /// Goes on reading with the next secret (TLS 1.3).
    pub(super) fn step_read(&mut self) {
        let (suite, bytes) = (self.suite, self.suite.secret_bytes());
        keys::step(suite, &mut self.secrets.as_mut()[..bytes]);
        self.read_sequence = 0;
    }

    /// Goes on writing with the next secret (TLS 1.3).
    pub(super) fn step_write(&mut self) {
        let (suite, bytes) = (self.suite, self.suite.secret_bytes());
        keys::step(suite, &mut self.secrets.as_mut()[bytes..][..bytes]);
        self.write_sequence = 0;
    }
}

impl<S: Secrets + ?Sized> Drop for Session<S> {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl<S: Secrets + ?Sized> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sequences = [self.read_sequence, self.write_sequence];
        write!(f, "Session({}, {sequences:?}, {:#b})", self.suite.name(), self.marks)
    }
}
