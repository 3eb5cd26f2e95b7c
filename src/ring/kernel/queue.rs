//! One kernel ring: its queues, how it is entered and how it is left.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use super::allowed::{self, UNREGISTER_RING_FDS};
use super::locked::patient;
use crate::base::{Errno, errno_of};

/// `IORING_REGISTER_RING_FDS`; the crate keeps what it registers in a borrowed
/// `Submitter`, which cannot be stored beside its ring.
const REGISTER_RING_FDS: u32 = 20;
const REGISTER_FILE_ALLOC_RANGE: u32 = 25;

/// The longest wait: 34 years, and no overflow of the kernel's signed seconds.
const WAIT_MAX: Duration = Duration::from_secs(1 << 30);

/// Completions that end a wait for a batch before its time is over. At 20,000 messages a second
/// (`pingpong --connections 1000 --rate 20000`, Linux 6.18, 2 cores) one took 31.1 µs of CPU
/// without a batch, 26.8 with 32 in 100 µs, 27.7 with 8, and 24.2 with 32 in 200 µs.
const BATCH: u32 = 32;

/// How often, and for how long, a ring that is being left waits for cancelled operations: 1 s.
const QUIESCE_ROUNDS: u32 = 100;
const QUIESCE_WAIT: Duration = Duration::from_millis(10);

/// `struct io_uring_file_index_range` (linux/io_uring.h).
#[repr(C)]
struct FileIndexRange {
    offset: u32,
    length: u32,
    reserved: u64,
}

/// `struct io_uring_rsrc_update` (linux/io_uring.h).
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg` (linux/io_uring.h); the crate's has no minimum wait.
#[repr(C)]
#[derive(Default)]
struct GetEvents {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_micros: u32,
    timespec: u64,
}

/// The goal that an enter waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Goal {
    completions: u32,
    /// None: for good.
    timeout: Option<Duration>,
    /// As long as this it waits for all of them; later the first will do.
    batch_wait: Duration,
}

/// How long an enter waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Runs what is due and returns.
    No,
    /// Until the first completion, or a batch ([`Queue::set_batch_wait`]), or that long.
    AtMost(Duration),
    /// Until the first completion, or a batch.
    Forever,
}

/// A kernel ring and what is in flight on it.
pub(super) struct Queue {
    ring: IoUring,
    /// It takes entries. Until then it takes any registration, and later those that are allowed.
    is_enabled: bool,
    /// Index of the ring among the thread's registered rings, which spares the enter a look-up.
    registered: Option<u32>,
    /// Entries that found the submission queue full and the kernel unable to empty it.
    waiting: VecDeque<squeue::Entry>,
    /// Entries pushed and not yet retired, whether or not the kernel has seen them.
    in_flight: u64,
    /// Completions of this turn that are still to be read.
    unread: u32,
    /// Calls into the kernel and what they submitted, since they were last taken.
    enters: (u64, u64),
    /// How long a wait goes on for more completions than the first.
    batch_wait: Duration,
}

impl Queue {
    /// A ring for the calling thread alone, to be enabled once everything is registered. Memory
    /// that is refused is waited for, a bounded time.
    pub(super) fn new(submission_entries: u32, completion_entries: u32) -> Result<Queue, Errno> {
        match Queue::refusal() {
            None => Queue::restricted(submission_entries, completion_entries),
            Some(_) => Queue::unrestricted(submission_entries, completion_entries),
        }
    }

    /// Why rings here cannot be held to what is allowed; `None` when they are. A trial finds out,
    /// once: Linux can since 5.10, but a seccomp filter may refuse a step of it.
    pub(super) fn refusal() -> Option<Errno> {
        static REFUSAL: OnceLock<Option<Errno>> = OnceLock::new();
        let enabled = || Queue::restricted(4, 16).and_then(|mut queue| queue.enable());
        *REFUSAL.get_or_init(|| enabled().err())
    }

    /// A ring that can do nothing but what is allowed, whatever this host says to that.
    pub(super) fn restricted(
        submission_entries: u32,
        completion_entries: u32,
    ) -> Result<Queue, Errno> {
        let queue = Queue::make(submission_entries, completion_entries, false)?;
        allowed::restrict(&queue.ring)?;
        Ok(queue)
    }

    /// A ring that can do all that io_uring can; it is enabled.
    pub(super) fn unrestricted(
        submission_entries: u32,
        completion_entries: u32,
    ) -> Result<Queue, Errno> {
        Queue::make(submission_entries, completion_entries, true)
    }

    fn make(
        submission_entries: u32,
        completion_entries: u32,
        is_enabled: bool,
    ) -> Result<Queue, Errno> {
        let make = || {
            let mut builder = IoUring::builder();
            builder
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_taskrun_flag()
                .setup_submit_all()
                .setup_no_sqarray()
                .setup_clamp()
                .setup_cqsize(completion_entries)
                .dontfork();
            if !is_enabled {
                builder.setup_r_disabled();
            }
            builder.build(submission_entries).map_err(|error| errno_of(&error))
        };
        let ring = patient(make)?;
        let mut queue = Queue {
            ring,
            is_enabled,
            registered: None,
            waiting: VecDeque::new(),
            in_flight: 0,
            unread: 0,
            enters: (0, 0),
            batch_wait: Duration::ZERO,
        };
        queue.register_ring_fd();
        Ok(queue)
    }

    /// Lets the ring take entries, of the calling thread alone.
    pub(super) fn enable(&mut self) -> Result<(), Errno> {
        if !self.is_enabled {
            self.ring.submitter().register_enable_rings().map_err(|error| errno_of(&error))?;
            self.is_enabled = true;
        }
        Ok(())
    }

    /// The crate's view of the ring, to register things.
    pub(super) fn ring(&self) -> &IoUring {
        &self.ring
    }

    /// A turn holds out for a batch of completions for up to `wait`; then one is enough. A
    /// completion that comes alone after that is not delayed.
    pub(super) fn set_batch_wait(&mut self, wait: Duration) {
        self.batch_wait = wait;
    }

    /// Entries of the completion queue.
    pub(super) fn completion_entries(&self) -> u32 {
        self.ring.params().cq_entries()
    }

    /// Lets the kernel allocate direct descriptors in `[0, length)` only (Linux 6.0).
    pub(super) fn set_alloc_range(&self, length: u32) -> Result<(), Errno> {
        let range = FileIndexRange { offset: 0, length, reserved: 0 };
        self.register(REGISTER_FILE_ALLOC_RANGE, (&raw const range).cast(), 0)
    }

    /// Puts a descriptor's file into a slot, at once. One that is in it is closed.
    pub(super) fn put(&self, slot: u32, fd: RawFd) -> Result<(), Errno> {
        let put = self.ring.submitter().register_files_update(slot, &[fd]);
        put.map(drop).map_err(|error| errno_of(&error))
    }

    /// A thread can register 16 rings; the others are entered by their descriptor.
    fn register_ring_fd(&mut self) {
        let data = self.ring.as_raw_fd() as u64;
        let mut update = ResourceUpdate { offset: u32::MAX, reserved: 0, data };
        if self.register(REGISTER_RING_FDS, (&raw mut update).cast(), 1).is_ok() {
            self.registered = Some(update.offset);
        }
    }

    fn register(
        &self,
        opcode: u32,
        argument: *const libc::c_void,
        count: u32,
    ) -> Result<(), Errno> {
        // SAFETY: the descriptor is open for as long as `self.ring`; the callers, all in this file,
        // pass a structure of the layout and count that the opcode reads and writes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                opcode,
                argument,
                count,
            )
        };
        Errno::result(result).map(drop)
    }

    /// Whether the next push has to submit first.
    pub(super) fn is_full(&mut self) -> bool {
        self.ring.submission().is_full()
    }

    /// Queues an entry, in order.
    ///
    /// # Safety
    /// Memory that `entry` names must stay valid and unmoved until the entry is retired, and the
    /// kernel must be the only one to touch what it writes.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        if self.waiting.is_empty() {
            // SAFETY: the caller's promise is the one that the crate asks for.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.waiting.push_back(entry);
    }

    /// Hands the queued entries to the kernel without running anything else. What it cannot take
    /// now stays queued.
    pub(super) fn submit(&mut self) {
        let queued = self.queued();
        let _later = self.enter(queued, EnterFlags::empty(), Goal::default());
        self.refill();
    }

    fn refill(&mut self) {
        while let Some(entry) = self.waiting.pop_front() {
            // SAFETY: `push` took this entry under the same promise.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.waiting.push_front(entry);
                break;
            }
        }
    }

    fn queued(&mut self) -> u32 {
        self.ring.submission().len() as u32
    }

    /// Whether no entry waits to be submitted.
    pub(super) fn is_submitted(&mut self) -> bool {
        self.waiting.is_empty() && self.ring.submission().is_empty()
    }

    /// Whether the kernel holds completions that found no room.
    pub(super) fn has_overflowed(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// Completions that the kernel had to drop for want of memory.
    pub(super) fn dropped(&mut self) -> u32 {
        self.ring.completion().overflow()
    }

    /// Whether an enter has something to do: entries, deferred work, or completions kept back.
    pub(super) fn needs_turn(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty()
            || submission.taskrun()
            || submission.cq_overflow()
            || !self.waiting.is_empty()
    }

    /// Whether the kernel has work or completions left over: one call runs 20 pieces of deferred
    /// work at most (IO_LOCAL_TW_DEFAULT_MAX, io_uring/io_uring.c).
    pub(super) fn is_behind(&mut self) -> bool {
        let submission = self.ring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Whether every completion that there is has been read.
    pub(super) fn is_read(&mut self) -> bool {
        !self.has_completions() && !self.has_overflowed()
    }

    /// Whether completions can be read.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Submits everything and runs deferred work, waiting for completions as `wait` says.
    ///
    /// # Errors
    /// An error that a later turn cannot repair.
    pub(super) fn turn(&mut self, wait: Wait) -> Result<(), Errno> {
        // Entries beyond the queue's size go first; none of this runs deferred work.
        let mut rounds = self.waiting.len();
        while !self.waiting.is_empty() && rounds > 0 {
            self.refill();
            self.submit();
            rounds -= 1;
        }
        let goal = match wait {
            Wait::No => Goal::default(),
            _ if !self.waiting.is_empty() => Goal::default(),
            Wait::AtMost(limit) => self.goal(Some(limit.min(WAIT_MAX))),
            Wait::Forever => self.goal(None),
        };
        let queued = self.queued();
        match self.enter(queued, EnterFlags::GETEVENTS, goal) {
            // EBUSY: kept-back completions did not all fit. EAGAIN, ENOMEM: no memory for requests;
            // what was not taken is still queued. A later turn goes on from there.
            Ok(())
            | Err(Errno::EINTR | Errno::ETIME | Errno::EBUSY | Errno::EAGAIN | Errno::ENOMEM) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The first completion, or a batch.
    fn goal(&self, timeout: Option<Duration>) -> Goal {
        if self.batch_wait.is_zero() || timeout.is_some_and(|timeout| timeout <= self.batch_wait) {
            return Goal { completions: 1, timeout, batch_wait: Duration::ZERO };
        }
        // Without a timeout the kernel would return when the batch's time is over, with nothing.
        let timeout = timeout.or(Some(WAIT_MAX));
        Goal { completions: BATCH, timeout, batch_wait: self.batch_wait }
    }

    /// Calls into the kernel and what they submitted, since this was last asked.
    pub(super) fn take_enters(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.enters)
    }

    fn enter(&mut self, submit: u32, mut flags: EnterFlags, goal: Goal) -> Result<(), Errno> {
        let timespec = Timespec::from(goal.timeout.unwrap_or_default());
        let arguments = GetEvents {
            timespec: (&raw const timespec) as u64,
            min_wait_micros: goal.batch_wait.as_micros() as u32,
            ..GetEvents::default()
        };
        let (argument, size) = if goal.timeout.is_some() {
            flags |= EnterFlags::EXT_ARG;
            (&raw const arguments, size_of_val(&arguments))
        } else {
            (std::ptr::null(), 0)
        };
        if self.ring.params().is_feature_no_iowait() {
            // Linux 6.15: a thread that waits for clients is idle, not waiting for a disk.
            flags |= EnterFlags::NO_IOWAIT;
        }
        let fd = match self.registered {
            Some(index) => {
                flags |= EnterFlags::REGISTERED_RING;
                index as i32
            }
            None => self.ring.as_raw_fd(),
        };
        // SAFETY: the ring is open, and registered with this thread if an index is used (the type
        // is not Send because its owner holds mappings); `arguments` has the kernel's layout and
        // outlives the call, as does the timespec it points to. The entries submitted were vouched
        // for by `push`.
        let result = unsafe {
            let (enter, want) = (libc::SYS_io_uring_enter, goal.completions);
            libc::syscall(enter, fd, submit, want, flags.bits(), argument, size)
        };
        self.enters.0 += 1;
        let submitted = Errno::result(result)?;
        self.enters.1 += submitted as u64;
        Ok(())
    }

    /// Makes the completions that are there now this turn's.
    pub(super) fn open_turn(&mut self) -> u32 {
        self.unread = self.ring.completion().len() as u32;
        self.unread
    }

    /// The next completion of this turn.
    pub(super) fn next(&mut self) -> Option<cqueue::Entry> {
        self.unread = self.unread.checked_sub(1)?;
        self.pop()
    }

    fn pop(&mut self) -> Option<cqueue::Entry> {
        let completion = self.ring.completion().next()?;
        if !cqueue::more(completion.flags()) {
            self.in_flight -= 1;
        }
        Some(completion)
    }

    /// Cancels everything and waits, a bounded time, until the kernel holds no request of ours.
    /// `each` sees the completions. True when that was reached: then nothing will be written.
    pub(super) fn quiesce(&mut self, mut each: impl FnMut(cqueue::Entry)) -> bool {
        // Entries that the kernel has not seen it never will: nothing is submitted any more.
        let unseen = u64::from(self.queued()) + self.waiting.len() as u64;
        for _ in 0..QUIESCE_ROUNDS {
            while let Some(completion) = self.pop() {
                each(completion);
            }
            if self.in_flight == unseen {
                return true;
            }
            // ENOENT and ETIME are as good as success: what counts is what completes.
            let cancelled = self
                .ring
                .submitter()
                .register_sync_cancel(Some(Timespec::from(QUIESCE_WAIT)), CancelBuilder::any());
            // All of them: a cancel of everything takes a time that grows with the square of the
            // polls in flight, and to wait for one completion runs the work of twenty.
            let left = (self.in_flight - unseen).min(u64::from(self.completion_entries())) as u32;
            let goal = Goal { completions: left, timeout: Some(QUIESCE_WAIT), ..Goal::default() };
            let entered = self.enter(0, EnterFlags::GETEVENTS, goal);
            if cancelled.is_err() && matches!(entered, Err(Errno::EBADF | Errno::EEXIST)) {
                return false;
            }
        }
        false
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // A registered index is a reference of its own: without this the ring would live as long
        // as the thread.
        if let Some(offset) = self.registered.take() {
            let mut update = ResourceUpdate { offset, reserved: 0, data: 0 };
            let removed = self.register(UNREGISTER_RING_FDS, (&raw mut update).cast(), 1);
            debug_assert_eq!(removed, Ok(()));
        }
    }
}
