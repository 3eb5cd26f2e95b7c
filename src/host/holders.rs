//! The holders of an address, by /proc: living processes, or none.
//!
//! A killed gateway's listeners stay in LISTEN, and go on taking clients, until the kernel has
//! closed its rings: their inodes stand in the table of sockets and no process has them open.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::fcntl::readlinkat;

use super::kernel_files::{KernelFiles, Stat};
use crate::base::plain_word;

/// How many processes are named when several share a listener.
const NAMED_MAX: usize = 3;
/// Connections of the host that are looked through for one with a port: two million take seconds.
const ROWS_MAX: usize = 2_000_000;
/// The state of a connection that has ended and keeps its port.
pub const TIME_WAIT: &str = "TIME-WAIT";
const LISTEN: &str = "LISTEN";
/// From 1 on (include/net/tcp_states.h).
const STATES: [&str; 12] = [
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    TIME_WAIT,
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    LISTEN,
    "CLOSING",
    "SYN-RECV",
];
/// Fields of /proc/PID/stat by their numbers in proc_pid_stat(5).
const STATE: usize = 3;
const FLAGS: usize = 9;
/// PF_EXITING (include/linux/sched.h): the thread is on its way out.
const EXITING: u64 = 0x4;

/// A socket in LISTEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The number that identifies the socket.
    pub inode: u64,
    /// The user that made it.
    pub user: u32,
}

/// A connection that has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Its other end.
    pub peer: SocketAddr,
    /// Its state, as ss(8) calls it.
    pub state: &'static str,
    /// Who has it.
    pub holder: Holder,
}

/// Who keeps a set of sockets open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// These processes.
    Living(Vec<Process>),
    /// A process that we may not look into, or so it must be assumed: it would be this user's.
    Unseen(u32),
    /// No process at all.
    Nobody,
}

/// A process as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command's name.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Living(processes) => {
                for (index, process) in processes.iter().take(NAMED_MAX).enumerate() {
                    let before = if index == 0 { "" } else { ", " };
                    write!(out, "{before}{} (pid {})", process.name, process.pid)?;
                }
                match processes.len().saturating_sub(NAMED_MAX) {
                    0 => Ok(()),
                    more => write!(out, " and {more} more"),
                }
            }
            Holder::Unseen(user) => write!(out, "a process of user {user}"),
            Holder::Nobody => write!(out, "no process"),
        }
    }
}

/// The sockets in LISTEN that a socket on `address` would share clients with, in the network of
/// the calling thread.
pub fn listening_on(address: SocketAddr) -> Vec<Listening> {
    let of_family = |table: &str| {
        let rows = listening(&format!("proc/thread-self/net/{table}"));
        rows.into_iter().filter(|row| collide(row.address, address)).collect::<Vec<_>>()
    };
    let found = if address.is_ipv4() { of_family("tcp") } else { Vec::new() };
    // An IPv6 wildcard stands in an IPv4 bind's way only if it takes both families, which the
    // table does not say: it is to blame only when nobody else is.
    if found.is_empty() { of_family("tcp6") } else { found }
}

/// A connection whose own end is where a socket on `address` would be; one that lives before one
/// that has ended.
pub fn use_of(address: SocketAddr) -> Option<Use> {
    let mut ended = None;
    for table in ["tcp", "tcp6"] {
        let lines = KernelFiles::of_this_host().lines(format!("proc/thread-self/net/{table}"));
        let rows = lines.into_iter().flatten().skip(1).take(ROWS_MAX);
        for (own, peer, state) in rows.filter_map(|line| connection(&line)) {
            if !collide(own.address, address) {
                continue;
            }
            if state != TIME_WAIT {
                return Some(Use { peer, state, holder: holder_of(&[own], usize::MAX) });
            }
            ended.get_or_insert(Use { peer, state, holder: Holder::Nobody });
        }
    }
    ended
}

/// Who keeps these sockets open, among the first `descriptors` of every process. Half a million
/// clients on the same host have as many to look through, which takes seconds; a listener is among
/// the first that its process opened.
pub fn holder_of(sockets: &[Listening], descriptors: usize) -> Holder {
    let mut living = Vec::new();
    let mut unseen = None;
    for pid in processes() {
        match holds(pid, sockets, descriptors) {
            Some(true) if !is_ending(pid) => living.push(Process { pid, name: name_of(pid) }),
            Some(_) => {}
            None => {
                let user = user_of(pid);
                unseen = unseen.or(user.filter(|user| sockets.iter().any(|s| s.user == *user)));
            }
        }
    }
    match unseen {
        _ if !living.is_empty() => Holder::Living(living),
        Some(user) => Holder::Unseen(user),
        None => Holder::Nobody,
    }
}

/// Whether the process is on its way out: killed, and its files are about to be closed.
pub fn is_ending(pid: i32) -> bool {
    stage_of(pid) == Some(Stage::Ending)
}

/// Whether there is such a process, and it is not on its way out.
pub fn is_living(pid: i32) -> bool {
    stage_of(pid) == Some(Stage::Living)
}

#[derive(PartialEq, Eq)]
enum Stage {
    Living,
    Ending,
}

/// `None`: there is no such process.
fn stage_of(pid: i32) -> Option<Stage> {
    let stat = Stat::read(KernelFiles::of_this_host(), &pid.to_string())?;
    let (state, flags) = (stat.field::<String>(STATE)?, stat.field::<u64>(FLAGS)?);
    let ending = matches!(state.as_str(), "Z" | "X") || flags & EXITING != 0;
    Some(if ending { Stage::Ending } else { Stage::Living })
}

/// The kernel writes sockets in LISTEN before all others, of which there may be millions.
fn listening(table: &str) -> Vec<Listening> {
    let lines = KernelFiles::of_this_host().lines(table).into_iter().flatten().skip(1);
    lines.map_while(|line| row(&line)).collect()
}

/// A line of /proc/net/tcp: the own end, the other and the state; `None` when it is in LISTEN.
fn connection(line: &str) -> Option<(Listening, SocketAddr, &'static str)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, remote, state, _, _, _, user, _, inode, ..] = words[..] else { return None };
    let state = STATES.get(usize::from_str_radix(state, 16).ok()?.checked_sub(1)?)?;
    let (user, inode) = (user.parse().ok()?, inode.parse().ok()?);
    let own = Listening { address: address(local)?, inode, user };
    (*state != LISTEN).then_some((own, address(remote)?, *state))
}

/// A line of /proc/net/tcp; `None` when it is not in LISTEN.
fn row(line: &str) -> Option<Listening> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, "0A", _, _, _, user, _, inode, ..] = words[..] else { return None };
    Some(Listening {
        address: address(local)?,
        inode: inode.parse().ok()?,
        user: user.parse().ok()?,
    })
}

/// `0100007F:1F90`: the address in words of 32 bits as the machine holds them, the port as people
/// write it.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = if ip.len() == 8 {
        IpAddr::from(word(0)?)
    } else {
        let mut bytes = [0; 16];
        for (index, four) in bytes.chunks_exact_mut(4).enumerate() {
            four.copy_from_slice(&word(8 * index)?);
        }
        IpAddr::from(bytes).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Whether sockets on both addresses would be offered the same clients.
pub fn collide(theirs: SocketAddr, ours: SocketAddr) -> bool {
    let (they, we) = (theirs.ip(), ours.ip());
    let both_families = they == Ipv6Addr::UNSPECIFIED;
    let alike = they.is_ipv4() == we.is_ipv4();
    let any = they.is_unspecified() || we == Ipv4Addr::UNSPECIFIED || we == Ipv6Addr::UNSPECIFIED;
    theirs.port() == ours.port() && (they == we || (alike && any) || both_families)
}

fn processes() -> impl Iterator<Item = i32> {
    let entries =
        std::fs::read_dir(KernelFiles::of_this_host().path("proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether one of the process's first descriptors is one of these sockets; `None` when it is not
/// for us to see, though it may have some.
fn holds(pid: i32, sockets: &[Listening], descriptors: usize) -> Option<bool> {
    let path = KernelFiles::of_this_host().path(format!("proc/{pid}/fd"));
    let opened = std::fs::File::open(&path).and_then(|at| Ok((at, std::fs::read_dir(&path)?)));
    let (folder, entries) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(false),
        Err(_) if is_bare(pid) => return Some(false),
        Err(_) => return None,
    };
    let mut links = entries.flatten().take(descriptors).filter_map(|entry| {
        let link = readlinkat(&folder, &*entry.file_name()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    });
    Some(links.any(|inode| sockets.iter().any(|socket| socket.inode == inode)))
}

/// A kernel thread or a zombie has no memory, and no files.
fn is_bare(pid: i32) -> bool {
    status_of(pid, "VmSize:").is_none()
}

/// The user that the process acts as.
fn user_of(pid: i32) -> Option<u32> {
    status_of(pid, "Uid:")?.split_whitespace().nth(1)?.parse().ok()
}

fn status_of(pid: i32, key: &str) -> Option<String> {
    KernelFiles::of_this_host().field(format!("proc/{pid}/status"), key)
}

fn name_of(pid: i32) -> String {
    plain_word(&command_of(pid).unwrap_or_default()).into_owned()
}

/// The name of a process's command, which the process itself has chosen; `None`: it has ended.
pub fn command_of(pid: i32) -> Option<String> {
    KernelFiles::of_this_host().text(format!("proc/{pid}/comm"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_living_holder_is_named_in_either_family() {
        for bind in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(bind) else { continue };
            let address = listener.local_addr().expect("it is bound");
            let found = listening_on(address);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].address, address);
            let Holder::Living(processes) = holder_of(&found, usize::MAX) else {
                panic!("we live")
            };
            assert!(processes.iter().any(|one| one.pid == std::process::id() as i32));
            let gone = Listening { inode: u64::MAX, user: u32::MAX, ..found[0] };
            assert_eq!(holder_of(&[gone], usize::MAX), Holder::Nobody);
            drop(listener);
            // A program that another test starts has a copy between its fork and its exec.
            let is_gone = (0..10_000).any(|_| {
                std::thread::sleep(Duration::from_millis(1));
                !listening_on(address).contains(&found[0])
            });
            assert!(is_gone, "{:?} outlives its socket", found[0]);
        }
    }

    #[test]
    fn addresses_collide_where_they_share_clients() {
        for (theirs, ours, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.2:1", true),
            ("127.0.0.2:1", "0.0.0.0:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::1]:1", "127.0.0.1:1", false),
            ("[::1]:1", "[::]:1", true),
            ("127.0.0.1:1", "[::]:1", false),
        ] {
            let [their, our] = [theirs, ours].map(|text| text.parse().expect("an address"));
            assert_eq!(collide(their, our), expected, "{theirs} {ours}");
        }
    }

    #[test]
    fn we_live_and_a_process_that_is_not_there_does_not() {
        let us = std::process::id() as i32;
        assert!(is_living(us) && !is_ending(us));
        assert!(!is_living(i32::MAX) && !is_ending(i32::MAX));
    }

    #[test]
    fn a_zombie_is_ending() {
        let mut child = std::process::Command::new("true").spawn().expect("a program");
        let pid = child.id() as i32;
        while is_living(pid) {
            std::thread::yield_now();
        }
        assert!(is_ending(pid));
        child.wait().expect("our child");
        assert!(!is_ending(pid) && !is_living(pid));
    }
}
