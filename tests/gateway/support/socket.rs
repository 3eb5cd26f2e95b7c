//! What the standard library's sockets do not offer: resets, small buffers, chosen sources.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen,
    setsockopt, socket, sockopt,
};

use super::{PATIENCE, wait_until};

/// The kernel's account of one connection, as a socket option.
#[derive(Clone, Copy, Debug)]
struct TcpInfo;

nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info,
    sockopt::GetStruct<libc::tcp_info>
);

/// Closes the connection by RST.
pub(crate) fn reset(stream: TcpStream) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &at_once).expect("SO_LINGER is set");
}

/// Waits until the other end's kernel has every byte that was written.
pub(crate) fn wait_until_taken(stream: &TcpStream) {
    wait_until("the other end to take every byte written", || {
        let info = getsockopt(stream, TcpInfo).expect("TCP_INFO is read");
        info.tcpi_unacked == 0 && info.tcpi_notsent_bytes == 0
    });
}

/// How many bytes the other end's kernel has, at least.
pub(crate) fn taken_bytes(stream: &TcpStream) -> u64 {
    let info = getsockopt(stream, TcpInfo).expect("TCP_INFO is read");
    info.tcpi_bytes_acked.saturating_sub(1) // the SYN may count as one
}

/// Waits until the connection was reset, also where reading would only show an earlier FIN: the
/// kernel then keeps the reset for poll and for the next write.
pub(crate) fn wait_until_reset(stream: &TcpStream) {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let patience = PollTimeout::try_from(PATIENCE).expect("a minute is a poll's timeout");
    let count = poll(&mut fds, patience).expect("poll");
    assert_eq!(count, 1, "waited {PATIENCE:?} in vain for a reset");
    let seen = fds[0].revents().unwrap_or(PollFlags::empty());
    assert!(seen.contains(PollFlags::POLLHUP | PollFlags::POLLERR), "not a reset: {seen:?}");
}

/// Has the kernel queue as many clients as it can.
pub(crate) fn deepen(listener: &TcpListener) {
    listen(listener, Backlog::MAXALLOWABLE).expect("a listener may listen again");
}

/// Keeps a socket's buffers, and with them the bytes that a stalled connection holds, small: a
/// narrow receive buffer, and small segments so that the other end's send buffer starts small too.
pub(crate) fn narrow(fd: &impl AsFd) {
    setsockopt(fd, sockopt::RcvBuf, &4096).expect("SO_RCVBUF is set");
    setsockopt(fd, sockopt::SndBuf, &16_384).expect("SO_SNDBUF is set");
    setsockopt(fd, sockopt::TcpMaxSeg, &1400).expect("TCP_MAXSEG is set");
}

/// Makes the receive buffer of a narrow socket wide again.
pub(crate) fn widen(fd: &impl AsFd) {
    setsockopt(fd, sockopt::RcvBuf, &262_144).expect("SO_RCVBUF is set");
}

/// A TCP socket of the right family that is bound to `source`, which several sockets may share.
pub(crate) fn bound(source: SocketAddr) -> io::Result<OwnedFd> {
    let fd = unbound(source)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(source))?;
    Ok(fd)
}

/// A TCP socket for talking to `target`.
pub(crate) fn unbound(target: SocketAddr) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Connects a socket that was made above.
pub(crate) fn connect(fd: OwnedFd, target: SocketAddr) -> io::Result<TcpStream> {
    nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(target))?;
    Ok(TcpStream::from(fd))
}
