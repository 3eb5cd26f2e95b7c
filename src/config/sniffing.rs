//! Keys of `[listener.NAME]` by which clients go to upstreams by the names that they ask for.

use crate::config::error::ConfigError;
use crate::config::file::{Section, Value, quoted};
use crate::config::form::{AS_IT_STANDS, Choice};
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::{keys, keys_by_hand};
use crate::config::read::{Rule, nearest};
use crate::config::text::list;
use crate::config::tls::protocol;
use crate::config::{Sniff, Unmatched, Upstream};
use crate::wire::Pattern;

pub(super) const ROUTE: SectionKeys =
    SectionKeys { section: "listener.NAME.route", about: "", keys: &[OF_ROUTE], later: &[] };

const SNIFFS: Choice<Sniff> = Choice {
    words: &[("off", Sniff::Off), ("tls", Sniff::Tls), ("postgres", Sniff::Postgres)],
    later: &[],
};

const UNMATCHED: Choice<Unmatched> = Choice {
    words: &[("upstream", Unmatched::Upstream), ("refuse", Unmatched::Refuse)],
    later: &[],
};

pub(super) const BY_HAND: &[Key] = keys_by_hand! {
    /// Other upstreams for clients that ask for these names, as in "db.example.com", or
    /// "*.example.com" for all names with one label before ".example.com". With alpn, only for
    /// those that offer one of its protocols; without server_names, for any name. A name as it
    /// stands comes before one with "*", and both before a route without names; among equals the
    /// first. Each may stand under [[listener.NAME.route]].
    "route" as [{ server_names = ["*.example.com"], upstream = "default" }],
        NewConnections, "a list of { server_names = [NAME], alpn = [PROTOCOL], upstream = NAME }";
};

const OF_ROUTE: &[Key] = keys_by_hand! {
    /// The names that its clients ask for.
    "server_names" as ["db.example.com"], NewConnections, "a list of names";
    /// Protocols of which they offer one.
    "alpn" as ["h2"], NewConnections, "a list of protocols";
    /// Where they go.
    "upstream" as "default", NewConnections, "the name of an upstream";
};

keys! {
    /// How the clients of a listener are told apart by what they ask for.
    Sniffing;

    with routes: Vec<NamedRoute> = Vec::new(), "Where they go by name, in the file's order.";

    /// Whether the name that a client asks for is read before a server is chosen. "tls": in the
    /// ClientHello of TLS (SNI), by which its route is found; TLS is not ended here, and the server
    /// gets what was read first, byte by byte. A hello may come in any number of pieces within
    /// preamble_timeout; who sends none, or one that is malformed, is reset. A client that waits
    /// for the server to speak sends none. "postgres": the same for clients of PostgreSQL, whose
    /// request for TLS (sslmode=require) is answered here, and asked again of the server. Beside
    /// the table tls, TLS is ended here: routes go by the name of its handshake and "tls" is
    /// refused; with "postgres" it ends behind the client's request, and no server is asked.
    ///
    /// Write "tls" or "postgres" to serve several names at one address.
    "sniff" sniff: Sniff = "off", NewConnections, SNIFFS, AS_IT_STANDS;

    /// Where clients go that no route is for, those that speak something else than TLS among them.
    /// "upstream": to the listener's own; "refuse": they are reset (bad-preamble).
    ///
    /// Write "refuse" when only known names may reach a server.
    "unmatched" unmatched: Unmatched = "upstream", NewConnections, UNMATCHED, AS_IT_STANDS;
}

/// Clients that go to another upstream than their listener's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRoute {
    /// They ask for one of these names; empty: for any or none.
    pub server_names: Vec<Pattern>,
    /// And offer one of these protocols; empty: any or none.
    pub alpn: Vec<String>,
    /// Index into [`crate::config::Config::upstreams`].
    pub upstream: usize,
}

impl NamedRoute {
    /// How a file has it, with the names of the upstreams.
    pub(super) fn written(&self, upstreams: &[Upstream]) -> String {
        let names = list(&self.server_names);
        let (alpn, upstream) = (list(&self.alpn), quoted(&upstreams[self.upstream].name));
        format!("{{ server_names = {names}, alpn = {alpn}, upstream = {upstream} }}")
    }
}

/// The routes of a listener.
pub(super) fn sniffing(
    section: &Section<'_>,
    upstreams: &[Upstream],
    problems: &mut Vec<ConfigError>,
) -> Sniffing {
    let sniffing = Sniffing::read(section, problems);
    let rule = Rule { must: "must be a list of routes", remedy: "write [[listener.NAME.route]]" };
    let elements = section.list(problems, "route", rule).unwrap_or_default();
    let mut refuse = |key: &str, rule: &str, remedy: &str| {
        problems.extend(section.get(key).map(|value| value.error(rule, remedy)));
    };
    // A handshake that ends here says a name, too.
    let names_are_read = sniffing.sniff != Sniff::Off || section.get("tls").is_some();
    if !names_are_read && !elements.is_empty() {
        let rule = "are never taken: no name is read";
        refuse("route", rule, "write sniff = \"tls\" in the listener's section");
    }
    if !names_are_read && sniffing.unmatched == Unmatched::Refuse {
        let rule = "refuses nobody: no name is read";
        refuse("unmatched", rule, "write sniff = \"tls\" beside it");
    }
    let mut routes: Vec<NamedRoute> = Vec::new();
    for element in elements {
        let route = element.section(&ROUTE);
        if route.is_none() {
            problems.push(element.error("must be a table", "write { server_names = [\"...\"], "));
        }
        let route = route.and_then(|route| named_route(&route, &routes, upstreams, problems));
        routes.extend(route);
    }
    Sniffing { routes, ..sniffing }
}

fn named_route(
    section: &Section<'_>,
    before: &[NamedRoute],
    upstreams: &[Upstream],
    problems: &mut Vec<ConfigError>,
) -> Option<NamedRoute> {
    section.check_keys(problems);
    let rule = Rule { must: "must be a list of names", remedy: "write [\"db.example.com\"]" };
    let names = section.list(problems, "server_names", rule).unwrap_or_default();
    let rule = Rule { must: "must be a list of protocols", remedy: "write [\"h2\"]" };
    let protocols = section.list(problems, "alpn", rule).unwrap_or_default();
    if names.is_empty() && protocols.is_empty() {
        let remedy = "write server_names = [\"db.example.com\"]";
        problems.push(section.error("is for nobody: it has neither server_names nor alpn", remedy));
    }
    let alpn: Vec<String> = protocols.iter().filter_map(|it| protocol(it, problems)).collect();
    let mut server_names = Vec::new();
    for element in &names {
        let Some(name) = pattern(element, problems) else { continue };
        let takes_it = |route: &&NamedRoute| {
            route.server_names.contains(&name) && (route.alpn.is_empty() || route.alpn == alpn)
        };
        if server_names.contains(&name) || before.iter().any(|route| takes_it(&route)) {
            let rule = "has a route already, which comes first";
            problems.push(element.error(rule, "remove one of the two, or tell them apart by alpn"));
        }
        server_names.push(name);
    }
    let upstream = upstream(section, upstreams, problems)?;
    Some(NamedRoute { server_names, alpn, upstream })
}

fn pattern(value: &Value<'_>, problems: &mut Vec<ConfigError>) -> Option<Pattern> {
    let text = value.read::<String>().unwrap_or_default();
    let remedy = "write it as in \"db.example.com\" or \"*.example.com\"";
    let pattern = text.parse::<Pattern>();
    pattern.map_err(|fault| problems.push(value.error(fault.to_string(), remedy))).ok()
}

/// The index of the upstream that a listener or a route of it names.
pub(super) fn upstream(
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
