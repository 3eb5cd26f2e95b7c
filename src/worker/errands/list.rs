//! Slots in the order in which an errand visits them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::{ConnIndex, Tick};

/// Slots to visit, each with the tick that it is listed with; the earliest comes first.
#[derive(Debug)]
pub struct List {
    slots: BinaryHeap<Reverse<(Tick, ConnIndex)>>,
    /// A bit for each slot: it is in the list.
    has: Vec<u64>,
}

const _: () = assert!(size_of::<Reverse<(Tick, ConnIndex)>>() == 8);

impl List {
    /// An empty one, with room for so many.
    pub fn with_capacity(many: usize) -> List {
        List { slots: BinaryHeap::with_capacity(many), has: Vec::new() }
    }

    /// How many slots are in it.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a slot, unless it is in the list already.
    pub fn add(&mut self, index: ConnIndex, tick: Tick) {
        let (word, bit) = place(index);
        if word >= self.has.len() {
            self.has.resize(word + 1, 0);
        }
        if self.has[word] & bit == 0 {
            self.has[word] |= bit;
            self.slots.push(Reverse((tick, index)));
        }
    }

    /// The slot to visit next, and the tick that it is listed with.
    pub fn first(&self) -> Option<(ConnIndex, Tick)> {
        self.slots.peek().map(|Reverse((tick, index))| (*index, *tick))
    }

    /// Moves the first slot to where another tick puts it.
    pub fn put_back(&mut self, tick: Tick) {
        if let Some(mut first) = self.slots.peek_mut() {
            first.0.0 = tick;
        }
    }

    /// Takes the first slot out.
    pub fn take(&mut self) {
        if let Some(Reverse((_, index))) = self.slots.pop() {
            let (word, bit) = place(index);
            self.has[word] &= !bit;
        }
    }
}

/// A slot's word among the bits, and its bit there.
fn place(index: ConnIndex) -> (usize, u64) {
    ((index.0 / u64::BITS) as usize, 1 << (index.0 % u64::BITS))
}
