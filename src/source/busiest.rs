//! The sources that were refused most: a space-saving sketch, which one worker owns.

use std::collections::HashMap;

use ipnet::IpNet;

/// How often a source was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// Of whom.
    pub source: IpNet,
    /// How often, or more: never less than it was.
    pub count: u64,
    /// By how much the count may be too high: what others had whose entry this source took.
    pub surplus: u64,
}

/// The sources that were refused most often, in a bounded number of entries (Metwally, Agrawal and
/// El Abbadi, 2005). A source that has no entry takes that of the one with the fewest refusals, and
/// its count with it. So of `n` refusals and `e` entries, every source with more than `n / e` has
/// an entry, and no surplus is larger than that.
#[derive(Clone, Debug)]
pub struct Busiest {
    entries: Vec<Refusals>,
    /// The index of a source's entry.
    indices: HashMap<IpNet, usize>,
    /// Indices of entries as a heap: none has fewer refusals than the one at half its position.
    heap: Vec<usize>,
    /// The position of each entry in the heap.
    positions: Vec<usize>,
    most_entries: usize,
}

impl Busiest {
    /// Entries of a worker: a source with a thousandth of its refusals has one.
    pub const ENTRIES: usize = 1024;

    /// A sketch of so many entries, which take their memory as they come to be used.
    ///
    /// # Panics
    /// When there are to be none.
    pub fn new(entries: usize) -> Busiest {
        assert!(entries > 0, "a sketch has an entry");
        Busiest {
            entries: Vec::new(),
            indices: HashMap::new(),
            heap: Vec::new(),
            positions: Vec::new(),
            most_entries: entries,
        }
    }

    /// Counts a refusal.
    pub fn add(&mut self, source: IpNet) {
        if let Some(&index) = self.indices.get(&source) {
            self.entries[index].count += 1;
            return self.sink(self.positions[index]);
        }
        let index = self.entries.len();
        if index < self.most_entries {
            self.indices.insert(source, index);
            self.entries.push(Refusals { source, count: 1, surplus: 0 });
            self.heap.push(index);
            self.positions.push(index);
            return self.rise(index);
        }
        let index = self.heap[0];
        let Refusals { source: gone, count, .. } = self.entries[index];
        self.indices.remove(&gone);
        self.indices.insert(source, index);
        self.entries[index] = Refusals { source, count: count + 1, surplus: count };
        self.sink(0);
    }

    /// The `most` sources with the most refusals, in that order.
    pub fn top(&self, most: usize) -> Vec<Refusals> {
        first(self.entries.clone(), most)
    }

    /// The `most` sources with the most refusals over all workers, of what each of them has. It is
    /// as exact as the sketches when every one of them gave all its entries.
    pub fn merged(tops: impl IntoIterator<Item = Vec<Refusals>>, most: usize) -> Vec<Refusals> {
        let mut all: HashMap<IpNet, Refusals> = HashMap::new();
        for one in tops.into_iter().flatten() {
            let none = Refusals { source: one.source, count: 0, surplus: 0 };
            let sum = all.entry(one.source).or_insert(none);
            sum.count += one.count;
            sum.surplus += one.surplus;
        }
        first(all.into_values().collect(), most)
    }

    /// Lets an entry whose count grew pass those below it.
    fn sink(&mut self, mut position: usize) {
        loop {
            let children = 2 * position + 1..(2 * position + 3).min(self.heap.len());
            let least = children.min_by_key(|child| self.count_at(*child));
            let Some(child) = least.filter(|child| self.count_at(*child) < self.count_at(position))
            else {
                return;
            };
            self.exchange(position, child);
            position = child;
        }
    }

    /// Lets an entry that came last pass those above it.
    fn rise(&mut self, mut position: usize) {
        while position > 0 && self.count_at(position) < self.count_at((position - 1) / 2) {
            self.exchange(position, (position - 1) / 2);
            position = (position - 1) / 2;
        }
    }

    fn count_at(&self, position: usize) -> u64 {
        self.entries[self.heap[position]].count
    }

    fn exchange(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        for position in [one, other] {
            self.positions[self.heap[position]] = position;
        }
    }
}

/// Those with the most refusals; of equal ones, in the order of their addresses.
fn first(mut all: Vec<Refusals>, most: usize) -> Vec<Refusals> {
    all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then(a.source.cmp(&b.source)));
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn source(nth: u8) -> IpNet {
        IpNet::from(std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, nth)))
    }

    fn refusals(nth: u8, count: u64, surplus: u64) -> Refusals {
        Refusals { source: source(nth), count, surplus }
    }

    #[test]
    fn a_source_without_an_entry_takes_the_place_of_the_one_with_the_fewest() {
        let mut busiest = Busiest::new(2);
        for nth in [1, 1, 1, 2, 3, 1, 3] {
            busiest.add(source(nth));
        }
        assert_eq!(busiest.top(10), [refusals(1, 4, 0), refusals(3, 3, 1)]);
        assert_eq!(busiest.top(1), [refusals(1, 4, 0)]);
    }

    #[test]
    fn workers_add_up() {
        let [mut one, mut other] = [1, 2].map(|_| Busiest::new(Busiest::ENTRIES));
        [1, 1, 2].into_iter().for_each(|nth| one.add(source(nth)));
        [2, 2, 3].into_iter().for_each(|nth| other.add(source(nth)));
        let tops = [one.top(Busiest::ENTRIES), other.top(Busiest::ENTRIES)];
        let expected = [refusals(2, 3, 0), refusals(1, 2, 0)];
        assert_eq!(Busiest::merged(tops, 2), expected);
        assert!(Busiest::merged([], 10).is_empty());
    }

    proptest! {
        /// What the sketch promises, against a count of everybody.
        #[test]
        fn counts_are_never_too_low_and_the_frequent_are_there(
            refused in vec(0..12_u8, 0..300), entries in 1..16_usize,
        ) {
            let mut busiest = Busiest::new(entries);
            let mut counted: HashMap<IpNet, u64> = HashMap::new();
            for nth in &refused {
                busiest.add(source(*nth));
                *counted.entry(source(*nth)).or_default() += 1;
            }
            let top = busiest.top(usize::MAX);
            let bound = refused.len() as u64 / entries as u64;
            prop_assert_eq!(top.len(), counted.len().min(entries));
            prop_assert!(top.is_sorted_by(|a, b| a.count >= b.count));
            for Refusals { source, count, surplus } in &top {
                let counted = counted[source];
                prop_assert!(count - surplus <= counted && counted <= *count, "{}", source);
                prop_assert!(*surplus <= bound);
            }
            for (source, count) in counted.iter().filter(|(_, count)| **count > bound) {
                prop_assert!(top.iter().any(|one| one.source == *source), "{} {}", source, count);
            }
        }
    }
}
