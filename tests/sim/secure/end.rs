//! The TLS of one peer, by rustls: what it says over the wire, and what it makes of what it hears.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, Error, HandshakeKind, ServerConnection};

use super::material::{self, Ask, Dialect};
use crate::random::{Random, mix, pattern};

/// Bytes of a record's type, version and length.
const HEAD: usize = 5;
/// The type of a record behind which all are sealed, in TLS 1.2.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// The type of a record in which there is no telling what it is.
const SEALED: u8 = 23;
/// What the first record begins with: its type, and a version.
pub const HANDSHAKE: [u8; 2] = [22, 3];
/// handshake_failure, as a record that nothing encrypts.
const REFUSAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// The types of whole records.
fn records(mut said: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let &[kind, _, _, high, low] = said.first_chunk::<HEAD>()?;
        said = said.get(HEAD + usize::from(u16::from_be_bytes([high, low]))..)?;
        Some(kind)
    })
}

/// What a peer does wrong, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misdeed {
    None,
    /// A record of its is changed on the way.
    Forges,
    /// It says what is no record.
    Babbles,
    /// It says half a record, and nothing after it.
    Breaks,
    /// It ends without close_notify.
    Truncates,
    /// It speaks on behind close_notify.
    SpeaksOn,
    /// It shakes no hands: it says nothing, or refuses.
    Mute,
    Refuses,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    ClientShaken,
    ServerShaken,
    ClientUnshaken,
    ServerUnshaken,
    Forged,
    Babbled,
    Broken,
    Truncated,
    SpokeOn,
    Mute,
    Refused,
    Updated,
    Alerted,
    ClosedByUs,
    CutByUs,
    TinyRecords,
    LargeRecords,
    ClientOfTls12,
    ServerOfTls12,
    Resumed,
    ResumedInTls12,
    ShowedCertificate,
    HadNoCertificate,
    LackedCertificate,
    SawOurCertificate,
}

impl Seen {
    pub const ALL: [Seen; 25] = {
        use Seen::*;
        [
            ClientShaken,
            ServerShaken,
            ClientUnshaken,
            ServerUnshaken,
            Forged,
            Babbled,
            Broken,
            Truncated,
            SpokeOn,
            Mute,
            Refused,
            Updated,
            Alerted,
            ClosedByUs,
            CutByUs,
            TinyRecords,
            LargeRecords,
            ClientOfTls12,
            ServerOfTls12,
            Resumed,
            ResumedInTls12,
            ShowedCertificate,
            HadNoCertificate,
            LackedCertificate,
            SawOurCertificate,
        ]
    };
}

/// One end of a session.
pub struct End {
    conn: Connection,
    dialect: Dialect,
    /// What a client is asked for.
    ask: Ask,
    random: Random,
    misdeed: Misdeed,
    /// Bytes of data in each of its records.
    piece: usize,
    updates: bool,
    /// All that it says.
    pub wire: Vec<u8>,
    /// Where in it records end, and how much data was in all of them.
    ends: Vec<(usize, u64)>,
    pub plain_sent: u64,
    pub plain_got: u64,
    /// It has said close_notify, at the end of so many bytes.
    pub closes_at: Option<usize>,
    pub heard_close: bool,
    /// What it says can be nobody's data any more.
    pub is_spoiled: bool,
    /// It does not get on.
    pub error: Option<Error>,
    pub updated: bool,
    refused: bool,
    /// What came of the gateway's bytes as they were sent: the header of a record, how much of the
    /// rest is to come.
    head: Vec<u8>,
    left: usize,
    /// The gateway has sealed something, which is the last of its handshake in TLS 1.3.
    is_answered: bool,
    /// It has said Finished when it had said so many bytes, which in TLS 1.2 goes behind
    /// ChangeCipherSpec and is the last that the gateway hears of a server's handshake.
    finished_at: Option<usize>,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { misdeed, plain_sent, plain_got, closes_at, heard_close, .. } = self;
        let is_shaking = self.conn.is_handshaking();
        write!(
            f,
            "End({misdeed:?}, {} said, data {plain_sent} {plain_got}, close {closes_at:?} \
             {heard_close}, shaking {is_shaking}, spoiled {}, {:?})",
            self.wire.len(),
            self.is_spoiled,
            self.error
        )
    }
}

impl End {
    /// A client, drawn apart by the key of its link, at a listener that asks for this.
    pub fn client(key: u64, dialect: Dialect, ask: Ask, sessions: Resumption) -> End {
        let config = material::get().client(dialect, sessions);
        let name = ServerName::try_from(material::NAME).expect("a name");
        let conn = ClientConnection::new(Arc::new(config), name).expect("random bytes");
        End::new(key, dialect, ask, conn.into())
    }

    /// A server, drawn apart by the key of its link.
    pub fn server(key: u64, dialect: Dialect) -> End {
        let conn = ServerConnection::new(material::get().server(dialect));
        End::new(key, dialect, Ask::Nothing, conn.expect("a config of ours").into())
    }

    fn new(key: u64, dialect: Dialect, ask: Ask, mut conn: Connection) -> End {
        let is_server = matches!(conn, Connection::Server(_));
        conn.set_buffer_limit(None);
        let mut random = Random::new(mix(!key));
        let misdeed = match random.below(24) {
            0 => Misdeed::Forges,
            1 => Misdeed::Babbles,
            2 => Misdeed::Breaks,
            3 | 4 => Misdeed::Truncates,
            5 => Misdeed::SpeaksOn,
            6 => Misdeed::Mute,
            7 if is_server => Misdeed::Refuses,
            _ => Misdeed::None,
        };
        let piece = random.pick(&[1, 20, 300, 5000, 16_384]);
        let updates = random.percent(20);
        let mut end = End {
            conn,
            dialect,
            ask,
            random,
            misdeed,
            piece,
            updates,
            wire: Vec::new(),
            ends: Vec::new(),
            plain_sent: 0,
            plain_got: 0,
            closes_at: None,
            heard_close: false,
            is_spoiled: false,
            error: None,
            updated: false,
            refused: false,
            head: Vec::new(),
            left: 0,
            is_answered: false,
            finished_at: None,
        };
        end.produce();
        end
    }

    pub fn is_shaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// Nothing of a client's handshake is to come but what the gateway says.
    pub fn has_shaken(&self) -> bool {
        !self.is_shaking() || self.dialect.twelve && self.finished_at.is_some()
    }

    /// A server may say data behind its Finished in one go: in TLS 1.2.
    pub fn may_speak_with_finished(&self) -> bool {
        self.dialect.twelve
    }

    /// A server's handshake is over for the gateway, which took so many bytes of it.
    pub fn is_shaken_with(&self, taken_bytes: u64) -> bool {
        match self.dialect.twelve {
            true => self.finished_at.is_some_and(|at| taken_bytes >= at as u64),
            false => self.is_answered,
        }
    }

    /// It does nothing wrong but perhaps not to say close_notify.
    pub fn is_sound(&self) -> bool {
        !self.is_spoiled && self.error.is_none() && !self.lacks_certificate()
    }

    /// A client without the certificate that it needs: in TLS 1.3 it takes itself for shaken.
    fn lacks_certificate(&self) -> bool {
        self.ask == Ask::Required && !self.dialect.certificate
    }

    /// It has said something behind close_notify. A socket that is closed before all of that was
    /// read resets it, as any does.
    pub fn spoke_on(&self) -> bool {
        self.misdeed == Misdeed::SpeaksOn && self.closes_at.is_some()
    }

    /// What rustls has to say goes over the wire.
    fn produce(&mut self) {
        let mut said = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut said).expect("memory takes all");
        }
        let is_muted = self.misdeed == Misdeed::Mute || self.misdeed == Misdeed::Refuses;
        if is_muted || self.is_spoiled {
            return;
        }
        if !said.is_empty() {
            let has_finished = records(&said).any(|kind| kind == CHANGE_CIPHER_SPEC);
            self.wire.extend(said);
            self.ends.push((self.wire.len(), self.plain_sent));
            if has_finished {
                self.finished_at.get_or_insert(self.wire.len());
            }
        }
    }

    /// Says so many bytes of data, each of which `key` names by its place.
    pub fn say(&mut self, mut bytes: u64, key: u64) {
        while bytes > 0 && !self.is_spoiled && self.error.is_none() {
            if self.updates && self.random.percent(10) {
                self.updated |= self.conn.refresh_traffic_keys().is_ok();
                self.produce();
            }
            let most = self.piece.min(bytes as usize);
            let from = self.plain_sent;
            let data: Vec<u8> = (from..from + most as u64).map(|at| pattern(key, at)).collect();
            self.conn.writer().write_all(&data).expect("there is no limit");
            let before = self.wire.len();
            self.plain_sent += most as u64;
            self.produce();
            bytes -= most as u64;
            if self.random.percent(25) {
                self.do_wrong(before, most as u64);
            }
        }
    }

    /// Does what it does wrong with its last record.
    fn do_wrong(&mut self, before: usize, bytes: u64) {
        match self.misdeed {
            Misdeed::Forges => {
                let at = self.random.between(before as u64 + 5, self.wire.len() as u64 - 1);
                self.wire[at as usize] ^= 1;
            }
            Misdeed::Babbles => {
                self.wire.truncate(before);
                self.wire.extend((0..40).map(|_| 0x40 | self.random.next() as u8));
            }
            Misdeed::Breaks => {
                let left = self.random.between(before as u64 + 1, self.wire.len() as u64 - 1);
                self.wire.truncate(left as usize);
            }
            _ => return,
        }
        self.ends.pop();
        self.is_spoiled = true;
        self.plain_sent -= bytes;
    }

    /// Ends what it says. Says whether it had to say so.
    pub fn finish(&mut self) -> bool {
        if self.closes_at.is_some() || self.is_spoiled || self.is_shaking() {
            return false;
        }
        if self.misdeed == Misdeed::Truncates {
            self.is_spoiled = true;
            return false;
        }
        self.conn.send_close_notify();
        self.produce();
        self.closes_at = Some(self.wire.len());
        if self.misdeed == Misdeed::SpeaksOn {
            let count = self.random.pick(&[1, 4, 5, 100]);
            self.wire.extend((0..count).map(|_| self.random.next() as u8));
        }
        true
    }

    /// Whether more than it said came, and data that was whole.
    pub fn known(&self, told_bytes: u64) -> (u64, bool) {
        let whole = self.ends.iter().take_while(|(end, _)| *end as u64 <= told_bytes).last();
        let (end, plain) = whole.copied().unwrap_or((0, 0));
        (plain, told_bytes > end as u64)
    }

    /// Takes what came from the gateway. `expects`: who sends what is in it.
    pub fn hear(&mut self, mut bytes: &[u8], expects: Option<u64>) {
        assert!(!self.heard_close || bytes.is_empty(), "bytes behind close_notify");
        if self.misdeed == Misdeed::Refuses && !self.refused {
            self.refused = true;
            self.wire.extend(REFUSAL);
        }
        while !bytes.is_empty() && self.error.is_none() {
            let heard = self.conn.read_tls(&mut bytes).expect("a session takes what it is given");
            match self.conn.process_new_packets() {
                Ok(state) => self.heard_close |= state.peer_has_closed(),
                Err(error) => {
                    let may_be = self.is_spoiled || self.lacks_certificate();
                    let may_be = may_be && matches!(error, Error::AlertReceived(_));
                    assert!(may_be, "a record of the gateway's is wrong: {error}");
                    self.error = Some(error);
                }
            }
            self.read(expects);
            assert!(heard > 0 || bytes.is_empty(), "bytes behind close_notify");
        }
        self.produce();
    }

    fn read(&mut self, expects: Option<u64>) {
        let mut data = [0; 4096];
        while let Ok(count @ 1..) = self.conn.reader().read(&mut data) {
            let Some(expects) = expects else { panic!("data for a peer that expects none") };
            for byte in &data[..count] {
                let at = self.plain_got;
                let is_right = *byte == pattern(expects, at);
                assert!(is_right, "byte {at} in TLS is not byte {at} of its source");
                self.plain_got += 1;
            }
        }
    }

    /// The gateway has sent this.
    pub fn was_sent(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let most = bytes.len().min(HEAD - self.head.len());
                self.head.extend(&bytes[..most]);
                bytes = &bytes[most..];
                if let [.., high, low] = self.head[..]
                    && self.head.len() == HEAD
                {
                    self.left = usize::from(u16::from_be_bytes([high, low]));
                }
                continue;
            }
            let most = bytes.len().min(self.left);
            self.left -= most;
            bytes = &bytes[most..];
            if self.left == 0 {
                self.is_answered |= self.head[0] == SEALED;
                self.head.clear();
            }
        }
    }

    /// What happened to it.
    pub fn seen(&self, is_server: bool) -> Vec<Seen> {
        let shaken = !self.is_shaking();
        let by = |client, server| if is_server { server } else { client };
        let spoiled = |misdeed| self.is_spoiled && self.misdeed == misdeed;
        let says = |bytes: usize| self.piece == bytes && self.plain_sent > bytes as u64;
        let resumed = shaken && self.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        let shows = self.ask != Ask::Nothing && self.dialect.certificate;
        let all = [
            (shaken, by(Seen::ClientShaken, Seen::ServerShaken)),
            (!shaken, by(Seen::ClientUnshaken, Seen::ServerUnshaken)),
            (spoiled(Misdeed::Forges), Seen::Forged),
            (spoiled(Misdeed::Babbles), Seen::Babbled),
            (spoiled(Misdeed::Breaks), Seen::Broken),
            (spoiled(Misdeed::Truncates), Seen::Truncated),
            (self.spoke_on(), Seen::SpokeOn),
            (self.misdeed == Misdeed::Mute, Seen::Mute),
            (self.refused, Seen::Refused),
            (self.updated, Seen::Updated),
            (self.error.is_some(), Seen::Alerted),
            (self.heard_close, Seen::ClosedByUs),
            (shaken && !self.heard_close, Seen::CutByUs),
            (says(1), Seen::TinyRecords),
            (says(16_384), Seen::LargeRecords),
            (shaken && self.dialect.twelve, by(Seen::ClientOfTls12, Seen::ServerOfTls12)),
            (resumed, if self.dialect.twelve { Seen::ResumedInTls12 } else { Seen::Resumed }),
            (shaken && !resumed && shows, Seen::ShowedCertificate),
            (shaken && self.ask == Ask::Optional && !shows, Seen::HadNoCertificate),
            (self.lacks_certificate() && self.error.is_some(), Seen::LackedCertificate),
            (is_server && self.conn.peer_certificates().is_some(), Seen::SawOurCertificate),
        ];
        all.into_iter().filter(|(happened, _)| *happened).map(|(_, seen)| seen).collect()
    }
}
