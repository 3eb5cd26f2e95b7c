//! Options of sockets that no safe crate sets.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use crate::base::Errno;

/// Has every new client of `member`'s SO_REUSEPORT group come to the socket of this index, in the
/// order of listening. Where the group has none of that index, clients are spread as ever. Needs no
/// privilege.
///
/// # Errors
/// The kernel's error (`SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5).
pub fn steer_clients(member: &impl AsFd, index: u32) -> Result<(), Errno> {
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut answer = [libc::sock_filter { code, jt: 0, jf: 0, k: index }];
    let program = libc::sock_fprog { len: answer.len() as u16, filter: answer.as_mut_ptr() };
    set(member, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Has the group of passive sockets that `member` is in take clients by their hash again.
///
/// # Errors
/// The kernel's error (`SO_DETACH_REUSEPORT_BPF`): `ENOENT` where nothing steers them.
pub fn spread_clients(member: &impl AsFd) -> Result<(), Errno> {
    const UNUSED: libc::c_int = 0;
    set(member, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, &UNUSED)
}

/// Has a passive socket drop the segments of new clients that have passed a router, or whose host
/// begins with less than 255 hops, as all but a few do. Needs no privilege.
///
/// # Errors
/// The kernel's error (`IP_MINTTL`, `IPV6_MINHOPCOUNT`).
pub fn take_no_hops(socket: &impl AsFd, is_ipv4: bool) -> Result<(), Errno> {
    const MOST: libc::c_int = 255;
    let (level, option) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_MINTTL)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
    };
    set(socket, level, option, &MOST)
}

/// IP_LOCAL_PORT_RANGE (linux/in.h, Linux 6.3).
pub(super) const PORT_RANGE: libc::c_int = 51;
/// All ports, of which the kernel leaves those of the host's own range.
pub(super) static ALL_PORTS: libc::c_int = ((u16::MAX as u32) << 16 | 1) as libc::c_int;

/// Has a connect look for its port among all of the host's range, from where the last one towards
/// the same address has found its own.
///
/// Otherwise the kernel looks through every other port first: once these are taken, 14,116 by
/// default, each connect passes them all, which takes 3 ms of a core and not 40 us. From Linux 6.8
/// on (`__inet_hash_connect`); before that it changes nothing.
///
/// # Errors
/// The kernel's error: `ENOPROTOOPT` before Linux 6.3.
pub(in crate::ring) fn take_any_port(socket: &impl AsFd) -> Result<(), Errno> {
    set(socket, libc::IPPROTO_IP, PORT_RANGE, &ALL_PORTS)
}

fn set<T>(socket: &impl AsFd, level: i32, option: i32, value: &T) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let length_bytes = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length_bytes` of a value that is borrowed; its callers, in this
    // file, pass the structure of their option, and what it points to lives through the call.
    let result =
        unsafe { libc::setsockopt(fd, level, option, (&raw const *value).cast(), length_bytes) };
    Errno::result(result).map(drop)
}
