//! `[listener.NAME]`: where clients knock, and what happens to them.

use std::net::SocketAddr;

use crate::config::error::ConfigError;
use crate::config::file::{Section, Value};
use crate::config::loops::{self, Lead};
use crate::config::read::{ANY_DURATION, Rule, nearest};
use crate::config::taken::Taken;
use crate::config::{AtLimit, Listener, Timeouts, Upstream, address, keys};

/// A worker names its passive sockets by 16 bits.
const MAX_ADDRESSES: usize = 65_535;

const BIND_RULE: Rule<'_> = Rule {
    must: "must be a list of addresses, at least one",
    remedy: "write [\"127.0.0.1:7000\"]",
};

/// Every listener of the file, and the addresses that they take.
pub(super) fn listeners(
    root: &Section<'_>,
    (upstreams, leads): (&[Upstream], &[Lead<'_>]),
    problems: &mut Vec<ConfigError>,
) -> (Vec<Listener>, Taken) {
    let sections = root.named_sections("listener", &keys::LISTENER, problems);
    if sections.is_empty() && root.get("listener").is_none() {
        let remedy = "write [listener.NAME] with bind and upstream";
        problems.push(root.error("there is no listener", remedy));
    }
    let mut taken = Taken::default();
    let (mut listeners, mut leading) = (Vec::new(), Vec::new());
    for (name, section) in sections {
        let upstream = upstream(&section, upstreams, problems);
        leading.push(upstream.is_some());
        let upstream = (upstream.unwrap_or(0), upstream.map(|index| &upstreams[index]));
        listeners.push(listener(name, &section, upstream, &mut taken, problems));
    }
    loops::report(&listeners, &leading, upstreams, leads, problems);
    (listeners, taken)
}

fn listener(
    name: String,
    section: &Section<'_>,
    (upstream, chosen): (usize, Option<&Upstream>),
    taken: &mut Taken,
    problems: &mut Vec<ConfigError>,
) -> Listener {
    let bind = bind(&name, section, taken, problems);
    let at_limit = section.choice(
        problems,
        "at_limit",
        AtLimit::Queue,
        &[("queue", AtLimit::Queue), ("reset", AtLimit::Reset)],
        &["evict"],
    );
    let max_connections = section.number_or_off(
        problems,
        "max_connections",
        1..=100_000_000,
        "write the clients that this listener may hold at once",
    );
    section.choice(problems, "accept_proxy", (), &[("off", ())], &["from-trusted", "required"]);
    Listener {
        name,
        bind,
        upstream,
        backlog: section.auto_number(
            problems,
            "backlog",
            1..=(1 << 31) - 1,
            "write the number of handshakes that may wait",
        ),
        max_connections,
        at_limit,
        timeouts: timeouts(section, chosen, problems),
    }
}

fn timeouts(
    section: &Section<'_>,
    upstream: Option<&Upstream>,
    problems: &mut Vec<ConfigError>,
) -> Timeouts {
    let default = Timeouts::default();
    let mut read = |name, default| {
        let remedy = "write it as in \"30s\" or \"1h\"";
        section.duration_or_off(problems, name, default, ANY_DURATION, remedy)
    };
    Timeouts {
        connect: upstream.map_or(default.connect, |upstream| upstream.connect_timeout),
        first_byte: read("first_byte_timeout", default.first_byte),
        idle: read("idle_timeout", default.idle),
        half_close: read("half_close_timeout", default.half_close),
        max_lifetime: read("max_lifetime", default.max_lifetime),
    }
}

/// The index of the upstream that the listener names.
fn upstream(
    section: &Section<'_>,
    upstreams: &[Upstream],
    problems: &mut Vec<ConfigError>,
) -> Option<usize> {
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let known = match names.as_slice() {
        [] => "write [upstream.NAME] and name it here".to_owned(),
        [one] => format!("the file has {one}"),
        all => format!("the file has {}", all.join(", ")),
    };
    let Some(value) = section.get("upstream") else {
        problems.push(section.error("has no upstream", &known));
        return None;
    };
    let written = value.read::<String>().unwrap_or_default();
    let index = names.iter().position(|name| *name == written);
    if index.is_none() {
        let remedy = match nearest(&written, &names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => known,
        };
        problems.push(value.error("there is no upstream of that name", &remedy));
    }
    index
}

fn bind(
    name: &str,
    section: &Section<'_>,
    taken: &mut Taken,
    problems: &mut Vec<ConfigError>,
) -> Vec<SocketAddr> {
    if section.get("bind").is_none() {
        problems.push(section.error("has no bind", BIND_RULE.remedy));
    }
    let mut addresses = Vec::new();
    for element in &section.filled_list(problems, "bind", BIND_RULE) {
        match address::bind(&element.text()) {
            Ok(bound) => {
                for address in bound {
                    problems.extend(conflict(element, name, address, taken));
                    addresses.push(address);
                }
            }
            Err(fault) => problems.push(element.fault(&fault)),
        }
    }
    addresses
}

/// What is wrong with one more address; takes it when nothing is.
fn conflict(
    element: &Value<'_>,
    name: &str,
    address: SocketAddr,
    taken: &mut Taken,
) -> Option<ConfigError> {
    if taken.len() >= MAX_ADDRESSES {
        let rule = format!("is one address more than {MAX_ADDRESSES}");
        return Some(element.error(rule, "bind a wildcard address instead of single ones"));
    }
    let key = format!("listener.{name}");
    let (rule, remedy) = taken.take(address, &key, element.line()).err()?;
    Some(element.error(rule, remedy))
}
