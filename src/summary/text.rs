//! Tables as lines of text, and the screenful of them that `portcullis status` prints.

use std::fmt::Write;
use std::ops::Range;

use super::{Kind, Said, Summary, Table, span};

/// Where figures break when no terminal says otherwise.
const COLUMNS: usize = 80;
/// Between figures.
pub const FIGURE_GAP: usize = 3;
/// The events that a screenful has.
const EVENTS: usize = 5;
/// Between columns.
const GAP: usize = 2;

/// Everything in lines of text; rates where they are known. A terminal's `width` leaves out what is
/// least telling.
pub fn screenful(summary: &Summary, width: Option<usize>) -> String {
    let mut text = String::new();
    let up = span(summary.up);
    let _ = writeln!(text, "portcullis {}, {}, up {up}", summary.version, summary.stage_words());
    text.extend(summary.gateway.iter().map(|gateway| format!("{gateway}\n")));
    let percent = summary.connections.part().unwrap_or(0.0) * 100.0;
    let (connections, bound_by) = (summary.connections.text(), &summary.bound_by);
    let _ = writeln!(text, "connections {connections} ({percent:.0} %), bound by {bound_by}");
    for Said { words, remedy, .. } in &summary.troubles {
        let remedy = remedy.as_ref().map(|remedy| format!(" ({remedy})"));
        let _ = writeln!(text, "{words}{}", remedy.unwrap_or_default());
    }
    let figures = summary.figures.iter().filter(|(_, cell)| !cell.is_unknown());
    let figures: Vec<String> =
        figures.map(|(head, cell)| format!("{} {}", head.title, cell.text())).collect();
    let widths = figures.iter().map(|figure| figure.chars().count());
    for line in figure_lines(widths, width.unwrap_or(COLUMNS)) {
        let _ = writeln!(text, "{}", figures[line].join(&" ".repeat(FIGURE_GAP)));
    }
    if !summary.builtins.is_empty() {
        let names = summary.builtins.join(", ");
        let _ = writeln!(text, "answered by the gateway itself: {names}");
    }
    for table in summary.order().map(|place| summary.tables()[place]) {
        if !table.rows.is_empty() {
            text.push('\n');
            text += &laid_out(table, width);
        }
    }
    let old = summary.events.len().saturating_sub(EVENTS);
    if !summary.events.is_empty() {
        text += "\nlast events\n";
    }
    for event in &summary.events[old..] {
        let _ = writeln!(text, "{}", cut(event, width));
    }
    text.trim_end().to_owned()
}

/// As much of a line as a terminal of this width has room for.
fn cut(line: &str, width: Option<usize>) -> String {
    match width.filter(|width| line.chars().count() > *width) {
        Some(width) => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        None => line.to_owned(),
    }
}

/// Which of the figures, each so wide, stand in which line: as many beside each other as have room.
pub fn figure_lines(widths: impl Iterator<Item = usize>, room: usize) -> Vec<Range<usize>> {
    let mut lines: Vec<Range<usize>> = Vec::new();
    let mut column = 0;
    for (index, wide) in widths.enumerate() {
        match lines.last_mut().filter(|_| column + FIGURE_GAP + wide <= room) {
            Some(line) => {
                line.end = index + 1;
                column += FIGURE_GAP + wide;
            }
            None => {
                lines.push(index..index + 1);
                column = wide;
            }
        }
    }
    lines
}

/// A head and a line for each row: columns as wide as their widest cell, numbers to the right,
/// those of which nothing is known left out. A terminal's `width` leaves out what is least telling.
pub fn laid_out(table: &Table, width: Option<usize>) -> String {
    let room = width.unwrap_or(usize::MAX);
    let width = |column: usize| {
        let cells = table.rows.iter().map(|row| row.cells[column].text().chars().count());
        cells.chain([table.heads[column].title.chars().count()]).max().unwrap_or(0)
    };
    let known = |column: &usize| !table.rows.iter().all(|row| row.cells[*column].is_unknown());
    let known = (0..table.heads.len()).filter(known);
    let columns = table.fit(known.map(|column| (column, width(column))).collect(), GAP, room);
    let mut text = String::new();
    let titles = |column: usize| table.heads[column].title.to_owned();
    line(table, &columns, titles, &mut text);
    for row in &table.rows {
        line(table, &columns, |column| row.cells[column].text(), &mut text);
    }
    text
}

fn line(
    table: &Table,
    columns: &[(usize, usize)],
    word: impl Fn(usize) -> String,
    text: &mut String,
) {
    let words = columns.iter().map(|&(column, width)| match table.heads[column].kind {
        Kind::Word => format!("{:<width$}", cut(&word(column), Some(width))),
        _ => format!("{:>width$}", word(column)),
    });
    let line = words.collect::<Vec<_>>().join(&" ".repeat(GAP));
    let _ = writeln!(text, "{}", line.trim_end());
}
