//! What the kernel says about memory, sockets and files.

use std::fs::read_to_string;

use serde_json::{Value, json};

/// The machine's sockets and files, and the target's memory where its process is known.
pub(crate) fn all(target: Option<u32>) -> Value {
    let sockstat = read_to_string("/proc/net/sockstat").unwrap_or_default();
    let files = read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    json!({
        "files": files.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()),
        "sockets": figure(&sockstat, "sockets:", "used"),
        "tcp_in_use": figure(&sockstat, "TCP:", "inuse"),
        "tcp_time_wait": figure(&sockstat, "TCP:", "tw"),
        "tcp_memory_pages": figure(&sockstat, "TCP:", "mem"),
        "target_pss_bytes": target.and_then(memory_bytes),
    })
}

/// A process's memory, shared pages counted by their share.
fn memory_bytes(pid: u32) -> Option<u64> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The number after `key` in the line that begins with `head`.
fn figure(text: &str, head: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(head))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == key)?;
    words.next()?.parse().ok()
}
