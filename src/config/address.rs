//! Addresses as people write them, each with the rule it breaks when it is none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An error in an address, and the address that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) must: &'static str,
    /// The remedy, for any value.
    pub(super) remedy: &'static str,
    /// The same for this very value. Not to be shown when the value came from the environment.
    pub(super) instead: Option<String>,
}

impl Fault {
    const fn new(must: &'static str, remedy: &'static str) -> Fault {
        Fault { must, remedy, instead: None }
    }

    fn instead(self, instead: impl std::fmt::Display) -> Fault {
        Fault { instead: Some(format!("write \"{instead}\"")), ..self }
    }
}

/// The address of a section's kind, as errors show one.
#[derive(Clone)]
struct Example {
    form: Fault,
    port: u16,
}

const BIND: Example = Example {
    form: Fault::new(
        "must be an address with a port",
        "write \"127.0.0.1:7000\", \"[::]:7000\" for IPv6 only or \"*:7000\" for both",
    ),
    port: 7000,
};

const SERVER_REMEDY: &str = "write \"127.0.0.1:9000\", \"[::1]:9000\" or \"db.internal:9000\"";

const SERVER: Example = Example {
    form: Fault::new("must be the address and port of a server", SERVER_REMEDY),
    port: 9000,
};

const SOURCE: Fault = Fault::new(
    "must be an address of this host, without a port",
    "write \"10.0.0.5\" or \"fd00::5\"",
);

const NAMES: Fault = Fault::new("names are not in this version", "write an IP address");

const MANY: Fault = Fault::new(
    "is a multicast or broadcast address, which no TCP connection has",
    "write the address of one host",
);

/// Reads the addresses of a listener: one, or one of each family for `*:PORT`.
pub(super) fn bind(text: &str) -> Result<Vec<SocketAddr>, Fault> {
    if let Some(port) = text.strip_prefix("*:").and_then(port) {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        return Ok(vec![v4, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]);
    }
    socket_address(text, BIND).map(|address| vec![address])
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerAt {
    /// At this address.
    Address(SocketAddr),
    /// At every address of the host of this name, at this port.
    Host(String, u16),
}

impl fmt::Display for ServerAt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAt::Address(address) => write!(out, "{address}"),
            ServerAt::Host(host, port) => write!(out, "{host}:{port}"),
        }
    }
}

/// Reads where a server listens.
pub(super) fn server(text: &str) -> Result<ServerAt, Fault> {
    if let Some(port) = text.strip_prefix("*:").and_then(port) {
        return Err(everywhere(port));
    }
    if let Some((host, Some(port))) =
        text.rsplit_once(':').map(|(host, digits)| (host, port(digits)))
        && is_name(host)
    {
        return server_host(host, port);
    }
    server_address(text).map(ServerAt::Address)
}

/// Reads the address of one server.
pub(super) fn server_address(text: &str) -> Result<SocketAddr, Fault> {
    let address = socket_address(text, SERVER)?;
    if address.ip().is_unspecified() {
        return Err(everywhere(address.port()));
    }
    if address.port() == 0 {
        return Err(PORT_0);
    }
    Ok(address)
}

const PORT_0: Fault = Fault::new("has port 0, where no server listens", SERVER_REMEDY);

/// The name of a host, as the resolver takes it.
fn server_host(host: &str, port: u16) -> Result<ServerAt, Fault> {
    if host.eq_ignore_ascii_case("localhost") {
        let must = "is two addresses, and a server rarely listens at both";
        return Err(Fault::new(must, SERVER.form.remedy).instead(format_args!("127.0.0.1:{port}")));
    }
    if port == 0 {
        return Err(PORT_0);
    }
    match host_name(host) {
        Some(host) => Ok(ServerAt::Host(host, port)),
        None => Err(HOST),
    }
}

const HOST: Fault = Fault::new(
    "is no name of a host: labels of 1 to 63 characters, at most 253 in all",
    "write it as in \"db.internal:5432\"",
);

/// The name of a host, in lower case and without a dot at its end; `None`: it is none.
pub(super) fn host_name(text: &str) -> Option<String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| (1..=63).contains(&label.len());
    let is_right = is_name(bare) && bare.len() <= 253 && bare.split('.').all(is_label);
    is_right.then(|| bare.to_ascii_lowercase())
}

/// A local address to connect from.
pub(super) fn source(text: &str) -> Result<IpAddr, Fault> {
    let ip: IpAddr = text.parse().map_err(|_| match text.parse::<SocketAddr>() {
        Ok(address) => {
            Fault { must: "must be an address without a port", ..SOURCE }.instead(address.ip())
        }
        Err(_) => SOURCE,
    })?;
    if ip.is_unspecified() {
        let must = "is no single address: the kernel chooses one by itself";
        return Err(Fault::new(must, "leave source_addresses out, or write one address"));
    }
    if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        let must = "is a link-local address, from which connecting is not in this version";
        return Err(Fault::new(must, "write a global address of this host"));
    }
    single(ip)?;
    match mapped(ip) {
        Some(v4) => Err(clothed().instead(v4)),
        None => Ok(ip),
    }
}

/// Whether a connection to `server` reaches the socket bound to `bound`: the gateway itself.
pub(super) fn reaches(server: SocketAddr, bound: SocketAddr) -> bool {
    let everywhere = bound.ip().is_unspecified()
        && server.ip().is_loopback()
        && server.is_ipv4() == bound.is_ipv4();
    server.port() == bound.port() && (server.ip() == bound.ip() || everywhere)
}

fn socket_address(text: &str, example: Example) -> Result<SocketAddr, Fault> {
    let address: SocketAddr = text.parse().map_err(|_| misread(text, example))?;
    single(address.ip())?;
    if let Some(v4) = mapped(address.ip()) {
        return Err(clothed().instead(SocketAddr::from((v4, address.port()))));
    }
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err(ZONE),
        _ => Ok(address),
    }
}

const ZONE: Fault = Fault::new(
    "is a link-local address without the number of its interface",
    "write it as in \"[fe80::1%2]:7000\"; `ip link` shows the numbers",
);

/// Guesses the address that a wrong text was meant to be.
fn misread(text: &str, example: Example) -> Fault {
    if text.starts_with("unix:") || text.starts_with('/') {
        let must = "is a unix socket, and those are not in this version";
        return Fault::new(must, example.form.remedy);
    }
    if let Some((_, rest)) = text.split_once("://") {
        let fault = Fault::new("must be an address without a scheme", example.form.remedy);
        let bare = rest.split('/').next().unwrap_or_default();
        let right = bare.parse::<SocketAddr>();
        return right.map_or(fault.clone(), |address| fault.instead(address));
    }
    let digits = text.strip_prefix(':').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let fault = Fault::new("is a port without an address", example.form.remedy);
        return match port(digits) {
            Some(port) => fault.instead(format_args!("127.0.0.1:{port}")),
            None => too_high(),
        };
    }
    let Some((host, digits)) = text.rsplit_once(':') else {
        return without_port(text, example);
    };
    if let (Ok(ip), Some(port)) = (host.parse::<Ipv6Addr>(), port(digits)) {
        let must = "is an IPv6 address with a port and without brackets";
        let right = SocketAddr::from((ip, port));
        return Fault::new(must, "write it as in \"[::1]:7000\"").instead(right);
    }
    if bracketless(text).parse::<Ipv6Addr>().is_ok() {
        return without_port(bracketless(text), example);
    }
    let is_host = host == "*" || bracketless(host).parse::<IpAddr>().is_ok() || is_name(host);
    if host.contains('%') && host.starts_with("[fe80:") {
        return Fault { must: "names its interface by something else than a number", ..ZONE };
    }
    match port(digits) {
        None if is_host && digits.is_empty() => without_port(host, example),
        None if is_host && digits.bytes().all(|byte| byte.is_ascii_digit()) => too_high(),
        None if is_host => Fault::new("must have a port that is a number", example.form.remedy),
        Some(port) if host == "localhost" => NAMES.instead(format_args!("127.0.0.1:{port}")),
        Some(_) if is_name(host) => NAMES,
        _ => example.form,
    }
}

const fn too_high() -> Fault {
    Fault::new("has a port above 65535", "write a port from 1 to 65535")
}

fn without_port(host: &str, example: Example) -> Fault {
    let fault = Fault::new("must be an address with a port, and has none", example.form.remedy);
    match bracketless(host).parse::<IpAddr>() {
        Ok(ip) => fault.instead(SocketAddr::new(ip, example.port)),
        Err(_) if host == "localhost" => {
            fault.instead(SocketAddr::from((Ipv4Addr::LOCALHOST, example.port)))
        }
        Err(_) => example.form,
    }
}

/// A wildcard where a server's address belongs.
fn everywhere(port: u16) -> Fault {
    let must = "is where a server can listen, and no address to reach it at";
    let remedy = "write the server's own address, \"127.0.0.1:PORT\" for one on this host";
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let here = format!("write the server's own address, \"{own}\" for one on this host");
    Fault { instead: Some(here), ..Fault::new(must, remedy) }
}

fn clothed() -> Fault {
    Fault::new("is an IPv4 address in IPv6 clothes", "write the IPv4 address alone")
}

fn bracketless(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// A host's name, or the beginning of one.
pub(super) fn is_name(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    host.chars().all(allowed) && host.chars().any(|c| c.is_ascii_alphabetic())
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn single(ip: IpAddr) -> Result<(), Fault> {
    let many = ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if many { Err(MANY) } else { Ok(()) }
}

fn mapped(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_both_families_and_everything_else_is_itself() {
        let both: [SocketAddr; 2] =
            ["0.0.0.0:7000", "[::]:7000"].map(|text| text.parse().expect("an address"));
        assert_eq!(bind("*:7000").as_deref().ok(), Some(&both[..]));
        assert_eq!(bind("[::]:7000").as_deref().ok(), Some(&both[1..]));
        for wrong in ["", "*", "*:", "*:+7", "*:65536", "7000", "[::ffff:1.2.3.4]:1", "224.0.0.1:1"]
        {
            assert!(bind(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_meant_instead_is_right_itself() {
        for wrong in ["::1:21000", "7000", ":7000", "tcp://10.0.0.1:80/", "[::1]", "127.0.0.1"] {
            for fault in [bind(wrong).err(), server(wrong).err()] {
                let words = fault.and_then(|fault| fault.instead).unwrap_or_default();
                let right = words.split('"').nth(1).unwrap_or_default();
                assert!(bind(right).is_ok() && server(right).is_ok(), "{wrong}: {words}");
            }
        }
    }

    #[test]
    fn a_wildcard_is_reached_by_its_own_family_over_loopback() {
        let [v4, v6, server]: [SocketAddr; 3] = ["0.0.0.0:7000", "[::]:7000", "127.0.0.1:7000"]
            .map(|text| text.parse().expect("an address"));
        assert!(reaches(server, v4) && reaches(server, server));
        assert!(!reaches(server, v6));
    }
}
