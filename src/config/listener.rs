//! `[listener.NAME]`: where clients connect, and what happens to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;

use crate::base::limits::{CONNECTIONS_MAX, NAMED_MAX};
use crate::config::access::{Access, contradiction};
use crate::config::error::ConfigError;
use crate::config::file::{Section, Value};
use crate::config::form::{AS_IT_STANDS, Choice, Number, Optional, OrAuto, OrOff, Span, Switch};
use crate::config::guards::Guards;
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::{keys, keys_by_hand};
use crate::config::per_source::{LIMITS, PerSource};
use crate::config::preamble::{Preamble, trusts_nobody};
use crate::config::read::Rule;
use crate::config::sniffing::{self, Sniffing};
use crate::config::taken::Taken;
use crate::config::tls::{self, ListenerTls};
use crate::config::{AtLimit, Auto, Upstream, address};

pub(super) const LISTENER: SectionKeys = SectionKeys {
    section: "listener.NAME",
    about: "A listener: any name of letters, digits, - and _, as often as needed.",
    keys: &[
        BY_HAND,
        Preamble::KEYS,
        sniffing::BY_HAND,
        Sniffing::KEYS,
        Access::KEYS,
        SocketOptions::KEYS,
        Guards::KEYS,
        Listener::KEYS,
        Timeouts::KEYS,
    ],
    later: &[],
};

const BIND_RULE: Rule<'_> = Rule {
    must: "must be a list of addresses, at least one",
    remedy: "write [\"127.0.0.1:7000\"]",
};

const AT_LIMITS: Choice<AtLimit> = Choice {
    words: &[("queue", AtLimit::Queue), ("reset", AtLimit::Reset), ("evict", AtLimit::Evict)],
    later: &[],
};

const WRITE_SPAN: &str = "write it as in \"30s\" or \"1h\"";

pub(super) const BY_HAND: &[Key] = keys_by_hand! {
    /// Where clients connect. "[::]:7000" is IPv6 only, "*:7000" both families, or the one that the
    /// host has; port 0 takes any free port, which the log names. An address beside a wildcard, in
    /// this listener or another, has its clients to itself. A listener must say it.
    ///
    /// Change 127.0.0.1 when clients on other hosts are refused.
    "bind" = ["127.0.0.1:7000"], Live, "a list of addresses, at least one";

    /// The upstream that answers. A listener must say it.
    "upstream" = "default", NewConnections, "the name of an upstream below";
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
    with preamble: Preamble = Preamble::default(), "What its clients say before all else.";
    with sniffing: Sniffing = Sniffing::default(), "How they go by the names that they ask for.";
    with access: Access = Access::default(), "Whose clients it takes.";
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
    /// reset at once, counted, and no server hears of them. "evict": they wait, and for each of
    /// them the connection that has been idle for longest beyond evict_idle_after is ended: one of
    /// this listener at its own limit, one of any listener with "evict" at the gateway's. It ends
    /// by FIN, or by RST if it owes bytes, and is counted as evicted. In a second at most a tenth
    /// of the limit make way, and never more than 1,000 (at a limit below 100 it is 10). While none
    /// is idle for long enough, clients wait as with "queue".
    ///
    /// Choose "reset" when your clients have somewhere else to go and should go there at once;
    /// "evict" when a new client is worth more than one that has long been silent.
    "at_limit" at_limit: AtLimit = "queue", Live, AT_LIMITS, AS_IT_STANDS;

    /// For how long no byte has moved in a connection that may make way at a limit, where at_limit
    /// is "evict". Shorter than idle_timeout, or no connection lives to be idle for so long.
    ///
    /// Raise it above the interval of your clients' heartbeats when quiet but living clients are
    /// evicted. Below "5s" they end by RST, as by any timeout.
    "evict_idle_after" evict_idle_after: Duration = "1m", Live, Span::Any, WRITE_SPAN;

    /// Limits for the clients of one source, an address or a network.
    /// [listener.NAME.per_source] has the keys of the table.
    "per_source" per_source: Option<PerSource> as { max_connections = 100 }, NewConnections,
        Optional(LIMITS), "write per_source = { max_connections = 100 }";

    /// TLS that ends here, with these certificates. [listener.NAME.tls] has the keys of the table.
    "tls" tls: Option<ListenerTls>
        as { certificates = [{ certificate = "/etc/tls/a.pem", key = "/etc/tls/a.key" }] },
        NewConnections, Optional(tls::OF_LISTENER), "write the table [listener.NAME.tls]";
}

keys! {
    /// How the passive sockets of a listener are made.
    SocketOptions;

    with guards: Guards = Guards::default(), "What shows that a client is gone.";

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
}

keys! {
    /// When a connection ends by itself; `None` is `"off"`. None is zero, none exceeds ten years.
    Timeouts;

    with connect: Duration = Upstream::default().connect_timeout,
        "For the connection to a server to be made: the upstream's `connect_timeout`.";
    with queue: Duration = Upstream::default().queue_timeout,
        "For room at a server: the upstream's `queue_timeout`.";

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
        self.queue < other.queue
            || Timeouts::KEYS.iter().any(|key| self.is_shorter_at(key.name, other))
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
        let upstream = sniffing::upstream(&section, upstreams, problems);
        leading.push(upstream.is_some());
        let sniffing = sniffing::sniffing(&section, upstreams, problems);
        let upstream = (upstream.unwrap_or(0), upstream.map(|index| &upstreams[index]));
        let listener = listener(name, &section, upstream, &mut taken, problems);
        tls::check_listener(&section, sniffing.sniff, problems);
        listeners.push(Listener { sniffing, ..listener });
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
    let preamble = Preamble::read(section, problems);
    problems.extend(trusts_nobody(section, &preamble));
    let access = Access::read(section, problems);
    problems.extend(contradiction(section, &access));
    let timeouts = Timeouts::read(section, problems);
    let read = Listener::read(section, problems);
    problems.extend(evicts_nobody(section, &read, &timeouts));
    let connect = chosen.map_or(timeouts.connect, |upstream| upstream.connect_timeout);
    let queue = chosen.map_or(timeouts.queue, |upstream| upstream.queue_timeout);
    Listener {
        name,
        bind,
        upstream,
        sockets: SocketOptions {
            guards: Guards::read(section, problems),
            ..SocketOptions::read(section, problems)
        },
        preamble,
        access,
        timeouts: Timeouts { connect, queue, ..timeouts },
        ..read
    }
}

/// Where it evicts, but what is idle for long enough was ended before.
fn evicts_nobody(
    section: &Section<'_>,
    listener: &Listener,
    timeouts: &Timeouts,
) -> Option<ConfigError> {
    let longest = timeouts.idle.filter(|idle| *idle <= listener.evict_idle_after)?;
    let value = section.get("at_limit").filter(|_| listener.at_limit == AtLimit::Evict)?;
    let rule = format!(
        "finds nobody: evict_idle_after is {}, and idle_timeout ends connections after {}",
        format_duration(listener.evict_idle_after),
        format_duration(longest)
    );
    Some(value.error(rule, "write a shorter evict_idle_after"))
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
    let (rule, remedy) = taken.take(address, (&key, element.spot()), true).err()?;
    Some(element.error(rule, remedy))
}
