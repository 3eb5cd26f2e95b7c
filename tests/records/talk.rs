//! Data goes both ways, in records of every size, also where the session sleeps between them.

use std::io::{Read, Write};

use portcullis::tls::{
    Awake, HEAD_BYTES, Opened, PLAIN_MAX, Session, Suite, TAIL_BYTES, tail_bytes,
};
use rustls::Connection;

use crate::peer::{ENDS, End, shake, suites, take};

/// What happens to a session before each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    Nothing,
    Sleep,
    /// It goes on in another process.
    Move,
}

/// A session and its peer.
pub(crate) struct Talk {
    pub(crate) session: Session,
    pub(crate) awake: Awake,
    pub(crate) peer: Connection,
    between: Between,
}

impl Talk {
    pub(crate) fn new(suite: Suite, end: End, between: Between) -> Talk {
        let (session, peer) = shake(suite, 0).with_rustls(end);
        Talk { session, awake: Awake::default(), peer, between }
    }

    fn rest(&mut self) {
        if self.between != Between::Nothing {
            self.awake = Awake::default();
        }
        if self.between == Between::Move {
            self.session = Session::from_bytes(&self.session.to_bytes()).expect("as written");
        }
    }

    /// What we seal: how many records it is.
    pub(crate) fn say(&mut self, data: &[u8]) -> usize {
        self.rest();
        let mut memory = [&[0; HEAD_BYTES], data, &[0; TAIL_BYTES]].concat();
        let plain = HEAD_BYTES..HEAD_BYTES + data.len();
        let sealed = self.session.seal(&mut self.awake, &mut memory, plain);
        let sealed = &memory[sealed];
        self.give(sealed);
        let mut got = vec![0; data.len()];
        self.peer.reader().read_exact(&mut got).expect("all of it");
        assert!(got == data, "{} bytes, {:?}", data.len(), self.session);
        records(&self.session, sealed).len()
    }

    /// What we seal, as many records at once as can be: how many that is each time.
    pub(crate) fn say_all(&mut self, data: &[u8]) -> Vec<usize> {
        let (mut said, mut counts) = (0, Vec::new());
        while said < data.len() {
            self.rest();
            let rest = &data[said..];
            let mut memory = [&[0; HEAD_BYTES], rest, &vec![0; tail_bytes(rest.len())]].concat();
            let plain = HEAD_BYTES..HEAD_BYTES + rest.len();
            let (sealed, bytes) = self.session.seal_all(&mut self.awake, &mut memory, plain);
            let records = records(&self.session, &memory[sealed]);
            let mut got: Vec<u8> = Vec::new();
            for record in &records {
                self.give(record);
                let mut part = [0; PLAIN_MAX];
                let count = self.peer.reader().read(&mut part).unwrap_or(0); // of a KeyUpdate
                got.extend(&part[..count]);
            }
            assert!(got == rest[..bytes], "{bytes} of {} bytes, {:?}", rest.len(), self.session);
            said += bytes;
            counts.push(records.len());
        }
        counts
    }

    pub(crate) fn give(&mut self, sealed: &[u8]) {
        match &mut self.peer {
            Connection::Client(client) => take(client, sealed),
            Connection::Server(server) => take(server, sealed),
        }
        .expect("rustls takes it");
    }

    /// What the peer says; all of it comes.
    pub(crate) fn hear(&mut self, data: &[u8]) {
        self.peer.writer().write_all(data).expect("memory");
        let mut got = Vec::new();
        for opened in self.receive() {
            got.extend(opened);
        }
        assert!(got == data, "{} bytes, {:?}", data.len(), self.session);
    }

    /// Opens what the peer has for us: the data of each record.
    pub(crate) fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut sealed = Vec::new();
        while self.peer.wants_write() {
            self.peer.write_tls(&mut sealed).expect("memory");
        }
        let mut opened = Vec::new();
        for mut record in records(&self.session, &sealed) {
            self.rest();
            opened.push(match self.session.open(&mut self.awake, &mut record) {
                Ok(Opened::Data(plain)) => record[plain].to_vec(),
                Ok(Opened::Nothing) => Vec::new(),
                other => panic!("{other:?} of {:?}", self.session),
            });
        }
        opened
    }
}

/// The records in these bytes, whole.
pub(crate) fn records(session: &Session, mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some(length) = session.record_bytes(bytes).expect("a header") {
        let (record, rest) = bytes.split_at(length);
        records.push(record.to_vec());
        bytes = rest;
    }
    assert!(bytes.is_empty());
    records
}

/// Bytes that are not all alike.
pub(crate) fn data(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|nth| (nth * 31 + bytes) as u8).collect()
}

#[test]
fn every_suite_carries_data_both_ways_also_asleep_and_moved() {
    for (suite, end) in suites().flat_map(|suite| ENDS.map(|end| (suite, end))) {
        for between in [Between::Nothing, Between::Sleep, Between::Move] {
            let mut talk = Talk::new(suite, end, between);
            assert_eq!((talk.session.suite(), talk.session.is_tls13()), (suite, suite.is_tls13()));
            for bytes in [1, 2, 15, 16, 17, 255, 1400, PLAIN_MAX - 1, PLAIN_MAX] {
                assert_eq!(talk.say(&data(bytes)), 1);
                talk.hear(&data(bytes));
            }
        }
    }
}

#[test]
fn more_than_a_record_holds_is_sealed_at_once() {
    for (suite, end) in suites().flat_map(|suite| ENDS.map(|end| (suite, end))) {
        for between in [Between::Nothing, Between::Move] {
            let mut talk = Talk::new(suite, end, between);
            for bytes in [1, PLAIN_MAX, PLAIN_MAX + 1, 3 * PLAIN_MAX - 1, 4 * PLAIN_MAX] {
                assert_eq!(talk.say_all(&data(bytes)), [bytes.div_ceil(PLAIN_MAX)], "{suite:?}");
                talk.hear(&data(100));
            }
        }
    }
}

#[test]
fn records_of_every_size_pass() {
    let suites: Vec<Suite> = suites().collect();
    let mut talks: Vec<Talk> =
        suites.iter().map(|suite| Talk::new(*suite, End::Server, Between::Nothing)).collect();
    let count = talks.len();
    let most = data(PLAIN_MAX);
    for bytes in 1..=PLAIN_MAX {
        let talk = &mut talks[bytes % count];
        talk.say(&most[..bytes]);
        talk.hear(&most[bytes - 1..]);
    }
}

#[test]
fn suites_with_rsa_differ_in_their_name_alone() {
    for (number, name) in [
        (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
        (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ] {
        let suite = Suite::of_number(number).expect("it is known");
        assert_eq!(suite.name(), name);
        let mut talk = Talk::new(suite, End::Server, Between::Move);
        talk.say(&data(100));
        talk.hear(&data(100));
    }
    assert_eq!(Suite::of_number(0x002f), None);
}
