//! Memory that rings lock, and the wait for memory that a dead process of this user still holds.
//!
//! Without CAP_IPC_LOCK rings are charged to the user, over all processes: RLIMIT_MEMLOCK bounds
//! the sum. What a dead process's rings took comes back only when the kernel has taken them apart,
//! a moment after the process is gone.
#![allow(unsafe_code)]

use std::time::Duration;

use io_uring::IoUring;

use super::mapping::{Mapping, page_bytes};
use crate::base::{Errno, errno_of};

/// How often, and how long apart, an allocation is tried again: for 5 to 7 s in all. Processes that
/// start at once give up one after another, so that the last gets what the others held.
const TRIES: u32 = 100;
const MORE_TRIES: u32 = 40;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);
/// The kernel registers at most 1 GiB as one buffer.
const BUFFER_BYTES_MAX: u64 = 1 << 30;

/// Repeats `make` for a bounded time while it fails for want of memory.
///
/// # Errors
/// The last error of `make`.
pub fn patient<T>(mut make: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    // Consecutive processes are 350 ms apart.
    let more = std::process::id() % MORE_TRIES * 7 % MORE_TRIES;
    for _ in 1..TRIES + more {
        match make() {
            Err(Errno::ENOMEM) => std::thread::sleep(BETWEEN_TRIES),
            outcome => return outcome,
        }
    }
    make()
}

/// How much of `wanted_bytes` rings can lock now, once what the dead hold has come back; `None`
/// when that cannot be tried. What is registered as a ring's buffer is charged as the ring itself
/// is, and given back at once.
pub fn lockable_bytes(wanted_bytes: u64) -> Option<u64> {
    let page_bytes = page_bytes() as u64;
    let wanted = wanted_bytes.min(BUFFER_BYTES_MAX).div_ceil(page_bytes);
    let memory = Mapping::new((wanted.max(1) * page_bytes) as usize).ok()?;
    let ring = patient(|| IoUring::new(1).map_err(|error| errno_of(&error))).ok()?;
    let lock = |pages: u64| {
        let length_bytes = (pages * page_bytes) as usize;
        let base = memory.range(0, length_bytes).cast();
        let buffer = libc::iovec { iov_base: base, iov_len: length_bytes };
        // SAFETY: `range` keeps it within the mapping, which outlives the registration: it ends on
        // the next line, and no request ever names it.
        let registered = unsafe { ring.submitter().register_buffers(&[buffer]) };
        let ended = registered.and_then(|()| ring.submitter().unregister_buffers());
        ended.map_err(|error| errno_of(&error))
    };
    match patient(|| lock(wanted)) {
        Ok(()) => return Some(wanted_bytes),
        Err(Errno::ENOMEM) => {}
        Err(_) => return None,
    }
    let (mut least, mut most) = (0, wanted);
    while least + 1 < most {
        let middle = least.midpoint(most);
        match lock(middle) {
            Ok(()) => least = middle,
            Err(Errno::ENOMEM) => most = middle,
            Err(_) => return None,
        }
    }
    Some(least * page_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_comes_back_is_waited_for_and_another_refusal_is_not() {
        let mut refusals = 3;
        let late = patient(|| {
            refusals -= 1;
            if refusals > 0 { Err(Errno::ENOMEM) } else { Ok(()) }
        });
        assert_eq!((late, refusals), (Ok(()), 0));
        let mut tries = 0;
        let refused: Result<(), _> = patient(|| {
            tries += 1;
            Err(Errno::EPERM)
        });
        assert_eq!((refused, tries), (Err(Errno::EPERM), 1));
    }

    #[test]
    fn what_can_be_locked_is_at_most_what_is_wanted() {
        assert!(lockable_bytes(1 << 16).is_some_and(|bytes| bytes <= 1 << 16));
    }
}
