//! Settings that do not limit capacity but affect the quality of service.

use super::check::{Check, Verdict};
use super::limit::Scope;
use super::limits::{buffers_bytes, connection_bytes, pairs};
use super::remedy::{Remedy, reserve_ports};
use super::shape::{Means, Shape};
use super::words::{count, size, thousands};
use crate::base::limits;
use crate::config::{Auto, Config, Listener};
use crate::host::facts::{Facts, Kernel};

/// Threads beside the workers: the control plane, the log, and the kernel's own for each worker.
const OTHER_THREADS: u64 = 16;
/// The default of `net.core.somaxconn` since Linux 5.4, for hosts where it cannot be read.
const SOMAXCONN: u32 = 4096;
/// Seconds that a closed connection keeps its source port (TCP_TIMEWAIT_LEN).
const TIME_WAIT_SECONDS: u64 = 60;

/// How many completed handshakes may wait at one passive socket of `listener`.
pub fn effective_backlog(facts: &Facts, listener: &Listener) -> u32 {
    listener.sockets.asked_backlog().min(facts.network.somaxconn.unwrap_or(SOMAXCONN))
}

/// Every check that applies, in one fixed order.
pub(super) fn checks(
    facts: &Facts,
    config: &Config,
    means: &Means,
    (held, shape): (u64, Shape),
) -> Vec<Check> {
    let mut checks = kernel(facts);
    checks.extend(descriptors(facts));
    checks.extend(batch_wait(facts, config));
    checks.push(upgrade(facts, config, means, held));
    checks.push(cores(facts, config, means));
    checks.extend(threads(facts, means));
    checks.extend(pipes(facts, config, means, shape));
    checks.extend(config.listeners.iter().map(|listener| backlog(facts, listener, means)));
    checks.extend(cut_backlogs(facts, config));
    checks.extend(handshakes(facts));
    checks.extend(socket_buffers(facts));
    checks.extend(listener_ports(facts, config));
    checks.extend(time_wait(facts, config));
    if !facts.unread.is_empty() {
        let says = "these cannot be read, so what they bound is not known here";
        checks.push(Check::new("unread", facts.unread.join(" "), Verdict::Warning, says));
    }
    checks
}

fn kernel(facts: &Facts) -> Vec<Check> {
    let (verdict, says) = match (&facts.kernel.refused, facts.kernel.addresses) {
        (Some(_), _) if facts.kernel.epoll => (Verdict::Note, "io_uring cannot be used"),
        (Some(_), _) => (Verdict::Warning, "io_uring cannot be used: see the limit of that name"),
        (None, true) if facts.kernel.epoll => (Verdict::Good, "epoll has what the gateway needs"),
        (None, true) => (Verdict::Good, "io_uring has what the gateway needs"),
        (None, false) => (Verdict::Note, "logs name a connection's addresses from Linux 6.8 on"),
    };
    let mut checks = vec![Check::new("kernel", facts.release.clone(), verdict, says)];
    checks.extend(over_epoll(facts));
    if facts.kernel.epoll && facts.kernel.refused.is_none() {
        // The config asks for epoll: nobody has tried io_uring.
        return checks;
    }
    if let Some(value @ 1..) = facts.host.io_uring_disabled {
        checks.push(Check::good_or(
            facts.kernel.refused.is_none(),
            "kernel.io_uring_disabled",
            value.to_string(),
            ["this user is one of the few who may use io_uring", "io_uring is forbidden"],
            Remedy::sysctl("kernel.io_uring_disabled", "0", Scope::Host),
        ));
    }
    checks.extend(restrictions(facts));
    if facts.process.seccomp == 2 {
        let says = match facts.kernel.refused {
            Some(_) => "a filter is active: it must allow io_uring_setup, _enter and _register",
            None => "a filter is active and lets io_uring through",
        };
        checks.push(Check::new("seccomp", "2".into(), Verdict::Note, says));
    }
    checks
}

/// What code that gained control of a worker could do through its ring.
fn restrictions(facts: &Facts) -> Option<Check> {
    let Kernel { refused, epoll, unrestricted, confines, .. } = &facts.kernel;
    if *epoll || refused.is_some() {
        return None;
    }
    let check = |value: &str, verdict, says| {
        Some(Check::new("operations of rings", value.to_owned(), verdict, says))
    };
    let Some(why) = unrestricted else {
        return if *confines {
            let says = "no ring that a worker has or could make can do what the gateway does not";
            check("restricted by thread", Verdict::Good, says)
        } else {
            let says = "a worker's ring can do nothing that the gateway does not do with it";
            check("restricted by ring", Verdict::Good, says)
        };
    };
    let says = "a worker's ring can do all that io_uring can, also what a seccomp filter refuses";
    let remedy = format!(
        "io_uring_register refuses IORING_REGISTER_RESTRICTIONS or IORING_REGISTER_ENABLE_RINGS \
         ({why}): allow both (config/host/seccomp.json does)"
    );
    let remedies = vec![Remedy::Words(remedy)];
    Some(Check { remedies, ..check("any", Verdict::Warning, says)? })
}

/// The second choice, and what it costs.
fn over_epoll(facts: &Facts) -> Option<Check> {
    let check = |verdict, says: &str| Check::new("gateway.io", "epoll".to_owned(), verdict, says);
    match &facts.kernel.refused {
        _ if !facts.kernel.epoll => None,
        None => {
            let says = "the config asks for it: each socket takes a descriptor, so RLIMIT_NOFILE \
                        bounds all connections together";
            Some(check(Verdict::Note, says))
        }
        Some(why) => {
            let says = "io_uring cannot be used, so connections go over epoll: each costs more, \
                        and RLIMIT_NOFILE bounds all of them together";
            let remedies = vec![Remedy::Words(why.clone())];
            Some(Check { remedies, ..check(Verdict::Warning, says) })
        }
    }
}

/// A key that has nothing to act on there.
fn batch_wait(facts: &Facts, config: &Config) -> Option<Check> {
    let wait = config.ring.batch_wait.filter(|_| facts.kernel.epoll)?;
    let says = "over epoll no completions are waited for in batches: it is without effect";
    let remedies = vec![Remedy::Words("remove ring.batch_wait".to_owned())];
    let check = Check::new("ring.batch_wait", format!("{wait:?}"), Verdict::Warning, says);
    Some(Check { remedies, ..check })
}

fn descriptors(facts: &Facts) -> Vec<Check> {
    let (soft, hard) = (facts.process.files_soft, facts.process.files_hard);
    let value = format!("{} soft, {} hard", thousands(soft), thousands(hard));
    let says = match facts.files_limit() {
        limit if limit < hard => format!("fs.nr_open lets it be raised to {}", thousands(limit)),
        _ if soft < hard => "the gateway raises the soft limit to the hard one".to_owned(),
        _ => "it bounds one ring's table, and a worker drives several rings".to_owned(),
    };
    let locked = match facts.process.memlock_bytes {
        Some(bytes) => (
            size(bytes),
            "the rings of all this user's processes count against it; CAP_IPC_LOCK would lift it",
        ),
        None if facts.process.ipc_lock => ("CAP_IPC_LOCK".into(), "rings do not count against it"),
        None => ("unlimited".into(), "rings may take what they need"),
    };
    vec![
        Check::new("RLIMIT_NOFILE", value, Verdict::Good, says),
        Check::new("RLIMIT_MEMLOCK", locked.0, Verdict::Good, locked.1),
    ]
}

/// What a successor needs beside this process, with so many connections held.
fn upgrade(facts: &Facts, config: &Config, means: &Means, held: u64) -> Check {
    let memory = buffers_bytes(config, means) + held * limits::UPGRADE_BYTES as u64;
    let locked = means.locked_bytes(held);
    let (name, value) = ("an upgrade", format!("{} more, {} locked", size(memory), size(locked)));
    let ours = buffers_bytes(config, means) + held * connection_bytes(means);
    let free = facts.host.memory_available_bytes.map(|free| free.saturating_sub(ours));
    if let Some(free) = free.filter(|free| *free < memory) {
        let says = format!("{} are free beside this process: it may be refused", size(free));
        return Check::new(name, value, Verdict::Note, says);
    }
    let both = 2 * locked + facts.process.locked_elsewhere_bytes;
    match facts.process.memlock_bytes {
        Some(bytes) if bytes < both => {
            let says = format!("it needs RLIMIT_MEMLOCK of {}, and is refused here", size(both));
            Check::new(name, value, Verdict::Note, says)
        }
        _ => Check::new(name, value, Verdict::Good, "there is room for a successor beside this"),
    }
}

/// Where less is spliced than the config asks for.
fn pipes(facts: &Facts, config: &Config, means: &Means, shape: Shape) -> Option<Check> {
    let (asked, had) = (config.ring.splice_pipes, shape.pipes_per_worker);
    if asked == 0 || means.sides == 1 {
        return None;
    }
    let value = format!("{had} of {asked} pipes a worker");
    let note = |says: &str| Check::new("ring.splice_pipes", value, Verdict::Note, says);
    if facts.kernel.refused.is_none() && !facts.kernel.addresses {
        return Some(note("bulk is copied before Linux 6.8"));
    }
    if means.splice_pipes < u64::from(asked) && facts.kernel.addresses {
        return Some(note("the bulk of other connections is copied, for want of memory"));
    }
    if u64::from(had) < means.splice_pipes {
        let files = means.descriptors_for_pipes(shape);
        let says = format!(
            "the bulk of other connections is copied, for want of descriptors: raise RLIMIT_NOFILE \
             to {}",
            thousands(files)
        );
        return Some(Check { remedies: Remedy::descriptors(facts, files), ..note(&says) });
    }
    let (may, want) = (facts.host.pipe_user_pages?, means.pipe_pages());
    if facts.process.many_pipes || may == 0 || want <= may {
        return None;
    }
    let says = format!(
        "the pipes of all this user's processes may hold {} pages and ours {}: bulk that finds \
         none is copied; raise fs.pipe-user-pages-soft",
        thousands(may),
        thousands(want)
    );
    let remedy = Remedy::sysctl("fs.pipe-user-pages-soft", &want.to_string(), Scope::Host);
    Some(Check { remedies: vec![remedy], ..note(&says) })
}

fn cores(facts: &Facts, config: &Config, means: &Means) -> Check {
    let value = count(facts.process.cores.into(), "core");
    let workers = count(means.workers.into(), "worker");
    let (verdict, says) = match facts.cgroup.cpu_quota_thousandths {
        Some(quota) if quota < u64::from(facts.process.cores) * 1000 => {
            let (whole, tenths) = (quota / 1000, quota % 1000 / 100);
            (Verdict::Note, format!("the cgroup's quota is {whole}.{tenths} of them: {workers}"))
        }
        _ if means.workers < facts.cores() && config.gateway.workers == Auto::Auto => {
            (Verdict::Note, format!("memory and descriptors suffice for {workers}"))
        }
        _ if means.workers > facts.process.cores => {
            (Verdict::Note, format!("{workers} take turns on them"))
        }
        _ => (Verdict::Good, workers),
    };
    Check::new("cores", value, verdict, says)
}

fn threads(facts: &Facts, means: &Means) -> Option<Check> {
    let room = facts.cgroup.tasks.as_ref()?;
    let needed = OTHER_THREADS + 9 * u64::from(means.workers);
    Some(Check::good_or(
        room.free() >= needed,
        "tasks of the cgroup",
        format!("{} free of {}", thousands(room.free()), thousands(room.limit)),
        ["enough for the workers and the kernel's threads", "workers may fail to start"],
        Remedy::unit("TasksMax", &(room.used + needed).to_string(), None),
    ))
}

fn backlog(facts: &Facts, listener: &Listener, means: &Means) -> Check {
    let effective = effective_backlog(facts, listener);
    let sockets = u64::from(means.workers) * listener.bind.len() as u64;
    let mut says = format!(
        "{} may wait at each of {}, {} in all",
        count(effective.into(), "client"),
        count(sockets, "passive socket"),
        thousands(sockets * u64::from(effective))
    );
    let (value, asked) = match listener.sockets.backlog {
        Auto::Auto => ("auto".to_owned(), effective),
        Auto::Fixed(clients) => (clients.to_string(), clients),
    };
    let is_cut = effective < asked;
    if is_cut {
        says += &format!("; net.core.somaxconn cuts it from {}", thousands(asked.into()));
    }
    let verdict = if is_cut { Verdict::Note } else { Verdict::Good };
    Check::new(&format!("backlog of {}", listener.name), value, verdict, says)
}

/// One warning for all listeners whose backlog somebody has chosen and the kernel cuts.
fn cut_backlogs(facts: &Facts, config: &Config) -> Option<Check> {
    let cut = config.listeners.iter().filter_map(|listener| match listener.sockets.backlog {
        Auto::Fixed(asked) if effective_backlog(facts, listener) < asked => Some((listener, asked)),
        _ => None,
    });
    let (listeners, asked): (Vec<&Listener>, Vec<u32>) = cut.unzip();
    let most = asked.into_iter().max()?;
    let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    let says = format!("it cuts the backlog of {}", names.join(", "));
    let name = "net.core.somaxconn";
    let value = facts.network.somaxconn.map_or_else(|| "unknown".into(), |it| it.to_string());
    let remedies = vec![Remedy::backlog(facts, most.into())];
    Some(Check { remedies, ..Check::new(name, value, Verdict::Warning, says) })
}

fn handshakes(facts: &Facts) -> Vec<Check> {
    let scope = Scope::of_network(facts);
    let mut checks = Vec::new();
    if let (Some(cookies), Some(syns)) =
        (facts.network.tcp_syncookies, facts.network.tcp_max_syn_backlog)
    {
        let lost = format!(
            "without cookies a burst of more than {} unfinished handshakes loses SYNs",
            thousands(syns)
        );
        checks.push(Check::good_or(
            cookies > 0,
            "net.ipv4.tcp_syncookies",
            cookies.to_string(),
            ["a burst of SYNs beyond the backlog is answered with cookies", &lost],
            Remedy::sysctl("net.ipv4.tcp_syncookies", "1", scope),
        ));
        checks.push(Check::new(
            "net.ipv4.tcp_max_syn_backlog",
            syns.to_string(),
            Verdict::Good,
            if cookies > 0 { "not in force beside cookies" } else { "in force without cookies" },
        ));
    }
    checks.extend(facts.network.tcp_migrate_req.map(|migrate| match migrate {
        0 => {
            let says = "a passive socket that closes resets the clients that wait in its backlog";
            let name = "net.ipv4.tcp_migrate_req";
            let remedies = vec![Remedy::sysctl(name, "1", scope)];
            Check { remedies, ..Check::new(name, "0".into(), Verdict::Note, says) }
        }
        set => {
            let says = "clients that wait at a closing passive socket move to another of its group";
            Check::new("net.ipv4.tcp_migrate_req", set.to_string(), Verdict::Good, says)
        }
    }));
    checks
}

fn socket_buffers(facts: &Facts) -> Option<Check> {
    let ([_, _, rmem], [_, _, wmem]) =
        (facts.network.tcp_rmem_bytes?, facts.network.tcp_wmem_bytes?);
    let says = format!(
        "a connection whose reader stalls may hold {} of received bytes on one side and {} of sent \
         ones on the other",
        size(rmem),
        size(wmem)
    );
    let value = format!("{rmem} and {wmem}");
    Some(Check::new("tcp_rmem and tcp_wmem, most", value, Verdict::Note, says))
}

/// A port that the kernel may give to an outgoing connection can be taken when a listener starts.
fn listener_ports(facts: &Facts, config: &Config) -> Option<Check> {
    let (first, last) = facts.network.ports?;
    let ports = ports_of(config);
    let exposed: Vec<u16> = ports
        .iter()
        .copied()
        .filter(|&port| (first..=last).contains(&port) && !facts.network.is_reserved(port))
        .collect();
    let list: Vec<String> = exposed.iter().map(u16::to_string).collect();
    Some(Check::good_or(
        exposed.is_empty(),
        "net.ipv4.ip_local_port_range",
        format!("{first} {last}"),
        [
            "no listener's port is given to outgoing connections",
            &format!("an outgoing connection may take a listener's port: {}", list.join(", ")),
        ],
        reserve_ports(facts, &exposed),
    ))
}

/// Ports that listeners name, each once.
pub(super) fn ports_of(config: &Config) -> Vec<u16> {
    let binds = config.listeners.iter().flat_map(|listener| &listener.bind);
    let mut ports: Vec<u16> =
        binds.map(|address| address.port()).filter(|&port| port > 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn time_wait(facts: &Facts, config: &Config) -> Option<Check> {
    let (first, last) = facts.network.ports?;
    let pairs = pairs(config).0.len() as u64;
    let reuse = facts.network.tcp_tw_reuse.filter(|_| pairs > 0)?;
    let reserved = facts.network.reserved_among((first, last));
    let ports = (u64::from(last) - u64::from(first) + 1).saturating_sub(reserved);
    let rate = |seconds: u64| {
        format!(
            "{} ports × {} of source and server / {seconds} s = {} a second, for long",
            thousands(ports),
            count(pairs, "pair"),
            count(ports * pairs / seconds, "connection")
        )
    };
    let slow = format!(
        "a source port rests for {TIME_WAIT_SECONDS} s after a connection that its client ended \
         first: {}",
        rate(TIME_WAIT_SECONDS)
    );
    let fast = format!("source ports are used again a second after their connection: {}", rate(1));
    let name = "net.ipv4.tcp_tw_reuse";
    if reuse == 2 {
        let says =
            format!("source ports are used again a second later on loopback only; else {slow}");
        return Some(Check::new(name, "2".into(), Verdict::Note, says));
    }
    Some(Check::good_or(
        reuse == 1,
        name,
        reuse.to_string(),
        [&fast, &slow],
        Remedy::sysctl(name, "1", Scope::of_network(facts)),
    ))
}
