//! The whole file: each section by its own rules, then what holds between sections.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::error::ConfigError;
use crate::config::file::Section;
use crate::config::read::{Durations, Rule};
use crate::config::{
    AccessLog, AccessPath, Auto, Config, Gateway, Level, Log, LogFormat, RingConfig, control, keys,
    listener, upstream,
};

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const PATH_RULE: Rule<'_> = Rule {
    must: "must be \"off\", \"stdout\" or an absolute path",
    remedy: "write \"/var/log/portcullis/access.log\"",
};

/// The most clients that a file may ask for; memory ends long before.
const MAX_CONNECTIONS: u32 = 100_000_000;
/// A connection's index has 24 bits in each worker.
const MAX_CONNECTIONS_PER_WORKER: u32 = 1 << 24;

const BATCH_WAITS: Durations = Durations {
    range: Duration::from_micros(10)..=Duration::from_millis(10),
    must: "must be a duration from 10us to 10ms",
};

/// The config that the sections make; worthless when it adds a problem.
pub(super) fn config(root: &Section<'_>, problems: &mut Vec<ConfigError>) -> Config {
    root.check_keys(problems);
    let gateway = gateway(&root.section(&keys::GATEWAY, problems), problems);
    let ring = ring(&root.section(&keys::RING, problems), problems);
    let admin = control::admin(&root.section(&keys::ADMIN, problems), problems);
    let status_section = root.section(&keys::STATUS, problems);
    let status = control::status(&status_section, problems);
    let log = log(&root.section(&keys::LOG, problems), problems);
    let access_log = access_log(&root.section(&keys::ACCESS_LOG, problems), problems);
    let (upstreams, leads) = upstream::upstreams(root, problems);
    let (listeners, mut taken) = listener::listeners(root, (&upstreams, &leads), problems);
    control::own_address(&status_section, &status, &mut taken, problems);
    Config {
        gateway,
        ring,
        listeners,
        upstreams,
        admin,
        status,
        log,
        access_log,
        file_sha256: None,
    }
}

fn gateway(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Gateway {
    let max_connections = section.auto_number(
        problems,
        "max_connections",
        1..=MAX_CONNECTIONS.into(),
        "write how many clients to hold at once",
    );
    let workers = section.auto_number(
        problems,
        "workers",
        1..=1024,
        "write how many threads to run, one per core to use",
    );
    if let (Auto::Fixed(clients), Auto::Fixed(threads)) = (max_connections, workers) {
        let most = u32::from(threads).saturating_mul(MAX_CONNECTIONS_PER_WORKER);
        let wrong = section.get("max_connections").filter(|_| clients > most);
        problems.extend(wrong.map(|value| {
            let rule = format!(
                "must be at most {MAX_CONNECTIONS_PER_WORKER} per worker, {most} with {threads}"
            );
            value.error(rule, "write less, or more workers")
        }));
    }
    Gateway {
        max_connections,
        memory_limit: section.auto_size(
            problems,
            "memory_limit",
            1 << 20..=1 << 50,
            Rule {
                must: "must be a size, 1MiB to 1PiB, or \"auto\"",
                remedy: "write \"8GiB\", say: what connections may take",
            },
        ),
        workers,
        pin_workers: section.auto_bool(
            problems,
            "pin_workers",
            "write true to keep each worker on a core of its own",
        ),
        drain_timeout: section.duration(
            problems,
            "drain_timeout",
            Gateway::default().drain_timeout,
            "write \"25s\", less than the service manager waits before it kills",
        ),
    }
}

fn ring(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> RingConfig {
    let default = RingConfig::default();
    let ring = RingConfig {
        submission_entries: section.power_of_two(
            problems,
            "submission_entries",
            default.submission_entries,
            64..=32_768,
            "write the default, 4096",
        ),
        completion_entries: section.power_of_two(
            problems,
            "completion_entries",
            default.completion_entries,
            128..=131_072,
            "write the default, 16384",
        ),
        buffer_bytes: section.size(
            problems,
            "buffer_size",
            default.buffer_bytes,
            1 << 10..=1 << 20,
            Rule { must: "must be a size, 1KiB to 1MiB", remedy: "write the default, \"16KiB\"" },
        ),
        buffer_count: section.number(
            problems,
            "buffer_count",
            default.buffer_count,
            8..=32_768,
            "write how many connections may have bytes on their way at once",
        ),
        batch_wait: section.duration_or_off(
            problems,
            "batch_wait",
            default.batch_wait,
            BATCH_WAITS,
            "write the default, \"off\", or 200us where CPU is short",
        ),
        quiet_after: section.duration(
            problems,
            "quiet_after",
            default.quiet_after,
            "write the default, \"10s\"",
        ),
        splice_pipes: section.number(
            problems,
            "splice_pipes",
            default.splice_pipes,
            0..=4096,
            "write how many connections may move bulk uncopied at once",
        ),
    };
    if ring.completion_entries < 2 * ring.submission_entries {
        let rule = format!(
            "completion_entries ({}) must be at least twice submission_entries ({})",
            ring.completion_entries, ring.submission_entries
        );
        let value = section.get("completion_entries").or_else(|| section.get("submission_entries"));
        problems.extend(value.map(|value| value.error(rule, "raise the one or lower the other")));
    }
    ring
}

fn log(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Log {
    let default = Log::default();
    let levels = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    Log {
        level: section.choice(problems, "level", default.level, &levels, &[]),
        format: section.choice(problems, "format", default.format, &FORMATS, &[]),
    }
}

fn access_log(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> AccessLog {
    let default = AccessLog::default();
    AccessLog {
        path: section.word(problems, "path", default.path, PATH_RULE, |word| match word {
            "off" => Some(AccessPath::Off),
            "stdout" => Some(AccessPath::Stdout),
            path => path.starts_with('/').then(|| AccessPath::File(PathBuf::from(path))),
        }),
        format: section.choice(problems, "format", default.format, &FORMATS, &[]),
        openings: section.switch(problems, "openings", default.openings),
        empty: section.switch(problems, "empty", default.empty),
        queue_lines: section.number(
            problems,
            "queue_lines",
            default.queue_lines,
            1..=1_048_576,
            "write how many lines may wait while the disk is busy, 256 bytes each",
        ),
    }
}
