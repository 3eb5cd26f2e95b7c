//! Memory of exactly their size for bytes that a slow peer has not read.

/// Remainders moved out of the pool, by index, with a bound on their bytes.
pub(in crate::ring) struct Parked {
    slots: Vec<Option<Box<[u8]>>>,
    free: Vec<u32>,
    /// Released, but an entry not submitted yet may still name them.
    leaving: Vec<Box<[u8]>>,
    bytes: usize,
    bytes_max: usize,
}

impl Parked {
    /// Room for `bytes_max`.
    pub(in crate::ring) fn new(bytes_max: usize) -> Parked {
        Parked { slots: Vec::new(), free: Vec::new(), leaving: Vec::new(), bytes: 0, bytes_max }
    }

    /// Memory that is taken.
    pub(in crate::ring) fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Memory for a copy of `length_bytes`; `None` when that exceeds the bound or cannot be had.
    pub(in crate::ring) fn reserve(&self, length_bytes: usize) -> Option<Vec<u8>> {
        if self.bytes.checked_add(length_bytes)? > self.bytes_max {
            return None;
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(length_bytes).ok()?;
        Some(copy)
    }

    /// Keeps `copy` and names it.
    pub(in crate::ring) fn keep(&mut self, copy: Vec<u8>) -> u32 {
        self.bytes += copy.len();
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize] = Some(copy.into_boxed_slice());
        index
    }

    /// Gives `index` back. Its memory lives until [`Parked::forget`].
    ///
    /// # Panics
    /// When nothing is kept there.
    pub(in crate::ring) fn release(&mut self, index: u32) {
        let kept = self.slots[index as usize].take().expect("release of a parked remainder");
        self.leaving.push(kept);
        self.free.push(index);
    }

    /// Frees what was released. Every send that named it must have been submitted: with
    /// MSG_DONTWAIT a send runs to its end while it is submitted.
    pub(in crate::ring) fn forget(&mut self) {
        for kept in self.leaving.drain(..) {
            self.bytes -= kept.len();
        }
    }

    /// A part of the remainder.
    ///
    /// # Panics
    /// When nothing is kept there, or it is shorter than that.
    pub(in crate::ring) fn bytes(&self, index: u32, start_bytes: i32, length_bytes: u32) -> &[u8] {
        let kept = self.slots[index as usize].as_ref().expect("use of a parked remainder");
        &kept[start(start_bytes)..][..length_bytes as usize]
    }

    /// A part of the remainder, to be changed in place.
    ///
    /// # Panics
    /// As [`Parked::bytes`].
    pub(in crate::ring) fn bytes_mut(
        &mut self,
        index: u32,
        start_bytes: i32,
        length_bytes: u32,
    ) -> &mut [u8] {
        let kept = self.slots[index as usize].as_mut().expect("use of a parked remainder");
        &mut kept[start(start_bytes)..][..length_bytes as usize]
    }
}

/// Where a part begins: there is no room before a remainder.
fn start(start_bytes: i32) -> usize {
    usize::try_from(start_bytes).expect("a part of a parked remainder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_until_they_are_forgotten() {
        let mut parked = Parked::new(10);
        let index = parked.keep(vec![1; 8]);
        assert!(parked.reserve(3).is_none());
        parked.release(index);
        assert!(parked.reserve(3).is_none(), "a send may still read it");
        parked.forget();
        assert!(parked.reserve(10).is_some());
    }
}
