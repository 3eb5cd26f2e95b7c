//! Sets of servers as somebody writes them: in the config file, in a file of their own, in a
//! command.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::slice;

use crate::base::limits::{CONNECTIONS_MAX, NAMED_MAX, WEIGHT_MAX};
use crate::config::address::{self, ServerAt};
use crate::config::error::{ConfigError, ConfigErrors};
use crate::config::file::{self, Section, Source, Value, quoted};
use crate::config::form::{Form, Number, OrOff, Switch};
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::keys_by_hand;
use crate::config::lead::Lead;
use crate::config::read::Rule;
use crate::config::{Server, Terms};

pub(super) const SERVER: SectionKeys =
    SectionKeys { section: "upstream.NAME.servers", about: "", keys: &[OF_SERVER], later: &[] };

const WEIGHTS: Number = Number(0..=WEIGHT_MAX as u64);
const CONNECTIONS: OrOff<Number> = OrOff(Number(1..=CONNECTIONS_MAX as u64));

pub(super) const OF_SERVER: &[Key] = keys_by_hand! {
    /// What logs and metrics call it; without a name its address.
    "name" as "b", NewConnections, "1 to 320 letters, digits, and any of . : [ ] - _";
    /// Where it listens.
    "address" as "[::1]:9000", NewConnections, "an address with a port, or a host's name with one";
    /// Its share of new connections in relation to the others'; 0: none.
    "weight" = 1, NewConnections, Form::<u32>::values(&WEIGHTS);
    /// The most connections that it may have, over all workers and those under way among them.
    "max_connections" = "off", NewConnections, Form::<Option<u32>>::values(&CONNECTIONS);
    /// Whether it gets connections only while no other server of the upstream serves.
    "backup" = false, NewConnections, Form::<bool>::values(&Switch);
};

/// A file that has a set of servers and nothing else.
const OF_FILE: SectionKeys = SectionKeys {
    section: "",
    about: "",
    keys: &[keys_by_hand! {
        /// The set that this one was made of.
        "revision" as 1, NewConnections, "a whole number";
        /// The servers.
        "servers" as ["127.0.0.1:9000"], NewConnections, "a list of servers";
    }],
    later: &[],
};

const SERVERS_RULE: Rule<'_> = Rule {
    must: "must be a list of servers, at least one",
    remedy: "write [\"127.0.0.1:9000\"] or [{ name = \"a\", address = \"127.0.0.1:9000\" }]",
};

/// The longest name of a server: room for a host's name (253) with an address and a port (47), as
/// the resolver's servers are called.
const SERVER_NAME_MAX: usize = 320;

const SERVER_NAME_RULE: Rule<'_> = Rule {
    must: "a server's name has 1 to 320 letters, digits, and any of . : [ ] - _",
    remedy: "write a name of these characters, or leave it out",
};

/// Servers as somebody has written them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSet {
    /// Those of a known address, in the order in which they are written.
    pub servers: Vec<Server>,
    /// Those whose addresses the resolver knows, in this order, too.
    pub names: Vec<Named>,
}

/// Servers at the addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As written, or the host's name and the port: what its servers' names begin with.
    pub name: String,
    /// The host's name, in lower case and without a dot at its end.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// What else the line says of each of its servers.
    pub terms: Terms,
}

impl Named {
    /// The servers of a host that a record names; `None`: it is no name, or no server's port.
    pub fn of_host(host: &str, port: u16, terms: Terms) -> Option<Named> {
        let host = address::host_name(host).filter(|_| port != 0)?;
        Some(Named { name: format!("{host}:{port}"), host, port, terms })
    }

    /// The server at one of the host's addresses.
    pub fn server(&self, address: IpAddr) -> Server {
        let address = SocketAddr::new(address, self.port);
        let host = self.name.strip_suffix(&format!(":{}", self.port)).unwrap_or(&self.name);
        Server { name: format!("{host}:{address}"), address, terms: self.terms }
    }

    /// The host and the port, as they are written.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl ServerSet {
    /// A set without names of hosts.
    pub fn of(servers: Vec<Server>) -> ServerSet {
        ServerSet { servers, names: Vec::new() }
    }

    /// The set of one server: its name, or its place for one, and an address or a host's name with
    /// a port.
    ///
    /// # Errors
    /// The value, the rule that it breaks, and the remedy.
    pub fn one(name: Option<&str>, place: &str, terms: Terms) -> Result<ServerSet, String> {
        if let Some(name) = name.filter(|name| !is_server_name(name)) {
            let must = SERVER_NAME_RULE.must;
            return Err(format!("{}: {must}; write a name of these characters", quoted(name)));
        }
        let Terms { weight, max_connections, .. } = terms;
        if weight > WEIGHT_MAX {
            return Err(format!("weight {weight}: must be at most {WEIGHT_MAX}; write less"));
        }
        if let Some(most) = max_connections.filter(|most| !(1..=CONNECTIONS_MAX).contains(most)) {
            let must = format!("must be 1 to {CONNECTIONS_MAX}");
            return Err(format!("max_connections {most}: {must}; leave it out for any number"));
        }
        let at = address::server(place).map_err(|fault| {
            let remedy = fault.instead.as_deref().unwrap_or(fault.remedy);
            format!("{}: {}; {remedy}", quoted(place), fault.must)
        })?;
        let mut set = ServerSet::default();
        set.add(name.map_or_else(|| at.to_string(), str::to_owned), at, terms);
        Ok(set)
    }

    fn add(&mut self, name: String, at: ServerAt, terms: Terms) {
        match at {
            ServerAt::Address(address) => self.servers.push(Server { name, address, terms }),
            ServerAt::Host(host, port) => self.names.push(Named { name, host, port, terms }),
        }
    }

    /// Adds the servers and the names of another set behind its own.
    pub fn extend(&mut self, other: ServerSet) {
        self.servers.extend(other.servers);
        self.names.extend(other.names);
    }

    /// A line for each: its name, where it is, what else it says.
    pub fn lines(&self) -> impl Iterator<Item = (&str, String, Terms)> {
        let servers = self.servers.iter();
        let servers = servers.map(|it| (it.name.as_str(), it.address.to_string(), it.terms));
        let names = self.names.iter();
        servers.chain(names.map(|it| (it.name.as_str(), it.host_and_port(), it.terms)))
    }

    /// Whether a line has this name.
    pub fn has(&self, name: &str) -> bool {
        self.lines().any(|(one, ..)| one == name)
    }

    /// The set has nobody.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.names.is_empty()
    }

    /// Reads a text that has a set and perhaps the revision of the set that it was made of, as
    /// [`ServerSet::written`] has it. `file_name` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong with the text, in the order of its lines.
    pub fn parse(text: &str, file_name: &str) -> Result<(ServerSet, Option<u64>), ConfigErrors> {
        let source = Source::new(text, file_name);
        let mut problems = Vec::new();
        let read =
            file::read(slice::from_ref(&source), &OF_FILE, &|_| None, &mut problems).map(|root| {
                root.check_keys(&mut problems);
                let remedy = "write the number that `portcullis servers UPSTREAM` shows";
                let revisions = Number(0..=i64::MAX as u64);
                let revision = root.value("revision", &revisions, remedy, &mut problems);
                if root.get("servers").is_none() {
                    problems.push(root.error("there are no servers", SERVERS_RULE.remedy));
                }
                let set = server_set(&root, &mut |_| {}, &mut problems);
                if set.servers.len() > NAMED_MAX {
                    let rule = format!("has more than {NAMED_MAX} servers");
                    problems.push(root.error(rule, "remove servers"));
                }
                (set, revision)
            });
        match read {
            Some(read) if problems.is_empty() => Ok(read),
            _ => Err(ConfigErrors::new(problems, &[])),
        }
    }

    /// The text that means this set, made of the set of that revision.
    pub fn written(&self, revision: u64) -> String {
        format!("revision = {revision}\nservers = {}\n", self.list())
    }

    /// The list as a file has it, a line for each.
    pub(super) fn list(&self) -> String {
        let line = |(name, at, terms): (&str, String, Terms)| {
            let Terms { weight, max_connections, backup } = terms;
            let (name, at) = (quoted(name), quoted(&at));
            let most = max_connections.map(|most| format!(", max_connections = {most}"));
            let backup = if backup { ", backup = true" } else { "" };
            let more = most.unwrap_or_default() + backup;
            format!("{{ name = {name}, address = {at}, weight = {weight}{more} }}")
        };
        let lines: Vec<String> = self.lines().map(line).collect();
        format!("[\n    {},\n]", lines.join(",\n    "))
    }
}

/// What hears where each server stands.
pub(super) type Places<'p, 'a> = &'p mut dyn FnMut(Lead<'a>);

/// The servers of a section that has them.
pub(super) fn server_set<'a>(
    section: &Section<'a>,
    places: Places<'_, 'a>,
    problems: &mut Vec<ConfigError>,
) -> ServerSet {
    let mut names = HashMap::new();
    let mut set = ServerSet::default();
    for element in &section.filled_list(problems, "servers", SERVERS_RULE) {
        let Some((name, terms, at)) = server(element, places, problems) else { continue };
        if let Some(spot) = names.insert(name.clone(), element.spot()) {
            let rule = format!("a server of this upstream has this name already, on {spot}");
            problems.push(element.error(rule, "remove it, or give it a name of its own"));
        }
        set.add(name, at, terms);
    }
    set
}

/// A server as text, or as a table with a name and its terms.
fn server<'a>(
    element: &Value<'a>,
    places: Places<'_, 'a>,
    problems: &mut Vec<ConfigError>,
) -> Option<(String, Terms, ServerAt)> {
    let Some(table) = element.section(&SERVER) else {
        let at = place_of(element, places, problems)?;
        return Some((at.to_string(), Terms::default(), at));
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
    let remedy = "write the most connections that it may have, or \"off\"";
    let most = table.value("max_connections", &CONNECTIONS, remedy, problems);
    let backup = table.value("backup", &Switch, "write it without quotes", problems);
    let (max_connections, backup) = (most.flatten(), backup.unwrap_or(false));
    let terms = Terms { weight, max_connections, backup };
    let Some(value) = table.get("address") else {
        problems.push(table.error("a server has no address", "write address = \"127.0.0.1:9000\""));
        return None;
    };
    let at = place_of(value, places, problems)?;
    Some((name.unwrap_or_else(|| at.to_string()), terms, at))
}

fn place_of<'a>(
    value: &Value<'a>,
    places: Places<'_, 'a>,
    problems: &mut Vec<ConfigError>,
) -> Option<ServerAt> {
    match address::server(&value.text()) {
        Ok(at) => {
            if let ServerAt::Address(address) = &at {
                places(Lead { upstream: 0, address: *address, value: value.clone() });
            }
            Some(at)
        }
        Err(fault) => {
            problems.push(value.fault(&fault));
            None
        }
    }
}

fn is_server_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".:[]-_".contains(c);
    (1..=SERVER_NAME_MAX).contains(&text.len()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "servers = [\"127.0.0.1:9000\", \
                    { name = \"b\", address = \"[::1]:9\", weight = 0, max_connections = 7 }, \
                    \"DB.internal.:5432\", { name = \"c\", address = \"db:1\", backup = true }]";
        let (set, revision) = ServerSet::parse(text, "a set").expect("right");
        assert_eq!(revision, None);
        assert_eq!(set.names[0].host_and_port(), "db.internal:5432");
        assert_eq!(ServerSet::parse(&set.written(7), "it"), Ok((set, Some(7))));
    }

    #[test]
    fn a_server_of_a_host_is_known_by_the_name_and_the_address() {
        let named = |name: &str| Named {
            name: name.to_owned(),
            host: "db.internal".to_owned(),
            port: 5432,
            terms: Terms::of_weight(3),
        };
        let [v4, v6]: [IpAddr; 2] = ["10.0.0.1", "fd00::1"].map(|it| it.parse().expect("an ip"));
        assert_eq!(named("db.internal:5432").server(v4).name, "db.internal:10.0.0.1:5432");
        assert_eq!(named("b").server(v6).name, "b:[fd00::1]:5432");
    }

    #[test]
    fn a_server_of_the_longest_name_of_a_host_is_read_again() {
        let host = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        let text = format!("servers = [\"{host}:65535\"]");
        let (named, _) = ServerSet::parse(&text, "a set").expect("right");
        let longest = "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        let longest: SocketAddr = longest.parse().expect("an address");
        let found = ServerSet::of(vec![named.names[0].server(longest.ip())]);
        for set in [named, found] {
            assert_eq!(ServerSet::parse(&set.written(1), "it"), Ok((set, Some(1))));
        }
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        let text = "revision = -1\nservers = [\"127.0.0.1\",\n\"a:0\"]\nx = 1\n";
        let errors = ServerSet::parse(text, "app.servers").expect_err("wrong").to_string();
        for words in ["app.servers:1", "app.servers:2", "app.servers:3", "no such key"] {
            assert!(errors.contains(words), "{errors}");
        }
        for (text, words) in [("", "there are no servers"), ("servers = []", "at least one")] {
            let errors = ServerSet::parse(text, "f").expect_err("wrong").to_string();
            assert!(errors.contains(words), "{errors}");
        }
    }
}
