//! What upgrades under load came to, for people.

use std::fmt::Write;

use serde_json::Value;

use crate::number;
use crate::result::text;

/// The width of the first column.
const HEAD: usize = 26;
/// Rows of latency: what results call them, and what they are.
const LATENCIES: [(&str, &str); 4] = [
    ("message", "outside"),
    ("message_in_window", "in the window"),
    ("message_while_moving", "while connections moved"),
    ("new", "newcomers, outside"),
];
const PERCENTILES: [&str; 3] = ["p50", "p99", "max"];

/// One upgrade in a line.
pub(super) fn line(name: &str, one: &Value) -> String {
    let answer = &one["answer"];
    let said = answer["words"].as_str().unwrap_or("no answer");
    format!(
        "{name} {}: {said}; held lost so far {}, failures so far {}",
        one["number"], one["held_lost"], one["failed"]
    )
}

/// The table, with a line end behind each line.
pub(super) fn table(result: &Value) -> String {
    let mut out = String::new();
    let valid = result["valid"] == true;
    let measured = &result[if valid { "measured" } else { "discarded" }];
    let ending = match (result["good"] == true, valid) {
        (false, _) => "FAILED",
        (true, false) => "good, but its latencies are invalid",
        (true, true) => "good",
    };
    row(&mut out, "upgrade", ending);
    lives(&mut out, &result["counts"]);
    for one in measured["upgrades"].as_array().into_iter().flatten() {
        upgrade(&mut out, one);
    }
    latencies(&mut out, measured);
    if let Some(gap) = measured["longest_accept_gap_ms"].as_f64() {
        row(&mut out, "longest gap of accepts", &format!("{gap:.1} ms"));
    }
    for (head, what) in [("before", "gateway_before"), ("after", "gateway_after")] {
        row(&mut out, &format!("gateway {head}"), &footprint(&measured[what]));
    }
    for (index, (what, count)) in result["failures"].as_object().into_iter().flatten().enumerate() {
        row(&mut out, if index == 0 { "FAILURES" } else { "" }, &format!("{count} × {what}"));
    }
    for because in result["invalid_because"].as_array().into_iter().flatten() {
        row(&mut out, "INVALID", &text(because));
    }
    out
}

fn row(out: &mut String, head: &str, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{head:<HEAD$}  {words}");
}

fn lives(out: &mut String, counts: &Value) {
    let count = |what: &str| number::alone(counts[what].as_f64().unwrap_or(0.0));
    let bytes = |what: &str| number::bytes(counts[what].as_u64().unwrap_or(0));
    let held = format!(
        "{} opened, {} right afterwards, {} lost",
        count("held_opened"),
        count("held_checked"),
        count("held_lost")
    );
    row(out, "held connections", &held);
    row(out, "messages", &count("messages"));
    row(out, "newcomers", &format!("{} served, {} lost", count("new_served"), count("new_lost")));
    let streams = format!(
        "{} bulk, {} to slow readers, {} after FIN ({} whole)",
        bytes("bulk_bytes"),
        bytes("slow_bytes"),
        bytes("halfclose_bytes"),
        count("half_closed_whole")
    );
    row(out, "streamed and right", &streams);
    let with = ["held_lost_with_a_successor", "lost_with_a_successor"].map(&count);
    if with.iter().any(|count| count != "0") {
        let words = format!("{} held and asked meanwhile, {} others", with[0], with[1]);
        row(out, "lost with a killed one", &words);
    }
}

fn upgrade(out: &mut String, one: &Value) {
    let killed = if one["killed"].is_null() { "" } else { ", killed" };
    let head = format!("upgrade {}{killed}", one["number"]);
    let answer = &one["answer"];
    if answer.is_null() {
        return row(out, &head, "no answer");
    }
    let of =
        |value: &Value| value.as_f64().map_or("–".to_owned(), |value| format!("{value:.2} s"));
    let words = format!(
        "{}: {} moved, {} ended, {} lost; moving {}, request to commit {}",
        if answer["committed"] == true { "committed" } else { "taken back" },
        text(&answer["moved"]),
        text(&answer["ended"]),
        text(&answer["lost"]),
        of(&one["moving_seconds"]),
        of(&one["request_to_commit_seconds"])
    );
    row(out, &head, &words);
    for (head, what) in [("before", "before"), ("at most", "peak"), ("after", "after")] {
        row(out, &format!("  {head}"), &footprint(&one[what]));
    }
}

fn footprint(of: &Value) -> String {
    let bytes = |what: &str| number::bytes(of[what].as_u64().unwrap_or(0));
    let count = of["processes"].as_u64().unwrap_or(0);
    let processes = if count == 1 { "1 process".to_owned() } else { format!("{count} processes") };
    format!(
        "{processes}, {} PSS, {} RSS, {} descriptors",
        bytes("pss_bytes"),
        bytes("rss_bytes"),
        of["descriptors"]
    )
}

fn latencies(out: &mut String, measured: &Value) {
    let titles = PERCENTILES.map(|title| format!(" {title:>10}")).concat();
    row(out, "latency of messages, µs", &format!("{:>10}{titles}", "count"));
    for (of, words) in LATENCIES.into_iter().chain([("new_in_window", "newcomers, in the window")])
    {
        let one = &measured["latency_us"][of];
        if one.is_null() {
            continue;
        }
        let cell = |key: &str| {
            let value = one[key].as_f64();
            format!("{:>10}", value.map_or("–".to_owned(), |value| number::fixed(value, 0)))
        };
        let figures = PERCENTILES.map(cell).map(|cell| format!(" {cell}")).concat();
        row(out, &format!("  {words}"), &format!("{}{figures}", cell("count")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_lost_and_what_it_took_are_there() {
        let taken = |processes: u32| {
            json!({
                "processes": processes, "pss_bytes": 1024, "rss_bytes": 2048, "descriptors": 7,
            })
        };
        let result = json!({
            "good": false, "valid": true, "failures": {"held, idle: reset (RST)": 3},
            "counts": {"held_opened": 10, "held_checked": 7, "held_lost": 3, "new_served": 5},
            "measured": {
                "longest_accept_gap_ms": 12.5,
                "latency_us": {
                    "message_in_window": {"count": 4, "p50": 1.0, "p99": 2.0, "max": 3.0},
                },
                "gateway_before": taken(1), "gateway_after": taken(1),
                "upgrades": [{
                    "number": 1, "killed": null, "moving_seconds": 0.25,
                    "request_to_commit_seconds": 2.5,
                    "answer": {"committed": true, "moved": 10, "ended": 1, "lost": 0},
                    "before": taken(1), "peak": taken(2), "after": taken(1),
                }],
            },
        });
        let table = table(&result);
        for words in [
            "FAILED",
            "10 opened, 7 right afterwards, 3 lost",
            "committed: 10 moved, 1 ended, 0 lost; moving 0.25 s, request to commit 2.50 s",
            "2 processes, 1.0 KiB PSS, 2.0 KiB RSS, 7 descriptors",
            "3 × held, idle: reset (RST)",
            "12.5 ms",
        ] {
            assert!(table.contains(words), "{words}: {table}");
        }
    }
}
