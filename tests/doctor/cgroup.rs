//! Control groups of both versions: memory, CPU quota, tasks.

use crate::host::{Host, echo, limit, relay};

const V2: &str = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const V1: &str = "31 25 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  32 25 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  33 25 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
const GIB: u64 = 1 << 30;
/// Of four workers, with their room.
const BUFFERS: u64 = 4 * 1024 * ((16 << 10) + 192);

fn host_v2(own: &str) -> Host {
    let host = Host::plain();
    host.set("proc/self/mountinfo", V2);
    host.set("proc/self/cgroup", &format!("0::{own}\n"));
    host
}

fn host_v1(own: &str) -> Host {
    let host = Host::plain();
    host.set("proc/self/mountinfo", V1);
    host.set("proc/self/cgroup", &format!("5:pids:{own}\n4:memory:{own}\n3:cpu,cpuacct:{own}\n"));
    host
}

#[test]
fn version_2_memory_is_what_the_limit_leaves() {
    let host = host_v2("/system.slice/portcullis.service");
    let folder = "sys/fs/cgroup/system.slice/portcullis.service";
    host.set(&format!("{folder}/memory.max"), "2147483648\n");
    host.set(&format!("{folder}/memory.high"), "max\n");
    host.set(&format!("{folder}/memory.current"), "1610612736\n");
    host.set(&format!("{folder}/memory.stat"), "anon 5\ninactive_file 536870912\nslab 7\n");
    let room = host.facts().cgroup.memory_bytes.expect("a limit");
    assert_eq!(room.file, "/sys/fs/cgroup/system.slice/portcullis.service/memory.max");
    assert_eq!((room.limit, room.used, room.free()), (2 * GIB, GIB, GIB));
    let diagnosis = host.diagnose(&echo(""), None);
    assert_eq!(diagnosis.binding().name, "memory of the cgroup");
    assert_eq!(diagnosis.fits, (GIB / 100 * 80 - BUFFERS) / 4_248);
    assert!(diagnosis.binding().arithmetic.contains("1,024 MiB free of 2,048 MiB"));
}

#[test]
fn the_tightest_group_above_counts() {
    let host = host_v2("/a/b");
    host.set("sys/fs/cgroup/a/memory.max", "4294967296\n");
    host.set("sys/fs/cgroup/a/memory.current", "3221225472\n");
    host.set("sys/fs/cgroup/a/b/memory.max", "2147483648\n");
    host.set("sys/fs/cgroup/a/b/memory.current", "0\n");
    let room = host.facts().cgroup.memory_bytes.expect("a limit");
    assert_eq!((room.file.as_str(), room.free()), ("/sys/fs/cgroup/a/memory.max", GIB));
}

#[test]
fn memory_high_bounds_before_memory_max() {
    let host = host_v2("/a");
    host.set("sys/fs/cgroup/a/memory.max", "2147483648\n");
    host.set("sys/fs/cgroup/a/memory.high", "1073741824\n");
    let room = host.facts().cgroup.memory_bytes.expect("a limit");
    assert_eq!((room.file.as_str(), room.limit), ("/sys/fs/cgroup/a/memory.high", GIB));
}

#[test]
fn version_1_memory_is_what_the_limit_leaves() {
    let host = host_v1("/docker/abc");
    let folder = "sys/fs/cgroup/memory/docker/abc";
    host.set("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    host.set(&format!("{folder}/memory.limit_in_bytes"), "2147483648\n");
    host.set(&format!("{folder}/memory.usage_in_bytes"), "1610612736\n");
    host.set(&format!("{folder}/memory.stat"), "cache 9\ntotal_inactive_file 536870912\n");
    let diagnosis = host.diagnose(&echo(""), None);
    let cgroup = limit(&diagnosis, "memory of the cgroup");
    assert_eq!(cgroup.connections, (GIB / 100 * 80 - BUFFERS) / 4_248);
}

#[test]
fn no_limit_of_either_version_is_none() {
    let host = host_v1("/");
    host.set("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    host.set("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    host.set("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    host.set("sys/fs/cgroup/pids/pids.max", "max\n");
    assert_eq!(host.facts().cgroup, Default::default());
    let host = host_v2("/");
    host.set("sys/fs/cgroup/memory.max", "max\n");
    host.set("sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_eq!(host.facts().cgroup, Default::default());
}

#[test]
fn a_container_sees_its_own_group_at_the_mount() {
    // Without a cgroup namespace the path is the host's and the mount shows only that group.
    let host = Host::plain();
    let mount = V1.replace("0:31 / ", "0:31 /docker/abc ");
    host.set("proc/self/mountinfo", &mount);
    host.set("proc/self/cgroup", "4:memory:/docker/abc\n");
    host.set("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    let room = host.facts().cgroup.memory_bytes.expect("a limit");
    assert_eq!(room.file, "/sys/fs/cgroup/memory/memory.limit_in_bytes");
}

#[test]
fn the_quota_decides_the_workers() {
    for (quota, workers) in [("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)] {
        let host = host_v2("/a");
        host.set("sys/fs/cgroup/a/cpu.max", &format!("{quota}\n"));
        assert_eq!(host.diagnose(&echo(""), None).shape.workers, workers, "{quota}");
        assert_eq!(host.diagnose(&echo("workers = 7"), None).shape.workers, 7);
    }
    let host = host_v1("/a");
    host.set("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "150000\n");
    host.set("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "50000\n");
    assert_eq!(host.diagnose(&echo(""), None).shape.workers, 3);
}

#[test]
fn tasks_of_a_group_are_read_in_both_versions() {
    let host = host_v1("/a");
    host.set("sys/fs/cgroup/pids/a/pids.max", "100\n");
    host.set("sys/fs/cgroup/pids/a/pids.current", "60\n");
    assert_eq!(host.facts().cgroup.tasks.expect("a limit").free(), 40);
    let host = host_v2("/a");
    host.set("sys/fs/cgroup/a/pids.max", "100\n");
    host.set("sys/fs/cgroup/a/pids.current", "90\n");
    assert_eq!(host.facts().cgroup.tasks.expect("a limit").free(), 10);
}

/// Buffers of all cores and pipes for them would take more than such containers have.
#[test]
fn a_small_container_has_fewer_workers_and_pipes_and_holds_connections() {
    const MIB: u64 = 1 << 20;
    for (mebibytes, workers) in [(48, 1), (64, 2), (96, 3), (256, 4), (4096, 4)] {
        let host = host_v2("/a");
        host.set("sys/fs/cgroup/a/memory.max", &format!("{}\n", mebibytes * MIB));
        host.set("sys/fs/cgroup/a/memory.current", "0\n");
        let diagnosis = host.diagnose(&relay(100, ""), None);
        assert!(diagnosis.fits > 1_000, "{mebibytes}: {diagnosis}");
        assert_eq!(diagnosis.shape.workers, workers, "{mebibytes}: {diagnosis}");
        let says = |name: &str| {
            let check = diagnosis.checks.iter().find(|check| check.name == name);
            check.map(|check| check.says.clone()).unwrap_or_default()
        };
        assert_eq!(says("cores").contains("memory"), workers < 4, "{diagnosis}");
        let pipes = diagnosis.shape.pipes_per_worker;
        assert!(pipes > 0 && (pipes == 64) == (mebibytes == 4096), "{mebibytes}: {diagnosis}");
        assert_eq!(says("ring.splice_pipes").contains("memory"), pipes < 64, "{diagnosis}");
        // A number that is asked for comes before pipes, and pipes have all that it leaves.
        let few = host.diagnose(&relay(100, "max_connections = 10"), None).shape.pipes_per_worker;
        assert!(few >= pipes, "{mebibytes}: {few}");
        assert!(host.diagnose(&relay(100, ""), Some(diagnosis.fits)).holds());
        // A number of workers is somebody's will.
        let fixed = host.diagnose(&relay(100, "workers = 4"), None);
        assert_eq!((fixed.shape.workers, fixed.holds()), (4, mebibytes >= 96), "{fixed}");
    }
}
