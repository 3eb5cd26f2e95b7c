//! Ends of a pair of sockets that carry messages with descriptors from one process to another.

mod memory;

use std::fmt::Debug;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use memory::{Flag, Flags, Parcel};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, getsockopt, setsockopt, socketpair, sockopt,
};
use rustix::cmsg_space;
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};

use zeroize::Zeroize as _;

use crate::base::Errno;
use crate::wire::handover::MESSAGE_MAX;

/// Descriptors of a message, at most. Linux takes 253 (`SCM_MAX_FD`); an even count has pairs.
pub const DESCRIPTORS_MAX: usize = 252;
/// Full messages that a socket is asked to hold unread. The kernel cuts this to
/// `net.core.wmem_max`, and then doubles it for what it adds itself (socket(7)).
const MESSAGES_UNREAD: usize = 4;
/// What the kernel keeps of a send buffer for itself (`unix_dgram_sendmsg`).
const OVERHEAD_BYTES: usize = 32;

/// One end of a pair (SOCK_SEQPACKET). It never waits, and no child inherits it.
#[derive(Debug)]
pub struct Courier {
    socket: OwnedFd,
}

impl Courier {
    /// Both ends.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a socket.
    pub fn pair() -> io::Result<(Courier, Courier)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Courier::from_fd(one)?, Courier::from_fd(other)?))
    }

    /// An end that another process gave.
    ///
    /// # Errors
    ///
    /// When it is no socket.
    pub fn from_fd(socket: OwnedFd) -> io::Result<Courier> {
        ioctl_fionbio(&socket, true)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        setsockopt(&socket, sockopt::SndBuf, &(MESSAGES_UNREAD * MESSAGE_MAX))?;
        Ok(Courier { socket })
    }

    /// The descriptor, to be a child's.
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Bytes of the longest message that it takes: more than [`MESSAGE_MAX`] but where the host's
    /// `net.core.wmem_max` is below half of that.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn most_bytes(&self) -> Result<usize, Errno> {
        Ok(getsockopt(&self.socket, sockopt::SndBuf)?.saturating_sub(OVERHEAD_BYTES))
    }

    /// Sends a message whole. The descriptors stay open here.
    ///
    /// # Errors
    ///
    /// Later: `EAGAIN` (the socket is full), `ETOOMANYREFS` (the user has too many descriptors on
    /// their way), `ENOBUFS` and `ENOMEM`. For ever: `EPIPE` and `ECONNRESET` (the other end is
    /// gone), `EMSGSIZE` (more than [`Courier::most_bytes`]). Nothing was sent in any case.
    ///
    /// # Panics
    ///
    /// If the message is empty, which the other end would take for our end, or has more than
    /// [`DESCRIPTORS_MAX`].
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        assert!(!bytes.is_empty(), "an empty message is an end");
        assert!(descriptors.len() <= DESCRIPTORS_MAX, "a message carries a bounded number");
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let rights = SendAncillaryMessage::ScmRights(descriptors);
            assert!(control.push(rights), "there is space for all");
        }
        let sent = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        sent.map(drop).map_err(errno)
    }

    /// Receives a message in place of what is in `into`, and its descriptors, which no child
    /// inherits.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: none is there. `ECONNRESET`: the other end is closed, and whatever it sent has
    /// been received. `EMFILE`: descriptors of this message were lost, as this process has as many
    /// as it may have; those that came are closed. `EMSGSIZE`: it was longer than [`MESSAGE_MAX`].
    /// The message is gone in the last two cases.
    pub fn receive(&self, into: &mut Vec<u8>) -> Result<Vec<OwnedFd>, Errno> {
        match self.receive_once(into) {
            // An end that is closed with messages unread says so first (`unix_release_sock`), also
            // where messages of its own wait here.
            Err(Errno::ECONNRESET) => self.receive_once(into),
            result => result,
        }
    }

    fn receive_once(&self, into: &mut Vec<u8>) -> Result<Vec<OwnedFd>, Errno> {
        // Most looks find nothing, and most messages are short: neither is to cost the room for the
        // longest, which would have to be filled with zeros.
        let length_bytes = match recv(&self.socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::TRUNC)
        {
            Ok((_, length_bytes)) => length_bytes,
            Err(error) => {
                into.clear();
                return Err(errno(error));
            }
        };
        into.resize(length_bytes.min(MESSAGE_MAX), 0);
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut place = [IoSliceMut::new(into)];
        let received = recvmsg(&self.socket, &mut place, &mut control, RecvFlags::CMSG_CLOEXEC);
        let (bytes, flags) = match received {
            Ok(received) => (received.bytes, received.flags),
            Err(error) => {
                into.clear();
                return Err(errno(error));
            }
        };
        into.truncate(bytes);
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let lost = [(ReturnFlags::CTRUNC, Errno::EMFILE), (ReturnFlags::TRUNC, Errno::EMSGSIZE)];
        if let Some((_, errno)) = lost.into_iter().find(|(flag, _)| flags.contains(*flag)) {
            // It may have secrets, and nobody has a use for it.
            into[..].zeroize();
            Err(errno)
        } else if bytes == 0 {
            Err(Errno::ECONNRESET)
        } else {
            Ok(descriptors)
        }
    }
}

impl AsFd for Courier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Whether a message that [`Courier::send`] could not send may go later.
pub fn may_go_later(errno: Errno) -> bool {
    use Errno::{EAGAIN, EINTR, ENOBUFS, ENOMEM, ETOOMANYREFS};
    matches!(errno, EAGAIN | EINTR | ENOBUFS | ENOMEM | ETOOMANYREFS)
}

/// A worker's way to a worker of the other process, with sockets of a kind.
pub trait Link<S>: Debug + Send {
    /// As [`Courier::send`].
    ///
    /// # Errors
    ///
    /// Likewise.
    fn send(&mut self, message: &[u8], sockets: &[S]) -> Result<(), Errno>;

    /// As [`Courier::receive`].
    ///
    /// # Errors
    ///
    /// Likewise.
    fn receive(&mut self, into: &mut Vec<u8>) -> Result<Vec<S>, Errno>;

    /// Bytes of the longest message that it takes.
    fn most_bytes(&self) -> usize;

    /// Changes the flag of a connection.
    ///
    /// # Panics
    ///
    /// If it cannot be changed: the predecessor would go on with what we have.
    fn set_flag(&mut self, at: u64, flag: Flag);

    /// Flags from this index on; those that cannot be read are [`Flag::InHand`].
    fn flags(&self, at: u64, count: u32) -> Vec<Flag>;
}

/// The way between processes.
#[derive(Debug)]
pub struct ProcessLink {
    /// This end of it.
    pub courier: Courier,
    /// All flags of the handover.
    pub flags: Arc<Flags>,
}

impl Link<OwnedFd> for ProcessLink {
    fn send(&mut self, message: &[u8], sockets: &[OwnedFd]) -> Result<(), Errno> {
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        self.courier.send(message, &sockets)
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> Result<Vec<OwnedFd>, Errno> {
        self.courier.receive(into)
    }

    fn most_bytes(&self) -> usize {
        // A socket that does not say it takes what one with the kernel's defaults does.
        self.courier.most_bytes().map_or(MESSAGE_MAX, |most| most.min(MESSAGE_MAX))
    }

    fn set_flag(&mut self, at: u64, flag: Flag) {
        if let Err(errno) = self.flags.set(at, flag) {
            panic!("the flag at {at} cannot be {flag:?}: {errno}");
        }
    }

    fn flags(&self, at: u64, count: u32) -> Vec<Flag> {
        let unknown = |_| vec![Flag::InHand; count as usize];
        self.flags.read(at, count).unwrap_or_else(unknown)
    }
}

#[cfg(test)]
mod tests;
