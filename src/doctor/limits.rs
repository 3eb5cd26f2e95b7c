//! The rules: what each thing on the host and in the config allows, with its arithmetic.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::limit::{Force, Kind, Limit, Scope};
use super::shape::{Means, WORKER_CONNECTIONS_MAX};
use super::words::{count, size, thousands};
use crate::base::limits;
use crate::config::{AccessPath, Auto, Config};
use crate::host::facts::Facts;

/// Kernel memory of one established TCP socket, in slab, on Linux 6.18: 3,860 bytes, and a poll
/// armed on it 260.
const SOCKET_BYTES: u64 = 3_860 + 260;
/// Our own memory per connection.
const ENTRY_BYTES: u64 = limits::CONN_BYTES_MAX as u64;
/// The same of each of its sides that speaks TLS.
const TLS_SESSION_BYTES: u64 = limits::TLS_SESSION_BYTES as u64;
/// Memory of a worker's expanded keys of TLS, at most.
const TLS_AWAKE_BYTES: u64 = (limits::TLS_AWAKE_MAX * limits::TLS_AWAKE_BYTES) as u64;
/// Memory of its records that are not whole, at most.
const TLS_GATHERED_BYTES: u64 = limits::TLS_GATHERED_MAX as u64;
/// Memory of a handshake under way.
const TLS_HANDSHAKE_BYTES: u64 = limits::TLS_HANDSHAKE_BYTES as u64;
/// Memory of one line of the access log that waits to be written.
const ACCESS_LINE_BYTES: u64 = limits::ACCESS_LINE_BYTES as u64;
/// Open files that the rest of the host keeps to itself.
pub const FILES_RESERVED: u64 = 4_096;
/// The most clients that a config file may ask for.
pub const CONNECTIONS_MAX: u64 = limits::CONNECTIONS_MAX as u64;
/// The memory assumed where the host does not say how much it has.
const MEMORY_ASSUMED_BYTES: u64 = 1 << 30;
/// Ports of an address that a client may connect from: all but 0.
pub const CLIENT_PORTS: u64 = 65_535;
/// Of a hundred bytes that are free, what `memory_limit = "auto"` gives to connections.
pub(super) const MEMORY_PERCENT: u64 = 80;

/// Every limit, those that bind first, the tightest first.
pub(super) fn limits(
    facts: &Facts,
    config: &Config,
    means: &Means,
    ports_bind: bool,
) -> Vec<Limit> {
    let mut limits = vec![workers(means), descriptors(means)];
    limits.extend(buffers(means));
    limits.extend(kernel(facts, config));
    limits.extend(memlock(facts, means));
    limits.extend(files(facts, means));
    limits.extend(watches(facts, means));
    limits.extend(memory(facts, config, means));
    limits.extend(source_ports(facts, config, ports_bind));
    limits.extend(client_ports(config));
    limits.extend(conntrack(facts, means));
    limits.extend(tcp_mem(facts));
    limits.sort_by_key(|limit| (limit.force, limit.connections, limit.kind));
    limits
}

fn kernel(facts: &Facts, config: &Config) -> Option<Limit> {
    let has_source = config.upstreams.iter().any(|upstream| !upstream.sources.is_empty());
    let why = match &facts.kernel.refused {
        Some(why) if !facts.kernel.epoll => why.clone(),
        _ if has_source && !facts.kernel.source_addresses => format!(
            "source_addresses needs Linux 6.11, this is {}: remove it, or run a newer kernel",
            facts.release
        ),
        _ => return None,
    };
    Some(Limit::hard(Kind::Kernel, "io_uring", Scope::Host, 0, why))
}

fn workers(means: &Means) -> Limit {
    let all = u64::from(means.workers) * WORKER_CONNECTIONS_MAX;
    let because = format!(
        "min({} × {} each, {} in all)",
        count(means.workers.into(), "worker"),
        thousands(WORKER_CONNECTIONS_MAX),
        thousands(CONNECTIONS_MAX)
    );
    Limit::hard(Kind::Workers, "gateway.workers", Scope::Config, all.min(CONNECTIONS_MAX), because)
}

fn descriptors(means: &Means) -> Limit {
    if means.epoll {
        return sockets(means);
    }
    let rings = means.rings_by_descriptors();
    let because = format!(
        "{} × {} ({} descriptors − {} reserved − {} to be woken by − {} \
         listening − {} to drain with − {} of locks) × {} each ({} slots / {})",
        count(means.workers.into(), "worker"),
        count(rings, "ring"),
        thousands(means.descriptors),
        means.reserved(),
        means.workers,
        thousands(means.listening()),
        thousands(means.listening()),
        thousands(means.locks()),
        thousands(means.per_ring()),
        thousands(means.table_entries.into()),
        means.sides
    );
    Limit::hard(Kind::Descriptors, "RLIMIT_NOFILE", Scope::Process, means.held_by(rings), because)
}

/// Over epoll each socket is a descriptor of the process.
fn sockets(means: &Means) -> Limit {
    let of_refused = match means.refused_sockets() {
        0 => String::new(),
        sockets => format!(" − {} of clients reset at the limit", thousands(sockets)),
    };
    let because = format!(
        "({} descriptors − {} reserved − {} to be woken by − {} of epoll − {} listening − {} to \
         drain with − {} of locks{of_refused}) / {} a connection, over epoll",
        thousands(means.descriptors),
        means.reserved(),
        means.workers,
        means.workers,
        thousands(means.listening()),
        thousands(means.listening()),
        thousands(means.locks()),
        count(means.sides.into(), "socket")
    );
    let held = means.held_by_descriptors();
    Limit::hard(Kind::Descriptors, "RLIMIT_NOFILE", Scope::Process, held, because)
}

fn buffers(means: &Means) -> Option<Limit> {
    if means.epoll {
        return None;
    }
    let rings = means.rings_by_buffers();
    let because = format!(
        "{} × {} ({} buffers / 2 each) × {} each",
        count(means.workers.into(), "worker"),
        count(rings, "ring"),
        thousands(means.buffer_count),
        thousands(means.per_ring())
    );
    let held = means.held_by(rings);
    Some(Limit::hard(Kind::Buffers, "ring.buffer_count", Scope::Config, held, because))
}

fn memlock(facts: &Facts, means: &Means) -> Option<Limit> {
    let bytes = facts.process.memlock_bytes.filter(|_| !means.epoll)?;
    let elsewhere = facts.process.locked_elsewhere_bytes;
    let held = means.held_by_locked(bytes.saturating_sub(elsewhere));
    let rings = means.shape(held).rings_per_worker;
    let of_others = match elsewhere {
        0 => String::new(),
        _ => format!(" − {} of this user's other processes", size(elsewhere)),
    };
    let because = format!(
        "{} of locked memory without CAP_IPC_LOCK{of_others}; {} of {} need {}",
        size(bytes),
        count(means.workers.into(), "worker"),
        count(rings.max(1).into(), "ring"),
        size(means.locked_bytes(held.max(1)))
    );
    Some(Limit::hard(Kind::Memlock, "RLIMIT_MEMLOCK", Scope::Process, held, because))
}

fn files(facts: &Facts, means: &Means) -> Option<Limit> {
    let (max, used) = (facts.host.files_max?, facts.host.files_used?);
    let pipes = means.pipe_files();
    let leaving = facts.leaving_connections * u64::from(means.sides);
    let free = max.saturating_sub(used).saturating_add(leaving);
    let free = free.saturating_sub(FILES_RESERVED + pipes);
    let of_pipes = match pipes {
        0 => String::new(),
        _ => format!(" − {} of pipes", thousands(pipes)),
    };
    let because = format!(
        "({} − {} in use{} − {} reserved{of_pipes}) / {} each",
        thousands(max),
        thousands(used),
        given_back(leaving, thousands(leaving)),
        thousands(FILES_RESERVED),
        count(means.sides.into(), "file")
    );
    let held = free / u64::from(means.sides);
    Some(Limit::hard(Kind::Files, "fs.file-max", Scope::Host, held, because))
}

/// Over epoll each socket, and each worker's waker, is watched. What the user's other processes
/// watch, nobody says.
fn watches(facts: &Facts, means: &Means) -> Option<Limit> {
    let most = facts.host.epoll_watches.filter(|_| means.epoll)?;
    let taken = means.listening() + u64::from(means.workers) + means.refused_sockets();
    let because = format!(
        "({} watches of this user's processes − {} of listeners, wakers and clients reset at the \
         limit) / {} a connection, over epoll",
        thousands(most),
        thousands(taken),
        count(means.sides.into(), "socket")
    );
    let held = most.saturating_sub(taken) / u64::from(means.sides);
    Some(Limit::hard(Kind::Watches, "fs.epoll.max_user_watches", Scope::Host, held, because))
}

/// Memory of one idle connection, of the kernel and ours.
pub(super) fn connection_bytes(means: &Means) -> u64 {
    let beside = means.beside_bytes + means.tls_sides * TLS_SESSION_BYTES;
    u64::from(means.sides) * SOCKET_BYTES + ENTRY_BYTES + beside
}

/// Memory of one worker's sessions that are awake, and of its handshakes.
fn tls_bytes(means: &Means) -> u64 {
    let sessions = if means.tls_sides > 0 { TLS_AWAKE_BYTES + TLS_GATHERED_BYTES } else { 0 };
    sessions + means.handshakes * TLS_HANDSHAKE_BYTES
}

/// Memory of all workers' buffers, full pipes, queues for the access log, handshakes and sessions
/// that are awake.
pub(super) fn buffers_bytes(config: &Config, means: &Means) -> u64 {
    let buffer_bytes = config.ring.buffer_bytes + limits::ROOM_BEFORE + limits::ROOM_BEHIND;
    let buffers = means.buffer_count * u64::from(buffer_bytes);
    let each = buffers + access_log_bytes(config) + tls_bytes(means);
    u64::from(means.workers) * each + means.pipe_bytes()
}

/// Memory of one worker's queue for the access log.
fn access_log_bytes(config: &Config) -> u64 {
    match config.access_log.path {
        AccessPath::Off => 0,
        _ => u64::from(config.access_log.queue_lines) * ACCESS_LINE_BYTES,
    }
}

/// Words of what gateways that drain give back, where there are any.
fn given_back(amount: u64, words: String) -> String {
    if amount == 0 { String::new() } else { format!(" + {words} of a gateway that drains") }
}

/// Memory that buffers, pipes and connections may take together.
pub(super) fn memory_bytes(facts: &Facts, config: &Config, means: &Means) -> u64 {
    let (percent, leaving) = memory_share(facts, config, means);
    let of_host = facts.host.memory_available_bytes.unwrap_or(MEMORY_ASSUMED_BYTES);
    let of_cgroup = facts.cgroup.memory_bytes.as_ref().map_or(u64::MAX, |room| room.free());
    of_host.min(of_cgroup).saturating_add(leaving) / 100 * percent
}

/// Of the free memory so many percent, and bytes that gateways that drain give back.
fn memory_share(facts: &Facts, config: &Config, means: &Means) -> (u64, u64) {
    // A fixed limit replaces the share of what is free that "auto" takes, not what is there.
    let percent = match config.gateway.memory_limit {
        Auto::Auto => MEMORY_PERCENT,
        Auto::Fixed(_) => 100,
    };
    (percent, facts.leaving_connections * connection_bytes(means))
}

fn memory(facts: &Facts, config: &Config, means: &Means) -> Vec<Limit> {
    let each = connection_bytes(means);
    let buffers = buffers_bytes(config, means);
    let each_words = format!("{} bytes each", thousands(each));
    let has = (means.splice_pipes > 0, access_log_bytes(config) > 0, tls_bytes(means) > 0);
    let name = match has {
        (false, false, false) => "buffers",
        (true, false, false) => "buffers and pipes",
        (false, true, false) => "buffers and access log",
        (true, true, false) => "buffers, pipes and access log",
        (false, false, true) => "buffers and TLS",
        (true, false, true) => "buffers, pipes and TLS",
        (false, true, true) => "buffers, access log and TLS",
        (true, true, true) => "buffers, pipes, access log and TLS",
    };
    let fixed = match config.gateway.memory_limit {
        Auto::Auto => None,
        Auto::Fixed(bytes) => Some(bytes),
    };
    let (percent, leaving) = memory_share(facts, config, means);
    let held = |free: u64| ((free + leaving) / 100 * percent).saturating_sub(buffers) / each;
    let because = |free: u64, what: String| {
        let (free, buffers) = (size(free), size(buffers));
        let all = format!("{free} {what}{}", given_back(leaving, size(leaving)));
        format!("({percent} % of {all} − {buffers} {name}) / {each_words}")
    };
    let (available, what) = match facts.host.memory_available_bytes {
        Some(bytes) => (bytes, "available"),
        None => (MEMORY_ASSUMED_BYTES, "assumed, as /proc/meminfo cannot be read"),
    };
    let mut limits = vec![Limit::hard(
        Kind::HostMemory,
        "memory",
        Scope::Host,
        held(available),
        because(available, what.into()),
    )];
    limits.extend(facts.cgroup.memory_bytes.as_ref().map(|room| {
        let what = format!("free of {} in {}", size(room.limit), room.file);
        let because = because(room.free(), what);
        Limit::hard(
            Kind::CgroupMemory,
            "memory of the cgroup",
            Scope::Container,
            held(room.free()),
            because,
        )
    }));
    limits.extend(fixed.map(|bytes| {
        let because = format!("{} / {each_words}", size(bytes));
        Limit::hard(Kind::MemoryLimit, "gateway.memory_limit", Scope::Config, bytes / each, because)
    }));
    limits
}

/// The pairs of source and server that connections are spread over, and whether all connections
/// go to servers.
pub(super) fn pairs(config: &Config) -> (BTreeSet<(Option<IpAddr>, SocketAddr)>, bool) {
    let mut pairs = BTreeSet::new();
    let mut all = true;
    for listener in &config.listeners {
        let upstream = &config.upstreams[listener.upstream];
        match upstream.set() {
            // What the resolver or somebody else knows is not known here.
            Some(set) => {
                all &= !set.servers.is_empty() && set.names.is_empty();
                for one in &set.servers {
                    let sources: Vec<_> = upstream.sources_for(one.address).map(Some).collect();
                    let sources = if sources.is_empty() { vec![None] } else { sources };
                    pairs.extend(sources.into_iter().map(|source| (source, one.address)));
                }
            }
            None => all = false,
        }
    }
    (pairs, all)
}

/// Ports bind where a number is looked for. One that somebody wrote into the config stands: more
/// servers may come, and clients for whom there is no port wait.
fn source_ports(facts: &Facts, config: &Config, bind: bool) -> Option<Limit> {
    let (pairs, all) = pairs(config);
    let (first, last) = facts.network.ports.filter(|_| !pairs.is_empty())?;
    let reserved = facts.network.reserved_among((first, last));
    let ports = (u64::from(last) - u64::from(first) + 1).saturating_sub(reserved);
    let of_them = if all { "" } else { ", of those to servers" };
    let because = format!(
        "{} ports ({first} to {last}, {} reserved) × {} of source and server{of_them}",
        thousands(ports),
        thousands(reserved),
        count(pairs.len() as u64, "pair")
    );
    let force = if all && bind { Force::Hard } else { Force::Advisory };
    let held = ports * pairs.len() as u64;
    let scope = Scope::of_network(facts);
    Some(Limit { force, ..Limit::hard(Kind::SourcePorts, "source ports", scope, held, because) })
}

/// A connection is named by both addresses and both ports, so clients behind one address, as of a
/// NAT or a balancer, are bounded by its ports at each of ours.
fn client_ports(config: &Config) -> Option<Limit> {
    let ours: usize = config.listeners.iter().map(|one| one.bind.len()).sum();
    let because = format!(
        "{} ports of one client address × {} of ours; a balancer or a NAT in front has one \
         address, every other client one of its own",
        thousands(CLIENT_PORTS),
        if ours == 1 {
            "1 address and port".to_owned()
        } else {
            format!("{ours} addresses and ports")
        },
    );
    let held = CLIENT_PORTS * ours as u64;
    let limit = Limit::hard(Kind::ClientPorts, "client ports", Scope::Config, held, because);
    (ours > 0).then_some(Limit { force: Force::Advisory, ..limit })
}

/// Whether the gateway's connections are tracked at all, no file says: firewall rules decide.
fn conntrack(facts: &Facts, means: &Means) -> Option<Limit> {
    let max = facts.host.conntrack_max?;
    let used = facts.network.conntrack_used.unwrap_or(0);
    let tracked = match used {
        0 => "nothing is tracked now, so it does not matter unless rules change",
        _ => "if ours are tracked too; beyond it new ones are dropped",
    };
    let because = format!(
        "({} − {} in use) / {} each; {tracked}",
        thousands(max),
        thousands(used),
        means.sides
    );
    let held = max.saturating_sub(used) / u64::from(means.sides);
    let limit = Limit::hard(Kind::Conntrack, "nf_conntrack_max", Scope::Host, held, because);
    Some(Limit { force: Force::Advisory, ..limit })
}

/// An idle socket charges nothing to tcp_mem; one with a byte or a FIN queued at least a page.
fn tcp_mem(facts: &Facts) -> Option<Limit> {
    let [_, _, max] = facts.host.tcp_mem_pages?;
    let used = facts.host.tcp_mem_used_pages.unwrap_or(0);
    let because = format!(
        "({} − {} pages in use) / 1 for a connection with bytes or a FIN queued; idle ones take \
         none; beyond it TCP drops what comes in",
        thousands(max),
        thousands(used)
    );
    let limit =
        Limit::hard(Kind::TcpMem, "tcp_mem", Scope::Host, max.saturating_sub(used), because);
    Some(Limit { force: Force::Advisory, ..limit })
}
