//! Chance from a seed: splitmix64, so that a seed means the same run on every machine.

use crate::{hellos, postgres};

/// A stream of numbers that its seed decides.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed ^ 0x5851_F42D_4C95_7F2D);
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// What is to come, without taking it.
    pub fn peek(&self) -> u64 {
        mix(!self.0)
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Between both, which it includes.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// The finishing step of splitmix64: every bit of the input moves every bit of the output.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The byte at `offset` of the stream named `key`: what a peer sends and the other one expects.
pub fn pattern(key: u64, offset: u64) -> u8 {
    let begin = hellos::byte(key, offset).or_else(|| postgres::byte(key, offset));
    begin.unwrap_or_else(|| mix(key ^ offset.rotate_left(40)) as u8)
}
