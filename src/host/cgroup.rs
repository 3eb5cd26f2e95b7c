//! The limits of the control groups above this process, of either version.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::kernel_files::KernelFiles;

/// The limits of the control groups above this process: the tightest for each resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cgroup {
    /// Memory; `None`: no limit.
    pub memory_bytes: Option<Room>,
    /// Thousandths of a core; `None`: no quota.
    pub cpu_quota_thousandths: Option<u64>,
    /// Processes and threads; `None`: no limit.
    pub tasks: Option<Room>,
}

/// What a group may have, and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Room {
    /// The file that sets the limit.
    pub file: String,
    /// The limit.
    pub limit: u64,
    /// In use now; of memory without the file cache that the kernel would give up.
    pub used: u64,
}

impl Room {
    /// What is left.
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// Where version 1 keeps a limit, and version 2.
struct Names {
    /// The controller's name of version 1; `""` for version 2.
    controller: &'static str,
    limits: &'static [&'static str],
    used: &'static str,
    /// The line of memory.stat that counts the file cache that is not in active use.
    cache: &'static str,
}

const MEMORY: [Names; 2] = [
    // Above memory.high a group is slowed down until nothing moves: that is its limit.
    Names {
        controller: "",
        limits: &["memory.max", "memory.high"],
        used: "memory.current",
        cache: "inactive_file",
    },
    Names {
        controller: "memory",
        limits: &["memory.limit_in_bytes"],
        used: "memory.usage_in_bytes",
        cache: "total_inactive_file",
    },
];

const TASKS: [Names; 2] = [
    Names { controller: "", limits: &["pids.max"], used: "pids.current", cache: "" },
    Names { controller: "pids", limits: &["pids.max"], used: "pids.current", cache: "" },
];

/// "No limit" in version 1 is the largest multiple of a page; nobody has so much memory.
const NO_LIMIT: u64 = 1 << 60;

impl Cgroup {
    /// Reads the groups of the process.
    pub(super) fn read(files: KernelFiles<'_>) -> Cgroup {
        let groups = Groups {
            own: files.text("proc/self/cgroup").unwrap_or_default(),
            mounts: files.text("proc/self/mountinfo").unwrap_or_default(),
            files,
        };
        let quota_v2 = groups.folders("").into_iter().filter_map(|folder| {
            let text = files.text(folder.join("cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            thousandths(quota, period)
        });
        let quota_v1 = groups.folders("cpu").into_iter().filter_map(|folder| {
            let quota = files.text(folder.join("cpu.cfs_quota_us"))?;
            thousandths(&quota, &files.text(folder.join("cpu.cfs_period_us"))?)
        });
        Cgroup {
            memory_bytes: groups.tightest(&MEMORY),
            cpu_quota_thousandths: quota_v2.chain(quota_v1).min(),
            tasks: groups.tightest(&TASKS),
        }
    }
}

/// Thousandths of a core; `None` for `max` and for version 1's -1.
fn thousandths(quota: &str, period: &str) -> Option<u64> {
    let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
    (quota * 1000).checked_div(period)
}

struct Groups<'a> {
    files: KernelFiles<'a>,
    /// /proc/self/cgroup.
    own: String,
    /// /proc/self/mountinfo.
    mounts: String,
}

impl Groups<'_> {
    /// The group of a controller and all above it, as paths from the root, the lowest first.
    fn folders(&self, controller: &str) -> Vec<PathBuf> {
        let Some((within, mount_point)) = self.mount(controller) else { return Vec::new() };
        let own = self.own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|one| one == controller).then_some(path)
        });
        // The mount shows the groups below `within`; a group outside of it has no folder here.
        let below = own.and_then(|path| Path::new(path).strip_prefix(&within).ok());
        let lowest = mount_point.join(below.unwrap_or(Path::new("")));
        let above = lowest.ancestors().take_while(|path| path.starts_with(&mount_point));
        above.map(Path::to_owned).collect()
    }

    /// Where a controller is mounted: the group that is seen there, and the place.
    fn mount(&self, controller: &str) -> Option<(PathBuf, PathBuf)> {
        self.mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split_whitespace();
            let name = kind.next()?;
            let wanted = if controller.is_empty() {
                name == "cgroup2"
            } else {
                name == "cgroup" && kind.nth(1)?.split(',').any(|option| option == controller)
            };
            let mut place = place.split_whitespace().skip(3);
            let (within, mount_point) = (place.next()?, place.next()?);
            let relative = mount_point.strip_prefix('/')?;
            wanted.then(|| (PathBuf::from(within), PathBuf::from(relative)))
        })
    }

    /// The group with the least left.
    fn tightest(&self, names: &[Names]) -> Option<Room> {
        let mut rooms = Vec::new();
        for names in names {
            for folder in self.folders(names.controller) {
                rooms
                    .extend(names.limits.iter().filter_map(|file| self.room(&folder, file, names)));
            }
        }
        rooms.into_iter().min_by_key(Room::free)
    }

    fn room(&self, folder: &Path, file: &str, names: &Names) -> Option<Room> {
        let number = |name: &str| self.files.text(folder.join(name))?.parse::<u64>().ok();
        let limit = number(file).filter(|&limit| limit < NO_LIMIT)?;
        let stat = self.files.text(folder.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(names.cache)?.strip_prefix(' '));
        let cache: u64 = cache.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
        let used = number(names.used).unwrap_or(0).saturating_sub(cache);
        Some(Room { file: format!("/{}", folder.join(file).display()), limit, used })
    }
}
