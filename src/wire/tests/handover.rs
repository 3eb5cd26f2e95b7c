//! Messages of workers: each field in its place, other versions, every way to cut them.

use proptest::prelude::*;

use crate::base::{BySide, Side};
use crate::wire::handover::{
    Bad, Batch, Departure, ENDED_MAX, Ended, Extra, LONG_MAX, MAX_RECORDS, MESSAGE_MAX, Message,
    RECORD_BYTES, Record, Taken,
};

/// Kinds of extras: no two are the same.
const EXTRAS: [u8; 8] = [
    Departure::ADDRESSES,
    Departure::CLIENT_SESSION,
    Departure::SERVER_SESSION,
    Departure::TLS_FACTS,
    Departure::SOURCE,
    Departure::UNIQUE_ID,
    Departure::STAND,
    Departure::HEADER,
];

/// A record with another value in each field.
fn full() -> Record {
    Record {
        flags: Record::PROBED | Record::SPOKE | Record::HAS_UNIQUE_ID,
        wiring: Record::PAIR,
        lanes: Record::finished(Side::Upstream) | Record::in_hand(Side::Client) | 16,
        route: 0x0102,
        server: 0x0304,
        slot: 0x0506_0708,
        opened_us: 0x1112_1314_1516_1718,
        active_ms: 0x2122_2324_2526_2728,
        waits_since_ms: 0x3132_3334_3536_3738,
        moved_bytes: BySide([0x4142_4344_4546_4748, -2]),
        connect_us: 0x5152_5354,
    }
}

fn full_departure() -> Departure {
    let in_hand = BySide([b"ask".to_vec(), Vec::new()]);
    let extras = vec![
        Extra::new(Departure::ADDRESSES, b"who".to_vec()),
        Extra::new(Departure::SOURCE, Vec::new()),
    ];
    Departure { record: full(), in_hand, extras }
}

fn encoded(message: &Message, record_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(record_bytes, &mut bytes);
    bytes
}

fn batch(records: Vec<Departure>) -> Message {
    Message::Batch(Batch { number: 7, records })
}

/// The departures of a batch that these bytes are.
fn departures(bytes: &[u8], record_bytes: usize) -> Vec<Departure> {
    match Message::decode(bytes, record_bytes) {
        Ok(Message::Batch(batch)) => batch.records,
        other => panic!("{other:?}"),
    }
}

/// What gateways that run have written and read stays as it is.
#[test]
fn a_record_has_these_bytes() {
    #[rustfmt::skip]
    let golden = [
        1, 1, 7, 0, 0, 0, // kind, count, number
        0b1011, 0, 0, 0b1_0110, // flags, wiring, lanes
        2, 1, 4, 3, 8, 7, 6, 5, // route, server, slot
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, // opened
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, // active
        0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, // waits since
        0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41, // moved, by the client
        0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // moved, by the server
        0x54, 0x53, 0x52, 0x51, 11, 0, 0, 0, 13, 0, 0, 0, // connect, in hand, extras
        3, 0, 0, 0, 0, 0, 0, 0, b'a', b's', b'k',
        1, 3, 0, 0, 0, b'w', b'h', b'o',
        5, 0, 0, 0, 0,
    ];
    assert_eq!(encoded(&batch(vec![full_departure()]), RECORD_BYTES), golden);
    assert_eq!(departures(&golden, RECORD_BYTES), [full_departure()]);
    assert_eq!(EXTRAS, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Record::SERVER_ENDED_FIRST, 4);
}

#[test]
fn answers_have_these_bytes() {
    let taken = Message::Taken(Taken { number: 0x0102, taken: 0b101 });
    assert_eq!(encoded(&taken, RECORD_BYTES), [2, 2, 1, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    let ended = Message::Ended(Ended { slots: vec![0x0304, 1] });
    assert_eq!(encoded(&ended, RECORD_BYTES), [3, 2, 0, 4, 3, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn bits_that_follow_from_the_rest_are_set() {
    let mut departure = full_departure();
    departure.record.lanes = Record::finished(Side::Upstream) | Record::in_hand(Side::Upstream);
    let bytes = encoded(&batch(vec![departure]), RECORD_BYTES);
    assert_eq!(departures(&bytes, RECORD_BYTES)[0].record, full());
}

/// A later version's record goes on behind ours.
#[test]
fn the_tail_of_a_longer_record_is_ignored() {
    let all = [full_departure(), Departure::default(), full_departure()];
    let mut bytes = Vec::new();
    for departure in &all {
        let one = encoded(&batch(vec![departure.clone()]), RECORD_BYTES);
        if bytes.is_empty() {
            bytes.extend([1, 3, 7, 0, 0, 0]);
        }
        let (record, behind) = one[6..].split_at(RECORD_BYTES);
        bytes.extend([record, &[0xee; 9], behind].concat());
    }
    let mut expected = all.to_vec();
    expected[1].record.lanes |= Record::TWO_SOCKETS;
    assert_eq!(departures(&bytes, RECORD_BYTES + 9), expected);
}

/// An earlier version's record ends before ours.
#[test]
fn what_a_shorter_record_lacks_is_zero() {
    let mut departure = full_departure();
    departure.in_hand = BySide::default();
    departure.extras.clear();
    let all = vec![departure; 2];
    for record_bytes in 12..RECORD_BYTES {
        let read = departures(&encoded(&batch(all.clone()), record_bytes), record_bytes);
        let mut whole = encoded(&batch(vec![all[0].clone()]), RECORD_BYTES);
        whole[6 + record_bytes..].fill(0);
        assert_eq!(read, vec![departures(&whole, RECORD_BYTES).remove(0); 2], "{record_bytes}");
    }
}

#[test]
fn records_of_an_impossible_length_are_refused() {
    let bytes = encoded(&batch(vec![full_departure()]), RECORD_BYTES);
    for record_bytes in [0, 11, 1025, usize::MAX] {
        let expected = Bad::RecordBytes { bytes: record_bytes };
        assert_eq!(Message::decode(&bytes, record_bytes), Err(expected));
    }
}

/// What this version does not understand concerns one connection, and the others come through.
#[test]
fn a_record_that_is_not_understood_is_stepped_over() {
    type Change = fn(&mut Record);
    let changes: [(Change, usize); 4] = [
        (|record| record.flags |= 0x0100, 2),
        (|record| record.flags |= 0x8000, 2),
        (|record| record.wiring = 5, 2),
        (|record| record.lanes |= 0x20, 2),
    ];
    for (change, sockets) in changes {
        let mut strange = full_departure();
        change(&mut strange.record);
        let all = vec![full_departure(), strange.clone(), full_departure()];
        let read = departures(&encoded(&batch(all), RECORD_BYTES), RECORD_BYTES);
        assert_eq!([&read[0], &read[2]], [&full_departure(), &full_departure()]);
        let expected = Departure { record: strange.record, ..Departure::default() };
        assert_eq!(read[1], expected);
        assert!(read[0].record.is_understood() && !read[1].record.is_understood());
        assert_eq!(read[1].record.sockets(), sockets);
    }
    let alone = Record { wiring: 9, ..Record::default() };
    assert_eq!(alone.sockets(), 1);
    for (wiring, sockets) in
        [(Record::PAIR, 2), (Record::ECHO, 1), (Record::HOLD, 1), (Record::UNSERVED, 1)]
    {
        let record = Record { wiring, server: Record::NO_SERVER, ..Record::default() };
        assert_eq!((record.is_understood(), record.sockets()), (true, sockets));
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let right = encoded(&batch(vec![full_departure()]), RECORD_BYTES);
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = right.clone();
        changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        bytes
    };
    let count = |count, most| Bad::Count { count, most };
    for (bytes, bad, words) in [
        (
            vec![],
            Bad::Short { field: "kind", at: 0, lacks: 1 },
            "kind at byte 0: 1 bytes are missing",
        ),
        (vec![9], Bad::Kind { kind: 9 }, "no message is of kind 9"),
        (
            [&right[..], &[0; 2]].concat(),
            Bad::Tail { at: 94, bytes: 2 },
            "2 bytes behind its end at byte 94",
        ),
        (
            vec![1; LONG_MAX + 1],
            Bad::Long { bytes: 4_194_305 },
            "a message of 4194305 bytes is too long",
        ),
        (with(&[(1, 33)]), count(33, MAX_RECORDS), "33 entries, where 32 may be"),
        (vec![3, 1, 16], count(4097, ENDED_MAX), "4097 entries, where 4096 may be"),
        (
            with(&[(9, 0b110)]),
            Bad::Sockets { at: 6 },
            "the record at byte 6: its wiring and its lanes disagree",
        ),
        (
            with(&[(9, 0b1_1110)]),
            Bad::InHand { at: 70 },
            "bytes in hand at byte 70: their lengths disagree",
        ),
        (
            with(&[(9, 0b1_0010)]),
            Bad::InHand { at: 70 },
            "bytes in hand at byte 70: their lengths disagree",
        ),
        (
            with(&[(70, 2)]),
            Bad::InHand { at: 70 },
            "bytes in hand at byte 70: their lengths disagree",
        ),
        (
            with(&[(70, 4)]),
            Bad::Short { field: "bytes in hand", at: 78, lacks: 1 },
            "bytes in hand at byte 78: 1 bytes are missing",
        ),
        (
            with(&[(82, 9)]),
            Bad::Short { field: "extra", at: 86, lacks: 1 },
            "extra at byte 86: 1 bytes are missing",
        ),
    ] {
        assert_eq!(Message::decode(&bytes, RECORD_BYTES), Err(bad));
        assert_eq!(bad.to_string(), words);
    }
    let bad = Bad::RecordBytes { bytes: 5 };
    assert_eq!(bad.to_string(), "records cannot have 5 bytes");
}

#[test]
fn a_batch_has_room_for_what_a_message_takes() {
    let mut batch = Batch::default();
    while batch.has_room_for(&Departure::default()) {
        batch.records.push(Departure::default());
    }
    assert_eq!(batch.records.len(), MAX_RECORDS);
    let with =
        |bytes| Departure { in_hand: BySide([vec![1; bytes], Vec::new()]), ..Departure::default() };
    let begun = Batch { number: 0, records: vec![with(7)] };
    let most = (0..MESSAGE_MAX).rev().find(|bytes| begun.has_room_for(&with(*bytes)));
    let records = vec![with(7), with(most.expect("some"))];
    let fullest = Message::Batch(Batch { number: 0, records });
    assert_eq!(encoded(&fullest, RECORD_BYTES).len(), MESSAGE_MAX);
    // One that is longer travels alone, up to a bound.
    assert!(Batch::default().has_room_for(&with(LONG_MAX)) && !with(LONG_MAX).can_travel());
    let most = (0..LONG_MAX).rev().find(|bytes| with(*bytes).can_travel());
    let longest = Message::Batch(Batch { number: 0, records: vec![with(most.expect("some"))] });
    let bytes = encoded(&longest, RECORD_BYTES);
    assert_eq!(bytes.len(), LONG_MAX);
    assert!(Message::decode(&bytes, RECORD_BYTES).is_ok());
}

fn any_record() -> impl Strategy<Value = Record> {
    let small = any::<(u16, u8, u8, u16, u16, u32, u32)>();
    let times = any::<(u64, u64, u64)>();
    (small, times, any::<[i64; 2]>()).prop_map(|(small, times, moved)| {
        let (flags, wiring, lanes, route, server, slot, connect_us) = small;
        let (opened_us, active_ms, waits_since_ms) = times;
        Record {
            flags: flags & 0xff,
            wiring: wiring % 5,
            lanes: lanes & 3,
            route,
            server,
            slot,
            opened_us,
            active_ms,
            waits_since_ms,
            moved_bytes: BySide(moved),
            connect_us,
        }
    })
}

fn any_departure() -> impl Strategy<Value = Departure> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let extra = (any::<u8>(), bytes()).prop_map(|(kind, bytes)| Extra::new(kind, bytes));
    let extras = prop::collection::vec(extra, 0..4);
    (any_record(), bytes(), bytes(), extras).prop_map(|(mut record, client, server, extras)| {
        let in_hand = BySide([client, server]);
        for side in Side::BOTH.into_iter().filter(|side| !in_hand[*side].is_empty()) {
            record.lanes |= Record::in_hand(side);
        }
        if record.sockets() == 2 {
            record.lanes |= Record::TWO_SOCKETS;
        }
        Departure { record, in_hand, extras }
    })
}

/// A message; a batch has fewer records than this.
fn any_message(records: usize) -> impl Strategy<Value = Message> {
    let batches = (any::<u32>(), prop::collection::vec(any_departure(), 0..records));
    let slots = prop::collection::vec(any::<u32>(), 0..50);
    prop_oneof![
        batches.prop_map(|(number, records)| Message::Batch(Batch { number, records })),
        any::<(u32, u64)>().prop_map(|(number, taken)| Message::Taken(Taken { number, taken })),
        slots.prop_map(|slots| Message::Ended(Ended { slots })),
    ]
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(
        message in any_message(MAX_RECORDS + 1),
        more in 0_usize..30,
    ) {
        let record_bytes = RECORD_BYTES + more;
        let bytes = encoded(&message, record_bytes);
        if let Message::Batch(batch) = &message {
            let each: usize = batch.records.iter().map(|one| one.bytes() + more).sum();
            prop_assert_eq!(bytes.len(), 6 + each);
        }
        prop_assert_eq!(Message::decode(&bytes, record_bytes), Ok(message));
    }

    #[test]
    fn every_part_of_a_message_is_an_error(message in any_message(4)) {
        let bytes = encoded(&message, RECORD_BYTES);
        for end in 0..bytes.len() {
            let is_short = matches!(
                Message::decode(&bytes[..end], RECORD_BYTES),
                Err(Bad::Short { at, lacks, .. }) if at <= end && lacks > 0
            );
            prop_assert!(is_short, "{} of {}", end, bytes.len());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        message in any_message(4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        record_bytes in 0_usize..200,
    ) {
        let mut bytes = encoded(&message, RECORD_BYTES);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        for record_bytes in [RECORD_BYTES, record_bytes] {
            if let Err(bad) = Message::decode(&bytes, record_bytes) {
                prop_assert!(!bad.to_string().is_empty());
            }
        }
    }
}
