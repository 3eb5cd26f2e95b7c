//! The use of the host's resources by this process, and by all together.

use std::path::Path;

use super::kernel_files::{KernelFiles, Stat};

/// Ticks per second in /proc/self/stat (USER_HZ), the same on every machine that this runs on.
const TICKS: f64 = 100.0;

/// Fields of /proc/self/stat by their numbers in proc_pid_stat(5).
const USER_TIME: usize = 14;
const SYSTEM_TIME: usize = 15;
const START_TIME: usize = 22;

/// The facts that do not change while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStart {
    /// In seconds since 1970.
    pub start_time_seconds: Option<f64>,
}

impl ProcessStart {
    /// Of this process, whose /proc stands below `root`.
    pub fn read(root: &Path) -> ProcessStart {
        let files = KernelFiles::below(root);
        let start_time_seconds = || {
            let ticks: f64 = Stat::read(files, "self")?.field(START_TIME)?;
            let boot: f64 = files.field("proc/stat", "btime ")?.parse().ok()?;
            Some(boot + ticks / TICKS)
        };
        ProcessStart { start_time_seconds: start_time_seconds() }
    }
}

/// The use of resources by the process now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Of all cores, in user and in kernel mode.
    pub cpu_seconds: Option<f64>,
    /// In memory, not swapped out.
    pub resident_memory_bytes: Option<u64>,
    /// Ordinary descriptors.
    pub open_fds: Option<u64>,
    /// The soft limit on them.
    pub max_fds: Option<u64>,
}

impl ProcessUsage {
    /// Of this process, whose /proc stands below `root`.
    pub fn read(root: &Path) -> ProcessUsage {
        let files = KernelFiles::below(root);
        let cpu_seconds = Stat::read(files, "self").and_then(|stat| {
            Some((stat.field::<f64>(USER_TIME)? + stat.field::<f64>(SYSTEM_TIME)?) / TICKS)
        });
        let first = |line: String| line.split_whitespace().next()?.parse::<u64>().ok();
        let resident_kib = files.field("proc/self/status", "VmRSS:").and_then(first);
        let open = std::fs::read_dir(files.path("proc/self/fd")).ok();
        ProcessUsage {
            cpu_seconds,
            resident_memory_bytes: resident_kib.map(|kib| kib << 10),
            open_fds: open.map(|entries| entries.count() as u64),
            max_fds: files.field("proc/self/limits", "Max open files").and_then(first),
        }
    }
}

/// Files that all processes of the host have open, and how many they may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFiles {
    /// Open now.
    pub open: Option<u64>,
    /// fs.file-max.
    pub max: Option<u64>,
}

impl OpenFiles {
    /// Of the host whose /proc stands below `root`.
    pub fn read(root: &Path) -> OpenFiles {
        let numbers: Option<[u64; 3]> = KernelFiles::below(root).numbers("proc/sys/fs/file-nr");
        OpenFiles { open: numbers.map(|[open, ..]| open), max: numbers.map(|[.., max]| max) }
    }
}

/// Ports that connects come from, and sockets that keep theirs for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePorts {
    /// net.ipv4.ip_local_port_range.
    pub range: Option<(u16, u16)>,
    /// Sockets in TIME_WAIT.
    pub time_wait: Option<u64>,
}

impl SourcePorts {
    /// Of the network namespace whose /proc stands below `root`.
    pub fn read(root: &Path) -> SourcePorts {
        let files = KernelFiles::below(root);
        let range: Option<[u64; 2]> = files.numbers("proc/sys/net/ipv4/ip_local_port_range");
        let range = range.and_then(|[first, last]| {
            let [first, last] = [first, last].map(u16::try_from);
            Some((first.ok()?, last.ok()?)).filter(|(first, last)| first <= last)
        });
        let tcp = files.field("proc/net/sockstat", "TCP:");
        let time_wait =
            tcp.and_then(|line| line.split_once(" tw ")?.1.split_whitespace().next()?.parse().ok());
        SourcePorts { range, time_wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read_as_it_writes_them() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, text).expect("a file");
        };
        assert_eq!(ProcessStart::read(root.path()), ProcessStart::default());
        assert_eq!(ProcessUsage::read(root.path()), ProcessUsage::default());
        assert_eq!(OpenFiles::read(root.path()), OpenFiles::default());
        assert_eq!(SourcePorts::read(root.path()), SourcePorts::default());
        write("proc/sys/net/ipv4/ip_local_port_range", "30000\t30031\n");
        write("proc/net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 0 tw 12 alloc 9 mem 1\n");
        let ports = SourcePorts { range: Some((30_000, 30_031)), time_wait: Some(12) };
        assert_eq!(SourcePorts::read(root.path()), ports);
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 3 0 1234 9 9";
        write("proc/self/stat", stat);
        write("proc/stat", "cpu  1 2 3\nbtime 1000000\nprocesses 7\n");
        write("proc/self/status", "Name:\tx\nVmRSS:\t    2048 kB\n");
        write("proc/self/limits", "Limit  Soft  Hard\nMax open files   1024   4096   files\n");
        write("proc/sys/fs/file-nr", "1700\t0\t9223372036854775807\n");
        write("proc/self/fd/0", "");
        let expected = ProcessUsage {
            cpu_seconds: Some(3.0),
            resident_memory_bytes: Some(2 << 20),
            open_fds: Some(1),
            max_fds: Some(1024),
        };
        assert_eq!(ProcessUsage::read(root.path()), expected);
        let expected = ProcessStart { start_time_seconds: Some(1_000_012.34) };
        assert_eq!(ProcessStart::read(root.path()), expected);
        let expected = OpenFiles { open: Some(1700), max: Some(i64::MAX as u64) };
        assert_eq!(OpenFiles::read(root.path()), expected);
    }

    #[test]
    fn this_process_says_everything() {
        let root = Path::new("/");
        let found = ProcessUsage::read(root);
        assert!(found.open_fds.is_some_and(|count| count > 2), "{found:?}");
        assert!(found.resident_memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{found:?}");
        let start = ProcessStart::read(root);
        assert!(start.start_time_seconds.is_some_and(|time| time > 1e9), "{start:?}");
        assert!(found.max_fds.is_some() && found.cpu_seconds.is_some(), "{found:?}");
        assert!(OpenFiles::read(root).open.is_some_and(|count| count > 2));
    }
}
