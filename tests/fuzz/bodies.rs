//! What holds for any input, target by target: libFuzzer looks for one that breaks it.
//!
//! Each body takes any bytes and panics where a promise is broken. The fuzz targets include this
//! file by its path, and `main.rs` runs the same bodies over the corpus.

#[path = "handover.rs"]
pub(crate) mod handover;
#[path = "other_reader.rs"]
mod other_reader;
#[path = "records.rs"]
pub(crate) mod records;

use std::fmt::Debug;
use std::net::IpAddr;

use axum::Json;
use axum::extract::Query as Parameters;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use bytesize::ByteSize;
use humantime_serde::re::humantime::{format_duration, parse_duration};
use ipnet::IpNet;
use portcullis::api::Request;
use portcullis::api::conns::{Kill, ListConns};
use portcullis::api::drain::{CancelDrain, Drain};
use portcullis::api::reload::Reload;
use portcullis::api::steer::{SetListener, SetServer};
use portcullis::base::{ListenerId, Millis, ServerId, UpstreamId};
use portcullis::config::Config;
use portcullis::control::Hosts;
use portcullis::query::{
    ConnId, Facts, Names, Query, State, UpstreamNames, server_title, split_server,
};
use portcullis::wire::{
    Decoded, Ends, Entry, Facts as Header, Fields, HEADER_MAX, HELLO_MAX, Hello, Names as Routes,
    Pattern, client_hello, postgres, proxy_binary, proxy_header, proxy_line,
};
use serde::de::DeserializeOwned;

/// A target's name and its body.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target. A folder of the corpus has the name of each.
#[allow(dead_code)] // a fuzz target needs its own body alone
pub(crate) const TARGETS: [Target; 9] = [
    ("admin", admin),
    ("config", config),
    ("filters", filters),
    ("handover", handover::handover),
    ("hellos", hellos),
    ("names", server_names),
    ("postgres", postgres_begins),
    ("preambles", preambles),
    ("records", records::records),
];

/// A config file: it is refused with errors that say where, or taken and written back the same.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, "p.toml", &env) {
        Ok(config) => {
            let written = config.written();
            let again = Config::parse(&written, "written.toml", &|_| None);
            assert_eq!(again.as_ref(), Ok(&config), "{written}");
            assert_eq!(config.written(), written);
        }
        Err(errors) => {
            let all: Vec<_> = errors.iter().collect();
            assert!(!all.is_empty());
            for (index, error) in all.iter().enumerate() {
                let of_the_whole = error.rule == "there is no listener";
                assert!(error.line.is_some() || error.key.is_some() || of_the_whole, "{error}");
                let lines = text.split('\n').count();
                assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}");
                assert!(!error.rule.is_empty() && !error.remedy.is_empty(), "{error}");
                assert!(!all[..index].contains(error), "said twice: {error}");
                assert!(error.excerpt.is_none() || all.len() == 1, "{errors}");
                let shown = error.to_string();
                assert_eq!(shown.lines().count(), if error.excerpt.is_some() { 3 } else { 1 });
                assert_printable(&shown.replace('\n', " "));
            }
        }
    }
}

/// Variables of the environment: one of them looks like another.
fn env(name: &str) -> Option<String> {
    match name {
        "EDGE" => Some("127.0.0.1:7443".to_owned()),
        "NESTED" => Some("${EDGE}".to_owned()),
        "QUOTE" => Some("\"\n\\".to_owned()),
        _ => None,
    }
}

/// The words of a filter and, on two further lines, an order and a limit: each word is refused by
/// its name, or means the same when it is spelt in another way.
pub(crate) fn filters(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let filter = lines.next().unwrap_or_default();
    let sort = lines.next();
    let limit = lines.next().and_then(|limit| limit.parse().ok());
    filter_holds(filter, sort, limit);
    conn_id_holds(filter);
    title_holds(filter);
}

fn filter_holds(filter: &str, sort: Option<&str>, limit: Option<u32>) {
    let names = names();
    let query = match Query::parse(filter, sort, limit, &names) {
        Ok(query) => query,
        Err(error) => {
            assert!(!error.rule.is_empty() && !error.remedy.is_empty(), "{error}");
            let named = |word: &str| word.starts_with(&error.word);
            let limit = limit.map(|limit| limit.to_string());
            let mut words = filter.split_whitespace().chain(sort).chain(limit.as_deref());
            assert!(words.any(named), "{error}");
            assert_printable(&error.to_string());
            return;
        }
    };
    let mut words: Vec<String> = filter.split_whitespace().map(respelt).collect();
    let again = Query::parse(&words.join(" "), sort, limit, &names);
    assert_eq!(again.as_ref(), Ok(&query), "{words:?}");
    words.reverse();
    let reversed = Query::parse(&words.join("\t "), sort, limit, &names).expect("the same words");
    for facts in FACTS {
        assert_eq!(reversed.admits(&facts), query.admits(&facts), "{words:?}");
    }
    assert_eq!(query.is_open(), words.is_empty());
}

/// A word that a filter has taken, its value spelt in another way.
fn respelt(word: &str) -> String {
    let at = word.find(['=', '<', '>']).expect("it has a sign");
    let (head, value) = word.split_at(at + 1);
    let value = match &head[..at] {
        "idle" | "age" => {
            let duration = parse_duration(value).expect("a duration");
            format_duration(duration).to_string().replace(' ', "")
        }
        "bytes" => value.parse::<ByteSize>().expect("a size").as_u64().to_string(),
        "src" => value.parse::<IpNet>().map_or(value.to_owned(), |network| network.to_string()),
        "worker" => value.parse::<u16>().expect("a number").to_string(),
        "server" => {
            let (upstream, server) = split_server(value);
            server_title(upstream, server)
        }
        _ => value.to_owned(),
    };
    format!("{head}{value}")
}

fn conn_id_holds(word: &str) {
    match word.parse::<ConnId>() {
        Ok(id) => assert_eq!(id.to_string().parse::<ConnId>(), Ok(id)),
        Err(error) => assert_printable(&error.to_string()),
    }
}

fn title_holds(title: &str) {
    let names = names();
    let (upstream, server) = split_server(title);
    assert_eq!(server_title(upstream, server), title);
    match names.server(title) {
        Ok(id) => {
            let of = |upstream: &UpstreamNames| {
                let server = upstream.servers.iter().find(|(server, _)| *server == id);
                server.map(|(_, server)| server_title(&upstream.name, Some(server)))
            };
            assert_eq!(names.upstreams.iter().find_map(of).as_deref(), Some(title));
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// A client's first bytes as a PROXY header: another reader finds the same in it, and what a server
/// would get of it is read as the same.
pub(crate) fn preambles(data: &[u8]) {
    let Some((cut, Decoded::Done { used, facts })) = first_answer(data, HEADER_MAX, proxy_header)
    else {
        return;
    };
    assert_eq!(used, cut);
    assert!(facts.fields.len() <= used && used <= HEADER_MAX);
    if let Some(ends) = facts.ends {
        let read = other_reader::read(&data[..used]);
        assert_eq!(read, Some(([ends.source, ends.destination], facts.fields.to_vec())));
        passes_on(ends, facts);
    }
}

/// The first answer to the bytes that come one by one, and how many they were. It stands, whatever
/// follows them, and no more of them were asked for than it needed.
fn first_answer<'a, F: Debug + PartialEq>(
    data: &'a [u8],
    most: usize,
    decode: impl Fn(&'a [u8]) -> Decoded<F>,
) -> Option<(usize, Decoded<F>)> {
    let mut asked = 0;
    let mut first: Option<(usize, Decoded<F>)> = None;
    for cut in 0..=data.len() {
        match (&first, decode(&data[..cut])) {
            (None, Decoded::More(more)) => {
                assert!(more > 0 && cut < most);
                asked = asked.max(cut + more);
            }
            (None, answer) => {
                let is_done = matches!(answer, Decoded::Done { .. });
                assert!(!is_done || asked <= cut, "{asked} were asked for, {cut} are enough");
                first = Some((cut, answer));
            }
            (Some((_, first)), answer) => assert_eq!(answer, *first),
        }
    }
    first
}

/// A server that gets a header for these ends, with what came in another, reads the same in it.
fn passes_on(ends: Ends, facts: Header<'_>) {
    let mut line = Vec::new();
    proxy_line(ends, &mut line);
    let decoded = proxy_header(&line);
    let is_same = matches!(decoded, Decoded::Done { facts, .. } if facts.ends == Some(ends));
    assert!(is_same, "{line:?}");
    for checksum in [false, true] {
        let fields = Fields { received: facts.fields, checksum, ..Fields::default() };
        let mut header = Vec::new();
        let left_out = proxy_binary(ends, &fields, &mut header);
        let Decoded::Done { used, facts: read } = proxy_header(&header) else {
            panic!("{header:?}")
        };
        assert_eq!((used, read.ends), (header.len(), Some(ends)));
        let is_shorter = read.fields.len() <= facts.fields.len() + 7;
        assert!(is_shorter && (left_out == 0 || checksum));
    }
}

/// A client's first bytes as a ClientHello: it says the same in other records.
pub(crate) fn hellos(data: &[u8]) {
    let Some((cut, answer)) = first_answer(data, HELLO_MAX, client_hello) else { return };
    let Decoded::Done { used, facts } = answer else { return };
    assert_eq!(used, 0);
    let said = |hello: &Hello<'_>| -> (Option<String>, Vec<Vec<u8>>) {
        let protocols = hello.protocols().map(<[u8]>::to_vec).collect();
        (hello.server_name().map(str::to_owned), protocols)
    };
    let mut message = Vec::new();
    let mut rest = &data[..cut];
    while let [22, 3, _, high, low, behind @ ..] = rest {
        let (carried, after) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend(carried);
        rest = after;
    }
    assert!(rest.is_empty());
    for bytes in [message.len().div_ceil(64), message.len() / 2 + 1, message.len()] {
        let record = |piece: &[u8]| {
            let [.., high, low] = piece.len().to_be_bytes();
            [&[22, 3, 1, high, low], piece].concat()
        };
        let records: Vec<u8> = message.chunks(bytes).flat_map(record).collect();
        match client_hello(&records) {
            Decoded::Done { facts: again, .. } => assert_eq!(said(&again), said(&facts)),
            decoded => panic!("{decoded:?} in records of {bytes}"),
        }
    }
}

/// A client's first bytes as a PostgreSQL client's.
pub(crate) fn postgres_begins(data: &[u8]) {
    // Behind a request, there is another answer.
    let is_request = matches!(postgres(&data[..data.len().min(8)]), Decoded::Done { used: 8, .. });
    let data = if is_request { &data[..8] } else { data };
    if first_answer(data, 8, postgres).is_none() {
        assert!(data.len() < 8);
    }
}

/// A name, a line of protocols, and a line for each entry, with its protocols behind a bar: the
/// entry is the one that a search from the first to the last finds.
pub(crate) fn server_names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let name = lines.next().filter(|name| *name != "-");
    let offered: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let mut entries: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for line in lines {
        let (names, protocols) = line.split_once('|').unwrap_or((line, ""));
        let is_pattern = |name: &&str| match name.parse::<Pattern>() {
            Ok(_) => true,
            Err(fault) => {
                assert_printable(&fault.to_string());
                false
            }
        };
        let names: Vec<&str> = names.split_whitespace().collect();
        if names.iter().all(is_pattern) {
            entries.push((names, protocols.split_whitespace().collect()));
        }
    }
    let routes =
        Routes::new(entries.iter().enumerate().map(|(target, (names, protocols))| Entry {
            names: names.iter().map(|name| name.parse().expect("it was parsed")).collect(),
            protocols: protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(),
            target,
        }));
    let found = routes.find(name, offered.iter().map(|protocol| protocol.as_bytes()));
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // A longer one is no name, and only entries without names are for it.
    let name = name.map(bare).filter(|name| name.len() <= 253);
    let searched = |is_met: &dyn Fn(&[&str]) -> bool| {
        let is_offered = |protocol: &&str| offered.contains(protocol);
        entries.iter().position(|(names, protocols)| {
            is_met(names) && (protocols.is_empty() || protocols.iter().any(is_offered))
        })
    };
    let is_same = |names: &[&str]| names.iter().any(|one| Some(bare(one)) == name);
    let is_wild = |names: &[&str]| {
        let label = |one: &&str| {
            let suffix = bare(one).strip_prefix('*')?.to_owned();
            name.as_deref()?
                .strip_suffix(&suffix)
                .map(|label| !label.is_empty() && !label.contains('.'))
        };
        names.iter().any(|one| label(one) == Some(true))
    };
    let expected = searched(&is_same).or_else(|| searched(&is_wild));
    assert_eq!(found.copied(), expected.or_else(|| searched(&|names| names.is_empty())));
}

/// A request to the admin socket: it is refused, or decoded to what a client encodes to the same.
/// Then its fields, and the head of a request, by the parts of the gateway that read them.
pub(crate) fn admin(data: &[u8]) {
    posted::<CancelDrain>(data);
    posted::<Drain>(data);
    posted::<Reload>(data);
    posted::<SetListener>(data);
    if let Some(SetServer { server, .. }) = posted(data) {
        title_holds(&server);
    }
    if let Some(Kill { ids, filter, .. }) = posted(data) {
        ids.iter().for_each(|id| conn_id_holds(id));
        filter_holds(&filter, None, None);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        asked(text);
        head_holds(text);
    }
}

/// The request in a body, if it has one.
fn posted<R: Request + DeserializeOwned + PartialEq + Debug>(body: &[u8]) -> Option<R> {
    let Json(request) = Json::<R>::from_bytes(body).ok()?;
    let encoded = serde_json::to_string(&request).expect("plain data");
    let Json(again) = Json::<R>::from_bytes(encoded.as_bytes()).expect("a client writes it");
    assert_eq!(again, request, "{encoded}");
    Some(request)
}

/// The request in the query of a URL.
fn asked(query: &str) {
    let decoded = |query: &str| -> Option<ListConns> {
        let target: Uri = format!("{}?{query}", ListConns::PATH).parse().ok()?;
        Some(Parameters::try_from_uri(&target).ok()?.0)
    };
    let Some(request) = decoded(query) else { return };
    let encoded = serde_urlencoded::to_string(&request).expect("plain data");
    assert_eq!(decoded(&encoded).as_ref(), Some(&request), "{encoded}");
    filter_holds(&request.filter, request.sort.as_deref(), request.limit);
}

/// A `Host`: an unknown one is refused in a line that can be shown, and one that is
/// answered is no name that a stranger's DNS could give.
fn head_holds(text: &str) {
    let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { return };
    let hosts = Hosts::named("gate-1", &["metrics.example".to_owned()]);
    let headers = HeaderMap::from_iter([(header::HOST, value)]);
    match hosts.check(&Uri::from_static("/metrics"), &headers) {
        Ok(()) => assert!(is_ours(text.trim()), "{text:?} is answered"),
        Err(words) => assert_printable(words.trim_end()),
    }
}

/// Whether a browser's `Host` is an address or one of the gateway's names; it may be empty.
fn is_ours(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else {
        // No browser sends it.
        return true;
    };
    let name = authority.host().trim_matches(['[', ']']);
    let name = name.split('%').next().unwrap_or_default().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let known = ["", "localhost", "gate-1", "metrics.example"].contains(&name);
    known || name.parse::<IpAddr>().is_ok()
}

/// A message on one line: it comes to terminals and logs.
fn assert_printable(message: &str) {
    assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
}

fn names() -> Names {
    let servers = [(ServerId(0), "a"), (ServerId(1), "10.0.0.1:80"), (ServerId(2), "b/c")];
    let servers = servers.map(|(id, name)| (id, name.to_owned()));
    let upstream = |id, name: &str, servers| UpstreamNames { id, name: name.to_owned(), servers };
    Names {
        workers: 2,
        listeners: vec![(ListenerId(0), "edge".to_owned()), (ListenerId(1), "inner".to_owned())],
        upstreams: vec![
            upstream(UpstreamId(0), "app", servers.into()),
            upstream(UpstreamId(1), "echo", vec![]),
        ],
    }
}

const YOUNG: Facts = Facts {
    worker: 0,
    listener: ListenerId(0),
    upstream: UpstreamId(0),
    server: Some(ServerId(1)),
    state: State::Joined,
    seen: Millis(1_000_000),
    opened: Millis(999_999),
    active: Millis(1_000_000),
    to_upstream_bytes: 0,
    to_client_bytes: 1,
    unique_id: None,
};

const FACTS: [Facts; 3] = [
    YOUNG,
    Facts { opened: Millis(0), to_upstream_bytes: 1 << 20, ..YOUNG },
    Facts {
        worker: 1,
        listener: ListenerId(1),
        upstream: UpstreamId(1),
        server: None,
        state: State::Ending,
        ..YOUNG
    },
];
