//! The status page: one file, with the present figures written into it.

use std::fmt::{self, Display, Write};

use crate::metrics::Reading;
use crate::metrics::reading::{Event, Trouble};
use crate::summary::{Cell, Head, Kind, Row, Summary, Table, lasted, span};

/// Everything but the figures; `{{name}}` stands where some belong.
const PAGE: &str = include_str!("page.html");
/// The page's content policy: its own scripts and styles, and requests to its origin.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The page, as complete without its script as one reading can be.
pub(super) fn render(reading: &Reading) -> String {
    let summary = Summary::of(reading, None);
    let mut page = String::with_capacity(2 * PAGE.len());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("a name ends");
        page.push_str(before);
        part(reading, &summary, name, &mut page).expect("a string takes everything");
        rest = after;
    }
    page + rest
}

fn part(reading: &Reading, summary: &Summary, name: &str, out: &mut String) -> fmt::Result {
    match name {
        "title" => {
            let host = reading.gateway.as_ref().map_or("", |gateway| &gateway.host);
            write!(out, "{}", Escaped(format!("{host} portcullis").trim()))
        }
        "identity" => write!(out, "{}", Escaped(summary.gateway.as_deref().unwrap_or_default())),
        "severity" => {
            write!(out, "{}", reading.troubles.first().map_or("", |one| one.severity.word()))
        }
        "verdict" => write!(out, "{}", summary.verdict),
        "troubles" => reading.troubles.iter().try_for_each(|one| trouble(reading, one, out)),
        "no_events" => write!(out, "{}", if reading.events.is_empty() { " hidden" } else { "" }),
        "events" => reading.events.iter().rev().try_for_each(|one| event(one, out)),
        "version" => write!(out, "{}", Escaped(&summary.version)),
        "stage" => write!(out, "{}", Escaped(summary.stage_words())),
        "up" => write!(out, "{}", Escaped(span(summary.up))),
        "connections" => connections(summary, out),
        "figures" => summary.figures.iter().try_for_each(|(head, cell)| {
            let title = Escaped(head.title);
            write!(out, "<div><dt>{title}</dt><dd{}>{}</dd></div>", place(head, cell), text(cell))
        }),
        "tables" => summary.tables().into_iter().try_for_each(|rows| table(rows, out)),
        _ => unreachable!("{name} is in page.html and not here"),
    }
}

fn trouble(reading: &Reading, trouble: &Trouble, out: &mut String) -> fmt::Result {
    let Trouble { severity, subject, words, remedy, .. } = trouble;
    write!(
        out,
        "<li data-severity=\"{}\"><b>{}</b><span> {} </span>",
        severity.word(),
        Escaped(subject),
        Escaped(words)
    )?;
    if let Some(lasted) = lasted(reading, trouble) {
        write!(out, "<time>{}</time>", Escaped(lasted))?;
    }
    if let Some(remedy) = remedy {
        write!(out, "<span class=\"remedy\">{}</span>", Escaped(remedy))?;
    }
    write!(out, "</li>")
}

fn event(event: &Event, out: &mut String) -> fmt::Result {
    let Event { at, severity, subject, words } = event;
    write!(
        out,
        "<li data-severity=\"{}\"><time>{}</time><b>{}</b><span> {}</span></li>",
        severity.word(),
        Escaped(at),
        Escaped(subject),
        Escaped(words)
    )
}

fn connections(summary: &Summary, out: &mut String) -> fmt::Result {
    let cell = &summary.connections;
    let (level, part) = (cell.level().word(), cell.part().unwrap_or(0.0));
    write!(
        out,
        "<div class=\"total\" data-path=\"open\" data-of=\"budget.limit\" data-as=\"share\">{}\
         </div>\n<div class=\"bar\" data-level=\"{level}\" style=\"--part:{part}\"></div>\n\
         <div class=\"bound\">bound by <span data-path=\"budget.bound_by\" data-as=\"word\">{}\
         </span></div>",
        text(cell),
        Escaped(&summary.bound_by)
    )
}

fn table(table: &Table, out: &mut String) -> fmt::Result {
    let Table { title, path, heads, rows, .. } = table;
    let hidden = if rows.is_empty() { " hidden" } else { "" };
    write!(
        out,
        "<section aria-labelledby=\"{path}\"{hidden}>\n<h2 id=\"{path}\">{}</h2>\n<div \
         class=\"wide\" tabindex=\"0\" role=\"region\" aria-labelledby=\"{path}\">\n<table \
         data-rows=\"{path}\">\n<thead><tr>",
        Escaped(title)
    )?;
    for head in *heads {
        let class = class(head);
        write!(out, "<th scope=\"col\"{class}>{}</th>", Escaped(head.title))?;
    }
    write!(out, "</tr></thead>\n<tbody>")?;
    for row in rows {
        self::row(table, Some(row), out)?;
    }
    write!(out, "</tbody>\n</table>\n<template>")?;
    row(table, None, out)?;
    write!(out, "</template>\n</div>\n</section>\n")
}

/// A row, or the model of one, for what comes later.
fn row(table: &Table, row: Option<&Row>, out: &mut String) -> fmt::Result {
    match row {
        Some(row) => write!(out, "<tr data-key=\"{}\">", Escaped(&row.key))?,
        None => write!(out, "<tr>")?,
    }
    for (column, head) in table.heads.iter().enumerate() {
        let class = class(head);
        let tag = if column == 0 { "th scope=\"row\"" } else { "td" };
        let (cell, text) = match row.map(|row| &row.cells[column]) {
            Some(cell) => (place(head, cell), text(cell)),
            None => (model(head), String::new()),
        };
        write!(out, "<{tag}{class}{cell}>{text}</{}>", &tag[..2])?;
    }
    writeln!(out, "</tr>")
}

/// Where the script finds the value, what kind it is, and by what it is sorted.
fn place(head: &Head, cell: &Cell) -> String {
    let share = cell
        .part()
        .map(|part| format!(" data-level=\"{}\" style=\"--part:{part}\"", cell.level().word()));
    // Its colour.
    let state = (head.path == "state").then(|| format!(" data-state=\"{}\"", text(cell)));
    model(head) + &share.unwrap_or_default() + &state.unwrap_or_default()
}

fn model(head: &Head) -> String {
    let of = if head.of.is_empty() { String::new() } else { format!(" data-of=\"{}\"", head.of) };
    let kind = head.kind.word();
    format!(" data-path=\"{}\"{of} data-as=\"{kind}\"", head.path)
}

fn class(head: &Head) -> &'static str {
    if head.kind == Kind::Word { " class=\"word\"" } else { "" }
}

fn text(cell: &Cell) -> String {
    Escaped(cell.text()).to_string()
}

/// Text that no name in a config can turn into markup.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                c => out.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[test]
fn nothing_that_a_reading_names_becomes_markup() {
    let text = Escaped("<b a=\"1\" c='2'>&").to_string();
    assert_eq!(text, "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
}
