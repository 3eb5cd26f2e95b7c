//! The words themselves: what each means, and what is said about one that is wrong.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use humantime_serde::re::humantime;
use ipnet::IpNet;

use super::{
    By, Condition, ConnId, End, MOST_ROWS, MOST_WORDS, Names, Place, Range, Sort, State,
    UpstreamNames, server_title, split_server,
};
use crate::base::{ListenerId, ServerId, Side};

/// Each key with an example of how it is written.
const EXAMPLES: [(&str, &str); 10] = [
    ("src", "src=10.0.0.0/8"),
    ("local", "local=10.0.0.1:443"),
    ("source", "source=10.0.0.1:40000"),
    ("idle", "idle>5m"),
    ("age", "age<1h"),
    ("bytes", "bytes>1MiB"),
    ("server", "server=UPSTREAM/SERVER"),
    ("listener", "listener=NAME"),
    ("state", "state=joined"),
    ("worker", "worker=0"),
];

/// Characters of a wrong word that are repeated in what is said about it.
const MOST_REPEATED: usize = 80;
/// Names that are listed where one is unknown.
const MOST_LISTED: usize = 20;

/// Why a word is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// The word.
    pub word: String,
    /// The rule that it breaks.
    pub rule: String,
    /// The remedy.
    pub remedy: String,
}

impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueryError { word, rule, remedy } = self;
        write!(out, "{word:?}: {rule}; {remedy}")
    }
}

impl std::error::Error for QueryError {}

fn wrong<T>(word: &str, rule: impl Into<String>, remedy: String) -> Result<T, QueryError> {
    let word = word.chars().take(MOST_REPEATED).collect();
    Err(QueryError { word, rule: rule.into(), remedy })
}

/// The conditions that a filter's words ask for.
pub(super) fn conditions(filter: &str, names: &Names) -> Result<Vec<Condition>, QueryError> {
    let words: Vec<&str> = filter.split_whitespace().take(MOST_WORDS + 1).collect();
    if words.len() > MOST_WORDS {
        let rule = format!("a filter has at most {MOST_WORDS} words");
        return wrong(words[MOST_WORDS], rule, "leave some out".to_owned());
    }
    words.into_iter().map(|word| condition(word, names)).collect()
}

fn condition(word: &str, names: &Names) -> Result<Condition, QueryError> {
    let Some(at) = word.find(['=', '<', '>']) else {
        let rule = "a word of a filter is a key, a sign and a value";
        let remedy = format!("write for example '{}', quoted for the shell", example(word));
        return wrong(word, rule, remedy);
    };
    let (key, rest) = word.split_at(at);
    let (sign, value) = rest.split_at(1);
    match (key, sign) {
        ("src", "=") => address(word, End::Peer(Side::Client), key, value),
        ("local", "=") => address(word, End::Local(Side::Client), key, value),
        ("source", "=") => address(word, End::Local(Side::Upstream), key, value),
        ("idle", "<" | ">") => Ok(Condition::Idle(range(sign, duration(word, value)?))),
        ("age", "<" | ">") => Ok(Condition::Age(range(sign, duration(word, value)?))),
        ("bytes", "<" | ">") => Ok(Condition::Bytes(range(sign, size(word, value)?))),
        ("server", "=") => server(word, value, names),
        ("listener", "=") => listener(word, value, names).map(Condition::Listener),
        ("state", "=") => {
            let states = State::ALL.iter().map(|state| (*state, state.word()));
            named(word, value, "state", states).map(Condition::State)
        }
        ("worker", "=") => worker(word, value, names).map(Condition::Worker),
        _ if EXAMPLES.iter().any(|(known, _)| *known == key) => {
            let signs = if matches!(key, "idle" | "age" | "bytes") { "> or <" } else { "=" };
            wrong(word, format!("{key} takes {signs}"), format!("write {}", example(key)))
        }
        _ => {
            let keys: Vec<&str> = EXAMPLES.iter().map(|(key, _)| *key).collect();
            wrong(word, "there is no such key", format!("write one of {}", keys.join(", ")))
        }
    }
}

/// How the key is written, or the first of all where there is no such key.
fn example(key: &str) -> &'static str {
    EXAMPLES.iter().find(|(known, _)| *known == key).map_or("idle>5m", |(_, example)| example)
}

fn range<T>(sign: &str, bound: T) -> Range<T> {
    if sign == ">" { Range::Above(bound) } else { Range::Below(bound) }
}

fn address(word: &str, end: End, key: &str, value: &str) -> Result<Condition, QueryError> {
    let network = || value.parse::<IpNet>().ok();
    let address = || value.parse::<IpAddr>().ok().map(IpNet::from);
    let place = network().or_else(address).map(Place::Network).or_else(|| port(value));
    let Some(place) = place else {
        let rule = format!("{key} is a network, an address, or an address with a port");
        let forms = ["10.0.0.0/8", "10.1.2.3", "10.1.2.3:443", "[2001:db8::1]:443"];
        let forms = forms.map(|form| format!("{key}={form}"));
        return wrong(word, rule, format!("write {}", forms.join(", ")));
    };
    Ok(Condition::Address(end, place))
}

fn port(value: &str) -> Option<Place> {
    let address = value.parse::<SocketAddr>().ok()?;
    Some(Place::Port(address.ip(), address.port()))
}

fn duration(word: &str, value: &str) -> Result<Duration, QueryError> {
    let failed = |error| wrong(word, format!("{error}"), "write 30s, 5m, 1h or 2days".to_owned());
    humantime::parse_duration(value).or_else(failed)
}

fn size(word: &str, value: &str) -> Result<u64, QueryError> {
    let Ok(size) = value.parse::<ByteSize>() else {
        return wrong(word, "that is no size", "write 4096, 64KiB or 1MiB".to_owned());
    };
    Ok(size.as_u64())
}

/// The listener that `word` names by `value`.
pub(super) fn listener(word: &str, value: &str, names: &Names) -> Result<ListenerId, QueryError> {
    named(word, value, "listener", names.listeners.iter().map(|(id, name)| (*id, &**name)))
}

/// The upstream that `word` names by `value`.
pub(super) fn upstream<'n>(
    word: &str,
    value: &str,
    names: &'n Names,
) -> Result<&'n UpstreamNames, QueryError> {
    let known = names.upstreams.iter().map(|upstream| (upstream, upstream.name.as_str()));
    named(word, value, "upstream", known)
}

fn server(word: &str, value: &str, names: &Names) -> Result<Condition, QueryError> {
    let (name, server) = split_server(value);
    // An upstream may have such a name.
    let is_named = names.upstreams.iter().any(|upstream| upstream.name == name);
    if let (false, Some(place)) = (is_named, port(value)) {
        return Ok(Condition::Address(End::Peer(Side::Upstream), place));
    }
    let UpstreamNames { id, servers, .. } = upstream(word, name, names)?;
    let Some(server) = server else { return Ok(Condition::Upstream(*id)) };
    if servers.is_empty() {
        let rule = format!("the gateway itself answers for {name}, which has no servers");
        return wrong(word, rule, format!("write server={name}"));
    }
    let servers = servers.iter().map(|(id, name)| (*id, &**name));
    named(word, server, "server", servers).map(Condition::Server)
}

/// A server that is meant alone.
pub(super) fn one_server(title: &str, names: &Names) -> Result<ServerId, QueryError> {
    let titles = names.upstreams.iter().flat_map(|upstream| {
        let title = |server: &str| server_title(&upstream.name, Some(server));
        upstream.servers.iter().map(move |(id, name)| (*id, title(name)))
    });
    let titles: Vec<(ServerId, String)> = titles.collect();
    named(title, title, "server", titles.iter().map(|(id, title)| (*id, &**title)))
}

fn worker(word: &str, value: &str, names: &Names) -> Result<u16, QueryError> {
    let index = value.parse::<u16>().ok().filter(|index| usize::from(*index) < names.workers);
    let Some(index) = index else {
        let rule = format!("workers are numbered from 0, and there are {}", names.workers);
        return wrong(word, rule, "write worker=0".to_owned());
    };
    Ok(index)
}

/// Finds the item with this name.
fn named<'a, T>(
    word: &str,
    name: &str,
    what: &str,
    known: impl Iterator<Item = (T, &'a str)> + Clone,
) -> Result<T, QueryError> {
    if let Some((found, _)) = known.clone().find(|(_, known)| *known == name) {
        return Ok(found);
    }
    let listed: Vec<&str> = known.clone().take(MOST_LISTED).map(|(_, name)| name).collect();
    let more = known.count() - listed.len();
    let remedy = match (listed.join(", "), more) {
        (_, 0) if listed.is_empty() => format!("this gateway has no {what}"),
        (listed, 0) => format!("write one of {listed}"),
        (listed, more) => format!("write one of {listed} and {more} more"),
    };
    wrong(word, format!("there is no such {what}"), remedy)
}

/// How the rows are to be sorted.
pub(super) fn sort(word: &str) -> Result<Sort, QueryError> {
    match word {
        "idle" => Ok(Sort::Idle),
        "age" => Ok(Sort::Age),
        "bytes" => Ok(Sort::Bytes),
        _ => wrong(word, "there is no such order", "write idle, age or bytes".to_owned()),
    }
}

/// What connections are to be counted by.
pub(super) fn by(word: &str) -> Result<By, QueryError> {
    let words = By::ALL.map(By::word);
    let known = By::ALL.into_iter().find(|by| by.word() == word);
    let remedy = || format!("write {}", words.join(", "));
    known.map_or_else(|| wrong(word, "connections are not counted by that", remedy()), Ok)
}

/// How many rows are wanted.
pub(super) fn limit(rows: u32) -> Result<u32, QueryError> {
    if (1..=MOST_ROWS).contains(&rows) {
        return Ok(rows);
    }
    let remedy = format!("write 1 to {MOST_ROWS}");
    wrong(&rows.to_string(), "the limit of rows is out of bounds", remedy)
}

/// The connection that `word` names.
pub(super) fn conn_id(word: &str) -> Result<ConnId, QueryError> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u32>().ok()).flatten()
    };
    let parts: Vec<Option<u32>> = word.splitn(4, '-').map(number).collect();
    if let [Some(worker), Some(slot), Some(generation)] = parts[..]
        && let Ok(worker) = u16::try_from(worker)
    {
        return Ok(ConnId { worker, slot, generation });
    }
    let remedy = "write it as conns shows it, such as 0-1234-7".to_owned();
    wrong(word, "that is no connection's id", remedy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::UpstreamId;
    use crate::query::Query;

    fn upstream(id: u16, name: &str, servers: Vec<(ServerId, String)>) -> UpstreamNames {
        UpstreamNames { id: UpstreamId(id), name: name.to_owned(), servers }
    }

    fn names() -> Names {
        let app = upstream(1, "app", vec![(ServerId(3), "a".to_owned())]);
        let listeners = vec![(ListenerId(5), "edge".to_owned())];
        Names { workers: 2, listeners, upstreams: vec![app, upstream(0, "echo", Vec::new())] }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_rule_and_what_to_write() {
        for (filter, said) in [
            (
                "idle",
                "\"idle\": a word of a filter is a key, a sign and a value; write for \
                example 'idle>5m', quoted for the shell",
            ),
            ("idle=5m", "\"idle=5m\": idle takes > or <; write idle>5m"),
            ("src>10.0.0.0/8", "\"src>10.0.0.0/8\": src takes =; write src=10.0.0.0/8"),
            (
                "src=10.0.0.0/33",
                "\"src=10.0.0.0/33\": src is a network, an address, or an address with a \
                port; write src=10.0.0.0/8, src=10.1.2.3, src=10.1.2.3:443, \
                src=[2001:db8::1]:443",
            ),
            (
                "source=:443",
                "\"source=:443\": source is a network, an address, or an address with a \
                port; write source=10.0.0.0/8, source=10.1.2.3, source=10.1.2.3:443, \
                source=[2001:db8::1]:443",
            ),
            ("local>10.0.0.1", "\"local>10.0.0.1\": local takes =; write local=10.0.0.1:443"),
            (
                "colour=red",
                "\"colour=red\": there is no such key; write one of src, local, source, \
                idle, age, bytes, server, listener, state, worker",
            ),
            ("listener=edgy", "\"listener=edgy\": there is no such listener; write one of edge"),
            ("server=app/b", "\"server=app/b\": there is no such server; write one of a"),
            (
                "server=echo/a",
                "\"server=echo/a\": the gateway itself answers for echo, which has \
                no servers; write server=echo",
            ),
            (
                "state=alive",
                "\"state=alive\": there is no such state; write one of held, \
                silent, preamble, standby, opening, connecting, queued, pressed, retrying, \
                joined, delivering, ending",
            ),
            (
                "worker=2",
                "\"worker=2\": workers are numbered from 0, and there are 2; write \
                worker=0",
            ),
            ("bytes>many", "\"bytes>many\": that is no size; write 4096, 64KiB or 1MiB"),
        ] {
            let error = Query::parse(filter, None, None, &names()).expect_err(filter);
            assert_eq!(error.to_string(), said);
        }
        let error = Query::parse("age>5x", None, None, &names()).expect_err("no unit");
        assert!(error.to_string().ends_with("write 30s, 5m, 1h or 2days"), "{error}");
    }

    #[test]
    fn an_unknown_name_is_answered_by_those_that_there_are() {
        let servers = (0..25).map(|n| (ServerId(30 - n), format!("s{n}"))).collect();
        let app = upstream(1, "app", servers);
        let many = Names { upstreams: vec![upstream(0, "", Vec::new()), app], ..names() };
        assert_eq!(many.listener("edge"), Ok(ListenerId(5)));
        assert_eq!(many.server("app/s7"), Ok(ServerId(23)));
        let said = many.listener("egde").expect_err("a slip").to_string();
        assert_eq!(said, "\"egde\": there is no such listener; write one of edge");
        for title in ["app/s25", "s1", "other/s1", "app", "/", ""] {
            let said = many.server(title).expect_err(title).to_string();
            let begins =
                format!("{title:?}: there is no such server; write one of app/s0, app/s1, ");
            assert!(said.starts_with(&begins), "{said}");
            assert!(said.ends_with(", app/s19 and 5 more"), "{said}");
        }
        let said = Names::default().server("a/b").expect_err("none").to_string();
        assert_eq!(said, "\"a/b\": there is no such server; this gateway has no server");
    }

    #[test]
    fn a_name_of_a_server_comes_before_an_address() {
        let odd = upstream(7, "10.0.0.1:80", vec![(ServerId(3), "a".to_owned())]);
        let parse = |names: &Names| Query::parse("server=10.0.0.1:80", None, None, names);
        let by_address = parse(&names()).expect("an address");
        assert!(by_address.asks(Side::Upstream));
        let by_name = parse(&Names { upstreams: vec![odd], ..names() }).expect("a name");
        assert!(!by_name.asks(Side::Upstream));
        let words = "server".parse::<By>().map(By::word);
        assert_eq!(words, Ok("server"));
        let said = "worker".parse::<By>().expect_err("none").to_string();
        let expected =
            "\"worker\": connections are not counted by that; write src, pair, server, listener";
        assert_eq!(said, expected);
    }

    #[test]
    fn bounds_are_kept() {
        let many = "state=joined ".repeat(MOST_WORDS);
        assert!(Query::parse(&many, None, None, &names()).is_ok());
        let error = Query::parse(&format!("{many} worker=1"), None, None, &names());
        assert_eq!(error.expect_err("one too many").word, "worker=1");
        for (limit, fits) in [(0, false), (1, true), (MOST_ROWS, true), (MOST_ROWS + 1, false)] {
            assert_eq!(Query::parse("", None, Some(limit), &names()).is_ok(), fits, "{limit}");
        }
        assert!(Query::parse("", Some("size"), None, &names()).is_err());
        let long = format!("{}=1", "é".repeat(10_000));
        let error = Query::parse(&long, None, None, &names()).expect_err("no such key");
        assert_eq!(error.word.chars().count(), MOST_REPEATED);
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(filter in ".{0,200}", sort in ".{0,8}", limit in any::<u32>()) {
            let _ = Query::parse(&filter, Some(&sort), Some(limit), &names());
            let _ = filter.parse::<ConnId>();
        }

        #[test]
        fn no_value_makes_it_panic(
            key in "(src|local|source|idle|age|bytes|server|listener|state|worker)",
            sign in "[=<>]{1,2}",
            value in "[0-9a-zA-Z./:é-]{0,40}",
        ) {
            let word = format!("{key}{sign}{value}");
            if let Err(error) = Query::parse(&word, None, None, &names()) {
                prop_assert!(error.word == word && !error.rule.is_empty());
                prop_assert!(!error.remedy.is_empty());
            }
        }
    }
}
