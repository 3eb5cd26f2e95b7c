//! Threads whose rings can do no more than what is allowed, also those that they make later.
//!
//! A list of what is allowed binds one ring. From Linux 7.0 on it can bind a thread: code that
//! gained control of a worker then makes no ring that can do more
//! ("io_uring: allow registration of per-task restrictions").
#![allow(unsafe_code)]

use io_uring::opcode;
use io_uring::register::Restriction;
use io_uring::squeue::Entry;

use super::allowed::{self, ALLOWED};
use super::descriptors;
use super::queue::{Queue, Wait};
use crate::base::Errno;

/// `IORING_REGISTER_RESTRICTIONS`.
const REGISTER_RESTRICTIONS: u32 = 11;
/// In place of a ring's descriptor: what is registered is the calling thread's.
const THIS_THREAD: i32 = -1;

/// `struct io_uring_task_restriction` (linux/io_uring.h).
#[repr(C)]
struct TaskRestriction {
    flags: u16,
    count: u16,
    reserved: [u32; 3],
    restrictions: [Restriction; ALLOWED],
}

/// Confines the calling thread, and those that it starts: a ring that one of them makes from now
/// on can do no more than a worker's. Rings that it has are not concerned. A program that it
/// starts can gain no privileges (no_new_privs), which the kernel asks for.
///
/// # Errors
/// EINVAL before Linux 7.0; EPERM when it is confined already.
pub fn confine_thread() -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()?;
    let restriction = TaskRestriction {
        flags: 0,
        count: ALLOWED as u16,
        reserved: [0; 3],
        restrictions: allowed::list(),
    };
    // SAFETY: the kernel reads the structure, which has its layout (repr(C); a `Restriction` is
    // the kernel's struct, repr(transparent)), with as many entries as `count` says, and keeps no
    // pointer to it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            THIS_THREAD,
            REGISTER_RESTRICTIONS,
            &raw const restriction,
            1,
        )
    };
    Errno::result(result).map(drop)
}

/// Whether a thread can be confined here. A trial finds out: another ring of a confined thread is
/// asked to open a file.
pub(super) fn confines() -> bool {
    let trial = || {
        confine_thread()?;
        let mut queue = Queue::unrestricted(4, 16)?;
        open_file(&mut queue)
    };
    let trial = std::thread::Builder::new().spawn(trial);
    let answered = trial.ok().and_then(|thread| thread.join().ok()).and_then(Result::ok);
    answered == Some(-(Errno::EACCES as i32))
}

/// What an enabled ring answers to an entry, which is answered at once.
///
/// # Safety
/// As [`Queue::push`] says.
pub(super) unsafe fn answer(queue: &mut Queue, entry: Entry) -> Result<i32, Errno> {
    // SAFETY: the caller's promise is the one that is asked for.
    unsafe { queue.push(entry) };
    queue.turn(Wait::No)?;
    queue.open_turn();
    Ok(queue.next().ok_or(Errno::EAGAIN)?.result())
}

/// What an enabled ring answers when it is asked to open a file, which is closed at once.
pub(super) fn open_file(queue: &mut Queue) -> Result<i32, Errno> {
    let here = io_uring::types::Fd(libc::AT_FDCWD);
    let entry = opcode::OpenAt::new(here, c"/dev/null".as_ptr()).build();
    // SAFETY: the path is a constant of the program.
    let answer = unsafe { answer(queue, entry) }?;
    if let Ok(fd) = u32::try_from(answer) {
        // SAFETY: the completion is the only one to name this descriptor.
        drop(unsafe { descriptors::take(fd) });
    }
    Ok(answer)
}
