//! What the kernel says about a process and about the network of the calling thread.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

/// One line of /proc/net/tcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpSocket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: TcpState,
}

/// The states that tests tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TcpState {
    Established,
    Listen,
    Other,
}

/// The IPv4 TCP sockets of the calling thread's network.
pub(crate) fn tcp_sockets() -> Vec<TcpSocket> {
    let table = read("/proc/thread-self/net/tcp");
    table.lines().skip(1).map(tcp_socket).collect()
}

fn tcp_socket(line: &str) -> TcpSocket {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = match words[3] {
        "01" => TcpState::Established,
        "0A" => TcpState::Listen,
        _ => TcpState::Other,
    };
    TcpSocket { local: hex_address(words[1]), remote: hex_address(words[2]), state }
}

/// `0100007F:1F90`: the address as the machine holds it, the port as people write it.
fn hex_address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').expect("address:port");
    let ip = u32::from_str_radix(ip, 16).expect("an address in hex").to_ne_bytes();
    (Ipv4Addr::from(ip), u16::from_str_radix(port, 16).expect("a port in hex")).into()
}

/// A counter of TCP in the calling thread's network, such as `AttemptFails` or `ListenOverflows`.
pub(crate) fn tcp_counter(name: &str) -> u64 {
    let tables = [("snmp", "Tcp:"), ("netstat", "TcpExt:")];
    let mut values = tables.into_iter().filter_map(|(file, begin)| {
        let table = read(&format!("/proc/thread-self/net/{file}"));
        let mut lines = table.lines().filter(|line| line.starts_with(begin));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let place = names.split_whitespace().position(|word| word == name)?;
        values.split_whitespace().nth(place)?.parse().ok()
    });
    values.next().unwrap_or_else(|| panic!("no counter {name}"))
}

/// How many sockets exist in the calling thread's network, whoever holds them.
pub(crate) fn sockets_in_use() -> u64 {
    figure(&read("/proc/thread-self/net/sockstat"), "sockets: used")
}

/// How many open files exist on the machine, descriptors or not.
pub(crate) fn files_in_use() -> u64 {
    let line = read("/proc/sys/fs/file-nr");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number of files")
}

/// How many descriptors a process has.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

/// A process's memory, shared pages counted by their share.
pub(crate) fn memory_bytes(pid: u32) -> u64 {
    figure(&read(&format!("/proc/{pid}/smaps_rollup")), "Pss:") * 1024
}

/// Whether a process is stopped by a signal.
pub(crate) fn is_stopped(pid: u32) -> bool {
    read(&format!("/proc/{pid}/status")).lines().any(|line| line.starts_with("State:\tT"))
}

fn figure(text: &str, key: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no figure for {key}"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> u32 {
    let status = read(&format!("/proc/{pid}/status"));
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.and_then(|parent| parent.trim().parse().ok()).expect("a process has a parent")
}
