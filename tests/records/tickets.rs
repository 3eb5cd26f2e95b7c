//! Session tickets, which servers send behind the handshake and a client of the gateway skips.

use portcullis::tls::{Awake, Fault, Opened, Session, Suite};

use crate::peer::{End, Sender, shake, suites};
use crate::talk::records;

const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

fn suite() -> Suite {
    suites().next().expect("one")
}

fn client() -> (Session, Sender) {
    shake(suite(), 0).with_sender(End::Client)
}

/// A ticket of so many bytes; what they say is not looked at.
fn ticket(bytes: u16) -> Vec<u8> {
    let [high, low] = bytes.to_be_bytes();
    [&[4, 0, high, low][..], &vec![24; bytes.into()]].concat()
}

/// Opens these as contents of handshake records, written down between them.
fn open(session: &mut Session, sender: &mut Sender, parts: &[&[u8]]) -> Result<Opened, Fault> {
    let mut last = Ok(Opened::Nothing);
    for part in parts {
        assert_eq!(last, Ok(Opened::Nothing));
        let mut record = sender.record(HANDSHAKE, part);
        last = session.open(&mut Awake::default(), &mut record);
        if last.is_ok() {
            *session = Session::from_bytes(&session.to_bytes()).expect("as written");
        }
    }
    last
}

fn goes_on(session: &mut Session, sender: &mut Sender) -> bool {
    let mut record = sender.record(DATA, b"data");
    session.open(&mut Awake::default(), &mut record) == Ok(Opened::Data(5..9))
}

#[test]
fn tickets_of_rustls_are_skipped() {
    for (suite, tickets) in suites().filter(|suite| suite.is_tls13()).zip([1, 2, 9]) {
        let shaken = shake(suite, tickets);
        let behind = shaken.behind.clone();
        let (mut session, _) = shaken.with_rustls(End::Client);
        let mut records = records(&session, &behind);
        assert!(!records.is_empty());
        for record in &mut records {
            assert_eq!(session.open(&mut Awake::default(), record), Ok(Opened::Nothing));
        }
    }
}

#[test]
fn a_ticket_is_skipped_however_it_is_cut() {
    let two = [ticket(200), ticket(7)].concat();
    for cut in 1..two.len() {
        let (mut session, mut sender) = client();
        let (first, second) = two.split_at(cut);
        assert_eq!(open(&mut session, &mut sender, &[first, second]), Ok(Opened::Nothing));
        assert!(goes_on(&mut session, &mut sender), "cut at {cut}");
    }
    let (mut session, mut sender) = client();
    let bytes: Vec<&[u8]> = two.chunks(1).collect();
    assert_eq!(open(&mut session, &mut sender, &bytes), Ok(Opened::Nothing));
    let longest = ticket(u16::MAX);
    let parts: Vec<&[u8]> = longest.chunks(16_000).collect();
    assert_eq!(open(&mut session, &mut sender, &parts), Ok(Opened::Nothing));
    assert_eq!(open(&mut session, &mut sender, &[&ticket(0), &ticket(0)]), Ok(Opened::Nothing));
    assert!(goes_on(&mut session, &mut sender));
}

#[test]
fn nothing_comes_amid_a_ticket() {
    for cut in [1, 2, 3, 4, 100] {
        let (mut session, mut sender) = client();
        let part = &ticket(200)[..cut];
        assert_eq!(open(&mut session, &mut sender, &[part]), Ok(Opened::Nothing));
        let mut record = sender.record(DATA, b"data");
        let opened = session.open(&mut Awake::default(), &mut record);
        assert_eq!(opened, Err(Fault::Unexpected), "cut at {cut}");
    }
}

#[test]
fn a_key_update_behind_a_ticket_changes_the_key() {
    let (mut session, mut sender) = client();
    let both = [&ticket(9)[..], &KEY_UPDATE].concat();
    assert_eq!(open(&mut session, &mut sender, &[&both]), Ok(Opened::Nothing));
    assert!(!goes_on(&mut session, &mut sender), "the sender has the old key");
    let (mut session, mut sender) = client();
    let both = [&KEY_UPDATE, &ticket(9)[..]].concat();
    assert_eq!(open(&mut session, &mut sender, &[&both]), Err(Fault::Unexpected));
}

#[test]
fn what_is_no_ticket_or_too_long_or_comes_to_a_server_is_refused() {
    for (content, fault) in [
        (&[4, 1, 0, 0][..], Fault::Malformed),
        (&[13, 0, 0, 0], Fault::Unexpected), // CertificateRequest: none was offered
        (&[0, 0, 0, 0], Fault::Unexpected),
    ] {
        let (mut session, mut sender) = client();
        assert_eq!(open(&mut session, &mut sender, &[content]), Err(fault));
    }
    let (mut session, mut sender) = shake(suite(), 0).with_sender(End::Server);
    assert_eq!(open(&mut session, &mut sender, &[&ticket(9)]), Err(Fault::Unexpected));
}
