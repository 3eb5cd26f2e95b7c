//! `[upstream.NAME]`: who answers.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::config::error::ConfigError;
use crate::config::file::{Section, Value};
use crate::config::read::{LATER_RULE, Rule};
use crate::config::{Balance, Builtin, MAX_WEIGHT, Server, Upstream, UpstreamKind, address, keys};

/// A worker names the servers of all upstreams by 16 bits.
const MAX_SERVERS: usize = 65_535;

const SERVERS_RULE: Rule<'_> = Rule {
    must: "must be a list of servers, at least one",
    remedy: "write [\"127.0.0.1:9000\"] or [{ name = \"a\", address = \"127.0.0.1:9000\" }]",
};

const SERVER_NAME_RULE: Rule<'_> = Rule {
    must: "a server's name has 1 to 64 letters, digits, and any of . : [ ] - _",
    remedy: "write a name of these characters, or leave it out",
};

/// Every upstream of the file.
pub(super) fn upstreams(root: &Section<'_>, problems: &mut Vec<ConfigError>) -> Vec<Upstream> {
    let mut server_count = 0;
    let mut upstreams = Vec::new();
    for (name, section) in root.named_sections("upstream", &keys::UPSTREAM, problems) {
        let upstream = upstream(name, &section, problems);
        if let UpstreamKind::Servers { servers, .. } = &upstream.kind {
            server_count += servers.len();
            if server_count > MAX_SERVERS {
                let rule = format!("brings the servers of all upstreams above {MAX_SERVERS}");
                problems.push(section.error(rule, "remove servers"));
                server_count = 0;
            }
        }
        upstreams.push(upstream);
    }
    upstreams
}

fn upstream(name: String, section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Upstream {
    let least = Balance::LeastConnections;
    let balances = [("round-robin", Balance::RoundRobin), ("least-connections", least)];
    let balance = section.choice(problems, "balance", least, &balances, &["random-two", "maglev"]);
    let builtins =
        [("echo", Builtin::Echo), ("discard", Builtin::Discard), ("hold", Builtin::Hold)];
    let builtin = section.choice(problems, "builtin", Builtin::Echo, &builtins, &[]);
    section.choice(problems, "connect", (), &[("eager", ())], &["lazy"]);
    section.choice(problems, "send_proxy", (), &[("off", ())], &["v1", "v2"]);
    let sources = sources(section, problems);
    let kind = match (section.get("servers"), section.get("builtin")) {
        (None, Some(_)) => UpstreamKind::Builtin(builtin),
        (Some(_), None) => {
            UpstreamKind::Servers { servers: servers(section, &sources, problems), balance }
        }
        (Some(_), Some(value)) => {
            let rule = "servers stand beside it: an upstream is one or the other";
            problems.push(value.error(rule, "remove one of them"));
            UpstreamKind::Builtin(builtin)
        }
        (None, None) => {
            let remedy = "write servers = [\"127.0.0.1:9000\"], or builtin = \"echo\"";
            problems.push(section.error("has neither servers nor builtin", remedy));
            UpstreamKind::Builtin(builtin)
        }
    };
    Upstream {
        name,
        kind,
        connect_timeout: section.duration(
            problems,
            "connect_timeout",
            Upstream::CONNECT_TIMEOUT,
            "write it as in \"5s\"",
        ),
    }
}

/// The local addresses to connect from, one of each family at most.
fn sources(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Vec<IpAddr> {
    let rule = Rule { must: "must be a list of addresses", remedy: "write [\"10.0.0.5\"]" };
    let mut sources: Vec<IpAddr> = Vec::new();
    for element in section.list(problems, "source_addresses", rule).unwrap_or_default() {
        match address::source(&element.read::<String>().unwrap_or_default()) {
            Ok(ip) if sources.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) => {
                let rule = format!("a second address of a family {LATER_RULE}");
                problems.push(element.error(rule, "remove it"));
            }
            Ok(ip) => sources.push(ip),
            Err(rule) => problems.push(element.error(rule.must, rule.remedy)),
        }
    }
    sources
}

fn servers(
    section: &Section<'_>,
    sources: &[IpAddr],
    problems: &mut Vec<ConfigError>,
) -> Vec<Server> {
    let mut names = HashSet::new();
    let mut servers = Vec::new();
    for element in &section.filled_list(problems, "servers", SERVERS_RULE) {
        let Some(mut server) = server(element, problems) else { continue };
        let is_v4 = server.address.is_ipv4();
        server.source = sources.iter().copied().find(|source| source.is_ipv4() == is_v4);
        if !names.insert(server.name.clone()) {
            let rule = format!("there is a server {} in this upstream already", server.name);
            problems.push(element.error(rule, "remove it, or give it a name of its own"));
        }
        servers.push(server);
    }
    servers
}

/// A server as text, or as a table with a name and a weight.
fn server(element: &Value<'_>, problems: &mut Vec<ConfigError>) -> Option<Server> {
    let Some(table) = element.section(&keys::SERVER) else {
        return address_of(element, problems, |address| address.to_string());
    };
    table.check_keys(problems);
    let name = table.get("name").map(|value| {
        let name = value.read::<String>().unwrap_or_default();
        if !is_server_name(&name) {
            problems.push(value.error(SERVER_NAME_RULE.must, SERVER_NAME_RULE.remedy));
        }
        name
    });
    let range = 0..=u64::from(MAX_WEIGHT);
    let remedy = "write 2 for twice the share of a server of weight 1, 0 for none";
    let weight = table.number(problems, "weight", 1, range, remedy);
    let Some(value) = table.get("address") else {
        problems.push(table.error("a server has no address", "write address = \"127.0.0.1:9000\""));
        return None;
    };
    let server = address_of(value, problems, |address| name.unwrap_or_else(|| address.to_string()));
    server.map(|server| Server { weight, ..server })
}

fn address_of(
    value: &Value<'_>,
    problems: &mut Vec<ConfigError>,
    name: impl FnOnce(std::net::SocketAddr) -> String,
) -> Option<Server> {
    match address::server(&value.read::<String>().unwrap_or_default()) {
        Ok(address) => Some(Server { name: name(address), address, source: None, weight: 1 }),
        Err(rule) => {
            problems.push(value.error(rule.must, rule.remedy));
            None
        }
    }
}

fn is_server_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".:[]-_".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}
