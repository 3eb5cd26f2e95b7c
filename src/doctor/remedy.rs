//! One change of a host or a config, as an exact command.

use serde::Serialize;

use super::limit::Scope;
use super::limits::FILES_RESERVED;
use crate::host::facts::Facts;

/// The widest range of ports to connect from that leaves the privileged ones alone.
pub const PORTS_WIDEST: (u16, u16) = (1024, 65_535);

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
        /// The value it should have, as TOML.
        value: String,
    },
    /// A remedy in words, where no command does it.
    Words(String),
}

impl Remedy {
    pub(super) fn sysctl(key: &str, value: &str, scope: Scope) -> Remedy {
        Remedy::Sysctl { key: key.to_owned(), value: value.to_owned(), scope }
    }

    pub(super) fn unit(key: &str, value: &str, shell: Option<String>) -> Remedy {
        Remedy::Unit { key: key.to_owned(), value: value.to_owned(), shell }
    }

    pub(super) fn config(key: &str, value: u64) -> Remedy {
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

/// Ports of the widest range that nothing keeps from outgoing connections.
pub(super) fn exposed_ports(facts: &Facts, ports: &[u16]) -> Vec<u16> {
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
