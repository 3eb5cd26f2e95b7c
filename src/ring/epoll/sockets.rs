//! System calls on one socket, none of which waits.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, SockaddrStorage, bind,
    connect, getsockopt, recv, send, setsockopt, socket, sockopt,
};
use rustix::net::connect_unspec;
use socket2::{SockRef, TcpKeepalive};

use crate::base::{Errno, Guard, errno_of};
use crate::ring::take_any_port;

/// A socket for connects to `address` out of `source`, which the kernel chooses if there is none.
pub(super) fn opened(
    address: &SockaddrStorage,
    source: Option<&SockaddrStorage>,
) -> Result<OwnedFd, Errno> {
    let family = address.family().unwrap_or(AddressFamily::Unspec);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    setsockopt(&opened, sockopt::TcpNoDelay, &true)?;
    // Where the kernel is too old for that, connects are as they were.
    let _ = take_any_port(&opened);
    if let Some(source) = source {
        // The port is chosen at connect, when the whole four-tuple counts (Linux 4.2).
        setsockopt(&opened, sockopt::IpBindAddressNoPort, &true)?;
        bind(opened.as_raw_fd(), source)?;
    }
    Ok(opened)
}

/// Begins to connect. True: it is connected already.
pub(super) fn begin_connect(socket: &OwnedFd, address: &SockaddrStorage) -> Result<bool, Errno> {
    match connect(socket.as_raw_fd(), address) {
        Ok(()) => Ok(true),
        Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// How a connect has ended.
pub(super) fn connected(socket: &OwnedFd) -> Result<u32, Errno> {
    match getsockopt(socket, sockopt::SocketError)? {
        0 => Ok(0),
        error => Err(Errno::from_raw(error)),
    }
}

/// Receives what is there, as much as fits.
pub(super) fn receive(socket: &OwnedFd, into: &mut [u8]) -> Result<u32, Errno> {
    recv(socket.as_raw_fd(), into, MsgFlags::MSG_DONTWAIT).map(|bytes| bytes as u32)
}

/// Sends what fits.
pub(super) fn send_some(socket: &OwnedFd, bytes: &[u8]) -> Result<u32, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(socket.as_raw_fd(), bytes, flags).map(|bytes| bytes as u32)
}

/// Resets: connect(2) with AF_UNSPEC dissolves the association, and TCP does that by RST.
pub(super) fn reset(socket: &OwnedFd) -> Result<u32, Errno> {
    connect_unspec(socket).map(|()| 0).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Bytes that the peer has not acknowledged.
pub(super) fn unacknowledged(socket: &OwnedFd) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, which lives through the call; the descriptor is borrowed.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result).map(|_| bytes as u32)
}

/// Has the kernel fail the socket when this shows that its peer is gone.
pub(super) fn guard(socket: &OwnedFd, guard: Guard) -> Result<u32, Errno> {
    let socket = SockRef::from(socket);
    let result = match guard {
        // Probes are switched on before the time that they wait for is set: that counts from the
        // peer's last segment then, not from now.
        Guard::Silence { idle_seconds, interval_seconds, probes } => {
            let probed = TcpKeepalive::new()
                .with_time(Duration::from_secs(idle_seconds.into()))
                .with_interval(Duration::from_secs(interval_seconds.into()))
                .with_retries(probes.into());
            socket.set_tcp_keepalive(&probed)
        }
        Guard::Unacknowledged { millis } => {
            let millis = millis.min(libc::c_int::MAX as u32);
            socket.set_tcp_user_timeout(Some(Duration::from_millis(millis.into())))
        }
    };
    result.map(|()| 0).map_err(|error| errno_of(&error))
}

/// What poll(2) says of `wanted` now. The safe crates lose every bit with RDHUP.
pub(super) fn bits_now(socket: &OwnedFd, wanted: u32) -> u32 {
    let events = wanted as libc::c_short;
    let mut polled = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    // SAFETY: one structure, which lives through the call; the descriptor is borrowed.
    let result = unsafe { libc::poll(&raw mut polled, 1, 0) };
    if result > 0 { u32::from(polled.revents as u16) } else { 0 }
}

/// Bits of poll(2) that tell of bytes alone, with the end behind none of them if there is one.
///
/// The kernel counts a FIN among the bytes that are there before it says that the peer has ended
/// (tcp_data_queue, then tcp_fin), and a poll takes no lock: in between it tells of bytes where a
/// FIN alone came. The question for bytes waits for that lock.
pub(super) fn with_end(socket: &OwnedFd, bits: u32, wanted: u32) -> u32 {
    if bits != libc::POLLIN as u32 || unread(socket) != Ok(0) {
        return bits;
    }
    bits_now(socket, wanted) & wanted
}

/// Bytes that came and were not received.
fn unread(socket: &OwnedFd) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, which lives through the call; the descriptor is borrowed.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    Errno::result(result).map(|_| bytes as u32)
}

/// Another descriptor of a socket, which from here on waits, as every ring expects it to.
pub(super) fn another(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let waits = SockRef::from(socket).set_nonblocking(false);
    waits.and_then(|()| socket.try_clone()).map_err(|error| errno_of(&error))
}
