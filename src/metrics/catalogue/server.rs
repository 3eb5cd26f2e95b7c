//! The numbers of servers, summed over the workers.

use crate::metrics::catalogue::{Reading, Show, Sides};
use crate::metrics::declare::counters;
use crate::metrics::histogram::{CONNECT_BOUNDS, Histogram};
use crate::metrics::kinds::CONNECT_FAILURES;
use crate::metrics::told::CheckResults;
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
    told state: String,
        "Its state: up, slow-start, down, ejected, trial (its rest is over), drain or maintenance";
    told since_seconds_since_1970: Option<f64>, "Since when it is so; none: from the start on";
    told because: Option<String>, "Why it is not up";
    told check: Option<CheckResults>, "The results of its checks; none: it is not checked";
    shown "Checks of the server: passed, failed, or unable (not made, for want of something here)"
        => Counter "portcullis_server_checks" by "outcome"
        = |server| server.check.as_ref().map(CheckResults::counts).unwrap_or_default();
    told last_error: Option<String>, "Why a client was failed there last";
    told last_error_seconds_since_1970: Option<f64>, "When";
    told up: u64, "1: the server serves; 0: it is down, or rests after failures"
        => Gauge "portcullis_server_up";
    told weight: u64,
        "The server's share of new connections in relation to the others'; 0: none"
        => Gauge "portcullis_server_weight";
    told open: u64, "Connections to the server now, those under way among them"
        => Gauge "portcullis_server_connections_open";
    told limit: Option<u64>, "The most connections that it may have; none: any number"
        => Gauge "portcullis_server_connections_limit";
    told backup: bool, "It gets clients only while no other server serves";
    counted connect: Histogram = Histogram::new(&CONNECT_BOUNDS),
        "From the begin of a connect to this server to its answer, where that was yes"
        => Histogram "portcullis_server_connect_seconds";
    told connect_p50_seconds: Option<f64>,
        "Half of the connects of the last minute took no longer, about; none: there were none";
    told connect_p99_seconds: Option<f64>, "99 in 100 of them took no longer, about";
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
