//! Limits per source over real threads: never exceeded, reached, and nothing left behind.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use portcullis::base::Millis;
use portcullis::source::{Admission, Counts, Entering, Key, Rate, Rates, Word};

const THREADS: u32 = 4;
const LIMIT: u32 = 100;

fn key(nth: u64) -> Key {
    Key((nth + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// The next number of a sequence without a pattern (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn enter(counts: &Counts, key: Key, limit: u32) -> Option<Word> {
    match counts.enter(key, limit) {
        Entering::Entered(word) => Some(word),
        Entering::AtLimit => None,
        Entering::TableFull => panic!("{counts:?}"),
    }
}

/// Threads that come and go by chance, more often than not at the limit.
#[test]
fn a_source_peaks_at_its_limit_exactly() {
    let (counts, held) = (Counts::for_connections(LIMIT), AtomicU32::new(0));
    let full = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (counts, held, full) = (&counts, &held, &full);
            scope.spawn(move || {
                let (mut chance, mut words) = (u64::from(thread) + 1, Vec::new());
                for _ in 0..100_000 {
                    if next(&mut chance).is_multiple_of(3) {
                        words.pop().into_iter().for_each(|word| {
                            held.fetch_sub(1, SeqCst);
                            counts.leave(word);
                        });
                    } else if let Some(word) = enter(counts, key(1), LIMIT) {
                        let now = held.fetch_add(1, SeqCst) + 1;
                        assert!(now <= LIMIT, "{now} held");
                        words.push(word);
                    }
                }
                let rest = (0..LIMIT).map_while(|_| enter(counts, key(1), LIMIT));
                rest.for_each(|word| {
                    held.fetch_add(1, SeqCst);
                    words.push(word);
                });
                full.wait();
                assert_eq!(held.load(SeqCst), LIMIT);
                full.wait();
                words.into_iter().for_each(|word| counts.leave(word));
            });
        }
    });
    assert_eq!(counts.used(), 0);
}

#[test]
fn of_a_thousand_attempts_a_hundred_hold() {
    let counts = Counts::for_connections(LIMIT);
    let attempts = || (0..250).filter_map(|_| enter(&counts, key(1), LIMIT)).collect();
    for _ in 0..50 {
        let words: Vec<Word> = std::thread::scope(|scope| {
            let threads = [(); THREADS as usize].map(|()| scope.spawn(attempts));
            let each: [Vec<Word>; THREADS as usize] =
                threads.map(|thread| thread.join().expect("no assertion failed"));
            each.concat()
        });
        assert_eq!((words.len() as u32, counts.used()), (LIMIT, 1));
        words.into_iter().for_each(|word| counts.leave(word));
        assert_eq!(counts.used(), 0);
    }
}

/// In a table that is small for them: sources begin and end in each other's buckets all the time,
/// and at times find none.
#[test]
fn sources_that_share_buckets_stay_within_limits_of_their_own() {
    const SOURCES: usize = 24;
    let counts = Counts::for_connections(8);
    let held = [const { AtomicU32::new(0) }; SOURCES];
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (counts, held) = (&counts, &held);
            scope.spawn(move || {
                let (mut chance, mut words) = (u64::from(thread) + 1, Vec::new());
                for _ in 0..100_000 {
                    let drawn = next(&mut chance);
                    let source = (drawn >> 8) as usize % SOURCES;
                    let limit = 1 + source as u32 % 3;
                    if drawn.is_multiple_of(2) && !words.is_empty() {
                        let (source, word): (usize, Word) =
                            words.swap_remove((drawn >> 32) as usize % words.len());
                        held[source].fetch_sub(1, SeqCst);
                        counts.leave(word);
                    } else if let Entering::Entered(word) = counts.enter(key(source as u64), limit)
                    {
                        let now = held[source].fetch_add(1, SeqCst) + 1;
                        assert!(now <= limit, "{now} held of {limit}");
                        words.push((source, word));
                    }
                }
                words.into_iter().for_each(|(source, word)| {
                    held[source].fetch_sub(1, SeqCst);
                    counts.leave(word);
                });
            });
        }
    });
    assert_eq!(counts.used(), 0);
}

/// All threads at the same clock, which goes on by itself: what gets in is the burst and the rate.
#[test]
fn threads_get_a_rate_of_a_source_together() {
    let (rates, rate) = (Rates::for_connections(LIMIT), Rate::new(20, Duration::from_secs(1), 50));
    let turn = Barrier::new(THREADS as usize);
    let asks = || {
        let mut admitted = 0;
        for millis in (0..=10_000).step_by(10) {
            turn.wait();
            let asked = (0..20).map(|_| rates.admit(key(1), Millis(millis), rate));
            admitted += asked.filter(|it| *it == Admission::Admitted).count();
        }
        admitted
    };
    let admitted: usize = std::thread::scope(|scope| {
        let threads = [(); THREADS as usize].map(|()| scope.spawn(asks));
        threads.into_iter().map(|thread| thread.join().expect("no assertion failed")).sum()
    });
    assert_eq!(admitted, 50 + 10 * 20);
}
