//! Works: scenarios with their parameters, and the figures that are looked at.

use portcullis::doctor::thousands;

use crate::result::{Better, Figure};

/// What `compare` does when it is not told.
pub(crate) const DEFAULT: [&str; 11] = [
    "pingpong-100",
    "pingpong-1000",
    "pingpong-8000",
    "rate-20000",
    "churn",
    "bulk-up",
    "storm-8000",
    "idle",
    "kept",
    "reset",
    "halfclose",
];

/// A work's name without its number: the number it has then, and how it is made.
struct Family {
    name: &'static str,
    number: u64,
    make: fn(u64, u64) -> Parts,
}

const FAMILIES: [Family; 12] = [
    Family { name: "pingpong", number: 1_000, make: pingpong },
    Family { name: "rate", number: 20_000, make: rate },
    Family { name: "churn", number: 64, make: churn },
    Family { name: "handshakes", number: 64, make: handshakes },
    Family { name: "bulk-up", number: 16, make: bulk_up },
    Family { name: "bulk-down", number: 16, make: bulk_down },
    Family { name: "storm", number: 8_000, make: storm },
    Family { name: "idle", number: 10_000, make: idle },
    Family { name: "kept", number: 50_000, make: kept },
    Family { name: "reset", number: 2_000, make: reset },
    Family { name: "halfclose", number: 600, make: halfclose },
    Family { name: "halfclose-server", number: 600, make: halfclose_server },
];

/// A smaller number than asked for is rounded down to this.
const STEP: u64 = 500;

const FRESH_USER: &str = "/measured/memory_bytes_per_connection/target_user_pss";
const FRESH_ALL: &str = "/measured/memory_bytes_per_connection/target_cgroup";
const WARM_USER: &str = "/measured/memory_bytes_per_connection_warm/target_user_pss";
const WARM_ALL: &str = "/measured/memory_bytes_per_connection_warm/target_cgroup";

/// What the generator talks to, through the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Echo,
    Sink,
    Source,
    HalfClose,
}

impl Backend {
    /// The value of `serve --mode`.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Backend::Echo => "echo",
            Backend::Sink => "sink",
            Backend::Source => "source",
            Backend::HalfClose => "half-close",
        }
    }
}

fn less(pointer: &str, title: &str, unit: &str) -> Figure {
    Figure::new(pointer.to_owned(), title.to_owned(), unit, Better::Less)
}

fn more(pointer: &str, title: &str, unit: &str) -> Figure {
    Figure::new(pointer.to_owned(), title.to_owned(), unit, Better::More)
}

/// What a family's function makes of a number and of the seconds of a measurement.
struct Parts {
    title: String,
    scenario: &'static str,
    arguments: Vec<String>,
    connections: u64,
    backend: Backend,
    asks_backend: bool,
    figures: Vec<Figure>,
}

/// A scenario with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) scenario: &'static str,
    pub(crate) arguments: Vec<String>,
    /// Connections at one time.
    pub(crate) connections: u64,
    pub(crate) backend: Backend,
    /// The first is the one that targets are compared by.
    pub(crate) figures: Vec<Figure>,
    /// It has a backend of its own, whose counts are part of the result.
    pub(crate) asks_backend: bool,
    /// Its name without the number.
    pub(crate) family: &'static str,
    /// The seconds that it is expected to take.
    pub(crate) seconds: u64,
}

impl Work {
    /// Reads `pingpong-1000`, or `pingpong` for the family's own number.
    pub(crate) fn parse(name: &str, seconds: u64) -> Result<Work, String> {
        let (family, number) = match name.rsplit_once('-') {
            Some((family, digits)) if digits.parse::<u64>().is_ok_and(|number| number > 0) => {
                (family, digits.parse().ok())
            }
            _ => (name, None),
        };
        let known = || FAMILIES.map(|family| family.name).join(", ");
        let family = FAMILIES.iter().find(|one| one.name == family).ok_or_else(|| {
            format!("there is no work {name:?}: write one of {}, with -NUMBER or without", known())
        })?;
        Ok(Work::of(family, name, number.unwrap_or(family.number), seconds))
    }

    fn of(family: &Family, name: &str, number: u64, seconds: u64) -> Work {
        let parts = (family.make)(number, seconds);
        Work {
            name: name.to_owned(),
            title: parts.title,
            scenario: parts.scenario,
            arguments: parts.arguments,
            connections: parts.connections,
            backend: parts.backend,
            figures: parts.figures,
            asks_backend: parts.asks_backend,
            family: family.name,
            seconds,
        }
    }

    /// The same for as many connections as all targets hold, if that is what its number is; else
    /// as it is.
    pub(crate) fn shrunk(self, most: u64) -> Work {
        let number = most / STEP * STEP;
        // A name with the user's number is no family's.
        let family = FAMILIES.iter().find(|one| one.name == self.name);
        match family {
            Some(family) if self.connections > most && number > 0 => {
                Work::of(family, &self.name, number, self.seconds)
            }
            _ => self,
        }
    }
}

/// The family of the work that `compare upgrade` does.
pub(crate) const UPGRADE: &str = "upgrade";
/// How many connections it holds where nobody says.
pub(crate) const UPGRADE_CONNECTIONS: u64 = 9_000;

impl Work {
    /// An upgrade while so many connections are held and so many come each second.
    pub(crate) fn upgrade(connections: u64, churn: u64, seconds: u64) -> Work {
        let each = connections.to_string();
        let mut arguments = texts(&["--connections", &each, "--told"]);
        arguments.push(format!("--beside=churn:{churn}"));
        Work {
            name: format!("{UPGRADE}-{connections}"),
            title: format!(
                "upgrade: {} held connections, {} new ones a second",
                thousands(connections),
                thousands(churn)
            ),
            scenario: "crowd",
            arguments,
            // Those that come are few at one time, and more while the target changes.
            connections: connections + churn * 2,
            backend: Backend::Echo,
            figures: vec![
                more("/measured/survived_percent", "survive the old process", "%"),
                less("/measured/lost", "held, lost", &format!("of {}", thousands(connections))),
                less("/measured/refused", "newcomers refused or reset", "connections"),
                less("/measured/longest_accept_gap_ms", "longest gap of accepts", "ms"),
                less("/measured/seconds_to_old_end", "until the old one ended", "s"),
            ],
            asks_backend: false,
            family: UPGRADE,
            seconds,
        }
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pingpong(connections: u64, seconds: u64) -> Parts {
    let (number, time) = (connections.to_string(), seconds.to_string());
    Parts {
        title: format!("64 B ping-pong, {} connections", thousands(connections)),
        scenario: "pingpong",
        arguments: texts(&["--connections", &number, "--bytes", "64", "--seconds", &time]),
        connections,
        backend: Backend::Echo,
        asks_backend: false,
        figures: vec![
            less("/measured/target_cpu_us_per_message", "CPU per message", "µs"),
            more("/measured/messages_per_second", "messages", "/s"),
            less("/measured/latency_us/message/p50", "p50", "µs"),
            less("/measured/latency_us/message/p99", "p99", "µs"),
        ],
    }
}

fn rate(rate: u64, seconds: u64) -> Parts {
    let parts = pingpong(1_000, seconds);
    let mut arguments = parts.arguments;
    arguments.extend(["--rate".to_owned(), rate.to_string()]);
    let title = format!("64 B messages, {} per second over 1,000 connections", thousands(rate));
    Parts { title, arguments, ..parts }
}

fn churn(connections: u64, seconds: u64) -> Parts {
    let (number, time) = (connections.to_string(), seconds.to_string());
    Parts {
        title: format!("connect, 64 B echo, close; {} at a time", thousands(connections)),
        scenario: "churn",
        arguments: texts(&["--connections", &number, "--bytes", "64", "--seconds", &time]),
        connections,
        backend: Backend::Echo,
        asks_backend: false,
        figures: vec![
            less("/measured/target_cpu_us_per_connection", "CPU per connection", "µs"),
            more("/measured/connections_per_second", "connections", "/s"),
            less("/measured/latency_us/open_and_answer/p50", "p50", "µs"),
            less("/measured/latency_us/open_and_answer/p99", "p99", "µs"),
        ],
    }
}

/// Connections without a message: of TCP, and of TLS where the target speaks it.
fn handshakes(connections: u64, seconds: u64) -> Parts {
    let (number, time) = (connections.to_string(), seconds.to_string());
    Parts {
        title: format!("connect, shake hands, close; {} at a time", thousands(connections)),
        scenario: "churn",
        arguments: texts(&["--connections", &number, "--silent", "--seconds", &time]),
        connections,
        backend: Backend::Echo,
        asks_backend: false,
        figures: vec![
            less("/measured/target_cpu_us_per_connection", "CPU per connection", "µs"),
            more("/measured/connections_per_second", "connections", "/s"),
            less("/measured/latency_us/connect/p50", "p50", "µs"),
            less("/measured/latency_us/connect/p99", "p99", "µs"),
        ],
    }
}

fn bulk(connections: u64, seconds: u64, direction: &str, backend: Backend) -> Parts {
    let (number, time) = (connections.to_string(), seconds.to_string());
    Parts {
        title: format!("bulk {direction}, {} connections", thousands(connections)),
        scenario: "bulk",
        arguments: texts(&["--connections", &number, "--direction", direction, "--seconds", &time]),
        connections,
        backend,
        asks_backend: false,
        figures: vec![
            less("/measured/target_cpu_seconds_per_gigabyte", "CPU per GB", "s"),
            more("/measured/gigabytes_per_second", "throughput", "GB/s"),
        ],
    }
}

fn bulk_up(connections: u64, seconds: u64) -> Parts {
    bulk(connections, seconds, "up", Backend::Sink)
}

fn bulk_down(connections: u64, seconds: u64) -> Parts {
    bulk(connections, seconds, "down", Backend::Source)
}

fn storm(connections: u64, _: u64) -> Parts {
    Parts {
        title: format!("storm: {} connect at once, drop, return", thousands(connections)),
        scenario: "storm",
        arguments: texts(&["--connections", &connections.to_string()]),
        connections,
        backend: Backend::Echo,
        asks_backend: false,
        figures: vec![
            less("/measured/seconds_until_all_answered", "until all echoed", "s"),
            less("/measured/target_cpu_us_per_connection", "CPU per return", "µs"),
            less("/measured/latency_us/return/p99", "return p99", "µs"),
        ],
    }
}

fn idle(connections: u64, _: u64) -> Parts {
    Parts {
        title: format!(
            "{} idle connections, fresh, and warm after 32 KiB each way",
            thousands(connections)
        ),
        scenario: "hold",
        arguments: texts(&[
            "--connections",
            &connections.to_string(),
            "--warm",
            "32KiB",
            "--hold",
            "1s",
        ]),
        connections,
        backend: Backend::Echo,
        asks_backend: false,
        figures: vec![
            less(FRESH_USER, "user", "B"),
            less(FRESH_ALL, "user + kernel", "B"),
            less(WARM_USER, "warm user", "B"),
            less(WARM_ALL, "warm user + kernel", "B"),
        ],
    }
}

/// Memory that is not given back two seconds after the last connection was closed.
fn kept(connections: u64, _: u64) -> Parts {
    Parts {
        title: format!("kept after {} connections", thousands(connections)),
        scenario: "hold",
        arguments: texts(&["--connections", &connections.to_string(), "--hold", "1s"]),
        connections,
        backend: Backend::Echo,
        asks_backend: false,
        figures: vec![
            less("/measured/kept_after_close/target_user_pss_bytes", "user", "B"),
            less("/measured/kept_after_close/target_cgroup_bytes", "user + kernel", "B"),
        ],
    }
}

/// Of the aborts that a server heard of, how many it could take for a clean end.
fn reset(count: u64, _: u64) -> Parts {
    let of = format!("of {}", thousands(count));
    Parts {
        title: format!("{} clients abort in mid-stream", thousands(count)),
        scenario: "reset",
        arguments: texts(&["--count", &count.to_string()]),
        connections: 64,
        backend: Backend::Echo,
        asks_backend: true,
        figures: vec![
            more("/run/backend/aborts_seen_as_reset_percent", "arrived as RST", "%"),
            less("/run/backend/aborts_seen_as_end", "looked like a clean end", &of),
        ],
    }
}

fn halfclose(count: u64, _: u64) -> Parts {
    let of = format!("of {}", thousands(count));
    Parts {
        title: format!("{} clients say FIN first and wait for all", thousands(count)),
        scenario: "halfclose",
        arguments: texts(&["--count", &count.to_string()]),
        connections: 64,
        backend: Backend::Echo,
        asks_backend: false,
        figures: vec![more("/counts/half_closed", "all came back", &of)],
    }
}

fn halfclose_server(count: u64, _: u64) -> Parts {
    let parts = halfclose(count, 0);
    Parts {
        title: format!("{} servers say FIN first and wait for all", thousands(count)),
        arguments: [parts.arguments, texts(&["--first", "server"])].concat(),
        backend: Backend::HalfClose,
        ..parts
    }
}

/// Every family with a number and without, and the works of the default.
#[cfg(test)]
fn every_name() -> impl Iterator<Item = String> {
    let names = FAMILIES.iter().map(|family| family.name.to_owned());
    let numbered = FAMILIES.iter().map(|family| format!("{}-7", family.name));
    names.chain(numbered).chain(DEFAULT.map(str::to_owned))
}

/// By work, the scenario with its arguments: the command line has the last word on them.
#[cfg(test)]
pub(crate) fn command_lines() -> impl Iterator<Item = (String, Vec<String>)> {
    let named = every_name().map(|name| {
        let work = Work::parse(&name, 3).unwrap_or_else(|error| panic!("{error}"));
        (name, work)
    });
    let upgrade = (UPGRADE.to_owned(), Work::upgrade(7, 3, 5));
    let all = named.chain([upgrade]);
    all.map(|(name, work)| (name, [vec![work.scenario.to_owned()], work.arguments].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_has_a_name_and_figures() {
        for name in every_name() {
            let work = Work::parse(&name, 3).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(work.name, name);
            assert!(!work.figures.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_number_is_the_user_s_or_as_large_as_fits() {
        let connections =
            |name: &str, most| Work::parse(name, 1).expect("a work").shrunk(most).connections;
        assert_eq!(connections("idle", 1_000_000), 10_000);
        assert_eq!(connections("idle", 9_875), 9_500);
        assert_eq!(connections("idle-10000", 9_875), 10_000);
        assert_eq!(connections("idle", 10), 10_000, "nothing worth measuring fits");
        assert!(Work::parse("idle-0", 1).is_err() && Work::parse("hold-5", 1).is_err());
    }
}
