//! Everything that a ring of ours may do. The kernel holds it to this list
//! (IORING_REGISTER_RESTRICTIONS): any other operation is answered −EACCES.
//!
//! An operation of io_uring is no system call, so no seccomp filter sees it. Without this list,
//! code that gained control of a worker could open files through its ring although a filter
//! refuses open(2). The list holds for one ring: another needs io_uring_setup, which a filter sees,
//! and a confined thread makes none that can do more.

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode};

use crate::base::{Errno, errno_of};

/// An operation that `sqe` makes entries of.
pub(super) struct Operation {
    pub(super) code: u8,
    /// Its name in the kernel's header, and the first Linux that has it.
    pub(super) name: &'static str,
    pub(super) since: &'static str,
    /// The gateway does without it where the kernel lacks it.
    pub(super) is_optional: bool,
}

const fn needed(code: u8, name: &'static str, since: &'static str) -> Operation {
    Operation { code, name, since, is_optional: false }
}

const fn optional(code: u8, name: &'static str, since: &'static str) -> Operation {
    Operation { code, name, since, is_optional: true }
}

/// Every operation. Multishot accept (5.19), its direct slots and cancel by slot (6.0) have no flag
/// to ask for; they are older than socket commands, which are tried.
pub(super) const OPERATIONS: [Operation; 16] = [
    needed(opcode::Nop::CODE, "NOP", "5.1"),
    needed(opcode::PollAdd::CODE, "POLL_ADD", "5.1"),
    needed(opcode::PollRemove::CODE, "POLL_REMOVE", "5.1"),
    needed(opcode::Accept::CODE, "ACCEPT", "5.5"),
    needed(opcode::AsyncCancel2::CODE, "ASYNC_CANCEL", "5.5"),
    needed(opcode::Connect::CODE, "CONNECT", "5.5"),
    needed(opcode::Close::CODE, "CLOSE", "5.6"),
    needed(opcode::FilesUpdate::CODE, "FILES_UPDATE", "5.6"),
    needed(opcode::Read::CODE, "READ", "5.6"),
    needed(opcode::Send::CODE, "SEND", "5.6"),
    needed(opcode::Recv::CODE, "RECV", "5.6"),
    needed(opcode::Shutdown::CODE, "SHUTDOWN", "5.11"),
    needed(opcode::Socket::CODE, "SOCKET", "5.19"),
    // SetSockOpt is one of its commands.
    needed(opcode::UringCmd16::CODE, "URING_CMD", "5.19"),
    optional(opcode::FixedFdInstall::CODE, "FIXED_FD_INSTALL", "6.8"),
    optional(opcode::Bind::CODE, "BIND", "6.11"),
];

/// Flags that an entry may have.
const FLAGS: Flags = Flags::FIXED_FILE.union(Flags::BUFFER_SELECT);

/// Registrations on a ring in use (linux/io_uring.h): files into slots, the cancel of everything,
/// and the end of the ring's number within its thread. All others come before.
const REGISTRATIONS: [u8; 3] = [FILES_UPDATE, UNREGISTER_RING_FDS as u8, SYNC_CANCEL];
const FILES_UPDATE: u8 = 6;
pub(super) const UNREGISTER_RING_FDS: u32 = 21;
const SYNC_CANCEL: u8 = 24;

/// How many entries the list has.
pub(super) const ALLOWED: usize = OPERATIONS.len() + REGISTRATIONS.len() + 1;

/// The list as the kernel reads it.
pub(super) fn list() -> [Restriction; ALLOWED] {
    const OF_REGISTRATIONS: usize = OPERATIONS.len();
    const OF_FLAGS: usize = ALLOWED - 1;
    std::array::from_fn(|place| match place {
        OF_FLAGS => Restriction::sqe_flags_allowed(FLAGS.bits()),
        OF_REGISTRATIONS.. => Restriction::register_op(REGISTRATIONS[place - OF_REGISTRATIONS]),
        _ => Restriction::sqe_op(OPERATIONS[place].code),
    })
}

/// Holds a ring that is not enabled yet to the list, from when it is.
pub(super) fn restrict(ring: &IoUring) -> Result<(), Errno> {
    ring.submitter().register_restrictions(&mut list()).map_err(|error| errno_of(&error))
}
