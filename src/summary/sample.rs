//! A busy gateway's readings, for tests of whatever shows them.

use serde_json::json;

use crate::metrics::Reading;
use crate::metrics::reading::Worker;

/// Two workers, two listeners, three servers, one builtin.
pub(crate) fn reading() -> Reading {
    let durations = json!({ "bounds_seconds": [1.0], "counts": [0, 0], "sum_seconds": 0.0 });
    let listener = |name: &str, address: &str, accepted: u64, waiting: u64| {
        json!({
            "name": name, "addresses": [address], "accepted": accepted, "open": accepted / 4,
            "limit": null, "paused": false, "busiest_pair": 0, "tls": false,
            "denied": {},
            "refused": { "gateway-limit": accepted / 1000, "drain-end": 0 },
            "closed": { "closed-by-client": accepted / 2, "client-reset": accepted / 4, "idle": 0,
                "refused": accepted / 1000 },
            "to_upstream_bytes": accepted * 1000, "to_client_bytes": accepted * 5000,
            "accept_queue": { "waiting": waiting, "limit": 8190, "dropped": 3 },
            "join": durations, "lifetime": durations
        })
    };
    let server = |name: &str, address: &str, joined: u64, failed: u64| {
        json!({
            "name": name, "address": address, "attempts": joined + failed, "joined": joined,
            "failed": { "refused": failed, "timed-out": 0 }, "open": joined / 4,
            "weight": 1, "state": "up", "up": 1, "backup": false, "connect": durations,
            "to_upstream_bytes": joined * 1000, "to_client_bytes": joined * 5000
        })
    };
    let document = json!({
        "schema": 1, "access_log": null, "at_seconds": 11_520.5,
        "build": { "version": "0.1.0", "commit": null },
        "io": { "by": "io_uring", "refused": null },
        "config": { "generation": 1, "sha256": null },
        "process": {
            "cpu_seconds": 1234.5, "resident_memory_bytes": 73_400_320, "open_fds": 40,
            "max_fds": 20_000, "start_time_seconds": 1_000_000.0
        },
        "host": { "open_files": 250_000, "max_files": 1_000_000 },
        "budget": { "limit": 497_452, "bound_by": "fs.file-max", "used": 63_000, "leased": 64_000 },
        "drain": { "draining": false, "still_open": 63_000, "deadline_seconds": null },
        "workers": [worker(31_000), worker(32_000)],
        "listeners": [
            listener("edge", "0.0.0.0:7000", 240_000, 12),
            listener("devices", "[::]:7443", 12_000, 7_900),
        ],
        "upstreams": [
            { "name": "app", "connect": durations, "waiting": 0, "servers": [
                server("127.0.0.1:9000", "127.0.0.1:9000", 120_000, 0),
                server("127.0.0.1:9001", "127.0.0.1:9001", 120_000, 77),
            ] },
            { "name": "mail", "connect": durations, "waiting": 0, "servers": [
                server("imap", "10.0.0.7:143", 12_000, 4),
            ] },
            { "name": "probe", "connect": durations, "waiting": 0, "servers": [] },
        ]
    });
    serde_json::from_value(document).expect("a whole reading")
}

fn worker(open: u64) -> Worker {
    Worker {
        open,
        slots: 248_726,
        silent_seconds: 0.01,
        turns: 1_000_000,
        buffers: 1024,
        free_buffers: 1000,
        completions: 5_000_000,
        rings: 25,
        ..Worker::default()
    }
}

/// Two seconds later.
pub(crate) fn later() -> Reading {
    let mut reading = reading();
    reading.at_seconds += 2.0;
    reading.process.cpu_seconds = Some(1235.7);
    let edge = &mut reading.listeners[0];
    edge.accepted += 2_469;
    edge.to_client_bytes += 80_000_000;
    *edge.closed.get_mut("closed-by-client").expect("it is there") += 2_000;
    edge.closed.insert("idle".into(), 8);
    reading.upstreams[0].servers[1].joined += 2_469;
    reading.workers[0].turns += 20_000;
    reading
}
