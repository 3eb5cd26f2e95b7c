//! Keys change, by the peer at any record and by us before a key has sealed too much.

use portcullis::tls::{Awake, Fault, Opened, PLAIN_MAX, Session};

use crate::peer::{ENDS, End, Sender, shake, suites};
use crate::talk::{Between, Talk, data, records};

/// Messages of a talk.
const MESSAGES: usize = 60;

#[test]
fn the_peer_changes_its_key_before_every_record_and_we_follow() {
    for (suite, end) in suites().flat_map(|suite| ENDS.map(|end| (suite, end))) {
        if !suite.is_tls13() {
            continue;
        }
        for between in [Between::Nothing, Between::Sleep, Between::Move] {
            let mut talk = Talk::new(suite, end, between);
            for nth in 1..=MESSAGES {
                talk.peer.refresh_traffic_keys().expect("TLS 1.3");
                talk.hear(&data(nth));
                assert_eq!(talk.say(&data(nth)), 2, "a KeyUpdate that was asked for");
                assert_eq!(talk.say(&data(nth)), 1);
            }
        }
    }
}

#[test]
fn requests_in_a_row_get_one_update() {
    let suite = suites().next().expect("one");
    let mut talk = Talk::new(suite, End::Server, Between::Move);
    for _ in 0..10 {
        talk.peer.refresh_traffic_keys().expect("TLS 1.3");
    }
    assert_eq!(talk.receive().len(), 10);
    assert_eq!(talk.say(&data(5)), 2);
    assert_eq!(talk.say(&data(5)), 1);
    talk.hear(&data(5));
}

#[test]
fn a_key_seals_no_more_than_its_limit() {
    for suite in suites().filter(|suite| suite.is_tls13()) {
        let mut talk = Talk::new(suite, End::Server, Between::Sleep);
        talk.session.lower_limit(3);
        talk.session.lower_limit(30);
        // Eight records: six of data, the KeyUpdate, and one that is left for an alert.
        let said: Vec<usize> = (0..MESSAGES).map(|_| talk.say(&data(9))).collect();
        let expected: Vec<usize> =
            (0..MESSAGES).map(|nth| 1 + usize::from(nth > 0 && nth % 6 == 0)).collect();
        assert_eq!(said, expected);
        talk.hear(&data(9));
    }
}

#[test]
fn both_change_their_keys_at_the_same_time() {
    for suite in suites().filter(|suite| suite.is_tls13()) {
        let mut talk = Talk::new(suite, End::Client, Between::Move);
        talk.session.lower_limit(2);
        for nth in 1..=MESSAGES {
            talk.peer.refresh_traffic_keys().expect("TLS 1.3");
            talk.say(&data(nth));
            talk.hear(&data(nth));
        }
    }
}

#[test]
fn a_key_changes_between_records_that_could_be_sealed_at_once() {
    let suite = suites().next().expect("one");
    let mut talk = Talk::new(suite, End::Server, Between::Nothing);
    talk.session.lower_limit(3);
    let data = data(4 * PLAIN_MAX);
    let counts: Vec<Vec<usize>> = (0..8).map(|_| talk.say_all(&data)).collect();
    assert!(counts.iter().any(|goes| goes.len() > 1), "a key ends amid data: {counts:?}");
    let records = counts.iter().flatten().sum::<usize>();
    assert!(records > 4 * counts.len(), "KeyUpdates beside the data: {counts:?}");
}

#[test]
fn a_session_of_tls_1_2_says_that_its_key_is_worn() {
    for suite in suites().filter(|suite| !suite.is_tls13()) {
        let mut talk = Talk::new(suite, End::Server, Between::Move);
        assert!(!talk.session.is_worn());
        talk.session.lower_limit(3);
        let before = (0..8).take_while(|_| {
            let worn = talk.session.is_worn();
            assert_eq!(talk.say(&data(3)), 1);
            !worn
        });
        // The handshake has sealed Finished.
        assert_eq!(before.count(), 5);
    }
}

#[test]
fn key_updates_while_data_goes_neither_way_are_taken_255_times() {
    let suite = suites().next().expect("one");
    let mut talk = Talk::new(suite, End::Server, Between::Sleep);
    for round in 0..4 {
        for _ in 0..255 {
            talk.peer.refresh_traffic_keys().expect("TLS 1.3");
            talk.receive();
        }
        if round % 2 == 0 {
            talk.hear(&data(1));
        } else {
            talk.say(&data(1));
        }
    }
    for _ in 0..256 {
        talk.peer.refresh_traffic_keys().expect("TLS 1.3");
    }
    let mut sealed = Vec::new();
    while talk.peer.wants_write() {
        talk.peer.write_tls(&mut sealed).expect("memory");
    }
    let mut last = records(&talk.session, &sealed);
    let mut open = |record: &mut Vec<u8>| talk.session.open(&mut Awake::default(), record);
    let mut flood = last.pop().expect("256 records");
    last.iter_mut().for_each(|record| assert!(open(record).is_ok()));
    assert_eq!(open(&mut flood), Err(Fault::UpdateFlood));
}

#[test]
fn a_key_update_is_alone_and_of_a_known_kind() {
    let suite = suites().next().expect("one");
    for (content, fault) in [
        (&[24, 0, 0, 1, 2][..], Fault::Illegal),
        (&[24, 0, 0, 2, 0, 0], Fault::Malformed),
        (&[24, 0, 0, 0], Fault::Malformed),
        (&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], Fault::Unexpected),
        (&[1, 0, 0, 0], Fault::Unexpected),
        (&[], Fault::Unexpected),
    ] {
        let (mut session, mut sender) = shake(suite, 0).with_sender(End::Server);
        let mut record = sender.record(22, content);
        assert_eq!(session.open(&mut Awake::default(), &mut record), Err(fault), "{content:?}");
    }
    let (mut session, mut sender): (Session, _) = shake(suite, 0).with_sender(End::Server);
    let mut record = sender.padded(22, &[24, 0, 0, 1, 1], 9);
    assert!(session.open(&mut Awake::default(), &mut record).is_ok());
}

#[test]
fn a_key_update_is_taken_however_it_is_cut() {
    const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];
    let suite = suites().next().expect("one");
    for (cut, moves) in (1..KEY_UPDATE.len()).flat_map(|cut| [(cut, false), (cut, true)]) {
        let shaken = || shake(suite, 0).with_sender(End::Server);
        let (mut session, mut sender): (Session, _) = shaken();
        let open = |session: &mut Session, sender: &mut Sender, kind, part: &[u8]| {
            session.open(&mut Awake::default(), &mut sender.record(kind, part))
        };
        let (first, last) = KEY_UPDATE.split_at(cut);
        assert_eq!(open(&mut session, &mut sender, 22, first), Ok(Opened::Nothing));
        if moves {
            session = Session::from_bytes(&session.to_bytes()).expect("as written");
        }
        assert_eq!(open(&mut session, &mut sender, 22, last), Ok(Opened::Nothing));
        // The key is the next.
        let opened = open(&mut session, &mut sender, 23, b"words");
        assert_eq!(opened, Err(Fault::Forged), "{cut}");
        for (kind, content, fault) in [
            // Nothing comes amid it, and nothing behind it in its record.
            (23, &b"words"[..], Fault::Unexpected),
            (21, &[1, 0], Fault::Unexpected),
            (22, &[], Fault::Unexpected),
            (22, &[last, &KEY_UPDATE].concat(), Fault::Unexpected),
            (22, &[9; 5], Fault::Malformed),
        ] {
            let (mut session, mut sender): (Session, _) = shaken();
            assert_eq!(open(&mut session, &mut sender, 22, first), Ok(Opened::Nothing));
            let is_last = cut == KEY_UPDATE.len() - 1 && content == [9; 5];
            let fault = if is_last { Fault::Unexpected } else { fault };
            assert_eq!(open(&mut session, &mut sender, kind, content), Err(fault), "{content:?}");
        }
    }
}
