//! How sessions end: close_notify of either side, and alerts.

use portcullis::tls::{ALERT_BYTES, Alert, Awake, Fault, HEAD_BYTES, Opened};
use rustls::{AlertDescription, Connection, Error};

use crate::peer::{ENDS, End, shake, suites, take};
use crate::talk::{Between, Talk, data, records};

const ALERT: u8 = 21;
const DATA: u8 = 23;

#[test]
fn our_close_notify_ends_one_direction() {
    for (suite, end) in suites().flat_map(|suite| ENDS.map(|end| (suite, end))) {
        let mut talk = Talk::new(suite, end, Between::Move);
        talk.say(&data(9));
        let mut memory = [0; ALERT_BYTES];
        assert!(!talk.session.is_closed());
        let bytes = talk.session.alert(&mut talk.awake, &mut memory, Alert::CLOSE_NOTIFY);
        talk.give(&memory[..bytes]);
        let state = match &mut talk.peer {
            Connection::Client(client) => client.process_new_packets(),
            Connection::Server(server) => server.process_new_packets(),
        };
        assert!(state.expect("no error").peer_has_closed());
        assert!(talk.session.is_closed() && !talk.session.is_closed_by_peer());
        assert_eq!(talk.session.alert(&mut talk.awake, &mut memory, Alert::CLOSE_NOTIFY), 0);
        talk.hear(&data(9));
    }
}

#[test]
fn behind_a_close_notify_of_the_peer_nothing_counts_and_we_may_go_on() {
    for (suite, end) in suites().flat_map(|suite| ENDS.map(|end| (suite, end))) {
        let mut talk = Talk::new(suite, end, Between::Move);
        talk.hear(&data(9));
        talk.peer.send_close_notify();
        let mut sealed = Vec::new();
        talk.peer.write_tls(&mut sealed).expect("memory");
        let [record] = &records(&talk.session, &sealed)[..] else { panic!("one record") };
        for _ in 0..2 {
            let opened = talk.session.open(&mut talk.awake, &mut record.clone());
            assert_eq!(opened, Ok(Opened::Closed));
            assert!(talk.session.is_closed_by_peer() && !talk.session.is_closed());
        }
        talk.say(&data(9));
    }
}

#[test]
fn a_fault_goes_to_the_peer_as_its_alert() {
    let faults = [
        (Fault::Oversize, AlertDescription::RecordOverflow),
        (Fault::NotRecord, AlertDescription::DecodeError),
        (Fault::Forged, AlertDescription::BadRecordMac),
        (Fault::EmptyFlood, AlertDescription::UnexpectedMessage),
        (Fault::UpdateFlood, AlertDescription::UnexpectedMessage),
        (Fault::Unexpected, AlertDescription::UnexpectedMessage),
        (Fault::Malformed, AlertDescription::DecodeError),
        (Fault::Illegal, AlertDescription::IllegalParameter),
        (Fault::Exhausted, AlertDescription::InternalError),
    ];
    for suite in suites() {
        for (fault, expected) in &faults {
            let mut talk = Talk::new(suite, End::Server, Between::Sleep);
            let mut memory = [0; ALERT_BYTES];
            let alert = fault.alert().expect("the peer hears of it");
            let bytes = talk.session.alert(&mut talk.awake, &mut memory, alert);
            let Connection::Client(client) = &mut talk.peer else { panic!("a client") };
            let error = take(client, &memory[..bytes]).expect_err("a fatal alert");
            assert_eq!(error, Error::AlertReceived(*expected));
            assert!(talk.session.is_closed());
        }
        let mut words: Vec<&str> = faults.iter().map(|(fault, _)| fault.word()).collect();
        words.extend([Fault::Renegotiation.word(), Fault::Alerted(Alert(40)).word()]);
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), faults.len() + 2, "each has a word of its own");
    }
    assert_eq!(Fault::Alerted(Alert(40)).alert(), None);
}

#[test]
fn renegotiation_is_refused_with_the_warning_that_it_has() {
    let suite = suites().find(|suite| !suite.is_tls13()).expect("one");
    let mut talk = Talk::new(suite, End::Server, Between::Sleep);
    let mut memory = [0; ALERT_BYTES];
    let alert = Fault::Renegotiation.alert().expect("the peer hears of it");
    let bytes = talk.session.alert(&mut talk.awake, &mut memory, alert);
    talk.give(&memory[..bytes]); // rustls takes a warning
    assert!(talk.session.is_closed());
}

#[test]
fn alerts_of_the_peer_end_the_session_unless_they_are_warnings_that_count_for_nothing() {
    for suite in suites() {
        let warning = match suite.is_tls13() {
            true => Err(Fault::Alerted(Alert(100))),
            false => Ok(Opened::Nothing),
        };
        for (content, expected) in [
            (&[2, 40][..], Err(Fault::Alerted(Alert(40)))),
            (&[1, 100], warning),
            (&[1, 90], Ok(Opened::Nothing)),
            (&[2, 90], Err(Fault::Alerted(Alert(90)))),
            (&[2, 0], Ok(Opened::Closed)),
            (&[3, 0], Err(Fault::Illegal)),
            (&[0, 10], Err(Fault::Illegal)),
            (&[2], Err(Fault::Malformed)),
            (&[1, 0, 0], Err(Fault::Malformed)),
            (&[1, 0, 1, 0], Err(Fault::Malformed)),
            (&[], Err(Fault::Unexpected)),
        ] {
            let (mut session, mut sender) = shake(suite, 0).with_sender(End::Server);
            let mut record = sender.record(ALERT, content);
            let opened = session.open(&mut Awake::default(), &mut record);
            assert_eq!(opened, expected, "{content:?} in {}", suite.name());
        }
    }
}

#[test]
fn records_without_data_are_taken_32_times_in_a_row() {
    for suite in suites() {
        let (mut session, mut sender) = shake(suite, 0).with_sender(End::Server);
        let mut awake = Awake::default();
        let mut idle = |nth: usize| match nth % 2 {
            0 => sender.record(DATA, &[]),
            _ => sender.record(ALERT, &[1, 90]),
        };
        let mut turn: Vec<Vec<u8>> = (0..32).map(&mut idle).collect();
        turn.iter_mut().for_each(|record| {
            assert_eq!(session.open(&mut awake, record), Ok(Opened::Nothing));
        });
        let mut some = sender.record(DATA, b"some");
        assert!(matches!(session.open(&mut awake, &mut some), Ok(Opened::Data(_))));
        for nth in 0..33 {
            let mut record = sender.record(DATA, &[]);
            let expected = if nth < 32 { Ok(Opened::Nothing) } else { Err(Fault::EmptyFlood) };
            assert_eq!(session.open(&mut awake, &mut record), expected);
        }
    }
}

#[test]
#[should_panic(expected = "data behind close_notify")]
fn nothing_is_sealed_behind_our_close_notify() {
    let mut talk = Talk::new(suites().next().expect("one"), End::Server, Between::Nothing);
    let mut memory = [0; 2 * HEAD_BYTES];
    talk.session.alert(&mut talk.awake, &mut memory, Alert::CLOSE_NOTIFY);
    talk.session.seal(&mut talk.awake, &mut memory, HEAD_BYTES..HEAD_BYTES + 1);
}
