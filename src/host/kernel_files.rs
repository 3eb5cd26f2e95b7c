//! The one reader of /proc and /sys, below a root so that a test can build one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The files of the kernel below a root. A method returns `None` where the kernel does not say.
#[derive(Clone, Copy, Debug)]
pub struct KernelFiles<'a> {
    root: &'a Path,
}

impl KernelFiles<'static> {
    /// The files of this host.
    pub fn of_this_host() -> KernelFiles<'static> {
        KernelFiles { root: Path::new("/") }
    }
}

impl<'a> KernelFiles<'a> {
    /// The files of which proc and sys stand below `root`.
    pub fn below(root: &'a Path) -> KernelFiles<'a> {
        KernelFiles { root }
    }

    /// The path of a file.
    pub fn path(self, file: impl AsRef<Path>) -> PathBuf {
        self.root.join(file)
    }

    /// The text of a file, without blanks around it.
    pub fn text(self, file: impl AsRef<Path>) -> Option<String> {
        Some(std::fs::read_to_string(self.path(file)).ok()?.trim().to_owned())
    }

    /// The lines of a file, read as they are asked for: a table of sockets may have millions.
    pub fn lines(self, file: impl AsRef<Path>) -> Option<impl Iterator<Item = String>> {
        let file = std::fs::File::open(self.path(file)).ok()?;
        Some(BufReader::new(file).lines().map_while(Result::ok))
    }

    /// The only word of a file.
    pub fn word<T: FromStr>(self, file: impl AsRef<Path>) -> Option<T> {
        self.text(file)?.parse().ok()
    }

    /// The first `N` numbers of a file.
    pub fn numbers<const N: usize>(self, file: impl AsRef<Path>) -> Option<[u64; N]> {
        numbers(&self.text(file)?)
    }

    /// The rest of the first line of a file that begins with `key`, without blanks around it.
    pub fn field(self, file: impl AsRef<Path>, key: &str) -> Option<String> {
        field(&self.text(file)?, key).map(str::to_owned)
    }

    /// The target of a symbolic link.
    pub fn link(self, file: impl AsRef<Path>) -> Option<String> {
        std::fs::read_link(self.path(file)).ok()?.into_os_string().into_string().ok()
    }
}

/// The first `N` numbers of a text.
pub(super) fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let mut words = text.split_whitespace();
    let mut found = [0; N];
    for number in &mut found {
        *number = words.next()?.parse().ok()?;
    }
    Some(found)
}

/// The rest of the first line of `text` that begins with `key`, without blanks around it.
pub(super) fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// The fields of /proc/PID/stat, by their numbers in proc_pid_stat(5).
#[derive(Clone, Debug)]
pub(super) struct Stat {
    /// The words from the state on, the third field.
    words: Vec<String>,
}

impl Stat {
    /// Of a process by its id, or of `self`.
    pub(super) fn read(files: KernelFiles<'_>, pid: &str) -> Option<Stat> {
        let text = files.text(format!("proc/{pid}/stat"))?;
        // The name before, in parentheses, may hold blanks and parentheses.
        let (_, after) = text.rsplit_once(')')?;
        Some(Stat { words: after.split_whitespace().map(str::to_owned).collect() })
    }

    /// A field from the third on.
    pub(super) fn field<T: FromStr>(&self, number: usize) -> Option<T> {
        self.words.get(number.checked_sub(3)?)?.parse().ok()
    }
}

/// A child of a process, if it has one.
pub fn child_of(pid: u32) -> Option<u32> {
    const PARENT: usize = 4;
    let files = KernelFiles::of_this_host();
    let all = std::fs::read_dir(files.path("proc")).ok()?.flatten();
    let mut names = all.filter_map(|entry| entry.file_name().into_string().ok());
    names.find_map(|name| {
        let child = name.parse().ok()?;
        let parent: u32 = Stat::read(files, &name)?.field(PARENT)?;
        (parent == pid).then_some(child)
    })
}

/// Where this program lies. The kernel marks a file that was replaced (proc_pid_exe(5)); the new
/// one has the name without the mark.
pub fn own_program() -> Option<PathBuf> {
    let link = KernelFiles::of_this_host().link("proc/self/exe")?;
    Some(PathBuf::from(link.strip_suffix(" (deleted)").unwrap_or(&link)))
}

/// The number of the calling thread's network namespace.
pub fn network_namespace() -> Option<String> {
    let link = KernelFiles::of_this_host().link("proc/thread-self/ns/net")?;
    Some(link.strip_prefix("net:[")?.strip_suffix(']')?.to_owned())
}
