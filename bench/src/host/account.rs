//! What the kernel says about the target, about this program, and about all sockets.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::charged::Charged;

/// Slab caches below this many bytes of change are not worth a line.
const SLAB_BYTES_MIN: i64 = 1 << 20;

/// Everything at one moment.
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    /// User and system time of the target's processes, in nanoseconds.
    target_cpu_nanos: Option<u64>,
    target_pss_bytes: Option<u64>,
    target_cgroup: Option<Charged>,
    /// For each thread of ours: nanoseconds that it ran, and that it waited for a core.
    own: Vec<(u64, u64)>,
    /// The longest that a thread of ours did not look at its connections since the last moment.
    pub(crate) lag: Duration,
    slab_bytes: BTreeMap<String, i64>,
    overflows: u64,
    drops: u64,
    sockets: Sockets,
}

/// What the kernel holds of files and sockets. All but `in_use` and `time_wait`, which are the
/// network namespace's, is the whole machine's.
struct Sockets {
    files: Option<u64>,
    in_use: Option<u64>,
    time_wait: Option<u64>,
    /// TCP sockets of any state but TIME-WAIT.
    allocated: Option<u64>,
    /// Pages that hold what is queued in TCP sockets.
    queued_pages: Option<u64>,
}

impl Snapshot {
    /// Reads it all. A target's children count as the target.
    pub(crate) fn take(targets: &[u32], own_threads: &[usize], lag: Duration) -> Snapshot {
        let targets = with_children(targets);
        let sum = |of: &dyn Fn(u32) -> Option<u64>| {
            targets.iter().filter_map(|pid| of(*pid)).reduce(|a, b| a + b)
        };
        let netstat = read("/proc/net/netstat");
        Snapshot {
            at: Instant::now(),
            target_cpu_nanos: sum(&cpu_nanos),
            target_pss_bytes: sum(&pss_bytes),
            target_cgroup: targets.first().and_then(|pid| Charged::of(*pid)),
            own: own_threads.iter().map(|id| schedule(*id)).collect(),
            lag,
            slab_bytes: slab_bytes(&read("/proc/slabinfo")),
            overflows: extended(&netstat, "ListenOverflows"),
            drops: extended(&netstat, "ListenDrops"),
            sockets: Sockets::now(),
        }
    }

    /// What this moment has, on its own.
    pub(crate) fn state(&self) -> Value {
        json!({
            "target_pss_bytes": self.target_pss_bytes,
            "target_cgroup_bytes": self.target_cgroup.as_ref().map(|charged| charged.bytes),
            "sockets": {
                "files": self.sockets.files, "tcp_in_use": self.sockets.in_use,
                "tcp_time_wait": self.sockets.time_wait, "tcp_allocated": self.sockets.allocated,
                "tcp_memory_pages": self.sockets.queued_pages,
            },
        })
    }

    /// CPU nanoseconds of the target since `before`.
    pub(crate) fn target_cpu_since(&self, before: &Snapshot) -> Option<u64> {
        Some(self.target_cpu_nanos?.saturating_sub(before.target_cpu_nanos?))
    }

    /// Bytes of the target's own memory since `before`.
    pub(crate) fn pss_since(&self, before: &Snapshot) -> Option<i64> {
        Some(self.target_pss_bytes? as i64 - before.target_pss_bytes? as i64)
    }

    /// Bytes that the target's memory cgroup was charged since `before`.
    pub(crate) fn cgroup_since(&self, before: &Snapshot) -> Option<i64> {
        let bytes = |of: &Snapshot| of.target_cgroup.as_ref().map(|charged| charged.bytes as i64);
        Some(bytes(self)? - bytes(before)?)
    }

    /// The same by what it is, as far as the kernel splits it.
    pub(crate) fn cgroup_parts_since(&self, before: &Snapshot) -> BTreeMap<&'static str, i64> {
        let (Some(now), Some(then)) = (&self.target_cgroup, &before.target_cgroup) else {
            return BTreeMap::new();
        };
        let change = |(part, bytes): (&&'static str, &u64)| {
            Some((*part, *bytes as i64 - *then.parts.get(part)? as i64))
        };
        now.parts.iter().filter_map(change).collect()
    }

    /// TCP sockets of the whole machine since `before`.
    pub(crate) fn sockets_since(&self, before: &Snapshot) -> Option<i64> {
        Some(self.sockets.allocated? as i64 - before.sockets.allocated? as i64)
    }

    /// Bytes of pages that hold what is queued in them, of the whole machine, since `before`.
    pub(crate) fn queued_since(&self, before: &Snapshot) -> Option<i64> {
        let pages = self.sockets.queued_pages? as i64 - before.sockets.queued_pages? as i64;
        Some(pages * page_bytes())
    }

    /// Slab pages of the whole machine since `before`, by cache, where they changed noticeably.
    pub(crate) fn slab_since(&self, before: &Snapshot) -> BTreeMap<&str, i64> {
        let change = |(cache, bytes): (&'_ String, &i64)| {
            bytes - before.slab_bytes.get(cache).copied().unwrap_or(0)
        };
        let changes = self.slab_bytes.iter().map(|pair| (pair.0.as_str(), change(pair)));
        changes.filter(|(_, bytes)| bytes.abs() >= SLAB_BYTES_MIN).collect()
    }

    /// Clients that found the accept queue full, and SYNs dropped, on the whole machine.
    pub(crate) fn queue_since(&self, before: &Snapshot) -> Value {
        json!({
            "listen_overflows": self.overflows - before.overflows,
            "listen_drops": self.drops - before.drops,
        })
    }

    /// The shares of the time since `before` that our busiest thread ran and waited for a core.
    pub(crate) fn own_since(&self, before: &Snapshot) -> (f64, f64) {
        let passed = (self.at - before.at).as_nanos().max(1) as f64;
        let pairs = self.own.iter().zip(&before.own);
        let shares = pairs.map(|(now, then)| {
            let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed;
            (share(now.0, then.0), share(now.1, then.1))
        });
        shares.fold((0.0, 0.0), |most, one| (most.0.max(one.0), most.1.max(one.1)))
    }
}

/// Bytes of pages that hold what is queued in TCP sockets, of the whole machine.
pub(crate) fn socket_memory_bytes() -> Option<i64> {
    Some(Sockets::now().queued_pages? as i64 * page_bytes())
}

fn read(path: &str) -> String {
    read_to_string(path).unwrap_or_default()
}

/// The processes and all who descend from them.
pub(super) fn with_children(roots: &[u32]) -> Vec<u32> {
    let mut found = roots.to_vec();
    if roots.is_empty() {
        return found;
    }
    let entries = read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut looked_at = 0;
    while let Some(root) = found.get(looked_at).copied() {
        looked_at += 1;
        let children = parents.iter().filter(|(_, parent)| *parent == root);
        let new: Vec<u32> =
            children.map(|(pid, _)| *pid).filter(|pid| !found.contains(pid)).collect();
        found.extend(new);
    }
    found
}

/// The fields of /proc/PID/stat behind the name, which may hold blanks and parentheses.
pub(super) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// User and system time of all threads, those that ended included (proc_pid_stat(5), 14 and 15).
fn cpu_nanos(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(ticks * 1_000_000_000 / per_second as u64)
}

/// A process's memory, shared pages counted by their share.
pub(super) fn pss_bytes(pid: u32) -> Option<u64> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn page_bytes() -> i64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    page.ok().flatten().unwrap_or(4_096)
}

/// Nanoseconds that a thread of ours ran, and that it waited for a core.
fn schedule(thread_id: usize) -> (u64, u64) {
    let text = read(&format!("/proc/self/task/{thread_id}/schedstat"));
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap_or(0));
    (words.next().unwrap_or(0), words.next().unwrap_or(0))
}

/// Bytes of pages by cache (slabinfo(5)): slabs × pages of each.
fn slab_bytes(text: &str) -> BTreeMap<String, i64> {
    let cache = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pages: i64 = words.get(5)?.parse().ok()?;
        let slabs: i64 = words.get(14)?.parse().ok()?;
        Some(((*words.first()?).to_owned(), slabs * pages * page_bytes()))
    };
    text.lines().filter_map(cache).collect()
}

/// A counter of /proc/net/netstat, whose names and values stand in two lines.
fn extended(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(one, _)| *one == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

impl Sockets {
    fn now() -> Sockets {
        let sockstat = read("/proc/net/sockstat");
        let files = read("/proc/sys/fs/file-nr");
        let tcp = |key| figure(&sockstat, "TCP:", key);
        Sockets {
            files: files.split_whitespace().next().and_then(|word| word.parse().ok()),
            in_use: tcp("inuse"),
            time_wait: tcp("tw"),
            allocated: tcp("alloc"),
            queued_pages: tcp("mem"),
        }
    }
}

/// The number after `key` in the line that begins with `head`.
fn figure(text: &str, head: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(head))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == key)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let netstat = "TcpExt: A ListenOverflows B\nTcpExt: 1 22 3\nIpExt: C\nIpExt: 4\n";
        assert_eq!((extended(netstat, "ListenOverflows"), extended(netstat, "X")), (22, 0));
        let slabinfo = "slabinfo - version: 2.1\n# name\nTCP 100 120 2432 13 8 : tunables 0 0 0 \
                        : slabdata 10 10 0\n";
        assert_eq!(slab_bytes(slabinfo).get("TCP"), Some(&(10 * 8 * page_bytes())));
        assert_eq!(figure("TCP: inuse 5 tw 7\n", "TCP:", "tw"), Some(7));
    }

    #[test]
    fn our_own_process_has_time_memory_and_a_parent() {
        let own = std::process::id();
        assert!(cpu_nanos(own).is_some() && pss_bytes(own) > Some(0));
        assert!(with_children(&[parent(own).expect("a parent")]).contains(&own));
    }
}
