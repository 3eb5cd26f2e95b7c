//! Messages with descriptors from end to end and from process to process, and shared memory.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::io::{FdFlags, fcntl_getfd};

use super::{Courier, DESCRIPTORS_MAX, Flag, Flags, Link, Parcel, ProcessLink};
use crate::base::Errno;
use crate::wire::handover::MESSAGE_MAX;

/// By it, this program plays the other process of a test.
const ROLE: &str = "PORTCULLIS_TEST_OTHER_PROCESS";

fn pair() -> (Courier, Courier) {
    Courier::pair().expect("a pair of sockets")
}

/// A message and how many descriptors came with it.
fn receive(courier: &Courier) -> Result<(Vec<u8>, usize), Errno> {
    let mut message = Vec::new();
    let descriptors = courier.receive(&mut message)?;
    Ok((message, descriptors.len()))
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a folder").count()
}

#[test]
fn as_many_descriptors_as_fit_come_in_their_order() {
    const TEXTS: usize = 9;
    let (one, other) = pair();
    let parcels: Vec<OwnedFd> =
        (0..TEXTS).map(|text| Parcel::of(&[text as u8]).expect("memory")).collect();
    let sent: Vec<BorrowedFd<'_>> =
        parcels.iter().map(AsFd::as_fd).cycle().take(DESCRIPTORS_MAX).collect();
    let bytes: Vec<u8> = (0..MESSAGE_MAX).map(|at| at as u8).collect();
    assert_eq!(one.send(&bytes, &sent), Ok(()));
    let mut message = vec![9; 5];
    let descriptors = other.receive(&mut message).expect("a message");
    assert!(message == bytes);
    assert_eq!(descriptors.len(), DESCRIPTORS_MAX);
    for (at, descriptor) in descriptors.into_iter().enumerate() {
        let flags = fcntl_getfd(&descriptor).expect("a descriptor");
        assert_eq!(flags, FdFlags::CLOEXEC);
        assert_eq!(Parcel::read(descriptor, 1).expect("a parcel"), [(at % TEXTS) as u8]);
    }
    assert_eq!(one.send(b"none", &[]), Ok(()));
    assert_eq!(receive(&other), Ok((b"none".to_vec(), 0)));
    assert_eq!(receive(&other), Err(Errno::EAGAIN));
}

#[test]
fn a_full_socket_takes_more_once_it_is_read() {
    let (one, other) = pair();
    assert!(one.most_bytes().expect("an option") > MESSAGE_MAX);
    let message = vec![1; MESSAGE_MAX];
    let sent = (0..100).map(|_| one.send(&message, &[])).take_while(Result::is_ok).count();
    assert!((1..100).contains(&sent), "{sent} of them");
    assert_eq!(one.send(&message, &[]), Err(Errno::EAGAIN));
    for _ in 0..sent {
        assert_eq!(receive(&other), Ok((message.clone(), 0)));
    }
    assert_eq!(receive(&other), Err(Errno::EAGAIN));
    assert_eq!(one.send(&message, &[]), Ok(()));
}

#[test]
fn a_message_that_is_too_long_is_an_error_and_the_next_one_comes() {
    let (one, other) = pair();
    let most = one.most_bytes().expect("an option");
    assert_eq!(one.send(&vec![1; most + 1], &[]), Err(Errno::EMSGSIZE));
    assert_eq!(one.send(&vec![1; MESSAGE_MAX + 1], &[one.as_fd()]), Ok(()));
    assert_eq!(one.send(b"next", &[]), Ok(()));
    assert_eq!(receive(&other), Err(Errno::EMSGSIZE));
    assert_eq!(receive(&other), Ok((b"next".to_vec(), 0)));
}

#[test]
fn what_the_other_end_sent_comes_before_its_end() {
    for unread in [false, true] {
        let (one, other) = pair();
        assert_eq!(other.send(b"first", &[other.as_fd()]), Ok(()));
        assert_eq!(other.send(b"last", &[]), Ok(()));
        if unread {
            assert_eq!(one.send(b"never read", &[one.as_fd()]), Ok(()));
        }
        drop(other);
        assert_eq!(receive(&one), Ok((b"first".to_vec(), 1)), "{unread}");
        assert_eq!(receive(&one), Ok((b"last".to_vec(), 0)), "{unread}");
        for _ in 0..2 {
            assert_eq!(receive(&one), Err(Errno::ECONNRESET), "{unread}");
            assert_eq!(one.send(b"to nobody", &[]), Err(Errno::EPIPE), "{unread}");
        }
    }
}

/// The kernel closes descriptors for which a receiver has no room, so none of that message count.
#[test]
fn a_process_that_is_short_of_descriptors_loses_one_message_and_no_descriptor() {
    const NAME: &str = "courier::tests::\
        a_process_that_is_short_of_descriptors_loses_one_message_and_no_descriptor";
    if std::env::var_os(ROLE).is_some() {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
        return receive_short_of_descriptors(&Courier::from_fd(socket).expect("a socket"));
    }
    let (own, given) = pair();
    let many = vec![own.as_fd(); DESCRIPTORS_MAX];
    assert_eq!(own.send(b"many", &many), Ok(()));
    assert_eq!(own.send(b"few", &many[..3]), Ok(()));
    let socket = given.as_fd().try_clone_to_owned().expect("a descriptor");
    drop(given);
    let program = std::env::current_exe().expect("this program");
    let other = Command::new(program)
        .args(["--exact", NAME, "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::from(socket))
        .output()
        .expect("it starts");
    assert!(other.status.success(), "{other:?}");
    assert_eq!(receive(&own), Ok((b"done".to_vec(), 1)));
    assert_eq!(receive(&own), Err(Errno::ECONNRESET));
}

fn receive_short_of_descriptors(courier: &Courier) {
    let before = open_descriptors();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, before as u64 + 30, hard).expect("a lower limit");
    assert_eq!(receive(courier), Err(Errno::EMFILE));
    assert_eq!(open_descriptors(), before);
    assert_eq!(receive(courier), Ok((b"few".to_vec(), 3)));
    assert_eq!(courier.send(b"done", &[courier.as_fd()]), Ok(()));
}

/// Flags of this many connections, as either process has them.
fn flags(count: u64) -> (Flags, Flags) {
    let own = Flags::new(count).expect("memory");
    let copy = own.as_fd().try_clone_to_owned().expect("a descriptor");
    (own, Flags::from_fd(copy).expect("a file"))
}

#[test]
fn a_flag_that_one_process_sets_is_what_the_other_reads() {
    let (own, other) = flags(5);
    assert_eq!(other.read(0, 5), Ok(vec![Flag::Idle; 5]));
    assert_eq!(other.set(1, Flag::InHand), Ok(()));
    assert_eq!(other.set(4, Flag::Ended), Ok(()));
    let read = [Flag::Idle, Flag::InHand, Flag::Idle, Flag::Idle, Flag::Ended];
    assert_eq!(own.read(0, 5), Ok(read.to_vec()));
    assert_eq!(own.read(4, 1), Ok(vec![Flag::Ended]));
    assert_eq!(other.set(1, Flag::Idle), Ok(()));
    assert_eq!(own.read(1, 1), Ok(vec![Flag::Idle]));
}

#[test]
fn a_flag_that_no_version_knows_may_mean_bytes_in_hand() {
    let (own, other) = flags(2);
    let file = File::from(other.as_fd().try_clone_to_owned().expect("a descriptor"));
    file.write_all_at(&[0xff], 1).expect("a byte");
    assert_eq!(own.read(0, 2), Ok(vec![Flag::Idle, Flag::InHand]));
}

#[test]
fn flags_are_as_many_as_they_were_made() {
    let (own, other) = flags(3);
    for at in [3, u64::MAX] {
        assert_eq!(other.set(at, Flag::Ended), Err(Errno::ERANGE));
        assert_eq!(own.read(at, 1), Err(Errno::ERANGE));
    }
    assert_eq!(own.read(2, 2), Err(Errno::ERANGE));
    let file = File::from(other.as_fd().try_clone_to_owned().expect("a descriptor"));
    for bytes in [2, 4] {
        assert_eq!(file.set_len(bytes).map_err(|error| error.kind()), denied(), "{bytes}");
    }
    assert_eq!(Flags::new(0).expect("no memory").read(0, 0), Ok(Vec::new()));
}

fn denied() -> Result<(), ErrorKind> {
    Err(ErrorKind::PermissionDenied)
}

#[test]
fn a_parcel_has_its_bytes_and_keeps_them() {
    for bytes in [vec![], vec![7; MESSAGE_MAX + 1]] {
        let most = bytes.len() as u64;
        let copy = |parcel: &OwnedFd| parcel.try_clone().expect("a descriptor");
        let parcel = Parcel::of(&bytes).expect("memory");
        let file = File::from(copy(&parcel));
        assert_eq!(file.write_all_at(b"x", 0).map_err(|error| error.kind()), denied());
        for _ in 0..2 {
            assert_eq!(Parcel::read(copy(&parcel), most).expect("a parcel"), bytes);
        }
        if let Some(less) = most.checked_sub(1) {
            let error = Parcel::read(parcel, less).expect_err("too many");
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        }
    }
}

/// Both ends of a way between two workers.
fn links() -> (ProcessLink, ProcessLink) {
    let ((one, other), (own, copy)) = (pair(), flags(2));
    let link = |courier, flags| ProcessLink { courier, flags: Arc::new(flags) };
    (link(one, own), link(other, copy))
}

#[test]
fn a_link_carries_sockets_and_flags() {
    let (mut predecessor, mut successor) = links();
    let sockets = [Parcel::of(b"a").expect("memory"), Parcel::of(b"b").expect("memory")];
    assert_eq!(predecessor.send(b"batch", &sockets), Ok(()));
    let mut message = Vec::new();
    let came = successor.receive(&mut message).expect("a message");
    assert_eq!((&message[..], came.len()), (&b"batch"[..], 2));
    successor.set_flag(1, Flag::Ended);
    assert_eq!(predecessor.flags(0, 2), [Flag::Idle, Flag::Ended]);
    assert_eq!(predecessor.flags(1, 2), [Flag::InHand; 2]);
}

#[test]
#[should_panic(expected = "the flag at 2 cannot be InHand")]
fn a_flag_that_cannot_be_set_is_fatal() {
    links().1.set_flag(2, Flag::InHand);
}
