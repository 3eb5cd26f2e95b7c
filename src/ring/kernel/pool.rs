//! The worker's pool of receive buffers.
#![allow(unsafe_code)]

use super::mapping::Mapping;
use crate::base::Errno;
use crate::base::limits::{BUFFERS, ROOM_BEFORE, ROOM_BEHIND};

pub(super) const BUFFERS_MAX: u32 = *BUFFERS.end();

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
    /// Buffers that groups have beyond their own.
    pub(super) common: u32,
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
    pub(super) fn hold(&mut self, id: u16) {
        let holder = &mut self.holders[usize::from(id)];
        assert_eq!(*holder, Holder::Group, "the kernel filled buffer {id}");
        *holder = Holder::Connection;
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

    /// Buffers that groups have.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.holders.iter().filter(|holder| **holder == Holder::Group).count()
    }

    /// Takes back what lay in a group for so long that it counts as not needed.
    pub(super) fn take_back(&mut self, ids: Vec<u16>) {
        for id in &ids {
            let holder = &mut self.holders[usize::from(*id)];
            assert_eq!(*holder, Holder::Group, "buffer {id} comes out of a group");
            *holder = Holder::Pool;
        }
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

    pub(super) fn lend(&mut self) -> Option<(u16, *mut u8)> {
        let id = self.pop(Holder::Group)?;
        let first = self.first(id.into(), 0, self.buffer_bytes).expect("a whole buffer");
        Some((id, self.memory.range(first, self.buffer_bytes as usize)))
    }
}

/// Bytes of a buffer's place in memory, with its room.
fn place_bytes(buffer_bytes: u32) -> usize {
    (ROOM_BEFORE + buffer_bytes + ROOM_BEHIND) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

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
