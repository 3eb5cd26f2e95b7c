//! The numbers of upstreams, summed over the workers.

use crate::metrics::catalogue::server::Server;
use crate::metrics::catalogue::{Reading, Show};
use crate::metrics::declare::counters;
use crate::metrics::histogram::{CONNECT_BOUNDS, Histogram};
use crate::metrics::told::SearchState;

counters! {
    /// The counters of an upstream.
    storage UpstreamCounters;
    /// An upstream.
    reading Upstream;
    labels ["upstream"], each by each;

    told name: String, "Its name in the config";
    told servers: Vec<Server>, "Its servers; none where the gateway itself answers";
    told search: Option<SearchState>, "How those are asked who know its servers; none for a list";
    told waiting: u64,
        "Clients that wait in the gateway for room at a server: below its limit, with a source port"
        => Gauge "portcullis_upstream_clients_waiting";
    counted connect: Histogram = Histogram::new(&CONNECT_BOUNDS),
        "From the begin of a connect to the server's answer, where that was yes"
        => Histogram "portcullis_connect_seconds";
}

fn each(reading: &Reading, show: &mut Show<'_, Upstream>) {
    for upstream in reading.upstreams.iter().filter(|one| !one.servers.is_empty()) {
        show(&[&upstream.name], upstream);
    }
}
