//! Records of TLS: a session of the gateway and a server of rustls, both with the same keys, take
//! the same and refuse the same.

#[path = "../records/peer.rs"]
#[allow(dead_code)] // the tests of records need more of it
mod peer;

use std::io::Read;

use portcullis::tls::{Awake, Fault, Opened, PLAIN_MAX, RECORD_MAX, Session, Suite};
use rustls::{Error, PeerMisbehaved, ServerConnection};

use peer::{Sender, shake, suites, take};

const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// Records of an input, at most.
const RECORDS_MAX: usize = 100;

/// A suite, and records: what each is (four bytes: how it is made, two numbers, a length) and its
/// content. Behind the first byte, a written session as well.
pub(crate) fn records(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else { return };
    if let Ok(session) = Session::from_bytes(rest) {
        assert_eq!(session.to_bytes()[..], *rest, "another session");
    }
    let suite = suites().nth(usize::from(first) % suites().count()).expect("one of them");
    let (mut session, mut rustls, mut sender) = shake(suite, 0).with_both_and_sender();
    for _ in 0..RECORDS_MAX {
        let Some((&[how, one, two, bytes], behind)) = rest.split_first_chunk() else { break };
        let (content, behind) = behind.split_at(behind.len().min(bytes.into()));
        rest = behind;
        let made = record(&mut sender, suite, [how, one, two], content);
        if !both_take(&mut session, &mut rustls, &made) {
            break;
        }
    }
}

/// A record, and the type of what is in it; 0: it may have none.
struct Made {
    record: Vec<u8>,
    kind: u8,
}

fn record(sender: &mut Sender, suite: Suite, [how, one, two]: [u8; 3], content: &[u8]) -> Made {
    match how % 4 {
        // Of any type, with padding.
        0 if two > 0 && suite.is_tls13() => Made {
            record: sender.padded(one, content, two.into()),
            kind: kind_of(suite, one, content),
        },
        0 => Made { record: sender.record(one, content), kind: kind_of(suite, one, content) },
        // Data of any length, also longer than it may be.
        1 => {
            let bytes = usize::from(u16::from_be_bytes([one, two])) % (PLAIN_MAX + 20);
            Made { record: sender.record(DATA, &vec![7; bytes]), kind: DATA }
        }
        // One with a byte changed.
        2 => {
            let mut record = sender.record(DATA, content);
            let at = usize::from(one) % record.len();
            record[at] ^= two;
            Made { record, kind: 0 }
        }
        // Any bytes behind the begin of a header.
        _ => Made { record: [&[one, two, 3, 0, content.len() as u8], content].concat(), kind: 0 },
    }
}

/// The type of a record that is made with this one: in TLS 1.3 a 0 is padding, and the content's
/// last byte before it is the type.
fn kind_of(suite: Suite, kind: u8, content: &[u8]) -> u8 {
    if !suite.is_tls13() {
        return kind;
    }
    let bytes = content.iter().copied().chain([kind]);
    bytes.rev().find(|byte| *byte != 0).unwrap_or(0)
}

/// Has both take a record. `false`: there is no more to compare.
fn both_take(session: &mut Session, rustls: &mut ServerConnection, made: &Made) -> bool {
    let Made { record, kind } = made;
    for cut in 0..record.len().min(5) {
        assert_eq!(session.record_bytes(&record[..cut]), Ok(None));
    }
    let mut own = record.clone();
    let opened = match session.record_bytes(record) {
        Ok(Some(bytes)) if bytes == record.len() => session.open(&mut Awake::default(), &mut own),
        Ok(bytes) => {
            assert!(bytes <= Some(RECORD_MAX));
            return false; // a changed length: rustls waits for more, or has a record and a part
        }
        Err(fault) => Err(fault),
    };
    let other = take(rustls, record);
    let mut plain = Vec::new();
    let closed = rustls.reader().read_to_end(&mut plain).is_ok() && other.is_ok();
    match opened {
        Ok(_) if is_stricter(&other) => return false,
        Ok(Opened::Data(range)) => assert!(other.is_ok() && plain == own[range], "{other:?}"),
        Ok(Opened::Nothing) => assert!(other.is_ok() && plain.is_empty() && !closed, "{other:?}"),
        Ok(Opened::Closed) => assert!(closed && plain.is_empty(), "{other:?}"),
        Err(fault) => {
            let is_refused = other.is_err() && plain.is_empty();
            assert!(is_refused || we_are_stricter(session, fault, record, *kind), "{fault:?}");
            return false;
        }
    }
    !session.is_closed_by_peer()
}

/// rustls takes four warnings in the life of a connection, and 32 KeyUpdates in a row.
fn is_stricter(other: &Result<(), Error>) -> bool {
    use PeerMisbehaved::{TooManyKeyUpdateRequests, TooManyWarningAlertsReceived};
    let Err(Error::PeerMisbehaved(why)) = other else { return false };
    [TooManyKeyUpdateRequests, TooManyWarningAlertsReceived].contains(why)
}

/// What rustls takes and we do not: types and versions that the tag does not cover with it, a first
/// renegotiation, messages of a handshake in parts, floods that data without a byte interrupts.
fn we_are_stricter(session: &Session, fault: Fault, record: &[u8], kind: u8) -> bool {
    match fault {
        Fault::EmptyFlood | Fault::UpdateFlood => true,
        // rustls waits for as much as any version allows.
        Fault::Oversize => record[3..5] != ((record.len() - 5) as u16).to_be_bytes(),
        Fault::Unexpected | Fault::Renegotiation | Fault::Malformed if kind == HANDSHAKE => true,
        _ => session.is_tls13() && record[..3] != [DATA, 3, 3],
    }
}
