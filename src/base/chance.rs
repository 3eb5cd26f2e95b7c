//! Chance, for what is not to happen in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A number that nobody foresees.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A part of `time`, from none of it to all of it.
pub fn part_of(time: Duration) -> Duration {
    time.mul_f64(random() as f64 / u64::MAX as f64)
}

/// `time`, a tenth more or less.
pub fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9) + part_of(time.mul_f64(0.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_within_their_bounds_and_differ() {
        let second = Duration::from_secs(1);
        let times: Vec<Duration> = (0..100).map(|_| jittered(second)).collect();
        let within = Duration::from_millis(899)..Duration::from_millis(1101);
        assert!(times.iter().all(|time| within.contains(time)), "{times:?}");
        assert!(times.iter().any(|time| *time < second) && times.iter().any(|time| *time > second));
        assert!((0..100).all(|_| part_of(second) <= second));
    }
}
