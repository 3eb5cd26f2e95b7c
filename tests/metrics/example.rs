//! A reading of a gateway that never was, with every number another.

use portcullis::metrics::reading::{
    AccessLog, Budget, Build, Certificate, CheckResults, ConfigText, Counts, Drain, DrainProgress,
    Durations, Host, Io, LastReload, Leaving, Listener, Process, Reading, RefusedSource, SCHEMA,
    SearchState, Server, Sources, UpgradeProgress, Upstream, Worker,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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

    fn sources(&mut self) -> Sources {
        // They are no labels of a metric.
        let most_refused = vec![RefusedSource { source: "192.0.2.0/24".to_owned(), refused: 7 }];
        Sources { counted: self.next(), most_refused }
    }

    fn durations(&mut self) -> Durations {
        let counts = vec![self.next(), self.next(), self.next()];
        Durations {
            bounds_seconds: vec![0.001, 0.5],
            counts,
            sum_seconds: self.next() as f64 / 8.0,
        }
    }

    /// A `T` whose every number is the next one; its texts, lists and maps are empty.
    fn all<T: Default + Serialize + DeserializeOwned>(&mut self) -> T {
        let mut document = serde_json::to_value(T::default()).expect("a document");
        self.number(&mut document);
        serde_json::from_value(document).expect("the same with other numbers")
    }

    fn number(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|value| self.number(value)),
            Value::Number(number) if number.is_u64() => *value = self.next().into(),
            _ => {}
        }
    }

    fn listener(&mut self, name: &str, limit: Option<u64>) -> Listener {
        Listener {
            name: name.to_owned(),
            addresses: vec!["127.0.0.1:7000".to_owned()],
            paused: true,
            limit,
            refused: self.counts(&["drain-end", "gateway-limit"]),
            bad_preambles: self.counts(&["no-header", "untrusted-peer"]),
            tls_faults: self.counts(&["forged", "not-tls"]),
            barred: self.counts(&["denied", "rate"]),
            denied: self.counts(&["10.0.0.0/8", "2001:db8::1"]),
            closed: self.counts(&["closed-by-client", "client-reset"]),
            join: self.durations(),
            lifetime: self.durations(),
            ..self.all()
        }
    }

    fn server(&mut self, name: &str) -> Server {
        Server {
            name: name.to_owned(),
            address: "[::1]:9000".to_owned(),
            failed: self.counts(&["refused", "timed-out"]),
            limit: Some(self.next()),
            connect: self.durations(),
            check: Some(CheckResults {
                passed: self.next(),
                failed: self.next(),
                unable: self.next(),
                ..CheckResults::default()
            }),
            ..self.all()
        }
    }

    fn worker(&mut self) -> Worker {
        Worker {
            leaving: Leaving::Draining,
            silent_seconds: self.next() as f64 / 4.0,
            ..self.all()
        }
    }
}

impl Numbers {
    fn certificate(&mut self) -> Certificate {
        Certificate {
            listener: "edge".to_owned(),
            file: "/a.pem".to_owned(),
            title: "a.example".to_owned(),
            not_after_seconds_since_1970: self.next(),
        }
    }

    fn upgrade(&mut self) -> UpgradeProgress {
        UpgradeProgress {
            step: "move".to_owned(),
            seconds: 0.5,
            successor: Some(4711),
            moved: self.next(),
            left: self.next(),
        }
    }

    fn drain(&mut self, name: &str) -> DrainProgress {
        DrainProgress {
            name: name.to_owned(),
            left: self.next(),
            ended: self.next(),
            per_second: self.next() as f64 / 4.0,
            seconds_left: self.next() as f64 / 4.0,
        }
    }
}

/// Two of everything.
pub(crate) fn reading() -> Reading {
    let mut numbers = Numbers(1000);
    Reading {
        schema: SCHEMA,
        at_seconds: 12.5,
        at_seconds_since_1970: Some(1.5e9),
        build: Build { version: "9.9.9".to_owned(), commit: Some("abc".to_owned()) },
        io: Io { by: "epoll".to_owned(), refused: Some("no".to_owned()) },
        gateway: None,
        config: ConfigText {
            sha256: Some("00ff".to_owned()),
            generation: 3,
            last_reload: Some(LastReload { at_seconds_since_1970: 1_700.5, successful: true }),
        },
        troubles: Vec::new(),
        events: Vec::new(),
        certificates: vec![numbers.certificate()],
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
        sources: numbers.sources(),
        drain: Drain { draining: true, still_open: numbers.next(), deadline_seconds: Some(10.0) },
        drains: vec![numbers.drain("process"), numbers.drain("listener/edge")],
        upgrade: Some(numbers.upgrade()),
        workers: vec![numbers.worker(), numbers.worker()],
        // Nothing of it is a metric of its own.
        removed: None,
        listeners: vec![numbers.listener("edge", None), numbers.listener("tight", Some(3))],
        upstreams: vec![
            Upstream {
                name: "own".to_owned(),
                servers: Vec::new(),
                search: Some(SearchState {
                    answers: [("failed".to_owned(), 2), ("good".to_owned(), 5)].into(),
                    last_good_seconds_since_1970: Some(1_700.25),
                    trouble: Some("db.internal: no such name".to_owned()),
                }),
                // Without servers it is no metric.
                waiting: 0,
                connect: numbers.durations(),
            },
            Upstream {
                name: "app".to_owned(),
                servers: vec![numbers.server("a"), numbers.server("[::1]:9000")],
                search: None,
                waiting: numbers.next(),
                connect: numbers.durations(),
            },
        ],
    }
}
