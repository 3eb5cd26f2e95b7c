//! Handshakes, done by rustls; what it leaves behind is the keys of a [`Session`].
//!
//! rustls sees one record at a time and none behind the last of the handshake, because bytes that
//! it has read do not come back. After the last one its secrets are taken out and it is dropped.

mod acceptor;
mod connector;
mod desk;
mod fault;
mod provider;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use rustls::client::ClientConnection;
use rustls::server::ServerConnection;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CommonState, ConnectionTrafficSecrets, ExtractedSecrets, HandshakeKind, ProtocolVersion,
    SupportedProtocolVersion,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use self::desk::{Desk, Notes};
use super::fault::Alert;
use super::keys::Awake;
use super::record::{ALERT_BYTES, PLAIN_MAX};
use super::session::{Keys12, Session};
use super::suite::Suite;

pub use self::acceptor::{Acceptor, AcceptorPlan};
pub use self::connector::{Connector, ConnectorPlan};
pub use self::fault::{CertificateFault, HandshakeFault};

/// Bytes that a record begins with: a type, a version, and a length in two bytes.
const HEAD: usize = 5;
/// Bytes that follow them, at most, where they are sealed in TLS 1.3 (RFC 8446, 5.2). Others have
/// fewer: what TLS 1.2 seals in a handshake is a Finished.
const RECORD_MAX: usize = (1 << 14) + 256;
/// Bytes of all records that a peer may need for its handshake. A hello takes 2 KiB, a chain of
/// certificates 10.
const HANDSHAKE_MAX: usize = 64 << 10;
/// Types of records.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// Bytes of a common name that are kept; X.520 permits 64 characters.
const COMMON_NAME_MAX: usize = 64;

/// One handshake under way.
///
/// ```text
/// take ──► More ──► take …            words: what the peer must hear, after every take
///   ├────► Done: session, name        words: the last of the handshake, tickets
///   └────► Failed: fault              words: an alert, or nothing
/// ```
pub struct Handshake {
    stage: Stage,
    words: Vec<u8>,
    desk: Arc<Desk>,
}

/// How far a handshake is.
enum Stage {
    Running(Box<Running>),
    Done,
    Failed(HandshakeFault),
}

struct Running {
    peer: Peer,
    notes: Notes,
    record: Record,
    taken_bytes: usize,
    /// Whether rustls has an alert for why it failed.
    has_alerted: bool,
}

/// With whom the handshake is done, and rustls's side of it.
enum Peer {
    Client(ServerConnection),
    Server(ClientConnection),
}

/// How much of the present record was taken. One that comes in pieces waits here: once rustls has
/// the first of them, it keeps a buffer of 4 KiB.
enum Record {
    Head { bytes: [u8; HEAD], count: usize },
    Body { head: [u8; HEAD], pieces: Vec<u8>, missing_bytes: usize },
}

/// What became of bytes of the peer.
#[derive(Debug)]
pub struct Taken {
    /// How many of them belong to the handshake. The others are the caller's: after
    /// [`State::Done`] they are the first of the session, after [`State::Failed`] nobody's.
    pub used_bytes: usize,
    /// How the handshake stands now.
    pub state: State,
}

/// How a handshake stands.
#[derive(Debug)]
pub enum State {
    /// The peer has to say more; it may have to hear something first.
    More,
    /// Both sides have the keys of a session.
    Done(Box<Established>),
    /// There will be no session.
    Failed(HandshakeFault),
}

/// What a handshake has agreed on.
pub struct Established {
    /// The keys of both directions.
    pub session: Session,
    /// The name that the client asked for, in lower case and without a dot at the end.
    pub name: Option<Box<str>>,
    /// The protocol of both sides (ALPN).
    pub protocol: Option<Box<[u8]>>,
    /// The certificate that the client showed.
    pub subject: Option<ClientCertificate>,
    /// Whether a ticket resumed an older session.
    pub is_resumed: bool,
}

/// A certificate that a client has shown and that was verified, now or in the session that is
/// resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The first common name of its subject, if it has 1 to 64 bytes.
    pub common_name: Option<Box<str>>,
    /// The certificate itself.
    pub der: Box<[u8]>,
}

impl Handshake {
    fn new(peer: Peer, desk: Arc<Desk>) -> Handshake {
        let record = Record::Head { bytes: [0; HEAD], count: 0 };
        let running =
            Running { peer, notes: Notes::default(), record, taken_bytes: 0, has_alerted: false };
        let mut handshake =
            Handshake { stage: Stage::Running(Box::new(running)), words: Vec::new(), desk };
        if let Stage::Running(running) = &mut handshake.stage {
            running.peer.say(&mut handshake.words);
        }
        handshake
    }

    /// Takes what the peer has said. While [`State::More`] is the answer, all of it is used.
    ///
    /// # Panics
    /// After [`State::Done`].
    pub fn take(&mut self, input: &[u8]) -> Taken {
        let running = match &mut self.stage {
            Stage::Running(running) => running,
            Stage::Failed(fault) => {
                return Taken { used_bytes: 0, state: State::Failed(*fault) };
            }
            Stage::Done => panic!("bytes of a session are not for its handshake"),
        };
        let mut used_bytes = 0;
        let outcome = running.take(input, &mut used_bytes, &self.desk, &mut self.words);
        let state = match outcome {
            Ok(false) => return Taken { used_bytes, state: State::More },
            Ok(true) => match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Running(running) => running.establish(),
                Stage::Done | Stage::Failed(_) => unreachable!("it is running, as seen above"),
            },
            Err(fault) => {
                // rustls has no alert for some faults.
                let alert = fault.alert().filter(|_| !running.has_alerted);
                self.words.extend(alert.map(|alert| running.alert(alert)).unwrap_or_default());
                Err(fault)
            }
        };
        let state = match state {
            Ok(established) => State::Done(Box::new(established)),
            Err(fault) => {
                self.stage = Stage::Failed(fault);
                State::Failed(fault)
            }
        };
        Taken { used_bytes, state }
    }

    /// What is to be sent to the peer now, which is then no longer here.
    pub fn words(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.words)
    }
}

impl Running {
    /// Whether `input` has the end of the handshake, which is where `used` then stands.
    fn take(
        &mut self,
        input: &[u8],
        used: &mut usize,
        desk: &Desk,
        words: &mut Vec<u8>,
    ) -> Result<bool, HandshakeFault> {
        if let (0, Some(first)) = (self.taken_bytes, input.first()) {
            // A server may refuse our hello at once.
            let is_alert = matches!(self.peer, Peer::Server(_)) && *first == ALERT;
            if *first != HANDSHAKE && !is_alert {
                return Err(HandshakeFault::NotTls);
            }
        }
        while *used < input.len() {
            let before = self.taken_bytes;
            let is_whole = self.take_part(&input[*used..])?;
            *used += self.taken_bytes - before;
            if is_whole && self.process(desk, words)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes bytes of one record; whether it is whole now.
    fn take_part(&mut self, input: &[u8]) -> Result<bool, HandshakeFault> {
        match &mut self.record {
            Record::Head { bytes, count } => {
                let part_bytes = input.len().min(HEAD - *count);
                bytes[*count..][..part_bytes].copy_from_slice(&input[..part_bytes]);
                *count += part_bytes;
                self.taken_bytes += part_bytes;
                if *count < HEAD {
                    return Ok(false);
                }
                let bytes = *bytes;
                let missing_bytes = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
                let most = if bytes[0] == DATA { RECORD_MAX } else { PLAIN_MAX };
                if missing_bytes > most || self.taken_bytes + missing_bytes > HANDSHAKE_MAX {
                    return Err(HandshakeFault::TooLong);
                }
                self.record = Record::Body { head: bytes, pieces: Vec::new(), missing_bytes };
                if missing_bytes == 0 { self.take_part(&[]) } else { Ok(false) }
            }
            Record::Body { head, pieces, missing_bytes } => {
                let piece = &input[..input.len().min(*missing_bytes)];
                *missing_bytes -= piece.len();
                self.taken_bytes += piece.len();
                let is_whole = *missing_bytes == 0;
                if is_whole && pieces.is_empty() {
                    self.peer.hear(head, piece)?;
                } else {
                    pieces.extend_from_slice(piece);
                    if is_whole {
                        self.peer.hear(head, pieces)?;
                    }
                }
                Ok(is_whole)
            }
        }
    }

    /// Has rustls look at the record that it has whole; whether it was the last one.
    fn process(&mut self, desk: &Desk, words: &mut Vec<u8>) -> Result<bool, HandshakeFault> {
        self.record = Record::Head { bytes: [0; HEAD], count: 0 };
        *desk.notes() = std::mem::take(&mut self.notes);
        let outcome = self.peer.process();
        self.notes = std::mem::take(&mut *desk.notes());
        let before = words.len();
        self.peer.say(words);
        if outcome.is_err() && self.notes.is_unknown_name {
            words.truncate(before); // access_denied, where RFC 6066, 3 has an alert of its own
            return Err(HandshakeFault::UnknownName);
        }
        self.has_alerted = outcome.is_err() && words.len() > before;
        outcome
    }

    /// A fatal alert as the peer can read it now; nothing where it cannot.
    fn alert(&self, alert: Alert) -> Vec<u8> {
        let common = self.peer.common();
        let secret = &self.notes.server_secret;
        let version = common.protocol_version();
        match &self.peer {
            // Its ServerHello was no part of what failed: it may expect one in other keys.
            Peer::Server(_) if version.is_some() => Vec::new(),
            Peer::Client(_) if !secret.is_empty() => {
                // Nothing was sealed by this secret: it follows our Finished (RFC 8446, 4.4.4).
                let suite = common.negotiated_cipher_suite().map(|suite| suite.suite().into());
                let Some(suite) = suite.and_then(Suite::of_number) else { return Vec::new() };
                let mut session = Session::tls13(suite, (secret, 0), (secret, 0));
                let mut memory = vec![0; ALERT_BYTES];
                let bytes = session.alert(&mut Awake::default(), &mut memory, alert);
                memory.truncate(bytes);
                memory
            }
            // Our Finished was the last that nothing encrypts.
            Peer::Client(_) if common.handshake_kind() == Some(HandshakeKind::Resumed) => {
                Vec::new()
            }
            _ => plain_alert(alert).to_vec(),
        }
    }

    /// Takes the keys out of rustls.
    fn establish(self) -> Result<Established, HandshakeFault> {
        let Running { peer, notes, .. } = self;
        let common = peer.common();
        let protocol = common.alpn_protocol().map(Box::from);
        let is_resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        let is_tls13 = common.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let suite = common.negotiated_cipher_suite().map(|suite| u16::from(suite.suite()));
        let suite = suite.and_then(Suite::of_number).ok_or(HandshakeFault::Other)?;
        let (name, subject) = match &peer {
            Peer::Client(conn) => {
                let certificate = common.peer_certificates().and_then(|chain| chain.first());
                (conn.server_name().map(normal_name), certificate.map(|der| client(der)))
            }
            Peer::Server(_) => (None, None),
        };
        let is_client = matches!(peer, Peer::Client(_));
        let secrets = peer.secrets().map_err(|_| HandshakeFault::Other)?;
        let session = if is_tls13 {
            let (read, write) = if is_client {
                (&notes.client_secret, &notes.server_secret)
            } else {
                (&notes.server_secret, &notes.client_secret)
            };
            if read.is_empty() || write.is_empty() {
                return Err(HandshakeFault::Other);
            }
            Session::tls13(suite, (read, secrets.rx.0), (write, secrets.tx.0))
        } else {
            let read = keys12(&secrets.rx).ok_or(HandshakeFault::Other)?;
            let write = keys12(&secrets.tx).ok_or(HandshakeFault::Other)?;
            Session::tls12(suite, read, write)
        };
        let session = if is_client { session } else { session.of_client() };
        Ok(Established { session, name, protocol, subject, is_resumed })
    }
}

impl Peer {
    fn common(&self) -> &CommonState {
        match self {
            Peer::Client(conn) => conn,
            Peer::Server(conn) => conn,
        }
    }

    /// Gives bytes of one record to rustls.
    ///
    /// A header goes with what is behind it: rustls has a buffer of 4 KiB for the first read of a
    /// record and one of 8 for the second.
    fn hear(&mut self, head: &[u8], body: &[u8]) -> Result<(), HandshakeFault> {
        let mut parts = Parts(head, body);
        while parts != Parts(&[], &[]) {
            let heard = match self {
                Peer::Client(conn) => conn.read_tls(&mut parts),
                Peer::Server(conn) => conn.read_tls(&mut parts),
            };
            // Nothing is taken behind a close_notify, and no more than one long message is kept.
            if !heard.is_ok_and(|count| count > 0) {
                return Err(HandshakeFault::BadRecord);
            }
        }
        Ok(())
    }

    /// Whether the handshake is over.
    fn process(&mut self) -> Result<bool, HandshakeFault> {
        let outcome = match self {
            Peer::Client(conn) => conn.process_new_packets(),
            Peer::Server(conn) => conn.process_new_packets(),
        };
        let is_client = matches!(self, Peer::Client(_));
        let state = outcome.map_err(|error| HandshakeFault::of(&error, is_client))?;
        if state.peer_has_closed() {
            return Err(HandshakeFault::PeerAlert(CLOSE_NOTIFY));
        }
        Ok(!self.common().is_handshaking())
    }

    /// Moves what rustls has to say to the end of `words`.
    fn say(&mut self, words: &mut Vec<u8>) {
        while self.common().wants_write() {
            let said = match self {
                Peer::Client(conn) => conn.write_tls(words),
                Peer::Server(conn) => conn.write_tls(words),
            };
            said.expect("memory takes all that is written");
        }
    }

    fn secrets(self) -> Result<ExtractedSecrets, rustls::Error> {
        match self {
            Peer::Client(conn) => conn.dangerous_extract_secrets(),
            Peer::Server(conn) => conn.dangerous_extract_secrets(),
        }
    }
}

/// Bytes in two places, read as if they were in one.
#[derive(PartialEq)]
struct Parts<'a>(&'a [u8], &'a [u8]);

impl Read for Parts<'_> {
    fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        let first_bytes = self.0.read(memory)?;
        Ok(first_bytes + self.1.read(&mut memory[first_bytes..])?)
    }
}

/// The code of the alert by which a peer says that it ends.
const CLOSE_NOTIFY: u8 = 0;

/// A fatal alert as a record that nothing encrypts (RFC 8446, 5.1 and 6).
fn plain_alert(alert: Alert) -> [u8; 7] {
    [ALERT, 3, 3, 0, 2, 2, alert.0]
}

fn versions(min_tls13: bool) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    if min_tls13 { &BOTH[..1] } else { BOTH }
}

fn keys12((sequence, secrets): &(u64, ConnectionTrafficSecrets)) -> Option<Keys12<'_>> {
    let (key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => return None,
    };
    Some(Keys12 { key: key.as_ref(), iv: iv.as_ref().try_into().ok()?, sequence: *sequence })
}

fn normal_name(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

fn client(der: &[u8]) -> ClientCertificate {
    let common_name = X509Certificate::from_der(der).ok().and_then(|(_, parsed)| {
        let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
        (1..=COMMON_NAME_MAX).contains(&name.len()).then(|| name.into())
    });
    ClientCertificate { common_name, der: der.into() }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established").field("name", &self.name).finish_non_exhaustive()
    }
}
