//! The names under which the status server answers: none that a stranger's DNS could give it.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

/// No name of DNS is longer (RFC 1035, 2.3.4), and an answer shows no more of what was sent.
const SHOWN_CHARS: usize = 253;

/// Names that a request may give the host.
///
/// A web page can have its own name resolve to this address and then read every answer as its own
/// (DNS rebinding). A browser puts the page's name into `Host`, and nothing else of a request is
/// certain to tell it from a scraper's: the page chooses whether there is a `Referer`, the request
/// has no `Origin`, and `Sec-Fetch-Site` comes over TLS alone. Addresses are nobody's to resolve.
#[derive(Debug)]
pub struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// The names of the config, `localhost` and the host's own.
    pub(super) fn new(listed: &[String]) -> Hosts {
        let uname = rustix::system::uname();
        Hosts::named(&uname.nodename().to_string_lossy(), listed)
    }

    /// The names of the config, `localhost` and `own`.
    pub fn named(own: &str, listed: &[String]) -> Hosts {
        let all = ["localhost", own].into_iter().chain(listed.iter().map(String::as_str));
        Hosts { names: all.map(plain).collect() }
    }

    /// Whether each name of a request is one of these.
    ///
    /// # Errors
    /// The answer to its sender, which shows the first other name.
    pub fn check(&self, target: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let in_target = target.authority().map(Authority::as_str);
        let in_headers =
            headers.get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or("?"));
        match in_target.into_iter().chain(in_headers).find(|host| !self.has(host)) {
            None => Ok(()),
            Some(host) => Err(refusal(host)),
        }
    }

    /// Whether a `Host` is one: a name, or an address, with or without a port; HTTP/1.0 has none.
    fn has(&self, host: &str) -> bool {
        let name = without_port(host.trim());
        name.is_empty() || is_address(name) || self.names.contains(&plain(name))
    }
}

fn refusal(host: &str) -> String {
    let shown: String = host.chars().take(SHOWN_CHARS).collect();
    format!(
        "Host {shown:?} is no address, not localhost and not this host's own name: add the name \
         to status.hosts if it is yours, or ask by address\n"
    )
}

/// As names are compared: case and a final dot make no difference.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A colon within brackets is an address's.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => {
            let (v6, zone) = v6.split_once('%').unwrap_or((v6, ""));
            v6.parse::<Ipv6Addr>().is_ok() && zone.chars().all(is_of_a_zone)
        }
        None => name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()),
    }
}

/// The sender's name of one of its own interfaces: no character in it separates (RFC 6874).
fn is_of_a_zone(c: char) -> bool {
    c.is_ascii_alphanumeric() || "%-._~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_known_names_are_answered() {
        let hosts = Hosts::named("Gate-1", &["metrics.example".to_owned()]);
        for host in [
            "",
            "127.0.0.1",
            "10.1.2.3:7001",
            "[::1]",
            "[::1]:7001",
            "[fe80::1%25eth0]:7001",
            "localhost",
            "LocalHost.:7001",
            "gate-1",
            "metrics.EXAMPLE:7001",
        ] {
            assert!(hosts.has(host), "{host}");
        }
    }

    #[test]
    fn other_names_are_not() {
        let hosts = Hosts::named("", &["metrics.example".to_owned()]);
        for host in [
            "evil.example",
            "evil.example:7001",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "sub.metrics.example",
            "[::1].evil.example",
            "[evil]:7001",
            "[fe80::1%25eth0@evil.example]:7001",
            "127.0.0.1@evil.example",
            "localhost evil",
            "?",
        ] {
            assert!(!hosts.has(host), "{host}");
        }
    }
}
