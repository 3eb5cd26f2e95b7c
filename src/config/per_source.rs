//! `per_source` of `[listener.NAME]`: what the clients of one source may take.

use std::borrow::Cow;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use ipnet::IpNet;

use crate::config::error::ConfigError;
use crate::config::file::{Section, Value};
use crate::config::form::{AS_IT_STANDS, Choice, Number, OrAuto, OrOff, Own, Span, Word};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;
use crate::config::networks::{A_LIST, networks};
use crate::config::text::{Written, list};
use crate::config::{Auto, ConnectionRate, SourceAction};

pub(super) const PER_SOURCE: SectionKeys = SectionKeys {
    section: "listener.NAME.per_source",
    about: "Limits for the clients of one source, which is an address or a network; there are none \
            without this table. In the listener's own section it is \
            per_source = { max_connections = 100 }.",
    keys: &[PerSource::KEYS],
    later: &[],
};

/// The table as a value of the listener's key.
pub(super) const LIMITS: Own<PerSource> =
    Own { values: "a table of [listener.NAME.per_source]", read, written };

/// The most connections of one source that are counted, and the largest burst.
const CONNECTIONS: u64 = (1 << 24) - 1;
/// The fastest rate, where the time of one connection is 10 µs.
const PER_SECOND_MAX: u64 = 100_000;
/// What a burst may take to be whole again.
const REFILL_MAX: Duration = Duration::from_secs(3600);

const RATE: Word<ConnectionRate> = Word {
    values: "connections by s, m or h, as in \"20/s\", and 100000 in a second at most",
    accept: rate_of,
    show: |rate| rate_text(*rate),
};

/// The times of a rate, by the letter that stands for one.
const TIMES: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

const EXEMPT: Own<Vec<IpNet>> = Own { values: A_LIST, read: networks, written: |it| list(it) };

const ACTIONS: Choice<SourceAction> = Choice {
    words: &[
        ("reset", SourceAction::Reset),
        ("wait", SourceAction::Wait),
        ("tarpit", SourceAction::Tarpit),
    ],
    later: &[],
};

keys! {
    /// What the clients of one source may take of a listener.
    PerSource;

    /// Connections that a source may have at once, over all workers; "off": any number.
    ///
    /// Set it, well above what a family or an office behind one address needs, when one source can
    /// take the connections of all others.
    "max_connections" max_connections: Option<u32> = "off", NewConnections,
        OrOff(Number(1..=CONNECTIONS)), "write the connections that a source may have";

    /// New connections of a source in a second, minute or hour, as in "20/s" or "300/m"; "off": any
    /// number. What is refused does not count.
    ///
    /// Set it when single sources connect again and again and wear out the servers.
    "rate" rate: Option<ConnectionRate> = "off", NewConnections,
        OrOff(RATE), "write it as in \"20/s\" or \"300/m\"";

    /// New connections that a source may make at once, after it made none for a while. "auto": what
    /// rate allows in a second, 1 at least.
    ///
    /// Raise it when clients that make several connections at once lose some of them.
    "burst" burst: Auto<u32> = "auto", NewConnections,
        OrAuto(Number(1..=CONNECTIONS)), "write the connections that may come at once";

    /// Leading bits of an IPv4 address that make a source.
    ///
    /// Lower it to 24 when one party comes from all addresses of its networks.
    "prefix_v4" prefix_v4: u8 = 32, NewConnections, Number(1..=32), "write the default, 32";

    /// Leading bits of an IPv6 address that make a source. A host has a /64 to itself, and may take
    /// another address in it for each connection.
    ///
    /// Lower it to 56 or 48 when one party comes from all networks that it was given.
    "prefix_v6" prefix_v6: u8 = 64, NewConnections, Number(1..=128), "write the default, 64";

    /// Networks whose clients no limit per source holds for, and that are not counted.
    ///
    /// Add those where many people share an address that you trust, and your monitoring.
    "exempt" exempt: Vec<IpNet> = [], NewConnections, EXEMPT,
        "write [\"10.0.0.0/8\"]; a single address is a network, too";

    /// What happens to a client beyond a limit of its source, which is known once the client is
    /// accepted. "reset": it is reset at once. "wait": it waits, without a server, until its source
    /// is within the limits, and is reset after wait_at_most. "tarpit": it is reset after
    /// wait_at_most, so that one that connects again and again is slowed. Those that wait count for
    /// max_connections of the gateway and the listener.
    ///
    /// Choose "wait" when honest clients are now and then above the rate.
    "action" action: SourceAction = "reset", NewConnections, ACTIONS, AS_IT_STANDS;

    /// How long a client beyond a limit is kept where action is "wait" or "tarpit".
    ///
    /// Lower it when those that wait take too many connections.
    "wait_at_most" wait_at_most: Duration = "10s", NewConnections,
        Span::Of(Duration::from_millis(100)..=Duration::from_secs(3600)), "write it as in \"10s\"";
}

impl PerSource {
    /// The connections that may come at once where there is a rate.
    pub fn asked_burst(&self) -> u32 {
        match (self.burst, self.rate) {
            (Auto::Fixed(connections), _) => connections,
            (Auto::Auto, Some(ConnectionRate { connections, per })) => {
                (u64::from(connections) / per.as_secs().max(1)).max(1) as u32
            }
            (Auto::Auto, None) => 1,
        }
    }
}

fn read(value: &Value<'_>, remedy: &str, problems: &mut Vec<ConfigError>) -> Option<PerSource> {
    let Some(section) = value.section(&PER_SOURCE) else {
        problems.push(value.error(format!("must be {}", LIMITS.values), remedy));
        return None;
    };
    section.check_keys(problems);
    let before = problems.len();
    let limits = PerSource::read(&section, problems);
    if problems.len() == before {
        problems.extend(mismatch(&section, &limits));
    }
    Some(limits)
}

/// A key that has no effect beside the others, or too much of one.
fn mismatch(section: &Section<'_>, limits: &PerSource) -> Option<ConfigError> {
    if let (Some(value), None) = (section.get("burst"), limits.rate) {
        let rule = "belongs to a rate, and rate is \"off\"";
        return Some(value.error(rule, "write rate = \"20/s\" beside it, or remove it"));
    }
    if limits.max_connections.is_none() && limits.rate.is_none() {
        let remedy = "write max_connections = 100 or rate = \"20/s\", or remove it";
        return Some(section.error("limits nothing: max_connections and rate are \"off\"", remedy));
    }
    if let (Some(value), SourceAction::Reset) = (section.get("wait_at_most"), limits.action) {
        let rule = "belongs to action = \"wait\" or \"tarpit\", and the action is \"reset\"";
        return Some(value.error(rule, "write action = \"wait\", or remove it"));
    }
    let rate = limits.rate?;
    let refill =
        rate.per.as_secs_f64() / f64::from(rate.connections) * f64::from(limits.asked_burst());
    let refill = Duration::from_secs_f64(refill);
    let value = section.get("burst").filter(|_| refill > REFILL_MAX)?;
    let rule = format!(
        "takes {} at this rate to be whole again, and may take {}",
        format_duration(Duration::from_secs(refill.as_secs())),
        format_duration(REFILL_MAX)
    );
    Some(value.error(rule, "write a smaller burst, or a faster rate"))
}

/// The table within a line.
fn written(limits: &PerSource) -> String {
    let mut out = Written::new(PER_SOURCE.section);
    limits.write(&mut out);
    // A file may have these only beside what they belong to.
    let has_effect = |name: &str| match name {
        "burst" => limits.rate.is_some(),
        "wait_at_most" => limits.action != SourceAction::Reset,
        _ => true,
    };
    let keys = out.values.iter().filter(|(key, _)| has_effect(key.name));
    let keys = keys.map(|(key, value)| format!("{} = {value}", key.name));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

fn rate_of(text: &str) -> Option<ConnectionRate> {
    let (number, time) = text.split_once('/')?;
    let (_, seconds) = TIMES.into_iter().find(|(letter, _)| *letter == time)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let connections: u64 = number.parse().ok().filter(|_| is_number)?;
    let is_within = (1..=PER_SECOND_MAX * seconds).contains(&connections);
    let rate = ConnectionRate {
        connections: u32::try_from(connections).ok()?,
        per: Duration::from_secs(seconds),
    };
    is_within.then_some(rate)
}

fn rate_text(rate: ConnectionRate) -> Cow<'static, str> {
    let time = TIMES.into_iter().find(|(_, seconds)| rate.per == Duration::from_secs(*seconds));
    let (letter, _) = time.expect("a rate has one of these times");
    format!("{}/{letter}", rate.connections).into()
}
