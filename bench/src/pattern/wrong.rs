//! What is wrong with bytes: lost, repeated, out of order, another connection's, or corrupted.
//!
//! Any eight bytes of a pattern name their run and their place in it, so bytes that stand in the
//! wrong place say where they belong.

use std::fmt;

use super::run::{GOLDEN, INDEX_BITS, Pattern, mix};

/// The seed of the greeting of a server that speaks first: the last that a word of a pattern can
/// name.
pub(crate) const HELLO_SEED: u64 = (1 << 28) - 1;

/// How many bytes from the first wrong one on are looked at.
const LOOK_BYTES: usize = 16 << 10;
/// Bytes beside a word that must belong to its run, too, lest chance made it: 1 in 2³².
const CONFIRMED_BYTES: usize = 4;
/// Fewer bytes than these may hold no whole word of their run.
const WORD_FOR_SURE_BYTES: usize = 15;
/// How far from their place so few bytes are looked for.
const NEAR_BYTES: u64 = 64 << 10;

/// Bytes that are not what should have come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Of the first of them, in the connection's own run.
    pub(crate) place: u64,
    pub(crate) kind: Kind,
}

/// Where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The run goes on at a later place.
    Lost { to: u64 },
    /// It goes on at a later place, and what was left out comes after it.
    Reordered { to: u64 },
    /// It goes on at an earlier place.
    Repeated { to: u64 },
    /// They are another connection's.
    Another { seed: u64, place: u64 },
    /// They are nobody's.
    Corrupted,
    /// They are too few to say.
    Unclear,
}

/// Takes bytes of which at most so many were asked for. The error says what is wrong with them.
pub(crate) fn take(next: &mut Pattern, asked: u64, arrived: &[u8]) -> Result<(), String> {
    let count = asked.min(arrived.len() as u64) as usize;
    let (due, excess) = arrived.split_at(count);
    check(next, due).map_err(|wrong| format!("wrong bytes: {wrong}"))?;
    if excess.is_empty() {
        return Ok(());
    }
    let words = "bytes that nobody asked for".to_owned();
    match Wrong::judge(next, next.position, excess) {
        Wrong { kind: Kind::Corrupted | Kind::Unclear, .. } => Err(words),
        wrong => Err(format!("{words}: {wrong}")),
    }
}

/// Takes the next bytes of a run.
pub(crate) fn check(next: &mut Pattern, arrived: &[u8]) -> Result<(), Wrong> {
    let before = next.clone();
    next.check(arrived).map_err(|place| Wrong::judge(&before, place, arrived))
}

impl Wrong {
    /// Says where bytes belong that differ at `place` from what should have gone on with `next`.
    fn judge(next: &Pattern, place: u64, arrived: &[u8]) -> Wrong {
        let bytes = &arrived[(place - next.position) as usize..];
        let bytes = &bytes[..bytes.len().min(LOOK_BYTES)];
        let found = found(next.seed, place, bytes, 0);
        let kind = match found {
            Some((at, seed, there)) if seed != next.seed => {
                Kind::Another { seed, place: there - at as u64 }
            }
            Some((at, _, there)) => Wrong::at_own(next.seed, place, bytes, (at, there)),
            None if bytes.len() < WORD_FOR_SURE_BYTES => near(next.seed, place, bytes),
            None => Kind::Corrupted,
        };
        Wrong { place, kind }
    }

    /// `bytes[at..]` stand `there` in the connection's own run.
    fn at_own(seed: u64, place: u64, bytes: &[u8], (at, there): (usize, u64)) -> Kind {
        let due = place + at as u64;
        let to = there.saturating_sub(at as u64);
        let comes_later = || {
            let mut from = at;
            while let Some((at, other, there)) = found(seed, place, bytes, from + 1) {
                if other == seed && (place..to).contains(&there) {
                    return true;
                }
                from = at;
            }
            false
        };
        match there {
            _ if there == due => Kind::Corrupted,
            _ if there < due => Kind::Repeated { to },
            _ if comes_later() => Kind::Reordered { to },
            _ => Kind::Lost { to },
        }
    }

    /// As a receipt has it.
    pub(crate) fn to_words(self) -> [u64; 4] {
        let [kind, first, second] = match self.kind {
            Kind::Lost { to } => [1, to, 0],
            Kind::Reordered { to } => [2, to, 0],
            Kind::Repeated { to } => [3, to, 0],
            Kind::Another { seed, place } => [4, seed, place],
            Kind::Corrupted => [5, 0, 0],
            Kind::Unclear => [6, 0, 0],
        };
        [kind, self.place, first, second]
    }

    /// What [`Wrong::to_words`] made; `None` of zeros.
    pub(crate) fn of([kind, place, first, second]: [u64; 4]) -> Option<Wrong> {
        let kind = match kind {
            0 => return None,
            1 => Kind::Lost { to: first },
            2 => Kind::Reordered { to: first },
            3 => Kind::Repeated { to: first },
            4 => Kind::Another { seed: first, place: second },
            5 => Kind::Corrupted,
            _ => Kind::Unclear,
        };
        Some(Wrong { place, kind })
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.place;
        match self.kind {
            Kind::Lost { to } => write!(out, "lost from byte {at} to {to}"),
            Kind::Reordered { to } => write!(out, "out of order at byte {at}: {to} comes first"),
            Kind::Repeated { to } => write!(out, "repeated at byte {at}: {to} comes again"),
            Kind::Another { seed: HELLO_SEED, .. } => {
                write!(out, "another's at byte {at}: a greeting")
            }
            Kind::Another { seed, place } => {
                write!(out, "another's at byte {at}: of connection {seed} from byte {place}")
            }
            Kind::Corrupted => write!(out, "corrupted at byte {at}"),
            Kind::Unclear => write!(out, "at byte {at}, too few to say more"),
        }
    }
}

/// The first word, `from` that byte on, that says whose it is: where it stands, its seed, its
/// place in the run of that.
fn found(own: u64, place: u64, bytes: &[u8], from: usize) -> Option<(usize, u64, u64)> {
    let words = (from..bytes.len()).map_while(|at| Some((at, bytes.get(at..at + 8)?)));
    words
        .map(|(at, word)| {
            let (seed, index) = unmix(u64::from_le_bytes(word.try_into().expect("eight bytes")));
            (at, seed, index * 8)
        })
        .find(|&(at, seed, there)| {
            let confirmed = confirmed(bytes, at, seed, there);
            // So few bytes cannot confirm more; of one run that is known, a word will do.
            let alone = bytes.len() < 8 + CONFIRMED_BYTES && seed == own;
            confirmed >= CONFIRMED_BYTES || alone && there.abs_diff(place) < 1 << 32
        })
}

/// How many bytes on both sides of a word belong to the same run.
fn confirmed(bytes: &[u8], at: usize, seed: u64, there: u64) -> usize {
    let behind = bytes[at + 8..].iter().zip(there + 8..);
    let before = bytes[..at].iter().rev().zip((0..there).rev());
    let equal = |(byte, place): &(&u8, u64)| **byte == byte_at(seed, *place);
    behind.take_while(equal).count() + before.take_while(equal).count()
}

/// Of a few bytes without a whole word: whether they stand near in the connection's own run.
fn near(seed: u64, place: u64, bytes: &[u8]) -> Kind {
    let stand_at = |to: u64, from: usize| {
        let places = to + from as u64..;
        bytes[from..].iter().zip(places).all(|(byte, place)| *byte == byte_at(seed, place))
    };
    if bytes.len() > CONFIRMED_BYTES && stand_at(place, 1) {
        return Kind::Corrupted;
    }
    if bytes.len() < CONFIRMED_BYTES {
        return Kind::Unclear;
    }
    let places = place.saturating_sub(NEAR_BYTES)..place + NEAR_BYTES;
    match places.into_iter().find(|to| stand_at(*to, 0)) {
        Some(to) if to > place => Kind::Lost { to },
        Some(to) => Kind::Repeated { to },
        None => Kind::Unclear,
    }
}

fn byte_at(seed: u64, place: u64) -> u8 {
    mix(seed, place / 8).to_le_bytes()[(place % 8) as usize]
}

/// The seed and index that [`mix`] made a word of.
fn unmix(mut word: u64) -> (u64, u64) {
    // The inverses, modulo 2⁶⁴, of what it multiplies with.
    word = (word ^ (word >> 31) ^ (word >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    word = (word ^ (word >> 27) ^ (word >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    word = (word ^ (word >> 30) ^ (word >> 60)).wrapping_sub(GOLDEN);
    (word >> INDEX_BITS, word & ((1 << INDEX_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, places: std::ops::Range<u64>) -> Vec<u8> {
        places.map(|place| byte_at(seed, place)).collect()
    }

    /// What is found wrong with bytes that come when so many have come already.
    fn judged(seed: u64, position: u64, arrived: &[u8]) -> Option<Wrong> {
        let mut next = Pattern::new(seed);
        next.position = position;
        check(&mut next, arrived).err()
    }

    #[test]
    fn a_word_names_its_run_and_its_place() {
        for seed in [0, 1, 77, 1_000_000, (1 << 28) - 1] {
            for index in [0, 1, 1 << 20, (1 << 36) - 1] {
                assert_eq!(unmix(mix(seed, index)), (seed, index));
            }
        }
    }

    #[test]
    fn each_kind_is_told_from_the_others_wherever_it_begins() {
        for position in [0, 1, 7, 64, 1_000_003] {
            let good = run(5, position..position + 100);
            assert_eq!(judged(5, position, &good), None);
            for cut in [1, 8, 30, 61] {
                let at = position + cut as u64;
                // Where the first bytes are the same by chance, it is found a little further on.
                let with = |rest: &[u8]| {
                    let found = judged(5, position, &[&good[..cut], rest].concat());
                    let Wrong { place, kind } = found.expect("it is wrong");
                    assert!((at..at + 4).contains(&place), "{place} {kind:?} at {at}");
                    (place - at, kind)
                };
                for gap in [3, 30_000, 1 << 33] {
                    let (late, kind) = with(&run(5, at + gap..at + gap + 40));
                    assert_eq!(kind, Kind::Lost { to: at + gap + late });
                }
                let (late, kind) = with(&run(5, position..position + 40));
                assert_eq!(kind, Kind::Repeated { to: position + late });
                let (late, kind) = with(&run(9, 1..40));
                assert_eq!(kind, Kind::Another { seed: 9, place: 1 + late });
                let swapped = [run(5, at + 20..at + 40), run(5, at..at + 20)].concat();
                let (late, kind) = with(&swapped);
                assert_eq!(kind, Kind::Reordered { to: at + 20 + late });
                assert_eq!(with(&[0; 100]).1, Kind::Corrupted);
                assert_eq!(with(&[!good[cut]]), (0, Kind::Unclear));
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_a_corruption_of_that_byte() {
        for at in 0..59 {
            let mut bytes = run(3, 0..64);
            bytes[at] ^= 1 << (at % 8);
            assert_eq!(
                judged(3, 0, &bytes),
                Some(Wrong { place: at as u64, kind: Kind::Corrupted })
            );
        }
    }

    #[test]
    fn a_few_bytes_are_looked_for_near_their_place() {
        for (from, kind) in [(25, Kind::Lost { to: 25 }), (4, Kind::Repeated { to: 4 })] {
            assert_eq!(judged(2, 10, &run(2, from..from + 6)), Some(Wrong { place: 10, kind }));
        }
    }

    #[test]
    fn bytes_too_many_say_where_they_are_from() {
        let mut next = Pattern::new(4);
        assert_eq!(take(&mut next, 32, &run(4, 0..32)), Ok(()));
        let again = take(&mut next, 0, &run(4, 0..32)).expect_err("too many");
        assert_eq!(again, "bytes that nobody asked for: repeated at byte 32: 0 comes again");
        let noise = take(&mut next, 1, &[run(4, 32..33), vec![1; 20]].concat());
        assert_eq!(noise, Err("bytes that nobody asked for".to_owned()));
    }

    #[test]
    fn what_is_wrong_survives_the_round_trip() {
        let kinds = [
            Kind::Lost { to: 1 },
            Kind::Reordered { to: 2 },
            Kind::Repeated { to: 3 },
            Kind::Another { seed: 4, place: 5 },
            Kind::Corrupted,
            Kind::Unclear,
        ];
        for wrong in kinds.map(|kind| Wrong { place: 6, kind }) {
            assert_eq!(Wrong::of(wrong.to_words()), Some(wrong));
        }
        assert_eq!(Wrong::of([0; 4]), None);
    }
}
