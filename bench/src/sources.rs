//! Where connections come from: one source address gives at most some 28,000 ports to one target.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Connects, from `source` where one is given; connecting, reading and writing wait this long.
pub(crate) fn open(
    source: Option<IpAddr>,
    target: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::new(patience.as_secs() as i64, 0))?;
    if let Some(source) = source {
        // The port is chosen at connect, when the target is known: each target has its own range.
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    connect(fd.as_raw_fd(), &SockaddrStorage::from(target))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
