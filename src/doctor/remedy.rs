//! What lifts a limit: exact commands, and fragments for sysctl.d and systemd.

use std::fmt::Write;

use serde::Serialize;

use super::checks::{Check, Verdict, ports_of};
use super::facts::Facts;
use super::limits::{
    FILES_RESERVED, Force, Kind, Limit, MEMORY_PERCENT, Scope, buffers_bytes, connection_bytes,
    pairs,
};
use super::shape::{Means, TABLE_ENTRIES_MAX, WORKER_CONNECTIONS_MAX};
use super::words::{count, size, thousands};
use crate::base::limits::BUFFERS;
use crate::config::{Auto, Config};

/// The widest range of ports to connect from that leaves the privileged ones alone.
pub const PORTS_WIDEST: (u16, u16) = (1024, 65_535);
/// Rings of a worker that were measured to cost little more than one.
const FEW_RINGS: u32 = 64;
/// The most that ring.buffer_count may be.
const BUFFERS_MAX: u64 = *BUFFERS.end() as u64;
const MIB: u64 = 1 << 20;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// A sysctl.
    Sysctl {
        /// As in `fs.file-max`.
        key: String,
        /// What it should be.
        value: String,
        /// Whose it is.
        scope: Scope,
    },
    /// A limit of the service.
    Unit {
        /// As in `LimitNOFILE`.
        key: String,
        /// What it should be.
        value: String,
        /// The same in a shell, where there is such a thing.
        shell: Option<String>,
    },
    /// A key of the config file.
    Config {
        /// As in `gateway.workers`.
        key: String,
        /// What it should be, as TOML.
        value: String,
    },
    /// What no command does.
    Words(String),
}

impl Remedy {
    pub(super) fn sysctl(key: &str, value: &str, scope: Scope) -> Remedy {
        Remedy::Sysctl { key: key.to_owned(), value: value.to_owned(), scope }
    }

    pub(super) fn unit(key: &str, value: &str, shell: Option<String>) -> Remedy {
        Remedy::Unit { key: key.to_owned(), value: value.to_owned(), shell }
    }

    fn config(key: &str, value: u64) -> Remedy {
        Remedy::Config { key: key.to_owned(), value: value.to_string() }
    }

    /// The widest range of ports to connect from, without those that somebody listens on; nothing
    /// where it is as wide already.
    pub fn widest_ports(facts: &Facts, listening: &[u16]) -> Vec<Remedy> {
        if facts.network.ports == Some(PORTS_WIDEST) {
            return Vec::new();
        }
        let range = format!("{} {}", PORTS_WIDEST.0, PORTS_WIDEST.1);
        let scope = Scope::of_network(facts);
        let mut remedies = vec![Remedy::sysctl("net.ipv4.ip_local_port_range", &range, scope)];
        let exposed = exposed_ports(facts, listening);
        if !exposed.is_empty() {
            remedies.push(reserve_ports(facts, &exposed));
        }
        remedies
    }

    /// A RLIMIT_NOFILE of so many.
    pub(super) fn descriptors(facts: &Facts, files: u64) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        if facts.host.nr_open.is_some_and(|most| most < files) {
            remedies.push(Remedy::sysctl("fs.nr_open", &files.to_string(), Scope::Host));
        }
        let docker = format!("ulimit -n {files}  # docker: --ulimit nofile={files}");
        let plain = format!("ulimit -n {files}");
        let shell = Some(if facts.process.container { docker } else { plain });
        remedies.push(Remedy::unit("LimitNOFILE", &files.to_string(), shell));
        remedies
    }

    /// Room for so many files beside those in use.
    pub fn files(facts: &Facts, files: u64) -> Remedy {
        let used = facts.host.files_used.unwrap_or(0);
        let value = files.saturating_add(used + FILES_RESERVED).to_string();
        Remedy::sysctl("fs.file-max", &value, Scope::Host)
    }

    /// Room for so many clients to wait at each passive socket.
    pub fn backlog(facts: &Facts, clients: u64) -> Remedy {
        Remedy::sysctl("net.core.somaxconn", &clients.to_string(), Scope::of_network(facts))
    }

    /// Room for so many unfinished handshakes at each passive socket.
    pub fn syn_backlog(facts: &Facts, handshakes: u64) -> Remedy {
        let scope = Scope::of_network(facts);
        Remedy::sysctl("net.ipv4.tcp_max_syn_backlog", &handshakes.to_string(), scope)
    }

    /// Room for so many pages of queued bytes beside those in use.
    pub fn tcp_mem(facts: &Facts, pages: u64) -> Remedy {
        // The kernel's own proportions: half, two thirds, all.
        let max = pages + facts.host.tcp_mem_used_pages.unwrap_or(0);
        let value = format!("{} {} {max}", max / 2, max / 3 * 2);
        Remedy::sysctl("net.ipv4.tcp_mem", &value, Scope::Host)
    }

    /// The command, or what to do where none does it. `container`: whether we are in one.
    pub fn command(&self, container: bool) -> String {
        match self {
            Remedy::Sysctl { key, value, scope } => {
                let place = match scope {
                    Scope::Host if container => "  # on the host, not in the container",
                    Scope::NetworkNamespace if container => {
                        "  # in this network namespace (docker: --sysctl)"
                    }
                    Scope::NetworkNamespace => "  # in this network namespace",
                    _ => "",
                };
                if value.contains(|c: char| !c.is_ascii_alphanumeric()) {
                    format!("sysctl -w {key}=\"{value}\"{place}")
                } else {
                    format!("sysctl -w {key}={value}{place}")
                }
            }
            Remedy::Unit { shell: Some(shell), .. } => shell.clone(),
            Remedy::Unit { key, value, .. } => {
                format!("systemctl set-property portcullis.service {key}={value}")
            }
            Remedy::Config { key, value } => format!("in the config file: {key} = {value}"),
            Remedy::Words(words) => words.clone(),
        }
    }
}

/// What to change to hold a number of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prescription {
    /// The number.
    pub connections: u64,
    /// Without these it does not fit. Empty when it does.
    pub must: Vec<Remedy>,
    /// With these it is served better.
    pub should: Vec<Remedy>,
}

impl Prescription {
    /// For `connections`, with advice for `held`.
    pub(super) fn new(
        (connections, held): (u64, u64),
        facts: &Facts,
        config: &Config,
        means: &Means,
        (limits, checks): (&[Limit], &[Check]),
    ) -> Prescription {
        let case = Case { connections, facts, config, means };
        let hard = limits.iter().filter(|limit| limit.force == Force::Hard);
        let short = hard.filter(|limit| limit.connections < connections);
        let must = unique(short.flat_map(|limit| case.remedies(limit)), &[]);
        // Advice is for what will be held, not for what could be.
        let case = Case { connections: held, ..case };
        let advised = exceeded(limits, facts, held).flat_map(|limit| case.remedies(limit));
        let warned = checks.iter().filter(|check| check.verdict == Verdict::Warning);
        let warned = warned.flat_map(|check| check.remedies.clone());
        let should = unique(advised.chain(warned), &must);
        Prescription { connections, must, should }
    }

    fn all(&self) -> impl Iterator<Item = &Remedy> {
        self.must.iter().chain(&self.should)
    }

    /// For /etc/sysctl.d; `None` when no sysctl is to change.
    pub fn sysctl_fragment(&self) -> Option<String> {
        let mut text = String::new();
        for remedy in self.all() {
            if let Remedy::Sysctl { key, value, .. } = remedy {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// A drop-in of the service; `None` when no limit of it is to change.
    pub fn systemd_fragment(&self) -> Option<String> {
        let mut text = String::new();
        for remedy in self.all() {
            if let Remedy::Unit { key, value, .. } = remedy {
                let _ = writeln!(text, "{key}={value}");
            }
        }
        (!text.is_empty()).then(|| format!("[Service]\n{text}"))
    }
}

/// Advisory limits that `held` connections exceed. Where nothing is tracked, nothing will be.
pub(super) fn exceeded<'a>(
    limits: &'a [Limit],
    facts: &'a Facts,
    held: u64,
) -> impl Iterator<Item = &'a Limit> {
    let tracked = facts.network.conntrack_used.is_none_or(|used| used > 0);
    let advisory = limits.iter().filter(|limit| limit.force == Force::Advisory);
    advisory
        .filter(move |limit| limit.connections < held)
        .filter(move |limit| limit.kind != Kind::Conntrack || tracked)
}

/// Each setting once, as the first remedy that names it has it, and none of `taken`.
fn unique(remedies: impl Iterator<Item = Remedy>, taken: &[Remedy]) -> Vec<Remedy> {
    let mut kept: Vec<Remedy> = Vec::new();
    for remedy in remedies {
        if kept.iter().chain(taken).all(|other| key_of(other) != key_of(&remedy)) {
            kept.push(remedy);
        }
    }
    kept
}

fn key_of(remedy: &Remedy) -> &str {
    match remedy {
        Remedy::Sysctl { key, .. } | Remedy::Unit { key, .. } | Remedy::Config { key, .. } => key,
        Remedy::Words(words) => words,
    }
}

/// Ports of the widest range that nothing keeps from outgoing connections.
fn exposed_ports(facts: &Facts, ports: &[u16]) -> Vec<u16> {
    let free = |port: &u16| *port >= PORTS_WIDEST.0 && !facts.network.is_reserved(*port);
    ports.iter().copied().filter(free).collect()
}

/// Keeps `ports` from outgoing connections, beside those that are kept already.
pub(super) fn reserve_ports(facts: &Facts, ports: &[u16]) -> Remedy {
    let mut list: Vec<String> = ports.iter().map(u16::to_string).collect();
    if !facts.network.ports_reserved.is_empty() {
        list.insert(0, facts.network.ports_reserved.clone());
    }
    let scope = Scope::of_network(facts);
    Remedy::sysctl("net.ipv4.ip_local_reserved_ports", &list.join(","), scope)
}

/// A number of connections on a host.
struct Case<'a> {
    connections: u64,
    facts: &'a Facts,
    config: &'a Config,
    means: &'a Means,
}

impl Case<'_> {
    fn remedies(&self, limit: &Limit) -> Vec<Remedy> {
        let facts = self.facts;
        match limit.kind {
            Kind::Kernel => vec![Remedy::Words(limit.arithmetic.clone())],
            Kind::Workers => vec![self.more_workers()],
            Kind::Descriptors => self.more_descriptors(),
            Kind::Buffers => self.more_buffers(),
            Kind::Memlock => {
                let ours = self.means.locked_bytes(self.connections);
                let bytes = ours.saturating_add(facts.process.locked_elsewhere_bytes);
                let bytes = bytes.next_multiple_of(MIB);
                let shell = Some(format!("ulimit -l {}", bytes >> 10));
                vec![Remedy::unit("LimitMEMLOCK", &bytes.to_string(), shell)]
            }
            Kind::Files => {
                let files = self.connections.saturating_mul(self.means.sides.into());
                vec![Remedy::files(facts, files.saturating_add(self.means.pipe_files()))]
            }
            Kind::HostMemory => vec![self.more_memory()],
            Kind::CgroupMemory => vec![self.more_cgroup_memory()],
            Kind::MemoryLimit => vec![self.memory_limit()],
            Kind::SourcePorts => self.more_ports(),
            Kind::Conntrack => {
                let entries = self.connections.saturating_mul(self.means.sides.into());
                let used = facts.network.conntrack_used.unwrap_or(0);
                let value = entries.saturating_add(used).to_string();
                vec![Remedy::sysctl("net.netfilter.nf_conntrack_max", &value, Scope::Host)]
            }
            Kind::TcpMem => vec![Remedy::tcp_mem(facts, self.connections)],
        }
    }

    fn more_workers(&self) -> Remedy {
        match self.connections.div_ceil(WORKER_CONNECTIONS_MAX) {
            workers if self.connections <= super::CONNECTIONS_MAX => {
                Remedy::config("gateway.workers", workers)
            }
            _ => Remedy::Words(format!(
                "divide the connections among several gateways: one holds {} at most",
                thousands(super::CONNECTIONS_MAX)
            )),
        }
    }

    /// The RLIMIT_NOFILE that suffices, a power of two above the present one, with few rings if
    /// that can be.
    fn enough_descriptors(&self) -> Option<u64> {
        let sizes = (10..).map(|bits| 1 << bits).take_while(|&files| files <= TABLE_ENTRIES_MAX);
        let larger = sizes.filter(|&files| files > self.facts.files_limit());
        let holds = |descriptors: &u64| {
            let means = self.means.with_descriptors(*descriptors);
            means.held_by(means.rings_by_descriptors()) >= self.connections
        };
        let few = |descriptors: &u64| {
            let means = self.means.with_descriptors(*descriptors);
            means.shape(self.connections).rings_per_worker <= FEW_RINGS
        };
        let enough = larger.clone().filter(holds).find(few);
        enough.or_else(|| larger.clone().find(holds))
    }

    fn more_descriptors(&self) -> Vec<Remedy> {
        let facts = self.facts;
        let Some(files) = self.enough_descriptors() else {
            let words = "divide the connections among several gateways: their descriptors do not \
                         suffice";
            return vec![Remedy::Words(words.to_owned())];
        };
        Remedy::descriptors(facts, files)
    }

    fn more_buffers(&self) -> Vec<Remedy> {
        let means = self.means;
        // Larger tables need fewer rings, and fewer rings fewer buffers.
        let short = means.held_by(means.rings_by_descriptors()) < self.connections;
        let files = self.enough_descriptors().filter(|_| short);
        let means = files.map_or_else(|| means.clone(), |files| means.with_descriptors(files));
        if means.held_by(means.rings_by_buffers()) >= self.connections {
            return Vec::new();
        }
        let share = self.connections.div_ceil(means.workers.into());
        let buffers = 2 * share.div_ceil(means.per_ring().max(1));
        if buffers > BUFFERS_MAX {
            return self.more_descriptors();
        }
        vec![Remedy::config("ring.buffer_count", buffers)]
    }

    fn connections_bytes(&self) -> u64 {
        self.connections.saturating_mul(connection_bytes(self.means))
    }

    fn memory_limit(&self) -> Remedy {
        let mebibytes = self.connections_bytes().div_ceil(MIB);
        let key = "gateway.memory_limit".to_owned();
        Remedy::Config { key, value: format!("\"{mebibytes}MiB\"") }
    }

    fn more_memory(&self) -> Remedy {
        let buffers = buffers_bytes(self.config, self.means);
        let needed = self.connections_bytes().next_multiple_of(MIB).saturating_add(buffers);
        let available = self.facts.host.memory_available_bytes.unwrap_or(0);
        let auto = self.config.gateway.memory_limit == Auto::Auto;
        // Whoever writes a limit may take nearly all that is free, not only the share of "auto".
        if auto && needed < available / 100 * 95 {
            return self.memory_limit();
        }
        let total = if auto { needed / MEMORY_PERCENT * 100 } else { needed };
        let words = format!(
            "have {} of memory available on the host, {} more than now",
            size(total),
            size(total.saturating_sub(available))
        );
        Remedy::Words(words)
    }

    fn more_cgroup_memory(&self) -> Remedy {
        let used = self.facts.cgroup.memory_bytes.as_ref().map_or(0, |room| room.used);
        let needed = self.connections_bytes() + buffers_bytes(self.config, self.means);
        let auto = self.config.gateway.memory_limit == Auto::Auto;
        let share = if auto { needed.div_ceil(MEMORY_PERCENT) * 100 } else { needed };
        let value = (used + share).next_multiple_of(MIB).to_string();
        let shell = self
            .facts
            .process
            .container
            .then(|| format!("docker update --memory {value} --memory-swap {value} CONTAINER"));
        Remedy::unit("MemoryMax", &value, shell)
    }

    fn more_ports(&self) -> Vec<Remedy> {
        let facts = self.facts;
        let (first, last) = PORTS_WIDEST;
        let listening = ports_of(self.config);
        let exposed = exposed_ports(facts, &listening).len() as u64;
        let reserved = facts.network.reserved_among(PORTS_WIDEST) + exposed;
        let widest = u64::from(last - first) + 1 - reserved.min(u64::from(last - first));
        let mut remedies = Remedy::widest_ports(facts, &listening);
        let pairs = pairs(self.config).0.len() as u64;
        let needed = self.connections.div_ceil(widest);
        if needed > pairs {
            remedies.push(Remedy::Words(format!(
                "add {} {}: {} need {} pairs of source and server at {} ports each, and there {} \
                 {}",
                thousands(needed - pairs),
                if needed - pairs == 1 {
                    "server address or port"
                } else {
                    "server addresses or ports"
                },
                count(self.connections, "connection"),
                thousands(needed),
                thousands(widest),
                if pairs == 1 { "is" } else { "are" },
                thousands(pairs)
            )));
        }
        remedies
    }
}
