//! `[admin]` and `[status]`: where the gateway is seen and steered.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::address::Fault;
use crate::config::error::ConfigError;
use crate::config::file::Section;
use crate::config::read::Rule;
use crate::config::taken::Taken;
use crate::config::{Admin, AdminSocket, Status, address};

const SOCKET_RULE: Rule<'_> = Rule {
    must: "must be \"auto\", \"off\" or an absolute path of at most 106 bytes",
    remedy: "write \"/run/portcullis/admin.sock\"",
};
/// What the kernel's `sun_path` holds beside its final zero (unix(7)), less one: the socket is made
/// under a name with one more byte and gets its own when it is complete.
const MAX_PATH_BYTES: usize = 106;

const MODE_RULE: Rule<'_> =
    Rule { must: "must be permissions in octal, in quotes", remedy: "write \"0600\" or \"0660\"" };

const GROUP_RULE: Rule<'_> =
    Rule { must: "must be the name or number of a group", remedy: "write \"wheel\"" };

const ALLOW_RULE: Rule<'_> = Rule {
    must: "must be a list of networks",
    remedy: "write [\"127.0.0.0/8\", \"10.0.0.0/8\"]; a single address is a network, too",
};

const HOSTS_RULE: Rule<'_> = Rule {
    must: "must be a list of host names, each without a port",
    remedy: "write [\"gateway.example.com\"]; addresses need no entry",
};

pub(super) fn admin(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Admin {
    let default = Admin::default();
    Admin {
        socket: section.word(problems, "socket", default.socket, SOCKET_RULE, |word| match word {
            "auto" => Some(AdminSocket::Auto),
            "off" => Some(AdminSocket::Off),
            path if path.starts_with('/') && path.len() <= MAX_PATH_BYTES => {
                Some(AdminSocket::At(PathBuf::from(path)))
            }
            _ => None,
        }),
        mode: section.word(problems, "mode", default.mode, MODE_RULE, |word| {
            u32::from_str_radix(word, 8).ok().filter(|mode| *mode <= 0o777)
        }),
        group: section.word(problems, "group", default.group, GROUP_RULE, |word| {
            (!word.is_empty()).then(|| Some(word.to_owned()))
        }),
    }
}

pub(super) fn status(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Status {
    let default = Status::default();
    Status {
        bind: bind(section, default.bind, problems),
        allow: allow(section, problems),
        hosts: hosts(section, problems),
    }
}

fn bind(
    section: &Section<'_>,
    default: Option<SocketAddr>,
    problems: &mut Vec<ConfigError>,
) -> Option<SocketAddr> {
    let Some(value) = section.get("bind") else { return default };
    let written = value.text();
    if written == "off" {
        return None;
    }
    match address::bind(&written).as_deref() {
        Ok([one]) => return Some(*one),
        Ok(_) => {
            let remedy = "write \"0.0.0.0:7001\" or \"[::]:7001\"";
            problems.push(value.error("must be one address", remedy));
        }
        Err(fault) => problems.push(value.fault(fault)),
    }
    default
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
        && let Err((rule, _)) = taken.take(address, "status", value.line())
        && address != Status::BIND
    {
        problems.push(value.error(rule, "write another port"));
    }
}

fn allow(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Vec<IpNet> {
    let Some(elements) = section.list(problems, "allow", ALLOW_RULE) else {
        return Status::default().allow;
    };
    let mut networks = Vec::new();
    for element in elements {
        let written = element.read::<String>().unwrap_or_default();
        let network =
            written.parse::<IpNet>().or_else(|_| written.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) if network.trunc() == network => networks.push(network),
            Ok(network) => {
                let fault = Fault {
                    must: "has bits beyond its prefix",
                    remedy: "write zeros there",
                    instead: Some(format!("write \"{}\"", network.trunc())),
                };
                problems.push(element.fault(&fault));
            }
            Err(_) => problems.push(element.error(ALLOW_RULE.must, ALLOW_RULE.remedy)),
        }
    }
    networks
}

fn hosts(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Vec<String> {
    let mut hosts = Vec::new();
    for element in section.list(problems, "hosts", HOSTS_RULE).unwrap_or_default() {
        match element.read::<String>().filter(|name| address::is_name(name)) {
            Some(name) => hosts.push(name),
            None => problems.push(element.error(HOSTS_RULE.must, HOSTS_RULE.remedy)),
        }
    }
    hosts
}
