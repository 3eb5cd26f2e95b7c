//! The numbers of servers, summed over the workers.

use crate::metrics::catalogue::{Reading, Show, Sides};
use crate::metrics::declare::counters;
use crate::metrics::kinds::CONNECT_FAILURES;
use crate::metrics::{By, ConnectFailure, Counter};

counters! {
    /// The counters of a server. An attempt that is over counts as joined or as failed.
    storage ServerCounters;
    /// A server of an upstream.
    reading Server;
    labels ["upstream", "server"], each by each;

    told name: String, "Its name in the config, or its address";
    told address: String, "Its address";
    counted attempts: Counter,
        "Attempts to connect to the server; once over, each is a connection or a failure"
        => Counter "portcullis_server_connects";
    counted joined: Counter, "Clients joined to the server"
        => Counter "portcullis_server_connections";
    counted failed: By<ConnectFailure, CONNECT_FAILURES>,
        "Attempts that failed; abandoned (client gone) and pressure (no memory) are our side's"
        => Counter "portcullis_server_connect_failures" by "reason";
    kept left: Counter, "Attempts and connections that no longer count as one of its own";
    told weight: u64,
        "The server's share of new connections in relation to the others'; 0: it drains"
        => Gauge "portcullis_server_weight";
    told open: u64, "Connections to the server now, those under way among them"
        => Gauge "portcullis_server_connections_open";
    counted to_upstream_bytes: Counter, "Bytes delivered to it";
    counted to_client_bytes: Counter, "Bytes of it delivered to clients";
    shown "Bytes delivered to the server (side upstream) and from it to clients (side client)"
        => Counter "portcullis_server_delivered_bytes" by "side"
        = |server| Sides { client: server.to_client_bytes, upstream: server.to_upstream_bytes };
}

fn each(reading: &Reading, show: &mut Show<'_, Server>) {
    for upstream in &reading.upstreams {
        for server in &upstream.servers {
            show(&[&upstream.name, &server.name], server);
        }
    }
}
