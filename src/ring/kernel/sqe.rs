//! Submission queue entries: what an operation looks like to the kernel, and its `user_data`.

use std::os::fd::RawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{opcode, types};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::options;
use crate::base::limits::CONN_BITS;
use crate::base::{ConnIndex, Errno, GateId, Side};
use crate::ring::contract::AcceptMode;
use crate::ring::token::Token;

/// Where `optlen` is in an entry: the most bytes of a multishot receive (Linux 6.17). The crate
/// has no name for it there.
const OPTLEN_OFFSET: usize = 44;

/// The buffer group of every kernel ring.
pub(super) const BUFFER_GROUP: u16 = 0;

/// `SOCKET_URING_OP_SIOCOUTQ` (linux/io_uring.h, 6.7).
const SOCKET_SIOCOUTQ: u32 = 1;

const TAG_SHIFT: u32 = Token::UNUSED_SHIFT;
const PAYLOAD_MASK: u64 = (1 << TAG_SHIFT) - 1;
const MULTISHOT_BIT: u64 = 1 << 16;

/// The purpose of an entry, in the eight bits above a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// A worker's operation, which completes as it is.
    Operation,
    /// An accept; the payload is a gate and a mode.
    Accept,
    /// The watch of a gate's queue; the payload is the gate.
    Watch,
    /// A cancel whose own answer nobody needs.
    Swallowed,
    /// The cancel of one operation; the payload is its token.
    CancelStep,
    /// The cancel of a receive that the ring no longer wants; the payload is its token.
    StopReceive,
    /// The read on the eventfd that wakes the ring.
    Wake,
    /// The first step of an open: the socket itself.
    OpenSocket,
    /// Any later step of an open.
    OpenStep,
    /// The close that undoes an open whose later step failed.
    OpenUndo,
    /// The installation of a socket as an ordinary descriptor: what for, its token's kind tells.
    Install,
    /// The same for another ring; the payload is a connection and a side.
    Lend,
    /// The way of a client into a slot; the payload is the place of its number.
    Adopt,
    /// The close that undoes it, because its server could not follow; the payload is the key of the
    /// call, and why.
    AdoptUndo,
}

impl Tag {
    const ALL: [Tag; 14] = [
        Tag::Operation,
        Tag::Accept,
        Tag::Watch,
        Tag::Swallowed,
        Tag::CancelStep,
        Tag::StopReceive,
        Tag::Wake,
        Tag::OpenSocket,
        Tag::OpenStep,
        Tag::OpenUndo,
        Tag::Install,
        Tag::Lend,
        Tag::Adopt,
        Tag::AdoptUndo,
    ];

    /// `user_data` with this tag.
    pub(super) fn with(self, payload: u64) -> u64 {
        debug_assert!(payload <= PAYLOAD_MASK);
        (self as u64) << TAG_SHIFT | payload
    }

    /// The tag and payload of `user_data`; `None` when no [`Tag::with`] made it.
    pub(super) fn split(user_data: u64) -> Option<(Tag, u64)> {
        let tag = *Tag::ALL.get((user_data >> TAG_SHIFT) as usize)?;
        Some((tag, user_data & PAYLOAD_MASK))
    }
}

/// The `user_data` of a gate's accepts in one mode.
pub(super) fn accept_data(gate: GateId, mode: AcceptMode) -> u64 {
    let mode = if mode == AcceptMode::Multishot { MULTISHOT_BIT } else { 0 };
    Tag::Accept.with(u64::from(gate.0) | mode)
}

/// The `user_data` of the watches of a gate's queue.
pub(super) fn watch_data(gate: GateId) -> u64 {
    Tag::Watch.with(u64::from(gate.0))
}

/// The gate and mode in an accept's payload.
pub(super) fn accept_of(payload: u64) -> (GateId, AcceptMode) {
    let multishot = payload & MULTISHOT_BIT != 0;
    let mode = if multishot { AcceptMode::Multishot } else { AcceptMode::Single };
    (GateId(payload as u16), mode)
}

/// The `user_data` of a lend.
pub(super) fn lend_data(conn: ConnIndex, side: Side) -> u64 {
    Tag::Lend.with(u64::from(conn.0) | (side as u64) << CONN_BITS)
}

/// The connection and side in a lend's payload.
pub(super) fn lend_of(payload: u64) -> (ConnIndex, Side) {
    let conn = ConnIndex(payload as u32 & (Token::MAX_CONNECTIONS - 1));
    (conn, if payload >> CONN_BITS == 0 { Side::Client } else { Side::Upstream })
}

/// The `user_data` of the close that undoes an adoption.
pub(super) fn adopt_undo_data(key: u32, errno: Errno) -> u64 {
    Tag::AdoptUndo.with(u64::from(key) | (errno as u64) << u32::BITS)
}

/// The key and error in its payload.
pub(super) fn adopt_undo_of(payload: u64) -> (u32, Errno) {
    (payload as u32, Errno::from_raw((payload >> u32::BITS) as i32))
}

/// An accept into a slot of the kernel's choice. Flags stay 0: direct descriptors refuse
/// SOCK_CLOEXEC with EINVAL.
pub(super) fn accept(passive: RawFd, mode: AcceptMode) -> Entry {
    match mode {
        AcceptMode::Multishot => {
            opcode::AcceptMulti::new(Fd(passive)).allocate_file_index(true).build()
        }
        AcceptMode::Single => {
            opcode::Accept::new(Fd(passive), std::ptr::null_mut(), std::ptr::null_mut())
                .file_index(Some(DestinationSlot::auto_target()))
                .build()
        }
    }
}

/// Polls a passive socket once. Unlike an accept it takes no client.
pub(super) fn watch_queue(passive: RawFd) -> Entry {
    opcode::PollAdd::new(Fd(passive), libc::POLLIN as u32).build()
}

/// Cancels every request with `user_data`.
pub(super) fn cancel_data(user_data: u64) -> Entry {
    opcode::AsyncCancel2::new(CancelBuilder::user_data(user_data).all()).build()
}

/// Cancels the one request with `user_data`, whatever it is.
///
/// Never by slot: the kernel would walk over every poll of the ring to find those of one file,
/// 10,000 of them in a full table, while a `user_data` is hashed (io_uring/poll.c).
pub(super) fn cancel_request(user_data: u64) -> Entry {
    opcode::AsyncCancel2::new(CancelBuilder::user_data(user_data)).build()
}

/// Cancels the poll with `user_data`, without the walk over io-wq's queue that a general cancel
/// begins with. `EALREADY`: it is completing, and one that goes on may survive.
pub(super) fn cancel_poll(user_data: u64) -> Entry {
    opcode::PollRemove::new(user_data).build()
}

/// Nothing: it completes when what was queued before it has been carried out.
pub(super) fn nothing() -> Entry {
    opcode::Nop::new().build()
}

/// Makes a TCP socket of the address's family in `slot`.
pub(super) fn socket(slot: u32, address: &SockaddrStorage) -> Entry {
    let family = address.family().map_or(libc::AF_UNSPEC, |family| family as i32);
    let slot = DestinationSlot::try_from_slot_target(slot).expect("a slot below 2³² − 2");
    opcode::Socket::new(family, libc::SOCK_STREAM, libc::IPPROTO_TCP).file_index(Some(slot)).build()
}

/// Switches an integer option on.
pub(super) fn set_option(slot: u32, level: i32, option: i32) -> Entry {
    // A constant of the program: it outlives every entry.
    static ON: libc::c_int = 1;
    set_value(slot, level, option, &raw const ON)
}

/// As [`options::take_any_port`].
pub(super) fn take_any_port(slot: u32) -> Entry {
    set_value(slot, libc::IPPROTO_IP, options::PORT_RANGE, &raw const options::ALL_PORTS)
}

/// Sets an integer option to `value`, which the kernel reads when it carries the entry out.
pub(super) fn set_value(slot: u32, level: i32, option: i32, value: *const libc::c_int) -> Entry {
    let length_bytes = size_of::<libc::c_int>() as u32;
    let value = value.cast();
    opcode::SetSockOpt::new(Fixed(slot), level as u32, option as u32, value, length_bytes).build()
}

/// Binds to `address`, which the kernel reads when it takes the entry.
pub(super) fn bind(slot: u32, address: &SockaddrStorage) -> Entry {
    opcode::Bind::new(Fixed(slot), address.as_ptr(), address.len()).build()
}

/// Connects to `address`, which the kernel reads when it takes the entry.
pub(super) fn connect(slot: u32, address: &SockaddrStorage) -> Entry {
    opcode::Connect::new(Fixed(slot), address.as_ptr(), address.len()).build()
}

/// Resets: connect(2) with AF_UNSPEC dissolves the association, and TCP does that by RST.
pub(super) fn reset(slot: u32) -> Entry {
    static NOWHERE: libc::sockaddr =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let length_bytes = size_of_val(&NOWHERE) as libc::socklen_t;
    opcode::Connect::new(Fixed(slot), &raw const NOWHERE, length_bytes).build()
}

/// Polls once.
pub(super) fn wait_readable(slot: u32) -> Entry {
    let events = libc::POLLIN as u32 | libc::POLLRDHUP as u32;
    opcode::PollAdd::new(Fixed(slot), events).build()
}

/// Polls once.
pub(super) fn wait_writable(slot: u32) -> Entry {
    opcode::PollAdd::new(Fixed(slot), libc::POLLOUT as u32).build()
}

/// Polls for what [`wait_writable`] does, at edges only: a socket whose peer has sent FIN would
/// complete a level at once, for ever, because the kernel never masks RDHUP (io_uring/poll.c,
/// IO_POLL_UNMASK).
pub(super) fn watch_writable(slot: u32) -> Entry {
    let events = (libc::EPOLLOUT | libc::EPOLLET) as u32;
    opcode::PollAdd::new(Fixed(slot), events).multi(true).build()
}

/// Polls for ever, at edges only: a level would complete without end once the peer has ended.
pub(super) fn watch_hangup(slot: u32) -> Entry {
    let events = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLET) as u32;
    opcode::PollAdd::new(Fixed(slot), events).multi(true).build()
}

/// Receives into buffers that the kernel takes from the group once there is data: until
/// `most_bytes` have come, or once.
pub(super) fn receive(slot: u32, most_bytes: Option<u32>) -> Entry {
    let Some(most_bytes) = most_bytes else {
        return opcode::Recv::new(Fixed(slot), std::ptr::null_mut(), 0)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(Flags::BUFFER_SELECT);
    };
    let mut entry = opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build();
    // SAFETY: an entry has the layout of the kernel's (repr(C), 64 bytes), whose `optlen`, four
    // bytes, aligned, of which any value is valid, is there (linux/io_uring.h).
    unsafe { (&raw mut entry).byte_add(OPTLEN_OFFSET).cast::<u32>().write(most_bytes) };
    entry
}

/// Sends while it is submitted or not at all: MSG_DONTWAIT keeps the kernel from arming a poll.
pub(super) fn send(slot: u32, bytes: *const u8, length_bytes: u32) -> Entry {
    opcode::Send::new(Fixed(slot), bytes, length_bytes)
        .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
        .build()
}

/// Ends our direction. The kernel always hands this to io-wq.
pub(super) fn shutdown(slot: u32) -> Entry {
    opcode::Shutdown::new(Fixed(slot), libc::SHUT_WR).build()
}

/// Asks for the bytes that the peer has not acknowledged.
pub(super) fn unacknowledged(slot: u32) -> Entry {
    opcode::UringCmd16::new(Fixed(slot), SOCKET_SIOCOUTQ).build()
}

/// Makes an ordinary descriptor for the slot's socket (Linux 6.8), close-on-exec.
pub(super) fn install(slot: u32) -> Entry {
    opcode::FixedFdInstall::new(Fixed(slot), 0).build()
}

/// Puts the descriptor whose number is there into a slot of the range in which the kernel
/// allocates, and the slot's number there (`IORING_FILE_INDEX_ALLOC`, Linux 5.19).
pub(super) fn put_anywhere(number: *mut RawFd) -> Entry {
    opcode::FilesUpdate::new(number.cast_const(), 1).offset(-1).build()
}

/// Empties the slot.
pub(super) fn close(slot: u32) -> Entry {
    opcode::Close::new(Fixed(slot)).build()
}

/// Reads an eventfd's counter to `count`.
pub(super) fn read_event(event: RawFd, count: *mut u64) -> Entry {
    opcode::Read::new(types::Fd(event), count.cast(), size_of::<u64>() as u32).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_round_trip() {
        for tag in Tag::ALL {
            assert_eq!(Tag::split(tag.with(PAYLOAD_MASK)), Some((tag, PAYLOAD_MASK)));
        }
        assert_eq!(Tag::split(u64::MAX), None);
    }

    #[test]
    fn a_lend_names_its_side_and_an_adoption_that_is_undone_its_key() {
        for side in Side::BOTH {
            let conn = ConnIndex(Token::MAX_CONNECTIONS - 1);
            let (tag, payload) = Tag::split(lend_data(conn, side)).expect("a tag");
            assert_eq!((tag, lend_of(payload)), (Tag::Lend, (conn, side)));
        }
        let data = adopt_undo_data(u32::MAX, Errno::EBADF);
        let (tag, payload) = Tag::split(data).expect("a tag");
        assert_eq!((tag, adopt_undo_of(payload)), (Tag::AdoptUndo, (u32::MAX, Errno::EBADF)));
    }

    #[test]
    fn an_accept_names_its_gate_and_mode() {
        for mode in [AcceptMode::Multishot, AcceptMode::Single] {
            let gate = GateId(u16::MAX);
            let (tag, payload) = Tag::split(accept_data(gate, mode)).expect("a tag");
            assert_eq!((tag, accept_of(payload)), (Tag::Accept, (gate, mode)));
        }
    }
}
