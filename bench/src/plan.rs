//! Where connections come from and go to: a pair of source address and target gives only as many
//! as it has ports.

use std::fmt;
use std::fs::read_to_string;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;
use portcullis::ring::ServerSocket;

/// How full a pair becomes when the plan chooses the sources. connect(2) tries all ports of one
/// parity before any of the other (`__inet_hash_connect`): beyond half of the range it walks over
/// the whole full half for each connection, and 20,000 a second become 300.
const FILL_PERCENT: u64 = 45;

#[derive(Args, Clone, Debug)]
pub(crate) struct Reach {
    /// What to connect to: ADDRESS:PORT or ADDRESS:FIRST-LAST; several divide the connections
    #[arg(long = "target", value_delimiter = ',', required = true, value_parser = parse_targets)]
    targets: Vec<Targets>,
    /// Source addresses: a range such as 127.0.0.0/8 (as many of it as are needed), a list, "any"
    /// (the kernel chooses one), or "auto" (127.0.0.0/8 towards 127.0.0.0/8, else any)
    #[arg(long, default_value = "auto")]
    sources: String,
}

/// Ports in a row on one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets(Vec<SocketAddr>);

/// Reads `127.0.0.1:7000` or `127.0.0.1:7000-7007`.
pub(crate) fn parse_targets(text: &str) -> Result<Targets, String> {
    let (head, last) = match text.rsplit_once('-') {
        Some((head, last)) => (head, Some(last)),
        None => (text, None),
    };
    let first: SocketAddr = head.parse().map_err(|_| "not ADDRESS:PORT".to_owned())?;
    let last = last.map_or(Ok(first.port()), str::parse).map_err(|_| "not a port".to_owned())?;
    let at = |port| SocketAddr::new(first.ip(), port);
    let targets: Vec<_> = (first.port()..=last).map(at).collect();
    if targets.is_empty() {
        Err("the last port is before the first".into())
    } else {
        Ok(Targets(targets))
    }
}

impl Targets {
    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().copied()
    }
}

/// Ports that the kernel gives to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) reserved: u64,
}

impl Ports {
    /// This host's.
    pub(crate) fn of_host() -> io::Result<Ports> {
        let range = read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let reserved = read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports")?;
        let mut ends = range.split_whitespace().filter_map(|word| word.parse().ok());
        let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
            return Err(io::Error::other(format!("ip_local_port_range says {range:?}")));
        };
        Ok(Ports { first, last, reserved: reserved_within(&reserved, first, last) })
    }

    fn count(self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first) + self.reserved)
    }
}

/// How many ports of `5000,6000-6010` lie in a range.
fn reserved_within(text: &str, first: u16, last: u16) -> u64 {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    parts
        .filter_map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (low.parse::<u16>().ok()?, high.parse::<u16>().ok()?);
            Some((u64::from(high.min(last)) + 1).saturating_sub(u64::from(low.max(first))))
        })
        .sum()
}

/// The pairs that connections are spread over, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<SocketAddr>,
    /// `None`: the kernel's choice.
    pub(crate) sources: Vec<Option<IpAddr>>,
    ports: Ports,
    connections: u64,
}

impl Plan {
    /// A plan for so many connections at once.
    pub(crate) fn new(reach: &Reach, ports: Ports, connections: u64) -> Result<Plan, String> {
        let targets: Vec<_> = reach.targets.iter().flat_map(Targets::iter).collect();
        let per_source = targets.len() as u64 * ports.count();
        let comfortable = (per_source * FILL_PERCENT / 100).max(1);
        let sources = sources(&reach.sources, &targets, connections.div_ceil(comfortable).max(1))?;
        let plan = Plan { targets, sources, ports, connections };
        if plan.reach() < connections {
            return Err(format!("{plan}: {connections} connections do not fit; {}", plan.remedy()));
        }
        Ok(plan)
    }

    fn reach(&self) -> u64 {
        self.sources.len() as u64 * self.targets.len() as u64 * self.ports.count()
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
            source: source.filter(|source| source.is_ipv4() == address.is_ipv4()),
        };
        let of = |address| self.sources.iter().map(move |source| pair(source, address));
        self.targets.iter().flat_map(|address| of(*address)).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ports { first, last, reserved } = self.ports;
        write!(
            out,
            "{} sources × {} targets × {} ports ({first} to {last}, {reserved} reserved) = {} \
             connections at most",
            self.sources.len(),
            self.targets.len(),
            self.ports.count(),
            self.reach()
        )?;
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
        Plan::new(&Reach { targets, sources: sources.to_owned() }, PORTS, connections)
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

    #[test]
    fn reserved_ports_count_where_they_lie_in_the_range() {
        assert_eq!(reserved_within("", 10, 20), 0);
        assert_eq!(reserved_within("5,10-12,19-30\n", 10, 20), 5);
    }

    #[test]
    fn a_row_of_ports_is_read() {
        assert_eq!(parse_targets("[::1]:7-9").expect("three").0.len(), 3);
        assert!(parse_targets("127.0.0.1:9-7").is_err() && parse_targets("localhost").is_err());
    }
}
