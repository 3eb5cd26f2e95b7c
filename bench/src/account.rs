//! What the kernel says about the target, about this program, and about all sockets.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Slab caches below this many bytes of change are not worth a line.
const SLAB_BYTES_MIN: i64 = 1 << 20;

/// Everything at one moment.
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    /// User and system time of the target's processes, in nanoseconds.
    target_cpu_nanos: Option<u64>,
    target_pss_bytes: Option<u64>,
    target_cgroup_bytes: Option<u64>,
    /// For each thread of ours: nanoseconds that it ran, and that it waited for a core.
    own: Vec<(u64, u64)>,
    /// The longest that a thread of ours did not look at its connections since the last moment.
    pub(crate) lag: Duration,
    slab_bytes: BTreeMap<String, i64>,
    overflows: u64,
    drops: u64,
    sockets: Value,
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
            target_cgroup_bytes: targets.first().and_then(|pid| cgroup_bytes(*pid)),
            own: own_threads.iter().map(|id| schedule(*id)).collect(),
            lag,
            slab_bytes: slab_bytes(&read("/proc/slabinfo")),
            overflows: extended(&netstat, "ListenOverflows"),
            drops: extended(&netstat, "ListenDrops"),
            sockets: sockets(),
        }
    }

    /// What this moment has, on its own.
    pub(crate) fn state(&self) -> Value {
        json!({
            "target_pss_bytes": self.target_pss_bytes,
            "target_cgroup_bytes": self.target_cgroup_bytes,
            "sockets": self.sockets,
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
        Some(self.target_cgroup_bytes? as i64 - before.target_cgroup_bytes? as i64)
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

fn read(path: &str) -> String {
    read_to_string(path).unwrap_or_default()
}

/// The processes and all who descend from them.
fn with_children(roots: &[u32]) -> Vec<u32> {
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
fn stat(pid: u32) -> Option<Vec<String>> {
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
fn pss_bytes(pid: u32) -> Option<u64> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// What the process's memory cgroup is charged; one that we are in, too, is not its own.
fn cgroup_bytes(pid: u32) -> Option<u64> {
    let of = |process: &str| memory_cgroup(&read(&format!("/proc/{process}/cgroup")));
    let (folder, counter) = of(&pid.to_string())?;
    let is_ours = of("self").is_some_and(|(own, _)| own == folder);
    let charged = (!is_ours).then(|| read_to_string(folder.join(counter)).ok())??;
    charged.trim().parse().ok()
}

/// The memory cgroup that lines of /proc/PID/cgroup name: its folder, and the file in it that says
/// what it is charged. Where both versions are mounted, memory is with one of them (cgroups(7)).
pub(crate) fn memory_cgroup(lines: &str) -> Option<(PathBuf, &'static str)> {
    let fields = |line: &'_ str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), path.trim_start_matches('/').to_owned()))
    };
    let groups: Vec<(String, String)> = lines.lines().filter_map(fields).collect();
    let is_memory = |list: &str| list.split(',').any(|controller| controller == "memory");
    if let Some((_, path)) = groups.iter().find(|(controllers, _)| is_memory(controllers)) {
        let folder = Path::new("/sys/fs/cgroup/memory").join(path);
        return Some((folder, "memory.usage_in_bytes"));
    }
    let (_, path) = groups.iter().find(|(controllers, _)| controllers.is_empty())?;
    Some((Path::new("/sys/fs/cgroup").join(path), "memory.current"))
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
        Some(((*words.first()?).to_owned(), slabs * pages * 4_096))
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

fn sockets() -> Value {
    let sockstat = read("/proc/net/sockstat");
    let files = read("/proc/sys/fs/file-nr");
    json!({
        "files": files.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()),
        "tcp_in_use": figure(&sockstat, "TCP:", "inuse"),
        "tcp_time_wait": figure(&sockstat, "TCP:", "tw"),
        "tcp_memory_pages": figure(&sockstat, "TCP:", "mem"),
    })
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
        assert_eq!(slab_bytes(slabinfo).get("TCP"), Some(&(10 * 8 * 4_096)));
        assert_eq!(figure("TCP: inuse 5 tw 7\n", "TCP:", "tw"), Some(7));
    }

    #[test]
    fn both_versions_of_cgroups_are_understood() {
        for (lines, folder, counter) in [
            (
                "9:name=systemd:/\n4:hugetlb,memory:/a/b\n0::/\n",
                "/sys/fs/cgroup/memory/a/b",
                "memory.usage_in_bytes",
            ),
            ("0::/user.slice/x\n", "/sys/fs/cgroup/user.slice/x", "memory.current"),
        ] {
            assert_eq!(memory_cgroup(lines), Some((folder.into(), counter)), "{lines}");
        }
        assert_eq!(memory_cgroup("9:name=systemd:/\n"), None);
        assert_eq!(cgroup_bytes(std::process::id()), None, "our own is nobody else's");
    }

    #[test]
    fn our_own_process_has_time_memory_and_a_parent() {
        let own = std::process::id();
        assert!(cpu_nanos(own).is_some() && pss_bytes(own) > Some(0));
        assert!(with_children(&[parent(own).expect("a parent")]).contains(&own));
    }
}
