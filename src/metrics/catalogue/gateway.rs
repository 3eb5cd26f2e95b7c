//! Metrics of the gateway as a whole, its process and its host.

use super::{Family, Kind, Reading, Shown, Sink, Value};
use crate::metrics::told::{DrainProgress, UpgradeProgress};

pub(super) const FAMILIES: &[Family] = &[
    Family::new(
        Kind::Info,
        "portcullis_build",
        &["version", "commit"],
        "Version and commit of the program; the commit is empty where the build did not know it",
        |reading, out| {
            let commit = reading.build.commit.as_deref().unwrap_or_default();
            out(&[&reading.build.version, commit], Value::Count(1));
        },
    ),
    Family::new(
        Kind::Info,
        "portcullis_io",
        &["by"],
        "How the gateway reaches the kernel: io_uring, or epoll where config or host say so",
        |reading, out| out(&[&reading.io.by], Value::Count(1)),
    ),
    Family::new(
        Kind::Info,
        "portcullis_config",
        &["sha256"],
        "The config file as it was read; empty where it runs without one",
        |reading, out| {
            out(&[reading.config.sha256.as_deref().unwrap_or_default()], Value::Count(1));
        },
    ),
    Family::gauge(
        "portcullis_budget_limit",
        &["reason"],
        "Connections that may be open at once, and the limit that this comes from",
        |reading, out| out(&[&reading.budget.bound_by], Value::Count(reading.budget.limit)),
    ),
    Family::gauge(
        "portcullis_budget_used",
        &[],
        "Permits that connections hold; at the limit clients wait or are reset",
        |reading, out| reading.budget.used.show(&[], out),
    ),
    Family::gauge(
        "portcullis_budget_leased",
        &[],
        "Permits that workers have, those that lie ready for the next clients among them",
        |reading, out| reading.budget.leased.show(&[], out),
    ),
    Family::gauge(
        "portcullis_sources_counted",
        &[],
        "Sources with a connection, where per_source.max_connections counts them",
        |reading, out| reading.sources.counted.show(&[], out),
    ),
    Family::gauge(
        "portcullis_draining",
        &[],
        "1 from the signal to drain until the end or its cancel, 0 before",
        |reading, out| reading.drain.draining.show(&[], out),
    ),
    Family::gauge(
        "portcullis_drain_remaining_seconds",
        &[],
        "Until connections that are left will be ended; below 0 the drain is late; 0 before one",
        |reading, out| remaining_seconds(reading).show(&[], out),
    ),
    Family::gauge(
        "portcullis_drain_connections_left",
        &["drain"],
        "Connections that a drain under way has still to end; without one there is no sample",
        |reading, out| by_drain(reading, &mut |name, one| one.left.show(&[name], out)),
    ),
    Family::gauge(
        "portcullis_drain_pace",
        &["drain"],
        "Connections that a drain under way ends per second, by its present pace",
        |reading, out| by_drain(reading, &mut |name, one| one.per_second.show(&[name], out)),
    ),
    Family::gauge(
        "portcullis_drain_expected_seconds",
        &["drain"],
        "Until a drain under way has ended all of its connections, by its present pace",
        |reading, out| by_drain(reading, &mut |name, one| one.seconds_left.show(&[name], out)),
    ),
    Family::gauge(
        "portcullis_upgrade_connections_moved",
        &[],
        "Connections that the successor of an upgrade under way has; without one no sample",
        |reading, out| of_upgrade(reading, &|one| one.moved, out),
    ),
    Family::gauge(
        "portcullis_upgrade_connections_left",
        &[],
        "Connections that have still to move in an upgrade under way; without one no sample",
        |reading, out| of_upgrade(reading, &|one| one.left, out),
    ),
    Family::gauge(
        "portcullis_certificate_expiry_timestamp_seconds",
        &["listener", "certificate"],
        "When a certificate of a listener expires, by its file, in seconds since 1970",
        |reading, out| {
            for one in &reading.certificates {
                let labels = [&*one.listener, &*one.file];
                out(&labels, Value::Count(one.not_after_seconds_since_1970));
            }
        },
    ),
    Family::counter(
        "portcullis_access_log_lines",
        &["outcome"],
        "Lines for the access log: written, dropped at a full queue, or failed to be written",
        |reading, out| {
            if let Some(log) = &reading.access_log {
                out(&["dropped"], Value::Count(log.dropped));
                out(&["failed"], Value::Count(log.failed));
                out(&["written"], Value::Count(log.written));
            }
        },
    ),
    Family::gauge(
        "portcullis_host_open_files",
        &[],
        "Open files of the whole machine (fs.file-nr), each connection's sockets among them",
        |reading, out| reading.host.open_files.show(&[], out),
    ),
    Family::gauge(
        "portcullis_host_max_files",
        &[],
        "The most open files of the whole machine (fs.file-max)",
        |reading, out| reading.host.max_files.show(&[], out),
    ),
    Family::counter(
        "process_cpu_seconds",
        &[],
        "User and system time of all threads, with that of processes that it has taken over from",
        |reading, out| reading.process.cpu_seconds.show(&[], out),
    ),
    Family::gauge(
        "process_resident_memory_bytes",
        &[],
        "Memory of the process that is in RAM; the kernel's memory for sockets is not in it",
        |reading, out| reading.process.resident_memory_bytes.show(&[], out),
    ),
    Family::gauge(
        "process_open_fds",
        &[],
        "Ordinary descriptors; connections live in the rings' tables and are not among them",
        |reading, out| reading.process.open_fds.show(&[], out),
    ),
    Family::gauge(
        "process_max_fds",
        &[],
        "The soft limit of ordinary descriptors (RLIMIT_NOFILE)",
        |reading, out| reading.process.max_fds.show(&[], out),
    ),
    Family::gauge(
        "process_start_time_seconds",
        &[],
        "When the process was started, in seconds since 1970",
        |reading, out| reading.process.start_time_seconds.show(&[], out),
    ),
];

fn by_drain(reading: &Reading, show: &mut dyn FnMut(&str, &DrainProgress)) {
    reading.drains.iter().for_each(|one| show(&one.name, one));
}

fn of_upgrade(reading: &Reading, number: &dyn Fn(&UpgradeProgress) -> u64, out: &mut Sink<'_>) {
    reading.upgrade.iter().for_each(|one| number(one).show(&[], out));
}

fn remaining_seconds(reading: &Reading) -> f64 {
    reading.drain.deadline_seconds.map_or(0.0, |deadline| deadline - reading.at_seconds)
}
