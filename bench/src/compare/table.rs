//! Figures of a work as a table for a terminal.

use super::summary::{Spread, Standing};

/// A table: a title, a row for each target, a column for each figure.
pub(crate) fn render(standing: &Standing<'_>) -> String {
    let figures = &standing.work.figures;
    let mut cells = vec![vec![String::new()]];
    for figure in figures {
        cells[0].push(format!("{}, {}", figure.title, figure.unit));
    }
    let shows_ratio = (0..standing.rows.len()).any(|row| standing.ratio(row).is_some());
    if let Some((_, name)) = standing.reference.filter(|_| shows_ratio).zip(figures.first()) {
        cells[0].push(format!("portcullis ÷ this, {}", name.title));
    }
    for (row, (name, rounds)) in standing.rows.iter().enumerate() {
        let mut line = vec![name.clone()];
        line.extend((0..figures.len()).map(|figure| match rounds.spread(figure) {
            Some(spread) => spread_text(spread),
            None => "–".to_owned(),
        }));
        if shows_ratio {
            line.push(standing.ratio(row).map_or(String::new(), |ratio| format!("{ratio:.2}")));
        }
        cells.push(line);
    }
    let mut out = format!("{}: {}\n", standing.work.name, standing.work.title);
    out.push_str(&aligned(&cells));
    for (name, rounds) in &standing.rows {
        if let Some(remarks) = rounds.remarks() {
            out.push_str(&format!("  {name}: {remarks}\n"));
        }
    }
    out
}

/// The first figure of every target, in one line.
pub(crate) fn brief(standing: &Standing<'_>) -> String {
    let figure = standing.work.figures.first();
    let heading = figure.map_or(String::new(), |one| format!("{}, {}", one.title, one.unit));
    let one = |(name, rounds): &(String, &super::summary::Rounds)| {
        let median = rounds.spread(0).map_or("–".to_owned(), |spread| number(spread.median));
        let mark = if rounds.remarks().is_some() { "!" } else { "" };
        format!("{name} {median}{mark}")
    };
    let all: Vec<String> = standing.rows.iter().map(one).collect();
    format!("{} ({heading}): {}", standing.work.name, all.join(" · "))
}

/// Columns under each other: the first to the left, the others to the right.
fn aligned(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in cells {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn spread_text(spread: Spread) -> String {
    if spread.least == spread.most {
        return number(spread.median);
    }
    format!("{} ({}–{})", number(spread.median), number(spread.least), number(spread.most))
}

/// With three digits that say something, or all before the point.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let whole = |value: f64| {
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}{}", grouped(value.abs().round() as u64))
    };
    match size {
        _ if size >= 100.0 || value == value.round() => whole(value),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (64_012.0, "64,012"),
            (-1_500.2, "-1,500"),
            (1_000_000.0, "1,000,000"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_spread_says_its_ends_where_they_differ() {
        let spread = Spread { median: 2.0, least: 1.0, most: 3.5 };
        assert_eq!(spread_text(spread), "2 (1–3.50)");
        assert_eq!(spread_text(Spread { median: 2.0, least: 2.0, most: 2.0 }), "2");
    }
}
