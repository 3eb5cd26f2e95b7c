//! What readings are said to mean.

use super::sample::{later, reading};
use crate::metrics::Reading;
use crate::metrics::reading::{Event, Severity, Trouble, UpgradeProgress};

use super::{Cell, Summary, Table, screenful};

fn cell<'a>(table: &'a Table, key: &str, title: &str) -> &'a Cell {
    let column = table.heads.iter().position(|head| head.title == title).expect("a column");
    &table.rows.iter().find(|row| row.key == key).expect("a row").cells[column]
}

#[test]
fn rates_are_of_two_readings_of_one_process() {
    let summary = Summary::of(&later(), Some(&reading()));
    assert_eq!(*cell(&summary.listeners, "0", "accepts/s"), Cell::Rate(Some(1234.5)));
    assert_eq!(*cell(&summary.listeners, "1", "accepts/s"), Cell::Rate(Some(0.0)));
    assert_eq!(*cell(&summary.servers, "1", "joins/s"), Cell::Rate(Some(1234.5)));
    // A reason that had not come before counts from nothing.
    assert_eq!(*cell(&summary.endings, "idle", "per second"), Cell::Rate(Some(4.0)));
    assert_eq!(summary.figures[0].1, Cell::Rate(Some(1234.5)));
    let mut other = reading();
    other.process.start_time_seconds = Some(2_000_000.0);
    for earlier in [None, Some(&other), Some(&later())] {
        let summary = Summary::of(&later(), earlier);
        assert_eq!(*cell(&summary.listeners, "0", "accepts/s"), Cell::Rate(None));
        assert!(summary.figures[0].1.is_unknown());
    }
}

#[test]
fn sums_and_shares_are_those_of_the_reading() {
    let summary = Summary::of(&reading(), None);
    assert_eq!(summary.connections, Cell::Share { used: 63_000, all: 497_452 });
    assert_eq!(cell(&summary.workers, "1", "balance").text(), "+2 %");
    assert_eq!(*cell(&summary.workers, "0", "buffers"), Cell::Share { used: 24, all: 1024 });
    assert_eq!(*cell(&summary.servers, "1", "failed"), Cell::Count(77));
    assert_eq!(*cell(&summary.endings, "closed-by-client", "connections"), Cell::Count(126_000));
    assert_eq!(*cell(&summary.endings, "refused: gateway-limit", "connections"), Cell::Count(252));
    assert!(!summary.endings.rows.iter().any(|row| ["idle", "refused"].contains(&&*row.key)));
    assert_eq!(summary.builtins, ["probe"]);
}

#[test]
fn a_listener_at_its_limit_is_marked() {
    let mut now = reading();
    now.listeners[0].limit = Some(60_001);
    now.listeners[1].limit = Some(3_000);
    let summary = Summary::of(&now, None);
    assert_eq!(cell(&summary.listeners, "0", "listener").text(), "edge");
    assert_eq!(cell(&summary.listeners, "1", "listener").text(), "devices (full)");
}

#[test]
fn a_server_shows_its_limit_and_whether_it_is_a_backup() {
    let mut now = reading();
    let server = &mut now.upstreams[0].servers[1];
    (server.limit, server.backup) = (Some(40_000), true);
    let summary = Summary::of(&now, None);
    assert_eq!(cell(&summary.servers, "0", "server").text(), "app/127.0.0.1:9000");
    assert_eq!(cell(&summary.servers, "0", "open").text(), "30,000");
    assert_eq!(cell(&summary.servers, "1", "server").text(), "app/127.0.0.1:9001 (backup)");
    assert_eq!(cell(&summary.servers, "1", "open").text(), "30,000 / 40,000");
    // Its rates are those of the same server, whatever stands beside its name.
    let mut then = now.clone();
    then.at_seconds -= 2.0;
    let summary = Summary::of(&now, Some(&then));
    assert_eq!(*cell(&summary.servers, "1", "joins/s"), Cell::Rate(Some(0.0)));
}

#[test]
fn each_trouble_is_a_line_with_what_to_do() {
    let mut now = reading();
    now.troubles = vec![Trouble {
        severity: Severity::Warning,
        subject: "listener/edge".to_owned(),
        words: "it is full".to_owned(),
        since_seconds_since_1970: None,
        remedy: Some("raise it".to_owned()),
    }];
    let text = screenful(&Summary::of(&now, None), None);
    assert!(text.contains("\nlistener/edge: it is full (raise it)\n"), "{text}");
}

#[test]
fn the_last_five_events_come_last_and_fit_a_terminal() {
    let mut now = reading();
    assert!(!screenful(&Summary::of(&now, None), None).contains("last events"));
    now.events = (1..=7)
        .map(|nth| Event {
            at: format!("2026-11-29T15:00:0{nth}Z"),
            severity: if nth == 7 { Severity::Warning } else { Severity::Info },
            subject: "listener/edge".to_owned(),
            words: format!("the {nth}th\u{1b}[2J"),
        })
        .collect();
    let text = screenful(&Summary::of(&now, None), None);
    let (_, events) = text.split_once("\n\nlast events\n").expect("they are there");
    let lines: Vec<&str> = events.lines().collect();
    assert_eq!(lines[0], "2026-11-29T15:00:03Z  listener/edge: the 3th\\u{1b}[2J");
    assert_eq!((lines.len(), &lines[4][22..37]), (5, "warning: listen"));
    let narrow = screenful(&Summary::of(&now, None), Some(40));
    assert_eq!(narrow.lines().last(), Some("2026-11-29T15:00:07Z  warning: listener…"));
}

#[test]
fn a_worker_that_stands_still_and_a_drain_show() {
    let mut reading = reading();
    reading.workers[1].silent_seconds = 7.2;
    reading.drain.draining = true;
    reading.drain.deadline_seconds = Some(reading.at_seconds + 12.0);
    let text = screenful(&Summary::of(&reading, None), None);
    assert!(text.contains("silent for 7 s"), "{text}");
    assert!(text.contains("draining, ends within 12 s"), "{text}");
}

#[test]
fn an_upgrade_says_how_far_it_is_until_a_drain_begins() {
    let mut reading = reading();
    let (step, moved, left) = ("move".to_owned(), 34_000, 29_000);
    let successor = Some(4711);
    reading.upgrade = Some(UpgradeProgress { step, seconds: 0.5, successor, moved, left });
    let first = |reading: &_| screenful(&Summary::of(reading, None), None);
    let line = "portcullis 0.1.0, upgrading, move, 34,000 moved, 29,000 left, up 3 h 12 min";
    assert_eq!(first(&reading).lines().next(), Some(line));
    reading.drain.draining = true;
    assert!(first(&reading).starts_with("portcullis 0.1.0, draining, up"));
}

#[test]
fn every_value_is_of_the_kind_that_its_head_says() {
    let summary = Summary::of(&later(), Some(&reading()));
    for table in summary.tables() {
        for row in &table.rows {
            assert_eq!(row.cells.len(), table.heads.len());
            for (head, cell) in table.heads.iter().zip(&row.cells) {
                assert_eq!(head.kind, cell.kind(), "{}: {}", table.title, head.title);
            }
        }
    }
    assert!(summary.figures.iter().all(|(head, cell)| head.kind == cell.kind()));
}

#[test]
fn a_screenful_has_columns_and_says_rates_only_where_they_are_known() {
    let text = screenful(&Summary::of(&reading(), None), None);
    println!("{text}");
    assert!(text.contains("63,000 / 497,452 (13 %), bound by fs.file-max"), "{text}");
    assert!(!text.contains("/s") && !text.contains('–'), "{text}");
    assert!(text.lines().count() <= 24, "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("127.0.0.1:900")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert_eq!(rows[0].find("30,000"), rows[1].find("30,000"), "{text}");
    let text = screenful(&Summary::of(&later(), Some(&reading())), None);
    assert!(text.contains("accepts/s") && text.contains("38.1 MiB"), "{text}");
    assert!(text.contains("127.0.0.1:9001"), "{text}");
    let text = screenful(&Summary::of(&later(), Some(&reading())), Some(80));
    println!("{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("app/127.0.0.1:9001") && text.contains("7,900 / 8,190"), "{text}");
}

#[test]
fn a_gateway_without_connections_has_no_balance() {
    let mut reading = reading();
    reading.workers.iter_mut().for_each(|worker| worker.open = 0);
    let text = screenful(&Summary::of(&reading, None), None);
    assert!(!text.contains("balance") && !text.contains('–'), "{text}");
}

#[test]
fn servers_come_before_listeners_while_one_is_in_trouble() {
    let mut now = reading();
    now.upstreams[0].servers[1].up = 0;
    let first = |now: &Reading| {
        let summary = Summary::of(now, None);
        summary.order().map(|place| summary.tables()[place].title)[1]
    };
    // As where an operator took it out.
    assert_eq!(first(&now), "Listeners");
    for (subject, title) in [
        ("listener/edge", "Listeners"),
        ("server/app/127.0.0.1:9001", "Servers"),
        ("upstream/app", "Servers"),
    ] {
        now.troubles = vec![Trouble {
            severity: Severity::Warning,
            subject: subject.to_owned(),
            words: "it is wrong".to_owned(),
            since_seconds_since_1970: None,
            remedy: None,
        }];
        assert_eq!(first(&now), title, "{subject}");
    }
}

#[test]
fn what_an_operator_took_out_is_marked() {
    let mut reading = reading();
    reading.listeners[1].paused = true;
    reading.upstreams[0].servers[1].state = "drain".to_owned();
    let text = screenful(&Summary::of(&reading, None), Some(80));
    assert!(text.contains("devices (paused) "), "{text}");
    assert!(text.contains("app/127.0.0.1:9001  drain "), "{text}");
    assert!(!text.contains("edge (") && !text.contains("9000 ("), "{text}");
}

#[test]
fn tls_is_shown_where_a_listener_has_it() {
    let without = screenful(&Summary::of(&later(), Some(&reading())), None);
    assert!(!without.contains("TLS"), "{without}");
    let with = |reading: &mut Reading| {
        let devices = &mut reading.listeners[1];
        (devices.tls, devices.tls_handshakes, devices.tls_resumed) = (true, 12_000, 9_000);
        devices.tls_faults = [("forged", 1), ("not-tls", 0), ("unknown-name", 44)]
            .map(|(word, count)| (word.into(), count))
            .into();
        let worker = &mut reading.workers[0];
        (worker.sessions, worker.sessions_awake) = (3_000, 40);
        (worker.handshaking, worker.handshakes_waiting) = (7, 2);
    };
    let (mut then, mut now) = (reading(), later());
    with(&mut then);
    with(&mut now);
    now.listeners[1].tls_handshakes += 300;
    let summary = Summary::of(&now, Some(&then));
    assert_eq!(*cell(&summary.tls, "0", "handshakes/s"), Cell::Rate(Some(150.0)));
    assert_eq!(*cell(&summary.tls, "0", "failed"), Cell::Count(45));
    assert_eq!(cell(&summary.tls, "0", "most often").text(), "unknown-name 44, forged 1");
    assert_eq!(summary.tls.rows.len(), 1, "the other listener has none");
    let text = screenful(&summary, None);
    for figure in ["TLS handshakes/s 150", "under way 7", "waiting 2", "awake 40", "asleep 2,960"] {
        assert!(text.contains(figure), "{figure}: {text}");
    }
}
