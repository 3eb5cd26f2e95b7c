//! Connections as a table for a terminal: short durations and sizes, aligned, no wider than needed.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

/// What a terminal has at least.
const TERMINAL_COLUMNS: usize = 80;

/// A column's head, and whether its values are numbers, which stand to the right.
const HEADS: [(&str, bool); 9] = [
    ("ID", false),
    ("CLIENT", false),
    ("LISTENER", false),
    ("SERVER", false),
    ("STATE", false),
    ("IDLE", true),
    ("AGE", true),
    ("UP", true),
    ("DOWN", true),
];

/// The rows of an answer as a table, and a line that says of how many.
pub fn table(answer: &Value) -> String {
    let rows: Vec<[String; HEADS.len()]> =
        answer["rows"].as_array().into_iter().flatten().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let wide = widths.iter().sum::<usize>() + 2 * (HEADS.len() - 1) > TERMINAL_COLUMNS;
    let gap = if wide { " " } else { "  " };
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(HEADS).zip(&widths).map(|((cell, (_, right)), width)| {
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        format!("{}\n", padded.collect::<Vec<_>>().join(gap).trim_end())
    };
    let mut text = String::new();
    if !rows.is_empty() {
        text += &line(&HEADS.map(|(head, _)| head));
        rows.iter().for_each(|row| text += &line(&row.each_ref().map(String::as_str)));
    }
    text + &summary(answer, rows.len())
}

fn summary(answer: &Value, shown: usize) -> String {
    let (matched, open) = (number(&answer["matched"]), number(&answer["open"]));
    let mut text = format!("{shown} shown, {matched} matched, {open} open");
    if number(&answer["nameless"]) > 0 {
        text += "\nsome addresses are not known: they need Linux 6.8 and a free descriptor";
    }
    text
}

fn cells(row: &Value) -> [String; HEADS.len()] {
    let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let server = match row["server"].as_str() {
        Some(server) => format!("{}/{server}", word("upstream")),
        None => word("upstream"),
    };
    let time = |key: &str| short(Duration::from_millis(number(&row[key])));
    let size = |key: &str| size(number(&row[key]));
    [
        word("id"),
        word("client"),
        word("listener"),
        server,
        word("state"),
        time("idle_millis"),
        time("age_millis"),
        size("to_upstream_bytes"),
        size("to_client_bytes"),
    ]
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A duration in its largest unit, rounded down.
fn short(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..=59 => format!("{seconds}s"),
        seconds @ 60..=3599 => format!("{}m", seconds / 60),
        seconds @ 3600..=86_399 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A size as people read it: 1.2 MiB.
fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: &str, client: &str, server: Option<&str>) -> Value {
        json!({
            "id": id, "client": client, "listener": "edge", "upstream": "app", "server": server,
            "state": "joined", "idle_millis": 350, "age_millis": 7_200_000,
            "to_upstream_bytes": 1_258_291, "to_client_bytes": 7,
        })
    }

    #[test]
    fn columns_are_aligned_and_as_wide_as_they_must_be() {
        let rows =
            [row("0-5-1", "10.0.0.1:2", Some("a")), row("1-16-22", "10.0.0.100:65535", None)];
        let text = table(&json!({ "matched": 7, "open": 9, "nameless": 0, "rows": rows }));
        assert_eq!(
            text,
            "ID       CLIENT            LISTENER  SERVER  STATE    IDLE  AGE       UP  DOWN\n\
             0-5-1    10.0.0.1:2        edge      app/a   joined  350ms   2h  1.2 MiB   7 B\n\
             1-16-22  10.0.0.100:65535  edge      app     joined  350ms   2h  1.2 MiB   7 B\n\
             2 shown, 7 matched, 9 open"
        );
        assert!(text.lines().all(|line| line.len() <= TERMINAL_COLUMNS));
    }

    #[test]
    fn a_wide_table_has_narrow_gaps_and_an_empty_one_no_head() {
        let wide = row("0-5-1", "[2001:db8:1:2:3:4:5:6]:65535", Some("10.0.0.1:8080"));
        let text = table(&json!({ "matched": 1, "open": 1, "nameless": 1, "rows": [wide] }));
        assert!(text.contains("65535 edge     app/10.0.0.1:8080 joined"), "{text}");
        assert!(text.contains("Linux 6.8"), "{text}");
        assert_eq!(table(&json!({ "matched": 0, "open": 3 })), "0 shown, 0 matched, 3 open");
    }

    #[test]
    fn a_duration_is_said_in_its_largest_unit() {
        for (millis, said) in [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (300_000, "5m"),
            (3_600_000, "1h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), said);
        }
    }
}
