//! Anonymous memory that the kernel reads and writes for us.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use nix::unistd::{SysconfVar, sysconf};

use crate::base::Errno;

/// Whole zeroed pages, touched by nobody until somebody writes to them; unmapped when dropped.
pub(super) struct Mapping {
    base: NonNull<u8>,
    length_bytes: usize,
}

impl Mapping {
    /// Maps at least `length_bytes`, rounded up by the kernel to whole pages.
    pub(super) fn new(length_bytes: usize) -> Result<Mapping, Errno> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no
        // memory that exists already; the result is checked on the next line.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let base = NonNull::new(base.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Mapping { base, length_bytes })
    }

    /// The first byte, page-aligned.
    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Gives the system the whole pages of a range back; they read as zeroes again.
    ///
    /// # Panics
    /// When the range reaches past the end.
    ///
    /// # Safety
    /// No reference into the range may exist, and nothing may still write to it.
    pub(super) unsafe fn discard(&mut self, offset_bytes: usize, length_bytes: usize) {
        let page_bytes = page_bytes();
        let begin = offset_bytes.next_multiple_of(page_bytes);
        let end = (offset_bytes + length_bytes) / page_bytes * page_bytes;
        let Some(length_bytes) = end.checked_sub(begin).filter(|length| *length > 0) else {
            return;
        };
        let address = self.range(begin, length_bytes).cast();
        // SAFETY: `range` keeps it within the mapping, which is private and anonymous; that nobody
        // uses what lies there is the caller's promise. Refused, the pages merely stay.
        unsafe { libc::madvise(address, length_bytes, libc::MADV_DONTNEED) };
    }

    /// The byte at `offset_bytes`, with `length_bytes` of the mapping behind it.
    ///
    /// # Panics
    /// When that reaches past the end.
    pub(super) fn range(&self, offset_bytes: usize, length_bytes: usize) -> *mut u8 {
        let end = offset_bytes.checked_add(length_bytes).expect("a range within memory");
        assert!(end <= self.length_bytes, "bytes {offset_bytes}..{end} of {}", self.length_bytes);
        // SAFETY: the line above keeps the offset within the mapping.
        unsafe { self.base.as_ptr().add(offset_bytes) }
    }
}

pub(super) fn page_bytes() -> usize {
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).expect("POSIX defines a page's size")
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of a mapping that `new` made and nobody else unmaps.
        // That the kernel no longer writes here is the owner's duty: see `KernelRing`'s `Drop`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length_bytes) };
    }
}
