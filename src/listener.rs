//! Makes passive sockets: one per worker and address, in one SO_REUSEPORT group.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::base::errno_of;
use crate::config::{Guards, SocketOptions};
use crate::ring::{steer_clients, take_no_hops};

/// How many bytes may wait unsent in a socket before a sender has to wait. It bounds the memory
/// that a peer costs which does not read: without it a send queue grows to `tcp_wmem`'s maximum, 4
/// MiB. Sixteen buffers of the default size keep a bulk transfer busy.
pub const UNSENT_BYTES: u32 = 256 << 10;

/// The sockets of one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that the kernel chose when 0 was asked for.
    pub address: SocketAddr,
    /// One for each worker.
    pub sockets: Vec<OwnedFd>,
    /// Another process has them open, too. Their queues wait for a successor when we end, so they
    /// are never shut down and never steered.
    pub inherited: bool,
    /// How many accept queues the sockets have. Each worker has the next one, and where they end
    /// the first again.
    pub queues: usize,
}

/// Why an address could not be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The call that failed.
    pub tried: &'static str,
    /// The kernel's error.
    pub errno: Errno,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { address, tried, errno } = self;
        write!(out, "{address}: {tried}: {errno}: {}", remedy(*errno, *address))
    }
}

/// The meaning of an errno of a passive socket for its address, and the remedy.
pub fn remedy(errno: Errno, address: SocketAddr) -> String {
    let port = address.port();
    let words = match errno {
        Errno::EADDRINUSE => {
            return format!("the port is in use; `ss -tanp 'sport = :{port}'` names who uses it");
        }
        Errno::EADDRNOTAVAIL => {
            "this host has no such address: write one that `ip address` lists, or, for one that \
             comes later, write freebind = true in its listener, or set \
             net.ipv4.ip_nonlocal_bind (or ipv6's) to 1"
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
pub fn listen_on(
    address: SocketAddr,
    workers: usize,
    options: &SocketOptions,
) -> Result<Bound, BindError> {
    try_bind(address, options)?;
    listen_beside(address, workers, options)
}

/// Listens beside sockets of this user's that share the port, too: decoys of a gateway that has let
/// go of the address. While they are there, and for as long as that gateway's steering lasts, all
/// clients come to one of ours.
///
/// # Errors
/// As [`listen_on`], but not when the address is shared.
pub fn listen_beside(
    address: SocketAddr,
    workers: usize,
    options: &SocketOptions,
) -> Result<Bound, BindError> {
    let first = passive(address, options)?;
    let name = first.local_addr().map_err(failed(address, "getsockname"))?;
    let address = name.as_socket().unwrap_or(address);
    let mut sockets = vec![OwnedFd::from(first)];
    for _ in 1..workers {
        sockets.push(passive(address, options)?.into());
    }
    Ok(Bound { address, sockets, inherited: false, queues: workers })
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
    options: &SocketOptions,
) -> Result<Vec<Bound>, BindError> {
    let failed = |tried| failed(address, tried);
    for socket in &inherited {
        set_options(socket, options, address)?;
    }
    let rows = inherited.chunks(workers).map(|row| {
        let queues = row.len();
        let shared = row.iter().cycle().take(workers).map(|socket| socket.try_clone());
        let sockets = shared.map(|socket| socket.map(OwnedFd::from)).collect::<Result<_, _>>();
        let sockets = sockets.map_err(failed("dup"))?;
        Ok(Bound { address, sockets, inherited: true, queues })
    });
    rows.collect()
}

/// Has accepts of a service manager's sockets wait. systemd's can come non-blocking; on such a one
/// an accept of io_uring does not wait but fails with EAGAIN (REQ_F_NOWAIT).
///
/// # Errors
/// When the kernel refuses it.
pub fn have_wait(address: SocketAddr, sockets: &[TcpListener]) -> Result<(), BindError> {
    let waits = sockets.iter().try_for_each(|socket| socket.set_nonblocking(false));
    waits.map_err(failed(address, "O_NONBLOCK"))
}

/// Binds a socket and closes it: one with SO_REUSEPORT on a busy port of the same user succeeds in
/// silence and takes half of the clients; one without it fails while anybody listens there.
///
/// # Errors
/// When the address is taken or not ours.
pub fn try_bind(address: SocketAddr, options: &SocketOptions) -> Result<(), BindError> {
    tcp_socket(address, options.freebind)?.bind(&address.into()).map_err(failed(address, "bind"))
}

fn passive(address: SocketAddr, options: &SocketOptions) -> Result<Socket, BindError> {
    let socket = tcp_socket(address, options.freebind)?;
    let failed = |tried| failed(address, tried);
    socket.set_reuse_port(true).map_err(failed("SO_REUSEPORT"))?;
    socket.bind(&address.into()).map_err(failed("bind"))?;
    set_options(&socket, options, address)?;
    Ok(socket)
}

/// Sets the options that accepted sockets inherit, and the backlog; listening comes last.
///
/// # Errors
/// When the kernel refuses one; those before it are set.
pub fn set_options(
    socket: &impl AsFd,
    options: &SocketOptions,
    address: SocketAddr,
) -> Result<(), BindError> {
    let socket = &SockRef::from(socket);
    let failed = |tried| failed(address, tried);
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES).map_err(failed("TCP_NOTSENT_LOWAT"))?;
    set_guards(socket, &options.guards, address).map_err(failed("keepalive"))?;
    let backlog = i32::try_from(options.asked_backlog()).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(failed("listen"))
}

/// When a silent client is probed, and when one that does not answer is given up. Clients of a
/// loopback address are not: see [`Guards::probes`].
fn set_guards(socket: &Socket, guards: &Guards, address: SocketAddr) -> std::io::Result<()> {
    let probes = guards.probes(address.ip());
    socket.set_keepalive(probes.is_some())?;
    if let Some(idle) = probes {
        let probes = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(guards.keepalive_interval)
            .with_retries(guards.keepalive_probes);
        socket.set_tcp_keepalive(&probes)?;
    }
    socket.set_tcp_user_timeout(guards.user_timeout)
}

/// A socket that may follow a dead predecessor's connections (SO_REUSEADDR), IPv6 only if IPv6.
/// With `freebind` it can be bound to an address that this host does not have (IP_FREEBIND, ip(7)).
fn tcp_socket(address: SocketAddr, freebind: bool) -> Result<Socket, BindError> {
    let failed = |tried| failed(address, tried);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(failed("socket"))?;
    socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(failed("IPV6_V6ONLY"))?;
    }
    match address {
        SocketAddr::V4(_) if freebind => socket.set_freebind_v4(true),
        SocketAddr::V6(_) if freebind => socket.set_freebind_v6(true),
        _ => Ok(()),
    }
    .map_err(failed("IP_FREEBIND"))?;
    Ok(socket)
}

fn failed(address: SocketAddr, tried: &'static str) -> impl Fn(std::io::Error) -> BindError {
    move |error| BindError { address, tried, errno: errno_of(&error) }
}

/// Sockets that all new clients of an address come to, and none of them is answered.
#[derive(Debug)]
pub struct Decoys {
    _sockets: Vec<OwnedFd>,
}

/// Has the passive sockets of an address take no new client: SYNs stay unanswered, so that clients
/// send them again a second later. Handshakes that have begun go on, and the accept queues stay.
/// Closing the sockets, or shutting them down, would reset those.
///
/// SYNs are steered to a socket that drops them, which needs no privilege as a filter would
/// (`SO_ATTACH_FILTER`: CAP_NET_ADMIN). There is a decoy for each of `sockets`: when those close
/// one after another the decoys take their places in the group, and the index of the first still
/// means a decoy. A host that sends from 255 hops away and passes no router is not dropped; of
/// those the first waits in the decoy.
///
/// The group must be `sockets` alone: never steer one that a successor is to accept from. Drop
/// the decoys after them.
///
/// # Errors
/// When the kernel refuses a socket or an option.
pub fn stop_syns(address: SocketAddr, sockets: &[impl AsFd]) -> Result<Decoys, BindError> {
    let Some(member) = sockets.first() else { return Ok(Decoys { _sockets: Vec::new() }) };
    let decoys: Vec<Socket> = sockets.iter().map(|_| decoy(address)).collect::<Result<_, _>>()?;
    // No socket has this index before the first decoy listens.
    let index = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
    let tried = "SO_ATTACH_REUSEPORT_CBPF";
    steer_clients(member, index).map_err(|errno| BindError { address, tried, errno })?;
    listening(address, decoys)
}

/// Has clients of an address get no answer, rather than be refused, where nobody listens any more:
/// for a gateway that cannot listen yet. Beside decoys of this user's it changes nothing.
///
/// # Errors
/// When the kernel refuses a socket or an option.
pub fn hold_syns(address: SocketAddr) -> Result<Decoys, BindError> {
    listening(address, vec![decoy(address)?])
}

/// A socket that is bound to the address and will drop what comes in.
fn decoy(address: SocketAddr) -> Result<Socket, BindError> {
    // The address may have gone again since the listener was bound to it.
    let socket = tcp_socket(address, true)?;
    socket.set_reuse_port(true).map_err(failed(address, "SO_REUSEPORT"))?;
    socket.bind(&address.into()).map_err(failed(address, "bind"))?;
    let refused = |errno| BindError { address, tried: "IP_MINTTL", errno };
    take_no_hops(&socket, address.is_ipv4()).map_err(refused)?;
    Ok(socket)
}

fn listening(address: SocketAddr, decoys: Vec<Socket>) -> Result<Decoys, BindError> {
    for decoy in &decoys {
        decoy.listen(0).map_err(failed(address, "listen"))?;
    }
    Ok(Decoys { _sockets: decoys.into_iter().map(OwnedFd::from).collect() })
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    fn few() -> SocketOptions {
        SocketOptions::with_backlog(16)
    }

    #[test]
    fn an_address_that_somebody_listens_on_is_refused_by_name() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let bound = listen_on(any, 2, &few()).expect("a free port");
        assert_eq!(bound.sockets.len(), 2);
        let refused = listen_on(bound.address, 2, &few()).expect_err("it is taken");
        assert_eq!((refused.address, refused.errno), (bound.address, Errno::EADDRINUSE));
    }

    #[test]
    fn an_address_that_the_host_does_not_have_is_bound_by_freebind_alone() {
        // Reserved for documentation (RFC 5737, RFC 3849): no host has them.
        for (any, nonlocal) in [
            ("192.0.2.77:0", "/proc/sys/net/ipv4/ip_nonlocal_bind"),
            ("[2001:db8::77]:0", "/proc/sys/net/ipv6/ip_nonlocal_bind"),
        ] {
            let Ok(nonlocal) = std::fs::read_to_string(nonlocal) else { continue };
            let any = any.parse().expect("an address");
            let plain = listen_on(any, 2, &few()).map_err(|error| error.errno);
            if nonlocal.trim() == "0" {
                let refused = plain.expect_err("the host does not have it");
                assert!([Errno::EADDRNOTAVAIL, Errno::EAFNOSUPPORT].contains(&refused));
            }
            if std::net::UdpSocket::bind("[::1]:0").is_err() && any.is_ipv6() {
                continue; // A host without IPv6.
            }
            let options = SocketOptions { freebind: true, ..few() };
            let bound = listen_on(any, 2, &options).expect("an address of nobody's");
            assert_eq!(bound.sockets.len(), 2);
            stop_syns(bound.address, &bound.sockets).expect("decoys on it, too");
        }
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
            let six =
                listen_on("[::]:0".parse().expect("an address"), 1, &few()).expect("a free port");
            let four = SocketAddr::from(([0, 0, 0, 0], six.address.port()));
            listen_on(four, 1, &few()).is_ok()
        });
        assert!(free, "IPv4 is not taken by an IPv6-only socket");
    }

    #[test]
    fn every_worker_has_a_socket_of_each_row_and_no_socket_is_left_out() {
        for (handed, workers, rows) in [(1, 3, 1), (2, 2, 1), (3, 2, 2), (4, 1, 4)] {
            let one = TcpListener::bind("127.0.0.1:0").expect("a free port");
            one.set_nonblocking(true).expect("an option");
            let address = one.local_addr().expect("it is bound");
            let all: Vec<_> = (0..handed).map(|_| one.try_clone().expect("a descriptor")).collect();
            have_wait(address, &all).expect("they are ours");
            let bound = adopt(address, all, workers, &few()).expect("they listen");
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
    fn without_syns_the_queues_are_served_and_nobody_new_comes_until_the_last_has_closed() {
        const WATCH: Duration = Duration::from_millis(200);
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(Bound { address, sockets, .. }) =
                listen_on(any.parse().expect("an address"), 3, &few())
            else {
                continue; // A host without IPv6.
            };
            let mut passive: Vec<_> = sockets.into_iter().map(TcpListener::from).collect();
            let connect = || TcpStream::connect_timeout(&address, WATCH);
            let nobody = || {
                for _ in 0..2 {
                    assert_eq!(connect().expect_err("no answer").kind(), ErrorKind::TimedOut);
                }
            };
            let mut queued: Vec<_> = (0..12).map(|_| connect().expect("it listens")).collect();
            let decoys = stop_syns(address, &passive).expect("no privilege is needed");
            nobody();
            let mut served = Vec::new();
            for socket in &passive {
                socket.set_nonblocking(true).expect("a flag");
                served.extend(std::iter::from_fn(|| socket.accept().ok()));
            }
            assert_eq!(served.len(), queued.len());
            for (server, _) in &mut served {
                server.set_nonblocking(false).expect("a flag");
                server.write_all(b"hello").expect("bytes");
            }
            let mut heard = [0; 5];
            for client in &mut queued {
                client.read_exact(&mut heard).expect("it is served");
            }
            while !passive.is_empty() {
                nobody();
                passive.remove(0);
            }
            nobody();
            drop(decoys);
            assert_eq!(connect().expect_err("closed").kind(), ErrorKind::ConnectionRefused);
        }
    }
}
