//! A line of the access log, as text or as JSON.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime::format_rfc3339_micros;
use serde::Serialize;

use crate::base::{Micros, Side};
use crate::config::LogFormat;
use crate::topology::Parties;
use crate::worker::{AccessEvent, AccessNote};

/// The fields of a line, in their order. What is not known is null, or `-` in text.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    id: String,
    listener: &'a str,
    client: Option<SocketAddr>,
    local: Option<SocketAddr>,
    /// The peer that has said by a header whose connection it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<SocketAddr>,
    upstream: &'a str,
    #[serde(flatten)]
    tls: Option<Tls<'a>>,
    #[serde(flatten)]
    end: Option<End<'a>>,
}

/// The fields of a line about a client whose TLS ends here.
#[derive(Serialize)]
struct Tls<'a> {
    tls_version: &'static str,
    tls_cipher: Cow<'static, str>,
    /// The name that it asked for.
    tls_name: Option<&'a str>,
    /// The common name of its certificate.
    client_name: Option<&'a str>,
}

/// The fields of a line about a connection's end.
#[derive(Serialize)]
struct End<'a> {
    server: Option<&'a str>,
    source: Option<SocketAddr>,
    server_address: Option<SocketAddr>,
    /// The id in the header that its server got.
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_id: Option<String>,
    opened: String,
    connect_seconds: Option<f64>,
    life_seconds: f64,
    to_upstream_bytes: u64,
    to_client_bytes: u64,
    reason: &'static str,
}

/// Appends the line of a note, its times counted from when the gateway's clock `began`.
pub(super) fn write_line(
    out: &mut Vec<u8>,
    format: LogFormat,
    note: &AccessNote,
    began: SystemTime,
) {
    let line = Line::of(note, began);
    let written = match format {
        LogFormat::Text => text(out, &line),
        LogFormat::Json => serde_json::to_writer(&mut *out, &line).map_err(Into::into),
    };
    written.and_then(|()| out.write_all(b"\n")).expect("memory takes every line");
}

impl Line<'_> {
    fn of(note: &AccessNote, began: SystemTime) -> Line<'_> {
        let Parties { listener, upstream, server } = &note.parties;
        let time = |moment: Micros| {
            format_rfc3339_micros(began + Duration::from_micros(moment.0)).to_string()
        };
        let local = |side: Side| note.addresses[side].map(|found| found.local);
        let peer = |side: Side| note.addresses[side].and_then(|found| found.peer);
        let end = match note.event {
            AccessEvent::Opened => None,
            AccessEvent::Ended { opened, connect, to_upstream_bytes, to_client_bytes, reason } => {
                Some(End {
                    server: server.as_ref().map(|server| server.name.as_str()),
                    source: local(Side::Upstream),
                    server_address: peer(Side::Upstream),
                    unique_id: note.unique_id.map(|id| id.to_string()),
                    opened: time(opened),
                    connect_seconds: connect.map(|connect| connect.as_secs_f64()),
                    life_seconds: note.at.since(opened).as_secs_f64(),
                    to_upstream_bytes,
                    to_client_bytes,
                    reason: reason.word(),
                })
            }
        };
        Line {
            time: time(note.at),
            event: if end.is_some() { "ended" } else { "opened" },
            id: note.id.to_string(),
            listener: &listener.name,
            client: peer(Side::Client),
            local: local(Side::Client),
            via: note.addresses[Side::Client].and_then(|found| found.via),
            upstream: &upstream.name,
            tls: note.tls.as_deref().map(|tls| Tls {
                tls_version: tls.suite.version(),
                tls_cipher: tls.suite.spoken_name(),
                tls_name: tls.server_name.as_deref(),
                client_name: tls.common_name.as_deref(),
            }),
            end,
        }
    }
}

/// A word that a client has chosen: in quotes where it could be taken for more than one.
fn word(name: Option<&str>) -> Cow<'_, str> {
    let is_plain = |char: char| char.is_ascii_graphic() && !"\"\\=".contains(char);
    match name {
        None => "-".into(),
        Some(name) if !name.is_empty() && name != "-" && name.chars().all(is_plain) => name.into(),
        Some(name) => format!("{name:?}").into(),
    }
}

/// Words of the config have no blanks, so nothing else needs quotes.
fn text(out: &mut Vec<u8>, line: &Line<'_>) -> std::io::Result<()> {
    let Line { time, event, id, listener, client, local, via, upstream, tls, end } = line;
    let (client, local) = (or_dash(client), or_dash(local));
    write!(out, "{time} {event} id={id} listener={listener} client={client} local={local}")?;
    if let Some(via) = via {
        write!(out, " via={via}")?;
    }
    write!(out, " upstream={upstream}")?;
    if let Some(Tls { tls_version, tls_cipher, tls_name, client_name }) = tls {
        write!(out, " tls_version={tls_version} tls_cipher={tls_cipher}")?;
        write!(out, " tls_name={} client_name={}", word(*tls_name), word(*client_name))?;
    }
    let Some(end) = end else { return Ok(()) };
    let connect = end.connect_seconds.map(|seconds| format!("{seconds:.6}"));
    let (server, source) = (or_dash(&end.server), or_dash(&end.source));
    let address = or_dash(&end.server_address);
    write!(out, " server={server} source={source} server_address={address}")?;
    if let Some(id) = &end.unique_id {
        write!(out, " unique_id={id}")?;
    }
    write!(
        out,
        " opened={} connect_seconds={} life_seconds={:.6} to_upstream_bytes={} \
         to_client_bytes={} reason={}",
        end.opened,
        or_dash(&connect),
        end.life_seconds,
        end.to_upstream_bytes,
        end.to_client_bytes,
        end.reason,
    )
}

fn or_dash(value: &Option<impl Display>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::{BySide, UniqueId};
    use crate::config::Config;
    use crate::conn::Reason;
    use crate::query::ConnId;
    use crate::ring::FourTuple;
    use crate::tls::Suite;
    use crate::topology::{Asked, Register, Topology};
    use crate::worker::TlsClient;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// Of a connection to the second server of a listener's upstream.
    fn parties() -> Parties {
        let text = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
                    [upstream.app]\nservers = [{ name = \"a\", address = \"127.0.0.1:1\" },\
                    { name = \"b\", address = \"127.0.0.1:2\" }]\n";
        let config = Config::parse(text, "test.toml", &|_| None).expect("a config");
        let Config { listeners, upstreams, .. } = &config;
        let asked = Asked { listeners, upstreams, gates: &[], tls: None };
        let topology = Register::default().next(&Topology::default(), asked).expect("one");
        let found = topology.servers.values().find(|server| server.name == "b");
        Parties {
            listener: topology.listeners.values().next().expect("there is one").clone(),
            upstream: topology.upstreams.values().next().expect("there is one").clone(),
            server: found.cloned(),
        }
    }

    fn written(format: LogFormat, note: &AccessNote) -> String {
        let mut out = Vec::new();
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        write_line(&mut out, format, note, began);
        String::from_utf8(out).expect("text")
    }

    fn note(event: AccessEvent, addresses: [Option<FourTuple>; 2]) -> AccessNote {
        let id = ConnId { worker: 0, slot: 5, generation: 7 };
        let at = Micros(3_500_000);
        let addresses = BySide(addresses);
        AccessNote { at, id, parties: parties(), addresses, unique_id: None, tls: None, event }
    }

    const ENDED: AccessEvent = AccessEvent::Ended {
        opened: Micros(1_000_000),
        connect: Some(Duration::from_micros(412)),
        to_upstream_bytes: 12,
        to_client_bytes: 345,
        reason: Reason::ClosedByClient,
    };

    fn client() -> FourTuple {
        let (local, peer) = (address("10.0.0.1:80"), Some(address("10.9.9.9:5000")));
        FourTuple { local, peer, via: None }
    }

    fn server() -> FourTuple {
        let (local, peer) = (address("10.0.0.1:4000"), Some(address("[::1]:90")));
        FourTuple { local, peer, via: None }
    }

    #[test]
    fn a_client_behind_a_header_is_named_with_the_peer_that_sent_it() {
        let client = FourTuple { via: Some(address("10.0.0.2:99")), ..client() };
        let note = note(AccessEvent::Opened, [Some(client), None]);
        let text = written(LogFormat::Text, &note);
        let named = " client=10.9.9.9:5000 local=10.0.0.1:80 via=10.0.0.2:99 upstream=app\n";
        assert!(text.ends_with(named), "{text}");
        let json = written(LogFormat::Json, &note);
        assert!(json.contains("\"via\":\"10.0.0.2:99\""), "{json}");
    }

    #[test]
    fn a_connection_is_found_by_the_id_that_its_server_got() {
        let ended = note(ENDED, [Some(client()), Some(server())]);
        let mut id = [0; 16];
        (id[0], id[15]) = (0x0a, 0xf1);
        let ended = AccessNote { unique_id: Some(UniqueId(id)), ..ended };
        let digits = "0a0000000000000000000000000000f1";
        let text = written(LogFormat::Text, &ended);
        let place = format!(" server_address=[::1]:90 unique_id={digits} opened=2023-11-14T22:");
        assert!(text.contains(&place), "{text}");
        let json = written(LogFormat::Json, &ended);
        assert!(json.contains(&format!("\"unique_id\":\"{digits}\"")), "{json}");
    }

    #[test]
    fn a_client_whose_tls_ends_here_is_named_by_its_certificate() {
        let client = |name: &str| TlsClient {
            suite: Suite::EcdheRsaAes128GcmSha256,
            server_name: Some("a.example".into()),
            common_name: (!name.is_empty()).then(|| name.into()),
        };
        for (name, word) in [
            ("amy@example.com", "amy@example.com"),
            ("", "-"),
            ("-", "\"-\""),
            ("a reason=forged\n\"", "\"a reason=forged\\n\\\"\""),
        ] {
            let ended = note(ENDED, [Some(self::client()), Some(server())]);
            let ended = AccessNote { tls: Some(Arc::new(client(name))), ..ended };
            let text = written(LogFormat::Text, &ended);
            let place = format!(
                " upstream=app tls_version=TLSv1.2 tls_cipher=ECDHE-RSA-AES128-GCM-SHA256 \
                 tls_name=a.example client_name={word} server=b "
            );
            assert!(text.contains(&place), "{text}");
            let json = written(LogFormat::Json, &ended);
            let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            assert_eq!(json["client_name"].as_str().unwrap_or_default(), name, "{json}");
            assert_eq!((&json["tls_version"], &json["server"]), (&"TLSv1.2".into(), &"b".into()));
        }
    }

    #[test]
    fn an_end_says_everything() {
        let note = note(ENDED, [Some(client()), Some(server())]);
        assert_eq!(
            written(LogFormat::Text, &note),
            "2023-11-14T22:13:23.500000Z ended id=0-5-7 listener=edge client=10.9.9.9:5000 \
             local=10.0.0.1:80 upstream=app server=b source=10.0.0.1:4000 server_address=[::1]:90 \
             opened=2023-11-14T22:13:21.000000Z connect_seconds=0.000412 life_seconds=2.500000 \
             to_upstream_bytes=12 to_client_bytes=345 reason=closed-by-client\n"
        );
        assert_eq!(
            written(LogFormat::Json, &note),
            "{\"time\":\"2023-11-14T22:13:23.500000Z\",\"event\":\"ended\",\"id\":\"0-5-7\",\
             \"listener\":\"edge\",\"client\":\"10.9.9.9:5000\",\"local\":\"10.0.0.1:80\",\
             \"upstream\":\"app\",\"server\":\"b\",\"source\":\"10.0.0.1:4000\",\
             \"server_address\":\"[::1]:90\",\"opened\":\"2023-11-14T22:13:21.000000Z\",\
             \"connect_seconds\":0.000412,\"life_seconds\":2.5,\"to_upstream_bytes\":12,\
             \"to_client_bytes\":345,\"reason\":\"closed-by-client\"}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_said_so() {
        let AccessEvent::Ended { opened, .. } = ENDED else { panic!("it ended") };
        let event = AccessEvent::Ended {
            opened,
            connect: None,
            to_upstream_bytes: 0,
            to_client_bytes: 0,
            reason: Reason::NoServer,
        };
        let parties = Parties { server: None, ..parties() };
        let note = AccessNote { parties, ..note(event, [None; 2]) };
        let text = written(LogFormat::Text, &note);
        assert!(text.contains(" client=- local=- upstream=app server=- source=- "), "{text}");
        assert!(text.contains(" connect_seconds=- "), "{text}");
        let json = written(LogFormat::Json, &note);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert!(json["client"].is_null() && json["server"].is_null(), "{json}");
    }

    #[test]
    fn an_opening_is_short() {
        let text = written(LogFormat::Text, &note(AccessEvent::Opened, [None; 2]));
        let expected = "2023-11-14T22:13:23.500000Z opened id=0-5-7 listener=edge client=- \
                        local=- upstream=app\n";
        assert_eq!(text, expected);
        let json = written(LogFormat::Json, &note(AccessEvent::Opened, [None; 2]));
        assert!(json.contains("\"opened\"") && !json.contains("reason"), "{json}");
    }
}
