//! One thing that bounds connections, and where it can be changed.

use serde::Serialize;

use crate::host::facts::{Facts, Namespace};

/// One thing that bounds connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What.
    pub name: &'static str,
    /// Which rule.
    #[serde(skip)]
    pub kind: Kind,
    /// How many connections it allows.
    pub connections: u64,
    /// Whether more are impossible.
    pub force: Force,
    /// Whose it is.
    pub scope: Scope,
    /// Where the number comes from.
    pub arithmetic: String,
}

/// Whether more connections than a limit allows are impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Force {
    /// They are: the gateway takes no more.
    Hard,
    /// They are not, but what the arithmetic says goes wrong beyond it. It never binds.
    Advisory,
}

/// The owner of a limit, and so the place where it is lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The machine's, for everybody on it.
    Host,
    /// The network namespace's: of a container, say.
    NetworkNamespace,
    /// The control group's: of a container or a service.
    Container,
    /// This process's.
    Process,
    /// The config file's, or the program's own.
    Config,
}

impl Scope {
    /// As a word of the report.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Host => "host",
            Scope::NetworkNamespace => "network namespace",
            Scope::Container => "cgroup",
            Scope::Process => "process",
            Scope::Config => "config",
        }
    }

    /// Of a sysctl that each network namespace has for itself.
    pub(super) fn of_network(facts: &Facts) -> Scope {
        match facts.network.namespace {
            Namespace::Host => Scope::Host,
            Namespace::Own | Namespace::Unknown => Scope::NetworkNamespace,
        }
    }
}

/// Each rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// io_uring cannot be used, or not as the config says.
    Kernel,
    /// A connection's index has 24 bits in each worker.
    Workers,
    /// RLIMIT_NOFILE: slots of a ring, and rings of the process.
    Descriptors,
    /// Each ring takes buffers of its worker.
    Buffers,
    /// Rings are locked memory.
    Memlock,
    /// fs.file-max.
    Files,
    /// fs.epoll.max_user_watches.
    Watches,
    /// The free memory of the machine.
    HostMemory,
    /// The memory that the control groups leave.
    CgroupMemory,
    /// The memory that the config gives to connections.
    MemoryLimit,
    /// Ports to connect from.
    SourcePorts,
    /// Ports that clients at one address connect from.
    ClientPorts,
    /// Tracked connections.
    Conntrack,
    /// Pages that queued bytes may take.
    TcpMem,
}

impl Limit {
    /// One that nothing goes beyond.
    pub(super) fn hard(
        kind: Kind,
        name: &'static str,
        scope: Scope,
        connections: u64,
        because: String,
    ) -> Limit {
        Limit { name, kind, connections, force: Force::Hard, scope, arithmetic: because }
    }
}
