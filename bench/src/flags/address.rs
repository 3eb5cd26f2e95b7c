//! Addresses on the command line: hosts by number or by name, with ports in a row.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Ports in a row on one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets(Vec<SocketAddr>);

/// Reads `127.0.0.1:7000`, `localhost:7000` or `127.0.0.1:7000-7007`.
pub(crate) fn parse_targets(text: &str) -> Result<Targets, String> {
    let wrong = || format!("{text:?} is not HOST:PORT or HOST:FIRST-LAST, as localhost:7000");
    let (host, ports) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = (port(first)?, port(last)?);
    let ip = resolve(host)?;
    let targets: Vec<_> = (first..=last).map(|port| SocketAddr::new(ip, port)).collect();
    if targets.is_empty() {
        Err("the last port is before the first".into())
    } else {
        Ok(Targets(targets))
    }
}

/// Reads one address, with a name or without.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let one = |targets: Targets| (targets.0.len() == 1).then(|| targets.0[0]);
    one(parse_targets(text)?).ok_or_else(|| format!("{text:?} is more than one port"))
}

/// The address of a host: itself, or what its name stands for.
fn resolve(host: &str) -> Result<IpAddr, String> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Ok(ip);
    }
    let failed = |why: String| format!("the name {host:?} has no address: {why}; give an address");
    let found = (bare, 0).to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    let all: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    let first = all.iter().find(|ip| ip.is_ipv4()).or(all.first());
    first.copied().ok_or_else(|| failed("none was found".to_owned()))
}

impl Targets {
    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_ports_is_read() {
        assert_eq!(parse_targets("[::1]:7-9").expect("three").0.len(), 3);
        assert!(parse_targets("127.0.0.1:9-7").is_err() && parse_targets("localhost").is_err());
        let name = parse_targets("localhost:7-8").expect("a name that every host has");
        assert!(name.0.len() == 2 && name.0[0].ip().is_loopback());
    }
}
