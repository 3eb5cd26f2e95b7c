//! A bit for each slot.

/// Bits by slot, and how many are set.
#[derive(Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    /// None is set of so many.
    pub(super) fn new(slots: u32) -> Bits {
        Bits { words: vec![0; slots.div_ceil(64) as usize], count: 0 }
    }

    /// Whether the bit of a slot is set.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.words[slot as usize / 64] & 1 << (slot % 64) != 0
    }

    /// Sets the bit of a slot, or clears it; says whether it was set.
    pub(super) fn set(&mut self, slot: u32, is: bool) -> bool {
        let was = self.has(slot);
        if was != is {
            self.words[slot as usize / 64] ^= 1 << (slot % 64);
            self.count = if is { self.count + 1 } else { self.count - 1 };
        }
        was
    }

    /// How many are set.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_its_own_bit_and_is_counted_once() {
        let mut bits = Bits::new(130);
        for slot in [0, 63, 64, 129] {
            assert!(!bits.set(slot, true) && bits.set(slot, true));
        }
        assert_eq!(bits.count(), 4);
        assert!(bits.set(64, false) && !bits.set(64, false));
        let set: Vec<u32> = (0..130).filter(|slot| bits.has(*slot)).collect();
        assert_eq!((set, bits.count()), (vec![0, 63, 129], 3));
    }
}
