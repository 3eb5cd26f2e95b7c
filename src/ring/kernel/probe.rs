//! Whether this host lets the gateway use io_uring as it must, and the words for when it does not.
#![allow(unsafe_code)]

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::Duration;

use arrayvec::ArrayVec;
use io_uring::types::{CancelBuilder, Timespec};
use io_uring::{IoUring, Probe, opcode};
use nix::libc;
use nix::sys::socket::SockaddrStorage;
use socket2::SockRef;

use super::allowed::OPERATIONS;
use super::closes::closes_close;
use super::confined::confines;
use super::group::Group;
use super::locked::patient;
use super::pool::Pool;
use super::queue::{Queue, Wait};
pub use super::refusal::{Missing, ProbeError};
use super::{RingError, sqe};
use crate::base::{Errno, errno_of};

/// The contents of the kernel's files, read by the caller: for the words of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSays {
    /// The kernel's release.
    pub release: String,
    /// `kernel.io_uring_disabled`; absent before Linux 6.6.
    pub io_uring_disabled: Option<u8>,
    /// This process's seccomp mode; 2: a filter.
    pub seccomp_mode: Option<u8>,
}

/// Features of newer kernels beyond the minimum that the gateway needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Addresses of a connection can be told (FIXED_FD_INSTALL, Linux 6.8).
    pub addresses: bool,
    /// Upstream sockets can be bound to a source address (BIND, Linux 6.11).
    pub source_addresses: bool,
    /// Receives can go on by themselves, and be bounded (Linux 6.17).
    pub receives_ahead: bool,
    /// Why rings can do more than the gateway asks of them; `None`: they cannot.
    pub unrestricted: Option<Errno>,
    /// A thread can be confined: it makes no other ring that can do more (Linux 7.0).
    pub confines: bool,
}

/// The system calls of io_uring. A filter may allow some and refuse the others.
const SETUP: &str = "io_uring_setup";
const REGISTER: &str = "io_uring_register";
const ENTER: &str = "io_uring_enter";
/// No system call: a refusal of an operation is never a seccomp filter's.
const OPERATION: &str = "a socket's command by io_uring";

/// A call that was refused, and how.
type Refusal = (&'static str, Errno);

/// Makes a small ring and tries whatever the gateway needs.
///
/// # Errors
/// Names what is missing, or what forbids io_uring, and what to do.
pub fn probe(host: &HostSays) -> Result<Features, ProbeError> {
    let release = host.release.clone();
    let refused = |call, errno| classify((call, errno), host);
    let plain = patient(|| IoUring::new(4).map_err(|error| errno_of(&error)));
    let plain = plain.map_err(|errno| refused(SETUP, errno))?;
    let ops = operations(&plain).map_err(|errno| refused(REGISTER, errno))?;
    let mut missing: Vec<Missing> = OPERATIONS
        .iter()
        .filter(|one| !one.is_optional && !ops.is_supported(one.code))
        .map(|one| Missing { feature: one.name, since: one.since })
        .collect();
    match Queue::new(4, 16) {
        Ok(queue) => {
            let tried = try_registrations(queue, &mut missing);
            tried.map_err(|(call, errno)| refused(call, errno))?;
        }
        Err(Errno::EINVAL) => missing
            .push(Missing { feature: "SINGLE_ISSUER, DEFER_TASKRUN and NO_SQARRAY", since: "6.6" }),
        Err(errno) => return Err(refused(SETUP, errno)),
    }
    if !missing.is_empty() {
        return Err(ProbeError::TooOld { release, missing });
    }
    if !closes_close().map_err(|errno| refused(SETUP, errno))? {
        return Err(ProbeError::ClosesWait { release });
    }
    let addresses = ops.is_supported(opcode::FixedFdInstall::CODE);
    let source_addresses = ops.is_supported(opcode::Bind::CODE);
    let unrestricted = Queue::refusal();
    let receives_ahead = receives_go_on();
    let confines = confines();
    Ok(Features { addresses, source_addresses, receives_ahead, unrestricted, confines })
}

/// Refuses source addresses where the kernel cannot bind to them.
pub(super) fn require_bind() -> Result<(), RingError> {
    let refused = |errno| RingError::refused("a question about BIND".into(), errno);
    let plain = patient(|| IoUring::new(1).map_err(|error| errno_of(&error)));
    let ops = plain.and_then(|ring| operations(&ring)).map_err(refused)?;
    if ops.is_supported(opcode::Bind::CODE) {
        return Ok(());
    }
    Err(RingError {
        tried: "upstream sockets with a source address".into(),
        errno: None,
        rule: "binding a ring's socket needs io_uring's BIND (Linux 6.11)",
        remedy: "remove source_addresses from the upstream, or run a newer kernel",
    })
}

/// Refuses a wait for batches where `ring`'s kernel knows none.
pub(super) fn require_min_wait(ring: &IoUring) -> Result<(), RingError> {
    if ring.params().is_feature_min_timeout() {
        return Ok(());
    }
    Err(RingError {
        tried: "waiting for batches of completions".into(),
        errno: None,
        rule: "ring.batch_wait needs io_uring's minimum wait (Linux 6.12)",
        remedy: "remove ring.batch_wait, or run a newer kernel",
    })
}

/// Whether receives can go on by themselves: what they take can be bounded (Linux 6.17), and bytes
/// with a reset at their heels hide it from none of them. A kernel may take two wakes for one and
/// never look again ("io_uring/poll: fix multishot recv missing EOF on wakeup race", 2026).
pub(super) fn receives_go_on() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let told = try_receive().unwrap_or_default();
        told[..] == [1, -libc::ECONNRESET]
    })
}

/// What a receive that goes on tells of a byte and a reset which come between two turns; `None`
/// when that cannot be tried.
fn try_receive() -> Option<ArrayVec<i32, 4>> {
    let mut pool = Pool::new(2, 4096).ok()?;
    let mut group = Group::new(2, 1, 2).ok()?;
    let mut queue = Queue::new(4, 16).ok()?;
    let (address, entries) = group.registration();
    // SAFETY: the group's mapping has exactly so many entries. It and the pool are given back only
    // when `quiesce` has found no request left, however the trial ended; else they are leaked.
    let registered = unsafe {
        let submitter = queue.ring().submitter();
        submitter.register_buf_ring_with_flags(address, entries, sqe::BUFFER_GROUP, 0)
    };
    registered.ok()?;
    group.restock(&mut pool, 2);
    let told = receive_byte_and_reset(&mut queue);
    if !queue.quiesce(|_| {}) {
        std::mem::forget((pool, group));
    }
    told
}

/// Receives on a connection of its own, into the group that is registered.
fn receive_byte_and_reset(queue: &mut Queue) -> Option<ArrayVec<i32, 4>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let mut client = TcpStream::connect(listener.local_addr().ok()?).ok()?;
    let (server, _) = listener.accept().ok()?;
    queue.ring().submitter().register_files(&[server.as_raw_fd()]).ok()?;
    queue.enable().ok()?;
    // SAFETY: the entry names no memory but the group's buffers, which the caller keeps until no
    // request is left.
    unsafe { queue.push(sqe::receive(0, Some(4096))) };
    queue.turn(Wait::No).ok()?;
    client.write_all(b"!").ok()?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).ok()?;
    drop(client);
    let mut told = ArrayVec::new();
    for _ in 0..told.capacity() {
        queue.turn(Wait::No).ok()?;
        queue.open_turn();
        while let Some(completion) = queue.next() {
            told.try_push(completion.result()).ok()?;
        }
    }
    Some(told)
}

fn operations(ring: &IoUring) -> Result<Probe, Errno> {
    let mut probe = Probe::new();
    match ring.submitter().register_probe(&mut probe).map_err(|error| errno_of(&error)) {
        // Before Linux 5.6 every operation counts as missing, which is the truth.
        Ok(()) | Err(Errno::EINVAL) => Ok(probe),
        Err(errno) => Err(errno),
    }
}

/// Whether a feature is there: EINVAL says that the kernel does not know it. Any other error is a
/// refusal of what it knows.
fn is_known(tried: std::io::Result<()>) -> Result<bool, Refusal> {
    match tried.map_err(|error| errno_of(&error)) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err((REGISTER, errno)),
    }
}

fn try_registrations(mut queue: Queue, missing: &mut Vec<Missing>) -> Result<(), Refusal> {
    let mut need = |known: bool, feature, since| {
        if !known {
            missing.push(Missing { feature, since });
        }
    };
    let submitter = queue.ring().submitter();
    let workers = submitter.register_iowq_max_workers(&mut [0, 0]);
    need(is_known(workers)?, "IOWQ_MAX_WORKERS", "5.15");
    need(is_known(submitter.register_files_sparse(4))?, "sparse file tables", "5.19");
    let range = queue.set_alloc_range(2).map_err(std::io::Error::from);
    need(is_known(range)?, "FILE_ALLOC_RANGE", "6.0");
    // Nothing is in flight, which is said by ENOENT where the call is known.
    let cancelled = submitter.register_sync_cancel(Some(Timespec::new()), CancelBuilder::any());
    let none = |error: &std::io::Error| errno_of(error) == Errno::ENOENT;
    let cancelled = cancelled.or_else(|error| if none(&error) { Ok(()) } else { Err(error) });
    need(is_known(cancelled)?, "SYNC_CANCEL", "6.0");
    need(try_group(&queue)?, "provided-buffer rings", "5.19");
    queue.enable().map_err(|errno| (REGISTER, errno))?;
    need(try_socket_command(&mut queue)?, "socket options as commands", "6.7");
    Ok(())
}

fn try_group(queue: &Queue) -> Result<bool, Refusal> {
    let group = Group::new(1, 1, 1).map_err(|errno| ("mmap", errno))?;
    let (address, entries) = group.registration();
    let submitter = queue.ring().submitter();
    // SAFETY: the group's mapping has exactly so many entries and is unregistered again before it
    // is dropped at the end of this function; if that failed the kernel would keep its own pins
    // on the pages, and no receive is ever started here.
    let registered =
        unsafe { submitter.register_buf_ring_with_flags(address, entries, sqe::BUFFER_GROUP, 0) };
    is_known(registered.and_then(|()| submitter.unregister_buf_ring(sqe::BUFFER_GROUP)))
}

/// Makes a socket in slot 2, behind the range for accepts, and sets an option of it.
fn try_socket_command(queue: &mut Queue) -> Result<bool, Refusal> {
    let loopback = SockaddrStorage::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let steps = [
        sqe::socket(2, &loopback),
        sqe::set_option(2, libc::IPPROTO_TCP, libc::TCP_NODELAY),
        sqe::close(2),
    ];
    let count = steps.len();
    for step in steps {
        // SAFETY: the entries name no memory but a constant of the program.
        unsafe { queue.push(step) };
    }
    let mut ended = 0;
    // Each is complete once submitted; a second round is for a kernel that defers.
    for _ in 0..2 * count {
        queue.turn(Wait::No).map_err(|errno| (ENTER, errno))?;
        queue.open_turn();
        while let Some(completion) = queue.next() {
            ended += 1;
            match completion.result() {
                0.. => {}
                error => match Errno::from_raw(-error) {
                    Errno::EINVAL | Errno::EOPNOTSUPP => return Ok(false),
                    errno => return Err((OPERATION, errno)),
                },
            }
        }
        if ended == count {
            return Ok(true);
        }
    }
    Err((ENTER, Errno::EAGAIN))
}

/// Why a call answered with an errno: by the sysctl, by the seccomp mode, by the release.
fn classify((call, errno): Refusal, host: &HostSays) -> ProbeError {
    let HostSays { release, io_uring_disabled, seccomp_mode } = host;
    let filtered = *seccomp_mode == Some(2) && call != OPERATION;
    match errno {
        // A filter may answer ENOSYS, so that a program falls back to epoll. Once a ring is made,
        // the kernel has all three calls.
        Errno::ENOSYS if filtered && (call != SETUP || is_at_least(release, (5, 1))) => {
            ProbeError::Seccomp { call }
        }
        Errno::ENOSYS if call == SETUP => ProbeError::Absent { release: release.clone() },
        Errno::EPERM | Errno::EACCES => match *io_uring_disabled {
            Some(sysctl @ 1..) if call == SETUP => ProbeError::Disabled { sysctl },
            _ if filtered => ProbeError::Seccomp { call },
            _ => ProbeError::Refused { call, errno },
        },
        Errno::ENOMEM => ProbeError::Memory,
        _ => ProbeError::Refused { call, errno },
    }
}

fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(release: &str, io_uring_disabled: Option<u8>, seccomp_mode: Option<u8>) -> HostSays {
        HostSays { release: release.into(), io_uring_disabled, seccomp_mode }
    }

    #[test]
    fn this_kernel_has_what_the_gateway_needs() {
        let host = says("", None, None);
        probe(&host).expect("tests need Linux 6.13 or newer");
    }

    #[test]
    fn a_refusal_names_its_cause() {
        let release = "6.8.0-45-generic";
        let at = |call, errno, sysctl, mode| classify((call, errno), &says(release, sysctl, mode));
        let at_setup = |errno, sysctl, mode| at(SETUP, errno, sysctl, mode);
        let disabled = |sysctl| ProbeError::Disabled { sysctl };
        let filter = |call| ProbeError::Seccomp { call };
        let refused = |call| ProbeError::Refused { call, errno: Errno::EPERM };
        assert_eq!(at_setup(Errno::EPERM, Some(1), Some(0)), disabled(1));
        assert_eq!(at_setup(Errno::EPERM, Some(2), Some(2)), disabled(2));
        assert_eq!(at_setup(Errno::EPERM, Some(0), Some(2)), filter(SETUP));
        assert_eq!(at_setup(Errno::ENOSYS, None, Some(2)), filter(SETUP));
        assert_eq!(at_setup(Errno::EPERM, Some(0), Some(0)), refused(SETUP));
        assert_eq!(at_setup(Errno::ENOMEM, Some(0), Some(0)), ProbeError::Memory);
        for call in [REGISTER, ENTER] {
            for errno in [Errno::EPERM, Errno::EACCES, Errno::ENOSYS] {
                assert_eq!(at(call, errno, Some(1), Some(2)), filter(call));
            }
            assert_eq!(at(call, Errno::EPERM, Some(0), Some(0)), refused(call));
        }
        let operation = at(OPERATION, Errno::EPERM, Some(0), Some(2));
        assert_eq!(operation, refused(OPERATION));
    }

    #[test]
    fn a_feature_that_is_refused_is_not_missing() {
        let answered = |errno: Errno| is_known(Err(errno.into()));
        assert_eq!(is_known(Ok(())), Ok(true));
        assert_eq!(answered(Errno::EINVAL), Ok(false));
        for errno in [Errno::EPERM, Errno::ENOSYS, Errno::ENOMEM, Errno::EMFILE] {
            assert_eq!(answered(errno), Err((REGISTER, errno)));
        }
    }

    #[test]
    fn an_old_kernel_differs_from_a_filter() {
        let absent = ProbeError::Absent { release: "4.19.0".into() };
        for mode in [2, 0] {
            let host = says("4.19.0", None, Some(mode));
            assert_eq!(classify((SETUP, Errno::ENOSYS), &host), absent);
        }
    }

    #[test]
    fn what_may_come_free_is_no_lasting_refusal() {
        let host = says("6.8.0", Some(0), Some(0));
        for (errno, is_lasting) in [
            (Errno::EPERM, true),
            (Errno::ENOSYS, true),
            (Errno::EOPNOTSUPP, true),
            (Errno::ENOMEM, false),
            (Errno::EMFILE, false),
            (Errno::ENFILE, false),
            (Errno::EINVAL, false),
        ] {
            assert_eq!(classify((SETUP, errno), &host).is_lasting(), is_lasting, "{errno}");
        }
        assert!(ProbeError::ClosesWait { release: "6.12".into() }.is_lasting());
    }

    #[test]
    fn every_message_says_what_to_do() {
        let missing = vec![Missing { feature: "FILE_ALLOC_RANGE", since: "6.0" }];
        for (error, remedy) in [
            (ProbeError::Absent { release: "5.0".into() }, "run Linux 6.13"),
            (ProbeError::ClosesWait { release: "6.12.95".into() }, "run Linux 6.13"),
            (ProbeError::TooOld { release: "5.19".into(), missing }, "(Linux 6.0)"),
            (ProbeError::Disabled { sysctl: 1 }, "io_uring_group"),
            (ProbeError::Disabled { sysctl: 2 }, "io_uring_disabled=0"),
            (ProbeError::Seccomp { call: ENTER }, "=@aio"),
            (ProbeError::Memory, "ulimit -l"),
            (ProbeError::Refused { call: SETUP, errno: Errno::EPERM }, "SELinux"),
        ] {
            let message = error.to_string();
            assert!(message.contains(remedy), "{message}");
        }
    }
}
