//! The first line of a series: where, when and how it was measured.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::time::SystemTime;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use super::target::{Skipped, Target};
use crate::result::{SCHEMA, command, host};

/// Settings of the kernel that results depend on.
const SYSCTLS: [&str; 10] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
];

/// The line.
pub(crate) fn line(
    scenario: &str,
    targets: &[Target],
    skipped: &[Skipped],
    notes: &[String],
) -> Value {
    let host = host();
    let sysctls = SYSCTLS.iter().filter_map(|name| Some(((*name).to_owned(), sysctl(name)?)));
    // A sweep has one target, with many configs.
    let mut named: Vec<Value> = targets.iter().map(Target::json).collect();
    named.dedup();
    json!({
        "schema": SCHEMA, "scenario": scenario,
        "about": {
            "kernel": host["kernel"], "cores": host["cores"], "memory_bytes": memory_bytes(),
            "command": command(),
            "started": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            "ulimit_nofile": getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard),
            "sysctls": sysctls.collect::<BTreeMap<_, _>>(),
            "targets": named,
            "skipped": skipped.iter().map(Skipped::json).collect::<Vec<_>>(),
            "notes": notes,
        },
    })
}

fn sysctl(name: &str) -> Option<String> {
    let text = read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn memory_bytes() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
