//! A result as a table for people.

use std::fmt::Write;

use serde_json::Value;

use crate::number;
use crate::result::text;

/// Units of work, as results name them, and as people do.
const UNITS: [(&str, &str); 5] = [
    ("message", "messages"),
    ("connection", "connections"),
    ("probe", "probes"),
    ("gigabyte_up", "GB up"),
    ("gigabyte_down", "GB down"),
];
/// Percentiles of a latency.
const PERCENTILES: [(&str, &str); 5] =
    [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max")];
/// The width of the first column.
const HEAD: usize = 24;

/// The table, with a line end behind each line.
pub(super) fn of(result: &Value) -> String {
    let mut out = String::new();
    let valid = result["valid"] == true;
    let measured = &result[if valid { "measured" } else { "discarded" }];
    let ending = match (result["good"] == true, valid, result["interrupted"] == true) {
        (false, ..) => "failed",
        (true, false, _) => "good, but its figures are invalid",
        (true, true, true) => "good, interrupted",
        (true, true, false) => "good",
    };
    line(&mut out, text(&result["scenario"]).as_str(), ending);
    line(&mut out, "asked", &pairs(&result["asked"]));
    rates(&mut out, result, measured);
    cpu(&mut out, result, measured);
    latencies(&mut out, &measured["latency_us"]);
    numbers(&mut out, "counts", &result["counts"]);
    numbers(&mut out, "FAILURES", &result["failures"]);
    for because in result["invalid_because"].as_array().into_iter().flatten() {
        line(&mut out, "INVALID", &text(because));
    }
    if let Some(hint) = result["hint"].as_str() {
        line(&mut out, "HINT", hint);
    }
    out
}

fn line(out: &mut String, head: &str, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{head:<HEAD$}  {words}");
}

fn pairs(object: &Value) -> String {
    let all = object.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let words = all.map(|(key, value)| format!("{} {}", key.replace('_', " "), text(value)));
    words.collect::<Vec<_>>().join(" · ")
}

/// How much was done, and how much in a second; of messages also how many bytes.
fn rates(out: &mut String, result: &Value, measured: &Value) {
    for (unit, words) in UNITS {
        let Some(count) = measured[format!("{unit}s")].as_f64() else { continue };
        let rate = measured[format!("{unit}s_per_second")].as_f64().unwrap_or(0.0);
        let figures = format!("{}, {}/s", number::alone(count), number::alone(rate.round()));
        let figures =
            if unit.starts_with("gigabyte") { format!("{count:.3}, {rate:.3}/s") } else { figures };
        line(out, words, &figures);
        if let ("message", Some(each)) = (unit, result["asked"]["bytes"].as_f64()) {
            let bytes = |count: f64| number::bytes((count * each) as u64);
            line(out, "bytes each way", &format!("{}, {}/s", bytes(count), bytes(rate)));
        }
    }
    if let Some(up) = result["counts"]["up"].as_u64() {
        let down = result["counts"]["down"].as_u64().unwrap_or(0);
        line(out, "bytes", &format!("{} up, {} down", number::bytes(up), number::bytes(down)));
    }
}

fn cpu(out: &mut String, result: &Value, measured: &Value) {
    let each = UNITS.iter().find_map(|(unit, words)| {
        let each = measured[format!("target_cpu_us_per_{unit}")].as_f64()?;
        Some(format!(", {} µs each of the {words}", number::alone(each)))
    });
    let words = match measured["target_cpu_seconds"].as_f64() {
        Some(seconds) => format!("{seconds:.3} s{}", each.unwrap_or_default()),
        None => "not measured: give --target-pid".to_owned(),
    };
    line(out, "CPU of the target", &words);
    if let Some(ran) = result["own"]["busiest_thread_ran"].as_f64() {
        line(out, "generator", &format!("its busiest thread ran {:.0} % of the time", ran * 100.0));
    }
}

fn latencies(out: &mut String, all: &Value) {
    let Some(all) = all.as_object().filter(|all| !all.is_empty()) else { return };
    let columns = PERCENTILES.map(|(_, title)| format!("{title:>10}")).concat();
    line(out, "latency, µs", &format!("{:>10}{columns}", "count"));
    for (of, one) in all {
        let cell =
            |key: &str| one[key].as_f64().map_or("–".to_owned(), |of| number::fixed(of, 0));
        let figures = PERCENTILES.map(|(key, _)| format!("{:>10}", cell(key))).concat();
        let name = format!("  {}", of.replace('_', " "));
        line(out, &name, &format!("{:>10}{figures}", cell("count")));
    }
}

fn numbers(out: &mut String, title: &str, object: &Value) {
    for (index, (what, count)) in object.as_object().into_iter().flatten().enumerate() {
        let count = count.as_f64().map_or_else(|| text(count), |count| number::fixed(count, 0));
        line(out, if index == 0 { title } else { "" }, &format!("{count:>12}  {what}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rate_percentiles_bytes_and_cpu_are_there() {
        let table = of(&json!({
            "scenario": "pingpong", "good": true, "valid": true, "interrupted": false,
            "asked": {"connections": 10, "bytes": 64},
            "counts": {"answered": 2048}, "failures": {}, "own": {"busiest_thread_ran": 0.5},
            "measured": {
                "messages": 2048.0, "messages_per_second": 1024.0, "target_cpu_seconds": 0.25,
                "target_cpu_us_per_message": 122.0,
                "latency_us": {"message": {"count": 2048, "p50": 11.0, "p90": 12.0, "p99": 1234.5,
                    "p999": 14.0, "max": 15.0}},
            },
        }));
        for words in ["2,048, 1,024/s", "128 KiB, 64.0 KiB/s", "0.250 s, 122 µs", "1,234"] {
            assert!(table.contains(words), "{words}: {table}");
        }
        assert!(!table.contains("FAILURES") && !table.contains("INVALID"), "{table}");
        let table = of(&json!({
            "scenario": "bulk", "good": false, "valid": false, "invalid_because": ["why not"],
            "failures": {"open: refused": 3}, "discarded": {}, "hint": "look there",
        }));
        for words in ["failed", "3  open: refused", "why not", "look there", "--target-pid"] {
            assert!(table.contains(words), "{words}: {table}");
        }
    }
}
