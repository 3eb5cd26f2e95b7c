//! Where connections come from: one source address gives at most some 28,000 ports to one target.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Connections from one source, well below what the default range of ports gives.
const PER_SOURCE: usize = 20_000;

/// The source addresses for so many connections, from `127.0.0.0/8` or `10.0.0.1,10.0.0.2`.
pub(crate) fn parse(text: &str, connections: usize) -> io::Result<Vec<IpAddr>> {
    let wrong = |why: &str| io::Error::other(format!("sources \"{text}\": {why}"));
    let Some((base, prefix)) = text.split_once('/') else {
        let parsed: Result<Vec<IpAddr>, _> = text.split(',').map(str::parse).collect();
        return parsed.map_err(|_| wrong("neither a list of addresses nor a range"));
    };
    let base: Ipv4Addr = base.parse().map_err(|_| wrong("a range begins with an IPv4 address"))?;
    let prefix: u32 = prefix.parse().map_err(|_| wrong("not a prefix length"))?;
    let room = 32u32.checked_sub(prefix).map(|bits| (1u64 << bits).saturating_sub(2));
    let count = connections.div_ceil(PER_SOURCE).max(1);
    if room.is_none_or(|room| room < count as u64) {
        return Err(wrong("too small for so many connections"));
    }
    let first = u32::from(base) + 1;
    Ok((first..first + count as u32).map(|ip| Ipv4Addr::from(ip).into()).collect())
}

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
