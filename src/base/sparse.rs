//! What few connections have, by slot.

use super::ConnIndex;

/// Entries in a block.
const BLOCK: usize = 1024;

/// A value for some of the slots, in blocks that are made when first used: an `Option<T>` for each
/// slot of such a block.
#[derive(Debug)]
pub struct Sparse<T> {
    blocks: Vec<Option<Box<[Option<T>]>>>,
    count: usize,
}

impl<T> Default for Sparse<T> {
    fn default() -> Sparse<T> {
        Sparse { blocks: Vec::new(), count: 0 }
    }
}

impl<T> Sparse<T> {
    fn place(&mut self, index: ConnIndex) -> Option<&mut Option<T>> {
        let block = self.blocks.get_mut(index.0 as usize / BLOCK)?.as_mut()?;
        Some(&mut block[index.0 as usize % BLOCK])
    }

    /// How many slots have one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Puts a slot's value.
    ///
    /// # Panics
    /// When it has one.
    pub fn put(&mut self, index: ConnIndex, value: T) {
        let block = index.0 as usize / BLOCK;
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || None);
        }
        self.blocks[block].get_or_insert_with(|| (0..BLOCK).map(|_| None).collect());
        let place = self.place(index).expect("its block was just made");
        let before = place.replace(value);
        assert!(before.is_none(), "slot {} has two", index.0);
        self.count += 1;
    }

    /// A slot's value.
    pub fn get(&self, index: ConnIndex) -> Option<&T> {
        if self.count == 0 {
            return None;
        }
        self.blocks.get(index.0 as usize / BLOCK)?.as_ref()?[index.0 as usize % BLOCK].as_ref()
    }

    /// A slot's value, to be changed.
    pub fn get_mut(&mut self, index: ConnIndex) -> Option<&mut T> {
        if self.count == 0 {
            return None;
        }
        self.place(index)?.as_mut()
    }

    /// Takes a slot's value.
    pub fn take(&mut self, index: ConnIndex) -> Option<T> {
        if self.count == 0 {
            return None;
        }
        let value = self.place(index)?.take();
        self.count -= usize::from(value.is_some());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_a_value_until_it_is_taken_and_others_have_none() {
        let (one, other) = (ConnIndex(5000), ConnIndex(5001));
        let mut sparse = Sparse::default();
        assert_eq!((sparse.get(one), sparse.blocks.len()), (None, 0), "nobody has one");
        sparse.put(one, 7);
        assert_eq!((sparse.get(one), sparse.get(other)), (Some(&7), None));
        assert_eq!((sparse.take(other), sparse.take(one), sparse.take(one)), (None, Some(7), None));
        assert_eq!((sparse.get(one), sparse.count), (None, 0));
    }
}
