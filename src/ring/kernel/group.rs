//! Buffers of the pool that a kernel ring has: a group for each ring.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::mapping::Mapping;
use super::pool::{BUFFERS_MAX, Pool};
use super::queue::Queue;
use crate::base::Errno;

/// Buffers that a group starts to be stocked with while receives are armed on it.
const FIRST_TARGET: u32 = 32;

/// The provided-buffer ring of one kernel ring: the buffers that the kernel may pick from there.
pub(super) struct Group {
    ring: Mapping,
    entries: u16,
    tail: u16,
    stock: u32,
    /// The least that the kernel left since the group last rested.
    fewest: u32,
    target: u32,
    target_max: u32,
    share: Share,
}

/// A group's share of the pool.
///
/// With several rings, all groups together hold at most half of the pool; if it is empty,
/// connections hold the rest and will return it.
#[derive(Clone, Copy)]
struct Share {
    /// So many are its own.
    own: u32,
    /// More than that while what all groups have beyond their own is less than this.
    common: u32,
}

impl Group {
    /// A group for one of `rings` kernel rings, with so many slots, that share a pool of `count`
    /// buffers. A group alone may hold all.
    pub(super) fn new(count: u32, rings: u32, slots: u32) -> Result<Group, Errno> {
        let (most, share) = if rings == 1 {
            (count, Share { own: count, common: count })
        } else {
            let own = (count / (4 * rings)).max(1);
            (count / 2, Share { own, common: (count / 2).saturating_sub(rings * own) })
        };
        // A slot has one receive, which seldom brings two pieces in one go.
        let target_max = most.min(slots);
        assert!((1..=BUFFERS_MAX).contains(&target_max), "{count} buffers for {rings} rings");
        let entries = target_max.next_power_of_two() as u16;
        let ring = Mapping::new(usize::from(entries) * size_of::<BufRingEntry>())?;
        let target = FIRST_TARGET.min(target_max);
        Ok(Group { ring, entries, tail: 0, stock: 0, fewest: u32::MAX, target, target_max, share })
    }

    /// Address and entries, for the kernel.
    pub(super) fn registration(&self) -> (u64, u16) {
        (self.ring.base() as u64, self.entries)
    }

    /// Buffers here that the kernel has not taken, as far as completions have told.
    pub(super) fn stock(&self) -> u32 {
        self.stock
    }

    /// Hands a buffer that the kernel took from here to a connection.
    pub(super) fn taken(&mut self, pool: &mut Pool, id: u16) {
        self.lose_one(pool);
        self.fewest = self.fewest.min(self.stock);
        pool.hold(id);
    }

    /// Gives the pool back what the kernel did not need since this was last called, but for a first
    /// stock: other groups may need it. `receives` wait here.
    ///
    /// # Panics
    /// When a completion of the group's `queue` is unread: the kernel may have taken more than was
    /// told, and would go on to write into buffers of connections.
    pub(super) fn rest(&mut self, pool: &mut Pool, queue: &mut Queue, receives: u32) {
        assert!(queue.is_read(), "buffers are withdrawn while completions are unread");
        self.give_back(pool, receives);
    }

    fn give_back(&mut self, pool: &mut Pool, receives: u32) {
        let first = FIRST_TARGET.min(self.target_max);
        let kept = receives.min(first).min(self.share.own);
        let surplus = self.fewest.min(self.stock.saturating_sub(kept));
        // The newest first: the kernel takes the oldest, at the head, which it alone counts.
        let ids: Vec<u16> = (0..surplus).map(|_| self.withdraw(pool)).collect();
        if self.fewest > 0 {
            self.target = self.stock.max(first);
        }
        self.fewest = u32::MAX;
        self.publish();
        pool.take_back(ids);
    }

    fn withdraw(&mut self, pool: &mut Pool) -> u16 {
        self.tail = self.tail.wrapping_sub(1);
        self.lose_one(pool);
        self.entry(self.tail).bid()
    }

    fn lose_one(&mut self, pool: &mut Pool) {
        pool.common -= u32::from(self.stock > self.share.own);
        self.stock -= 1;
    }

    /// Stocks more from now on, because a receive found the group empty while the pool was not.
    pub(super) fn widen(&mut self) {
        self.target = (self.target * 2).min(self.target_max);
    }

    /// Lends buffers until the group has one for each of `receives`, or its target.
    pub(super) fn restock(&mut self, pool: &mut Pool, receives: u32) {
        let wanted = receives.min(self.target);
        if self.stock >= wanted {
            return;
        }
        while self.stock < wanted {
            let is_own = self.stock < self.share.own;
            if !is_own && pool.common >= self.share.common {
                break;
            }
            let Some((id, address)) = pool.lend() else { break };
            self.provide(id, address, pool.buffer_bytes());
            pool.common += u32::from(!is_own);
        }
        self.publish();
    }

    fn provide(&mut self, id: u16, address: *mut u8, length_bytes: u32) {
        // The stock never exceeds the entries, so this entry was consumed or never used.
        let entry = self.entry(self.tail);
        entry.set_addr(address as u64);
        entry.set_len(length_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.stock += 1;
    }

    fn entry(&mut self, position: u16) -> &mut BufRingEntry {
        let place = usize::from(position & (self.entries - 1)) * size_of::<BufRingEntry>();
        let entry = self.ring.range(place, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: `range` keeps the entry within the mapping, which is zeroed, page-aligned and a
        // multiple of the entry's size. The kernel reads entries only while this thread is inside
        // io_uring_enter (DEFER_TASKRUN), or in an io-wq thread that runs a receive of one piece.
        // That one reads what lies before the tail, and this is never that: `provide` writes at
        // the tail, and `withdraw` runs while the kernel has no such receive (`rest_groups`).
        unsafe { &mut *entry }
    }

    fn publish(&self) {
        // SAFETY: the mapping begins with an initialised entry (`provide` or zeroes), whose last
        // field is the ring's tail (io_uring_register_buf_ring(3)).
        let tail = unsafe { BufRingEntry::tail(self.ring.base().cast()) };
        // SAFETY: the field is two bytes, aligned, and lives as long as the mapping; the kernel
        // only loads it.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 64 buffers, and the groups of so many rings.
    fn shared_by(rings: u32) -> (Pool, Vec<Group>) {
        let pool = Pool::new(64, 4096).expect("a pool");
        let group = |_| Group::new(64, rings, 1_000).expect("a group");
        (pool, (0..rings).map(group).collect())
    }

    #[test]
    fn a_group_is_stocked_by_need_and_all_of_them_with_half_of_the_pool() {
        let (mut pool, mut groups) = shared_by(4);
        groups[0].restock(&mut pool, 3);
        assert_eq!((groups[0].stock(), pool.free()), (3, 64));
        groups[0].restock(&mut pool, 1_000);
        // Half of 64, of which 64 / (4 x 4) are each other group's own.
        assert_eq!(groups[0].stock(), 32 - 3 * 4);
        for group in &mut groups[1..] {
            group.widen();
            group.restock(&mut pool, 1_000);
            assert_eq!(group.stock(), 4);
        }
        assert_eq!((pool.lent(), pool.common), (32, 16));
        // What the kernel takes, others may have: in whichever order they stock.
        (0..20).for_each(|id| groups[0].taken(&mut pool, id));
        groups[1].restock(&mut pool, 1_000);
        groups[0].restock(&mut pool, 1_000);
        assert_eq!((groups[1].stock(), groups[0].stock(), pool.lent()), (20, 4, 32));
    }

    #[test]
    fn a_buffer_goes_to_a_connection_and_comes_back_on_top() {
        let mut pool = Pool::new(4, 4096).expect("a pool");
        let mut group = Group::new(4, 1, 8).expect("a group");
        group.restock(&mut pool, 1);
        group.taken(&mut pool, 0);
        assert_eq!(pool.free(), 3);
        pool.release(0);
        assert_eq!((pool.free(), pool.lend().map(|(id, _)| id)), (4, Some(0)));
    }

    #[test]
    fn a_group_that_rests_gives_the_others_what_it_has() {
        let (mut pool, mut groups) = shared_by(2);
        groups[0].restock(&mut pool, 1_000);
        assert_eq!(groups[0].stock(), 8 + 16);
        // The kernel takes ten and tells of them, and then six. It never needed fourteen, of which
        // the group gives back what is beyond its own.
        (0..10).for_each(|id| groups[0].taken(&mut pool, id));
        groups[0].restock(&mut pool, 1_000);
        (10..16).for_each(|id| groups[0].taken(&mut pool, id));
        groups[0].give_back(&mut pool, 1_000);
        assert_eq!((groups[0].stock(), pool.lent()), (8, 8));
        (0..16).for_each(|id| pool.release(id));
        groups[1].restock(&mut pool, 1_000);
        assert_eq!(groups[1].stock(), 8 + 16);
        // It stocks what it needed at most, and more once a receive finds nothing.
        groups[0].restock(&mut pool, 1_000);
        assert_eq!(groups[0].stock(), 8, "the other has what is common");
        // What it kept are those that the kernel takes next.
        groups[0].taken(&mut pool, 16);
        pool.release(16);
        groups[0].restock(&mut pool, 8);
        assert_eq!((groups[0].stock(), pool.lent()), (8, 32));
        // Where no receive waits, as of quiet connections, nothing is needed.
        groups[1].give_back(&mut pool, 0);
        assert_eq!((groups[1].stock(), pool.lent()), (0, 8));
    }

    /// What happens to one of four groups, or to a buffer of a connection.
    #[derive(Clone, Debug)]
    enum Step {
        Restock(usize, u32),
        Widen(usize),
        Take(usize),
        GiveBack(usize, u32),
        Release(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let group = 0..4_usize;
        let one = prop_oneof![
            2 => (group.clone(), 0..200_u32).prop_map(|(group, count)| Step::Restock(group, count)),
            1 => group.clone().prop_map(Step::Widen),
            4 => group.clone().prop_map(Step::Take),
            1 => (group, 0..200_u32).prop_map(|(group, count)| Step::GiveBack(group, count)),
            3 => (0..64_usize).prop_map(Step::Release),
        ];
        prop::collection::vec(one, 1..400)
    }

    proptest! {
        /// Half of the pool stays out of groups, and each group gets its own while any is free.
        #[test]
        fn groups_share_what_is_not_their_own(steps in steps()) {
            let (mut pool, mut groups) = shared_by(4);
            let mut held = Vec::new();
            for step in steps {
                match step {
                    Step::Restock(group, count) => {
                        groups[group].restock(&mut pool, count);
                        let own = groups[group].share.own.min(count);
                        prop_assert!(groups[group].stock() >= own || held.len() > 32);
                    }
                    Step::Widen(group) => groups[group].widen(),
                    Step::Take(group) if groups[group].stock() > 0 => {
                        // The oldest, as the kernel does.
                        let oldest = groups[group].tail.wrapping_sub(groups[group].stock as u16);
                        let id = groups[group].entry(oldest).bid();
                        groups[group].taken(&mut pool, id);
                        held.push(id);
                    }
                    Step::GiveBack(group, count) => groups[group].give_back(&mut pool, count),
                    Step::Release(nth) if nth < held.len() => {
                        pool.release(held.swap_remove(nth).into());
                    }
                    Step::Take(_) | Step::Release(_) => {}
                }
                let stock: u32 = groups.iter().map(Group::stock).sum();
                let beyond = |group: &Group| group.stock.saturating_sub(group.share.own);
                prop_assert_eq!(pool.common, groups.iter().map(beyond).sum::<u32>());
                prop_assert_eq!(pool.lent(), stock as usize);
                prop_assert!(stock <= 32 && pool.common <= 16);
                prop_assert_eq!(pool.free(), 64 - held.len() as u32);
            }
        }
    }
}
