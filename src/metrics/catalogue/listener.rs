//! The numbers of listeners, summed over their addresses and the workers.

use crate::base::{Bar, PreambleFault, Reason, TlsFault};
use crate::metrics::catalogue::{Reading, Show, Sides};
use crate::metrics::counter::Counts;
use crate::metrics::declare::counters;
use crate::metrics::histogram::{CONNECT_BOUNDS, Histogram, LIFETIME_BOUNDS};
use crate::metrics::kinds::REFUSALS;
use crate::metrics::told::AcceptQueue;
use crate::metrics::{By, Counter, Refusal};

counters! {
    /// What is counted of a listener's connections.
    storage ListenerCounters;
    /// A listener, over all its addresses and workers.
    reading Listener;
    labels ["listener"], each by each;

    told name: String, "Its name in the config";
    told addresses: Vec<String>, "Where it listens";
    counted accepted: Counter, "Clients accepted, those among them that a limit then reset"
        => Counter "portcullis_connections_accepted";
    counted refused: By<Refusal, REFUSALS>,
        "Clients not served: reset at a limit by policy, or queued when a drain's time was over"
        => Counter "portcullis_connections_refused" by "reason";
    counted bad_preambles: By<PreambleFault, { PreambleFault::ALL.len() }>,
        "Clients reset for what they said first, or for who said it, by what was wrong"
        => Counter "portcullis_preambles_refused" by "reason";
    told tls: bool, "TLS of its clients ends here";
    counted tls_handshakes: Counter, "Handshakes of TLS with clients that were done"
        => Counter "portcullis_tls_handshakes";
    counted tls_resumed: Counter, "Those among them that resumed a session by a ticket"
        => Counter "portcullis_tls_resumed";
    counted tls_faults: By<TlsFault, { TlsFault::ALL.len() }>,
        "Handshakes with clients that failed, and sessions of either side that were broken off"
        => Counter "portcullis_tls_failed" by "reason";
    counted barred: By<Bar, { Bar::ALL.len() }>,
        "Clients kept out by a rule or a limit of their source, by which; those held are not yet"
        => Counter "portcullis_sources_refused" by "reason";
    told denied: Counts,
        "Clients kept out by a network that stands in deny itself, not in a file; the first 64"
        => Counter "portcullis_networks_denied" by "network";
    counted untracked: Counter,
        "Clients whose source was not limited, as the table of sources was full"
        => Counter "portcullis_sources_untracked";
    counted closed: By<Reason, { Reason::ALL.len() }>,
        "Connections that ended, by the first cause; accepted less closed is open"
        => Counter "portcullis_connections_closed" by "reason";
    told open: u64, "Connections open now"
        => Gauge "portcullis_connections_open";
    told limit: Option<u64>, "The most that it may hold; `None`: as many as the gateway";
    shown "Connections that the listener may hold: its own limit, or the gateway's"
        => Gauge "portcullis_connections_limit"
        = |reading, listener| listener.limit.unwrap_or(reading.budget.limit);
    told busiest_pair: u64,
        "Connections of the client address that has the most to one address and port of the \
         listener, of 65,535; 0 while it has too few connections for any to be near that"
        => Gauge "portcullis_listener_busiest_pair";
    told paused: bool, "1 while an operator lets the listener's clients wait, else 0"
        => Gauge "portcullis_listener_paused";
    counted to_upstream_bytes: Counter, "Bytes delivered to servers, or taken by a builtin";
    counted to_client_bytes: Counter, "Bytes delivered to clients";
    shown "Bytes delivered to clients and to the upstream side, as they are delivered"
        => Counter "portcullis_delivered_bytes" by "side"
        = |one| Sides { client: one.to_client_bytes, upstream: one.to_upstream_bytes };
    told accept_queue: AcceptQueue, "Its accept queues";
    shown "Clients with a completed handshake that wait to be accepted"
        => Gauge "portcullis_accept_queue_waiting" = |listener| listener.accept_queue.waiting;
    shown "Clients that may wait: the backlogs as the kernel granted them, over all passive sockets"
        => Gauge "portcullis_accept_queue_limit" = |listener| listener.accept_queue.limit;
    shown "Handshakes that the kernel dropped at the passive sockets, mostly as a queue was full"
        => Counter "portcullis_accept_queue_dropped" = |listener| listener.accept_queue.dropped;
    counted join: Histogram = Histogram::new(&CONNECT_BOUNDS),
        "From the accept until the client was joined to a server"
        => Histogram "portcullis_join_seconds";
    counted lifetime: Histogram = Histogram::new(&LIFETIME_BOUNDS),
        "From the accept to the end of connections that ended"
        => Histogram "portcullis_connection_seconds";
}

fn each(reading: &Reading, show: &mut Show<'_, Listener>) {
    for listener in &reading.listeners {
        show(&[&listener.name], listener);
    }
}
