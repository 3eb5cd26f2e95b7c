//! Sysctls that a number of connections needs: told, set for a run, and put back after it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, io};

use portcullis::doctor::{FILES_RESERVED, Remedy, thousands};
use portcullis::host::facts::{Facts, Given, Kernel};

/// Files that a connection to this very machine takes, if the target is a proxy and its servers
/// are here, too.
const LOCAL_FILES: u64 = 4;
/// The longest queue that anybody asks for: what `serve` and the gateway do by default.
const BACKLOG_MAX: u64 = 65_535;

/// What a run is about to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) connections: u64,
    /// How many connect before the first of them is answered.
    pub(crate) at_once: u64,
    pub(crate) targets: &'a [SocketAddr],
}

/// A sysctl that is too small, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) why: String,
    pub(crate) remedy: Remedy,
}

impl Need {
    /// What somebody else would type.
    pub(crate) fn command(&self) -> String {
        self.remedy.command(false)
    }
}

/// What this host says about itself.
pub(crate) fn facts() -> Facts {
    // Only the gateway needs the rest, and only it asks.
    let given = Given {
        files: (0, 0),
        memlock_bytes: (0, 0),
        locked_elsewhere_bytes: 0,
        leaving_connections: 0,
        kernel: Kernel::complete(),
    };
    Facts::read(Path::new("/"), given)
}

/// Sysctls other than those of ports that are too small for `demand`.
pub(crate) fn needs(facts: &Facts, demand: &Demand<'_>) -> Vec<Need> {
    let mut needs: Vec<Need> = files(facts, demand).into_iter().collect();
    if demand.is_local() {
        needs.extend(accept_queue(facts, demand));
        needs.extend(unfinished_handshakes(facts, demand));
    }
    needs.extend(queued_bytes(facts, demand));
    needs
}

/// What gives the most ports, and why it is wanted.
pub(crate) fn ports(facts: &Facts, demand: &Demand<'_>, why: &str) -> Vec<Need> {
    let mut ports: Vec<u16> = demand.targets.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let remedies = Remedy::widest_ports(facts, if demand.is_local() { &ports } else { &[] });
    let whys = [why, "nobody shall connect from a port that the target listens on"];
    let pairs = remedies.into_iter().zip(whys);
    pairs.map(|(remedy, why)| Need { why: why.to_owned(), remedy }).collect()
}

impl Demand<'_> {
    /// All targets are on this machine.
    fn is_local(&self) -> bool {
        let own: Vec<IpAddr> = nix::ifaddrs::getifaddrs()
            .into_iter()
            .flatten()
            .filter_map(|one| one.address?.as_sockaddr_in().map(|at| at.ip().into()))
            .collect();
        self.targets.iter().all(|at| at.ip().is_loopback() || own.contains(&at.ip()))
    }

    /// How many may come to one listening socket at once.
    fn at_each(&self) -> u64 {
        self.at_once.div_ceil((self.targets.len() as u64).max(1)).min(BACKLOG_MAX)
    }
}

fn files(facts: &Facts, demand: &Demand<'_>) -> Option<Need> {
    let (most, used) = (facts.host.files_max?, facts.host.files_used?);
    let local = demand.is_local();
    let each = if local { LOCAL_FILES } else { 1 };
    let files = demand.connections * each;
    let whose =
        if local { " (ours, a proxy's two, its server's, all on this machine)" } else { "" };
    let why = format!(
        "{} connections × {each} files{whose} + {} in use + {} reserved, {} may be",
        thousands(demand.connections),
        thousands(used),
        thousands(FILES_RESERVED),
        thousands(most)
    );
    let remedy = Remedy::files(facts, files);
    (files + used + FILES_RESERVED > most).then_some(Need { why, remedy })
}

fn accept_queue(facts: &Facts, demand: &Demand<'_>) -> Option<Need> {
    let most = u64::from(facts.network.somaxconn?);
    let why = format!(
        "{} connect at once to {} sockets, {} may wait at each; it counts for sockets that listen \
         afterwards",
        thousands(demand.at_once),
        demand.targets.len(),
        thousands(most)
    );
    let remedy = Remedy::backlog(facts, demand.at_each());
    (demand.at_each() > most).then_some(Need { why, remedy })
}

/// In force only without SYN cookies; then a quarter is kept for peers known already
/// (`tcp_conn_request`).
fn unfinished_handshakes(facts: &Facts, demand: &Demand<'_>) -> Option<Need> {
    let most = facts.network.tcp_max_syn_backlog?;
    let wanted = demand.at_each() + demand.at_each().div_ceil(3);
    let cookies = facts.network.tcp_syncookies.unwrap_or(0) > 0;
    let why = format!(
        "{} connect at once to {} sockets, 3/4 of {} SYNs may be unfinished at each, and there are \
         no SYN cookies",
        thousands(demand.at_once),
        demand.targets.len(),
        thousands(most)
    );
    let remedy = Remedy::syn_backlog(facts, wanted);
    (!cookies && wanted > most).then_some(Need { why, remedy })
}

/// When the target ends all connections at once, each of ours has a FIN queued.
fn queued_bytes(facts: &Facts, demand: &Demand<'_>) -> Option<Need> {
    let [_, _, most] = facts.host.tcp_mem_pages?;
    let used = facts.host.tcp_mem_used_pages.unwrap_or(0);
    let why = format!(
        "{} connections × 1 page, as soon as a byte or a FIN is queued, + {} pages in use, {} may \
         be",
        thousands(demand.connections),
        thousands(used),
        thousands(most)
    );
    let remedy = Remedy::tcp_mem(facts, demand.connections);
    (demand.connections + used > most).then_some(Need { why, remedy })
}

/// Sysctls that were set, with what they were before.
#[derive(Debug)]
pub(crate) struct Applied {
    before: Mutex<Vec<(String, PathBuf, String)>>,
}

impl Applied {
    /// Sets what is needed; all or nothing.
    pub(crate) fn set(needs: &[Need]) -> io::Result<Applied> {
        let applied = Applied { before: Mutex::new(Vec::new()) };
        if needs.is_empty() {
            eprintln!("sysctl: nothing needs to be changed");
        }
        for need in needs {
            // An error drops what was set so far, which puts it back.
            applied.set_one(need).map_err(|error| {
                let words = format!(
                    "--apply-sysctls: {error}: run as root, or set it yourself: {}",
                    need.command()
                );
                io::Error::new(io::ErrorKind::InvalidInput, words)
            })?;
        }
        Ok(applied)
    }

    fn set_one(&self, need: &Need) -> io::Result<()> {
        let Remedy::Sysctl { key, value, .. } = &need.remedy else { return Ok(()) };
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        let failed = |error| io::Error::other(format!("{key} cannot be set to {value}: {error}"));
        let before = fs::read_to_string(&path).map_err(failed)?.trim().to_owned();
        fs::write(&path, value).map_err(failed)?;
        eprintln!("sysctl: {key} = {value} until the end of the run, was {before}");
        let mut all = self.before.lock().expect("nobody panics with it");
        all.push((key.clone(), path, before));
        Ok(())
    }

    /// Puts everything back, the last first; again does nothing.
    pub(crate) fn put_back(&self) {
        let mut all = self.before.lock().expect("nobody panics with it");
        while let Some((key, path, before)) = all.pop() {
            // A list that was empty is emptied by a line's end; nothing at all changes nothing.
            match fs::write(&path, format!("{before}\n")) {
                Ok(()) => eprintln!("sysctl: {key} = {before} again"),
                Err(error) => eprintln!(
                    "sysctl: {key} cannot be put back: {error}; sysctl -w {key}=\"{before}\""
                ),
            }
        }
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        self.put_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with room for little.
    fn small() -> Facts {
        let mut facts = facts();
        (facts.host.files_max, facts.host.files_used) = (Some(10_000), Some(1_000));
        facts.host.tcp_mem_pages = Some([1, 2, 3_000]);
        facts.host.tcp_mem_used_pages = Some(10);
        facts.network.somaxconn = Some(128);
        facts.network.tcp_max_syn_backlog = Some(128);
        facts.network.tcp_syncookies = Some(0);
        facts
    }

    /// Keys and values of what is needed.
    fn needed(facts: &Facts, connections: u64, at_once: u64, target: &str) -> Vec<String> {
        let targets = [target.parse().expect("an address")];
        let demand = Demand { connections, at_once, targets: &targets };
        let needs = needs(facts, &demand);
        let pairs = needs.iter().map(|need| match &need.remedy {
            Remedy::Sysctl { key, value, .. } => format!("{key}={value}"),
            other => panic!("{other:?} is no sysctl"),
        });
        pairs.collect()
    }

    #[test]
    fn what_is_too_small_is_needed_and_what_suffices_is_not() {
        let local = "127.0.0.1:7000";
        assert_eq!(needed(&small(), 90, 90, local), [""; 0]);
        assert_eq!(
            needed(&small(), 3_000, 1_000, local),
            [
                "fs.file-max=17096", // 3,000 × 4 + 1,000 + 4,096
                "net.core.somaxconn=1000",
                "net.ipv4.tcp_max_syn_backlog=1334",
                "net.ipv4.tcp_mem=1505 2006 3010",
            ]
        );
        let cookies = Facts {
            network: portcullis::host::facts::Network {
                tcp_syncookies: Some(1),
                ..small().network
            },
            ..small()
        };
        assert_eq!(needed(&cookies, 200, 200, local), ["net.core.somaxconn=200"]);
    }

    #[test]
    fn a_target_elsewhere_has_its_own_queues_and_files() {
        assert_eq!(needed(&small(), 2_000, 2_000, "192.0.2.1:7000"), [""; 0]);
        assert_eq!(needed(&small(), 5_000, 1, "192.0.2.1:7000")[0], "fs.file-max=10096");
    }

    #[test]
    fn what_cannot_be_set_is_said_with_the_command_and_nothing_stays_set() {
        let remedy = Remedy::files(&small(), 1);
        let Remedy::Sysctl { value, scope, .. } = remedy else { panic!("a sysctl") };
        let remedy = Remedy::Sysctl { key: "portcullis.absent".into(), value, scope };
        let error = Applied::set(&[Need { why: String::new(), remedy }]).expect_err("absent");
        for word in ["--apply-sysctls", "run as root", "sysctl -w portcullis.absent=5097"] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
