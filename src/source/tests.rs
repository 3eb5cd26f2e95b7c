//! Sources and the tables of them, against plain models; threads meet them in `tests/budget`.

use std::collections::HashMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::buckets::Buckets;
use super::*;
use crate::base::sync::LINE_WORDS;
use crate::base::{ListenerId, Millis};

fn source(prefixes: Prefixes, address: &str) -> String {
    prefixes.source(address.parse().expect("an address")).to_string()
}

#[test]
fn a_source_is_what_the_prefix_leaves_of_the_address() {
    let prefixes = Prefixes { v4: 24, v6: 64 };
    for (address, expected) in [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.78", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ] {
        assert_eq!(source(prefixes, address), expected);
    }
    assert_eq!(source(Prefixes { v4: 32, v6: 128 }, "192.0.2.1"), "192.0.2.1/32");
    assert_eq!(source(Prefixes { v4: 0, v6: 0 }, "2001:db8::1"), "::/0");
}

#[test]
fn keys_agree_by_listener_and_source_and_differ_by_secret() {
    let (secret, edge, app) = (Secret::new(), ListenerId(1), ListenerId(2));
    let [one, other] = ["192.0.2.1/32", "192.0.2.2/32"].map(|it| it.parse().expect("one"));
    assert_eq!(secret.key(edge, one), secret.clone().key(edge, one));
    assert_ne!(secret.key(edge, one), secret.key(edge, other));
    assert_ne!(secret.key(edge, one), secret.key(app, one));
    assert_ne!(secret.key(edge, one), Secret::new().key(edge, one));
}

#[test]
fn buckets_begin_cache_lines_and_are_sized_by_connections() {
    for (connections, words) in [(0, 16), (1, 16), (9, 32), (1000, 2048), (1024, 2048)] {
        let buckets = Buckets::for_connections(connections);
        assert_eq!(buckets.len(), words, "{connections}");
        let begin = std::ptr::from_ref(buckets.word(0)).addr();
        assert_eq!(begin % 64, 0, "{connections}");
        assert!(buckets.memory_bytes() >= 8 * words);
        assert_eq!(buckets.all().count(), words);
    }
}

#[test]
fn a_source_has_two_buckets_within_the_table() {
    let buckets = Buckets::for_connections(100);
    for nth in 0..1000_u64 {
        let key = Key(nth.wrapping_mul(0xD134_2543_DE82_EF95));
        let mut words: Vec<usize> = buckets.of(key, key.0 >> 24).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 2 * LINE_WORDS);
        assert!(words.iter().all(|word| *word < buckets.len()));
    }
}

/// A key of a source, spread over all bits as a hash is (the last steps of SplitMix64).
fn key(nth: u64) -> Key {
    let mixed = (nth + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    Key(mixed ^ mixed >> 31)
}

fn word(entering: Entering) -> Word {
    match entering {
        Entering::Entered(word) => word,
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn a_full_table_says_so_and_has_a_word_again_when_a_source_is_gone() {
    let counts = Counts::for_connections(0);
    let words: Vec<Word> =
        (0..counts.words() as u64).map(|nth| word(counts.enter(key(nth), 1))).collect();
    let another = key(counts.words() as u64);
    assert_eq!(counts.enter(another, 1), Entering::TableFull);
    assert_eq!(counts.enter(key(0), 2), Entering::Entered(words[0]), "it has a word");
    counts.leave(words[1]);
    assert_eq!(counts.enter(another, 1), Entering::Entered(words[1]));
    assert_eq!(counts.used(), counts.words() as u64);
}

#[test]
fn every_source_has_a_word_up_to_seven_tenths_of_them() {
    let (counts, rates) = (Counts::for_connections(1 << 13), Rates::for_connections(1 << 13));
    let sources = counts.words() as u64 * 7 / 10;
    let rate = Rate::new(1, Duration::from_secs(1), 1);
    for nth in 0..sources {
        word(counts.enter(key(nth), 1));
        assert_eq!(rates.admit(key(nth), Millis(1), rate), Admission::Admitted, "{nth}");
    }
    assert_eq!((counts.used(), rates.used(Millis(1))), (sources, sources as usize));
    assert_eq!(counts.memory_bytes(), rates.memory_bytes());
    assert_eq!(rates.used(Millis(1001)), 0, "nobody owes anything any more");
}

#[test]
#[should_panic(expected = "a connection left that had not entered")]
fn nobody_leaves_twice() {
    let counts = Counts::for_connections(1);
    let word = word(counts.enter(key(1), 1));
    counts.leave(word);
    counts.leave(word);
}

/// A source that asks again and again, once in each millisecond.
fn admitted(rate: Rate, from: u64, millis: u64, each: u32) -> u64 {
    let rates = Rates::for_connections(1);
    let asked = (from..from + millis).flat_map(|now| (0..each).map(move |_| Millis(now)));
    asked.filter(|now| rates.admit(key(1), *now, rate) == Admission::Admitted).count() as u64
}

#[test]
fn a_flood_gets_its_burst_and_then_its_rate() {
    let second = Duration::from_secs(1);
    for (connections, per, burst, each, expected) in [
        (20, second, 50, 10, 250),
        (300, second * 60, 1, 2, 50),
        (3, second, 1, 2, 30),
        (1000, second, 100, 300, 10_100),
        (7000, second, 100, 300, 70_030), // 143 µs each, not 142.86
        (5000, second, 1, 50, 50_000),
    ] {
        // Also while the moments of the table come round.
        for from in [0, 12_345, (1 << 36) / 1000 - 5000] {
            let admitted = admitted(Rate::new(connections, per, burst), from, 10_000, each);
            let most_apart = 1 + u64::from(connections) / 1000;
            assert!(admitted.abs_diff(expected) <= most_apart, "{connections}: {admitted}");
        }
    }
}

#[test]
fn a_refused_source_learns_when_it_may_come_again() {
    let (rates, rate) = (Rates::for_connections(1), Rate::new(2, Duration::from_secs(1), 2));
    let refused = |millis| Admission::Refused { again_in: Duration::from_millis(millis) };
    for (now, expected) in [
        (0, Admission::Admitted),
        (0, Admission::Admitted),
        (0, refused(500)),
        (100, refused(400)),
        (500, Admission::Admitted),
        (501, refused(499)),
    ] {
        assert_eq!(rates.admit(key(1), Millis(now), rate), expected, "{now}");
    }
    let faster = Rate::new(1000, Duration::from_secs(1), 1000);
    assert_eq!(rates.admit(key(1), Millis(501), faster), Admission::Admitted);
}

#[test]
fn a_source_that_was_away_for_long_has_its_burst() {
    let (rates, rate) = (Rates::for_connections(1), Rate::new(1, Duration::from_secs(1), 1));
    let mut now = 0;
    for away in [1000, 60_000, 3_600_000, 10 * 3_600_000, 18 * 3_600_000, 400 * 3_600_000] {
        assert_eq!(rates.admit(key(1), Millis(now), rate), Admission::Admitted, "{away}");
        now += away;
    }
}

proptest! {
    #[test]
    fn counts_are_those_of_a_plain_model(
        steps in vec((0..8_u64, 1..4_u32, any::<bool>()), 0..300),
    ) {
        let counts = Counts::for_connections(1);
        let mut model: HashMap<u64, Vec<Word>> = HashMap::new();
        for (source, limit, enters) in steps {
            let held = model.entry(source).or_default();
            if enters {
                match counts.enter(key(source), limit) {
                    Entering::Entered(word) if held.len() < limit as usize => held.push(word),
                    Entering::AtLimit if held.len() >= limit as usize => (),
                    other => prop_assert!(false, "{:?} with {} of {}", other, held.len(), limit),
                }
            } else if let Some(word) = held.pop() {
                counts.leave(word);
            }
            let used = model.values().filter(|held| !held.is_empty()).count();
            prop_assert_eq!(counts.used(), used as u64);
        }
    }

    #[test]
    fn admissions_are_those_of_a_plain_model(
        steps in vec((0..8_u64, 0..700_u64), 0..300),
        from in 0..(1_u64 << 40),
        (connections, burst) in (1..3000_u32, 1..20_u32),
    ) {
        let rates = Rates::for_connections(1);
        let rate = Rate::new(connections, Duration::from_secs(1), burst);
        let interval = (1_000_000.0 / f64::from(connections)).round() as u64;
        let most_ahead = (interval * u64::from(burst - 1)).max(1000_u64.saturating_sub(interval));
        let mut model: HashMap<u64, u64> = HashMap::new();
        let mut now = from;
        for (source, later) in steps {
            // Most come together, as those of one turn of a worker.
            now += later.saturating_sub(500);
            let free = model.entry(source).or_default();
            let ahead = free.saturating_sub(now * 1000);
            let expected = if ahead > most_ahead {
                Admission::Refused { again_in: Duration::from_micros(ahead - most_ahead) }
            } else {
                *free = now * 1000 + ahead + interval;
                Admission::Admitted
            };
            prop_assert_eq!(rates.admit(key(source), Millis(now), rate), expected);
        }
    }
}
