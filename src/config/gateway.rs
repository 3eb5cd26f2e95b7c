//! `[gateway]`: what concerns the process as a whole.

use std::time::Duration;

use crate::base::limits::{CONNECTIONS_MAX, WORKER_CONNECTIONS_MAX, WORKERS_MAX};
use crate::config::Auto;
use crate::config::error::ConfigError;
use crate::config::file::Section;
use crate::config::form::{Number, OrAuto, Size, Span, Switch};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;

pub(super) const GATEWAY: SectionKeys =
    SectionKeys { section: "gateway", about: "", keys: &[Gateway::KEYS], later: &[] };

keys! {
    /// What concerns the process as a whole.
    Gateway;

    /// Clients held at once, over all listeners, at most 16777216 per worker. auto: what the host
    /// allows, logged at the start. A number above what the start made room for needs a restart.
    ///
    /// Change it when memory must be left for others on the host; clients beyond it wait in the
    /// backlog.
    "max_connections" max_connections: Auto<u32> = "auto", Live,
        OrAuto(Number(1..=CONNECTIONS_MAX as u64)), "write how many clients to hold at once";

    /// Memory that connections may take, the kernel's and the gateway's own. It bounds
    /// max_connections, at 8368 bytes for an idle connection to a server and 4248 for one that the
    /// gateway answers. auto: 80 % of what the host and the cgroup have left at the start.
    ///
    /// Lower it when other programs on the host need memory later; raise it when `portcullis
    /// doctor` says that memory binds and the machine runs nothing else.
    "memory_limit" memory_limit: Auto<u64> = "auto", Restart,
        OrAuto(Size(1 << 20..=1 << 50)), "write \"8GiB\", say: what connections may take";

    /// Threads that move bytes. auto: one per core of the CPU quota.
    ///
    /// Lower it when other programs on the host starve; raising it above the cores only adds
    /// switching.
    "workers" workers: Auto<u16> = "auto", Restart,
        OrAuto(Number(1..=WORKERS_MAX as u64)),
        "write how many threads to run, one per core to use";

    /// Keep each worker on a core of its own. auto: yes, unless a CPU quota or another gateway on
    /// the host makes that harmful.
    ///
    /// Write false when one core is saturated while others idle and other programs share the host.
    "pin_workers" pin_workers: Auto<bool> = "auto", Restart,
        OrAuto(Switch), "write true to keep each worker on a core of its own";

    /// From SIGTERM to the end of the process: stop accepting, close at a pace, be done by then.
    ///
    /// Raise it when the log counts connections that were cut at the deadline; keep it below what
    /// the service manager waits before it kills (Kubernetes: 30 s, systemd: 90 s).
    "drain_timeout" drain_timeout: Duration = "25s", Live,
        Span::Any, "write \"25s\", less than the service manager waits before it kills";
}

pub(super) fn gateway(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Gateway {
    let gateway = Gateway::read(section, problems);
    if let (Auto::Fixed(clients), Auto::Fixed(threads)) = (gateway.max_connections, gateway.workers)
    {
        let most = u32::from(threads).saturating_mul(WORKER_CONNECTIONS_MAX);
        let wrong = section.get("max_connections").filter(|_| clients > most);
        problems.extend(wrong.map(|value| {
            let rule = format!(
                "must be at most {WORKER_CONNECTIONS_MAX} per worker, {most} with {threads}"
            );
            value.error(rule, "write less, or more workers")
        }));
    }
    gateway
}
