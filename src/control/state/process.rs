//! What the kernel says about this process and its host, read below a root so that a test can
//! build one.

use std::path::Path;

use crate::metrics::reading::{Host, Process};

/// Ticks per second in /proc/self/stat (USER_HZ), the same on every machine that this runs on.
const TICKS: f64 = 100.0;

/// Which field of /proc/self/stat follows the name that ends with the last `)`: the state, the
/// third of proc_pid_stat(5).
const FIRST_FIELD: usize = 3;
const USER_TIME: usize = 14;
const SYSTEM_TIME: usize = 15;
const START_TIME: usize = 22;

/// What does not change while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Birth {
    /// In seconds since 1970.
    pub start_time_seconds: Option<f64>,
}

impl Birth {
    /// Of this process.
    pub fn read(root: &Path) -> Birth {
        let start_time_seconds = || {
            let stat = text(root, "proc/self/stat")?;
            let machine = text(root, "proc/stat")?;
            let boot = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
            Some(boot.trim().parse::<f64>().ok()? + ticks(&stat, START_TIME)? / TICKS)
        };
        Birth { start_time_seconds: start_time_seconds() }
    }
}

/// The process as it is now.
pub fn process(root: &Path, birth: Birth) -> Process {
    let cpu_seconds = text(root, "proc/self/stat")
        .and_then(|stat| Some((ticks(&stat, USER_TIME)? + ticks(&stat, SYSTEM_TIME)?) / TICKS));
    let resident = text(root, "proc/self/status").and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    let max_fds = text(root, "proc/self/limits").and_then(|limits| {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    });
    let open = std::fs::read_dir(root.join("proc/self/fd")).ok();
    Process {
        cpu_seconds,
        resident_memory_bytes: resident.map(|kib| kib << 10),
        open_fds: open.map(|entries| entries.count() as u64),
        max_fds,
        start_time_seconds: birth.start_time_seconds,
    }
}

/// The host as it is now.
pub fn host(root: &Path) -> Host {
    let numbers = text(root, "proc/sys/fs/file-nr").unwrap_or_default();
    let mut numbers = numbers.split_whitespace().map(|number| number.parse().ok());
    let open_files = numbers.next().flatten();
    Host { open_files, max_files: numbers.nth(1).flatten() }
}

fn text(root: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(root.join(path)).ok()
}

/// A field by its number in proc_pid_stat(5). The name before may hold blanks and brackets.
fn ticks(stat: &str, field: usize) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(field - FIRST_FIELD)?.parse().ok()
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
        assert_eq!(Birth::read(root.path()), Birth::default());
        assert_eq!(process(root.path(), Birth::default()), Process::default());
        assert_eq!(host(root.path()), Host::default());
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 3 0 1234 9 9";
        write("proc/self/stat", stat);
        write("proc/stat", "cpu  1 2 3\nbtime 1000000\nprocesses 7\n");
        write("proc/self/status", "Name:\tx\nVmRSS:\t    2048 kB\n");
        write("proc/self/limits", "Limit  Soft  Hard\nMax open files   1024   4096   files\n");
        write("proc/sys/fs/file-nr", "1700\t0\t9223372036854775807\n");
        write("proc/self/fd/0", "");
        let expected = Process {
            cpu_seconds: Some(3.0),
            resident_memory_bytes: Some(2 << 20),
            open_fds: Some(1),
            max_fds: Some(1024),
            start_time_seconds: Some(1_000_012.34),
        };
        assert_eq!(process(root.path(), Birth::read(root.path())), expected);
        let expected = Host { open_files: Some(1700), max_files: Some(i64::MAX as u64) };
        assert_eq!(host(root.path()), expected);
    }

    #[test]
    fn this_process_says_everything() {
        let root = Path::new("/");
        let found = process(root, Birth::read(root));
        assert!(found.open_fds.is_some_and(|count| count > 2), "{found:?}");
        assert!(found.resident_memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{found:?}");
        assert!(found.start_time_seconds.is_some_and(|time| time > 1e9), "{found:?}");
        assert!(found.max_fds.is_some() && found.cpu_seconds.is_some(), "{found:?}");
        assert!(host(root).open_files.is_some_and(|count| count > 2));
    }
}
