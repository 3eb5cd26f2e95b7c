//! What a ring of ours refuses to do, as the kernel answers.

use std::collections::BTreeSet;

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};

use super::allowed::{OPERATIONS, restrict};
use super::confined::{self, confines, open_file};
use super::queue::Queue;
use super::sqe;
use crate::base::{Errno, errno_of};

/// What an enabled ring answers.
fn answer(queue: &mut Queue, entry: Entry) -> i32 {
    // SAFETY: the callers' entries name no memory but constants of the program.
    unsafe { confined::answer(queue, entry) }.expect("an answer")
}

#[test]
fn a_ring_opens_no_file() {
    assert_eq!(Queue::refusal(), None, "this host restricts rings");
    let mut queue = Queue::new(4, 16).expect("a ring");
    queue.enable().expect("enabled by its thread");
    assert_eq!(open_file(&mut queue), Ok(-(Errno::EACCES as i32)));
    assert_eq!(answer(&mut queue, sqe::nothing()), 0);
}

#[test]
fn nothing_beyond_the_list_is_allowed() {
    let listed: BTreeSet<u8> = OPERATIONS.iter().map(|one| one.code).collect();
    assert_eq!(listed.len(), OPERATIONS.len(), "each once");
    let mut queue = Queue::new(4, 16).expect("a ring");
    queue.enable().expect("enabled by its thread");
    let mut refused = |code: &u8| {
        let mut entry = sqe::nothing();
        // SAFETY: an entry has the layout of the kernel's (repr(C)), whose first byte is its
        // operation (linux/io_uring.h); one that is refused is read no further.
        unsafe { (&raw mut entry).cast::<u8>().write(*code) };
        answer(&mut queue, entry) == -(Errno::EACCES as i32)
    };
    // PIPE is the last operation of Linux 6.18.
    let unlisted = (0..=opcode::Pipe::CODE).filter(|code| !listed.contains(code));
    let allowed: Vec<u8> = unlisted.filter(|code| !refused(code)).collect();
    assert_eq!(allowed, [] as [u8; 0]);
}

#[test]
fn a_flag_or_a_registration_beyond_the_list_is_refused() {
    let mut queue = Queue::new(4, 16).expect("a ring");
    queue.enable().expect("enabled by its thread");
    let linked = sqe::nothing().flags(Flags::IO_LINK);
    assert_eq!(answer(&mut queue, linked), -(Errno::EACCES as i32));
    let registered = queue.ring().submitter().register_files_sparse(4);
    assert_eq!(registered.map_err(|error| errno_of(&error)), Err(Errno::EACCES));
    let again = restrict(queue.ring());
    assert!(matches!(again, Err(Errno::EACCES | Errno::EBADFD)), "{again:?}");
}

#[test]
fn a_ring_without_restrictions_opens_files() {
    // What the tests above would see if the kernel did not hold rings to the list.
    let mut queue = Queue::unrestricted(4, 16).expect("a ring");
    let answer = open_file(&mut queue);
    assert!(matches!(answer, Ok(0..)), "{answer:?}");
}

#[test]
fn a_confined_thread_makes_no_ring_that_opens_files_where_the_kernel_can() {
    let name = nix::sys::utsname::uname().expect("the name of the kernel");
    let release = name.release().to_string_lossy();
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    assert_eq!(confines(), major >= Some(7), "Linux {release}");
}
