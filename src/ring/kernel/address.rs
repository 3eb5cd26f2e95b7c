//! Asking ordinary sockets what the ring has no command for.
#![allow(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::socket::{SockaddrLike, SockaddrStorage, getsockname};

use crate::base::Errno;
use crate::ring::contract::FourTuple;

/// `SO_PEERNAME` (asm-generic/socket.h), which libc lacks. Unlike getpeername(2) it still answers
/// when the peer has reset.
const SO_PEERNAME: libc::c_int = 28;

/// The state of a passive socket (net/tcp_states.h).
const TCP_LISTEN: u8 = 10;

/// Numbers of `SO_MEMINFO`, and which of them counts drops (linux/sock_diag.h).
const SK_MEMINFO_VARS: usize = 9;
const SK_MEMINFO_DROPS: usize = 8;

/// The addresses at both ends of `socket`.
pub(in crate::ring) fn four_tuple(socket: BorrowedFd<'_>) -> Result<FourTuple, Errno> {
    let local = getsockname::<SockaddrStorage>(socket.as_raw_fd())?;
    let family_bytes = if local.as_sockaddr_in().is_some() {
        size_of::<libc::sockaddr_in>()
    } else {
        size_of::<libc::sockaddr_in6>()
    };
    let peer = peer_of(socket, family_bytes as libc::socklen_t);
    Ok(FourTuple { local: socket_addr(&local).ok_or(Errno::EAFNOSUPPORT)?, peer, via: None })
}

/// `length_bytes` is exactly that of the socket's family: SO_PEERNAME answers EINVAL when asked
/// for more than the address has.
fn peer_of(socket: BorrowedFd<'_>, mut length_bytes: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: a sockaddr_storage of zeroes is a valid value of that plain structure.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    assert!(length_bytes as usize <= size_of_val(&storage));
    // SAFETY: the option writes at most `length_bytes`, which the line above keeps within the
    // storage; both live through the call, and the descriptor is borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERNAME,
            (&raw mut storage).cast(),
            &raw mut length_bytes,
        )
    };
    Errno::result(result).ok()?;
    // SAFETY: the storage is initialised in full, and the length is the kernel's, of what it wrote.
    let peer =
        unsafe { SockaddrStorage::from_raw((&raw const storage).cast(), Some(length_bytes)) }?;
    socket_addr(&peer)
}

/// The address as the rest of the program knows it: v4-mapped IPv6 is IPv4.
fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    let v6: std::net::SocketAddrV6 = (*address.as_sockaddr_in6()?).into();
    Some(match v6.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddr::from((v4, v6.port())),
        None => SocketAddr::V6(v6),
    })
}

/// A passive socket's accept queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Completed handshakes that wait in it.
    pub waiting: u32,
    /// How many may: the backlog, as the kernel granted it. One more fits.
    pub limit: u32,
    /// Segments that the kernel dropped at the socket: SYNs and last steps of handshakes that found
    /// the queue full.
    pub dropped: u32,
}

impl AcceptQueue {
    /// Asks the kernel. Takes no lock of the socket.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn of(listener: impl AsFd) -> Result<AcceptQueue, Errno> {
        let info = info(&listener)?;
        let dropped = dropped(&listener)?;
        Ok(AcceptQueue { waiting: info.tcpi_unacked, limit: info.tcpi_sacked, dropped })
    }
}

/// Completed handshakes that wait on a passive socket.
pub(in crate::ring) fn accept_queue(listener: impl AsFd) -> Result<u32, Errno> {
    info(&listener).map(|info| info.tcpi_unacked)
}

/// Accepts of a passive socket that do not wait, with or without O_NONBLOCK: one for each client in
/// its queue. On one that listens no more, which has none, the next fails at once.
pub(in crate::ring) fn accepts_at_once(listener: impl AsFd) -> u32 {
    match info(&listener) {
        Ok(info) if info.tcpi_state == TCP_LISTEN => info.tcpi_unacked,
        _ => 1,
    }
}

/// Of a passive socket: `tcpi_unacked` is its queue, `tcpi_sacked` the limit (Linux 2.6.24).
fn info(listener: &impl AsFd) -> Result<libc::tcp_info, Errno> {
    let fd: RawFd = listener.as_fd().as_raw_fd();
    // SAFETY: a tcp_info of zeroes is a valid value of that plain structure.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length_bytes = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the option writes at most `length_bytes`, the size of `info`; both live through the
    // call, and the descriptor is borrowed.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length_bytes,
        )
    };
    Errno::result(result).map(|_| info)
}

/// Packets dropped at a socket: the ninth number of `SO_MEMINFO` (Linux 4.12).
fn dropped(socket: &impl AsFd) -> Result<u32, Errno> {
    let fd: RawFd = socket.as_fd().as_raw_fd();
    let mut numbers = [0u32; SK_MEMINFO_VARS];
    let mut length_bytes = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the option writes at most `length_bytes`, the size of `numbers`; both live through
    // the call, and the descriptor is borrowed.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut length_bytes,
        )
    };
    Errno::result(result).map(|_| numbers[SK_MEMINFO_DROPS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passive_socket_tells_who_waits_and_how_many_may() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(7).expect("small"))
            .expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        let clients = [(); 3].map(|()| std::net::TcpStream::connect(address).expect("room"));
        let expected = AcceptQueue { waiting: 3, limit: 7, dropped: 0 };
        assert_eq!(AcceptQueue::of(&listener), Ok(expected));
        listener.accept().expect("somebody waits");
        assert_eq!(accept_queue(&listener), Ok(2));
        drop(clients);
    }

    #[test]
    fn a_mapped_address_is_v4() {
        for (given, expected) in [
            ("[::ffff:10.1.2.3]:80", "10.1.2.3:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            let given: SocketAddr = given.parse().expect("an address");
            let found = socket_addr(&SockaddrStorage::from(given));
            assert_eq!(found, expected.parse().ok());
        }
    }
}
