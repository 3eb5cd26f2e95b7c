//! Figures of a work as a table for a terminal.

use super::page::{Cell, Mark};
use super::series::{ratio, spread_cells};
use super::statistics::{Row, Work};
use crate::number;
use crate::result::Outcome;

/// A table: a title, a row for each target, a column for each figure.
pub(crate) fn table(work: &Work<'_>) -> String {
    let mut columns = vec![vec![String::new()]];
    columns[0].extend(work.rows.iter().map(|row| name(work, row)));
    for figure in &work.figures {
        let cells = spread_cells(work, figure);
        let head = std::iter::once(format!("{}, {}", figure.title, figure.unit()));
        columns.push(head.chain(cells.iter().map(text)).collect());
    }
    if let Some(figure) = work.figures.first() {
        let ratios: Vec<String> = work.rows.iter().map(|row| ratio(work, figure, row)).collect();
        if ratios.iter().any(|ratio| !ratio.is_empty()) {
            let head = format!("this ÷ portcullis, {}", figure.title);
            columns.push(std::iter::once(head).chain(ratios).collect());
        }
    }
    let mut out = format!("{}: {}\n", work.id, work.title);
    out.push_str(&aligned(&columns));
    for row in &work.rows {
        if let Some(remarks) = remarks(row) {
            out.push_str(&format!("  {}: {remarks}\n", name(work, row)));
        }
    }
    out
}

/// The first figure of every target, in one line.
pub(crate) fn brief(work: &Work<'_>) -> String {
    let Some(figure) = work.figures.first() else { return work.id.to_owned() };
    let one = |row: &Row<'_>| {
        let spread = row.spread(&figure.pointer);
        let median = spread.map_or("–".to_owned(), |spread| number::alone(spread.median));
        let mark = if remarks(row).is_some() { "!" } else { "" };
        format!("{} {median}{mark}", name(work, row))
    };
    let all: Vec<String> = work.rows.iter().map(one).collect();
    format!("{} ({}, {}): {}", work.id, figure.title, figure.unit(), all.join(" · "))
}

/// Failures by name.
pub(crate) fn named<'a>(failures: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let one = |(what, count): (&str, u64)| format!("{count} × {what}");
    failures.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A target with its version, or a sweep's key with its value.
fn name(work: &Work<'_>, row: &Row<'_>) -> String {
    match work.key {
        Some(key) => format!("{key} = {}", row.label),
        None => format!("{} {}", row.label, row.version).trim_end().to_owned(),
    }
}

/// What is to be known of a row's rounds beside the figures.
fn remarks(row: &Row<'_>) -> Option<String> {
    let (all, counted) = (row.rounds.len(), row.counted().count());
    let number = |of: fn(&Outcome) -> bool| row.rounds.iter().filter(|(_, one)| of(one)).count();
    let failed = number(Outcome::failed);
    let invalid = number(|one| !one.failed() && one.doubt().is_some());
    let mut remarks = Vec::new();
    if failed > 0 {
        remarks.push(format!("failed {failed} of {all}: {}", named(row.failures())));
    }
    if invalid > 0 {
        remarks.push(format!("{invalid} of {all} invalid"));
    }
    if counted < all && counted > 0 {
        remarks.push(format!("figures of {counted}"));
    }
    (!remarks.is_empty()).then(|| remarks.join("; "))
}

fn text(cell: &Cell) -> String {
    let star = if cell.mark == Mark::Best { "★ " } else { "" };
    let note = if cell.note.is_empty() { String::new() } else { format!(" ({})", cell.note) };
    format!("{star}{}{note}", cell.text)
}

/// Columns beside each other: the first to the left, the others to the right.
fn aligned(columns: &[Vec<String>]) -> String {
    let rows = columns.first().map_or(0, Vec::len);
    let width = |column: &Vec<String>| column.iter().map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = columns.iter().map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in 0..rows {
        let mut line = format!("  {:<1$}", columns[0][row], widths[0]);
        for (column, width) in columns.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {:>width$}", column[row]));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::result::Input;

    /// A round of a target: what it cost per connection, whether it is valid, and what failed.
    fn line(target: &str, micros: f64, valid: bool, failures: Value) -> Value {
        let part = if valid { "measured" } else { "discarded" };
        let good = failures == json!({});
        json!({
            "schema": 2, "scenario": "churn", "good": good, "valid": valid, "failures": failures,
            part: {"target_cpu_us_per_connection": micros},
            "run": {
                "work": "churn", "title": "many", "target": target, "round": 1, "rounds": 1,
                "version": "1", "figures": [{
                    "pointer": "/measured/target_cpu_us_per_connection", "title": "CPU",
                    "unit": "µs", "better": "less",
                }],
            },
        })
    }

    /// The table of such lines, and their line.
    fn told(lines: &[Value]) -> (String, String) {
        let mut input = Input::default();
        for line in lines {
            input.take("test", line.clone(), 0).expect("a result");
        }
        let works = Work::all(&input.series[0]);
        (table(&works[0]), brief(&works[0]))
    }

    #[test]
    fn what_is_invalid_never_counts_and_is_told() {
        let all = [(3.0, true), (900.0, false), (1.0, true), (2.0, true)];
        let lines = all.map(|(micros, valid)| line("nginx", micros, valid, json!({})));
        let (table, line) = told(&lines);
        let expected = [
            "churn: many",
            "           CPU, µs",
            "  nginx 1  2 (1–3)",
            "  nginx 1: 1 of 4 invalid; figures of 3",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
        assert_eq!(line, "churn (CPU, µs): nginx 1 2!");
    }

    #[test]
    fn failures_are_the_target_s_and_are_named() {
        let failing = json!({"message: reset (RST)": 2});
        let (table, _) =
            told(&[line("a", 3.0, true, failing.clone()), line("a", 4.0, true, failing)]);
        assert!(table.contains("✗ 3.50 (3.00–4.00)"), "{table}");
        assert!(table.ends_with("  a 1: failed 2 of 2: 4 × message: reset (RST)\n"), "{table}");
    }

    #[test]
    fn a_ratio_is_of_the_first_figure_and_to_portcullis() {
        let of = |target, micros| line(target, micros, true, json!({}));
        let (table, _) = told(&[of("portcullis", 30.0), of("nginx", 60.0)]);
        let last: Vec<&str> =
            table.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(last, ["many", "CPU", "30", "2×"], "{table}");
    }
}
