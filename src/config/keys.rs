//! Every key that a config file may hold.

/// The keys of one kind of section.
#[derive(Debug)]
pub struct SectionKeys {
    /// The section's path; `NAME` stands for a name that the file chooses.
    pub section: &'static str,
    /// What it may hold.
    pub known: &'static [&'static str],
    /// What it may hold one day, refused by name until then.
    pub later: &'static [&'static str],
}

pub(super) const ROOT: SectionKeys = SectionKeys {
    section: "",
    known: &["gateway", "ring", "listener", "upstream", "admin", "status", "log", "access_log"],
    later: &[],
};

pub(super) const GATEWAY: SectionKeys = SectionKeys {
    section: "gateway",
    known: &["max_connections", "memory_limit", "workers", "pin_workers", "drain_timeout"],
    later: &[],
};

pub(super) const RING: SectionKeys = SectionKeys {
    section: "ring",
    known: &[
        "submission_entries",
        "completion_entries",
        "buffer_size",
        "buffer_count",
        "batch_wait",
        "quiet_after",
        "splice_pipes",
    ],
    later: &[],
};

pub(super) const LISTENER: SectionKeys = SectionKeys {
    section: "listener.NAME",
    known: &[
        "bind",
        "upstream",
        "backlog",
        "max_connections",
        "at_limit",
        "idle_timeout",
        "first_byte_timeout",
        "half_close_timeout",
        "max_lifetime",
        "accept_proxy",
    ],
    later: &["per_source", "tls"],
};

pub(super) const UPSTREAM: SectionKeys = SectionKeys {
    section: "upstream.NAME",
    known: &[
        "servers",
        "builtin",
        "balance",
        "connect",
        "connect_timeout",
        "send_proxy",
        "source_addresses",
    ],
    later: &["health", "lazy_wait", "tls"],
};

pub(super) const SERVER: SectionKeys = SectionKeys {
    section: "upstream.NAME.servers",
    known: &["name", "address", "weight"],
    later: &["max_connections"],
};

pub(super) const ADMIN: SectionKeys =
    SectionKeys { section: "admin", known: &["socket", "mode", "group"], later: &[] };

pub(super) const STATUS: SectionKeys =
    SectionKeys { section: "status", known: &["bind", "allow", "hosts"], later: &[] };

pub(super) const LOG: SectionKeys =
    SectionKeys { section: "log", known: &["level", "format"], later: &[] };

pub(super) const ACCESS_LOG: SectionKeys = SectionKeys {
    section: "access_log",
    known: &["path", "format", "openings", "empty", "queue_lines"],
    later: &[],
};

/// Every kind of section with its keys; the first is the file's top.
pub const SECTIONS: [&SectionKeys; 10] =
    [&ROOT, &GATEWAY, &RING, &LISTENER, &UPSTREAM, &SERVER, &ADMIN, &STATUS, &LOG, &ACCESS_LOG];
