//! A host that a test builds: its /proc and /sys in a directory of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use portcullis::config::Config;
use portcullis::doctor::{Diagnosis, Limit};
use portcullis::host::facts::{Facts, Given, Kernel};

/// A plain machine of 4 cores, 16 GiB free and a million files, where root may do everything.
const PLAIN: &[(&str, &str)] = &[
    (
        "proc/self/status",
        "Name:\tportcullis\nCapEff:\t000001ffffffffff\nSeccomp:\t0\nCpus_allowed_list:\t0-3\n",
    ),
    ("proc/self/cgroup", "0::/\n"),
    ("proc/self/mountinfo", "25 30 0:22 / /sys rw - sysfs sysfs rw\n"),
    ("proc/meminfo", "MemTotal:       20000000 kB\nMemAvailable:   16777216 kB\n"),
    ("proc/net/sockstat", "sockets: used 16\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 100\n"),
    ("proc/sys/kernel/osrelease", "6.18.0\n"),
    ("proc/sys/fs/nr_open", "1048576\n"),
    ("proc/sys/fs/file-nr", "1000\t0\t1000000\n"),
    ("proc/sys/net/core/somaxconn", "65535\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
    ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("proc/sys/net/ipv4/tcp_tw_reuse", "1\n"),
    ("proc/sys/net/ipv4/tcp_migrate_req", "1\n"),
    ("proc/sys/net/ipv4/tcp_mem", "300000\t400000\t600100\n"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
];

pub(crate) struct Host {
    root: tempfile::TempDir,
    pub(crate) given: Given,
}

impl Host {
    /// [`PLAIN`], with RLIMIT_NOFILE 20,000.
    pub(crate) fn plain() -> Host {
        let root = tempfile::tempdir().expect("a directory");
        let given = Given {
            files: (1024, 20_000),
            memlock_bytes: (8 << 20, 8 << 20),
            locked_elsewhere_bytes: 0,
            leaving_connections: 0,
            kernel: Kernel::complete(),
        };
        let host = Host { root, given };
        for (path, text) in PLAIN {
            host.set(path, text);
        }
        host.link("proc/self/ns/pid", "pid:[4026531836]");
        host.link("proc/self/ns/user", "user:[4026531837]");
        host
    }

    /// The same without any capability.
    pub(crate) fn unprivileged() -> Host {
        let host = Host::plain();
        host.set("proc/self/status", "CapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n");
        host
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn set(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root.path().join(path)).expect("it was there");
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let _ = fs::remove_file(&path);
        symlink(target, path).expect("a link");
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts::read(self.root(), self.given.clone())
    }

    /// What the doctor says, for a number or for as many as fit.
    pub(crate) fn diagnose(&self, config: &Config, connections: Option<u64>) -> Diagnosis {
        Diagnosis::new(self.facts(), config, connections)
    }
}

/// A gateway in front of `servers`, 10.0.0.1:9000 and so on, with more lines for `[gateway]`.
pub(crate) fn relay(servers: usize, gateway: &str) -> Config {
    let servers: Vec<String> =
        (0..servers).map(|index| format!("\"10.0.0.1:{}\"", 9000 + index)).collect();
    parsed(&format!(
        "[gateway]\n{gateway}\n[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [{}]\n",
        servers.join(", ")
    ))
}

/// A gateway that answers by itself.
pub(crate) fn echo(gateway: &str) -> Config {
    parsed(&format!(
        "[gateway]\n{gateway}\n[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n"
    ))
}

pub(crate) fn parsed(text: &str) -> Config {
    Config::parse(text, "p.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The limit of that name.
pub(crate) fn limit<'a>(diagnosis: &'a Diagnosis, name: &str) -> &'a Limit {
    let found = diagnosis.limits.iter().find(|limit| limit.name == name);
    found.unwrap_or_else(|| panic!("no limit {name} in {diagnosis}"))
}
