//! Wakes a waiting ring, from any thread.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::base::Errno;

/// Wakes one worker's ring. Wakes between two turns count as one.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<EventFd>,
}

impl Waker {
    /// A waker of its own. The eventfd blocks: a ring's read on a non-blocking one would end with
    /// EAGAIN instead of waiting.
    pub(in crate::ring) fn new() -> Result<Waker, Errno> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        Ok(Waker { event: Arc::new(event) })
    }

    /// Makes the ring's present or next `turn` return.
    pub fn wake(&self) {
        // A write blocks only at 2⁶⁴ − 2 unread wakes and has no other way to fail.
        let written = self.event.write(1);
        debug_assert_eq!(written, Ok(size_of::<u64>()));
    }

    /// The eventfd, to be watched.
    pub(in crate::ring) fn event(&self) -> &EventFd {
        &self.event
    }

    pub(in crate::ring) fn fd(&self) -> RawFd {
        self.event.as_fd().as_raw_fd()
    }
}
