//! `[gateway]`: what concerns the process as a whole.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::limits::{CONNECTIONS_MAX, WORKER_CONNECTIONS_MAX, WORKERS_MAX};
use crate::config::error::ConfigError;
use crate::config::file::Section;
use crate::config::form::{AS_IT_STANDS, Choice, Number, OrAuto, Size, Span, Switch, Word};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;
use crate::config::{Auto, Io, OnRemoval, StateDirectory};

/// The longest grace: after an hour no balancer is late.
const GRACE_MAX: Duration = Duration::from_secs(3600);

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
    /// gateway answers; 32 more where a listener has accept_proxy, 20 more where one limits the
    /// connections of a source, and 16 more where one limits their rate. auto: 80 % of what the
    /// host and the cgroup have left at the start.
    ///
    /// Lower it when other programs on the host need memory later; raise it when `portcullis
    /// doctor` says that memory binds and the machine runs nothing else.
    "memory_limit" memory_limit: Auto<u64> = "auto", Restart,
        OrAuto(Size(1 << 20..=1 << 50)), "write \"8GiB\", say: what connections may take";

    /// Threads that move bytes. auto: one per core of the CPU quota, or fewer where memory for
    /// buffers, or descriptors for passive sockets, would not suffice.
    ///
    /// Lower it when other programs on the host starve; raising it above the cores only adds
    /// switching.
    "workers" workers: Auto<u16> = "auto", Restart,
        OrAuto(Number(1..=WORKERS_MAX as u64)),
        "write how many threads to run, one per core to use";

    /// How the gateway reaches the kernel. "io_uring": by rings, or it does not start. "epoll": by
    /// a system call for each step, which costs more for each byte and connection, and
    /// RLIMIT_NOFILE bounds the sockets of all connections together. "auto": io_uring, or epoll
    /// where the host refuses it (a seccomp filter, kernel.io_uring_disabled) or the kernel is too
    /// old; a warning says so then.
    ///
    /// Write "io_uring" when a gateway that is slower than it was planned is worse than none.
    "io" io: Io = "auto", Restart,
        IOS, AS_IT_STANDS;

    /// Keep each worker on a core of its own. auto: yes, unless a CPU quota or another gateway on
    /// the host makes that harmful.
    ///
    /// Write false when one core is saturated while others idle and other programs share the host.
    "pin_workers" pin_workers: Auto<bool> = "auto", Restart,
        OrAuto(Switch), "write true to keep each worker on a core of its own";

    /// From the end of drain_grace to the end of the process: stop accepting, close at a pace, be
    /// done by then. Connections that a reload ends get the same time.
    ///
    /// Raise it ("10m") when the log counts connections that were cut at the deadline; with
    /// drain_grace it stays below what the service manager waits before it kills (Kubernetes: 30 s,
    /// systemd: 90 s).
    "drain_timeout" drain_timeout: Duration = "25s", Live,
        Span::Any, "write \"25s\" or \"10m\", less than the service manager waits before a kill";

    /// From SIGTERM to the begin of the drain: /readyz answers 503 and new clients are still
    /// served, so that balancers send them elsewhere first.
    ///
    /// Write what a balancer takes to see it, two of its probes' periods, say, when clients find
    /// the address silent at a rollout.
    "drain_grace" drain_grace: Duration = "0s", Live,
        Span::Of(Duration::ZERO..=GRACE_MAX), "write \"10s\", or \"0s\" for none";

    /// What becomes of the connections of a listener or a server that a change takes away. "drain":
    /// they end at the pace of drain_timeout, those of a server after removed_timeout. "keep": they
    /// stay to their own end.
    ///
    /// Write "keep" when clients must never be moved by a change.
    "on_removal" on_removal: OnRemoval = "drain", Live,
        ON_REMOVALS, AS_IT_STANDS;

    /// A directory for what must outlive the process: the last good set of servers of every name,
    /// file and etcd prefix, for a start at which these do not answer. auto: $STATE_DIRECTORY,
    /// which systemd sets, or nowhere; off: nowhere.
    ///
    /// Write a path when the log says that a start went without servers.
    "state_directory" state_directory: StateDirectory = "auto", Live,
        STATE_DIRECTORIES, "write \"/var/lib/portcullis\"";
}

const IOS: Choice<Io> = Choice {
    words: &[("auto", Io::Auto), ("io_uring", Io::IoUring), ("epoll", Io::Epoll)],
    later: &[],
};

const ON_REMOVALS: Choice<OnRemoval> =
    Choice { words: &[("drain", OnRemoval::Drain), ("keep", OnRemoval::Keep)], later: &[] };

const STATE_DIRECTORIES: Word<StateDirectory> = Word {
    values: "\"auto\", \"off\" or an absolute path",
    accept: |word| match word {
        "auto" => Some(StateDirectory::Auto),
        "off" => Some(StateDirectory::Off),
        path => path.starts_with('/').then(|| StateDirectory::At(PathBuf::from(path))),
    },
    show: |directory| match directory {
        StateDirectory::Auto => "auto".into(),
        StateDirectory::Off => "off".into(),
        StateDirectory::At(path) => path.to_string_lossy(),
    },
};

impl StateDirectory {
    /// Its path, if there is one.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            // The service manager may name several, with colons between them.
            StateDirectory::Auto => {
                let all = std::env::var("STATE_DIRECTORY").ok()?;
                all.split(':').next().filter(|path| path.starts_with('/')).map(PathBuf::from)
            }
            StateDirectory::Off => None,
            StateDirectory::At(path) => Some(path.clone()),
        }
    }
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
