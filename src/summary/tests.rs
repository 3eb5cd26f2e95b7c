//! What readings are said to mean.

use super::sample::{later, reading};
use crate::metrics::reading::{AccessLog, Failing};

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
    assert_eq!(*cell(&summary.endings, "closed", "connections"), Cell::Count(126_000));
    assert_eq!(*cell(&summary.endings, "refused: gateway-limit", "connections"), Cell::Count(252));
    assert!(!summary.endings.rows.iter().any(|row| ["idle", "refused"].contains(&&*row.key)));
    assert_eq!(summary.builtins, ["probe"]);
}

#[test]
fn an_access_log_that_loses_lines_shows_and_since_when() {
    let mut now = reading();
    let log = |failed, failing| Some(AccessLog { written: 5, dropped: 0, failed, failing });
    now.access_log = log(0, None);
    assert_eq!(Summary::of(&now, None).troubles, [""; 0]);
    let since_seconds = now.at_seconds - 65.0;
    let because = "No space left on device".to_owned();
    now.access_log = log(1, Some(Failing { since_seconds, because }));
    let words = "access log: not written for 1 min 5 s (No space left on device), 1 line lost";
    assert_eq!(Summary::of(&now, None).troubles, [words]);
    now.access_log = log(1234, None);
    let text = screenful(&Summary::of(&now, None), None);
    assert!(text.contains("\naccess log: 1,234 lines lost\n"), "{text}");
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
fn what_an_operator_took_out_is_marked() {
    let mut reading = reading();
    reading.listeners[1].paused = true;
    reading.upstreams[0].servers[1].weight = 0;
    let text = screenful(&Summary::of(&reading, None), Some(80));
    assert!(text.contains("devices (paused) "), "{text}");
    assert!(text.contains("app/127.0.0.1:9001 (drains) "), "{text}");
    assert!(!text.contains("edge (") && !text.contains("9000 ("), "{text}");
}
