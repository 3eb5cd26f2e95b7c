//! `[upstream.NAME]`: who answers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::error::ConfigError;
use crate::config::file::{Section, Value};
use crate::config::loops::Lead;
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

/// Every upstream of the file, and where its servers stand there.
pub(super) fn upstreams<'a>(
    root: &Section<'a>,
    problems: &mut Vec<ConfigError>,
) -> (Vec<Upstream>, Vec<Lead<'a>>) {
    let mut server_count = 0;
    let (mut upstreams, mut leads) = (Vec::new(), Vec::new());
    for (name, section) in root.named_sections("upstream", &keys::UPSTREAM, problems) {
        let places = &mut |address, value| {
            leads.push(Lead { upstream: upstreams.len(), address, value });
        };
        let upstream = upstream(name, &section, places, problems);
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
    (upstreams, leads)
}

/// What hears where each server stands.
type Places<'p, 'a> = &'p mut dyn FnMut(SocketAddr, Value<'a>);

fn upstream<'a>(
    name: String,
    section: &Section<'a>,
    places: Places<'_, 'a>,
    problems: &mut Vec<ConfigError>,
) -> Upstream {
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
            let servers = servers(section, &sources, places, problems);
            UpstreamKind::Servers { servers, balance }
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

/// The local addresses to connect from, one of each family at most, each where it stands.
fn sources<'a>(section: &Section<'a>, problems: &mut Vec<ConfigError>) -> Vec<(IpAddr, Value<'a>)> {
    let rule = Rule { must: "must be a list of addresses", remedy: "write [\"10.0.0.5\"]" };
    let mut sources: Vec<(IpAddr, Value<'a>)> = Vec::new();
    for element in section.list(problems, "source_addresses", rule).unwrap_or_default() {
        match address::source(&element.text()) {
            Ok(ip) if sources.iter().any(|(other, _)| other.is_ipv4() == ip.is_ipv4()) => {
                let rule = format!("a second address of a family {LATER_RULE}");
                problems.push(element.error(rule, "remove it"));
            }
            Ok(ip) => sources.push((ip, element)),
            Err(fault) => problems.push(element.fault(&fault)),
        }
    }
    sources
}

fn servers<'a>(
    section: &Section<'a>,
    sources: &[(IpAddr, Value<'a>)],
    places: Places<'_, 'a>,
    problems: &mut Vec<ConfigError>,
) -> Vec<Server> {
    let mut names = HashMap::new();
    let mut servers: Vec<Server> = Vec::new();
    for element in &section.filled_list(problems, "servers", SERVERS_RULE) {
        let Some(mut server) = server(element, places, problems) else { continue };
        let is_v4 = server.address.is_ipv4();
        let source = sources.iter().find(|(source, _)| source.is_ipv4() == is_v4);
        server.source = source.map(|(ip, _)| *ip);
        if let Some(line) = names.insert(server.name.clone(), element.line()) {
            let rule = format!("a server of this upstream has this name already, on line {line}");
            problems.push(element.error(rule, "remove it, or give it a name of its own"));
        }
        servers.push(server);
    }
    for (source, value) in sources.iter().filter(|(source, _)| source.is_loopback()) {
        let away =
            |server: &&Server| server.source == Some(*source) && !server.address.ip().is_loopback();
        if servers.iter().find(away).is_some() {
            let rule = "is a loopback address, from which no server on another host is reached";
            problems.push(
                value.error(rule, "write an address of this host's network, or leave it out"),
            );
        }
    }
    servers
}

/// A server as text, or as a table with a name and a weight.
fn server<'a>(
    element: &Value<'a>,
    places: Places<'_, 'a>,
    problems: &mut Vec<ConfigError>,
) -> Option<Server> {
    let Some(table) = element.section(&keys::SERVER) else {
        return address_of(element, places, problems, |address| address.to_string());
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
    let name = |address: SocketAddr| name.unwrap_or_else(|| address.to_string());
    let server = address_of(value, places, problems, name);
    server.map(|server| Server { weight, ..server })
}

fn address_of<'a>(
    value: &Value<'a>,
    places: Places<'_, 'a>,
    problems: &mut Vec<ConfigError>,
    name: impl FnOnce(SocketAddr) -> String,
) -> Option<Server> {
    match address::server(&value.text()) {
        Ok(address) => {
            places(address, value.clone());
            Some(Server { name: name(address), address, source: None, weight: 1 })
        }
        Err(fault) => {
            problems.push(value.fault(&fault));
            None
        }
    }
}

fn is_server_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".:[]-_".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}
