//! Bytes that tell to which connection, and to which place in it, they belong.

/// Bits of a word's number in its run.
pub(crate) const INDEX_BITS: u32 = 36;
/// Keeps the first word of the first run from being zeros, as any odd number would.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// An endless run of bytes that a seed determines, and a place in it.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) seed: u64,
    pub(crate) position: u64,
}

impl Pattern {
    /// The run of `seed`, from its first byte.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, position: 0 }
    }

    /// Writes the next bytes of the run.
    pub(crate) fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            let (word, skip) = self.here();
            let count = out.len().min(8 - skip);
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&word[skip..skip + count]);
            self.position += count as u64;
            out = later;
        }
    }

    /// Compares what arrived with the next bytes of the run; the error is the place, counted from
    /// the run's first byte, of the first byte that differs.
    pub(crate) fn check(&mut self, mut arrived: &[u8]) -> Result<(), u64> {
        while !arrived.is_empty() {
            let (word, skip) = self.here();
            let count = arrived.len().min(8 - skip);
            let (now, later) = arrived.split_at(count);
            let expected = &word[skip..skip + count];
            if now != expected {
                let equal = now.iter().zip(expected).take_while(|(a, b)| a == b).count();
                return Err(self.position + equal as u64);
            }
            self.position += count as u64;
            arrived = later;
        }
        Ok(())
    }

    /// The eight bytes that hold the current place, and how many of them lie before it.
    fn here(&self) -> ([u8; 8], usize) {
        (mix(self.seed, self.position / 8).to_le_bytes(), (self.position % 8) as usize)
    }
}

/// The eight bytes at place 8 × `index` of the run of `seed`: splitmix64's function of both. It can
/// be undone, so that eight bytes name where they belong, if the seed is below 2²⁸ and the index
/// below 2³⁶.
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut word = (seed.rotate_left(INDEX_BITS) ^ index).wrapping_add(GOLDEN);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
