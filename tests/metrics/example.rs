//! A reading of a gateway that never was, with every number another.

use portcullis::metrics::reading::{
    AcceptQueue, AccessLog, Budget, Build, ConfigText, Counts, Drain, Durations, Host, Leaving,
    Listener, Process, Reading, SCHEMA, Server, Upstream, Worker,
};

/// Numbers that do not come twice.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn counts(&mut self, words: &[&'static str]) -> Counts {
        words.iter().map(|word| ((*word).into(), self.next())).collect()
    }

    fn durations(&mut self) -> Durations {
        let counts = vec![self.next(), self.next(), self.next()];
        Durations {
            bounds_seconds: vec![0.001, 0.5],
            counts,
            sum_seconds: self.next() as f64 / 8.0,
        }
    }

    fn listener(&mut self, name: &str, limit: Option<u64>) -> Listener {
        Listener {
            name: name.to_owned(),
            addresses: vec!["127.0.0.1:7000".to_owned()],
            accepted: self.next(),
            open: self.next(),
            paused: true,
            limit,
            refused: self.counts(&["drain-end", "gateway-limit"]),
            closed: self.counts(&["closed", "client-reset"]),
            to_upstream_bytes: self.next(),
            to_client_bytes: self.next(),
            accept_queue: AcceptQueue {
                waiting: self.next(),
                limit: self.next(),
                dropped: self.next(),
            },
            join: self.durations(),
            lifetime: self.durations(),
        }
    }

    fn server(&mut self, name: &str) -> Server {
        Server {
            name: name.to_owned(),
            address: "[::1]:9000".to_owned(),
            attempts: self.next(),
            joined: self.next(),
            failed: self.counts(&["refused", "timed-out"]),
            weight: self.next(),
            open: self.next(),
            to_upstream_bytes: self.next(),
            to_client_bytes: self.next(),
        }
    }

    fn worker(&mut self) -> Worker {
        Worker {
            open: self.next(),
            slots: self.next(),
            leaving: Leaving::Draining,
            silent_seconds: self.next() as f64 / 4.0,
            turns: self.next(),
            timers: self.next(),
            timers_expired: self.next(),
            buffers: self.next(),
            free_buffers: self.next(),
            buffers_starved: self.next(),
            starved_lanes: self.next(),
            chunks_parked: self.next(),
            parked_bytes: self.next(),
            spliced_bytes: self.next(),
            splices_refused: self.next(),
            splicing: self.next(),
            rings: self.next(),
            ring_enters: self.next(),
            submissions: self.next(),
            completions: self.next(),
            queue_overflows: self.next(),
            lost_completions: self.next(),
            unknown_completions: self.next(),
            stale_completions: self.next(),
            receive_retries: self.next(),
            accepts_rearmed: self.next(),
            accepts_pressed: self.next(),
            overshoot: self.next(),
            cancels_repeated: self.next(),
            quieted: self.next(),
        }
    }
}

/// Two of everything.
pub(crate) fn reading() -> Reading {
    let mut numbers = Numbers(1000);
    Reading {
        schema: SCHEMA,
        at_seconds: 12.5,
        build: Build { version: "9.9.9".to_owned(), commit: Some("abc".to_owned()) },
        config: ConfigText { sha256: Some("00ff".to_owned()) },
        access_log: Some(AccessLog {
            written: numbers.next(),
            dropped: numbers.next(),
            failed: numbers.next(),
            failing: None,
        }),
        process: Process {
            cpu_seconds: Some(1.25),
            resident_memory_bytes: Some(numbers.next()),
            open_fds: Some(numbers.next()),
            max_fds: Some(numbers.next()),
            start_time_seconds: Some(1.5e9),
        },
        host: Host { open_files: Some(numbers.next()), max_files: Some(i64::MAX as u64) },
        budget: Budget {
            limit: numbers.next(),
            bound_by: "fs.file-max".to_owned(),
            used: numbers.next(),
            leased: numbers.next(),
        },
        drain: Drain { draining: true, still_open: numbers.next(), deadline_seconds: Some(10.0) },
        workers: vec![numbers.worker(), numbers.worker()],
        listeners: vec![numbers.listener("edge", None), numbers.listener("tight", Some(3))],
        upstreams: vec![
            Upstream { name: "own".to_owned(), servers: Vec::new(), connect: numbers.durations() },
            Upstream {
                name: "app".to_owned(),
                servers: vec![numbers.server("a"), numbers.server("[::1]:9000")],
                connect: numbers.durations(),
            },
        ],
    }
}
