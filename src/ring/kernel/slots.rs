//! A set of slots, one bit each.

/// Some of the slots of one table.
pub(super) struct SlotSet {
    words: Box<[u64]>,
}

impl SlotSet {
    /// The empty set, for slots below `slots`.
    pub(super) fn new(slots: u32) -> SlotSet {
        SlotSet { words: vec![0; slots.div_ceil(u64::BITS) as usize].into_boxed_slice() }
    }

    /// Adds a slot.
    pub(super) fn insert(&mut self, slot: u32) {
        self.words[(slot / u64::BITS) as usize] |= 1 << (slot % u64::BITS);
    }

    /// Takes a slot out, if it is in.
    pub(super) fn remove(&mut self, slot: u32) {
        self.words[(slot / u64::BITS) as usize] &= !(1 << (slot % u64::BITS));
    }

    /// Whether a slot is in.
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.words[(slot / u64::BITS) as usize] & 1 << (slot % u64::BITS) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_from_its_insertion_to_its_removal() {
        let mut set = SlotSet::new(65);
        set.insert(64);
        assert!(set.contains(64) && !set.contains(0) && !set.contains(63));
        set.remove(64);
        assert!(!set.contains(64));
    }
}
