//! What is wrong with a gateway at present: for the status, the page and `top` alike.

use std::time::Duration;

use crate::base::limits::STALLED_AFTER;
use crate::config::{AllDown, AtLimit, Config};
use crate::doctor::{count, thousands};
use crate::metrics::Reading;
use crate::metrics::reading::{Listener, Server, Severity, Trouble};
use crate::query::server_title;
use crate::summary::span;

/// A part of a limit from which on it is worth a word.
const NEARLY: f64 = 0.9;

/// Days before a certificate expires in which that is a trouble: a timer that renews it a month
/// before has failed for three weeks then.
const CERTIFICATE_DAYS: u64 = 7;
const DAY_SECONDS: u64 = 86_400;

/// All troubles, the worst first.
pub(super) fn troubles(reading: &Reading, config: &Config) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    all.extend(workers(reading));
    all.extend(upstreams(reading, config));
    all.extend(limits(reading, config));
    all.extend(reading.config.last_reload.iter().filter(|last| !last.successful).map(|last| {
        trouble(Severity::Warning, "gateway", "the last reload was refused; nothing has changed")
            .since(Some(last.at_seconds_since_1970))
            .remedy("portcullis reload --dry-run says why")
    }));
    all.extend(certificates(reading));
    all.extend(access_log(reading));
    all.sort_by_key(|trouble| std::cmp::Reverse(trouble.severity as u8));
    all
}

fn trouble(severity: Severity, subject: impl Into<String>, words: impl Into<String>) -> Trouble {
    Trouble {
        severity,
        subject: subject.into(),
        words: words.into(),
        since_seconds_since_1970: None,
        remedy: None,
    }
}

impl Trouble {
    fn since(self, time: Option<f64>) -> Trouble {
        Trouble { since_seconds_since_1970: time, ..self }
    }

    fn remedy(self, remedy: impl Into<String>) -> Trouble {
        Trouble { remedy: Some(remedy.into()), ..self }
    }
}

fn workers(reading: &Reading) -> impl Iterator<Item = Trouble> {
    let workers = reading.workers.iter().enumerate();
    let stalled = workers.filter(|(_, one)| one.silent_seconds > STALLED_AFTER.as_secs_f64());
    stalled.map(|(index, worker)| {
        let (open, silent) = (count(worker.open, "connection"), worker.silent_seconds);
        let words = format!("does not turn for {silent:.0} s; its {open} stand still");
        trouble(Severity::Error, format!("worker/{index}"), words)
            .remedy("portcullis dump, for a bug report")
    })
}

/// Servers that do not serve, upstreams of which none does, searches that fail.
fn upstreams(reading: &Reading, config: &Config) -> Vec<Trouble> {
    let mut all = Vec::new();
    for upstream in &reading.upstreams {
        // What an operator has taken out is no trouble, whatever is observed.
        let is_down = |one: &&Server| matches!(&*one.state, "down" | "ejected" | "trial");
        let down: Vec<&Server> = upstream.servers.iter().filter(is_down).collect();
        let is_lost = !down.is_empty() && !upstream.servers.iter().any(serves);
        if is_lost {
            let line = config.upstream(&upstream.name);
            let clients = line.map_or(AllDown::TryAll, |line| line.all_down).fate();
            let words = format!("no server is left that serves: {clients}");
            let since = down.iter().filter_map(|one| one.since_seconds_since_1970);
            all.push(
                trouble(Severity::Error, format!("upstream/{}", upstream.name), words)
                    .since(since.reduce(f64::max)),
            );
        }
        for server in down {
            let title = server_title(&upstream.name, Some(&server.name));
            let because = server.because.as_deref().unwrap_or("no cause is known");
            let words = match &*server.state {
                "trial" => {
                    format!("its rest is over, and one client at a time tries it: {because}")
                }
                state => format!("{state}: {because}"),
            };
            all.push(
                trouble(Severity::Warning, format!("server/{title}"), words)
                    .since(server.since_seconds_since_1970)
                    .remedy(format!(
                        "start {}, or: portcullis server {title} maintenance",
                        server.address
                    )),
            );
        }
        if let Some(words) = upstream.search.as_ref().and_then(|search| search.trouble.clone()) {
            let subject = format!("upstream/{}", upstream.name);
            let words = format!("its servers cannot be learned: {words}");
            all.push(
                trouble(Severity::Warning, subject, words)
                    .remedy("the last good ones stay in use; see [resolver] and servers_from"),
            );
        }
    }
    all
}

/// Whether a server gets clients, if only a part of its share.
fn serves(server: &Server) -> bool {
    ["up", "slow-start"].contains(&&*server.state)
}

/// Certificates that have expired, or will within days.
fn certificates(reading: &Reading) -> impl Iterator<Item = Trouble> {
    let now = reading.at_seconds_since_1970.unwrap_or_default() as u64;
    reading.certificates.iter().filter_map(move |one| {
        let left = one.not_after_seconds_since_1970.checked_sub(now);
        let (severity, when) = match left.map(|seconds| seconds / DAY_SECONDS) {
            None => (Severity::Error, "has expired; clients refuse it".to_owned()),
            Some(days) if days < CERTIFICATE_DAYS => {
                (Severity::Warning, format!("expires within {}", count(days + 1, "day")))
            }
            Some(_) => return None,
        };
        let words = format!("the certificate of {} {when}: {}", one.title, one.file);
        let trouble = trouble(severity, format!("listener/{}", one.listener), words);
        Some(trouble.remedy("renew it, and: portcullis reload"))
    })
}

/// Limits that are reached, and nearly so.
fn limits(reading: &Reading, config: &Config) -> Vec<Trouble> {
    let mut all = Vec::new();
    let waiting = reading.listeners.iter().map(|one| one.accept_queue.waiting).sum();
    let budget = &reading.budget;
    all.extend(limit("gateway", budget.used, budget.limit, waiting).map(|full| {
        full.remedy(format!("{} bounds it; portcullis doctor says what would", budget.bound_by))
    }));
    for Listener { name, open, limit: most, accept_queue, .. } in &reading.listeners {
        let Some(most) = *most else { continue };
        let full = limit(&format!("listener/{name}"), *open, most, accept_queue.waiting);
        all.extend(full.map(|full| {
            let at_limit = config.listener(name).map_or(AtLimit::Queue, |one| one.at_limit);
            let fate = at_limit.fate();
            full.remedy(format!("{fate}; raise max_connections of listener.{name}"))
        }));
    }
    for upstream in &reading.upstreams {
        let limited = upstream.servers.iter().filter_map(|one| Some((one, one.limit?)));
        let full: Vec<_> = limited.filter(|(one, most)| one.open >= *most).collect();
        // While others have room, a server that is full is as it is meant to be.
        let waiting = if full.is_empty() { 0 } else { upstream.waiting };
        for (server, most) in full.into_iter().filter(|_| waiting > 0) {
            let title = server_title(&upstream.name, Some(&server.name));
            all.extend(limit(&format!("server/{title}"), server.open, most, waiting).map(|full| {
                full.remedy("add a server, or raise its max_connections by portcullis servers")
            }));
        }
    }
    for listener in &reading.listeners {
        let queue = &listener.accept_queue;
        if queue.limit > 0 && queue.waiting as f64 >= NEARLY * queue.limit as f64 {
            let (waiting, limit) = (thousands(queue.waiting), thousands(queue.limit));
            let words = format!("{waiting} of {limit} places of its accept queues are taken");
            all.push(
                trouble(Severity::Warning, format!("listener/{}", listener.name), words)
                    .remedy("more would be dropped by the kernel; see backlog"),
            );
        }
    }
    all
}

fn limit(subject: &str, used: u64, most: u64, waiting: u64) -> Option<Trouble> {
    let numbers = format!("{} / {}", thousands(used), thousands(most));
    let waiting = match waiting {
        0 => String::new(),
        1 => ", 1 client waits".to_owned(),
        many => format!(", {} clients wait", thousands(many)),
    };
    if used >= most {
        let words = format!("full: {numbers}{waiting}");
        return Some(trouble(Severity::Warning, subject, words));
    }
    let is_near = used as f64 >= NEARLY * most as f64;
    is_near.then(|| trouble(Severity::Info, subject, format!("nearly full: {numbers}")))
}

fn access_log(reading: &Reading) -> Option<Trouble> {
    let log = reading.access_log.as_ref()?;
    let lost = count(log.lost(), "line");
    let words = match &log.failing {
        Some(failing) => {
            let ago = reading.at_seconds - failing.since_seconds;
            let ago = span(Duration::try_from_secs_f64(ago).unwrap_or_default());
            format!("not written for {ago} ({}), {lost} lost", failing.because)
        }
        None if log.lost() > 0 => format!("{lost} lost"),
        None => return None,
    };
    Some(trouble(Severity::Warning, "access log", words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::reading::{AccessLog, Certificate, Failing, LastReload};
    use crate::summary::sample::reading;

    /// Each as a line.
    fn said(reading: &Reading) -> Vec<String> {
        let text = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
                    at_limit = \"reset\"\n\
                    [upstream.app]\nservers = [\"127.0.0.1:9000\"]\nall_down = \"refuse\"\n";
        let config = Config::parse(text, "test.toml", &|_| None).expect("a config");
        let line = |one: &Trouble| format!("{:?} {}: {}", one.severity, one.subject, one.words);
        troubles(reading, &config).iter().map(line).collect()
    }

    /// Without the full queue that the sample has.
    fn calm() -> Reading {
        let mut reading = reading();
        reading.listeners[1].accept_queue.waiting = 0;
        reading
    }

    #[test]
    fn a_certificate_that_expires_soon_is_named() {
        let mut reading = calm();
        let now = 1_000 * DAY_SECONDS;
        reading.at_seconds_since_1970 = Some(now as f64);
        let mut said_at = |not_after_seconds_since_1970| {
            reading.certificates = vec![Certificate {
                listener: "edge".to_owned(),
                file: "/a.pem".to_owned(),
                title: "a.example".to_owned(),
                not_after_seconds_since_1970,
            }];
            said(&reading)
        };
        let line = |severity: &str, when: &str| {
            format!("{severity} listener/edge: the certificate of a.example {when}: /a.pem")
        };
        assert_eq!(said_at(now + 7 * DAY_SECONDS), [""; 0]);
        let soon = line("Warning", "expires within 7 days");
        assert_eq!(said_at(now + 7 * DAY_SECONDS - 1), [soon]);
        assert_eq!(said_at(now), [line("Warning", "expires within 1 day")]);
        assert_eq!(said_at(now - 1), [line("Error", "has expired; clients refuse it")]);
    }

    #[test]
    fn all_is_well() {
        assert_eq!(said(&calm()), [""; 0]);
    }

    #[test]
    fn servers_that_do_not_serve_are_named_and_the_last_one_is_worse() {
        let mut now = calm();
        let app = &mut now.upstreams[0];
        app.servers[1].state = "ejected".to_owned();
        app.servers[1].because = Some("Connection refused (ECONNREFUSED)".to_owned());
        let one = "Warning server/app/127.0.0.1:9001: ejected: Connection refused \
                   (ECONNREFUSED)";
        assert_eq!(said(&now), [one]);
        let app = &mut now.upstreams[0];
        app.servers[0].state = "down".to_owned();
        now.upstreams[1].servers[0].up = 0;
        now.upstreams[1].servers[0].state = "maintenance".to_owned();
        let said = said(&now);
        let worst = "Error upstream/app: no server is left that serves: its clients are reset";
        assert_eq!((said.len(), &*said[0]), (3, worst));
    }

    #[test]
    fn limits_are_said_when_they_are_reached_and_when_they_are_near() {
        let mut now = calm();
        now.listeners[0].limit = Some(now.listeners[0].open);
        now.budget.used = now.budget.limit - 1;
        let full = "Warning listener/edge: full: 60,000 / 60,000, 12 clients wait";
        let near = "Info gateway: nearly full: 497,451 / 497,452";
        assert_eq!(said(&now), [full, near]);
        now.listeners[0].limit = None;
        now.budget.used = 0;
        now.listeners[1].accept_queue.waiting = 8_000;
        let queue =
            "Warning listener/devices: 8,000 of 8,190 places of its accept queues are taken";
        assert_eq!(said(&now), [queue]);
    }

    #[test]
    fn a_server_that_is_full_is_said_while_clients_wait_for_it() {
        let mut now = calm();
        let app = &mut now.upstreams[0];
        app.servers[0].limit = Some(app.servers[0].open);
        assert_eq!(said(&now), [""; 0], "the other has room");
        now.upstreams[0].waiting = 3;
        let full = "Warning server/app/127.0.0.1:9000: full: 30,000 / 30,000, 3 clients wait";
        assert_eq!(said(&now), [full]);
    }

    #[test]
    fn an_access_log_that_loses_lines_shows_and_since_when() {
        let mut now = calm();
        let log = |failed, failing| Some(AccessLog { written: 5, dropped: 0, failed, failing });
        now.access_log = log(0, None);
        assert_eq!(said(&now), [""; 0]);
        let since_seconds = now.at_seconds - 65.0;
        let because = "No space left on device".to_owned();
        now.access_log = log(1, Some(Failing { since_seconds, because }));
        let words = "Warning access log: not written for 1 min 5 s (No space left on device), \
                     1 line lost";
        assert_eq!(said(&now), [words]);
        now.access_log = log(1234, None);
        assert_eq!(said(&now), ["Warning access log: 1,234 lines lost"]);
    }

    #[test]
    fn a_worker_that_stands_still_and_a_refused_reload_are_said() {
        let mut now = calm();
        now.workers[1].silent_seconds = 7.4;
        now.config.last_reload = Some(LastReload { at_seconds_since_1970: 1.0, successful: false });
        let still = "Error worker/1: does not turn for 7 s; its 32,000 connections stand still";
        let reload = "Warning gateway: the last reload was refused; nothing has changed";
        assert_eq!(said(&now), [still, reload]);
    }
}
