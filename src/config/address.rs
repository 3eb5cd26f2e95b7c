//! Addresses as people write them, each with the rule it breaks when it is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::read::Rule;

const NAMES_RULE: Rule<'_> =
    Rule { must: "names are not in this version", remedy: "write an IP address" };

const MAPPED_RULE: Rule<'_> =
    Rule { must: "is an IPv4 address in IPv6 clothes", remedy: "write the IPv4 address alone" };

/// What a listener binds to: one address, or one of each family for `*:PORT`.
pub(super) fn bind(text: &str) -> Result<Vec<SocketAddr>, Rule<'static>> {
    if let Some(port) = text.strip_prefix("*:").and_then(port) {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        return Ok(vec![v4, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]);
    }
    let form = Rule {
        must: "must be an address with a port",
        remedy: "write \"127.0.0.1:7000\", \"[::]:7000\" for IPv6 only or \"*:7000\" for both",
    };
    let address = socket_address(text, form)?;
    if is_many(address.ip()) {
        return Err(form);
    }
    if is_mapped(address.ip()) { Err(MAPPED_RULE) } else { Ok(vec![address]) }
}

/// Where a server listens.
pub(super) fn server(text: &str) -> Result<SocketAddr, Rule<'static>> {
    let form = Rule {
        must: "must be the address and port of one server",
        remedy: "write \"127.0.0.1:9000\" or \"[::1]:9000\"",
    };
    let address = socket_address(text, form)?;
    let ip = address.ip();
    if address.port() == 0 || ip.is_unspecified() || is_many(ip) {
        return Err(form);
    }
    if is_mapped(ip) { Err(MAPPED_RULE) } else { Ok(address) }
}

/// A local address to connect from.
pub(super) fn source(text: &str) -> Result<IpAddr, Rule<'static>> {
    let form = Rule {
        must: "must be an address of this host, without a port",
        remedy: "write \"10.0.0.5\" or \"fd00::5\"",
    };
    let ip: IpAddr = text.parse().map_err(|_| form)?;
    if ip.is_unspecified() || is_many(ip) {
        return Err(form);
    }
    if is_mapped(ip) { Err(MAPPED_RULE) } else { Ok(ip) }
}

/// Whether a connection to `server` reaches the socket bound to `bound`: the gateway itself.
pub(super) fn reaches(server: SocketAddr, bound: SocketAddr) -> bool {
    let everywhere = bound.ip().is_unspecified()
        && server.ip().is_loopback()
        && server.is_ipv4() == bound.is_ipv4();
    server.port() == bound.port() && (server.ip() == bound.ip() || everywhere)
}

fn socket_address(text: &str, form: Rule<'static>) -> Result<SocketAddr, Rule<'static>> {
    text.parse().map_err(|_| if names_a_host(text) { NAMES_RULE } else { form })
}

/// `host:port` where the host is neither an address nor anything else.
fn names_a_host(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.rsplit_once(':').is_some_and(|(host, digits)| {
        port(digits).is_some()
            && host.chars().all(allowed)
            && host.chars().any(|c| c.is_ascii_alphabetic())
    })
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn is_many(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
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
    fn a_wildcard_is_reached_by_its_own_family_over_loopback() {
        let [v4, v6, server]: [SocketAddr; 3] = ["0.0.0.0:7000", "[::]:7000", "127.0.0.1:7000"]
            .map(|text| text.parse().expect("an address"));
        assert!(reaches(server, v4) && reaches(server, server));
        assert!(!reaches(server, v6));
    }
}
