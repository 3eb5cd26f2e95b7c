//! `[upstream.NAME]`: who answers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::limits::{NAMED_MAX, WEIGHT_MAX};
use crate::config::error::{ConfigError, LATER_RULE};
use crate::config::file::{Section, Value, quoted};
use crate::config::form::{AS_IT_STANDS, Choice, Form, Number, Span};
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::{keys, keys_by_hand};
use crate::config::lead::Lead;
use crate::config::read::Rule;
use crate::config::text::{Written, list};
use crate::config::{Balance, Builtin, Server, UpstreamKind, address};

pub(super) const UPSTREAM: SectionKeys = SectionKeys {
    section: "upstream.NAME",
    about: "An upstream: any name, as often as needed. Either servers or builtin, no defaults.",
    keys: &[BY_HAND, Upstream::KEYS],
    later: &["health", "lazy_wait", "tls"],
};

pub(super) const SERVER: SectionKeys = SectionKeys {
    section: "upstream.NAME.servers",
    about: "",
    keys: &[OF_SERVER],
    later: &["max_connections"],
};

const BALANCES: Choice<Balance> = Choice {
    words: &[
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
    ],
    later: &["random-two", "maglev"],
};

const BUILTINS: Choice<Builtin> = Choice {
    words: &[("echo", Builtin::Echo), ("discard", Builtin::Discard), ("hold", Builtin::Hold)],
    later: &[],
};

const CONNECTS: Choice<()> = Choice { words: &[("eager", ())], later: &["lazy"] };

const PROXIES: Choice<()> = Choice { words: &[("off", ())], later: &["v1", "v2"] };

const WEIGHTS: Number = Number(0..=WEIGHT_MAX as u64);

pub(super) const BY_HAND: &[Key] = keys_by_hand! {
    /// Answered by the gateway itself. "echo": every byte back; "discard": read and dropped;
    /// "hold": nothing read, nothing sent.
    ///
    /// Change it to servers when clients hear only themselves.
    "builtin" = "echo", NewConnections, BUILTINS.values();

    /// Servers, by address: text, or a table that gives the server a name for logs and metrics, and
    /// a weight: its share of new connections in relation to the others', 0 (none) to 100, by
    /// default 1.
    ///
    /// Give a larger machine a larger weight; `portcullis server` changes weights while the gateway
    /// runs.
    "servers" as ["127.0.0.1:9000", { name = "b", address = "[::1]:9000", weight = 2 }],
        NewConnections, "a list of servers, at least one";

    /// How a server is chosen.
    ///
    /// Write "round-robin" when a server that has just come up is flooded by all new clients.
    "balance" = "least-connections", NewConnections, BALANCES.values();

    /// When a server is connected to: with the client's arrival, in this version.
    "connect" = "eager", NewConnections, CONNECTS.values();

    /// Whether the server gets a PROXY header: not in this version.
    "send_proxy" = "off", NewConnections, PROXIES.values();

    /// Local addresses to connect from; []: the kernel chooses.
    ///
    /// Set it when the servers' firewall wants one address of several that the host has. A start
    /// refuses one that the host does not have, unless net.ipv4.ip_nonlocal_bind (or ipv6's) is 1.
    "source_addresses" = [], NewConnections, "a list of addresses, at most one of each family";
};

pub(super) const OF_SERVER: &[Key] = keys_by_hand! {
    /// What logs and metrics call it; without a name its address.
    "name" as "b", NewConnections, "1 to 64 letters, digits, and any of . : [ ] - _";
    /// Where it listens.
    "address" as "[::1]:9000", NewConnections, "an address with a port";
    /// Its share of new connections in relation to the others'; 0: none.
    "weight" = 1, NewConnections, Form::<u32>::values(&WEIGHTS);
};

keys! {
    /// A named destination of connections.
    Upstream;

    with name: String = "default".to_owned(),
        "Letters, digits, `-` and `_`; no two upstreams share one.";
    with kind: UpstreamKind = UpstreamKind::Builtin(Builtin::Echo), "Who answers.";

    /// For the connection to a server to be made.
    ///
    /// Raise it when distant servers are given up on; lower it when clients wait long for a dead
    /// one.
    "connect_timeout" connect_timeout: Duration = "5s", NewConnections,
        Span::Any, "write it as in \"5s\"";
}

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
    for (name, section) in root.named_sections("upstream", &UPSTREAM, problems) {
        let places = &mut |address, value| {
            leads.push(Lead { upstream: upstreams.len(), address, value });
        };
        let upstream = upstream(name, &section, places, problems);
        if let UpstreamKind::Servers { servers, .. } = &upstream.kind {
            server_count += servers.len();
            if server_count > NAMED_MAX {
                let rule = format!("brings the servers of all upstreams above {NAMED_MAX}");
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
    let balance = section.value("balance", &BALANCES, AS_IT_STANDS, problems);
    let balance = balance.unwrap_or(Balance::LeastConnections);
    let builtin = section.value("builtin", &BUILTINS, AS_IT_STANDS, problems);
    let builtin = builtin.unwrap_or(Builtin::Echo);
    section.value("connect", &CONNECTS, AS_IT_STANDS, problems);
    section.value("send_proxy", &PROXIES, AS_IT_STANDS, problems);
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
    Upstream { name, kind, ..Upstream::read(section, problems) }
}

/// Writes what [`Upstream::write`] does not know.
pub(super) fn write_by_hand(kind: &UpstreamKind, out: &mut Written) {
    match kind {
        UpstreamKind::Builtin(builtin) => {
            out.key(BY_HAND, "builtin", Some(quoted(BUILTINS.word(*builtin))));
        }
        UpstreamKind::Servers { servers, balance } => {
            let lines: Vec<String> = servers.iter().map(written).collect();
            out.key(BY_HAND, "servers", Some(format!("[\n    {},\n]", lines.join(",\n    "))));
            let mut sources: Vec<IpAddr> = servers.iter().filter_map(|it| it.source).collect();
            sources.sort_unstable();
            sources.dedup();
            out.key(BY_HAND, "source_addresses", Some(list(sources)));
            out.key(BY_HAND, "balance", Some(quoted(BALANCES.word(*balance))));
        }
    }
}

fn written(server: &Server) -> String {
    let Server { name, address, source: _, weight } = server;
    let (name, address) = (quoted(name), quoted(&address.to_string()));
    format!("{{ name = {name}, address = {address}, weight = {weight} }}")
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
    let Some(table) = element.section(&SERVER) else {
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
    let remedy = "write 2 for twice the share of a server of weight 1, 0 for none";
    let weight = table.value("weight", &WEIGHTS, remedy, problems).unwrap_or(1);
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
