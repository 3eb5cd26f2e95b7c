//! Where a result comes from: the version of its shape, the command and the host.

use std::fs::read_to_string;
use std::path::Path;

use serde_json::{Value, json};

/// The version of the result's shape.
pub(crate) const SCHEMA: u32 = 2;

/// The command line of this run. Files go by their names alone: a result is given to others, whose
/// folders are not ours.
pub(crate) fn command() -> String {
    let name = |word: String| match Path::new(&word).file_name() {
        Some(name) if word.starts_with('/') => name.to_string_lossy().into_owned(),
        _ => word,
    };
    std::env::args().map(name).collect::<Vec<_>>().join(" ")
}

/// The kernel, and how many cores we may use.
pub(crate) fn host() -> Value {
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({"kernel": kernel.trim(), "cores": cores})
}
