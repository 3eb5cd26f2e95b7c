//! Places, pieces, and what a change of the config makes of those who are being read.

use std::time::Duration;

use super::*;
use crate::config::Preamble;
use crate::worker::decoder::{Decoder, Told};

/// Takes a line, and keeps what follows.
#[derive(Debug)]
struct Line;

impl Decoder for Line {
    fn judge(&self, bytes: &[u8], _: &[u8]) -> Judgement {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => Judgement::Done { taken_bytes: end + 1, told: Told::default() },
            None => Judgement::More,
        }
    }

    fn most_bytes(&self) -> usize {
        8
    }
}

fn lines(count: usize) -> Arc<Preface> {
    let decoders = (0..count).map(|_| Box::new(Line) as Box<dyn Decoder>).collect();
    Arc::new(Preface { decoders, within: Duration::ZERO, trust: None })
}

fn take(prefaces: &mut Prefaces, said: &[u8], count: usize) -> Judgement {
    let preface = prefaces.take(ConnIndex(7), said, lines(count));
    prefaces.read(ConnIndex(7)).judge(&preface).expect("a decoder is left")
}

#[test]
fn a_preface_comes_in_pieces_and_what_follows_it_is_kept_in_order() {
    let (mut prefaces, one) = (Prefaces::new(1), ConnIndex(7));
    assert!(prefaces.ask(one));
    assert_eq!(take(&mut prefaces, b"ab", 1), Judgement::More);
    let judgement = take(&mut prefaces, b"c\nserver", 1);
    assert_eq!(judgement, Judgement::Done { taken_bytes: 4, told: Told::default() });
    assert!(prefaces.keep(one));
    let kept = prefaces.kept(one).expect("it has said more than a preface");
    assert_eq!(kept.bytes[kept.from..], *b"server");
    assert!(prefaces.keeps_more(one));
    assert_eq!(prefaces.leave(one), None);
    assert!(prefaces.is_empty(), "its place is free");
}

#[test]
fn a_preface_that_is_all_taken_leaves_nothing_behind() {
    let (mut prefaces, one) = (Prefaces::new(1), ConnIndex(7));
    prefaces.ask(one);
    take(&mut prefaces, b"c\n", 1);
    assert!(!prefaces.keep(one));
    assert!(prefaces.is_empty());
}

#[test]
fn a_preface_without_an_end_is_bad_at_its_bound() {
    let (mut prefaces, one) = (Prefaces::new(1), ConnIndex(7));
    prefaces.ask(one);
    assert_eq!(take(&mut prefaces, b"1234567", 1), Judgement::More);
    assert_eq!(take(&mut prefaces, b"8", 1), Judgement::Bad(PreambleFault::TooLong));
}

#[test]
fn who_has_begun_one_preface_goes_on_with_it_where_a_change_makes_it_shorter() {
    let mut prefaces = Prefaces::new(1);
    assert!(prefaces.ask(ConnIndex(7)));
    let line = take(&mut prefaces, b"a\n", 2);
    assert_eq!(take(&mut prefaces, b"b\n", 1), line);
}

#[test]
fn who_was_judged_by_its_address_is_read_by_no_header_that_a_change_asks_for() {
    let (mut prefaces, one) = (Prefaces::new(1), ConnIndex(7));
    prefaces.meet(one, lines(1), 0);
    assert!(prefaces.ask(one));
    assert!(matches!(take(&mut prefaces, b"a\n", 2), Judgement::Done { .. }));
    let preface = prefaces.take(one, b"", lines(2));
    assert_eq!(prefaces.read(one).judge(&preface), None, "it has said all");
}

#[test]
fn who_was_not_met_is_read_by_no_header_that_a_change_asks_for() {
    let (mut prefaces, one) = (Prefaces::new(1), ConnIndex(7));
    assert!(prefaces.ask(one));
    let decoders: Vec<Box<dyn Decoder>> = vec![Box::new(Line)];
    let trust = Some(Preamble::default());
    let now = Arc::new(Preface { decoders, within: Duration::ZERO, trust });
    let preface = prefaces.take(one, b"a\n", now);
    assert_eq!(prefaces.read(one).judge(&preface), None);
}

#[test]
fn places_are_given_in_order_and_those_who_leave_are_passed_over() {
    let mut prefaces = Prefaces::new(2);
    let seated = [0, 1, 2, 3, 4].map(|slot| prefaces.ask(ConnIndex(slot)));
    assert_eq!(seated, [true, true, false, false, false]);
    assert!(prefaces.ask(ConnIndex(0)), "it has its place already");
    assert_eq!(prefaces.call(), None);
    prefaces.leave(ConnIndex(2));
    prefaces.leave(ConnIndex(1));
    assert!(!prefaces.ask(ConnIndex(5)), "others wait");
    assert_eq!(prefaces.call(), Some(ConnIndex(3)));
    assert_eq!(prefaces.call(), None);
    for slot in [0, 3, 4, 5] {
        assert_eq!(prefaces.leave(ConnIndex(slot)), None);
    }
    assert!(prefaces.is_empty() && prefaces.waiting.is_empty());
}

#[test]
fn who_is_held_leaves_its_place_to_others_and_goes_on_with_what_it_has_said() {
    let (mut prefaces, one) = (Prefaces::new(1), ConnIndex(7));
    assert!(prefaces.ask(one));
    assert_eq!(take(&mut prefaces, b"ab", 1), Judgement::More);
    assert!(!prefaces.ask(ConnIndex(8)) && !prefaces.ask(ConnIndex(9)));
    prefaces.set_aside(one);
    assert_eq!((prefaces.call(), prefaces.call()), (Some(ConnIndex(8)), None));
    prefaces.bring_back(one);
    prefaces.leave(ConnIndex(8));
    assert_eq!(prefaces.call(), None, "the first has the place again");
    let judgement = take(&mut prefaces, b"\n", 1);
    assert_eq!(judgement, Judgement::Done { taken_bytes: 3, told: Told::default() });
    prefaces.set_aside(one);
    assert_eq!(prefaces.leave(one), None, "it may leave while it is held");
    assert_eq!(prefaces.call(), Some(ConnIndex(9)));
    prefaces.leave(ConnIndex(9));
    assert!(prefaces.is_empty() && prefaces.aside == 0);
}
