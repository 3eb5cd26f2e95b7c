//! `[status]`: where the gateway is seen.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::address;
use crate::config::error::ConfigError;
use crate::config::file::{Section, Value, quoted};
use crate::config::form::Own;
use crate::config::key::SectionKeys;
use crate::config::keys::keys;
use crate::config::networks::{A_LIST, networks};
use crate::config::taken::Taken;
use crate::config::text::list;

pub(super) const STATUS: SectionKeys =
    SectionKeys { section: "status", about: "", keys: &[Status::KEYS], later: &[] };

const BINDS: Own<Option<SocketAddr>> = Own {
    values: "an address with a port, or \"off\"",
    read: bind,
    written: |bind| {
        let bind = bind.map(|bind| bind.to_string());
        quoted(bind.as_deref().unwrap_or("off"))
    },
};

const NETWORKS: Own<Vec<IpNet>> =
    Own { values: A_LIST, read: networks, written: |allow| list(allow) };

const HOSTS: Own<Vec<String>> = Own {
    values: "a list of host names, each without a port",
    read: hosts,
    written: |hosts| list(hosts),
};

keys! {
    /// The TCP address that answers what anybody may read: metrics, health, the status page.
    Status;

    /// What may be read without being trusted: /metrics, /healthz, /readyz, /status.json,
    /// /history.json and the status page at /. At this default address a second gateway on the
    /// host warns that the port is taken and goes without; at one that you chose it does not start.
    /// Its connections are bounded: beyond that, the longest silent one is closed for the next.
    ///
    /// Change 127.0.0.1 when Prometheus or a balancer asks from another host, and allow them below.
    "bind" bind: Option<SocketAddr> = "127.0.0.1:7001", Live,
        BINDS, "write \"0.0.0.0:7001\" or \"[::]:7001\"";

    /// Networks whose clients are answered; others get 403.
    ///
    /// Add the network of your monitoring when it is refused.
    "allow" allow: Vec<IpNet> = ["127.0.0.0/8", "::1/128"], Live, NETWORKS,
        "write [\"127.0.0.0/8\", \"10.0.0.0/8\"]; a single address is a network, too";

    /// Names of this host by which it may be asked, beside localhost and its own (hostname). A
    /// request whose Host header is another name gets 403, since a web page could point its own
    /// name here and read what the status server says; any address will do, and /healthz and
    /// /readyz answer under every name.
    ///
    /// Add the name by which Prometheus or a browser asks when the answer says so.
    "hosts" hosts: Vec<String> = [], Live,
        HOSTS, "write [\"gateway.example.com\"]; addresses need no entry";
}

impl Status {
    /// Where it listens when the file does not say. A second gateway of the same host goes without.
    pub const BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7001);
    /// Connections at one time: scrapers, balancers and a few people.
    pub const CONNECTIONS: usize = 32;
}

fn bind(
    value: &Value<'_>,
    remedy: &str,
    problems: &mut Vec<ConfigError>,
) -> Option<Option<SocketAddr>> {
    let written = value.text();
    if written == "off" {
        return Some(None);
    }
    match address::bind(&written).as_deref() {
        Ok([one]) => return Some(Some(*one)),
        Ok(_) => problems.push(value.error("must be one address", remedy)),
        Err(fault) => problems.push(value.fault(fault)),
    }
    None
}

/// That no listener binds the status server's address. At the default one it may be: then the
/// gateway goes without a status server, and warns.
pub(super) fn own_address(
    section: &Section<'_>,
    status: &Status,
    taken: &mut Taken,
    problems: &mut Vec<ConfigError>,
) {
    if let (Some(value), Some(address)) = (section.get("bind"), status.bind)
        && let Err((rule, _)) = taken.take(address, ("status", value.spot()), false)
        && address != Status::BIND
    {
        problems.push(value.error(rule, "write another port"));
    }
}

fn hosts(value: &Value<'_>, remedy: &str, problems: &mut Vec<ConfigError>) -> Option<Vec<String>> {
    let must = format!("must be {}", HOSTS.values);
    let Some(elements) = value.elements() else {
        problems.push(value.error(must, remedy));
        return None;
    };
    let mut hosts = Vec::new();
    for element in elements {
        match element.read::<String>().filter(|name| address::is_name(name)) {
            Some(name) => hosts.push(name),
            None => problems.push(element.error(must.clone(), remedy)),
        }
    }
    Some(hosts)
}
