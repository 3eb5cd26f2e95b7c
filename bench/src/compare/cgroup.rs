//! A memory cgroup for one target, so that what the kernel charges to it is told apart.

use std::fs::{create_dir, read_to_string, remove_dir};
use std::path::PathBuf;
use std::time::Duration;

use crate::host::{V2, memory_cgroup};

/// How often, and how far apart, an emptied cgroup is removed: its last process may still be dying.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A cgroup of our own; dropping it removes it, when nobody is in it any more.
pub(crate) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes one; the error says why that cannot be.
    pub(crate) fn create(name: &str) -> Result<Cgroup, String> {
        let own = read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mut why = "no memory cgroup is mounted at /sys/fs/cgroup".to_owned();
        for (parent, counter) in parents(&own) {
            let folder = parent.join(name);
            if let Err(error) = create_dir(&folder) {
                why = format!("{}: {error}", folder.display());
                continue;
            }
            let cgroup = Cgroup { folder };
            if cgroup.folder.join(counter).is_file() {
                return Ok(cgroup);
            }
            why = format!("{} does not give its memory controller on", parent.display());
        }
        Err(why)
    }

    /// The file that a process writes itself into.
    pub(crate) fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            if remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        eprintln!("{} could not be removed", self.folder.display());
    }
}

/// Where a memory cgroup may be made, and the file that shows that it is one: below our own, or,
/// since the second version gives nothing on from a group that has processes, at the root.
fn parents(own: &str) -> Vec<(PathBuf, &'static str)> {
    let mut found: Vec<(PathBuf, &'static str)> = memory_cgroup(own).into_iter().collect();
    if let Some((_, counter)) = found.first().filter(|(_, counter)| *counter == V2) {
        found.push(("/sys/fs/cgroup".into(), counter));
    }
    found
}
