//! The changes that lift the limits of a number of connections, with fragments for sysctl.d and
//! systemd.

use std::fmt::Write;

use serde::Serialize;

use super::check::{Check, Verdict};
use super::checks::ports_of;
use super::limit::{Force, Kind, Limit, Scope};
use super::limits::{CONNECTIONS_MAX, MEMORY_PERCENT, buffers_bytes, connection_bytes, pairs};
use super::remedy::{PORTS_WIDEST, Remedy, exposed_ports};
use super::shape::{Means, TABLE_ENTRIES_MAX, WORKER_CONNECTIONS_MAX};
use super::words::{count, size, thousands};
use crate::config::{Auto, Config};
use crate::host::facts::Facts;

/// Rings of a worker that were measured to cost little more than one.
const FEW_RINGS: u32 = 64;
/// The most that ring.buffer_count may be.
const BUFFERS_MAX: u64 = 32_768;
const MIB: u64 = 1 << 20;

/// The changes needed to hold a number of connections.
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

/// Advisory limits that `held` connections exceed. Where nothing is tracked, nothing will be; and
/// clients have an address each, as far as anybody knows before they come.
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
        .filter(|limit| limit.kind != Kind::ClientPorts)
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
            Kind::Watches => {
                let watches = 2 * self.connections * u64::from(self.means.sides);
                let value = watches.to_string();
                vec![Remedy::sysctl("fs.epoll.max_user_watches", &value, Scope::Host)]
            }
            Kind::HostMemory => vec![self.more_memory()],
            Kind::CgroupMemory => vec![self.more_cgroup_memory()],
            Kind::MemoryLimit => vec![self.memory_limit()],
            Kind::SourcePorts => self.more_ports(),
            // A gateway that runs sees whether one address brings so many clients, and says so.
            Kind::ClientPorts => Vec::new(),
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
            workers if self.connections <= CONNECTIONS_MAX => {
                Remedy::config("gateway.workers", workers)
            }
            _ => Remedy::Words(format!(
                "divide the connections among several gateways: one holds {} at most",
                thousands(CONNECTIONS_MAX)
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
            means.held_by_descriptors() >= self.connections
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
        let short = means.held_by_descriptors() < self.connections;
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
        // A written limit may take nearly all that is free, not only the share of "auto".
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
