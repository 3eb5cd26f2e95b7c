//! Durations counted into fixed buckets, by one thread, without an allocation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counter::{Counted, Counter};

/// Bounds of a histogram; one bucket more holds what lies beyond the last.
const BOUNDS: usize = 17;

/// The upper bounds of a histogram's buckets in microseconds, ascending.
pub type Bounds = [u64; BOUNDS];

/// From a server in the same rack to one that does not answer: 50 µs to 10 s.
pub const CONNECT_BOUNDS: Bounds = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// From a health check to a device that stays for a week: 1 ms to 7 days.
pub const LIFETIME_BOUNDS: Bounds = {
    const SECOND: u64 = 1_000_000;
    const HOUR: u64 = 3600 * SECOND;
    [
        1_000,
        5_000,
        25_000,
        100_000,
        500_000,
        SECOND,
        5 * SECOND,
        15 * SECOND,
        60 * SECOND,
        300 * SECOND,
        900 * SECOND,
        HOUR,
        4 * HOUR,
        12 * HOUR,
        24 * HOUR,
        72 * HOUR,
        168 * HOUR,
    ]
};

/// How often durations fell between which bounds, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    buckets: [Counter; BOUNDS + 1],
    sum_micros: Counter,
}

impl Histogram {
    /// An empty one.
    pub fn new(bounds: &'static Bounds) -> Histogram {
        Histogram { bounds, buckets: Default::default(), sum_micros: Counter::default() }
    }

    /// Counts `duration`. Only the owner may.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|&bound| bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }

    /// Its bounds.
    pub fn bounds(&self) -> &'static Bounds {
        self.bounds
    }

    /// The count of each bucket, the one beyond the last bound at the end.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Counter::get)
    }

    /// The sum of all durations.
    fn sum_micros(&self) -> u64 {
        self.sum_micros.get()
    }
}

impl Counted for Histogram {
    type Read = Durations;

    fn sum<'a>(all: impl Iterator<Item = &'a Histogram> + Clone) -> Durations {
        Durations::of(all)
    }

    fn absorb(&self, other: &Histogram) {
        debug_assert_eq!(self.bounds, other.bounds);
        self.buckets.iter().zip(&other.buckets).for_each(|(own, other)| own.absorb(other));
        self.sum_micros.absorb(&other.sum_micros);
    }

    fn resume(&self, read: &Durations) {
        let bounds = self.bounds.iter().map(|&micros| seconds_of(micros));
        // Those of another version have no place in these buckets.
        if bounds.eq(read.bounds_seconds.iter().copied()) {
            self.buckets.iter().zip(&read.counts).for_each(|(own, count)| own.add(*count));
            self.sum_micros.add((read.sum_seconds * 1e6).round() as u64);
        }
    }
}

/// How long something took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Upper bounds of the buckets but the last, which has none.
    pub bounds_seconds: Vec<f64>,
    /// How many fell into each bucket.
    pub counts: Vec<u64>,
    /// Their sum.
    pub sum_seconds: f64,
}

impl Durations {
    /// The sum of histograms with the same bounds; nothing at all if there is none.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Durations {
        let mut durations = Durations::default();
        let mut sum_micros = 0;
        for histogram in histograms {
            if durations.counts.is_empty() {
                let bounds = histogram.bounds().iter();
                durations.bounds_seconds = bounds.map(|&micros| seconds_of(micros)).collect();
                durations.counts = histogram.counts().collect();
            } else {
                let sums = durations.counts.iter_mut().zip(histogram.counts());
                sums.for_each(|(sum, count)| *sum += count);
            }
            sum_micros += histogram.sum_micros();
        }
        durations.sum_seconds = seconds_of(sum_micros);
        durations
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long this part of them took at most, as evenly as they may lie within a bucket. `None`:
    /// there were none. Beyond the last bound it is the last bound.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let rank = part * self.count() as f64;
        let mut before = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            if count > 0 && (before + count) as f64 >= rank {
                let least = bucket.checked_sub(1).map_or(0.0, |below| self.bounds_seconds[below]);
                let most = self.bounds_seconds.get(bucket).copied().unwrap_or(least);
                return Some(least + (most - least) * (rank - before as f64) / count as f64);
            }
            before += count;
        }
        None
    }

    /// Those that `earlier` has not.
    pub fn since(&self, earlier: &Durations) -> Durations {
        let before = earlier.counts.iter().chain(std::iter::repeat(&0));
        let counts = self.counts.iter().zip(before).map(|(now, then)| now.saturating_sub(*then));
        Durations {
            bounds_seconds: self.bounds_seconds.clone(),
            counts: counts.collect(),
            sum_seconds: self.sum_seconds - earlier.sum_seconds,
        }
    }
}

fn seconds_of(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let durations = |counts: &[u64]| Durations {
            bounds_seconds: vec![0.1, 0.2, 1.0],
            counts: counts.to_vec(),
            sum_seconds: 0.0,
        };
        for (counts, median, last) in [
            ([0, 100, 0, 0], 0.15, 0.199),
            ([98, 0, 0, 2], 50.0 / 980.0, 1.0),
            ([50, 0, 50, 0], 0.1, 0.2 + 0.8 * 0.98),
        ] {
            let durations = durations(&counts);
            for (part, expected) in [(0.5, median), (0.99, last)] {
                let found = durations.quantile(part).expect("there are some");
                assert!((found - expected).abs() < 1e-9, "{found} of {counts:?}, not {expected}");
            }
        }
        assert_eq!(durations(&[0; 4]).quantile(0.5), None);
        let since = durations(&[5, 3, 0, 0]).since(&durations(&[5, 1, 0, 0]));
        assert_eq!((since.counts, since.bounds_seconds.len()), (vec![0, 2, 0, 0], 3));
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_is_not_below_it() {
        for bounds in [&CONNECT_BOUNDS, &LIFETIME_BOUNDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
            let histogram = Histogram::new(bounds);
            let mut sum = 0;
            for &bound in bounds {
                for micros in [bound, bound + 1] {
                    histogram.observe(Duration::from_micros(micros));
                    sum += micros;
                }
            }
            // Each bound into its own bucket, what is above into the next.
            let mut expected = [2; BOUNDS + 1];
            (expected[0], expected[BOUNDS]) = (1, 1);
            assert_eq!(histogram.counts().collect::<Vec<_>>(), expected);
            assert_eq!(histogram.sum_micros(), sum);
        }
    }
}
