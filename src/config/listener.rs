//! `[listener.NAME]`: where clients connect, and what happens to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::base::limits::{CONNECTIONS_MAX, NAMED_MAX};
use crate::config::error::ConfigError;
use crate::config::file::{Section, Value};
use crate::config::form::{AS_IT_STANDS, Choice, Form, Number, OrAuto, OrOff, Span, Switch};
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::{keys, keys_by_hand};
use crate::config::read::{Rule, nearest};
use crate::config::taken::Taken;
use crate::config::{AtLimit, Auto, Upstream, address};

pub(super) const LISTENER: SectionKeys = SectionKeys {
    section: "listener.NAME",
    about: "A listener: any name of letters, digits, - and _, as often as needed.",
    keys: &[BY_HAND, SocketOptions::KEYS, Listener::KEYS, Timeouts::KEYS],
    later: &["per_source", "tls"],
};

const BIND_RULE: Rule<'_> = Rule {
    must: "must be a list of addresses, at least one",
    remedy: "write [\"127.0.0.1:7000\"]",
};

const AT_LIMITS: Choice<AtLimit> =
    Choice { words: &[("queue", AtLimit::Queue), ("reset", AtLimit::Reset)], later: &["evict"] };

const PROXIES: Choice<()> = Choice { words: &[("off", ())], later: &["from-trusted", "required"] };

const SECOND: Duration = Duration::from_secs(1);

/// The most that TCP_KEEPIDLE and TCP_KEEPINTVL take (MAX_TCP_KEEPIDLE).
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// TCP_USER_TIMEOUT is in milliseconds, and an int.
const USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 24 * 3600);

const WRITE_SPAN: &str = "write it as in \"30s\" or \"1h\"";

pub(super) const BY_HAND: &[Key] = keys_by_hand! {
    /// Where clients connect. "[::]:7000" is IPv6 only, "*:7000" both families, or the one that the
    /// host has; port 0 takes any free port, which the log names. A listener must say it.
    ///
    /// Change 127.0.0.1 when clients on other hosts are refused.
    "bind" = ["127.0.0.1:7000"], Live, "a list of addresses, at least one";

    /// The upstream that answers. A listener must say it.
    "upstream" = "default", NewConnections, "the name of an upstream below";

    /// Whether clients send a PROXY header: not in this version.
    "accept_proxy" = "off", NewConnections, PROXIES.values();
};

keys! {
    /// A named set of bound addresses with one policy.
    Listener;

    with name: String = "default".to_owned(),
        "Letters, digits, `-` and `_`; no two listeners share one.";
    with bind: Vec<SocketAddr> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7000))],
        "At least one; no address twice over all listeners, but for port 0 (any free port). A \
         wildcard IPv6 address means IPv6 only.";
    with upstream: usize = 0, "Index into [`crate::config::Config::upstreams`].";
    with sockets: SocketOptions = SocketOptions::default(), "How its passive sockets are made.";
    with timeouts: Timeouts = Timeouts::default(),
        "When a connection of this listener ends by itself.";

    /// Clients that this listener may hold at once, over all its addresses; gateway.max_connections
    /// bounds it all the same. "off": only the gateway's limit counts.
    ///
    /// Set it when one listener's crowd must leave room for another's.
    "max_connections" max_connections: Option<u32> = "off", Live,
        OrOff(Number(1..=CONNECTIONS_MAX as u64)),
        "write the clients that this listener may hold at once";

    /// What happens to clients at a limit, this listener's or the gateway's. "queue": they wait in
    /// the backlog, unaccepted, and are served as others leave. "reset": they are accepted and
    /// reset at once, counted, and no server hears of them.
    ///
    /// Choose "reset" when your clients have somewhere else to go and should go there at once.
    "at_limit" at_limit: AtLimit = "queue", Live, AT_LIMITS, AS_IT_STANDS;
}

keys! {
    /// How the passive sockets of a listener are made.
    SocketOptions;

    /// Completed handshakes that may wait for us, per address and worker. The kernel cuts it to
    /// net.core.somaxconn, and the start warns where it cuts a number. "auto": what the kernel
    /// allows, 65535 at most.
    ///
    /// Raise it (and somaxconn) when clients take a second or more to connect during bursts: their
    /// SYNs were dropped and sent again.
    "backlog" backlog: Auto<u32> = "auto", Live,
        OrAuto(Number(1..=(1 << 31) - 1)), "write the number of handshakes that may wait";

    /// Whether bind may have addresses that this host does not have yet (IP_FREEBIND). Clients
    /// reach them as soon as an interface has them.
    ///
    /// Write true for an address that moves between hosts (VRRP, keepalived), so that the gateway
    /// runs on the host that waits for it, too.
    "freebind" freebind: bool = false, Live, Switch, "write it without quotes";

    /// A client that was silent for this long is probed (SO_KEEPALIVE, TCP_KEEPIDLE): one that
    /// vanished, because its host, its link or the state in a router on the way is gone, gives its
    /// slot back after keepalive + keepalive_interval x keepalive_probes, and what a router keeps
    /// stays alive. A probe is one packet each way; a million idle clients at "5m" are 3,333 a
    /// second. "off": only idle_timeout finds who vanished.
    ///
    /// Lower it when clients are cut by a router that forgets silent connections, or slots are held
    /// by clients that are gone; raise it when clients on batteries should sleep for longer.
    "keepalive" keepalive: Option<Duration> = "5m", NewConnections,
        OrOff(Span::Of(SECOND..=KEEPALIVE_MAX)), "write it as in \"5m\"";

    /// Between two probes that are not answered (TCP_KEEPINTVL).
    "keepalive_interval" keepalive_interval: Duration = "15s", NewConnections,
        Span::Of(SECOND..=KEEPALIVE_MAX), "write it as in \"15s\"";

    /// Probes without an answer after which a client counts as gone (TCP_KEEPCNT).
    "keepalive_probes" keepalive_probes: u32 = 4, NewConnections,
        Number(1..=127), "write the default, 4";

    /// How long bytes may stay unacknowledged (TCP_USER_TIMEOUT) before a client counts as gone;
    /// "off": as long as the kernel sends them again, about 15 minutes (net.ipv4.tcp_retries2).
    ///
    /// Set it when clients that vanish in mid-transfer must be found sooner. The kernel counts the
    /// time of a reader that has no room, too: one that pauses for so long is cut.
    "user_timeout" user_timeout: Option<Duration> = "off", NewConnections,
        OrOff(Span::Of(SECOND..=USER_TIMEOUT_MAX)), "write it as in \"2m\"";
}

keys! {
    /// When a connection ends by itself; `None` is `"off"`. None is zero, none exceeds ten years.
    Timeouts;

    with connect: Duration = Upstream::default().connect_timeout,
        "For the connection to a server to be made: the upstream's `connect_timeout`.";

    /// A connection without a byte in either direction ends after this long; "off": never. Timeouts
    /// end a connection by FIN when no byte moved for 5 seconds and none is owed, else by RST on
    /// both sides, so that a stream which was cut never looks whole.
    ///
    /// Raise it above the interval of your clients' heartbeats when quiet but living clients are
    /// cut; lower it when slots are held by clients that vanished.
    "idle_timeout" idle: Option<Duration> = "1h", Live, OrOff(Span::Any), WRITE_SPAN;

    /// From the accept to the client's first byte; "off": as long as idle_timeout allows.
    ///
    /// Set it, to "10s" say, when clients connect and say nothing, in a protocol where they speak
    /// first.
    "first_byte_timeout" first_byte: Option<Duration> = "off", Live, OrOff(Span::Any), WRITE_SPAN;

    /// After one side has ended its direction, this long without a byte in the other ends both;
    /// "off": as long as idle_timeout allows. A long upload or download is not cut: its bytes
    /// count.
    ///
    /// Lower it when many connections stay half-closed; raise it when slow answers after a FIN are
    /// lost.
    "half_close_timeout" half_close: Option<Duration> = "1m", Live, OrOff(Span::Any), WRITE_SPAN;

    /// From the accept to the end, whatever happens; "off": no limit.
    ///
    /// Set it, to "24h" say, when connections must be spread over servers again from time to time.
    "max_lifetime" max_lifetime: Option<Duration> = "off", Live, OrOff(Span::Any), WRITE_SPAN;
}

impl SocketOptions {
    /// An "auto" backlog: more than any host's `net.core.somaxconn` by default, which cuts it.
    const BACKLOG: u32 = 65_535;

    /// The defaults, but for the backlog.
    pub fn with_backlog(clients: u32) -> SocketOptions {
        SocketOptions { backlog: Auto::Fixed(clients), ..SocketOptions::default() }
    }

    /// Whether a client's socket gets the same from both.
    pub fn gives_clients_as(&self, other: &SocketOptions) -> bool {
        let SocketOptions { backlog, freebind, .. } = other.clone();
        SocketOptions { backlog, freebind, ..self.clone() } == *other
    }

    /// The backlog that the kernel is asked for.
    pub fn asked_backlog(&self) -> u32 {
        match self.backlog {
            Auto::Auto => SocketOptions::BACKLOG,
            Auto::Fixed(clients) => clients,
        }
    }
}

impl Timeouts {
    fn by_key(&self, name: &str) -> Option<Duration> {
        match name {
            "idle_timeout" => self.idle,
            "first_byte_timeout" => self.first_byte,
            "half_close_timeout" => self.half_close,
            "max_lifetime" => self.max_lifetime,
            _ => None,
        }
    }

    /// Whether the timeout of this key ends a connection sooner than that of `other` does.
    pub fn is_shorter_at(&self, key: &str, other: &Timeouts) -> bool {
        let (mine, others) = (self.by_key(key), other.by_key(key));
        mine.is_some_and(|mine| others.is_none_or(|other| mine < other))
    }

    /// Whether any of them ends a connection sooner than `other` does.
    pub fn any_shorter_than(&self, other: &Timeouts) -> bool {
        Timeouts::KEYS.iter().any(|key| self.is_shorter_at(key.name, other))
    }
}

impl Listener {
    /// The addresses that the host must have for this listener to start. Beside others a wildcard
    /// is not among them: the listener goes without that family.
    pub fn needed_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let (alone, freebind) = (self.bind.len() == 1, self.sockets.freebind);
        let is_needed = move |bind: &SocketAddr| match bind.ip().is_unspecified() {
            true => alone,
            false => !freebind,
        };
        self.bind.iter().copied().filter(is_needed)
    }
}

/// Every listener of the file, which of them have an upstream, and the addresses that they take.
pub(super) fn listeners(
    root: &Section<'_>,
    upstreams: &[Upstream],
    problems: &mut Vec<ConfigError>,
) -> (Vec<Listener>, Vec<bool>, Taken) {
    let sections = root.named_sections("listener", &LISTENER, problems);
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
    (listeners, leading, taken)
}

fn listener(
    name: String,
    section: &Section<'_>,
    (upstream, chosen): (usize, Option<&Upstream>),
    taken: &mut Taken,
    problems: &mut Vec<ConfigError>,
) -> Listener {
    let bind = bind(&name, section, taken, problems);
    section.value("accept_proxy", &PROXIES, AS_IT_STANDS, problems);
    let timeouts = Timeouts::read(section, problems);
    let connect = chosen.map_or(timeouts.connect, |upstream| upstream.connect_timeout);
    Listener {
        name,
        bind,
        upstream,
        sockets: SocketOptions::read(section, problems),
        timeouts: Timeouts { connect, ..timeouts },
        ..Listener::read(section, problems)
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

/// Takes one more address, or says what is wrong with it.
fn conflict(
    element: &Value<'_>,
    name: &str,
    address: SocketAddr,
    taken: &mut Taken,
) -> Option<ConfigError> {
    if taken.len() >= NAMED_MAX {
        let rule = format!("is one address more than {NAMED_MAX}");
        return Some(element.error(rule, "bind a wildcard address instead of single ones"));
    }
    let key = format!("listener.{name}");
    let (rule, remedy) = taken.take(address, &key, element.line()).err()?;
    Some(element.error(rule, remedy))
}
