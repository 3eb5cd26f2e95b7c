//! What a memory cgroup is charged, and for what.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// What a memory cgroup is charged.
pub(crate) struct Charged {
    pub(crate) bytes: u64,
    /// By what it is, in the kernel's words, as far as the kernel splits it.
    pub(crate) parts: BTreeMap<&'static str, u64>,
}

/// The file with the sum, by version.
const V1: &str = "memory.usage_in_bytes";
pub(crate) const V2: &str = "memory.current";

/// Lines of a version 2 memory.stat that are no part of each other.
const PARTS_V2: [&str; 8] =
    ["anon", "file", "slab", "sock", "kernel_stack", "pagetables", "percpu", "vmalloc"];
/// What version 1 has instead: lines of memory.stat, and files.
const PARTS_V1: [(&str, &str); 2] = [("rss", "total_rss"), ("cache", "total_cache")];
const FILES_V1: [(&str, &str); 2] =
    [("kmem", "memory.kmem.usage_in_bytes"), ("kmem_tcp", "memory.kmem.tcp.usage_in_bytes")];

impl Charged {
    /// The process's memory cgroup; one that we are in, too, is not its own.
    pub(crate) fn of(pid: u32) -> Option<Charged> {
        let of = |process: &str| memory_cgroup(&read(format!("/proc/{process}/cgroup")));
        let (folder, counter) = of(&pid.to_string())?;
        let is_ours = of("self").is_some_and(|(own, _)| own == folder);
        (!is_ours).then(|| Charged::read(&folder, counter)).flatten()
    }

    /// What the files in a cgroup's folder say, `counter` among them.
    fn read(folder: &Path, counter: &str) -> Option<Charged> {
        let bytes = number(&folder.join(counter))?;
        let stat = read(folder.join("memory.stat"));
        let mut parts = BTreeMap::new();
        if counter == V2 {
            parts.extend(PARTS_V2.iter().filter_map(|part| Some((*part, line(&stat, part)?))));
        } else {
            let lines = PARTS_V1.iter().filter_map(|(part, key)| Some((*part, line(&stat, key)?)));
            let file = |name| number(&folder.join(name));
            parts.extend(lines);
            parts.extend(FILES_V1.iter().filter_map(|(part, name)| Some((*part, file(name)?))));
        }
        Some(Charged { bytes, parts })
    }
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
        return Some((folder, V1));
    }
    let (_, path) = groups.iter().find(|(controllers, _)| controllers.is_empty())?;
    Some((Path::new("/sys/fs/cgroup").join(path), V2))
}

fn read(path: impl AsRef<Path>) -> String {
    read_to_string(path).unwrap_or_default()
}

/// A file of one number.
fn number(path: &Path) -> Option<u64> {
    read(path).trim().parse().ok()
}

/// The number after a key at a line's beginning.
fn line(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    rest.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_understood() {
        for (lines, folder, counter) in [
            ("9:name=systemd:/\n4:hugetlb,memory:/a/b\n0::/\n", "/sys/fs/cgroup/memory/a/b", V1),
            ("0::/user.slice/x\n", "/sys/fs/cgroup/user.slice/x", V2),
        ] {
            assert_eq!(memory_cgroup(lines), Some((folder.into(), counter)), "{lines}");
        }
        assert_eq!(memory_cgroup("9:name=systemd:/\n"), None);
        assert_eq!(
            Charged::of(std::process::id()).map(|own| own.bytes),
            None,
            "our own is nobody else's"
        );
    }

    #[test]
    fn a_cgroup_of_either_version_is_split() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| {
            std::fs::write(folder.path().join(file), text).expect("it is ours");
        };
        write("memory.stat", "anon 5\nslab_reclaimable 1\nslab 70\nsock 3\ntotal_rss 9\n");
        write("memory.current", "100\n");
        write("memory.usage_in_bytes", "200\n");
        write("memory.kmem.usage_in_bytes", "60\n");
        let v2 = Charged::read(folder.path(), V2).expect("version 2");
        assert_eq!((v2.bytes, v2.parts), (100, [("anon", 5), ("slab", 70), ("sock", 3)].into()));
        let v1 = Charged::read(folder.path(), V1).expect("version 1");
        assert_eq!((v1.bytes, v1.parts), (200, [("rss", 9), ("kmem", 60)].into()));
    }
}
