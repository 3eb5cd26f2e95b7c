//! The numbers of upstreams, summed over the workers.

use crate::metrics::catalogue::server::Server;
use crate::metrics::catalogue::{Reading, Show};
use crate::metrics::declare::counters;
use crate::metrics::histogram::{CONNECT_BOUNDS, Histogram};

counters! {
    /// The counters of an upstream.
    storage UpstreamCounters;
    /// An upstream.
    reading Upstream;
    labels ["upstream"], each by each;

    told name: String, "Its name in the config";
    told servers: Vec<Server>, "Its servers; none where the gateway itself answers";
    counted connect: Histogram = Histogram::new(&CONNECT_BOUNDS),
        "From the begin of a connect to the server's answer, where that was yes"
        => Histogram "portcullis_connect_seconds";
}

fn each(reading: &Reading, show: &mut Show<'_, Upstream>) {
    for upstream in reading.upstreams.iter().filter(|one| !one.servers.is_empty()) {
        show(&[&upstream.name], upstream);
    }
}
