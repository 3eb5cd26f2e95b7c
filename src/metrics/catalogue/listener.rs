//! Metrics of listeners, summed over their addresses and the workers.

use super::{Family, Sink, Value, by_reason};
use crate::metrics::reading::{Durations, Listener, Reading};

const LISTENER: &[&str] = &["listener"];
const REASON: &[&str] = &["listener", "reason"];

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        "portcullis_connections_accepted",
        LISTENER,
        "Clients accepted, those among them that a limit then reset",
        |reading, out| count(reading, out, |listener| listener.accepted),
    ),
    Family::counter(
        "portcullis_connections_refused",
        REASON,
        "Clients not served: reset at a limit by policy, or queued when a drain's time was over",
        |reading, out| {
            for listener in &reading.listeners {
                by_reason([&listener.name], &listener.refused, out);
            }
        },
    ),
    Family::counter(
        "portcullis_connections_closed",
        REASON,
        "Connections that ended, by the first cause; accepted less closed is open",
        |reading, out| {
            for listener in &reading.listeners {
                by_reason([&listener.name], &listener.closed, out);
            }
        },
    ),
    Family::gauge(
        "portcullis_connections_open",
        LISTENER,
        "Connections open now",
        |reading, out| count(reading, out, |listener| listener.open),
    ),
    Family::gauge(
        "portcullis_connections_limit",
        LISTENER,
        "Connections that the listener may hold: its own limit, or the gateway's",
        |reading, out| {
            for listener in &reading.listeners {
                let limit = listener.limit.unwrap_or(reading.budget.limit);
                out(&[&listener.name], Value::Count(limit));
            }
        },
    ),
    Family::gauge(
        "portcullis_listener_paused",
        LISTENER,
        "1 while an operator lets the listener's clients wait, else 0",
        |reading, out| count(reading, out, |listener| listener.paused.into()),
    ),
    Family::counter(
        "portcullis_delivered_bytes",
        &["listener", "side"],
        "Bytes delivered to clients and to the upstream side, as they are delivered",
        |reading, out| {
            for listener in &reading.listeners {
                out(&[&listener.name, "client"], Value::Count(listener.to_client_bytes));
                out(&[&listener.name, "upstream"], Value::Count(listener.to_upstream_bytes));
            }
        },
    )
    .in_bytes(),
    Family::gauge(
        "portcullis_accept_queue_waiting",
        LISTENER,
        "Clients whose handshake is done and who wait to be accepted",
        |reading, out| count(reading, out, |listener| listener.accept_queue.waiting),
    ),
    Family::gauge(
        "portcullis_accept_queue_limit",
        LISTENER,
        "Clients that may wait: the backlogs as the kernel granted them, over all passive sockets",
        |reading, out| count(reading, out, |listener| listener.accept_queue.limit),
    ),
    Family::counter(
        "portcullis_accept_queue_dropped",
        LISTENER,
        "Handshakes that the kernel dropped at the passive sockets, mostly as a queue was full",
        |reading, out| count(reading, out, |listener| listener.accept_queue.dropped),
    ),
    Family::histogram(
        "portcullis_join_seconds",
        LISTENER,
        "From the accept until the client was joined to a server",
        |reading, out| durations(reading, out, |listener| &listener.join),
    ),
    Family::histogram(
        "portcullis_connection_seconds",
        LISTENER,
        "From the accept to the end of connections that ended",
        |reading, out| durations(reading, out, |listener| &listener.lifetime),
    ),
];

fn count(reading: &Reading, out: &mut Sink<'_>, value: fn(&Listener) -> u64) {
    for listener in &reading.listeners {
        out(&[&listener.name], Value::Count(value(listener)));
    }
}

fn durations(reading: &Reading, out: &mut Sink<'_>, value: fn(&Listener) -> &Durations) {
    for listener in &reading.listeners {
        out(&[&listener.name], Value::Durations(value(listener)));
    }
}
