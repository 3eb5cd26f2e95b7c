//! The worker's pool of receive buffers, lent to the kernel rings in small groups.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::mapping::Mapping;
use super::queue::Queue;
use crate::base::Errno;
use crate::base::limits::{BUFFERS, ROOM_BEFORE, ROOM_BEHIND};

pub(super) const BUFFERS_MAX: u32 = *BUFFERS.end();

/// Buffers that a group starts to be stocked with while receives are armed on it.
const FIRST_TARGET: u32 = 32;

/// Memory that one trim gives back at most: it holds up the worker's turn.
const TRIM_BYTES: usize = 8 << 20;

/// The holder of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Pool,
    Group,
    Connection,
}

/// All buffers of a worker, in one mapping. Those not in use are a stack, so that light load keeps
/// touching the same few pages.
pub(in crate::ring) struct Pool {
    memory: Mapping,
    buffer_bytes: u32,
    holders: Box<[Holder]>,
    /// Buffers whose pages may be there.
    touched: Box<[bool]>,
    free: Vec<u16>,
    /// The fewest that were free since the last trim: so many, at the bottom, nobody needed.
    fewest_free: usize,
    /// Buffers that groups have, and those of them that exceed what is a group's own.
    lent: u32,
    common: u32,
    held: u32,
    /// Buffers that connections returned since the last call of `returned`.
    returned: u32,
}

impl Pool {
    /// A pool of `count` buffers.
    ///
    /// # Panics
    /// When `count` exceeds [`BUFFERS_MAX`].
    pub(in crate::ring) fn new(count: u32, buffer_bytes: u32) -> Result<Pool, Errno> {
        assert!(count <= BUFFERS_MAX);
        let memory = Mapping::new(count as usize * place_bytes(buffer_bytes))?;
        let holders = vec![Holder::Pool; count as usize].into_boxed_slice();
        // The lowest index is on top, so that the pool is touched from its beginning.
        let free = (0..count as u16).rev().collect();
        let touched = vec![false; count as usize].into_boxed_slice();
        Ok(Pool {
            memory,
            buffer_bytes,
            holders,
            touched,
            free,
            fewest_free: count as usize,
            lent: 0,
            common: 0,
            held: 0,
            returned: 0,
        })
    }

    /// Buffers in all.
    pub(in crate::ring) fn count(&self) -> u32 {
        self.holders.len() as u32
    }

    /// Bytes of a buffer.
    pub(in crate::ring) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Buffers that no connection holds.
    pub(in crate::ring) fn free(&self) -> u32 {
        self.count() - self.held
    }

    /// Hands a buffer that the kernel took out of a group to a connection.
    fn hold(&mut self, id: u16) {
        let holder = &mut self.holders[usize::from(id)];
        assert_eq!(*holder, Holder::Group, "the kernel filled buffer {id}");
        *holder = Holder::Connection;
        self.lent -= 1;
        self.held += 1;
    }

    /// Takes a free buffer for a connection to write to.
    pub(in crate::ring) fn take(&mut self) -> Option<u16> {
        let id = self.pop(Holder::Connection)?;
        self.held += 1;
        Some(id)
    }

    /// Takes a buffer back from a connection.
    ///
    /// # Panics
    /// When no connection holds it.
    pub(in crate::ring) fn release(&mut self, id: u32) {
        let holder = &mut self.holders[id as usize];
        assert_eq!(*holder, Holder::Connection, "release of buffer {id}");
        *holder = Holder::Pool;
        self.free.push(id as u16);
        self.held -= 1;
        self.returned += 1;
    }

    /// Takes a buffer back that was taken for bytes which did not come: nobody waits for it.
    ///
    /// # Panics
    /// As [`Pool::release`].
    pub(in crate::ring) fn put_back(&mut self, id: u32) {
        self.release(id);
        self.returned -= 1;
    }

    /// How many buffers connections gave back since this was last called.
    pub(in crate::ring) fn take_returned(&mut self) -> u32 {
        std::mem::take(&mut self.returned)
    }

    /// A part of a held buffer.
    ///
    /// # Panics
    /// When no connection holds it, or it is shorter than that.
    pub(in crate::ring) fn bytes(&self, id: u32, start_bytes: i32, length_bytes: u32) -> &[u8] {
        let bytes = self.held(id, start_bytes, length_bytes);
        // SAFETY: `held` asserts that the range lies within one buffer that a connection holds. The
        // kernel writes only buffers of a group, and to lend, write or discard one takes
        // `&mut self`, which this borrow excludes. The mapping began as zeroes: initialised.
        unsafe { std::slice::from_raw_parts(bytes, length_bytes as usize) }
    }

    /// A part of a held buffer, to be changed in place.
    ///
    /// # Panics
    /// As [`Pool::bytes`].
    pub(in crate::ring) fn bytes_mut(
        &mut self,
        id: u32,
        start_bytes: i32,
        length_bytes: u32,
    ) -> &mut [u8] {
        let bytes = self.held(id, start_bytes, length_bytes);
        // SAFETY: as in `bytes`; `&mut self` leaves no other reference. A send that names the
        // buffer is read by the kernel only inside this thread's io_uring_enter (MSG_DONTWAIT in
        // `sqe::send`), so never while this borrow lives.
        unsafe { std::slice::from_raw_parts_mut(bytes, length_bytes as usize) }
    }

    fn held(&self, id: u32, start_bytes: i32, length_bytes: u32) -> *mut u8 {
        assert_eq!(self.holders[id as usize], Holder::Connection, "use of buffer {id}");
        let first = self.first(id, start_bytes, length_bytes);
        let first = first.unwrap_or_else(|| {
            panic!("{length_bytes} bytes from byte {start_bytes} of buffer {id}");
        });
        self.memory.range(first, length_bytes as usize)
    }

    /// Where a part of a buffer begins in all memory; `None`: it is beyond the buffer's room.
    fn first(&self, id: u32, start_bytes: i32, length_bytes: u32) -> Option<usize> {
        let start_bytes = start_bytes.checked_add_unsigned(ROOM_BEFORE)?;
        let start_bytes = usize::try_from(start_bytes).ok()?;
        let place_bytes = place_bytes(self.buffer_bytes);
        let fits = start_bytes + length_bytes as usize <= place_bytes;
        fits.then_some(id as usize * place_bytes + start_bytes)
    }

    /// Whether a held buffer has a part, its room before and behind included.
    pub(in crate::ring) fn has(&self, id: u32, start_bytes: i32, length_bytes: u32) -> bool {
        self.first(id, start_bytes, length_bytes).is_some()
    }

    /// Gives the system back the memory of buffers that nobody needed since this was last called,
    /// 8 MiB of it at most, so that a burst of bytes does not stay resident for ever.
    pub(in crate::ring) fn trim(&mut self) {
        let idle = self.free[..self.fewest_free].iter().copied();
        let mut ids: Vec<u16> = idle.filter(|id| self.touched[usize::from(*id)]).collect();
        self.fewest_free = self.free.len();
        ids.sort_unstable();
        let place_bytes = place_bytes(self.buffer_bytes);
        ids.truncate((TRIM_BYTES / place_bytes).max(1));
        // One call for neighbours: each has the other cores forget the pages.
        for run in ids.chunk_by(|one, next| one + 1 == *next) {
            let first = usize::from(run[0]);
            // SAFETY: these buffers are in `free`: no group and no connection has them, so neither
            // the kernel nor a chunk refers to them.
            unsafe { self.memory.discard(first * place_bytes, run.len() * place_bytes) };
            self.touched[first..first + run.len()].fill(false);
        }
    }

    /// Takes back what lay in a group for so long that it counts as not needed.
    fn take_back(&mut self, ids: Vec<u16>) {
        for id in &ids {
            let holder = &mut self.holders[usize::from(*id)];
            assert_eq!(*holder, Holder::Group, "buffer {id} comes out of a group");
            *holder = Holder::Pool;
        }
        self.lent -= ids.len() as u32;
        self.fewest_free += ids.len();
        self.free.splice(..0, ids);
    }

    fn pop(&mut self, holder: Holder) -> Option<u16> {
        let id = self.free.pop()?;
        self.fewest_free = self.fewest_free.min(self.free.len());
        self.holders[usize::from(id)] = holder;
        self.touched[usize::from(id)] = true;
        Some(id)
    }

    fn lend(&mut self) -> Option<(u16, *mut u8)> {
        let id = self.pop(Holder::Group)?;
        self.lent += 1;
        let first = self.first(id.into(), 0, self.buffer_bytes).expect("a whole buffer");
        Some((id, self.memory.range(first, self.buffer_bytes as usize)))
    }
}

/// Bytes of a buffer's place in memory, with its room.
fn place_bytes(buffer_bytes: u32) -> usize {
    (ROOM_BEFORE + buffer_bytes + ROOM_BEHIND) as usize
}

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
            self.provide(id, address, pool.buffer_bytes);
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
        // io_uring_enter (DEFER_TASKRUN), or, before Linux 6.17, in an io-wq thread that runs a
        // single receive. That one reads what lies before the tail, and this is never that:
        // `provide` writes at the tail, and `withdraw` runs while no such receive is armed
        // (`rest_groups`).
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
    use super::*;

    #[test]
    fn a_group_is_stocked_by_need_and_all_of_them_with_half_of_the_pool() {
        let mut pool = Pool::new(64, 4096).expect("a pool");
        let mut groups: Vec<Group> =
            (0..4).map(|_| Group::new(64, 4, 1_000).expect("a group")).collect();
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
        assert_eq!((pool.lent, pool.common), (32, 16));
        // What the kernel takes, others may have: in whichever order they stock.
        (0..20).for_each(|id| groups[0].taken(&mut pool, id));
        groups[1].restock(&mut pool, 1_000);
        groups[0].restock(&mut pool, 1_000);
        assert_eq!((groups[1].stock(), groups[0].stock(), pool.lent), (20, 4, 32));
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
        let mut pool = Pool::new(64, 4096).expect("a pool");
        let mut groups: Vec<Group> =
            (0..2).map(|_| Group::new(64, 2, 1_000).expect("a group")).collect();
        groups[0].restock(&mut pool, 1_000);
        assert_eq!(groups[0].stock(), 8 + 16);
        // The kernel takes ten and tells of them, and then six: fourteen it never needed.
        (0..10).for_each(|id| groups[0].taken(&mut pool, id));
        groups[0].restock(&mut pool, 1_000);
        (10..16).for_each(|id| groups[0].taken(&mut pool, id));
        groups[0].give_back(&mut pool, 1_000);
        assert_eq!((groups[0].stock(), pool.lent), (8, 8));
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
        assert_eq!((groups[0].stock(), pool.lent), (8, 32));
        // Where no receive waits, as of quiet connections, nothing is needed.
        groups[1].give_back(&mut pool, 0);
        assert_eq!((groups[1].stock(), pool.lent), (0, 8));
    }

    #[test]
    fn what_nobody_needed_for_a_while_is_given_back() {
        let mut pool = Pool::new(4, 16 << 10).expect("a pool");
        // In its middle: the pages at its ends are its neighbours' too.
        let written =
            |pool: &mut Pool, id: u32| std::mem::replace(&mut pool.bytes_mut(id, 8192, 1)[0], 7);
        let ids: Vec<u32> = (0..3).map(|_| pool.take().expect("a buffer").into()).collect();
        ids.iter().for_each(|id| assert_eq!(written(&mut pool, *id), 0));
        ids.iter().rev().for_each(|id| pool.release(*id));
        pool.trim();
        // Everything was in use before that trim; one buffer is before the next.
        let id = pool.take().expect("a buffer").into();
        assert_eq!(written(&mut pool, id), 7, "in use a moment ago");
        pool.release(id);
        pool.trim();
        let again: Vec<u32> = (0..3).map(|_| pool.take().expect("a buffer").into()).collect();
        assert_eq!(again, ids, "the last in use comes first");
        let left: Vec<u8> = again.iter().map(|id| written(&mut pool, *id)).collect();
        assert_eq!(left, [7, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "release of buffer 0")]
    fn a_second_release_is_refused() {
        let mut pool = Pool::new(1, 4096).expect("a pool");
        pool.lend();
        pool.hold(0);
        pool.release(0);
        pool.release(0);
    }
}
