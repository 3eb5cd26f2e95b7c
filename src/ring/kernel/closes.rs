//! Whether a close of a direct descriptor closes, though an older operation of its ring waits.
//!
//! Before Linux 6.13 a direct descriptor was given back only when every older request of its ring
//! had ended ("io_uring/rsrc: get rid of per-ring io_rsrc_node list"). Where a poll waits on an
//! idle connection for hours, the closes behind it wait for hours: their peers see no FIN.
#![allow(unsafe_code)]

use std::io::{PipeReader, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::queue::{Queue, Wait};
use super::sqe;
use super::waker::Waker;
use crate::base::{Errno, errno_of};

/// How long the end of a pipe is waited for. Where closes close it is there at once; a host that is
/// so busy that it takes longer is not what the trial is to find.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The slot on which a poll waits, and the one that is closed.
const IDLE: u32 = 0;
const CLOSED: u32 = 1;

/// Closes one end of a pipe behind a poll that waits, and looks whether the other end hears it.
///
/// # Errors
/// When the kernel refuses a part of the trial.
pub(super) fn closes_close() -> Result<bool, Errno> {
    let idle = Waker::new()?;
    let (peer, ours) = pipe().map_err(|error| errno_of(&error))?;
    let mut queue = Queue::new(4, 16)?;
    let files = [idle.fd(), ours.as_raw_fd()];
    queue.ring().submitter().register_files(&files).map_err(|error| errno_of(&error))?;
    queue.enable()?;
    // The table's is the last reference.
    drop(ours);
    let heard = hears_end(&peer, LONGEST_WAIT, || {
        for entry in [sqe::wait_readable(IDLE), sqe::close(CLOSED)] {
            // SAFETY: neither entry names memory.
            unsafe { queue.push(entry) };
            queue.turn(Wait::No)?;
        }
        Ok(())
    });
    queue.quiesce(|_| {});
    heard
}

/// Whether `peer` hears within `wait` that its pipe's other end is gone once `close` has run.
fn hears_end(
    peer: &PipeReader,
    wait: Duration,
    close: impl FnOnce() -> Result<(), Errno>,
) -> Result<bool, Errno> {
    close()?;
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    loop {
        let mut watched = [PollFd::new(peer.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, wait) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(watched[0].any().unwrap_or(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::PipeWriter;

    use super::*;

    #[test]
    fn this_kernel_closes_what_is_closed() {
        assert_eq!(closes_close(), Ok(true));
    }

    #[test]
    fn a_peer_that_sees_nothing_differs_from_one_that_sees_the_end() {
        const MOMENT: Duration = Duration::from_millis(20);
        let (peer, ours) = pipe().expect("a pipe");
        let kept = ours.try_clone().expect("a descriptor");
        let drops = |end| {
            move || {
                drop::<PipeWriter>(end);
                Ok(())
            }
        };
        assert_eq!(hears_end(&peer, MOMENT, drops(ours)), Ok(false), "somebody still holds it");
        assert_eq!(hears_end(&peer, MOMENT, drops(kept)), Ok(true));
        assert_eq!(hears_end(&peer, MOMENT, || Err(Errno::EMFILE)), Err(Errno::EMFILE));
    }
}
