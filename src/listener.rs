//! Makes passive sockets: one per worker and address, in one SO_REUSEPORT group.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
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
    /// Somebody else has them open, too: their queues wait for a successor when we end, so they are
    /// never shut down and never given a filter.
    pub inherited: bool,
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
        write!(out, "{address}: {tried}: {errno}: {}", remedy(*errno, *address))
    }
}

/// What an errno of a passive socket means for its address, and what to do.
pub fn remedy(errno: Errno, address: SocketAddr) -> String {
    let port = address.port();
    let words = match errno {
        Errno::EADDRINUSE => {
            return format!("the port is in use; `ss -tanp 'sport = :{port}'` names who uses it");
        }
        Errno::EADDRNOTAVAIL => {
            "this host has no such address: write one that `ip address` lists, or, for one that \
             comes later, set net.ipv4.ip_nonlocal_bind (or ipv6's) to 1"
        }
        Errno::EACCES if port < 1024 => {
            return format!(
                "a port below net.ipv4.ip_unprivileged_port_start needs a privilege: \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or sysctl -w \
                 net.ipv4.ip_unprivileged_port_start={port}"
            );
        }
        Errno::EACCES | Errno::EPERM => {
            "a policy of this host forbids it: look at SELinux or AppArmor (`ausearch -m avc`), \
             the container's seccomp profile, and SocketBindDeny= of the unit"
        }
        Errno::EAFNOSUPPORT if address.is_ipv6() => {
            return format!(
                "this host has no IPv6: write \"0.0.0.0:{port}\", or boot without ipv6.disable=1"
            );
        }
        Errno::EAFNOSUPPORT => "this host has no IPv4: write an IPv6 address",
        Errno::EINVAL | Errno::ENODEV if address.is_ipv6() => {
            "a link-local address needs the number of an interface that is there: write it as in \
             \"[fe80::1%2]:7000\"; `ip link` shows the numbers"
        }
        Errno::ENOBUFS | Errno::ENOMEM => {
            "the kernel is short of memory for sockets: free some, or raise net.ipv4.tcp_mem and \
             the cgroup's memory limit"
        }
        Errno::EMFILE => "raise the limit on open files (ulimit -n, LimitNOFILE= in the unit)",
        Errno::ENFILE => "the host is out of open files: raise fs.file-max",
        _ => "bind another address, and report this errno: nothing is known of it here",
    };
    words.to_owned()
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
    Ok(Bound { address, sockets, inherited: false })
}

/// Accepts from sockets that a parent bound to `address` and has open, too: at least one. They get
/// the options that ours have.
///
/// Every [`Bound`] has a socket for each worker. Fewer sockets than workers are shared: workers
/// then accept from one queue. More make several, the last shared if it does not come out even.
///
/// # Errors
/// When the kernel refuses an option or a descriptor.
pub fn adopt(
    address: SocketAddr,
    inherited: Vec<TcpListener>,
    workers: usize,
    backlog: u32,
) -> Result<Vec<Bound>, BindError> {
    let failed = |tried| failed(address, tried);
    for socket in &inherited {
        let socket = SockRef::from(socket);
        // systemd's sockets can come non-blocking; on such a one an accept of the ring does not
        // wait but fails with EAGAIN (io_uring: REQ_F_NOWAIT).
        socket.set_nonblocking(false).map_err(failed("O_NONBLOCK"))?;
        set_options(&socket, backlog, address)?;
    }
    let rows = inherited.chunks(workers).map(|row| {
        let shared = row.iter().cycle().take(workers).map(|socket| socket.try_clone());
        let sockets = shared.map(|socket| socket.map(OwnedFd::from)).collect::<Result<_, _>>();
        let sockets = sockets.map_err(failed("dup"))?;
        Ok(Bound { address, sockets, inherited: true })
    });
    rows.collect()
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
    socket.bind(&address.into()).map_err(failed("bind"))?;
    set_options(&socket, backlog, address)?;
    Ok(socket)
}

/// What accepted sockets are to inherit, and the backlog; listening comes last.
fn set_options(socket: &Socket, backlog: u32, address: SocketAddr) -> Result<(), BindError> {
    let failed = |tried| failed(address, tried);
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES).map_err(failed("TCP_NOTSENT_LOWAT"))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(failed("listen"))
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
    use std::net::TcpStream;
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
    fn every_errno_of_a_bind_has_its_remedy() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut known = std::collections::HashSet::new();
        for (errno, text, words) in [
            (Errno::EADDRINUSE, "127.0.0.1:7000", "ss -tanp 'sport = :7000'"),
            (Errno::EADDRNOTAVAIL, "10.0.0.1:7000", "ip_nonlocal_bind"),
            (Errno::EACCES, "127.0.0.1:443", "net.ipv4.ip_unprivileged_port_start=443"),
            (Errno::EACCES, "127.0.0.1:7000", "SELinux"),
            (Errno::EAFNOSUPPORT, "[::]:7000", "0.0.0.0:7000"),
            (Errno::EAFNOSUPPORT, "0.0.0.0:7000", "write an IPv6 address"),
            (Errno::EINVAL, "[fe80::1]:7000", "[fe80::1%2]:7000"),
            (Errno::ENOBUFS, "127.0.0.1:7000", "net.ipv4.tcp_mem"),
            (Errno::EMFILE, "127.0.0.1:7000", "ulimit -n"),
            (Errno::ENFILE, "127.0.0.1:7000", "fs.file-max"),
            (Errno::EIO, "127.0.0.1:7000", "another address"),
        ] {
            let told = BindError { address: address(text), tried: "bind", errno }.to_string();
            assert!(told.starts_with(&format!("{text}: bind: {errno}: ")), "{told}");
            assert!(told.contains(words), "{told}");
            assert!(known.insert(remedy(errno, address(text))), "not its own: {told}");
        }
        let policy = remedy(Errno::EPERM, address("127.0.0.1:443"));
        assert_eq!(policy, remedy(Errno::EACCES, address("127.0.0.1:7000")));
    }

    #[test]
    fn an_ipv6_wildcard_leaves_the_ipv4_port_free() {
        // Another program may have just that port in IPv4: then another port.
        let free = (0..50).any(|_| {
            let six = listen_on("[::]:0".parse().expect("an address"), 1, 16).expect("a free port");
            let four = SocketAddr::from(([0, 0, 0, 0], six.address.port()));
            listen_on(four, 1, 16).is_ok()
        });
        assert!(free, "IPv4 is not taken by an IPv6-only socket");
    }

    #[test]
    fn every_worker_has_a_socket_of_each_row_and_no_socket_is_left_out() {
        for (handed, workers, rows) in [(1, 3, 1), (2, 2, 1), (3, 2, 2), (4, 1, 4)] {
            let one = TcpListener::bind("127.0.0.1:0").expect("a free port");
            one.set_nonblocking(true).expect("an option");
            let address = one.local_addr().expect("it is bound");
            let all = (0..handed).map(|_| one.try_clone().expect("a descriptor")).collect();
            let bound = adopt(address, all, workers, 16).expect("they listen");
            assert_eq!(bound.len(), rows, "{handed} for {workers}");
            for row in bound {
                assert!(row.inherited && row.sockets.len() == workers && row.address == address);
                for socket in &row.sockets {
                    let socket = SockRef::from(socket);
                    assert!(socket.tcp_nodelay().expect("an option"));
                    assert!(!socket.nonblocking().expect("a flag"));
                }
            }
        }
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
