//! Makes passive sockets: one per worker and address, in one SO_REUSEPORT group.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

/// How many bytes may wait unsent in a socket before a sender is told to wait. It bounds what a
/// peer that does not read costs: without it a send queue grows to `tcp_wmem`'s maximum, 4 MiB.
/// Sixteen buffers of the default size keep a bulk transfer busy.
pub const UNSENT_BYTES: u32 = 256 << 10;

/// The sockets of one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that the kernel chose when 0 was asked for.
    pub address: SocketAddr,
    /// One for each worker.
    pub sockets: Vec<OwnedFd>,
}

/// Why an address could not be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What was tried.
    pub tried: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { address, tried, errno } = self;
        write!(out, "{address}: {tried}: {errno}: ")?;
        match errno {
            Errno::EADDRINUSE => write!(
                out,
                "another process listens there; `ss -ltnp 'sport = :{}'` names it",
                address.port()
            ),
            Errno::EADDRNOTAVAIL => {
                write!(out, "this host has no such address; `ip address` lists its own")
            }
            Errno::EACCES => write!(
                out,
                "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
            ),
            Errno::EMFILE => write!(out, "raise the limit on open files (ulimit -n)"),
            _ => write!(out, "the kernel refused"),
        }
    }
}

impl std::error::Error for BindError {}

/// Listens on `address` with `workers` sockets. Accepted sockets inherit their options, so that no
/// client needs a call of its own.
///
/// # Errors
/// When the address is taken or not ours, or a limit is reached.
pub fn listen_on(address: SocketAddr, workers: usize, backlog: u32) -> Result<Bound, BindError> {
    refuse_if_taken(address)?;
    let first = passive(address, backlog)?;
    let name = first.local_addr().map_err(failed(address, "getsockname"))?;
    let address = name.as_socket().unwrap_or(address);
    let mut sockets = vec![OwnedFd::from(first)];
    for _ in 1..workers {
        sockets.push(passive(address, backlog)?.into());
    }
    Ok(Bound { address, sockets })
}

/// A bind with SO_REUSEPORT to a busy port of the same user succeeds in silence and takes half of
/// the clients. One without it fails while anybody listens there.
fn refuse_if_taken(address: SocketAddr) -> Result<(), BindError> {
    tcp_socket(address)?.bind(&address.into()).map_err(failed(address, "bind"))
}

fn passive(address: SocketAddr, backlog: u32) -> Result<Socket, BindError> {
    let socket = tcp_socket(address)?;
    let failed = |tried| failed(address, tried);
    socket.set_reuse_port(true).map_err(failed("SO_REUSEPORT"))?;
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES).map_err(failed("TCP_NOTSENT_LOWAT"))?;
    socket.bind(&address.into()).map_err(failed("bind"))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(failed("listen"))?;
    Ok(socket)
}

/// A socket that may follow a dead predecessor's connections (SO_REUSEADDR), IPv6 only if IPv6.
fn tcp_socket(address: SocketAddr) -> Result<Socket, BindError> {
    let failed = |tried| failed(address, tried);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(failed("socket"))?;
    socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(failed("IPV6_V6ONLY"))?;
    }
    Ok(socket)
}

fn failed(address: SocketAddr, tried: &'static str) -> impl Fn(std::io::Error) -> BindError {
    move |error| BindError { address, tried, errno: errno_of(&error) }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Has a passive socket take no new client: the kernel drops every SYN that comes to it unanswered,
/// so that the client sends it again a second later. Handshakes that have begun go on, and the
/// accept queue stays. Closing the socket, or shutting it down, would reset that queue.
///
/// The filter belongs to the socket, not to the descriptor: never give it one that a successor is
/// to accept from.
///
/// # Errors
/// What the kernel said (`SO_ATTACH_FILTER`, no privilege needed).
pub fn stop_syns(socket: &impl AsFd) -> Result<(), Errno> {
    SockRef::from(socket).attach_filter(&NO_SYN).map_err(|error| errno_of(&error))
}

/// A socket filter of TCP sees the segment from its TCP header on. Byte 13 holds the flags; SYN is
/// 0x02, ACK 0x10: a SYN without an ACK asks for a new connection.
const NO_SYN: [SockFilter; 5] = {
    const fn instruction(code: u32, skip_if: u8, skip_else: u8, k: u32) -> SockFilter {
        SockFilter::new(code as u16, skip_if, skip_else, k)
    }
    [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 13),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0x12),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, 0x02),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ]
};

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_that_somebody_listens_on_is_refused_by_name() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let bound = listen_on(any, 2, 16).expect("a free port");
        assert_eq!(bound.sockets.len(), 2);
        let refused = listen_on(bound.address, 2, 16).expect_err("it is taken");
        assert_eq!((refused.address, refused.errno), (bound.address, Errno::EADDRINUSE));
    }

    #[test]
    fn an_ipv6_wildcard_leaves_the_ipv4_port_free() {
        // Any port may be some connection's own at this moment: a few are tried.
        let pair = || {
            let six = listen_on("[::]:0".parse().ok()?, 1, 16).ok()?;
            let four = SocketAddr::from(([0, 0, 0, 0], six.address.port()));
            listen_on(four, 1, 16).ok().map(|four| (six, four))
        };
        assert!((0..50).any(|_| pair().is_some()), "IPv4 is taken by IPv6-only sockets");
    }

    #[test]
    fn without_syns_the_queue_is_served_and_nobody_new_comes() {
        const WATCH: Duration = Duration::from_millis(300);
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut bound = listen_on(any, 1, 16).expect("a free port");
        let passive = TcpListener::from(bound.sockets.remove(0));
        let connect = || TcpStream::connect_timeout(&bound.address, WATCH);
        let talk = |client: &mut TcpStream, server: &mut TcpStream| {
            let mut heard = [0; 5];
            client.write_all(b"hello").and_then(|()| server.read_exact(&mut heard)).expect("bytes");
            server.write_all(&heard).and_then(|()| client.read_exact(&mut heard)).expect("bytes");
        };
        let mut established = connect().expect("it listens");
        let (mut served, _) = passive.accept().expect("a client");
        let mut queued: Vec<_> = (0..5).map(|_| connect().expect("it listens")).collect();

        stop_syns(&passive).expect("a filter");
        assert_eq!(connect().expect_err("no answer").kind(), ErrorKind::TimedOut);
        talk(&mut established, &mut served);
        for client in &mut queued {
            let (mut server, _) = passive.accept().expect("it was queued");
            talk(client, &mut server);
        }
        assert_eq!(connect().expect_err("no answer").kind(), ErrorKind::TimedOut);
    }
}
