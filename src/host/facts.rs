//! Facts about a host, read below a root so that a test can build one.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::cgroup::Cgroup;
use super::kernel_files::{KernelFiles, field, numbers};

/// Bits of `CapEff` in /proc/self/status (capabilities(7)).
const CAP_IPC_LOCK: u64 = 1 << 14;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_RESOURCE: u64 = 1 << 24;
/// Inode numbers of the first namespaces, fixed since Linux 3.8 (include/linux/proc_ns.h).
pub(super) const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// The caller's knowledge of its kernel and its own limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// RLIMIT_NOFILE, soft and hard.
    pub files: (u64, u64),
    /// RLIMIT_MEMLOCK in bytes, soft and hard; `u64::MAX` is no limit.
    pub memlock_bytes: (u64, u64),
    /// Of RLIMIT_MEMLOCK, what rings of the user's other processes hold, as a trial found.
    pub locked_elsewhere_bytes: u64,
    /// Connections of gateways that drain: what they take will be free.
    pub leaving_connections: u64,
    /// The features of the kernel's io_uring.
    pub kernel: Kernel,
}

/// The features of the kernel's io_uring, as a trial found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Why it cannot be used, and what to do; `None` when it can, or nobody asked.
    pub refused: Option<String>,
    /// Connections go over epoll in its place.
    pub epoll: bool,
    /// Addresses of a connection can be told (Linux 6.8).
    pub addresses: bool,
    /// Upstream sockets can have a source address (Linux 6.11).
    pub source_addresses: bool,
    /// Why a worker's rings are not held to the operations that the gateway uses; `None` when they
    /// are, or there are none.
    pub unrestricted: Option<String>,
    /// A worker makes no other ring that can do more (Linux 7.0).
    pub confines: bool,
}

impl Kernel {
    /// Its io_uring has all that the gateway uses.
    pub fn complete() -> Kernel {
        Kernel { addresses: true, source_addresses: true, ..Kernel::default() }
    }

    /// What connections go over has all that the gateway needs.
    pub fn over_epoll(refused: Option<String>) -> Kernel {
        Kernel { refused, epoll: true, ..Kernel::complete() }
    }
}

/// Everything that bounds connections. `None`: the host does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The kernel's release, as uname(2) says it.
    pub release: String,
    /// The features of its io_uring.
    pub kernel: Kernel,
    /// Limits of this process.
    pub process: Process,
    /// The limits that the whole machine shares.
    pub host: Host,
    /// The settings of the network namespace.
    pub network: Network,
    /// The limits of the control groups above this process.
    pub cgroup: Cgroup,
    /// Files that should be there and could not be read.
    pub unread: Vec<String>,
    /// Connections of gateways that drain: what they take will be free.
    #[serde(skip)]
    pub leaving_connections: u64,
}

/// Limits of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Soft RLIMIT_NOFILE.
    pub files_soft: u64,
    /// Hard RLIMIT_NOFILE.
    pub files_hard: u64,
    /// Hard RLIMIT_MEMLOCK; `None`: no limit, or CAP_IPC_LOCK lifts it.
    pub memlock_bytes: Option<u64>,
    /// Of that, what rings of the user's other processes hold.
    pub locked_elsewhere_bytes: u64,
    /// CAP_IPC_LOCK in the first user namespace: rings do not count against RLIMIT_MEMLOCK.
    pub ipc_lock: bool,
    /// CAP_SYS_RESOURCE or CAP_SYS_ADMIN in the first user namespace: fs.pipe-user-pages-soft does
    /// not bind.
    pub many_pipes: bool,
    /// Cores that the process may run on.
    pub cores: u32,
    /// 0 none, 1 strict, 2 a filter.
    pub seccomp: u8,
    /// It runs in a container, by its pid or user namespace or the runtime's marker.
    pub container: bool,
}

/// The limits that the whole machine shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// fs.nr_open: how far RLIMIT_NOFILE may be raised.
    pub nr_open: Option<u64>,
    /// fs.pipe-user-pages-soft: pages of all pipes of one user; 0 is no limit.
    pub pipe_user_pages: Option<u64>,
    /// fs.file-max.
    pub files_max: Option<u64>,
    /// Open files of everybody, the first figure of fs.file-nr.
    pub files_used: Option<u64>,
    /// fs.epoll.max_user_watches: sockets that one user may watch, over all epoll instances.
    pub epoll_watches: Option<u64>,
    /// MemAvailable.
    pub memory_available_bytes: Option<u64>,
    /// net.ipv4.tcp_mem in pages: low, pressure, max. Seen in the host's network namespace only.
    pub tcp_mem_pages: Option<[u64; 3]>,
    /// Pages that TCP holds now.
    pub tcp_mem_used_pages: Option<u64>,
    /// kernel.io_uring_disabled; absent before Linux 6.6.
    pub io_uring_disabled: Option<u8>,
    /// net.netfilter.nf_conntrack_max, where connection tracking is loaded.
    pub conntrack_max: Option<u64>,
}

/// The settings of the network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Whose it is.
    pub namespace: Namespace,
    /// net.core.somaxconn.
    pub somaxconn: Option<u32>,
    /// net.ipv4.tcp_max_syn_backlog.
    pub tcp_max_syn_backlog: Option<u64>,
    /// net.ipv4.tcp_syncookies.
    pub tcp_syncookies: Option<u8>,
    /// net.ipv4.tcp_tw_reuse.
    pub tcp_tw_reuse: Option<u8>,
    /// net.ipv4.tcp_migrate_req; absent before Linux 5.14.
    pub tcp_migrate_req: Option<u8>,
    /// net.ipv4.tcp_rmem in bytes: least, first, most.
    pub tcp_rmem_bytes: Option<[u64; 3]>,
    /// net.ipv4.tcp_wmem in bytes: least, first, most.
    pub tcp_wmem_bytes: Option<[u64; 3]>,
    /// net.ipv4.ip_local_port_range, first and last.
    pub ports: Option<(u16, u16)>,
    /// net.ipv4.ip_local_reserved_ports, as in `8080,9000-9100`.
    pub ports_reserved: String,
    /// Connections that are tracked now.
    pub conntrack_used: Option<u64>,
}

/// Whose network namespace it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// The host's.
    Host,
    /// One of a container, or made by hand.
    Own,
    /// /proc/sys/net is not there to tell.
    Unknown,
}

impl Network {
    /// How many reserved ports lie between two, themselves included.
    pub fn reserved_among(&self, (first, last): (u16, u16)) -> u64 {
        let (first, last) = (u64::from(first), u64::from(last));
        ranges(&self.ports_reserved)
            .map(|(from, to)| (from.max(first), to.min(last)))
            .filter(|(from, to)| from <= to)
            .map(|(from, to)| to - from + 1)
            .sum()
    }

    /// Whether a port is among the reserved ones.
    pub fn is_reserved(&self, port: u16) -> bool {
        self.reserved_among((port, port)) > 0
    }
}

impl Facts {
    /// Reads the host whose /proc and /sys stand below `root`.
    pub fn read(root: &Path, given: Given) -> Facts {
        let files = KernelFiles::below(root);
        let mut tree = Tree { files, unread: BTreeSet::new() };
        let process = process(files, &given);
        let host = host(&mut tree);
        let network = network(&mut tree);
        Facts {
            release: files.text("proc/sys/kernel/osrelease").unwrap_or_else(|| "(unknown)".into()),
            kernel: given.kernel,
            process,
            host,
            network,
            cgroup: Cgroup::read(files),
            unread: tree.unread.into_iter().map(str::to_owned).collect(),
            leaving_connections: given.leaving_connections,
        }
    }

    /// RLIMIT_NOFILE once the soft limit is raised as far as it may be.
    pub fn files_limit(&self) -> u64 {
        self.process.files_hard.min(self.host.nr_open.unwrap_or(u64::MAX))
    }

    /// Cores by affinity and quota, at least one.
    pub fn cores(&self) -> u32 {
        let quota = self
            .cgroup
            .cpu_quota_thousandths
            .map_or(u32::MAX, |quota| u32::try_from(quota / 1000).unwrap_or(u32::MAX));
        self.process.cores.min(quota).max(1)
    }
}

/// The files of the kernel, and which of them should be there and could not be read.
struct Tree<'a> {
    files: KernelFiles<'a>,
    unread: BTreeSet<&'static str>,
}

impl Tree<'_> {
    /// The numbers of a file that should be there.
    fn numbers<const N: usize>(&mut self, path: &'static str) -> Option<[u64; N]> {
        let numbers = self.files.numbers(path);
        if numbers.is_none() {
            self.unread.insert(path);
        }
        numbers
    }

    fn number<T: TryFrom<u64>>(&mut self, path: &'static str) -> Option<T> {
        let [number] = self.numbers(path)?;
        T::try_from(number).ok()
    }
}

fn process(files: KernelFiles<'_>, given: &Given) -> Process {
    let status = files.text("proc/self/status").unwrap_or_default();
    let field = |key: &str| field(&status, key);
    let links_to = |path: &str, target: &str| files.link(path).map(|link| link == target);
    let capabilities = field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let first_user = links_to("proc/self/ns/user", FIRST_USER_NAMESPACE).unwrap_or(true);
    let first_pid = links_to("proc/self/ns/pid", FIRST_PID_NAMESPACE);
    let marked = ["run/.containerenv", ".dockerenv"].iter().any(|m| files.path(m).exists());
    let has_one_of = |bits| first_user && capabilities.is_some_and(|all| all & bits != 0);
    let ipc_lock = has_one_of(CAP_IPC_LOCK);
    let memlock_bytes = given.memlock_bytes.1;
    Process {
        files_soft: given.files.0,
        files_hard: given.files.1,
        memlock_bytes: Some(memlock_bytes).filter(|&bytes| !ipc_lock && bytes != u64::MAX),
        locked_elsewhere_bytes: given.locked_elsewhere_bytes,
        ipc_lock,
        many_pipes: has_one_of(CAP_SYS_RESOURCE | CAP_SYS_ADMIN),
        cores: field("Cpus_allowed_list:")
            .map_or(1, |list| ranges(list).map(|(a, b)| b - a + 1).sum()) as u32,
        seccomp: field("Seccomp:").and_then(|mode| mode.parse().ok()).unwrap_or(0),
        container: !first_user || first_pid.map_or(marked, |first| !first),
    }
}

fn host(tree: &mut Tree<'_>) -> Host {
    let file_nr: Option<[u64; 3]> = tree.numbers("proc/sys/fs/file-nr");
    let files = tree.files;
    let available = files
        .field("proc/meminfo", "MemAvailable:")
        .and_then(|line| numbers(&line).map(|[kib]: [u64; 1]| kib << 10));
    if available.is_none() {
        tree.unread.insert("proc/meminfo");
    }
    let tcp = files
        .field("proc/net/sockstat", "TCP:")
        .and_then(|line| numbers(line.split_once(" mem ")?.1).map(|[pages]: [u64; 1]| pages));
    Host {
        nr_open: tree.number("proc/sys/fs/nr_open"),
        pipe_user_pages: files.word("proc/sys/fs/pipe-user-pages-soft"),
        files_max: file_nr.map(|[_, _, max]| max),
        files_used: file_nr.map(|[used, _, _]| used),
        epoll_watches: files.word("proc/sys/fs/epoll/max_user_watches"),
        memory_available_bytes: available,
        tcp_mem_pages: files.numbers("proc/sys/net/ipv4/tcp_mem"),
        tcp_mem_used_pages: tcp,
        io_uring_disabled: files.word("proc/sys/kernel/io_uring_disabled"),
        conntrack_max: files.word("proc/sys/net/netfilter/nf_conntrack_max"),
    }
}

fn network(tree: &mut Tree<'_>) -> Network {
    let files = tree.files;
    let ports = tree.numbers("proc/sys/net/ipv4/ip_local_port_range").and_then(|[from, to]| {
        Some((u16::try_from(from).ok()?, u16::try_from(to).ok().filter(|&to| to >= from as u16)?))
    });
    let reserved = files.text("proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let somaxconn = tree.number("proc/sys/net/core/somaxconn");
    // Global figures of TCP are shown to the host's namespace alone (net/ipv4/sysctl_net_ipv4.c).
    let global = files.path("proc/sys/net/ipv4/tcp_mem").exists();
    let namespace = match (global, somaxconn) {
        (true, _) => Namespace::Host,
        (false, Some(_)) => Namespace::Own,
        (false, None) => Namespace::Unknown,
    };
    Network {
        namespace,
        somaxconn,
        tcp_max_syn_backlog: tree.number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
        // Absent in a kernel without CONFIG_SYN_COOKIES.
        tcp_syncookies: files.word("proc/sys/net/ipv4/tcp_syncookies"),
        tcp_tw_reuse: tree.number("proc/sys/net/ipv4/tcp_tw_reuse"),
        tcp_migrate_req: files.word("proc/sys/net/ipv4/tcp_migrate_req"),
        tcp_rmem_bytes: tree.numbers("proc/sys/net/ipv4/tcp_rmem"),
        tcp_wmem_bytes: tree.numbers("proc/sys/net/ipv4/tcp_wmem"),
        ports,
        ports_reserved: reserved,
        conntrack_used: files.word("proc/sys/net/netfilter/nf_conntrack_count"),
    }
}

/// The ranges of `0-3,7`, ends included.
fn ranges(list: &str) -> impl Iterator<Item = (u64, u64)> {
    list.split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (from <= to).then_some((from, to))
    })
}
