//! Metrics of upstreams and their servers, summed over the workers.

use super::{Family, Sink, Value, by_reason};
use crate::metrics::reading::{Reading, Server};

const SERVER: &[&str] = &["upstream", "server"];

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        "portcullis_server_connects",
        SERVER,
        "Attempts to connect to the server; once over, each is a connection or a failure",
        |reading, out| count(reading, out, |server| server.attempts),
    ),
    Family::counter(
        "portcullis_server_connections",
        SERVER,
        "Clients joined to the server",
        |reading, out| count(reading, out, |server| server.joined),
    ),
    Family::counter(
        "portcullis_server_connect_failures",
        &["upstream", "server", "reason"],
        "Attempts that failed; abandoned (client gone) and pressure (no memory) are our side's",
        |reading, out| {
            each(reading, |upstream, server| {
                by_reason([upstream, &server.name], &server.failed, out);
            });
        },
    ),
    Family::gauge(
        "portcullis_server_weight",
        SERVER,
        "The server's share of new connections in relation to the others'; 0: it drains",
        |reading, out| count(reading, out, |server| server.weight),
    ),
    Family::gauge(
        "portcullis_server_connections_open",
        SERVER,
        "Connections to the server now, those under way among them",
        |reading, out| count(reading, out, |server| server.open),
    ),
    Family::counter(
        "portcullis_server_delivered_bytes",
        &["upstream", "server", "side"],
        "Bytes delivered to the server (side upstream) and from it to clients (side client)",
        |reading, out| {
            each(reading, |upstream, server| {
                let name = &server.name;
                out(&[upstream, name, "client"], Value::Count(server.to_client_bytes));
                out(&[upstream, name, "upstream"], Value::Count(server.to_upstream_bytes));
            });
        },
    )
    .in_bytes(),
    Family::histogram(
        "portcullis_connect_seconds",
        &["upstream"],
        "From the begin of a connect to the server's answer, where that was yes",
        |reading, out| {
            for upstream in reading.upstreams.iter().filter(|one| !one.servers.is_empty()) {
                out(&[&upstream.name], Value::Durations(&upstream.connect));
            }
        },
    ),
];

fn each(reading: &Reading, mut show: impl FnMut(&str, &Server)) {
    for upstream in &reading.upstreams {
        upstream.servers.iter().for_each(|server| show(&upstream.name, server));
    }
}

fn count(reading: &Reading, out: &mut Sink<'_>, value: fn(&Server) -> u64) {
    each(reading, |upstream, server| out(&[upstream, &server.name], Value::Count(value(server))));
}
