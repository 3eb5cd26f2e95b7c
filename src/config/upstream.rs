//! `[upstream.NAME]`: who answers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::limits::NAMED_MAX;
use crate::config::error::ConfigError;
use crate::config::file::{Section, Value, quoted};
use crate::config::form::{AS_IT_STANDS, Choice, Form, Number, Optional, OrOff, Span};
use crate::config::forwarding::{self, Forwarding};
use crate::config::guards::Guards;
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::{keys, keys_by_hand};
use crate::config::lead::Lead;
use crate::config::read::Rule;
use crate::config::server_check::{CHECKS, Check};
use crate::config::server_set::{Places, server_set};
use crate::config::text::{Written, list};
use crate::config::tls::{self, UpstreamTls};
use crate::config::{
    AllDown, Balance, Builtin, OnDown, Origin, Server, ServerSet, UpstreamKind, address,
};

pub(super) const UPSTREAM: SectionKeys = SectionKeys {
    section: "upstream.NAME",
    about: "An upstream: any name, as often as needed. Either servers or builtin, no defaults.",
    keys: &[BY_HAND, Upstream::KEYS, Forwarding::KEYS, Guards::KEYS],
    later: &[],
};

pub(super) const SERVERS_FROM: SectionKeys = SectionKeys {
    section: "upstream.NAME.servers_from",
    about: "",
    keys: &[OF_ORIGIN],
    later: &[],
};

const BALANCES: Choice<Balance> = Choice {
    words: &[
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
        ("random-two", Balance::RandomTwo),
        ("source", Balance::Source),
    ],
    later: &[],
};

const BUILTINS: Choice<Builtin> = Choice {
    words: &[("echo", Builtin::Echo), ("discard", Builtin::Discard), ("hold", Builtin::Hold)],
    later: &[],
};

const ALL_DOWN: Choice<AllDown> = Choice {
    words: &[("try-all", AllDown::TryAll), ("refuse", AllDown::Refuse), ("wait", AllDown::Wait)],
    later: &[],
};

const ON_DOWN: Choice<OnDown> =
    Choice { words: &[("keep", OnDown::Keep), ("close", OnDown::Close)], later: &[] };

const SECOND: Duration = Duration::from_secs(1);

pub(super) const BY_HAND: &[Key] = keys_by_hand! {
    /// Answered by the gateway itself. "echo": every byte back; "discard": read and dropped;
    /// "hold": nothing read, nothing sent.
    ///
    /// Change it to servers when clients hear only themselves.
    "builtin" = "echo", NewConnections, BUILTINS.values();

    /// Servers, by address: text, or a table that gives the server a name for logs and metrics, and
    /// a weight: its share of new connections in relation to the others', 0 (none) to 100, by
    /// default 1. max_connections bounds what it may have; where no server has room for one more,
    /// clients wait, at most queue_timeout. backup = true: it gets clients only while no other
    /// server serves. The name of a host stands for all of its addresses; [resolver] says how often
    /// they are asked for.
    ///
    /// Give a larger machine a larger weight; `portcullis servers` changes the list and its weights
    /// while the gateway runs.
    "servers" as ["127.0.0.1:9000", { name = "b", address = "db.internal:9000", weight = 2 }],
        NewConnections, "a list of servers, at least one";

    /// The name of SRV records, in place of servers: the servers of the best priority of which a
    /// target has addresses, with their ports. Weights keep their ratios, scaled to 100 at most;
    /// 0 becomes the smallest.
    "srv" as "_mqtt._tcp.example.org", NewConnections, "the name of SRV records";

    /// Who else knows the servers, in place of a list: a file, or etcd below a prefix. What it says
    /// is used as soon as it says so; what is wrong or empty changes nothing. A host's name in a
    /// URL of etcd is asked for as [resolver] says, after /etc/hosts.
    "servers_from" as { file = "/etc/portcullis/app.servers" }, NewConnections,
        "{ file = PATH } or { etcd = [URL], prefix = TEXT }";

    /// How a server is chosen, by weight. "least-connections": the one with the fewest connections,
    /// of all workers; "round-robin": each in turn; "random-two": of two that are drawn, the one
    /// with fewer connections, at the same cost for any number of servers. "source": each client
    /// its own, by its IP address (of IPv6 the first 64 bits) and the names of the servers; it
    /// keeps it while the server serves, whichever others come or go, and at every gateway whose
    /// servers have the same names.
    ///
    /// Write "round-robin" when a server that has just come up is flooded by all new clients (or
    /// set slow_start), "source" when a server knows its clients from before.
    "balance" = "least-connections", NewConnections, BALANCES.values();

    /// Local addresses to connect from; []: the kernel chooses. Those of a server's family take
    /// turns, and each has all ports towards it: two hold twice the connections of one.
    ///
    /// Set it when the servers' firewall wants one address of several that the host has, or when
    /// source ports are short. A start refuses one that the host does not have, unless
    /// net.ipv4.ip_nonlocal_bind (or ipv6's) is 1.
    "source_addresses" = [], NewConnections, "a list of addresses";
};

pub(super) const OF_ORIGIN: &[Key] = keys_by_hand! {
    /// A file with a list of servers, as `portcullis servers UPSTREAM` writes it. It is read again
    /// when it is replaced or edited.
    "file" as "/etc/portcullis/app.servers", NewConnections, "an absolute path";
    /// Members of an etcd cluster, by the URLs where they answer JSON.
    "etcd" as ["http://127.0.0.1:2379"], NewConnections, "a list of URLs, at least one";
    /// What the keys of the servers begin with in etcd. What follows it is the name of a server,
    /// the value its address, or { "address": "10.0.0.1:9000", "weight": 2 }.
    "prefix" as "/portcullis/app/", NewConnections, "a text";
};

keys! {
    /// A named destination of connections.
    Upstream;

    with name: String = "default".to_owned(),
        "Letters, digits, `-` and `_`; no two upstreams share one.";
    with kind: UpstreamKind = UpstreamKind::Builtin(Builtin::Echo), "Who answers.";
    with sources: Vec<IpAddr> = Vec::new(),
        "Local addresses to connect from, each once; those of a server's family take turns.";
    with guards: Guards = Guards::default(), "What shows that a server is gone.";
    with forwarding: Forwarding = Forwarding::default(),
        "When a server hears of a client, and what it learns of it.";

    /// How long a client waits for a connection to a server to be made, over all of its tries. Each
    /// try may take an even part of what is left: of 5s the first of three takes 1.7s at most. The
    /// next follows at once where a server refuses.
    ///
    /// Raise it when distant servers are given up on; lower it when clients wait long for a dead
    /// one.
    "connect_timeout" connect_timeout: Duration = "5s", NewConnections,
        Span::Any, "write it as in \"5s\"";

    /// How many servers are tried in vain for a client before it is reset (no-server): never more
    /// than may be chosen, and never one twice.
    ///
    /// Raise it, and connect_timeout with it, when clients are reset while one server is well.
    "connect_attempts" connect_attempts: u32 = 3, Live, Number(1..=100), "write it as in 3";

    /// How long a client waits in the gateway while no server has room for it: each has its
    /// max_connections, or every source port towards it is taken. Then it is reset (queue-timeout).
    /// While one waits, others that would go to this upstream wait in the backlogs; listeners of
    /// other upstreams go on.
    ///
    /// Raise it when clients would rather wait than try again; lower it when they have another way.
    "queue_timeout" queue_timeout: Duration = "10s", Live,
        Span::Any, "write it as in \"10s\"";

    /// Failures of a server, one after the other, at which it is ejected: it rests, and new clients
    /// go to the others. Failed connects count, and so does what early_end says. "off": never.
    ///
    /// Raise it when a server that is merely busy is ejected; lower it when clients wait for a dead
    /// one.
    "eject_after" eject_after: Option<u32> = 3, Live,
        OrOff(Number(1..=1000)), "write it as in 3";

    /// How long a server rests that is ejected. Then one client at a time tries it. Each time that
    /// it fails again it rests for twice as long, at most 32 times as long.
    "eject_for" eject_for: Duration = "10s", Live,
        Span::Of(SECOND..=Duration::from_secs(3600)), "write it as in \"10s\"";

    /// How many servers in a hundred may rest at a time, rounded up: one at least, unless it is 0.
    ///
    /// Lower it when all servers fail together for want of capacity, and fewer would be worse.
    "max_ejected" max_ejected: u32 = 50, Live, Number(0..=100), "write the default, 50";

    /// A connection that a server ends so early, without having sent a byte, counts as one of its
    /// failures. "off": none does.
    ///
    /// Write "off" for servers that close connections at once by design.
    "early_end" early_end: Option<Duration> = "500ms", Live,
        OrOff(Span::Of(Duration::from_millis(1)..=Duration::from_secs(60))),
        "write it as in \"500ms\"";

    /// Where no server serves: "try-all" sends clients to servers all the same, as if all served;
    /// "refuse" resets them at once; "wait" lets them wait for one, at most queue_timeout, and
    /// those that come meanwhile in the accept queue.
    ///
    /// Set "wait" when servers restart together, or the only one is taken out for maintenance.
    "all_down" all_down: AllDown = "try-all", Live, ALL_DOWN, AS_IT_STANDS;

    /// Checks of the servers: a server that fails some in a row is down, and gets no new clients
    /// until it has passed some in a row. Without this there are none: clients find out, as
    /// eject_after says. [upstream.NAME.check] has the keys of the table.
    ///
    /// Set it when clients are to meet no server that is down, not even one that tries it.
    "check" check: Option<Check> as { kind = "connect" }, Live,
        Optional(CHECKS), "write check = { kind = \"connect\" }";

    /// TLS towards the servers. [upstream.NAME.tls] has the keys of the table.
    ///
    /// Set it when servers expect TLS and clients speak none, or end theirs here.
    "tls" tls: Option<UpstreamTls> as { server_name = "db.internal" }, NewConnections,
        Optional(tls::OF_UPSTREAM), "write tls = { server_name = \"db.internal\" }";

    /// The connections of a server that checks find down. "keep": they stay to their own end;
    /// "close": they end over the time of on_down_over, the longest idle first, so that clients
    /// come back to another server. A server that is back before keeps the rest. While no other
    /// server serves, they stay under all_down = "try-all". A server that is ejected keeps its
    /// connections: clients could not connect, which says nothing of those who have.
    ///
    /// Write "close" when clients sit on a dead server until their own timeouts.
    "on_down" on_down: OnDown = "keep", Live, ON_DOWN, AS_IT_STANDS;

    /// The time over which on_down = "close" ends them.
    "on_down_over" on_down_over: Duration = "10s", Live,
        Span::Of(Duration::from_millis(100)..=Duration::from_secs(3600)), "write it as in \"10s\"";

    /// For how long the share of a server grows, evenly up to its weight, after it was down or
    /// ejected; not after the gateway's start. "off": it has its whole share at once.
    ///
    /// Set it when a server that is back is flooded while its caches are cold.
    "slow_start" slow_start: Option<Duration> = "off", Live,
        OrOff(Span::Of(SECOND..=Duration::from_secs(3600))), "write it as in \"30s\"";

    /// How long connections to a server that is taken away stay as they are, unless it comes back.
    /// Then they end at the pace of drain_timeout. off: they stay to their own end.
    ///
    /// Lower it when clients must leave an old server soon; raise it when answers of a name rotate
    /// among more servers than they show at a time.
    "removed_timeout" removed_timeout: Option<Duration> = "5m", Live,
        OrOff(Span::Of(Duration::ZERO..=Duration::from_secs(86_400))), "write \"5m\" or \"off\"";
}

impl Upstream {
    /// The local addresses to connect to this one from; none: the kernel chooses.
    pub fn sources_for(&self, address: SocketAddr) -> impl Iterator<Item = IpAddr> {
        let sources = self.sources.iter().copied();
        sources.filter(move |source| source.is_ipv4() == address.is_ipv4())
    }

    /// Whether its servers are to be found out: they are no plain list of addresses.
    pub fn is_searched(&self) -> bool {
        match &self.kind {
            UpstreamKind::Servers { set, origin, .. } => {
                *origin != Origin::List || !set.names.is_empty()
            }
            UpstreamKind::Builtin(_) => false,
        }
    }

    /// The name that its servers' certificates must have; `None`: there is none.
    pub fn tls_name(&self) -> Option<&str> {
        self.tls.as_ref().and_then(|tls| tls.name(&self.kind))
    }

    /// Its servers by the file; none for a builtin.
    pub fn set(&self) -> Option<&ServerSet> {
        match &self.kind {
            UpstreamKind::Servers { set, .. } => Some(set),
            UpstreamKind::Builtin(_) => None,
        }
    }
}

/// Every upstream of the file, and where its servers stand there.
pub(super) fn upstreams<'a>(
    root: &Section<'a>,
    problems: &mut Vec<ConfigError>,
) -> (Vec<Upstream>, Vec<Lead<'a>>) {
    let mut server_count = 0;
    let (mut upstreams, mut leads) = (Vec::new(), Vec::new());
    for (name, section) in root.named_sections("upstream", &UPSTREAM, problems) {
        let places = &mut |lead| leads.push(Lead { upstream: upstreams.len(), ..lead });
        let upstream = upstream(name, &section, places, problems);
        if let Some(set) = upstream.set() {
            server_count += set.servers.len();
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
    let sources = sources(section, problems);
    let mut answers = WAYS.iter().filter_map(|way| section.get(way));
    let (answers, more) = (answers.next(), answers.next());
    if let (Some(first), Some(more)) = (answers, more) {
        let rule = format!("stands beside {}: an upstream has one of the two", first.name);
        problems.push(more.error(rule, "remove one of them"));
    }
    let of = |set, origin| UpstreamKind::Servers { set, origin, balance };
    let kind = match answers.map(|value| value.name.as_str()) {
        Some("builtin") => UpstreamKind::Builtin(builtin),
        Some("servers") => {
            let set = server_set(section, places, problems);
            check_sources(&sources, &set.servers, problems);
            of(set, Origin::List)
        }
        Some("srv") => of(ServerSet::default(), srv(section, problems)),
        Some(_) => of(ServerSet::default(), servers_from(section, problems)),
        None => {
            let remedy = "write servers = [\"127.0.0.1:9000\"], or builtin = \"echo\"";
            problems.push(section.error("has neither servers nor builtin", remedy));
            UpstreamKind::Builtin(builtin)
        }
    };
    let sources = sources.into_iter().map(|(source, _)| source).collect();
    let guards = Guards::read(section, problems);
    let forwarding = Forwarding::read(section, problems);
    let is_builtin = matches!(kind, UpstreamKind::Builtin(_));
    forwarding::check(section, &forwarding, is_builtin, problems);
    let rest = Upstream::read(section, problems);
    let upstream = Upstream { name, kind, sources, guards, forwarding, ..rest };
    check_checks(section, &upstream, problems);
    tls::check_upstream(section, &upstream.kind, upstream.tls.as_ref(), problems);
    upstream
}

/// Keys that say who answers; an upstream has one of them.
const WAYS: [&str; 4] = ["servers", "srv", "servers_from", "builtin"];

/// The SRV records that the file names.
fn srv(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Origin {
    let value = section.get("srv").expect("it was found");
    let name = value.read::<String>().and_then(|text| address::host_name(&text));
    if name.is_none() {
        let must = "must be the name of SRV records";
        problems.push(value.error(must, "write it as in \"_mqtt._tcp.example.org\""));
    }
    Origin::Srv(name.unwrap_or_default())
}

/// The file or the etcd cluster that knows the servers.
fn servers_from(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Origin {
    let value = section.get("servers_from").expect("it was found");
    let rule = Rule {
        must: "must be a file, or members of etcd and a prefix",
        remedy: "write { file = \"/etc/portcullis/app.servers\" } or \
                 { etcd = [\"http://127.0.0.1:2379\"], prefix = \"/portcullis/app/\" }",
    };
    let Some(table) = value.section(&SERVERS_FROM) else {
        problems.push(value.error(rule.must, rule.remedy));
        return Origin::List;
    };
    table.check_keys(problems);
    let text = |value: &Value<'_>| value.read::<String>();
    let prefix = table.get("prefix");
    match (table.get("file"), table.get("etcd")) {
        (Some(value), None) if prefix.is_none() => {
            let path = text(value).filter(|path| path.starts_with('/'));
            if path.is_none() {
                problems.push(value.error("must be an absolute path", rule.remedy));
            }
            Origin::File(path.unwrap_or_default().into())
        }
        (None, Some(_)) => {
            let urls = table.filled_list(problems, "etcd", rule);
            let endpoints = urls.iter().filter_map(|value| endpoint(value, problems)).collect();
            let prefix = prefix.and_then(text).filter(|prefix| !prefix.is_empty());
            if prefix.is_none() {
                problems.push(table.error("etcd needs a prefix, and it has none", rule.remedy));
            }
            Origin::Etcd { endpoints, prefix: prefix.unwrap_or_default() }
        }
        _ => {
            problems.push(value.error(rule.must, rule.remedy));
            Origin::List
        }
    }
}

/// A URL of etcd as `HOST:PORT`.
fn endpoint(value: &Value<'_>, problems: &mut Vec<ConfigError>) -> Option<String> {
    let text = value.read::<String>().unwrap_or_default();
    let bare = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let place = bare.and_then(|place| address::server(place).ok());
    let rule = match text.starts_with("https://") {
        true => "TLS to etcd is not in this version",
        false => "must be a URL of http with a port",
    };
    if place.is_none() {
        problems.push(value.error(rule, "write \"http://127.0.0.1:2379\""));
    }
    place.map(|place| place.to_string())
}

/// Refuses sources from which a server on another host would not be reached.
fn check_sources(
    sources: &[(IpAddr, Value<'_>)],
    servers: &[Server],
    problems: &mut Vec<ConfigError>,
) {
    for (source, value) in sources.iter().filter(|(source, _)| source.is_loopback()) {
        let is_away = |server: &Server| {
            server.address.is_ipv4() == source.is_ipv4() && !server.address.ip().is_loopback()
        };
        if servers.iter().any(is_away) {
            let rule = "is a loopback address, from which no server on another host is reached";
            let remedy = "write an address of this host's network, or leave it out";
            problems.push(value.error(rule, remedy));
        }
    }
}

/// Refuses checks where there is no server, and an end of connections that no check begins.
fn check_checks(section: &Section<'_>, upstream: &Upstream, problems: &mut Vec<ConfigError>) {
    if let (UpstreamKind::Builtin(_), Some(value)) = (&upstream.kind, section.get("check")) {
        let rule = "is for servers, and the gateway itself answers here";
        problems.push(value.error(rule, "remove it, or write servers in place of builtin"));
    }
    let closes = upstream.on_down == OnDown::Close && section.get("check").is_none();
    if let (true, Some(value)) = (closes, section.get("on_down")) {
        let rule = "ends nothing: only checks find a server down, and there are none";
        problems.push(value.error(rule, "write check = { kind = \"connect\" } beside it"));
    }
}

/// Writes what [`Upstream::write`] does not know.
pub(super) fn write_by_hand(upstream: &Upstream, out: &mut Written) {
    match &upstream.kind {
        UpstreamKind::Builtin(builtin) => {
            out.key(BY_HAND, "builtin", Some(quoted(BUILTINS.word(*builtin))));
        }
        UpstreamKind::Servers { set, origin, balance } => {
            match origin {
                Origin::List => out.key(BY_HAND, "servers", Some(set.list())),
                Origin::Srv(name) => out.key(BY_HAND, "srv", Some(quoted(name))),
                Origin::File(_) | Origin::Etcd { .. } => {
                    out.key(BY_HAND, "servers_from", Some(origin.to_string()));
                }
            }
            out.key(BY_HAND, "source_addresses", Some(list(&upstream.sources)));
            out.key(BY_HAND, "balance", Some(quoted(BALANCES.word(*balance))));
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::List => write!(out, "servers"),
            Origin::Srv(name) => write!(out, "srv = {}", quoted(name)),
            Origin::File(path) => {
                write!(out, "{{ file = {} }}", quoted(&path.display().to_string()))
            }
            Origin::Etcd { endpoints, prefix } => {
                let urls = list(endpoints.iter().map(|place| format!("http://{place}")));
                write!(out, "{{ etcd = {urls}, prefix = {} }}", quoted(prefix))
            }
        }
    }
}

/// The local addresses to connect from, each where it stands.
fn sources<'a>(section: &Section<'a>, problems: &mut Vec<ConfigError>) -> Vec<(IpAddr, Value<'a>)> {
    let rule = Rule { must: "must be a list of addresses", remedy: "write [\"10.0.0.5\"]" };
    let mut sources: Vec<(IpAddr, Value<'a>)> = Vec::new();
    for element in section.list(problems, "source_addresses", rule).unwrap_or_default() {
        match address::source(&element.text()) {
            Ok(ip) if sources.iter().any(|(other, _)| *other == ip) => {
                problems.push(element.error("stands there twice", "remove one of the two"));
            }
            Ok(ip) => sources.push((ip, element)),
            Err(fault) => problems.push(element.fault(&fault)),
        }
    }
    sources
}
