//! Deadlines without allocation: a wheel whose lists run through the table's entries.

use super::link::{Link, NOBODY};
use super::table::Table;
use crate::base::{ConnIndex, Tick};

/// Slots in a level, and the factor between levels.
const SLOTS: u32 = 64;
const SLOT_BITS: u32 = 6;
/// 64⁴ ticks of 50 ms: 9.7 days. What is due later is looked at then and put in again.
const LEVELS: u32 = 4;
const HORIZON: u32 = SLOTS.pow(LEVELS) - 1;

/// The wheel: one deadline per connection at most.
#[derive(Debug)]
pub struct Timers {
    now: Tick,
    heads: [u32; (SLOTS * LEVELS) as usize],
    /// Which slots of the lowest level are not empty.
    soon: u64,
    /// Deadlines in it.
    count: u32,
}

impl Timers {
    /// An empty wheel that stands at `now`.
    pub fn new(now: Tick) -> Timers {
        Timers { now, heads: [NOBODY; (SLOTS * LEVELS) as usize], soon: 0, count: 0 }
    }

    /// How many deadlines are in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Sets the deadline of `index`, in place of the one that it had. What is due now or earlier
    /// comes at the next tick.
    pub fn set(&mut self, table: &mut Table, index: ConnIndex, due: Tick) {
        self.clear(table, index);
        let due = Tick(due.0.clamp(self.now.0 + 1, self.now.0 + HORIZON));
        self.link(table, index, due);
        self.count += 1;
    }

    /// Takes the deadline of `index` away, if it has one.
    pub fn clear(&mut self, table: &mut Table, index: ConnIndex) {
        let link = std::mem::replace(&mut table.entry(index).timer, Link::UNLINKED);
        if link.due().is_none() {
            return;
        }
        self.count -= 1;
        if link.next != NOBODY {
            table.entry(ConnIndex(link.next)).timer.previous = link.previous;
        }
        if link.previous != NOBODY {
            table.entry(ConnIndex(link.previous)).timer.next = link.next;
            return;
        }
        // First of its list: which one, its deadline tells only at the level it was put in, so the
        // head is looked for. At most one per level.
        let head = (0..LEVELS)
            .map(|level| slot(level, link.due))
            .find(|&head| self.heads[head] == index.0)
            .expect("the first of a list is some slot's head");
        self.set_head(head, link.next);
    }

    fn link(&mut self, table: &mut Table, index: ConnIndex, due: Tick) {
        let distance = due.0 - self.now.0;
        let level = (0..LEVELS).find(|level| distance < SLOTS.pow(level + 1)).unwrap_or(LEVELS - 1);
        let head = slot(level, due);
        let next = self.heads[head];
        if next != NOBODY {
            table.entry(ConnIndex(next)).timer.previous = index.0;
        }
        table.entry(index).timer = Link { previous: NOBODY, next, due };
        self.set_head(head, index.0);
    }

    fn set_head(&mut self, head: usize, first: u32) {
        self.heads[head] = first;
        if head < SLOTS as usize {
            let bit = 1 << head;
            self.soon = if first == NOBODY { self.soon & !bit } else { self.soon | bit };
        }
    }

    /// Moves one tick on, unless the wheel stands at `until` already. Call it in a loop with
    /// [`Timers::due`] until it says false.
    pub fn step(&mut self, table: &mut Table, until: Tick) -> bool {
        if self.now >= until {
            return false;
        }
        self.now.0 += 1;
        for level in 1..LEVELS {
            if !self.now.0.is_multiple_of(SLOTS.pow(level)) {
                break;
            }
            self.cascade(table, slot(level, self.now));
        }
        true
    }

    /// Spreads a slot of a higher level over the lower ones.
    fn cascade(&mut self, table: &mut Table, head: usize) {
        let mut index = self.heads[head];
        self.set_head(head, NOBODY);
        while index != NOBODY {
            let Link { next, due, .. } = table.entry(ConnIndex(index)).timer;
            self.link(table, ConnIndex(index), due);
            index = next;
        }
    }

    /// Takes out one connection whose deadline is the present tick.
    pub fn due(&mut self, table: &mut Table) -> Option<ConnIndex> {
        let index = self.heads[slot(0, self.now)];
        (index != NOBODY).then(|| {
            self.clear(table, ConnIndex(index));
            ConnIndex(index)
        })
    }

    /// Whether a connection's deadline is the present tick.
    pub fn any_due(&self) -> bool {
        self.heads[slot(0, self.now)] != NOBODY
    }

    /// The tick up to which a worker may sleep: the next deadline that is known exactly, or the
    /// next one at which a higher level is spread out.
    pub fn next_stop(&self) -> Tick {
        let ahead = self.soon.rotate_right((self.now.0 + 1) % SLOTS).trailing_zeros();
        let spread = SLOTS - 1 - self.now.0 % SLOTS;
        Tick(self.now.0 + 1 + ahead.min(spread))
    }
}

fn slot(level: u32, due: Tick) -> usize {
    let within = (due.0 >> (SLOT_BITS * level)) % SLOTS;
    (level * SLOTS + within) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(timers: &mut Timers, table: &mut Table, until: u32) -> Vec<(u32, u32)> {
        let mut fired = Vec::new();
        while timers.step(table, Tick(until)) {
            while let Some(index) = timers.due(table) {
                fired.push((timers.now.0, index.0));
            }
        }
        fired
    }

    #[test]
    fn every_deadline_comes_exactly_at_its_tick_over_all_levels() {
        let mut table = Table::new(4096);
        let mut timers = Timers::new(Tick(12_345));
        let mut expected = Vec::new();
        for index in 0..2000u32 {
            let distance = 1 + index * index * 37 % 300_000;
            timers.set(&mut table, ConnIndex(index), Tick(12_345 + distance));
            expected.push((12_345 + distance, index));
        }
        expected.sort_unstable();
        let mut fired = fired(&mut timers, &mut table, 12_345 + 300_001);
        fired.sort_unstable();
        assert_eq!(fired, expected);
        assert_eq!(timers.count(), 0);
    }

    #[test]
    fn a_deadline_that_was_moved_or_cleared_does_not_come_at_its_old_tick() {
        let mut table = Table::new(100);
        let mut timers = Timers::new(Tick(0));
        for index in 0..100 {
            timers.set(&mut table, ConnIndex(index), Tick(5000));
        }
        for index in 0..100 {
            match index % 3 {
                0 => timers.clear(&mut table, ConnIndex(index)),
                1 => timers.set(&mut table, ConnIndex(index), Tick(70)),
                _ => {}
            }
        }
        assert_eq!(timers.count(), 66);
        let fired = fired(&mut timers, &mut table, 6000);
        assert_eq!(fired.iter().filter(|(tick, _)| *tick == 70).count(), 33);
        assert_eq!(fired.iter().filter(|(tick, _)| *tick == 5000).count(), 33);
        assert_eq!(fired.len(), 66);
    }

    #[test]
    fn a_worker_that_sleeps_until_the_next_stop_misses_no_deadline() {
        let mut table = Table::new(10);
        for distance in 1..10_000 {
            let mut timers = Timers::new(Tick(1000));
            timers.set(&mut table, ConnIndex(0), Tick(1000 + distance));
            let mut stops = 0;
            let due = loop {
                let stop = timers.next_stop();
                if let [(due, 0)] = fired(&mut timers, &mut table, stop.0)[..] {
                    break due;
                }
                stops += 1;
                assert!(stops <= distance / SLOTS + 1, "woken {stops} times for {distance}");
            };
            assert_eq!(due, 1000 + distance);
        }
    }
}
