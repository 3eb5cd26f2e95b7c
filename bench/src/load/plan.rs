//! Where connections come from and go to: a pair of source address and target gives only as many
//! as it has ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::{fmt, io};

use clap::Args;
use portcullis::doctor::PORTS_WIDEST;
use portcullis::host::facts::Facts;
use portcullis::ring::ServerSocket;

use crate::engine::Towards;
use crate::flags::{Targets, parse_targets};
use crate::host::{self, Applied, Demand, Need};

/// How full a pair becomes when the plan chooses the sources. Before Linux 6.8 connect(2) tries all
/// ports of one parity before any of the other (`__inet_hash_connect`): beyond half of the range it
/// walks over the whole full half for each connection, and 20,000 a second become 300.
const FILL_PERCENT: u64 = 45;

#[derive(Args, Clone, Debug)]
pub(crate) struct Reach {
    /// What to connect to: HOST:PORT or HOST:FIRST-LAST; several divide the connections. A name
    /// stands for its first IPv4 address, or for its first address if it has no such
    #[arg(long = "target", value_delimiter = ',', required = true, value_parser = parse_targets)]
    targets: Vec<Targets>,
    /// Source addresses: a range such as 127.0.0.0/8 (as many of it as are needed), a list, "any"
    /// (the kernel chooses one), or "auto" (127.0.0.0/8 towards 127.0.0.0/8, else any)
    #[arg(long, default_value = "auto")]
    sources: String,
}

/// Ports that the kernel gives to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
    reserved: u64,
}

impl Ports {
    /// This host's.
    fn of(facts: &Facts) -> io::Result<Ports> {
        let unknown = || io::Error::other("net.ipv4.ip_local_port_range cannot be read");
        let (first, last) = facts.network.ports.ok_or_else(unknown)?;
        Ok(Ports { first, last, reserved: facts.network.reserved_among((first, last)) })
    }

    /// What the host would give at most, with so many more ports reserved.
    fn widest(facts: &Facts, more_reserved: u64) -> Ports {
        let (first, last) = PORTS_WIDEST;
        let reserved = facts.network.reserved_among(PORTS_WIDEST) + more_reserved;
        Ports { first, last, reserved }
    }

    fn count(self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first) + self.reserved)
    }
}

/// How much a run is going to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Open at one time.
    pub(crate) connections: u64,
    /// Four-tuples that it would like: those that closed first stay in TIME-WAIT.
    pub(crate) tuples: u64,
    /// How many connect before the first of them is answered.
    pub(crate) at_once: u64,
}

impl Size {
    /// Everybody connects at once.
    pub(crate) fn at_once(connections: u64) -> Size {
        Size { connections, tuples: connections, at_once: connections }
    }
}

/// The pairs that connections are spread over, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<SocketAddr>,
    /// `None`: the kernel's choice.
    pub(crate) sources: Vec<Option<IpAddr>>,
    ports: Ports,
    connections: u64,
    /// Put back when the last plan with them is gone.
    pub(crate) applied: Option<Arc<Applied>>,
    /// Connections speak TLS.
    pub(crate) towards: Option<Towards>,
}

impl Plan {
    /// A plan for this host, told on stderr. Sysctls that are too small for it are told as well, or
    /// set until the plan is gone if `apply` says so.
    pub(crate) fn make(reach: &Reach, size: Size, apply: bool) -> io::Result<Plan> {
        let invalid = |words| io::Error::new(io::ErrorKind::InvalidInput, words);
        let facts = host::facts();
        let here = Plan::within(reach, Ports::of(&facts)?, size).map_err(invalid)?;
        let demand =
            Demand { connections: size.connections, at_once: size.at_once, targets: &here.targets };
        let ports = here.more_ports(&facts, reach, &demand);
        let needs = [ports.clone(), host::needs(&facts, &demand)].concat();
        for need in &needs {
            eprintln!("needs: {}: {}", need.why, need.command());
        }
        let plan = if apply {
            let applied = Some(Arc::new(Applied::set(&needs)?));
            let ports = Ports::of(&host::facts())?;
            Plan { applied, ..Plan::within(reach, ports, size).map_err(invalid)? }
        } else {
            here
        };
        if !plan.fits() {
            let commands: Vec<_> = ports.iter().map(Need::command).collect();
            let remedy = match &commands[..] {
                [] => String::new(),
                all => format!(": {}; --apply-sysctls sets it for the run", all.join("; ")),
            };
            return Err(invalid(format!("{}{remedy}", plan.refusal())));
        }
        if !apply && !needs.is_empty() {
            eprintln!("needs: --apply-sysctls sets these for the run and puts them back after it");
        }
        eprintln!("plan: {plan}");
        Ok(plan)
    }

    /// For as many four-tuples as are wanted, or else as many as are needed.
    fn within(reach: &Reach, ports: Ports, size: Size) -> Result<Plan, String> {
        let wide = Plan::new(reach, ports, size.tuples.max(size.connections))?;
        if wide.fits() { Ok(wide) } else { Plan::new(reach, ports, size.connections) }
    }

    /// What widens the range of ports, where that is too narrow and would do if it were wider.
    fn more_ports(&self, facts: &Facts, reach: &Reach, demand: &Demand<'_>) -> Vec<Need> {
        let connections = demand.connections;
        if connections * 2 <= self.reach() {
            return Vec::new();
        }
        let targets = self.targets.len() as u64;
        let widest = Plan::new(reach, Ports::widest(facts, targets), connections);
        if !widest.is_ok_and(|plan| plan.fits()) {
            return Vec::new();
        }
        let why = format!(
            "{connections} connections, and connecting is slow beyond half of {}",
            self.arithmetic()
        );
        host::ports(facts, demand, &why)
    }

    /// A plan for so many connections, whether they fit or not.
    fn new(reach: &Reach, ports: Ports, connections: u64) -> Result<Plan, String> {
        let targets: Vec<_> = reach.targets.iter().flat_map(Targets::iter).collect();
        let per_source = targets.len() as u64 * ports.count();
        let comfortable = (per_source * FILL_PERCENT / 100).max(1);
        let sources = sources(&reach.sources, &targets, connections.div_ceil(comfortable).max(1))?;
        Ok(Plan { targets, sources, ports, connections, applied: None, towards: None })
    }

    fn fits(&self) -> bool {
        self.connections <= self.reach()
    }

    fn refusal(&self) -> String {
        format!("{self}: {} connections do not fit; {}", self.connections, self.remedy())
    }

    fn reach(&self) -> u64 {
        self.sources.len() as u64 * self.targets.len() as u64 * self.ports.count()
    }

    fn arithmetic(&self) -> String {
        let Ports { first, last, reserved } = self.ports;
        format!(
            "{} sources × {} targets × {} ports ({first} to {last}, {reserved} reserved) = {}",
            self.sources.len(),
            self.targets.len(),
            self.ports.count(),
            self.reach()
        )
    }

    fn remedy(&self) -> String {
        let per_source = (self.targets.len() as u64 * self.ports.count()).max(1);
        let needed = self.connections.div_ceil(per_source);
        format!(
            "give {needed} --sources (a range such as 127.0.0.0/8), more --target ports, or a \
             wider net.ipv4.ip_local_port_range"
        )
    }

    /// The pairs, as a ring knows them: sources take turns first, so that all fill alike.
    pub(crate) fn servers(&self) -> Vec<ServerSocket> {
        let pair = |source: &Option<IpAddr>, address: SocketAddr| ServerSocket {
            address,
            sources: source.filter(|one| one.is_ipv4() == address.is_ipv4()).into_iter().collect(),
        };
        let of = |address| self.sources.iter().map(move |source| pair(source, address));
        self.targets.iter().flat_map(|address| of(*address)).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} connections at most", self.arithmetic())?;
        if self.connections * 2 > self.reach() {
            write!(out, "; more than half of them, so that connecting becomes slow")?;
        }
        if let (Some(Some(first)), Some(Some(last))) = (self.sources.first(), self.sources.last()) {
            write!(out, "; from {first} to {last}")?;
        }
        Ok(())
    }
}

fn sources(text: &str, targets: &[SocketAddr], count: u64) -> Result<Vec<Option<IpAddr>>, String> {
    let is_loopback_v4 = |target: &SocketAddr| target.is_ipv4() && target.ip().is_loopback();
    let text = match text {
        "auto" if count > 1 && targets.iter().all(is_loopback_v4) => "127.0.0.0/8",
        "auto" | "any" => return Ok(vec![None]),
        text => text,
    };
    let wrong = |why: &str| format!("sources \"{text}\": {why}");
    let Some((base, prefix)) = text.split_once('/') else {
        let parsed: Result<Vec<IpAddr>, _> = text.split(',').map(str::parse).collect();
        let parsed = parsed.map_err(|_| wrong("neither a list of addresses nor a range"))?;
        return Ok(parsed.into_iter().map(Some).collect());
    };
    let base: Ipv4Addr = base.parse().map_err(|_| wrong("a range begins with an IPv4 address"))?;
    let prefix: u32 = prefix.parse().map_err(|_| wrong("not a prefix length"))?;
    let bits = 32u32.checked_sub(prefix).ok_or_else(|| wrong("not a prefix length"))?;
    let room = (1u64 << bits).saturating_sub(2).max(1);
    let first = u32::from(base) + u32::from(bits > 1);
    let last = u64::from(first) + count.min(room).min(u64::from(u16::MAX));
    Ok((u64::from(first)..last).map(|ip| Some(Ipv4Addr::from(ip as u32).into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { first: 10_001, last: 60_000, reserved: 0 };

    fn plan(targets: &str, sources: &str, connections: u64) -> Result<Plan, String> {
        let targets = targets.split(',').map(|one| parse_targets(one).expect("targets")).collect();
        let plan = Plan::new(&Reach { targets, sources: sources.to_owned() }, PORTS, connections)?;
        if plan.fits() { Ok(plan) } else { Err(plan.refusal()) }
    }

    #[test]
    fn sources_grow_with_the_connections_and_shrink_with_the_targets() {
        for (targets, connections, sources) in [
            ("127.0.0.1:7000", 22_500, 1),
            ("127.0.0.1:7000", 22_501, 2),
            ("127.0.0.1:7000", 1_000_000, 45),
            ("127.0.0.1:7000-7003", 1_000_000, 12),
        ] {
            let plan = plan(targets, "auto", connections).expect("it fits");
            assert_eq!(plan.sources.len(), sources, "{plan}");
            assert_eq!(plan.sources[0].is_none(), sources == 1);
            assert_eq!(plan.servers().len(), plan.sources.len() * plan.targets.len());
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_its_arithmetic() {
        let error = plan("10.0.0.1:7000", "auto", 50_001).expect_err("one source");
        for word in ["1 sources × 1 targets × 50000 ports", "50001", "give 2 --sources"] {
            assert!(error.contains(word), "{error}");
        }
        assert!(plan("10.0.0.1:7000", "10.0.0.2,10.0.0.3", 50_001).is_ok());
        assert!(plan("10.0.0.1:7000", "10.0.0.0/30", 100_001).is_err());
        assert!(plan("10.0.0.1:7000", "10.0.0.0/30", 100_000).is_ok());
    }
}
